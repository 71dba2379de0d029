"""What can cross each other around the client all extensions share: answers that come
late, cores that follow each other, threads, bad input."""

import asyncio
import json
import sys
import threading
from threading import Event
from typing import Any

import pytest
from nostrclient_ext import router
from nostrclient_ext.core import running as core
from nostrclient_ext.core.library import CoreUnavailable
from nostrclient_ext.inside import publications, urls
from nostrclient_ext.models import Relay
from nostrclient_ext.nostr.message_pool import EventMessage
from nostrclient_ext.outbox.rows import OutboxRows
from nostrclient_ext.relays import changes
from nostrclient_ext.router import NostrRouter, nostr_client

from support.events import Author, now
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay, silent, stored
from support.surface import Server, another_copy

pytestmark = pytest.mark.asyncio

manager = nostr_client.relay_manager
events = NostrRouter.received_subscription_events
ends = NostrRouter.received_subscription_eosenotices


@pytest.fixture(autouse=True)
def tidy() -> Any:
    yield
    ends.clear()
    manager.message_pool.eose_notices.queue.clear()
    manager.message_pool.events.queue.clear()
    inside: Any = manager._inside
    inside.close()


async def test_no_second_end_and_no_old_order_after_a_refusal(
    server: Server, relay: ScriptedRelay
) -> None:
    """The only relay ends a subscription that has had its EOSE, goes away, comes back and
    replays an order that its wallet has given up on."""
    order = Author().sign(kind=23_194, created_at=now() - 60)
    await server.start()
    manager.add_subscription("s", [{"kinds": [23_194]}])
    first = await relay.req()
    await eventually(lambda: ends.pop("s", None), 5, "its EOSE")
    await first.closed("error: shutting down")
    relay.on_req = stored(order)
    await asyncio.sleep(0.2)
    relay.line.drop()
    await relay.req(2, 20)
    await asyncio.sleep(0.5)
    assert ([m.event_id for m in events.get("s", [])], list(ends)) == ([], [])


async def test_a_replaced_subscription_waits_for_its_own_end(server: Server) -> None:
    """The end of the old one is on its way when the new one is asked for."""
    running = await server.start()  # no relay: the end comes at once
    manager.add_subscription("s", [{"kinds": [1]}])
    Event().wait(0.3)  # the loop is busy, the core is not
    async with ScriptedRelay(on_req=silent) as relay:
        running.core.add_relay(relay.url)
        manager.add_subscription("s", [{"kinds": [7]}])
        await relay.req()
        await asyncio.sleep(0.3)
        assert list(ends) == []  # the relay has said nothing


async def test_an_end_counts_for_the_subscription_it_belongs_to(
    server: Server, relay: ScriptedRelay
) -> None:
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await eventually(lambda: "s" in ends, 5, "its EOSE")
    relay.on_req = silent
    manager.add_subscription("s", [{"kinds": [7]}])
    await relay.req(2)
    assert "s" not in ends


async def test_a_closed_one_leaves_no_end_in_the_pool(
    server: Server, relay: ScriptedRelay
) -> None:
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await eventually(manager.message_pool.has_eose_notices, 5, "its EOSE")
    manager.close_subscription("s")
    assert not manager.message_pool.has_eose_notices()


async def test_a_gap_that_is_not_filled_yet_is_asked_for_by_the_next_core(
    server: Server, relay: ScriptedRelay
) -> None:
    """The relay is connected when the core stops, but owes what was missed before."""
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    await eventually(lambda: "s" in ends, 5, "its EOSE")
    relay.on_req = silent
    relay.line.drop()
    second = await relay.req(2, 20)
    await asyncio.sleep(3)  # hours, in real life
    await server.stop()
    await server.start()
    third = await relay.req(3)
    assert third.filters[0]["since"] <= second.filters[0]["since"] + 2


