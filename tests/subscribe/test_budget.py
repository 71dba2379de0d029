"""A relay takes twenty subscriptions on our connection (NIP-11); thousands are served
through it (rule 4.3)."""

import asyncio
import random
import secrets
import time
from collections.abc import Iterator

import pytest

from support.budget_relay import BudgetRelay
from support.endpoint import Endpoint
from support.events import Author, Event, ids, now
from support.keeping_relay import matches
from support.scripted_relay import Filter
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

MOST = 20
CLIENTS = 1_000
MENTIONED = 10
"""So many people an event mentions."""


async def use(endpoint: Endpoint, relay: BudgetRelay) -> None:
    """Connected, and its document read."""
    await endpoint.use(relay)
    deadline = time.monotonic() + 20
    while (await endpoint.relay(relay.url))["limits"]["max_subscriptions"] != relay.most:
        assert time.monotonic() < deadline, "its document was not read"
        await relay.inbox.changes_within(0.05)


async def arrive(endpoint: Endpoint, number: int) -> list[WireClient]:
    gate = asyncio.Semaphore(50)

    async def one() -> WireClient:
        async with gate:
            return await endpoint.client()

    return list(await asyncio.gather(*(one() for _ in range(number))))


def in_tens(people: list[str]) -> Iterator[list[list[str]]]:
    """Tags that mention ten of them at a time."""
    for first in range(0, len(people), MENTIONED):
        yield [["p", person] for person in people[first:][:MENTIONED]]


async def test_a_thousand_clients_behind_twenty_subscriptions(endpoint: Endpoint) -> None:
    """Each wants three things that nobody else wants, and gets them, stored and live."""
    relay = BudgetRelay(MOST)
    people = [secrets.token_hex(32) for _ in range(CLIENTS)]
    author, star = Author(), Author()
    start = now() - 10_000

    def mentions(text: str, kind: int, date: int) -> list[Event]:
        tags = in_tens(people)
        return [author.sign(text, kind=kind, tags=t, created_at=date) for t in tags]

    stored = mentions("stored", 1, start)
    relay.keep(*stored, star.sign("stored", created_at=start))
    await use(endpoint, relay)
    clients = await arrive(endpoint, CLIENTS)

    async def subscribe(number: int) -> None:
        person, client = people[number], clients[number]
        wanted: dict[str, Filter] = {
            "mentions": {"kinds": [1], "#p": [person]},
            "orders": {"kinds": [23_194], "#p": [person]},
            "star": {"authors": [star.pubkey], "since": start - number},
        }
        for name, one in wanted.items():
            await client.send("REQ", name, one)
        for name in wanted:
            await client.eose(name, 60)

    await asyncio.gather(*(subscribe(number) for number in range(CLIENTS)))
    live = mentions("live", 1, now()), mentions("order", 23_194, now())
    notes = star.notes(3)
    await relay.publish(*live[0], *live[1], *notes)

    for number, client in enumerate(clients):
        ten = number // MENTIONED
        assert await client.count("mentions", 2, 30) == [stored[ten], live[0][ten]]
        assert await client.count("orders", 1, 30) == [live[1][ten]]
        assert sorted(ids((await client.count("star", 4, 30))[1:])) == sorted(ids(notes))
        assert len(client.messages) == 3 + 7, "one EOSE each, and nothing twice"
    assert relay.refused == []
    assert relay.peak <= MOST
    assert len(relay.connected_at) == 1

    await asyncio.gather(*(client.vanish() for client in clients))
    await relay.until(lambda: not relay.open_subs(), "the end of all", 30)


async def test_who_wants_the_same_shares_one_subscription(endpoint: Endpoint) -> None:
    relay = BudgetRelay(MOST)
    author = Author()
    stored = author.notes(5)
    relay.keep(*stored)
    await use(endpoint, relay)
    wanted = {"kinds": [1], "authors": [author.pubkey]}
    clients = await arrive(endpoint, 50)
    first, *others = clients
    await first.subscribe("s", wanted)
    await asyncio.gather(*(client.subscribe("s", wanted) for client in others))
    for client in clients:
        assert client.events("s") == stored[::-1], "those who come late get it too"
    await relay.until(lambda: relay.filters() == 1, "one filter, once")
    await relay.publish(note := author.sign("live"))
    for client in clients:
        assert (await client.count("s", 6))[5] == note

    last = clients.pop()
    await asyncio.gather(*(client.send("CLOSE", "s") for client in clients))
    await asyncio.gather(*(client.fence() for client in clients))
    await relay.publish(note := author.sign("for the last one"))
    assert (await last.count("s", 7))[6] == note
    assert relay.filters() == 1
    await last.send("CLOSE", "s")
    await relay.until(lambda: not relay.open_subs(), "the end of it")
    assert all(len(client.messages) == 7 for client in clients)


TOPICS = [f"topic {number}" for number in range(12)]


async def test_coming_and_going_loses_nothing_and_repeats_nothing(
    endpoint: Endpoint,
) -> None:
    """Thirty clients open, replace and close subscriptions while events flow: more than
    the relay takes, so that they are put together and taken apart all the time."""
    relay = BudgetRelay(MOST)
    authors = [Author() for _ in range(5)]
    ephemeral: list[Event] = []
    await use(endpoint, relay)
    clients = await arrive(endpoint, 30)

    async def publish(kind: int = 1) -> None:
        tags = [["t", topic] for topic in random.sample(TOPICS, 3)]
        date = now() - random.randrange(60)
        event = random.choice(authors).sign(
            secrets.token_hex(8), kind=kind, tags=tags, created_at=date
        )
        if kind != 1:
            ephemeral.append(event)
        await relay.publish(event)

    def any_filter() -> Filter:
        topics = random.sample(TOPICS, random.randrange(1, 4))
        some = [author.pubkey for author in random.sample(authors, 2)]
        return random.choice(
            [
                {"#t": topics},
                {"kinds": [1, 20_001], "#t": topics},
                {"authors": some, "#t": topics},
                {"authors": some},
                {"kinds": [1, 20_001], "since": now() - random.randrange(90)},
            ]
        )

    async def round_of(client: WireClient, sub: str, filters: list[Filter]) -> None:
        """One subscription, open until it has all it must have."""
        before = len(client.events(sub))
        eoses = len(client.of("EOSE", sub)) + 1
        await client.send("REQ", sub, *filters)
        await publish()
        await client.eose(sub, 20, number=eoses)
        opened = len(ephemeral)
        await publish()
        await publish(20_001)
        due = {
            event["id"]
            for event in relay.kept + ephemeral[opened:]
            if any(matches(one, event) for one in filters)
        }
        await client.until(
            lambda: due <= set(ids(client.events(sub)[before:])),
            f"all of {len(due)} events for {filters}",
            20,
        )
        got = client.events(sub)[before:]
        assert len(got) == len(set(ids(got))), "one twice"
        assert all(any(matches(one, event) for one in filters) for event in got)

    async def come_and_go(client: WireClient) -> None:
        for turn in range(4):
            subs = [f"{turn} {number}" for number in range(random.randrange(1, 5))]
            wanted = [
                [any_filter() for _ in range(random.choice([1, 1, 2]))] for _ in subs
            ]
            opening = zip(subs, wanted, strict=True)
            await asyncio.gather(*(round_of(client, *one) for one in opening))
            for sub in subs:
                await client.send("CLOSE", sub)

    await asyncio.gather(*(come_and_go(client) for client in clients))
    assert relay.refused == []
    assert relay.peak <= MOST
    assert len(relay.connected_at) == 1
    await relay.until(lambda: not relay.open_subs(), "the end of all")
