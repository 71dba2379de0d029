"""Rules 2: what is published while every relay is away is kept, and sent later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.lnbits_server import LNbits
from support.copied import copy_of
from support.endpoint import Endpoint
from support.events import Author, Event, ids, now
from support.outbox import (
    ANSWER_SECONDS,
    FULL,
    INFO,
    QUEUED,
    REPLACEABLE,
    REPLACED,
    SIZE,
    Outbox,
    Table,
    arrive,
    back,
    down,
    fence,
    outage,
    publish_all,
    queue,
)
from support.scripted_relay import Line, ScriptedRelay, silent

pytestmark = pytest.mark.asyncio


async def test_it_arrives_in_the_order_published(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay, notes = ScriptedRelay(), Author().notes(20)
    notes = notes[10:] + notes[:10]  # not by `created_at`
    client = await outage(endpoint, relay)
    delivered = (await outbox.shown())["delivered"]
    await queue(client, *notes)
    assert outbox.table.ids("queued") == ids(notes)
    await back(endpoint, relay)
    await arrive(relay, notes)
    shown = await outbox.until_empty()
    assert shown["delivered"] == delivered + len(notes)
    # Nothing of it goes out twice, and what comes now goes past the outbox.
    after = await fence(client, relay)
    assert relay.published() == [*notes, after]


async def test_a_wallet_that_connects_anew_finds_its_service(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """Rule 2.8: with every relay away, what waits answers requests, once."""
    relay, service = ScriptedRelay(), Author()
    client = await outage(endpoint, relay)
    info = service.sign(kind=INFO, content="pay_invoice")
    await queue(client, info, Author().sign(kind=INFO))
    wallet = await endpoint.client()
    await wallet.subscribe("info", {"kinds": [INFO], "authors": [service.pubkey]})
    assert wallet.events("info") == [info]
    relay.on_event = echo
    await back(endpoint, relay)
    await outbox.until_empty()
    await wallet.quiet(1.0)


async def echo(line: Line, event: Event) -> None:
    await line.live(event)
    await line.ok(event["id"], True)


async def test_every_relay_that_takes_writes_gets_it(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    one, two, reading = ScriptedRelay(), ScriptedRelay(), ScriptedRelay()
    await endpoint.use(reading)
    response = await endpoint.http.put(
        f"{endpoint.base}/relay", json={"url": reading.url, "write": False}
    )
    assert response.status_code == 200
    client = await outage(endpoint, one, two)
    notes = Author().notes(5)
    await queue(client, *notes)  # though a relay is connected: it takes no writes
    await back(endpoint, one, two)
    await arrive(one, notes)
    await arrive(two, notes)
    await outbox.until_empty()
    await fence(client, one, two)
    assert reading.published() == []


async def test_the_answer_comes_after_the_commit(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay = ScriptedRelay()
    client = await outage(endpoint, relay)
    first, *notes = Author().notes(30)
    with outbox.table.locked("IMMEDIATE"):  # nobody else can commit
        await client.send("EVENT", first)
        await client.quiet(0.5)
        assert outbox.table.ids() == []
    assert (await client.ok(first["id"])).parts[2:] == [True, QUEUED]
    assert outbox.table.ids() == [first["id"]]
    for number, note in enumerate(notes, 1):
        await queue(client, note)
        assert outbox.table.ids()[number:] == [note["id"]]


async def test_events_queued_at_once_share_a_commit(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay, notes = ScriptedRelay(), Author().notes(SIZE)
    client = await outage(endpoint, relay)
    before = outbox.table.commits()
    replies = await publish_all(client, notes)
    assert [reply.parts[2:] for reply in replies] == [[True, QUEUED]] * SIZE
    assert 1 <= outbox.table.commits() - before <= SIZE // 4
    # Signatures are verified side by side: of one burst, any order is right.
    kept = outbox.table.ids()
    assert sorted(kept) == sorted(ids(notes))
    # Nor does each of them cost one when it leaves.
    before = outbox.table.commits()
    await back(endpoint, relay)
    await outbox.until_empty()
    assert ids(relay.published()) == kept
    assert 1 <= outbox.table.commits() - before <= SIZE // 2


async def test_publishing_writes_nothing(endpoint: Endpoint, outbox: Outbox) -> None:
    """With a relay up and answering, the database is not touched."""
    relay, notes = ScriptedRelay(), Author().notes(200)
    await endpoint.use(relay)
    client = await endpoint.client()
    await outbox.until_empty()
    watching = outbox.table.connect()
    try:

        def seen() -> tuple[int, int, int]:
            version = watching.execute("PRAGMA data_version").fetchone()[0]
            return version, outbox.table.commits(), outbox.table.path.stat().st_mtime_ns

        before = seen()
        for note in notes[:100]:
            assert (await client.publish(note)).parts[2:] == [True, ""]
        for reply in await publish_all(client, notes[100:]):
            assert reply.parts[2:] == [True, ""]
        assert seen() == before
        # And this is what it looks like when it is touched.
        await down(endpoint, relay)
        await queue(client, Author().sign())
        assert all(new > old for new, old in zip(seen(), before, strict=True))
    finally:
        watching.close()


async def test_the_hundred_and_first_is_refused(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay, notes = ScriptedRelay(), Author().notes(SIZE + 1)
    client = await outage(endpoint, relay)
    await queue(client, *notes[:SIZE])
    for _ in range(2):
        assert (await client.publish(notes[SIZE])).parts[2:] == [False, FULL]
    reply = await client.publish(notes[0])
    assert reply.parts[2] is True and reply.parts[3].startswith("duplicate:")
    shown = await outbox.shown()
    assert (shown["size"], shown["queued"], len(shown["rows"])) == (SIZE, SIZE, SIZE)
    await back(endpoint, relay)
    await arrive(relay, notes[:SIZE])
    await outbox.until_empty()
    # There is room again, and the refused one has not gone out by itself.
    after = await fence(client, relay)
    assert relay.published() == [*notes[:SIZE], after]
    assert (await client.publish(notes[SIZE])).parts[2] is True


async def test_a_bound_below_the_depth(endpoint: Endpoint, outbox: Outbox) -> None:
    """Nothing is lost; new events wait for room, or for a larger bound."""
    relay = ScriptedRelay()
    client = await outage(endpoint, relay)
    first, (removed, late, larger, refused) = Author().notes(8), Author().notes(4)
    await queue(client, *first, removed)
    assert (await outbox.resize(8)).status_code == 200
    assert "9 events are queued, and at most 8 may be" in endpoint.lnbits.log()
    assert (await client.publish(late)).parts[2:] == [False, FULL]
    shown = await outbox.shown()
    assert (shown["size"], shown["queued"]) == (8, 9)
    assert outbox.table.ids() == ids([*first, removed])

    # Eight are still as many as there may be. With one more gone, there is room.
    assert (await outbox.delete(removed["id"])).status_code == 200
    assert (await client.publish(late)).parts[2:] == [False, FULL]
    gone = first.pop(3)
    assert (await outbox.delete(gone["id"])).status_code == 200
    await queue(client, late)
    assert (await client.publish(larger)).parts[2:] == [False, FULL]
    assert (await outbox.resize(9)).status_code == 200
    await queue(client, larger)
    assert (await client.publish(refused)).parts[2:] == [False, FULL]

    # None at all may be kept: what is there stays.
    assert (await outbox.resize(0)).status_code == 200
    assert (await client.publish(refused)).parts[2:] == [False, FULL]
    await back(endpoint, relay)
    await arrive(relay, [*first, late, larger])
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [*first, late, larger, after]


async def test_the_info_of_every_minute_takes_one_place(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """A NIP-47 service publishes its 13194 again every minute of an outage."""
    relay, service, other = ScriptedRelay(), Author(), Author()
    client = await outage(endpoint, relay)
    before = await outbox.shown()
    start = now() - 120 * 60
    infos = [
        service.sign("pay_invoice", kind=INFO, created_at=start + 60 * minute)
        for minute in range(120)
    ]
    others = other.sign("pay_invoice", kind=INFO, created_at=start)
    await queue(client, infos[0], others)
    for info in infos[1:]:
        assert (await client.publish(info)).parts[2:] == [True, QUEUED]
        assert sorted(outbox.table.ids()) == sorted(ids([others, info]))
    assert (await outbox.shown())["queued"] == 2
    # An older one that comes late does not take the newer one's place.
    late = service.sign("pay_invoice", kind=INFO, created_at=start + 30)
    assert (await client.publish(late)).parts[2:] == [False, REPLACED]
    await outbox.until_dropped(before, superseded=119)
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert sorted(ids(relay.published())) == sorted(ids([others, infos[-1], after]))


async def test_replaceable_and_addressable_kinds(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """One place for (pubkey, kind) or (pubkey, kind, d), in a full outbox, too. Of the
    same second the lower id stays (NIP-01)."""
    relay, author, start = ScriptedRelay(), Author(), now() - 100
    client = await outage(endpoint, relay)

    def page(name: str, age: int) -> Event:
        tags = [["d", name], ["d", "not this one"]]
        return author.sign(
            f"{name} {age}", kind=30_023, tags=tags, created_at=start - age
        )

    profile = [author.sign(str(age), kind=0, created_at=start - age) for age in (2, 1)]
    kept = [page("one", 0), page("two", 5), page("", 7)]
    older = [page("one", 9), page("two", 9), page("", 9), profile[0]]
    notes = [author.sign("note", created_at=start - age) for age in (2, 1)]
    await queue(client, *older, *notes)
    assert (await outbox.resize(len(older) + len(notes))).status_code == 200
    for new in (author.sign("one more"), author.sign(kind=REPLACEABLE)):
        assert (await client.publish(new)).parts[2:] == [False, FULL]
    await queue(client, *kept, profile[1])

    twins = [author.sign(text, kind=0, created_at=start) for text in "abc"]
    low, middle, high = sorted(twins, key=lambda event: str(event["id"]))
    await queue(client, middle)
    assert (await client.publish(high)).parts[2:] == [False, REPLACED]
    await queue(client, low)
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    expected = [*kept, low, *notes, after]
    assert sorted(ids(relay.published())) == sorted(ids(expected))


async def test_published_again_while_it_waits(endpoint: Endpoint, outbox: Outbox) -> None:
    relay, note = ScriptedRelay(), Author().sign()
    client = await outage(endpoint, relay)
    other = await endpoint.client()
    for one in (client, client, other):
        await one.send("EVENT", note)
    replies = await client.oks(note["id"], 2) + await other.oks(note["id"], 1)
    assert all(reply.parts[2] is True for reply in replies)
    reply = await client.publish(note)
    assert reply.parts[2] is True and reply.parts[3].startswith("duplicate:")
    assert outbox.table.ids() == [note["id"]]
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [note, after]


async def test_the_extension_is_switched_off_and_on(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    relay, notes = ScriptedRelay(), Author().notes(10)
    client = await outage(endpoint, relay)
    await queue(client, *notes)
    for _ in range(2):
        async with outbox.restarted():
            assert outbox.table.ids() == ids(notes)
        await outbox.until(queued=10)
    late = Author().sign("late")
    await queue(await endpoint.client(), late)
    await back(endpoint, relay)
    await arrive(relay, [*notes, late])
    await outbox.until_empty()


@asynccontextmanager
async def running(lnbits: LNbits) -> AsyncIterator[Endpoint]:
    """From a start on; the caller ends it in his own way."""
    await asyncio.to_thread(lnbits.start)
    endpoint = Endpoint(lnbits)
    try:
        yield endpoint
    finally:
        await endpoint.close()
        await asyncio.to_thread(lnbits.stop)


async def test_the_server_ends_and_starts_again(lnbits: LNbits, tmp_path: Path) -> None:
    """By SIGTERM and by a power cut: every event is there, and arrives once."""
    lnbits, relay = copy_of(lnbits, tmp_path / "data"), ScriptedRelay()
    silent_relay = ScriptedRelay(on_event=silent, on_req=silent)
    table = Table(lnbits)
    before_stop, before_kill, (doubtful, *_) = (Author().notes(5) for _ in range(3))
    try:
        async with running(lnbits) as endpoint:
            await endpoint.reset()
            client = await outage(endpoint, relay)
            await endpoint.use(silent_relay)
            assert (await client.publish(doubtful)).parts[2] is True
            await endpoint.remove(silent_relay.url)
            await queue(client, *before_stop)
            await asyncio.to_thread(lnbits.stop)
        async with running(lnbits) as endpoint:
            client = await endpoint.client()
            await queue(client, *before_kill[:-1])
            reply = await client.publish(before_kill[-1], seconds=ANSWER_SECONDS)
            lnbits.kill()
            assert reply.parts[2:] == [True, QUEUED]
        expected = [doubtful, *before_stop, *before_kill]
        assert table.ids() == ids(expected)
        assert table.ids("doubt") == [doubtful["id"]]
        await relay.start()
        async with running(lnbits) as endpoint:
            outbox = Outbox(endpoint)
            await outbox.until_empty()
            after = await fence(await endpoint.client(), relay)
            assert sorted(ids(relay.published())) == sorted(ids([*expected, after]))
            queued = [event for event in relay.published() if event != doubtful]
            assert queued == [*before_stop, *before_kill, after]
            assert "Traceback" not in lnbits.log()
    finally:
        await asyncio.to_thread(lnbits.stop)
        lnbits.http.close()
        await relay.stop()