async def test_what_a_relay_owes_from_the_beginning_is_asked_for_again(
    server: Server, relay: ScriptedRelay
) -> None:
    """A relay that takes its time: the client's EOSE has not waited for it."""
    relay.on_req = silent
    await server.start()
    async with ScriptedRelay() as quick:
        server.relays.append(quick.url)
        await server.stop()
        await server.start()
        manager.add_subscription("s", [{"kinds": [1]}])
        await relay.req()
        await eventually(lambda: "s" in ends, 10, "its EOSE")
        await server.stop()
        await server.start()
        again = await relay.req(2)
        assert "since" not in again.filters[0]


async def test_what_is_published_while_no_relay_is_configured(server: Server) -> None:
    """docs/python.md: what is published while the extension has no relay waits."""
    note = Author().sign()
    running = await server.start()
    manager.publish_message(json.dumps(["EVENT", note]))
    await asyncio.sleep(0.3)
    async with ScriptedRelay() as relay:
        running.core.add_relay(relay.url)
        await relay.until(lambda: relay.published(), "the note", 5)


async def test_what_the_database_did_not_take_waits(
    server: Server, relay: ScriptedRelay
) -> None:
    """docs/python.md: kept until a relay or the outbox has it."""
    note = Author().sign()
    await relay.stop()
    await server.start()
    await asyncio.sleep(0.3)
    async with OutboxRows("nobody")._db.connect() as connection:
        await connection.execute("DROP TABLE nostrclient.outbox")
    manager.publish_message(json.dumps(["EVENT", note]))
    await asyncio.sleep(4)
    assert manager.unanswered == 1
    await relay.start()
    manager.check_and_restart_relays()
    await relay.until(lambda: relay.published(), "the note", 10)


async def test_one_relay_by_every_spelling(server: Server, relay: ScriptedRelay) -> None:
    """A consumer has the url from `crud.get_relays`, as the owner typed it."""
    await server.start()
    await relay.connected()
    assert manager.relays.get(relay.url + "/") is not None


