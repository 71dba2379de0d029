"""Rules 1.5 and 2: what is never kept, what is given up, and what is tried again."""

import time

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, Tags, ids, now
from support.inbox import eventually
from support.outbox import (
    MUTE,
    UNANSWERED,
    WALLET_KINDS,
    Outbox,
    arrive,
    back,
    down,
    fence,
    heard,
    outage,
    queue,
)
from support.scripted_relay import Line, ScriptedRelay, answer, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

RETRY_FIRST = 5.0  # seconds until a `rate-limited:` event is sent again
REJECTED = 100  # are kept
REFUSED = "blocked: we do not know you"


# Money: a payment order that comes late pays a bill that was paid otherwise.


@pytest.mark.parametrize("kind", WALLET_KINDS.values(), ids=WALLET_KINDS.keys())
async def test_an_order_is_refused_and_never_sent(
    endpoint: Endpoint, outbox: Outbox, kind: int
) -> None:
    relays = [ScriptedRelay(), ScriptedRelay()]
    client = await outage(endpoint, *relays)
    order = Author().sign("pay", kind=kind, tags=[["p", Author().pubkey]])
    note = Author().sign("storable")
    reply = await client.publish(order, seconds=1)
    assert reply.parts == ["OK", order["id"], False, MUTE]
    await queue(client, note)
    assert outbox.table.ids() == [note["id"]]
    await back(endpoint, *relays)
    await outbox.until_empty()
    after = await fence(client, *relays)
    for relay in relays:
        assert relay.published() == [note, after]
    # It was refused for the moment, not for good.
    assert (await client.publish(order)).parts[2] is True
    await relays[0].until(lambda: order in relays[0].published(), "the order")
    assert relays[0].published() == [note, after, order]


@pytest.mark.parametrize("kind", WALLET_KINDS.values(), ids=WALLET_KINDS.keys())
async def test_an_order_is_written_once(
    endpoint: Endpoint, outbox: Outbox, kind: int
) -> None:
    """Its line dies with it: nobody knows whether it was read, so it is not repeated."""

    async def drop(line: Line, _: Event) -> None:
        line.drop()

    relay = ScriptedRelay(on_event=drop)
    await endpoint.use(relay)
    client, order = await endpoint.client(), Author().sign("pay", kind=kind)
    reply = await client.publish(order)
    assert reply.parts[2:] == [True, UNANSWERED]
    assert outbox.table.ids() == []
    relay.on_event = answer(True)
    await endpoint.until_relay(relay.url, connected=True)
    after = await fence(client, relay)
    assert relay.published() == [order, after]

    # As little is one kept that a relay does not answer.
    relay.on_event = silent
    order = Author().sign("pay again", kind=kind)
    assert (await client.publish(order)).parts[2] is True
    assert outbox.table.ids() == []
    relay.on_event = answer(True)
    relay.line.drop()
    await relay.connections(3)  # the page may not see that short a while without one
    await endpoint.until_relay(relay.url, connected=True)
    last = await fence(client, relay)
    assert ids(relay.published()[2:]) == ids([order, last])


# Relays that refuse.


async def refused_by(
    endpoint: Endpoint, outbox: Outbox, *relays: ScriptedRelay
) -> tuple[WireClient, Event]:
    """An event that was queued and that all of these relays have refused."""
    client, note = await outage(endpoint, *relays), Author().sign()
    await queue(client, note)
    await back(endpoint, *relays)
    await outbox.until(rejected=1, queued=0)
    return client, note


async def test_refused_by_every_relay(endpoint: Endpoint, outbox: Outbox) -> None:
    """It is kept with the reasons, and sent again when the admin says so."""
    relays = [
        ScriptedRelay(on_event=answer(False, REFUSED)),
        ScriptedRelay(on_event=answer(False, "")),
        ScriptedRelay(on_event=answer(False, "pow: 28 bits needed")),
    ]
    client, note = await refused_by(endpoint, outbox, *relays)
    row = await outbox.row(note)
    assert row["state"] == "rejected"
    assert set(row["reasons"]) == {relay.url for relay in relays}
    assert row["reasons"][relays[0].url] == REFUSED
    assert row["reasons"][relays[2].url] == "pow: 28 bits needed"
    assert outbox.table.ids("rejected") == [note["id"]]
    after = Author().sign("after")
    assert (await client.publish(after)).parts[2] is False
    for relay in relays:
        assert relay.published() == [note, after]

    # Nothing sends it by itself, nor does a relay that comes back.
    for relay in relays:
        relay.on_event = answer(True)
    await down(endpoint, relays[0])
    await back(endpoint, relays[0])
    last = await fence(client, *relays)
    assert all(relay.published()[2:] == [last] for relay in relays)

    assert (await outbox.retry(note["id"])).status_code == 200
    shown = await outbox.until_empty()
    assert (shown["rejected"], shown["rows"]) == (0, [])
    for relay in relays:
        await arrive(relay, [note, after, last, note])


