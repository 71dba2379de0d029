"""What can cross each other around `NostrClient()`: relays that change, threads,
limits."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from nostrclient_ext.core import running as core
from nostrclient_ext.nostr.client.client import NostrClient
from nostrclient_ext.nostr.message_pool import EndOfStoredEventsMessage, EventMessage
from nostrclient_ext.nostr.relay_manager import RelayManager
from nostrclient_ext.router import NostrRouter, nostr_client

from support.events import Author, now
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay, silent, stored
from support.surface import Server

pytestmark = pytest.mark.asyncio


@pytest.fixture
def client() -> Iterator[NostrClient]:
    client = NostrClient()
    yield client
    client.close()
    NostrRouter.received_subscription_notices.clear()


def ends(client: NostrClient) -> int:
    return client.relay_manager.message_pool.eose_notices.qsize()


def found(client: NostrClient) -> list[str]:
    pool = client.relay_manager.message_pool
    got: list[str] = []
    while pool.has_events():
        got.append(pool.get_event().event_id)
    return got


async def test_one_more_relay_leaves_the_others_connected(
    server: Server, client: NostrClient
) -> None:
    async with ScriptedRelay() as a, ScriptedRelay() as b, ScriptedRelay() as c:
        await server.start()
        client.connect([a.url, b.url])
        await a.connected()
        await b.connected()
        client.connect([c.url])
        await c.connected()
        await eventually(
            lambda: all(r.connected for r in client.relay_manager.relays.values()), 5, ""
        )
        assert [len(relay.connected_at) for relay in (a, b, c)] == [1, 1, 1]


async def test_reconnect_to_the_same_leaves_them_connected(
    server: Server, client: NostrClient
) -> None:
    async with ScriptedRelay() as a, ScriptedRelay() as b:
        await server.start()
        client.connect([a.url, b.url])
        await a.connected()
        await b.connected()
        client.reconnect([a.url, b.url])
        await eventually(
            lambda: all(r.connected for r in client.relay_manager.relays.values()), 5, ""
        )
        assert [len(relay.connected_at) for relay in (a, b)] == [1, 1]


async def test_no_end_before_there_are_relays(
    server: Server, client: NostrClient
) -> None:
    async with ScriptedRelay(on_req=silent) as relay:
        await server.start()
        client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        client.connect([relay.url])
        await relay.req()
        await asyncio.sleep(0.5)
        assert ends(client) == 0  # the relay has said nothing


async def test_one_end_for_a_subscription_that_goes_on(
    server: Server, client: NostrClient
) -> None:
    async with ScriptedRelay() as a, ScriptedRelay() as b:
        await server.start()
        client.connect([a.url])
        client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        await eventually(lambda: ends(client) == 1, 5, "its EOSE")
        client.connect([b.url])
        await b.req()
        await asyncio.sleep(1)
        assert ends(client) == 1


async def test_an_old_order_is_not_delivered_because_relays_change(
    server: Server, client: NostrClient
) -> None:
    """A relay that keeps ephemeral events replays one to the repeated REQ after its line
    was lost: dropped, as it should be. Then the extension names one more relay."""
    order = Author().sign(kind=23_194, created_at=now() - 60)
    async with ScriptedRelay() as a, ScriptedRelay() as b:
        await server.start()
        client.connect([a.url])
        client.relay_manager.add_subscription("s", [{"kinds": [23_194]}])
        await eventually(lambda: ends(client) == 1, 5, "its EOSE")
        a.on_req = stored(order)
        a.line.drop()
        await a.req(2, 20)
        await asyncio.sleep(0.3)
        assert found(client) == []
        client.connect([b.url])
        await b.req()
        await asyncio.sleep(0.5)
        assert found(client) == []


async def test_what_is_published_before_a_connected_relay_is_named(
    server: Server, relay: ScriptedRelay, client: NostrClient
) -> None:
    """The relay is the owner's too and connected, so it does not connect once more."""
    await server.start()
    await relay.connected()
    note = Author().sign()
    client.relay_manager.publish_message(json.dumps(["EVENT", note]))
    await asyncio.sleep(0.3)
    client.connect([relay.url])
    await relay.until(lambda: relay.published(), "the note", 5)


async def test_the_257th_gets_its_turn(server: Server, relay: ScriptedRelay) -> None:
    await server.start()
    clients = [NostrClient() for _ in range(257)]
    try:
        for number, client in enumerate(clients):
            client.relay_manager.add_subscription(f"s{number}", [{"kinds": [1]}])
        for client in clients[:-1]:
            client.close()
        stats = core.running().core.stats
        await eventually(lambda: stats()["clients"] <= 2, 10, "their end")
        clients[-1].connect([relay.url])
        clients[-1].relay_manager.add_subscription("again", [{"kinds": [1]}])
        await relay.req(1, 5)
    finally:
        for client in clients:
            client.close()


