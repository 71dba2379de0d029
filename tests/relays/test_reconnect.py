"""Rules 3.7 and 4.1: what happens when a relay goes and comes back.

What waits long runs at the same time, with relays of its own each. All of these see every
client's subscriptions, so each client asks for the notes of an author of its own.
"""

import time
from typing import Any

import pytest
import pytest_asyncio
from nostr_sdk import LocalRelay, RelayBuilder

from scripts.lnbits_server import LNbits
from support.endpoint import Endpoint, cleared, honest_relay, relay_url
from support.events import Author, now
from support.inbox import Inbox
from support.scripted_relay import (
    Filter,
    Line,
    ScriptedRelay,
    Upstream,
    eose_at_once,
    silent,
    stored,
)
from support.tcp_relay import TcpRelay, hang_up
from support.together import Ends, Together
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

BEFORE_LOSS = 60 * 60
GIFT_WRAP_BEFORE_LOSS = 3 * 24 * 3600


async def reconnected(
    endpoint: Endpoint, relay: ScriptedRelay, *filters: Filter
) -> tuple[WireClient, list[Upstream]]:
    """A client with subscriptions 0, 1, … whose relay was lost; the REQs sent again."""
    await endpoint.use(relay)
    client = await endpoint.client()
    for number, one in enumerate(filters):
        await client.subscribe(str(number), one)
    await relay.stop()
    await endpoint.until_relay(relay.url, connected=False)
    await relay.start()
    await relay.req(2 * len(filters), seconds=20)
    await relay.until(lambda: len(relay.open_subs()) == len(filters), "all REQs")
    again = relay.reqs()[len(filters) :]
    assert len(again) == len(filters)
    by_kind = {repr(one.filters[0].get("kinds")): one for one in again}
    return client, [by_kind[repr(one.get("kinds"))] for one in filters]


async def req_for(relay: ScriptedRelay, author: Author, number: int) -> Upstream:
    """The REQ of this number, counted from one, among those for the author's events."""

    def found() -> list[Upstream]:
        wanted = [author.pubkey]
        return [req for req in relay.reqs() if req.filters[0].get("authors") == wanted]

    await relay.until(lambda: len(found()) >= number, f"REQ number {number} for it")
    return found()[number - 1]


at_the_same_time: Together[Endpoint] = Together()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(request: pytest.FixtureRequest, lnbits: LNbits) -> Ends:
    async with cleared(lnbits) as endpoint:
        return await at_the_same_time.run(endpoint, request)


@at_the_same_time.each
async def test_at_the_same_time(ends: Ends, case: str) -> None:
    ends.tell(case)


def close_to(value: int, expected: int) -> bool:
    return abs(value - expected) <= 15


