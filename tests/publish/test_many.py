"""Rule 1.3: at most 1,000 events are unanswered at a time."""

import asyncio
from collections import Counter

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, ids
from support.outbox import Outbox
from support.scripted_relay import Line, ScriptedRelay, accept, eose_at_once, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

MOST_UNANSWERED = 1_000


async def send_all(client: WireClient, notes: list[Event]) -> None:
    for note in notes:
        await client.send("EVENT", note)


async def answers_to(client: WireClient, notes: list[Event]) -> list[list[object]]:
    """The one answer to each of these: [accepted, message]."""
    await client.total(len(notes))
    await client.quiet(1.0)
    answers = [client.of("OK", note["id"]) for note in notes]
    assert [len(answer) for answer in answers] == [1] * len(notes)
    return [answer[0].parts[2:] for answer in answers]


async def recovers(outbox: Outbox, relay: ScriptedRelay, unanswered: list[str]) -> None:
    """The relay answers after all: what was in doubt is settled, and nothing else is
    sent."""
    relay.on_event, relay.on_req = accept, eose_at_once
    relay.line.drop()
    await outbox.until_empty()
    sent = Counter(ids(relay.published()))
    assert sorted(sent) == sorted(unanswered)
    assert max(sent.values()) == 2


async def test_a_burst_is_answered_one_by_one(endpoint: Endpoint) -> None:
    relays = [ScriptedRelay(), ScriptedRelay()]
    await endpoint.use(*relays)
    client, notes = await endpoint.client(), Author().notes(3_000)
    await send_all(client, notes)
    answers = await answers_to(client, notes)
    assert [answer for answer in answers if answer[0] is not True] == []
    for relay in relays:
        assert sorted(ids(relay.published())) == sorted(ids(notes))


async def test_what_comes_on_top_waits_for_its_turn(endpoint: Endpoint) -> None:
    held: list[tuple[Line, Event]] = []
    most = 0
    full, turn = asyncio.Event(), asyncio.Event()

    async def hold(line: Line, event: Event) -> None:
        nonlocal most
        if turn.is_set():
            await line.ok(event["id"], True)
            return
        held.append((line, event))
        most = max(most, len(held))
        if most >= MOST_UNANSWERED:
            full.set()

    relay = ScriptedRelay(on_event=hold)
    await endpoint.use(relay)
    client, notes = await endpoint.client(), Author().notes(1_200)

    async def release() -> None:
        # Not the relay's `until`: that looks when a message comes, before it is held.
        await asyncio.wait_for(full.wait(), 10)
        # Nothing may follow while these are unanswered, well before their deadline.
        await client.quiet(0.5)
        turn.set()
        for line, event in held:
            await line.ok(event["id"], True)

    releasing = asyncio.ensure_future(release())
    await send_all(client, notes)
    answers = await answers_to(client, notes)
    await releasing
    assert most == MOST_UNANSWERED
    assert all(accepted is True for accepted, _ in answers)
    assert sorted(ids(relay.published())) == sorted(ids(notes))


async def test_a_burst_past_the_thousand_is_refused(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """To a relay that answers nothing: what waited until then is not sent at the last
    moment, when no answer could come in time."""
    relay = ScriptedRelay(on_event=silent, on_req=silent)
    await endpoint.use(relay)
    client, notes = await endpoint.client(), Author().notes(1_100)
    await send_all(client, notes)
    answers = await answers_to(client, notes)
    refused = [message for accepted, message in answers if accepted is False]
    assert len(refused) == 100
    assert all(str(message).startswith("rate-limited:") for message in refused)
    assert len(relay.published()) == MOST_UNANSWERED
    await recovers(outbox, relay, ids(relay.published()))


async def test_what_never_gets_its_turn_is_refused_and_unsent(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """Nothing is answered, and two clients want more than there is room for. They take
    turns, so that places becoming free at the first deadline do not do for the first
    client's rest."""
    relay = ScriptedRelay(on_event=silent, on_req=silent)
    await endpoint.use(relay)
    clients = [await endpoint.client(), await endpoint.client()]
    wanted = [Author().notes(2_500), Author().notes(1_500)]
    await send_all(clients[0], wanted[0])
    await relay.until(lambda: len(relay.published()) >= MOST_UNANSWERED, "1,000 events")
    await clients[0].quiet(1.0)
    assert len(relay.published()) == MOST_UNANSWERED
    await send_all(clients[1], wanted[1])
    refused = 0
    for client, notes in zip(clients, wanted, strict=True):
        answers = await answers_to(client, notes)
        sent = set(ids(relay.published()))
        for note, (accepted, message) in zip(notes, answers, strict=True):
            assert accepted is (note["id"] in sent), message
            if not accepted:
                assert str(message).startswith("rate-limited:")
                refused += 1
    assert refused > 0
    await recovers(outbox, relay, ids(relay.published()))
