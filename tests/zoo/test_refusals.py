"""What relays refuse, and who is told (rule 3.5): never silence that looks like
health."""

import re

import pytest

from support.crowd import Crowd
from support.endpoint import Endpoint
from support.scripted_relay import ScriptedRelay
from support.zoo import CHALLENGE_ALONE, PASSING, REFUSALS, Character, ZooRelay

pytestmark = pytest.mark.asyncio

IN_TIME = 6
"""Seconds: the EOSE's time (rule 3.2), with some to spare."""
PREFIX = re.compile(r"[a-z-]+: .")


async def ask(endpoint: Endpoint, relay: ZooRelay, number: int = 3) -> Crowd:
    crowd = Crowd(relay)
    await crowd.enter(endpoint, number)
    await crowd.ask()
    return crowd


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_told_instead_of_an_eose(
    endpoint: Endpoint, name: str
) -> None:
    relay = ZooRelay(REFUSALS[name])
    await endpoint.use(relay)
    crowd = await ask(endpoint, relay)
    for guest in crowd.guests:
        reason = str((await guest.client.closed("s", IN_TIME)).parts[2])
        assert PREFIX.match(reason), f"no prefix: {reason}"
        assert guest.client.of("EOSE", "s") == []
    assert len(relay.connected_at) == 1


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_relay_that_is_away_does_not_hide_a_refusal(
    endpoint: Endpoint, name: str
) -> None:
    relay, away = ZooRelay(REFUSALS[name]), ScriptedRelay()
    away.refuse_with = 503
    await endpoint.use(relay)
    await endpoint.start(away)
    assert (await endpoint.add(away.url)).status_code == 200
    await away.connections(1)
    crowd = await ask(endpoint, relay)
    for guest in crowd.guests:
        await guest.client.closed("s", IN_TIME)
        assert guest.client.of("EOSE", "s") == []


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_of_one_relay_costs_nothing_at_another(
    endpoint: Endpoint, name: str
) -> None:
    relay, honest = ZooRelay(REFUSALS[name]), ZooRelay(Character())
    await endpoint.use(relay, honest)
    crowd = await ask(endpoint, honest)
    await crowd.answered()
    assert crowd.open == crowd.guests, "one relay serves them"
    await crowd.everybody_gets(crowd.notes() + crowd.orders())
    crowd.fair()


@pytest.mark.parametrize("number", [1, 12])
@pytest.mark.parametrize("name", PASSING)
async def test_a_refusal_that_passes_is_asked_again(
    endpoint: Endpoint, name: str, number: int
) -> None:
    relay = ZooRelay(PASSING[name])
    await endpoint.use(relay)
    crowd = await ask(endpoint, relay, number)
    await crowd.answered()
    await crowd.everybody_gets(crowd.notes())
    if relay.character.ends_after is not None:
        await relay.until(lambda: not relay.open_subs(), "the end of all that was live")
    await crowd.everybody_gets(crowd.notes())
    assert crowd.open == crowd.guests, "what passes ends nothing"
    crowd.fair()
    await crowd.leave()
    await relay.left()


async def test_a_challenge_and_nothing_else(endpoint: Endpoint) -> None:
    """LNbits' nostrrelay, where it wants a sign-in: one answer comes all the same."""
    relay = ZooRelay(CHALLENGE_ALONE)
    await endpoint.use(relay)
    crowd = await ask(endpoint, relay)
    await crowd.answered()
    crowd.fair()
