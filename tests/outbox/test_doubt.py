"""Rules 1.3 and 2.4: sent, and no relay has said a word about it."""

import asyncio

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, ids, now
from support.inbox import eventually
from support.outbox import (
    ANSWER_SECONDS,
    UNANSWERED,
    Outbox,
    arrive,
    asked_by_id,
    down,
    fence,
    heard,
    holding,
    queue,
)
from support.scripted_relay import (
    Filter,
    Line,
    OnReq,
    ScriptedRelay,
    accept,
    answer,
    eose_at_once,
    silent,
)
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

DEADLINE = 2.0
PATIENCE = 0.4  # seconds the answer may wait for the database


async def doubt(
    endpoint: Endpoint, outbox: Outbox, relay: ScriptedRelay, note: Event
) -> WireClient:
    """`note` was sent to this relay and is answered, but not by the relay."""
    await endpoint.use(relay)
    client = await endpoint.client()
    reply = await client.publish(note)
    there = outbox.table.ids("doubt") == [note["id"]]
    assert reply.parts == ["OK", note["id"], True, UNANSWERED]
    waited = client.after(note["id"], reply)
    assert DEADLINE - 0.1 < waited < ANSWER_SECONDS
    # It was there before the answer, unless the database took longer than it is given.
    assert there or waited > DEADLINE + PATIENCE - 0.05
    await eventually(lambda: outbox.table.ids("doubt") == [note["id"]], 5, "its row")
    return client


async def settled(outbox: Outbox, delivered: int) -> None:
    """It leaves, and counts as delivered."""
    shown = await outbox.until_empty()
    assert (shown["delivered"], shown["rows"]) == (delivered + 1, [])


async def test_a_late_true(endpoint: Endpoint, outbox: Outbox) -> None:
    """Beyond the bound: here of no event at all."""
    assert (await outbox.resize(0)).status_code == 200
    relay, note = ScriptedRelay(on_event=silent, on_req=silent), Author().sign()
    delivered = (await outbox.shown())["delivered"]
    client = await doubt(endpoint, outbox, relay, note)
    shown = await outbox.shown()
    assert (shown["queued"], shown["in_doubt"]) == (0, 1)
    assert (await outbox.row(note))["state"] == "in doubt"
    await relay.line.ok(Author().sign()["id"], True)  # of another event
    await client.fence()
    assert outbox.table.ids("doubt") == [note["id"]]
    await relay.line.ok(note["id"], True)
    await settled(outbox, delivered)
    assert relay.published() == [note]
    assert len(client.of("OK", note["id"])) == 1


async def test_a_late_false(endpoint: Endpoint, outbox: Outbox) -> None:
    relay, note = ScriptedRelay(on_event=silent, on_req=silent), Author().sign()
    client = await doubt(endpoint, outbox, relay, note)
    await relay.line.ok(note["id"], False, "blocked: after some thought")
    await outbox.until(in_doubt=0, rejected=1)
    row = await outbox.row(note)
    assert row["reasons"] == {relay.url: "blocked: after some thought"}
    relay.on_event = accept
    after = await fence(client, relay)
    assert relay.published() == [note, after]


async def test_a_relay_that_has_it(endpoint: Endpoint, outbox: Outbox) -> None:
    """It stored the event and said nothing: it is asked, and not sent it again."""
    note = Author().sign()
    seen = asyncio.Event()

    async def on_req(line: Line, sub: str, filters: list[Filter]) -> None:
        await seen.wait()
        await holding(note)(line, sub, filters)

    relay = ScriptedRelay(on_event=silent, on_req=on_req)
    delivered = (await outbox.shown())["delivered"]
    client = await doubt(endpoint, outbox, relay, note)
    seen.set()
    await relay.until(lambda: asked_by_id(relay, note), "the question", 20)
    await settled(outbox, delivered)
    await relay.until(lambda: not relay.open_subs(), "the end of the question")
    relay.on_event = accept
    after = await fence(client, relay)
    assert relay.published() == [note, after]