async def test_a_rejected_one_is_deleted(endpoint: Endpoint, outbox: Outbox) -> None:
    relay = ScriptedRelay(on_event=answer(False, REFUSED))
    client, note = await refused_by(endpoint, outbox, relay)
    assert (await outbox.delete(note["id"])).status_code == 200
    shown = await outbox.shown()
    assert (shown["rejected"], shown["rows"], outbox.table.ids()) == (0, [], [])
    relay.on_event = answer(True)
    after = await fence(client, relay)
    assert relay.published() == [note, after]
    # A client may well try again.
    assert (await client.publish(note)).parts[2] is True
    assert relay.published() == [note, after, note]


async def test_a_rejected_one_takes_no_room(endpoint: Endpoint, outbox: Outbox) -> None:
    """It stays over a restart, and beside a bound of one event another is queued."""
    relay = ScriptedRelay(on_event=answer(False, REFUSED))
    _, note = await refused_by(endpoint, outbox, relay)
    await outbox.resize(1)
    await down(endpoint, relay)
    async with outbox.restarted():
        assert outbox.table.ids("rejected") == [note["id"]]
    row = await outbox.row(note)
    assert (row["state"], row["reasons"]) == ("rejected", {relay.url: REFUSED})
    client, other = await endpoint.client(), Author().sign("other")
    await queue(client, other)
    relay.on_event = answer(True)
    await back(endpoint, relay)
    await outbox.until(queued=0)
    after = await fence(client, relay)
    assert relay.published() == [note, other, after]


