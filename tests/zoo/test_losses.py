"""Restarts, caps and forgetting (rules 3.4, 3.7, 4.3): what relays had, clients get,
once."""

from dataclasses import replace

import pytest

from support.crowd import ORDER, Crowd, served
from support.endpoint import Endpoint
from support.events import Author, ids, now
from support.inbox import eventually
from support.zoo import ZOO, Character, ZooRelay

pytestmark = pytest.mark.asyncio

CLIENTS = 25
CAPPED = Character(page=10)


@pytest.mark.parametrize("name", ZOO)
async def test_a_restart_loses_nothing_and_repeats_nothing(
    endpoint: Endpoint, name: str
) -> None:
    """Notes of the gap come; orders of the gap and from before it are not given late."""
    relay = ZooRelay(ZOO[name])
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, CLIENTS)
    await crowd.ask()
    await crowd.answered()
    # As in test_everybody: who has its EOSE from a relay that says nothing is asked for
    # on, and given a note by that. An order is for those that are served.
    await crowd.everybody_gets(crowd.notes())
    await crowd.everybody_gets(crowd.orders(), 5)
    relay.refuse_with = 503
    await relay.restart()
    await relay.until(lambda: not relay.lines, "the end of the connection")
    gap = crowd.notes()
    due = [list(guest.due) for guest in crowd.guests]
    missed = crowd.mentions(ORDER, now() - 5)  # nobody could hear them
    for guest, known in zip(crowd.guests, due, strict=True):
        guest.due[:] = known
    await relay.publish(*gap, *missed)
    relay.refuse_with = None
    await relay.connected()
    await crowd.everybody_gets(crowd.notes())
    await crowd.everybody_gets(crowd.orders(), 5)
    crowd.fair()
    await crowd.leave()
    await relay.left()


async def test_a_gap_that_is_longer_than_a_page(endpoint: Endpoint) -> None:
    relay = ZooRelay(CAPPED)
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, 1)
    await crowd.ask()
    await crowd.answered()
    relay.refuse_with = 503
    await relay.restart()
    await relay.until(lambda: not relay.lines, "the end of the connection")
    for place in range(30):
        await relay.publish(*crowd.notes(created_at=now() - 30 + place))
    relay.refuse_with = None
    await relay.connected()
    await crowd.everybody_gets()
    crowd.fair()


async def test_a_limit_that_is_longer_than_a_page(endpoint: Endpoint) -> None:
    relay = ZooRelay(CAPPED)
    author = Author()
    notes = author.notes(30)
    relay.store.keep(*notes)
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey], "limit": 25})
    assert ids(client.events("s")) == ids(notes[:4:-1])


@pytest.mark.parametrize("name", ["honest", "strfry", "lnbits"])
async def test_a_relay_that_forgets(endpoint: Endpoint, name: str) -> None:
    """It takes what is published, and brings it to nobody any more: that is seen, and it
    is asked again (rule 4.3)."""
    relay = ZooRelay(replace(ZOO[name], keeps_orders=False))
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, 12)
    await crowd.ask()
    await crowd.answered()
    other = await endpoint.client()
    for note in crowd.notes():  # it brings them
        assert (await other.publish(note)).parts[2] is True
    await served(crowd.guests)
    await eventually(lambda: relay.open_subs(), 5, "live")
    relay.forget()
    for note in crowd.notes():  # and now it does not
        assert (await other.publish(note)).parts[2] is True
    await relay.until(relay.open_subs, "that it is asked again")
    await crowd.everybody_gets(crowd.notes())
    crowd.fair()


async def test_a_relay_that_comes_back_with_a_limit(endpoint: Endpoint) -> None:
    """Its document is read again before it is asked for more than it says."""
    relay = ZooRelay(Character(document={}))
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, CLIENTS)
    await crowd.ask()
    await crowd.answered()
    limited = ZooRelay(ZOO["strfry, unsaid"])
    relay.character = replace(limited.character, subscriptions=8)
    await relay.restart()
    await relay.connections(2)
    await crowd.everybody_gets(crowd.notes())
    await crowd.everybody_gets(crowd.orders(), 5)
    crowd.fair()