async def show_others(line: Line, sub: str, _: list[Filter]) -> None:
    """A relay that answers a question with what was not asked for."""
    await line.event(sub, *Author().notes(3))
    await line.eose(sub)


@pytest.mark.parametrize("on_req", [eose_at_once, show_others])
async def test_a_relay_that_does_not_have_it(
    endpoint: Endpoint, outbox: Outbox, on_req: OnReq
) -> None:
    """Asked for it, the relay has nothing to show: it is sent it again."""
    note = Author().sign()
    relay = ScriptedRelay(on_req=on_req)

    async def the_second_time(line: Line, event: Event) -> None:
        if asked_by_id(relay, event):
            await accept(line, event)

    relay.on_event = the_second_time
    delivered = (await outbox.shown())["delivered"]
    client = await doubt(endpoint, outbox, relay, note)
    await arrive(relay, [note, note])
    await settled(outbox, delivered)
    relay.on_event = accept
    after = await fence(client, relay)
    assert relay.published() == [note, note, after]


async def test_the_line_dies_before_the_answer(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """Read or not: after the reconnect it is sent again. What a line dies of twice is
    not: that is in tests/relays/test_quarantine.py."""
    times = 0

    async def drop_once(line: Line, event: Event) -> None:
        nonlocal times
        times += 1
        if times == 1:
            line.drop()
        else:
            await accept(line, event)

    relay, note = ScriptedRelay(on_event=drop_once), Author().sign()
    await endpoint.use(relay)
    client = await endpoint.client()
    reply = await client.publish(note)
    assert reply.parts[2] is True
    await arrive(relay, [note] * 2, 40)
    await outbox.until_empty()
    assert outbox.table.ids() == []
    after = await fence(client, relay)
    assert relay.published() == [*[note] * 2, after]


async def test_one_says_no_and_one_says_nothing(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    refusing = ScriptedRelay(on_event=answer(False, "blocked: no"))
    quiet = ScriptedRelay(on_event=silent, on_req=silent)
    await endpoint.use(refusing, quiet)
    client, note = await endpoint.client(), Author().sign()
    reply = await client.publish(note)
    assert reply.parts[2:] == [True, "sent to 2 relays, unanswered"]
    row = await outbox.row(note)
    assert row["state"] == "in doubt"
    await quiet.line.ok(note["id"], True)
    await outbox.until_empty()
    assert (refusing.published(), quiet.published()) == ([note], [note])


async def test_only_a_relay_that_was_sent_it_may_settle_it(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """One that takes no writes says it has it, and shows it to who has not asked."""
    stranger = ScriptedRelay()
    relay = ScriptedRelay(on_event=silent, on_req=silent)
    await endpoint.use(stranger)
    response = await endpoint.http.put(
        f"{endpoint.base}/relay", json={"url": stranger.url, "write": False}
    )
    assert response.status_code == 200
    doubtful, queued = Author().notes(2)
    client = await doubt(endpoint, outbox, relay, doubtful)
    await down(endpoint, relay)
    await queue(client, queued)
    for event in (doubtful, queued):
        await stranger.line.ok(event["id"], True)
        await stranger.line.event("x", event)
    await heard(client)
    assert outbox.table.ids() == ids([doubtful, queued])
    shown = await outbox.shown()
    assert (shown["queued"], shown["in_doubt"]) == (1, 1)
    assert stranger.published() == []


async def test_it_expires_in_doubt(endpoint: Endpoint, outbox: Outbox) -> None:
    relay = ScriptedRelay(on_event=silent, on_req=silent)
    note = Author().sign("offer", tags=[["expiration", str(now() + 4)]])
    before = await outbox.shown()
    await doubt(endpoint, outbox, relay, note)
    relay.on_req = eose_at_once
    relay.line.drop()
    await outbox.until_dropped(before, expired=1)
    await outbox.until_empty()
    assert all(event == note for event in relay.published())