async def test_a_rejected_one_is_published_again(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """It starts anew, as an event does that nobody has seen."""
    relay = ScriptedRelay(on_event=answer(False, REFUSED))
    client, note = await refused_by(endpoint, outbox, relay)
    assert (await client.publish(note)).parts[2:] == [False, REFUSED]
    await down(endpoint, relay)
    await queue(client, note)
    row = await outbox.row(note)
    assert (row["state"], row["reasons"]) == ("queued", {})
    relay.on_event = answer(True)
    await back(endpoint, relay)
    await outbox.until_empty()
    assert outbox.table.ids() == []
    after = await fence(client, relay)
    assert relay.published() == [note, note, note, after]


async def test_a_hundred_rejected_ones_are_kept(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """The newest. Nobody may fill the database with what no relay wants."""
    relay = ScriptedRelay(on_event=answer(False, REFUSED))
    client, notes = await outage(endpoint, relay), Author().notes(REJECTED + 5)
    await outbox.resize(len(notes))
    await queue(client, *notes)
    await back(endpoint, relay)
    shown = await outbox.until(queued=0)
    await heard(client)
    assert shown["rejected"] == REJECTED
    kept = ids(notes[5:])
    assert sorted(row["id"] for row in shown["rows"]) == sorted(kept)
    await eventually(lambda: outbox.table.ids() == kept, 5, "the same in the table")


async def test_one_refuses_and_one_is_away(endpoint: Endpoint, outbox: Outbox) -> None:
    refusing = ScriptedRelay(on_event=answer(False, REFUSED))
    away = ScriptedRelay()
    client, note = await outage(endpoint, refusing, away), Author().sign()
    await queue(client, note)
    await back(endpoint, refusing)
    await arrive(refusing, [note])
    after = Author().sign("after")
    assert (await client.publish(after)).parts[2:] == [False, REFUSED]
    row = await outbox.row(note)
    assert (row["state"], row["reasons"]) == ("queued", {refusing.url: REFUSED})
    await back(endpoint, away)
    await arrive(away, [note])
    await outbox.until_empty()
    assert (await outbox.shown())["rows"] == []
    await fence(client, away)
    assert refusing.published()[:2] == [note, after]
    assert refusing.published().count(note) == 1


async def test_not_now_is_no_refusal(endpoint: Endpoint, outbox: Outbox) -> None:
    """`rate-limited:` and `auth-required:` are tried again, after a pause."""
    limited, locked, plain = Author().notes(3)
    answers = {
        limited["id"]: "rate-limited: slow down",
        locked["id"]: "auth-required: who are you",
    }
    at: dict[str, list[float]] = {limited["id"]: [], locked["id"]: []}

    async def not_now(line: Line, event: Event) -> None:
        times = at.setdefault(event["id"], [])
        times.append(time.monotonic())
        if event["id"] in answers and len(times) == 1:
            await line.ok(event["id"], False, answers[event["id"]])
        else:
            await line.ok(event["id"], True)

    relay = ScriptedRelay(on_event=not_now)
    client = await outage(endpoint, relay)
    await queue(client, limited, locked, plain)
    await back(endpoint, relay)
    # The others are not held up.
    await outbox.until(queued=2)
    assert set(outbox.table.ids("queued")) == set(answers)
    for event in (limited, locked):
        row = await outbox.row(event)
        assert row["state"] == "queued"
        assert row["reasons"] == {relay.url: answers[event["id"]]}
    shown = await outbox.until_empty()
    assert shown["rejected"] == 0
    for event in (limited, locked):
        first, second = at[event["id"]]
        assert RETRY_FIRST * 0.4 < second - first < RETRY_FIRST * 2


# What the author no longer wants, or never wanted that late.


async def test_what_expires_meanwhile_is_not_sent(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay, author = ScriptedRelay(), Author()
    client, before = await outage(endpoint, relay), await outbox.shown()
    expires = now() + 2
    short = author.sign("offer", tags=[["expiration", str(expires)]])
    long = author.sign("offer", tags=[["expiration", str(expires + 3600)]])
    await queue(client, short, long)
    await eventually(lambda: time.time() > expires + 1, 5, "the offer's end")
    await back(endpoint, relay)
    await outbox.until_dropped(before, expired=1)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [long, after]


async def test_what_expires_while_nothing_runs_is_not_sent(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay = ScriptedRelay()
    client, expires = await outage(endpoint, relay), now() + 2
    short = Author().sign("offer", tags=[["expiration", str(expires)]])
    note = Author().sign("stays")
    await queue(client, short, note)
    async with outbox.restarted():
        await eventually(lambda: time.time() > expires + 1, 5, "the offer's end")
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(await endpoint.client(), relay)
    assert relay.published() == [note, after]


async def withdrawn(
    endpoint: Endpoint,
    outbox: Outbox,
    events: list[Event],
    *requests: Event,
    kept: list[Event],
) -> None:
    """Queue these events and then the requests; only `kept` and the requests are sent."""
    relay = ScriptedRelay()
    client, before = await outage(endpoint, relay), await outbox.shown()
    await queue(client, *events, *requests)
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [*kept, *requests, after]
    await outbox.until_dropped(before, withdrawn=len(events) - len(kept))


async def test_withdrawn_by_id(endpoint: Endpoint, outbox: Outbox) -> None:
    """NIP-09: a kind 5 of the same author, and of nobody else."""
    author, other = Author(), Author()
    events = [*author.notes(3), *other.notes(2)]
    tags: Tags = [["e", events[0]["id"]], ["e", events[2]["id"]], ["e", events[3]["id"]]]
    request = author.sign("a mistake", kind=5, tags=tags)
    kept = [events[1], *events[3:]]
    await withdrawn(endpoint, outbox, events, request, kept=kept)


async def test_withdrawn_by_address(endpoint: Endpoint, outbox: Outbox) -> None:
    """Every version up to the request's date; the other names and authors stay."""
    author, other, moment = Author(), Author(), now() - 100

    def page(by: Author, name: str, kind: int = 30_023, later: int = 0) -> Event:
        created = moment + later
        return by.sign("page", kind=kind, tags=[["d", name]], created_at=created)

    events = [
        page(author, "gone"),
        page(author, "kept"),
        page(author, "gone", kind=30_024),
        page(author, "later", later=20),
        page(other, "gone"),
        author.sign(kind=10_002, created_at=moment),
    ]
    addresses = [
        f"30023:{author.pubkey}:gone",
        f"30023:{author.pubkey}:later",
        f"30023:{other.pubkey}:gone",
        f"10002:{author.pubkey}:",
    ]
    tags = [["a", address] for address in addresses]
    request = author.sign(kind=5, tags=tags, created_at=moment + 10)
    await withdrawn(endpoint, outbox, events, request, kept=events[1:5])


async def test_withdrawn_all_at_once(endpoint: Endpoint, outbox: Outbox) -> None:
    """NIP-62: a request to vanish, to every relay."""
    leaving, staying, elsewhere = Author(), Author(), Author()
    moment = now() - 100
    late = leaving.sign("born again", created_at=moment + 20)
    events = [
        leaving.sign("note", created_at=moment),
        leaving.sign("page", kind=30_023, tags=[["d", "x"]], created_at=moment),
        late,
        staying.sign("note", created_at=moment),
        elsewhere.sign("note", created_at=moment),
    ]
    vanish = leaving.sign(kind=62, tags=[["relay", "ALL_RELAYS"]], created_at=moment + 10)
    one_relay = elsewhere.sign(
        kind=62, tags=[["relay", "wss://relay.invalid"]], created_at=moment + 10
    )
    kept = [late, *events[3:]]
    await withdrawn(endpoint, outbox, events, vanish, one_relay, kept=kept)


async def test_withdrawn_while_a_relay_is_there(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """The request goes to the relay at once; what it withdraws waits for a retry."""
    relay, author = ScriptedRelay(), Author()
    client, note = await outage(endpoint, relay), author.sign("a mistake")
    before = await outbox.shown()
    request = author.sign(kind=5, tags=[["e", note["id"]]])
    relay.on_event = answer(False, "rate-limited: one at a time")
    await queue(client, note)
    await back(endpoint, relay)
    await arrive(relay, [note])
    relay.on_event = answer(True)
    assert (await client.publish(request)).parts[2] is True
    await outbox.until_dropped(before, withdrawn=1)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [note, request, after]
