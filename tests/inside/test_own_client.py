"""`NostrClient()`: relays and subscriptions of an extension's own, over the server's
connections."""

import asyncio
import gc
import json
import threading
from collections.abc import Iterator

import pytest
from nostrclient_ext.core import running as core
from nostrclient_ext.nostr.client.client import NostrClient
from nostrclient_ext.nostr.message_pool import (
    EndOfStoredEventsMessage,
    EventMessage,
    NoticeMessage,
)
from nostrclient_ext.router import NostrRouter, nostr_client

from support.events import Author, Event, ids, now
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay, stored
from support.surface import Server

pytestmark = pytest.mark.asyncio


@pytest.fixture
def client() -> Iterator[NostrClient]:
    client = NostrClient()
    yield client
    client.close()


def found(client: NostrClient) -> list[str]:
    pool = client.relay_manager.message_pool
    got: list[str] = []
    while pool.has_events():
        got.append(pool.get_event().event_id)
    return got


async def gets(client: NostrClient, *events: object) -> None:
    pool = client.relay_manager.message_pool
    await eventually(lambda: pool.events.qsize() >= len(events), 10, "events")
    assert sorted(found(client)) == sorted(e["id"] for e in events)  # type: ignore[index]


async def test_its_own_relays_over_one_connection_each(
    server: Server, relay: ScriptedRelay, client: NostrClient
) -> None:
    here, there, shared = Author().notes(3)
    async with ScriptedRelay(on_req=stored(there)) as own:
        relay.on_req = stored(here)
        await server.start()
        client.connect([own.url, "not a relay"])
        manager = client.relay_manager
        manager.add_subscription("s", [{"kinds": [1]}])
        nostr_client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        await gets(client, there)
        await eventually(
            lambda: NostrRouter.received_subscription_events.get("s"), 5, "its event"
        )
        # Neither hears or sees anything of the other's relays.
        assert list(manager.relays) == [own.url]
        assert list(nostr_client.relay_manager.relays) == [relay.url]
        assert len(own.reqs()) == len(relay.reqs()) == 1
        message = json.dumps(["EVENT", Author().sign("mine")])
        manager.publish_message(message)
        await own.until(lambda: own.published(), "the event")
        # A relay of the owner's is shared, not connected to once more.
        client.connect([relay.url])
        await relay.req(2)
        await gets(client, here)
        await relay.line.live(shared)
        await own.line.live(shared)
        await gets(client, shared)
        assert len(own.connected_at) == len(relay.connected_at) == 1
        assert relay.published() == []
        received = NostrRouter.received_subscription_events["s"]
        await eventually(lambda: len(received) == 2, 5, "the shared one")
        assert [event.event_id for event in received] == ids([here, shared])
        # Relays that nobody wants any more are let go, the owner's are not.
        client.reconnect([relay.url])
        await own.until(lambda: not own.lines, "the end of the connection")
        client.close()
        await relay.until(lambda: len(relay.open_subs()) == 1, "the end of its REQ")
        assert len(relay.lines) == 1


async def test_published_before_its_relay_is_there(
    server: Server, client: NostrClient
) -> None:
    """Kept until it is, and not on any relay of the owner's."""
    note, order = Author().sign(), Author().sign(kind=24_133)
    relay = ScriptedRelay()
    await relay.start()
    await relay.stop()  # its port is known, and nobody listens
    await server.start()
    client.connect([relay.url])
    client.relay_manager.publish_message(json.dumps(["EVENT", note]))
    client.relay_manager.publish_message(json.dumps(["EVENT", order]))
    shown = client.relay_manager.relays[relay.url]
    await eventually(lambda: shown.error_counter >= 2, 20, "two attempts")
    await eventually(lambda: _older_than(order, 3), 10, "time")
    await relay.start()
    client.relay_manager.check_and_restart_relays()
    try:
        await relay.until(lambda: relay.published(), "the note", 20)
        assert relay.published() == [note]
    finally:
        await relay.stop()