async def watch(inbox: Inbox[Any], seconds: float) -> None:
    """Let this much time pass; what arrives stays in the inbox."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        await inbox.changes_within(left)


async def test_since_moves_up_and_limit_goes(endpoint: Endpoint) -> None:
    moment = now()
    filters: list[Filter] = [
        {"kinds": [1], "limit": 5, "authors": ["a" * 64], "until": moment + 10_000},
        {"kinds": [3], "since": 1_000_000},
        {"kinds": [4], "since": moment + 100},
        {"kinds": [1059, 2]},
        # This one's EOSE does not wait for the relay's, the next one's does.
        {"kinds": [5], "limit": 0},
        {"limit": 3},
    ]
    _, again = await reconnected(endpoint, ScriptedRelay(), *filters)
    notes, old, young, wraps, none_stored, anything = (one.filters[0] for one in again)
    recent = now() - BEFORE_LOSS
    assert close_to(notes["since"], recent)
    assert notes["authors"] == ["a" * 64] and notes["until"] == moment + 10_000
    assert close_to(old["since"], recent)
    assert young["since"] == moment + 100
    assert close_to(wraps["since"], now() - GIFT_WRAP_BEFORE_LOSS)
    assert close_to(anything["since"], now() - GIFT_WRAP_BEFORE_LOSS)
    assert close_to(none_stored["since"], recent)
    assert not any("limit" in one.filters[0] for one in again)


@at_the_same_time
async def the_gap_is_filled_and_nothing_comes_twice(endpoint: Endpoint) -> None:
    author = Author()
    old, live, missed, after = author.notes(4)
    relay = ScriptedRelay(on_req=stored(old))
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey]})
    await relay.line.live(live)
    await client.count("s", 2)
    relay.on_req = stored(missed, live, old)
    relay.line.drop()
    await req_for(relay, author, 2)
    await client.count("s", 3)
    await relay.line.live(old, live, missed, after)
    await client.count("s", 4)
    await client.quiet(5.0)
    assert client.events("s") == [old, live, missed, after]
    assert len(client.of("EOSE", "s")) == 1


async def test_replayed_ephemeral_events_are_dropped(endpoint: Endpoint) -> None:
    """A NIP-47 service would pay an order its wallet has given up on."""
    author = Author()
    order = author.sign("pay", kind=23194)
    # What has the second of the repeated REQ may be new, and passes.
    replayed = author.sign("pay again", kind=23194, created_at=now() - 5)
    answer_to_it = author.sign("paid", kind=23195, created_at=now() - 5)
    live = author.sign("pay now", kind=23194)
    relay = ScriptedRelay(on_req=stored(order))
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey]})
    assert client.events("s") == [order]  # asked for the first time: delivered

    note = author.sign("storable", kind=1)
    relay.on_req = stored(replayed, answer_to_it, note)
    relay.line.drop()
    await relay.req(2)
    assert (await client.count("s", 2))[1] == note
    await relay.line.live(live)
    assert (await client.count("s", 3))[2] == live
    # Dropped for good: a later copy of it is as old.
    await client.quiet(0.5)


@at_the_same_time
async def a_replay_without_end_is_not_waited_for(endpoint: Endpoint) -> None:
    """A relay that never sends EOSE to the repeated REQ may not silence ephemeral events
    for ever: thirty seconds at most."""
    author = Author()
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey]})
    relay.on_req = silent
    relay.line.drop()
    again = await req_for(relay, author, 2)
    await again.event(author.sign("replayed", kind=23194, created_at=now() - 5))
    await watch(relay.inbox, 31)
    live = author.sign("live", kind=23194)
    last = [
        req for req in relay.reqs() if req.filters[0].get("authors") == [author.pubkey]
    ][-1]
    await last.event(live)  # it was asked again meanwhile
    assert await client.count("s", 1) == [live]


async def test_a_real_relay_restarts(endpoint: Endpoint) -> None:
    author, relay = Author(), await honest_relay()
    await endpoint.use(relay)
    url = await relay_url(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey]})
    first, second = author.notes(2)
    assert (await client.publish(first)).parts[2] is True
    await endpoint.lose(relay)
    builder = RelayBuilder().port(int(url.rsplit(":", 1)[1].strip("/")))
    again = LocalRelay(builder)
    await again.run()
    try:
        await endpoint.until_relay(url, connected=True)
        assert (await client.publish(second)).parts[2] is True
        assert await client.count("s", 2) == [first, second]
    finally:
        again.shutdown()


async def test_a_drop_in_mid_message_costs_only_that_message(
    endpoint: Endpoint,
) -> None:
    breaking, steady = ScriptedRelay(), ScriptedRelay()
    await endpoint.use(breaking, steady)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    half, whole, after = Author().notes(3)
    upstream = await breaking.req()
    upstream.line.drop_in_mid_message("EVENT", upstream.sub, half)
    await steady.line.live(whole)
    assert await client.count("s", 1) == [whole]
    await breaking.req(2)
    await breaking.line.live(half, whole)
    await client.count("s", 2)
    await steady.line.live(half, after)
    await client.count("s", 3)
    await client.quiet(0.5)
    assert client.events("s") == [whole, half, after]
    assert len(steady.connected_at) == 1


async def test_closed_in_the_meantime_is_not_sent_again(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    leaving = await endpoint.client()
    await client.subscribe("ended", {"kinds": [1]})
    await client.subscribe("replaced", {"kinds": [2]})
    await client.subscribe("kept", {"kinds": [3]})
    await leaving.subscribe("s", {"kinds": [4]})
    await relay.stop()
    await endpoint.until_relay(relay.url, connected=False)
    await client.send("CLOSE", "ended")
    await client.send("REQ", "replaced", {"kinds": [5]})
    await client.send("REQ", "new", {"kinds": [6]})
    await leaving.vanish()
    await client.eose("new")
    await relay.start()
    await relay.until(lambda: len(relay.open_subs()) >= 3, "the REQs", 20)
    await relay.inbox.changes_within(0.5)
    kinds = [filters[0]["kinds"] for filters in relay.open_subs().values()]
    assert sorted(kinds) == [[3], [5], [6]]
    note = Author().sign(kind=6)
    await relay.line.live(note)
    assert await client.count("new", 1) == [note]


@at_the_same_time
async def it_is_tried_again_with_growing_pauses(endpoint: Endpoint) -> None:
    async with TcpRelay(hang_up) as down:
        assert (await endpoint.add(down.url)).status_code == 200
        await down.until(lambda: len(down.lines) >= 4, "four attempts", 20)
        shown = await endpoint.until_relay(down.url, connected=False, state="waiting")
        assert shown["status"]["error_counter"] >= 1
        assert shown["status"]["error_list"]
        # Full jitter from one second up: some seconds hold a handful of attempts.
        await watch(down.inbox, 8)
        assert len(down.lines) < 16


async def test_a_relay_that_comes_up_late_is_found(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.start(relay)
    await relay.stop()
    assert (await endpoint.add(relay.url)).status_code == 200
    client = await endpoint.client()
    await client.send("REQ", "s", {"kinds": [1]})
    await endpoint.until_relay(relay.url, connected=False, state="waiting")
    note = Author().sign()
    relay.on_req = stored(note)
    await relay.start()
    assert await client.count("s", 1) == [note]


async def test_a_relay_that_refuses_is_no_relay(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    relay.refuse_with = 503
    await endpoint.start(relay)
    assert (await endpoint.add(relay.url)).status_code == 200
    await relay.connections(2)
    shown = await endpoint.relay(relay.url)
    assert shown["connected"] is False
    assert any("503" in error for error in shown["status"]["error_list"])
    relay.refuse_with = None
    await endpoint.until_relay(relay.url, connected=True)


@at_the_same_time
async def dead_lines_are_noticed_by_ping(endpoint: Endpoint) -> None:
    """Rule 4.1: a ping every 20 s; two unanswered, and the line is given up."""
    author, dead, alive = Author(), ScriptedRelay(), ScriptedRelay()
    await endpoint.use(dead, alive)
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey]})
    dead.line.stop_reading()
    start = time.monotonic()
    await dead.connections(2, 75)
    assert time.monotonic() - start > 15
    await req_for(dead, author, 2)
    assert len(alive.connected_at) == 1
    assert (await endpoint.relay(alive.url))["ping"] >= 0
    note = author.sign()
    await dead.lines[-1].live(note)
    assert await client.count("s", 1) == [note]


@at_the_same_time
async def dropping_for_ever_does_not_spin(endpoint: Endpoint) -> None:
    """A relay that hangs up on every REQ is not stable: its backoff grows."""

    async def drop(line: Line, sub: str, _: list[Filter]) -> None:
        line.drop()

    relay = ScriptedRelay(on_req=drop)
    await endpoint.start(relay)
    assert (await endpoint.add(relay.url)).status_code == 200
    client = await endpoint.client()
    await client.send("REQ", "s", {"kinds": [1]})
    await watch(relay.inbox, 8)
    assert 2 <= len(relay.connected_at) < 16
    relay.on_req = eose_at_once
    await relay.until(lambda: relay.open_subs(), "a stable line", 65)
