"""Rule 2.5: what one relay has missed while another one took it.

For redundancy: in memory, a hundred for each relay.
"""

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event
from support.outbox import MUTE, Outbox, arrive, back, down, fence, heard, queue
from support.scripted_relay import Line, ScriptedRelay, accept, answer, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

BACKLOG = 100


async def dropped(endpoint: Endpoint, relay: ScriptedRelay) -> int:
    """What was too much for this relay's backlog."""
    count: int = (await endpoint.relay(relay.url))["status"]["backlog_dropped"]
    return count


async def one_is_away(
    endpoint: Endpoint, here: ScriptedRelay, away: ScriptedRelay
) -> WireClient:
    await endpoint.use(here, away)
    await down(endpoint, away)
    return await endpoint.client()


async def publish(client: WireClient, *events: Event) -> None:
    """A relay takes each of these."""
    for event in events:
        assert (await client.publish(event)).parts[2:] == [True, ""]


async def test_it_gets_what_it_missed(endpoint: Endpoint, outbox: Outbox) -> None:
    here, away, notes = ScriptedRelay(), ScriptedRelay(), Author().notes(5)
    client = await one_is_away(endpoint, here, away)
    await publish(client, *notes)
    assert outbox.table.ids() == []  # nothing of it is the outbox's
    await back(endpoint, away)
    await arrive(away, notes)
    after = await fence(client, here, away)
    assert here.published() == away.published() == [*notes, after]
    # Once: it has answered.
    await heard(client)
    await down(endpoint, away)
    await back(endpoint, away)
    last = await fence(client, here, away)
    assert away.published() == [*notes, after, last]
    assert await dropped(endpoint, away) == 0


async def test_the_newest_hundred(endpoint: Endpoint) -> None:
    here, away = ScriptedRelay(), ScriptedRelay()
    notes = Author().notes(BACKLOG + 30)
    client = await one_is_away(endpoint, here, away)
    await publish(client, *notes)
    assert await dropped(endpoint, away) == 30
    await back(endpoint, away)
    await arrive(away, notes[30:])
    after = await fence(client, here, away)
    assert away.published() == [*notes[30:], after]
    assert here.published() == [*notes, after]
    assert (await dropped(endpoint, away), await dropped(endpoint, here)) == (30, 0)


async def test_orders_are_not_repeated(endpoint: Endpoint) -> None:
    """Rule 2.6: ephemeral kinds are never sent again."""
    here, away, author = ScriptedRelay(), ScriptedRelay(), Author()
    client = await one_is_away(endpoint, here, away)
    orders = [author.sign("pay", kind=kind) for kind in (20_000, 23_194, 29_999)]
    around = [author.sign("before", kind=19_999), author.sign("after", kind=30_000)]
    await publish(client, around[0], *orders, around[1])
    await back(endpoint, away)
    await arrive(away, around)
    after = await fence(client, here, away)
    assert away.published() == [*around, after]


async def test_what_was_refused_does_not_come_later(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """The one relay there is says no, and so does the answer. The other one, back again,
    must not be sent it."""
    here, away = ScriptedRelay(on_event=answer(False, "blocked: no")), ScriptedRelay()
    client = await one_is_away(endpoint, here, away)
    refused, taken = Author().notes(2)
    assert (await client.publish(refused)).parts[2:] == [False, "blocked: no"]
    here.on_event = accept
    await publish(client, taken)
    await back(endpoint, away)
    await arrive(away, [taken])
    after = await fence(client, here, away)
    assert away.published() == [taken, after]
    assert outbox.table.ids() == []


async def test_unanswered_when_the_line_died(endpoint: Endpoint) -> None:
    """Another relay has taken it, so this one is sent it again once it is back."""

    async def half(line: Line, event: Event) -> None:
        if event in answered:
            await accept(line, event)

    here, dying, author = ScriptedRelay(), ScriptedRelay(on_event=half), Author()
    answered = author.notes(3, "answered")
    unanswered = author.notes(3, "unanswered")
    order = author.sign("pay", kind=23_194)
    await endpoint.use(here, dying)
    client = await endpoint.client()
    mixed = [event for pair in zip(answered, unanswered, strict=True) for event in pair]
    await publish(client, *mixed, order)
    await dying.until(lambda: len(dying.published()) == 7, "all events")
    await heard(client)
    dying.on_event = silent
    await down(endpoint, dying)
    dying.on_event = accept
    await back(endpoint, dying)
    await arrive(dying, [*mixed, order, *unanswered])
    after = await fence(client, here, dying)
    assert dying.published() == [*mixed, order, *unanswered, after]
    assert here.published() == [*mixed, order, after]


async def test_what_another_relay_took_from_the_outbox(
    endpoint: Endpoint, outbox: Outbox
) -> None:
    """All were away; one comes back and the outbox is empty; the other gets it all the
    same."""
    first, second, notes = ScriptedRelay(), ScriptedRelay(), Author().notes(5)
    client = await one_is_away(endpoint, first, second)
    await down(endpoint, first)
    await queue(client, *notes)
    order = Author().sign(kind=23_194)
    assert (await client.publish(order)).parts[2:] == [False, MUTE]
    await back(endpoint, first)
    await arrive(first, notes)
    await outbox.until_empty()
    await back(endpoint, second)
    await arrive(second, notes)
    after = await fence(client, first, second)
    assert first.published() == second.published() == [*notes, after]