def _older_than(event: Event, seconds: int) -> bool:
    age: int = now() - event["created_at"]
    return age > seconds


async def test_callbacks_in_a_thread_of_their_own(
    server: Server, client: NostrClient
) -> None:
    stored_note, live, later = Author().notes(3)
    got: list[EventMessage] = []
    ends: list[EndOfStoredEventsMessage] = []
    notices: list[NoticeMessage] = []

    def on_event(message: EventMessage) -> None:
        assert threading.current_thread() is thread
        got.append(message)
        if message.event_id == live["id"]:
            raise RuntimeError("the extension's own mistake")

    thread = threading.Thread(
        target=lambda: asyncio.run(
            client.subscribe(
                callback_events_func=on_event,
                callback_notices_func=notices.append,
                callback_eosenotices_func=ends.append,
            )
        )
    )
    thread.start()
    async with ScriptedRelay(on_req=stored(stored_note)) as relay:
        await server.start()
        client.connect([relay.url])
        client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        await eventually(lambda: ends, 10, "EOSE")
        assert [message.event_id for message in got] == ids([stored_note])
        assert ends[0].subscription_id == "s"
        await relay.line.notice("hello")
        await relay.line.live(live, later)
        await eventually(lambda: len(got) == 3 and notices, 10, "the rest")
        assert got[0].url == relay.url and notices[0].content == "hello"
        # It goes on with the next core.
        await server.stop()
        await server.start()
        again = await relay.req(2)
        one_more = Author().sign()
        await again.event(live, one_more)
        await eventually(lambda: len(got) == 4, 10, "one more")
        assert got[-1].event_id == one_more["id"]
        assert thread.is_alive()
        client.close()
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


async def test_it_can_be_used_again_after_its_end(
    server: Server, client: NostrClient
) -> None:
    old, new = Author().notes(2)
    async with ScriptedRelay(on_req=stored(old)) as relay:
        await server.start()
        client.connect([relay.url])
        client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        await gets(client, old)
        client.close()
        await relay.until(lambda: not relay.lines, "the end of the connection")
        relay.on_req = stored(old, new)
        client.reconnect([relay.url])
        client.relay_manager.add_subscription("s", [{"kinds": [1]}])
        await gets(client, new)  # what it had, it has had


async def test_who_makes_many_and_uses_none(server: Server) -> None:
    """An instance costs nothing before it is used."""
    await server.start()
    threads = threading.active_count()
    for _ in range(1_000):
        NostrClient()
    gc.collect()
    assert threading.active_count() == threads
    assert core.running().core.stats()["clients"] <= 1  # that of all extensions


async def test_there_is_a_bound(server: Server) -> None:
    """257 used at a time: the log says what is wrong, and the others go on."""
    await server.start()
    clients = [NostrClient() for _ in range(260)]
    for number, client in enumerate(clients):
        client.relay_manager.add_subscription(f"s{number}", [{"kinds": [1]}])
    stats = core.running().core.stats
    await eventually(lambda: stats()["clients"] >= 256, 10, "the clients")
    for client in clients:
        client.close()
    await eventually(lambda: stats()["clients"] <= 1, 10, "their end")


async def test_a_limit_counts_over_all_relays(
    server: Server, client: NostrClient
) -> None:
    notes = Author().notes(6)[::-1]  # newest first
    async with (
        ScriptedRelay(on_req=stored(notes[0], notes[3], notes[5])) as one,
        ScriptedRelay(on_req=stored(notes[1], notes[2], notes[4])) as other,
    ):
        await server.start()
        client.connect([one.url, other.url])
        client.relay_manager.add_subscription("s", [{"kinds": [1], "limit": 3}])
        pool = client.relay_manager.message_pool
        await eventually(pool.has_eose_notices, 10, "the EOSE")
        assert found(client) == ids(notes[:3])
        live = Author().sign("live")
        await other.line.live(live)
        await gets(client, live)
