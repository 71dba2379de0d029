"""`limit` over all relays (rule 3.4): the newest of what four of them hold together."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.endpoint import Endpoint
from support.events import Author, Event, ids, now
from support.scripted_relay import Filter, ScriptedRelay, silent, stored
from support.strangers import nostr_sdk, nostr_tools
from support.subsets import FIRST, Subsets, subsets

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def four() -> AsyncIterator[Subsets]:
    async with subsets() as relays:
        yield relays


@pytest_asyncio.fixture
async def merged(endpoint: Endpoint, four: Subsets) -> Subsets:
    """The endpoint is connected to all of them."""
    await endpoint.use(*four.relays)
    return four


def asked(four: Subsets) -> dict[str, list[Filter]]:
    """What clients ask for, by name. (Not `ids` with a limit: of those, this relay gives
    other ones than the newest.)"""
    some = four.current[:: len(four.current) // 20]
    authors = sorted({event["pubkey"] for event in some})
    return {
        "the newest": [{"limit": 1}],
        "ten": [{"kinds": [1], "limit": 10}],
        "five hundred": [{"kinds": [1], "limit": 500}],
        "many": [{"kinds": [1], "limit": 2_000}],
        "a topic without limit": [{"#t": ["topic 7"]}],
        "two topics": [{"#t": ["topic 3", "topic 4"], "limit": 25}],
        "until": [{"kinds": [1], "until": FIRST + 1_234, "limit": 33}],
        "since": [{"kinds": [1], "since": FIRST + 4_500, "limit": 300}],
        "one second": [{"kinds": [1], "since": FIRST + 50, "until": FIRST + 50}],
        "ids": [{"ids": ids(some)}],
        "an id nobody has": [{"ids": ["1f" * 32]}],
        "nothing": [{"kinds": [1], "limit": 0}],
        "profiles": [{"kinds": [0]}],
        "one profile": [{"kinds": [0], "authors": authors[:1], "limit": 1}],
        "versions": [{"kinds": [0, 3, 10_002, 30_023]}],
        "few versions": [{"kinds": [3, 10_002, 30_023], "limit": 10}],
        "addresses": [{"kinds": [30_023], "authors": authors[:3], "#d": ["1", "2"]}],
        "several filters": [
            {"kinds": [0], "authors": authors[:2]},
            {"#t": ["topic 1"], "limit": 7},
            {"#t": ["topic 1", "topic 2"], "limit": 5},
            {"ids": ids(some[:2])},
            {"kinds": [30_023], "limit": 3},
            {"kinds": [1], "limit": 0},
        ],
    }


async def test_exactly_the_newest_over_all_relays(
    endpoint: Endpoint, merged: Subsets
) -> None:
    client = await endpoint.client()
    wrong = []
    for name, filters in asked(merged).items():
        await client.subscribe(name, *filters)
        got, expected = client.events(name), merged.newest(*filters)
        if got != expected:
            wrong.append(f"{name}: {difference(got, expected)}")
        await client.send("CLOSE", name)
    assert not wrong, "\n".join(wrong)
    await client.quiet()


async def test_many_ask_at_once(endpoint: Endpoint, merged: Subsets) -> None:
    """The same, and requests that stand beside each other do not mix."""
    client = await endpoint.client()
    wanted = asked(merged)
    for name, filters in wanted.items():
        await client.send("REQ", name, *filters)
    for name, filters in wanted.items():
        await client.eose(name, seconds=20)
        got, expected = client.events(name), merged.newest(*filters)
        assert got == expected, f"{name}: {difference(got, expected)}"
    for name in wanted:
        assert len(client.of("EOSE", name)) == 1, name


async def test_live_events_come_whatever_the_limit(
    endpoint: Endpoint, merged: Subsets
) -> None:
    client = await endpoint.client()
    stored = {}
    for limit in (0, 1, 10):
        await client.subscribe(f"{limit}", {"kinds": [1], "limit": limit})
        stored[limit] = len(client.events(f"{limit}"))
    author = Author()
    live = [author.sign(f"live {number}") for number in range(20)]
    live.append(author.sign("older than all there is", created_at=FIRST - 5))
    for number, event in enumerate(live):
        merged.tell(number % 4, event)
        merged.tell((number + 1) % 4, event)
    for limit, before in stored.items():
        assert before == limit
        events = await client.count(f"{limit}", before + len(live))
        assert sorted(ids(events[before:])) == sorted(ids(live))
    await client.quiet()


async def test_what_was_found_by_id_is_waited_for_no_longer(
    endpoint: Endpoint, merged: Subsets
) -> None:
    """Nor is what `limit: 0` asks for: nothing."""
    mute = ScriptedRelay(on_req=silent)
    await endpoint.use(mute)
    client = await endpoint.client()
    some = merged.current[::5_000]
    eose = await client.subscribe("by id", {"ids": ids(some)})
    assert client.after("by id", eose) < 1
    assert client.events("by id") == some
    await mute.until(lambda: not mute.open_subs(), "CLOSE of what is answered")
    eose = await client.subscribe("none", {"kinds": [1], "limit": 0})
    assert client.after("none", eose) < 1
    late = Author().sign()
    await mute.until(mute.open_subs, "REQ for what comes live")
    await mute.line.live(late)
    assert await client.count("none", 1) == [late]


async def test_nostr_tools_gets_exactly_that(
    endpoint: Endpoint, merged: Subsets, node: str
) -> None:
    wanted = asked(merged)
    del wanted["many"]  # it takes two milliseconds for a signature
    found = await nostr_tools(node, "newest", endpoint.public_url, json.dumps(wanted))
    for name, filters in wanted.items():
        assert found[name] == ids(merged.newest(*filters)), name


async def test_nostr_sdk_gets_exactly_that(endpoint: Endpoint, merged: Subsets) -> None:
    """It asks for one filter at a time, and sorts what it gets."""
    wanted = {name: filters[0] for name, filters in asked(merged).items()}
    found = await nostr_sdk("newest", endpoint.public_url, json.dumps(wanted))
    for name, one in wanted.items():
        assert found[name] == ids(merged.newest(one)), name


def difference(got: list[Event], expected: list[Event]) -> str:
    """In few words."""
    got_ids, expected_ids = set(ids(got)), set(ids(expected))
    shown = [
        [
            (at, event["kind"], event["created_at"] - FIRST, event["content"])
            for at, event in enumerate(events)
            if event["id"] not in others
        ][:5]
        for events, others in ((got, expected_ids), (expected, got_ids))
    ]
    same = zip(ids(got), ids(expected), strict=False)
    first = next((at for at, (one, other) in enumerate(same) if one != other), None)
    return (
        f"{len(got)} for {len(expected)}, the first wrong one at {first}; "
        f"too many: {shown[0]}, missing: {shown[1]}"
    )


async def test_a_search_is_for_those_who_know_it_and_keeps_their_order(
    endpoint: Endpoint,
) -> None:
    """Rule 3.8: a relay that does not know NIP-50 sends what is newest instead."""
    author = Author()
    found = [author.sign(created_at=now() - 1_000 + at) for at in range(5)]
    knows = ScriptedRelay(on_req=stored(*found))
    knows.document = b'{"supported_nips": [1, 50]}'
    other = ScriptedRelay(on_req=stored(*author.notes(5)))
    other.document = b'{"supported_nips": [1]}'
    await endpoint.use(knows, other)
    for relay in (knows, other):
        await wait_for_search(endpoint, relay)
    client = await endpoint.client()
    await client.subscribe("s", {"search": "words", "limit": 5})
    assert client.events("s") == found
    assert other.reqs() == []


async def wait_for_search(endpoint: Endpoint, relay: ScriptedRelay) -> None:
    while (await endpoint.relay(relay.url))["limits"]["searches"] is None:
        await asyncio.sleep(0.05)