async def test_closed_while_it_waits_to_come_again(
    server: Server, client: NostrClient
) -> None:
    async with ScriptedRelay() as relay:
        await server.start()
        client.connect([relay.url])
        client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        await relay.req()
        inside: Any = client.relay_manager._inside
        handle = inside._client
        for _ in range(5_000):  # the core cuts it off, as one that is too slow
            handle.feed("[]")
        await eventually(lambda: inside._client is None, 5, "the cut")
        client.close()
        await relay.until(lambda: not relay.lines, "the end of the connection")
        await asyncio.sleep(1.5)
        assert inside._client is None
        assert not relay.lines and core.running().core.stats()["clients"] <= 1


async def test_a_wake_before_attach_is_through_is_not_lost(
    server: Server, relay: ScriptedRelay, client: NostrClient
) -> None:
    """The thread that joins is switched out after the core has taken the client, and the
    loop is told of something for it."""
    note = Author().sign()
    relay.on_req = stored(note)
    running = await server.start()
    line = await relay.connected()
    real, taken, go_on = running.core, threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def connect_inside(self) -> Any:
            handle = real.connect_inside()
            taken.set()
            go_on.wait(5)
            return handle

    bridge: Any = running.bridge
    bridge.core = Slow()
    try:
        client.relay_manager.message_pool  # noqa: B018

        def work() -> None:
            client.connect([relay.url])
            client.relay_manager.add_subscription("s", [{"kinds": [1]}])

        worker = threading.Thread(target=work)
        worker.start()
        await asyncio.to_thread(taken.wait, 5)
        await asyncio.sleep(0.1)  # the router knows the client
        await line.notice("to all")
        await asyncio.sleep(0.3)
    finally:
        go_on.set()
        bridge.core = real
    await asyncio.to_thread(worker.join, 5)
    await relay.req()
    await eventually(lambda: found(client) == [note["id"]], 5, "its event")


async def test_relays_named_by_many_threads_at_once() -> None:
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            manager, together = RelayManager(), threading.Barrier(16)

            def name(
                number: int,
                manager: RelayManager = manager,
                together: threading.Barrier = together,
            ) -> None:
                together.wait()
                manager.add_relay(f"ws://127.0.0.1:{number}")

            threads = [
                threading.Thread(target=name, args=(number,)) for number in range(1, 17)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            named = len(manager.relays)
            manager.close()
            assert named == 16
    finally:
        sys.setswitchinterval(0.005)


async def test_a_listener_that_is_busy_costs_a_bounded_amount(
    client: NostrClient,
) -> None:
    """Its loop hangs in a callback, or is stopped; events go on coming."""
    hangs, go_on = threading.Event(), threading.Event()
    loops: list[Any] = []

    def on_event(_: EventMessage) -> None:
        loops.append(asyncio.get_running_loop())
        hangs.set()
        go_on.wait(20)

    thread = threading.Thread(
        target=lambda: asyncio.run(client.subscribe(callback_events_func=on_event))
    )
    thread.start()
    pool = client.relay_manager.message_pool
    try:
        await asyncio.sleep(0.2)
        pool.events.put(EventMessage("{}", "", "s", ""))
        await asyncio.to_thread(hangs.wait, 5)
        for _ in range(50_000):
            pool.events.put(EventMessage("{}", "", "s", ""))
        assert pool.events.qsize() == 10_000
        assert len(loops[0]._ready) < 1_000
    finally:
        client.running = False
        go_on.set()
        client.close()
        await asyncio.to_thread(thread.join, 20)


async def test_who_puts_an_end_back_lets_others_run(client: NostrClient) -> None:
    """COMPAT: consumers use `message_pool.eose_notices.put`."""
    pool = client.relay_manager.message_pool
    pool.eose_notices.put(EndOfStoredEventsMessage("not mine"))
    turns: list[int] = []
    count = 0

    def on_end(message: EndOfStoredEventsMessage) -> None:
        nonlocal count
        count += 1
        if count < 5_000:  # else this test would never end
            pool.eose_notices.put(message)
        else:
            client.running = False

    async def others() -> None:
        while client.running:
            turns.append(count)
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await client.subscribe(callback_eosenotices_func=on_end)
    await task
    assert len(turns) > 10  # the loop's other tasks had their turns in between


async def test_taking_out_the_closed_is_not_quadratic(client: NostrClient) -> None:
    """The loop waits for this lock when the next event comes in."""
    pool = nostr_client.relay_manager.message_pool
    pool.events.queue.clear()
    for name in ["busy"] * 5_000 + ["mine"] * 5_000:
        pool.events.put(EventMessage("{}", "", name, ""))
    started = time.monotonic()
    nostr_client.relay_manager.close_subscription("mine")
    took = time.monotonic() - started
    pool.events.queue.clear()
    assert took < 0.05, took


async def test_relays_released_by_a_closed_client_stay_released(
    server: Server, client: NostrClient
) -> None:
    """`close()` and then what else one does to tidy up."""
    async with ScriptedRelay() as relay:
        await server.start()
        client.connect([relay.url])
        await relay.connected()
        client.close()
        client.relay_manager.close_connections()
        await asyncio.sleep(0.3)
        assert core.running().core.stats()["clients"] <= 1
