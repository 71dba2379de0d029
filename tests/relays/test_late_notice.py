"""A relay that says something a minute after it has answered, and names nothing: nobody
is told an end, nobody is asked for anew in a loop, and everybody is served (rule 3.5)."""

import asyncio

import pytest

from support.crowd import Crowd
from support.endpoint import Endpoint
from support.zoo import ZOO, ZooRelay

pytestmark = pytest.mark.asyncio

MINUTE = 60
WORDS = [
    "ERROR: closed: subscription idle for 60 seconds",
    "ERROR: too many concurrent REQs",
    "rate limited: slow down",
]


async def test_a_notice_a_minute_after_the_eose(endpoint: Endpoint) -> None:
    relay = ZooRelay(ZOO["honest"])
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, 5)
    await crowd.ask()
    await crowd.answered()
    await asyncio.sleep(MINUTE)
    before = len(relay.reqs())
    for words in WORDS:
        await relay.line.notice(words)
        await crowd.everybody_gets(crowd.notes() + crowd.orders(), 5)
    # Whoever comes after that is served like anybody.
    late = Crowd(relay)
    await late.enter(endpoint, 5)
    await late.ask()
    await late.answered()
    await late.everybody_gets(late.notes() + late.orders(), 5)
    assert crowd.open == crowd.guests and late.open == late.guests
    crowd.fair()
    late.fair()
    assert all(guest.client.notices() == [] for guest in crowd.guests + late.guests)
    assert len(relay.connected_at) == 1
    assert len(relay.reqs()) - before <= 2 * len(late.guests), "it asks on and on"
    status = (await endpoint.relay(relay.url))["status"]
    assert set(WORDS) <= set(status["notice_list"]), "the page shows what it said"


async def test_what_the_notice_was_about_is_not_served_any_more(
    endpoint: Endpoint,
) -> None:
    """It has forgotten a live subscription over that. That shows when an event of ours
    does not come back, and it is asked again."""
    relay = ZooRelay(ZOO["honest"])
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, 1)
    await crowd.ask()
    await crowd.answered()
    other = await endpoint.client()
    for note in crowd.notes():
        assert (await other.publish(note)).parts[2] is True
    await crowd.everybody_gets()
    await asyncio.sleep(MINUTE)
    before = len(relay.reqs())
    await relay.line.notice("ERROR: closed: subscription idle")
    relay.forget()
    for note in crowd.notes():
        assert (await other.publish(note)).parts[2] is True
    await relay.until(lambda: len(relay.reqs()) > before, "that it is asked again", 15)
    await crowd.everybody_gets(crowd.notes() + crowd.orders(), 5)
    assert crowd.open == crowd.guests
    crowd.fair()
