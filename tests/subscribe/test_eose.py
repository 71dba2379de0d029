"""Rule 3.2: EOSE exactly once per REQ, neither early nor never.

Nearly all of it is waiting. What takes two relays is therefore asked at the same time, by
a client and for an author of its own each: see `Pair`.
"""

import asyncio

import pytest
import pytest_asyncio

from scripts.lnbits_server import LNbits
from support.endpoint import Endpoint, cleared
from support.events import Author, Event, forged_signature, ids
from support.scripted_relay import (
    Filter,
    Line,
    OnReq,
    ScriptedRelay,
    refused,
    silent,
    stored,
)
from support.tcp_relay import TcpRelay
from support.together import Ends, Together
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

QUIET = 1.5  # without a stored event, since the first relay's EOSE
SILENT = 4.0  # since the REQ, for relays that have sent nothing
LATE = 0.7  # what a busy machine may add

NOTES = {"kinds": [1]}


class Pair:
    """Two relays for many cases at a time. What they answer to a REQ depends on whose
    notes it asks for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._scripts: tuple[dict[str, OnReq], dict[str, OnReq]] = ({}, {})

    async def start(self) -> None:
        await self._endpoint.use(
            *(ScriptedRelay(on_req=self._by_author(table)) for table in self._scripts)
        )

    @staticmethod
    def _by_author(table: dict[str, OnReq]) -> OnReq:
        async def on_req(line: Line, sub: str, filters: list[Filter]) -> None:
            # A REQ that no case has sent upstream fails here, and with it the test.
            await table[filters[0]["authors"][0]](line, sub, filters)

        return on_req

    async def client(self) -> WireClient:
        return await self._endpoint.client()

    def script(self, author: Author, one: OnReq, other: OnReq) -> Filter:
        """From now on they answer so to a REQ with this filter."""
        for table, script in zip(self._scripts, (one, other), strict=True):
            table[author.pubkey] = script
        return {**NOTES, "authors": [author.pubkey]}

    async def eose_after(
        self,
        author: Author,
        one: OnReq,
        other: OnReq,
        expected: list[Event] | None = None,
    ) -> float:
        """Seconds until EOSE with relays that answer a REQ so; checks it is the only one
        and that every expected event came before it."""
        wanted = self.script(author, one, other)
        client = await self.client()
        await client.send("REQ", "s", wanted)
        seconds = client.after("s", await client.eose("s", seconds=10))
        verbs = [message.verb for message in client.messages]
        assert verbs == ["EVENT"] * len(expected or []) + ["EOSE"]
        assert sorted(ids(client.events("s"))) == sorted(ids(expected or []))
        await client.quiet(max(1.0, SILENT + 0.5 - seconds))
        return seconds


at_the_same_time: Together[Pair] = Together()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(request: pytest.FixtureRequest, lnbits: LNbits) -> Ends:
    async with cleared(lnbits) as endpoint:
        pair = Pair(endpoint)
        await pair.start()
        return await at_the_same_time.run(pair, request)


@at_the_same_time.each
async def test_at_the_same_time(ends: Ends, case: str) -> None:
    ends.tell(case)


def later(seconds: float, *events: Event, eose: bool = True) -> OnReq:
    """A relay that thinks this long, then sends these, then perhaps EOSE."""

    async def on_req(line: Line, sub: str, _: list[Filter]) -> None:
        await asyncio.sleep(seconds)
        await line.event(sub, *events)
        if eose:
            await line.eose(sub)

    return on_req


def trickle(events: list[Event], every: float, eose: bool) -> OnReq:
    async def on_req(line: Line, sub: str, _: list[Filter]) -> None:
        for event in events:
            await asyncio.sleep(every)
            await line.event(sub, event)
        if eose:
            await line.eose(sub)

    return on_req


async def drop(line: Line, sub: str, _: list[Filter]) -> None:
    line.drop()


@at_the_same_time
async def at_once_when_every_relay_has_sent_it(pair: Pair) -> None:
    author = Author()
    notes = author.notes(30)
    seconds = await pair.eose_after(
        author, stored(*notes[:20]), stored(*notes[10:]), expected=notes
    )
    assert seconds < 0.7


async def test_after_every_one_of_many_events(endpoint: Endpoint) -> None:
    """Verification takes longer than the EOSE that follows on the same line."""
    notes = Author().notes(3_000)
    await endpoint.use(ScriptedRelay(on_req=stored(*notes)))
    client = await endpoint.client()
    await client.subscribe("s", NOTES)
    await client.quiet(0.5)
    assert [message.verb for message in client.messages] == ["EVENT"] * 3_000 + ["EOSE"]
    assert sorted(ids(client.events("s"))) == sorted(ids(notes))


@at_the_same_time
async def waits_for_the_slower_relay(pair: Pair) -> None:
    author = Author()
    note = author.sign()
    seconds = await pair.eose_after(author, stored(), later(1.0, note), expected=[note])
    assert 0.9 < seconds < 1.0 + LATE


@at_the_same_time
async def a_silent_relay_is_given_up_after_the_first_eose(pair: Pair) -> None:
    author = Author()
    note = author.sign()
    seconds = await pair.eose_after(author, stored(note), silent, expected=[note])
    assert QUIET - 0.1 < seconds < QUIET + LATE


@at_the_same_time
async def one_relays_two_eoses_are_not_two_relays(pair: Pair) -> None:
    async def twice(line: Line, sub: str, _: list[Filter]) -> None:
        await line.eose("nobody's")
        await line.eose(sub)
        await line.eose(sub)

    seconds = await pair.eose_after(Author(), twice, silent)
    assert QUIET - 0.1 < seconds < QUIET + LATE


@at_the_same_time
async def a_late_eose_is_not_a_second_one(pair: Pair) -> None:
    seconds = await pair.eose_after(Author(), stored(), later(2.5))
    assert QUIET - 0.1 < seconds < QUIET + LATE


@at_the_same_time
async def a_streaming_relay_is_waited_for(pair: Pair) -> None:
    author = Author()
    notes = author.notes(8)
    seconds = await pair.eose_after(
        author, stored(), trickle(notes, every=0.8, eose=True), expected=notes
    )
    assert 6.4 < seconds < 6.4 + LATE


@at_the_same_time
async def a_stored_event_starts_the_quiet_time_again(pair: Pair) -> None:
    author = Author()
    note = author.sign()
    seconds = await pair.eose_after(
        author, stored(), later(1.0, note, eose=False), expected=[note]
    )
    assert 1.0 + QUIET - 0.1 < seconds < 1.0 + QUIET + LATE


@at_the_same_time
async def what_is_no_event_for_it_holds_nothing_up(pair: Pair) -> None:
    """Forged events and events nobody asked for are no stored events."""
    author = Author()
    junk = [
        event
        for number in range(6)
        for event in (
            forged_signature(author.sign(f"{number}")),
            author.sign(f"{number}", kind=2),
        )
    ]
    seconds = await pair.eose_after(
        author, stored(), trickle(junk, every=0.4, eose=False)
    )
    assert QUIET - 0.1 < seconds < QUIET + LATE


@at_the_same_time
async def four_seconds_when_nobody_says_anything(pair: Pair) -> None:
    seconds = await pair.eose_after(Author(), silent, silent)
    assert SILENT - 0.1 < seconds < SILENT + LATE


@at_the_same_time
async def streams_without_end_end_after_thirty_seconds(pair: Pair) -> None:
    author = Author()
    one, other = author.notes(80, "one"), author.notes(80, "other")
    wanted = pair.script(
        author,
        trickle(one, every=0.5, eose=False),
        trickle(other, every=0.5, eose=False),
    )
    client = await pair.client()
    await client.send("REQ", "s", wanted)
    eose = await client.eose("s", seconds=35)
    assert 29.5 < client.after("s", eose) < 31.5
    before = len(client.events("s"))
    await client.until(lambda: len(client.events("s")) > before + 1, "live events")
    assert len(client.of("EOSE", "s")) == 1


@at_the_same_time
async def closed_is_an_answer(pair: Pair) -> None:
    seconds = await pair.eose_after(Author(), stored(), refused("error: not here"))
    assert seconds < 0.7


async def test_a_relay_that_goes_is_not_waited_for(endpoint: Endpoint) -> None:
    await endpoint.use(ScriptedRelay(), ScriptedRelay(on_req=drop))
    client = await endpoint.client()
    eose = await client.subscribe("s", NOTES)
    assert client.after("s", eose) < 0.7
    # It comes back meanwhile and is asked again: no second EOSE.
    await client.quiet(4.5)


async def test_a_connecting_relay_counts_as_silent(endpoint: Endpoint) -> None:
    async with TcpRelay() as stalled:
        await endpoint.add(stalled.url)
        await stalled.until(lambda: stalled.lines, "a connection")
        client = await endpoint.client()
        eose = await client.subscribe("alone", NOTES)
        assert SILENT - 0.1 < client.after("alone", eose) < SILENT + LATE

        await endpoint.use(ScriptedRelay())
        eose = await client.subscribe("beside", NOTES)
        assert QUIET - 0.1 < client.after("beside", eose) < QUIET + LATE
        await client.quiet(SILENT)


async def test_relays_configured_but_none_connected(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    await relay.stop()
    await tried_in_vain(endpoint, relay)
    client = await endpoint.client()
    eose = await client.subscribe("s", NOTES)
    assert client.after("s", eose) < 0.7
    # It is asked when it comes: no second EOSE.
    await relay.start()
    await relay.req(seconds=40)
    await client.quiet(0.5)


async def test_a_dead_relay_in_the_list_slows_nothing(endpoint: Endpoint) -> None:
    note = Author().sign()
    dead = ScriptedRelay()
    await endpoint.use(ScriptedRelay(on_req=stored(note)), dead)
    await dead.stop()
    await tried_in_vain(endpoint, dead)
    client = await endpoint.client()
    for sub in ("one", "two"):
        eose = await client.subscribe(sub, NOTES)
        assert client.after(sub, eose) < 0.7
        assert client.events(sub) == [note]


async def tried_in_vain(endpoint: Endpoint, relay: ScriptedRelay) -> None:
    """Until an attempt to connect to this relay has failed."""

    async def failed() -> bool:
        status = (await endpoint.relay(relay.url))["status"]
        return any("refused" in error.lower() for error in status["error_list"])

    for _ in range(200):
        if await failed():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it was never tried")


async def test_no_relay_configured(endpoint: Endpoint) -> None:
    client = await endpoint.client()
    eose = await client.subscribe("s", NOTES)
    assert client.after("s", eose) < 0.3
    await client.quiet(SILENT + 0.5)


@at_the_same_time
async def a_filter_that_matches_nothing_ends_at_once(pair: Pair) -> None:
    """And no relay is asked."""
    client = await pair.client()
    filters: list[Filter] = [{"ids": []}, {"kinds": [1], "#e": []}]
    for number, nothing in enumerate(filters):
        eose = await client.subscribe(f"s{number}", nothing)
        assert client.after(f"s{number}", eose) < 0.3
    await client.quiet(SILENT + 0.5)


PING = {"ids": ["a" * 64], "limit": 1}
"""Rule 3.9: what nostr-tools sends in a browser, which has no ping of its own."""


@at_the_same_time
async def the_liveness_ping_is_answered_here(pair: Pair) -> None:
    """And no relay is asked."""
    client = await pair.client()
    eose = await client.subscribe("<forced-ping>:1", PING)
    assert client.after("<forced-ping>:1", eose) < 0.3
    await client.send("CLOSE", "<forced-ping>:1")
    unknown = {"ids": [Author().sign()["id"]], "limit": 0}
    eose = await client.subscribe("ping", unknown)
    assert client.after("ping", eose) < 0.3
    await client.quiet(SILENT + 0.5)


async def test_the_liveness_ping_needs_no_relay(endpoint: Endpoint) -> None:
    client = await endpoint.client()
    eose = await client.subscribe("<forced-ping>:1", PING)
    assert client.after("<forced-ping>:1", eose) < 0.3


@at_the_same_time
async def a_replaced_subscription_gets_its_own(pair: Pair) -> None:
    author = Author()
    wanted = pair.script(author, later(0.4), later(0.4))
    client = await pair.client()
    await client.send("REQ", "s", wanted)
    await client.send("REQ", "s", {**wanted, "kinds": [2]})
    await client.eose("s")
    await client.quiet(SILENT + 0.5)
    # The first one was over before its end: one REQ answered, one withdrawn.
    assert len(client.of("EOSE", "s")) == 1