async def test_messages_nobody_can_read_leave_room_for_others(
    server: Server, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's JSON has more in it than JSON: the core answers with no id."""
    monkeypatch.setattr(publications, "MAX_PUBLICATIONS", 20)
    await server.start()
    for number in range(20):
        manager.publish_message(f'["EVENT",{{"id":"{number:064x}","x":NaN}}]')
    await asyncio.sleep(0.3)
    note = Author().sign()
    manager.publish_message(json.dumps(["EVENT", note]))
    await relay.until(lambda: relay.published(), "the note", 5)


async def test_a_message_that_is_no_text_costs_nobody_else(
    server: Server, relay: ScriptedRelay
) -> None:
    note = Author().sign()
    wrong: Any = json.dumps(["EVENT", Author().sign()]).encode()
    manager.publish_message(wrong)
    manager.publish_message(json.dumps(["EVENT", note]))
    await server.start()  # gives every client its core
    await relay.until(lambda: note in relay.published(), "the note", 5)


async def test_a_wrong_url_from_before_costs_nobody_else(
    server: Server, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy imported first has no library for this machine; the next one has."""

    def no_library() -> Any:
        raise CoreUnavailable("no native library")

    monkeypatch.setattr(urls, "load", no_library)
    manager.add_relay("no relay")
    manager.add_subscription("s", [{"kinds": [1]}])
    await server.start()
    await relay.req(1, 5)


async def test_a_switched_off_relay_stays_off_by_every_spelling(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_library() -> Any:
        raise CoreUnavailable("no native library")

    monkeypatch.setattr(urls, "load", no_library)
    async with ScriptedRelay() as unwanted:
        server.switched_off.add(unwanted.url)
        manager.add_relay(unwanted.url + "/")
        await server.start()
        await asyncio.sleep(1)
        assert not unwanted.connected_at


async def test_a_relay_the_owner_removes_stays_removed(server: Server) -> None:
    async with ScriptedRelay() as relay, ScriptedRelay() as other:
        running = await server.start()
        running.core.add_relay(relay.url)
        manager.add_relay(relay.url)
        await relay.connected()
        # As `relays.remove` does.
        core.UNWANTED_RELAYS.add(relay.url)
        running.core.remove_relay(relay.url)
        await relay.until(lambda: not relay.lines, "the end of the connection")
        manager.add_relay(other.url)  # by another extension
        await other.connected()
        await asyncio.sleep(0.5)
        assert not relay.lines


async def test_a_relay_is_removed_by_every_spelling(server: Server) -> None:
    async with ScriptedRelay() as relay:
        await server.start()
        manager.add_relay(relay.url + "/")
        await relay.connected()
        manager.remove_relay(relay.url)
        await relay.until(lambda: not relay.lines, "the end of the connection")
        await server.stop()
        await server.start()
        await asyncio.sleep(0.5)
        assert not relay.lines


async def test_who_pops_the_list_in_a_thread_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The list is popped between the look for it and the append to it."""
    # However late the thread gets its turn.
    monkeypatch.setattr(router, "MAX_EVENTS", 1_000_000)
    monkeypatch.setattr(router, "MAX_EVENTS_ALL", 1_000_000)
    keep: Any = manager
    count, got, over = 300_000, 0, threading.Event()

    def consume() -> None:
        nonlocal got
        while True:
            last = over.is_set()
            for _ in events.pop("race", []):
                got += 1
            if last:
                return

    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=consume)
    thread.start()
    try:
        for number in range(count):
            keep._keep(EventMessage("{}", str(number), "race", ""))
            if number % 1_000 == 0:
                await asyncio.sleep(0)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(0.005)
    assert got == count


async def test_an_order_dropped_at_an_upgrade_is_in_the_log(
    server: Server, relay: ScriptedRelay
) -> None:
    """docs/python.md: what gets lost is in the log."""
    from loguru import logger

    relay.on_event = silent
    lines: list[str] = []
    sink = logger.add(lambda text: lines.append(str(text)), level="WARNING")
    try:
        await server.start()
        await relay.connected()
        manager.publish_message(json.dumps(["EVENT", Author().sign(kind=23_194)]))
        await relay.until(lambda: relay.published(), "the order")
        await server.stop()
        await server.start()
        await eventually(lambda: not manager.unanswered, 5, "its end")
        assert any("not published" in line for line in lines)
    finally:
        logger.remove(sink)


async def test_a_late_refusal_does_not_end_the_subscription_in_its_place(
    server: Server, relay: ScriptedRelay
) -> None:
    """The refusal of the first is on its way when the second is asked for."""
    note = Author().sign()
    relay.on_req = stored(note)
    await server.start()
    manager.add_subscription("s", [{"no such field": 1}])
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    await eventually(lambda: events.get("s"), 5, "its event")


async def test_an_upgrade_that_cannot_start_leaves_the_old_core(
    server: Server, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zip with a missing or foreign library: a clear refusal, and nothing else."""
    running = await server.start()
    await relay.connected()
    with another_copy() as new:
        new_core = new.module("core.running")

        def no_library() -> Any:
            raise new_core.CoreUnavailable("no native library")

        monkeypatch.setattr(new_core, "load", no_library)
        assert new_core.start() is None
        try:
            assert core.running() is running
        finally:
            new_core.stop()


async def test_a_core_that_stops_meanwhile_is_no_error_for_an_extension(
    server: Server,
) -> None:
    """Between `join` and the client's lock, in a worker's thread."""
    running = await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    running.core.stop()
    manager.add_relay("ws://127.0.0.1:9")


async def test_an_inactive_row_with_a_wrong_url_keeps_nobody_waiting(
    server: Server,
) -> None:
    """`connect_all` fails at it, is tried again for ever, and no client gets in. (So it
    was before this change.)"""
    running = await server.start()
    row = Relay(id="1", url="no relay", active=False)
    changes._apply(running, "no relay", row)
