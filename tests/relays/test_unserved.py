"""Rules 3.5 and 4.2: a relay that does not serve what it is asked is shown to the owner,
with what it says, and until it does."""

import asyncio
import time

import pytest

from support.crowd import Crowd
from support.endpoint import Endpoint
from support.scripted_relay import ScriptedRelay
from support.zoo import PASSING, REFUSALS, ZOO, ZooRelay

pytestmark = pytest.mark.asyncio


async def status(endpoint: Endpoint, relay: ScriptedRelay, **expected: int) -> object:
    """What is said of it when its numbers are these; those not named are 0."""
    names = ("served", "refused", "waiting")
    numbers = {f"subscriptions_{name}": expected.get(name, 0) for name in names}
    shown = (await endpoint.until_relay(relay.url, **numbers))["status"]
    if shown["unserved_since"] is not None:
        assert time.time() - 60 < shown["unserved_since"] <= time.time()
    return shown["unserved_reason"]


async def test_what_a_relay_refuses_and_another_serves(endpoint: Endpoint) -> None:
    picky, good = ZooRelay(REFUSALS["blocked"]), ScriptedRelay()
    await endpoint.use(picky, good)
    client = await endpoint.client()
    for number in range(3):
        await client.subscribe(f"s{number}", {"kinds": [number]})
    assert await status(endpoint, picky, refused=3) == "blocked: not for you"
    assert await status(endpoint, good, served=3) is None
    await client.send("CLOSE", "s0")
    assert await status(endpoint, picky, refused=2) == "blocked: not for you"
    await picky.stop()
    assert await status(endpoint, picky) is None


async def test_what_passes_is_over(endpoint: Endpoint) -> None:
    relay, good = ZooRelay(PASSING["database locked"]), ScriptedRelay()
    await endpoint.use(relay, good)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    assert await status(endpoint, relay, served=1) is None


async def test_all_that_strfry_has_no_place_for_is_served(endpoint: Endpoint) -> None:
    """Gathered, they are more than its places; none is counted as left out."""
    relay = ZooRelay(ZOO["strfry, unsaid"])
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, 37)
    await crowd.ask()
    assert await status(endpoint, relay, served=37) is None
    await asyncio.sleep(2)
    assert await status(endpoint, relay, served=37) is None
