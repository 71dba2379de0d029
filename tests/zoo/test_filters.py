"""A REQ of several filters gets all of them served, behind whatever relay (rule 4.3)."""

import secrets

import pytest

from support.crowd import DELIVERED, NOTE, ORDER, Crowd, Guest, served
from support.endpoint import Endpoint
from support.events import Author, now
from support.scripted_relay import Filter
from support.zoo import ZOO, ZooRelay

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("number", [2, 40])
@pytest.mark.parametrize("name", ZOO)
async def test_all_filters_of_a_req_are_served(
    endpoint: Endpoint, name: str, number: int
) -> None:
    relay = ZooRelay(ZOO[name])
    author = Author()
    topics = [secrets.token_hex(8) for _ in range(number)]
    stored = [author.sign(tags=[["t", t]], created_at=now() - 100) for t in topics]
    relay.store.keep(*stored)
    await endpoint.use(relay)
    # No two can be put together to one.
    filters: list[Filter] = [
        {"kinds": [NOTE, ORDER], "#t": [topic], "since": now() - 1_000 - place}
        for place, topic in enumerate(topics)
    ]
    guest = Guest(await endpoint.client(), "", filters)
    await guest.client.send("REQ", "s", *filters)
    await guest.client.until(lambda: guest.answered, "an answer", 8)
    live = [
        author.sign(kind=kind, tags=[["t", topic]])
        for kind in (NOTE, ORDER)
        for topic in topics
    ]
    guest.due += [event["id"] for event in stored + live]
    for event in live:
        await relay.publish(event)
    await served([guest])
    guest.fair()
    assert len(relay.connected_at) == 1


@pytest.mark.parametrize("name", ZOO)
async def test_who_asks_for_what_others_ask_for_too(
    endpoint: Endpoint, name: str
) -> None:
    """Filters that overlap, and are not the same: an event is for several of them."""
    relay = ZooRelay(ZOO[name])
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, 6)
    everybody = [guest.person for guest in crowd.guests]
    for place, guest in enumerate(crowd.guests):
        others = everybody[:place] + everybody[place + 1 :]
        guest.filters = [{"kinds": [NOTE, ORDER], "#p": [guest.person, others[0]]}]
    await crowd.ask()
    await crowd.answered()
    await crowd.everybody_gets(crowd.orders(), DELIVERED)
    crowd.fair()
    await crowd.leave()
    await relay.left()
