"""The client that all extensions share: what they find in its lists, and when."""

import asyncio
import json
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from nostrclient_ext import router
from nostrclient_ext.nostr.message_pool import EventMessage
from nostrclient_ext.router import NostrRouter, nostr_client

from support.events import Author, ids, now
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay, answer, refused, silent, stored
from support.surface import Server

pytestmark = pytest.mark.asyncio

manager = nostr_client.relay_manager
events = NostrRouter.received_subscription_events


async def arrived(name: str, count: int = 1) -> list[EventMessage]:
    await eventually(
        lambda: len(events.get(name, [])) >= count, 10, f"{count} events for {name}"
    )
    return events[name]


def in_thread(work: Callable[..., Any], *arguments: Any) -> None:
    """As a worker of another extension does; fails with it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work(*arguments)
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and not failures, failures


async def test_events_come_into_real_lists(server: Server, relay: ScriptedRelay) -> None:
    old, new, last = Author().notes(3)
    relay.on_req = stored(old)
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    (first,) = await arrived("s")
    assert json.loads(first.event) == old and first.event_id == old["id"]
    assert (first.subscription_id, first.url) == ("s", relay.url)
    await eventually(
        lambda: "s" in NostrRouter.received_subscription_eosenotices, 5, "its EOSE"
    )
    await relay.line.live(new)
    found = await arrived("s", 2)
    assert type(events) is dict and type(found) is list
    # Both ways of taking them out.
    assert [found.pop(0).event_id, found.pop(0).event_id] == ids([old, new])
    await relay.line.live(last)
    assert (await arrived("s"))[0].event_id == last["id"]
    assert len(events.pop("s", [])) == 1
    assert events.pop("s", []) == []
    # And in the pool, for those who poll that.
    pool = manager.message_pool
    assert [pool.get_event().event_id for _ in range(3)] == ids([old, new, last])
    assert not pool.has_events() and pool.has_eose_notices()
    assert pool.get_eose_notice().subscription_id == "s"
    with pytest.raises(queue.Empty):
        pool.get_event()  # nothing may wait on an event loop
    pool.events.put(first)
    assert pool.has_events() and pool.get_event() is first


async def test_what_was_asked_before_the_start_counts(
    server: Server, relay: ScriptedRelay
) -> None:
    note, published = Author().notes(2)
    order = Author().sign(kind=23_194)
    relay.on_req = stored(note)
    in_thread(manager.add_subscription, "early", [{"kinds": [1]}])
    in_thread(manager.publish_message, json.dumps(["EVENT", published]))
    in_thread(manager.publish_message, json.dumps(["EVENT", order]))
    assert manager.relays == {} and not manager.message_pool.has_events()
    await server.start()
    # The event that is published here comes without the relay, and may so come first.
    found = await arrived("early", 2)
    assert {event.event_id for event in found} == {note["id"], published["id"]}
    await relay.until(lambda: published in relay.published(), "the event")
    # An order is for now: two seconds are over where a start takes as long.
    assert ids(relay.published()) in (
        ids([published]),
        ids([published, order]),
        ids([order, published]),
    )


async def test_from_worker_threads(server: Server, relay: ScriptedRelay) -> None:
    await server.start()
    await relay.connected()
    notes = Author().notes(400)

    def publish(part: int) -> None:
        manager.add_subscription(f"t{part}", [{"authors": ["f" * 64]}])
        for note in notes[part * 100 : part * 100 + 100]:
            manager.publish_message(json.dumps(["EVENT", note]))
        manager.close_subscription(f"t{part}")

    threads = [threading.Thread(target=publish, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    await relay.until(lambda: len(relay.published()) >= 400, "all events", 20)
    for thread in threads:
        thread.join()
    assert sorted(ids(relay.published())) == sorted(ids(notes))
    await relay.until(lambda: not relay.open_subs(), "the end of the subscriptions")
    # What is not answered yet, the next test's core would be given.
    await eventually(lambda: not manager.unanswered, 10, "all answers")


async def test_an_event_is_given_once(server: Server, relay: ScriptedRelay) -> None:
    """However often its subscription is made again; a NIP-47 service pays per event."""
    old, new = Author().notes(2)
    relay.on_req = stored(old)
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    assert len(await arrived("s")) == 1
    await relay.req()
    manager.close_subscription("s")
    await relay.until(lambda: not relay.open_subs(), "CLOSE")
    relay.on_req = stored(old, new)
    manager.add_subscription("s", [{"kinds": [1], "limit": 5}])
    assert {message.event_id for message in await arrived("s", 2)} == set(ids([old, new]))
    # Another subscription gets it as well.
    manager.add_subscription("other", [{"kinds": [1]}])
    assert len(await arrived("other", 2)) == 2


async def test_the_next_core_goes_on(server: Server, relay: ScriptedRelay) -> None:
    author = Author()
    old, missed = author.notes(2)
    stale = author.sign(kind=21_000, created_at=now() - 5)
    relay.on_req = stored(old)
    await server.start()
    manager.add_subscription("s", [{"kinds": [1, 21_000], "limit": 10}])
    await arrived("s")
    first = await relay.req()
    assert first.filters == [{"kinds": [1, 21_000], "limit": 10}]
    await eventually(
        lambda: "s" in NostrRouter.received_subscription_eosenotices, 5, "its EOSE"
    )
    NostrRouter.received_subscription_eosenotices.clear()
    relay.on_req = stored(old, missed, stale)
    await server.stop()
    await server.start()
    again = await relay.req(2)
    assert "limit" not in again.filters[0]
    assert 59 * 60 < author.sign()["created_at"] - again.filters[0]["since"] < 61 * 60
    found = await arrived("s", 2)
    live = author.sign("live")
    await again.event(live)
    found = await arrived("s", 3)
    # Nothing twice, nothing lost, no order that somebody has given up on, no second EOSE.
    assert {message.event_id for message in found} == set(ids([old, missed, live]))
    assert len(found) == 3
    assert "s" not in NostrRouter.received_subscription_eosenotices


async def test_a_relay_that_was_away_is_asked_from_the_beginning(
    server: Server, relay: ScriptedRelay
) -> None:
    """Nobody knows since when events of it are missing."""
    note = Author().sign(created_at=1_700_000_000)
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    await eventually(
        lambda: "s" in NostrRouter.received_subscription_eosenotices, 5, "its EOSE"
    )
    await relay.stop()
    await eventually(lambda: not manager.relays[relay.url].connected, 5, "its loss")
    await server.stop()
    await relay.start()
    await server.start()
    again = await relay.req(2)
    assert again.filters[0]["since"] <= Author().sign()["created_at"] - 60 * 60
    await again.event(note)
    assert (await arrived("s"))[0].event_id == note["id"]


async def test_what_no_core_has_answered_goes_to_the_next(
    server: Server, relay: ScriptedRelay
) -> None:
    relay.on_event = silent
    note, order = Author().sign(), Author().sign(kind=23_194)
    await server.start()
    await relay.connected()
    manager.publish_message(json.dumps(["EVENT", note]))
    manager.publish_message(json.dumps(["EVENT", order]))
    await relay.until(lambda: len(relay.published()) == 2, "both")
    await server.stop()
    relay.on_event = answer(True)
    await server.start()
    await relay.until(lambda: ids(relay.published()).count(note["id"]) == 2, "it again")
    assert ids(relay.published()).count(order["id"]) == 1  # never sent again
    await eventually(lambda: not manager.unanswered, 5, "its answer")


async def test_an_ephemeral_event_waits_a_moment_for_a_relay(server: Server) -> None:
    """As an extension does that names a relay and publishes to it at once."""
    order = Author().sign(kind=24_133)
    async with ScriptedRelay() as relay:
        await server.start()
        assert manager.add_relay(relay.url).url == relay.url
        manager.publish_message(json.dumps(["EVENT", order]))
        await relay.until(lambda: relay.published(), "the order")
        assert relay.published() == [order]


async def test_relays_of_extensions(server: Server, relay: ScriptedRelay) -> None:
    """They come on top of the owner's, whose settings stay as they are."""
    async with ScriptedRelay() as more, ScriptedRelay() as unwanted:
        server.switched_off.add(unwanted.url)
        running = await server.start()
        running.core.add_relay(relay.url, True, False)
        for url in (relay.url, more.url + "/", unwanted.url):
            manager.add_relay(url)
        with pytest.raises(ValueError, match="relay url"):
            manager.add_relay("no relay")
        await more.connected()
        await relay.connected()
        await eventually(
            lambda: all(found.connected for found in manager.relays.values()), 5, "both"
        )
        assert set(manager.relays) == {relay.url, more.url}
        (status,) = [s for s in running.core.relays() if s["url"] == relay.url]
        assert (status["read"], status["write"]) == (True, False)
        manager.add_subscription("s", [{"kinds": [1]}])
        await more.req()
        await relay.req()
        # The next core has it too.
        await server.stop()
        await server.start()
        await more.req(2)
        manager.remove_relay(more.url + "/")
        await more.until(lambda: not more.lines, "the end of its connection")
        assert set(manager.relays) == {relay.url}
        assert not unwanted.connected_at


async def test_numbers_of_a_relay(server: Server, relay: ScriptedRelay) -> None:
    relay.on_event = answer(False, "blocked: no")
    await server.start()
    await relay.connected()
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    await relay.line.notice("hello")
    await relay.line.live(Author().sign())
    await arrived("s")
    manager.publish_message(json.dumps(["EVENT", Author().sign()]))
    shown = manager.relays[relay.url]
    await eventually(lambda: shown.error_counter, 5, "the refusal")
    assert shown.connected and shown.num_received_events == shown.num_sent_events == 1
    assert shown.notice_list == ["hello"] and "blocked: no" in shown.error_list[0]
    (notice,) = NostrRouter.received_subscription_notices
    assert (notice.content, notice.url) == ("hello", relay.url)
    assert manager.message_pool.get_notice().content == "hello"
    NostrRouter.received_subscription_notices.clear()
    await server.stop()
    assert (manager.relays, shown.ping, shown.error_list) == ({}, 0, [])


async def test_a_refused_subscription_is_tried_again(
    server: Server, relay: ScriptedRelay
) -> None:
    """There is no CLOSED on this surface, so nobody else would."""
    note = Author().sign()
    relay.on_req = refused("error: too busy")
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    await relay.until(lambda: not relay.open_subs(), "CLOSED")
    relay.on_req = stored(note)
    await relay.stop()
    await relay.start()
    manager.check_and_restart_relays()
    assert (await arrived("s"))[0].event_id == note["id"]


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        "7",
        '["EVENT"]',
        '["EVENT",7]',
        '["EVENT",{}]',
        '["EVENT",{"id":"x"}]',
        '["REQ"]',
        '["CLOSE"]',
        '["AUTH",{}]',
        '["EVENT",{"id":"' + "0" * 64 + '"}]',
    ],
)
async def test_nothing_wrong_reaches_the_caller(
    server: Server, relay: ScriptedRelay, text: str
) -> None:
    await server.start()
    manager.publish_message(text)
    manager.add_subscription("bad", [{"kinds": "all"}])
    manager.add_subscription("none", [])
    manager.add_subscription("dict", {"kinds": [1]})
    manager.close_subscription("not there")
    manager.remove_relay("not there")
    await relay.req()
    assert [req.filters for req in relay.reqs()] == [[{"kinds": [1]}]]
    await eventually(lambda: manager.subscriptions == ["dict"], 5, "the refusals")


async def test_who_does_not_fetch_loses_the_oldest(
    server: Server, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Author().notes(60)
    monkeypatch.setattr(router, "MAX_EVENTS", 20)
    relay.on_req = stored(*notes)
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await eventually(
        lambda: "s" in NostrRouter.received_subscription_eosenotices, 5, "its EOSE"
    )
    assert len(events["s"]) == 20
    monkeypatch.setattr(router, "MAX_EVENTS_ALL", 30)
    monkeypatch.setattr(router, "COUNT_EVERY", 1)
    manager.add_subscription("t", [{"kinds": [1]}])
    await eventually(
        lambda: "t" in NostrRouter.received_subscription_eosenotices, 5, "its EOSE"
    )
    assert sum(map(len, events.values())) <= 30
    assert len(events["t"]) > 5


async def test_nobody_can_close_it(server: Server, relay: ScriptedRelay) -> None:
    await server.start()
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    nostr_client.close()
    manager.close()
    manager.close_connections()
    nostr_client.reconnect([])
    note = Author().sign()
    await relay.line.live(note)
    assert (await arrived("s"))[0].event_id == note["id"]
    assert nostr_client.running
    await asyncio.sleep(0)


async def test_what_comes_late_for_an_earlier_subscription_is_not_its_successors(
    server: Server, relay: ScriptedRelay
) -> None:
    """A premature EOSE makes a NIP-47 service pay twice."""
    old, new = Author().sign(kind=1), Author().sign(kind=7)
    running = await server.start()
    relay.on_req = silent
    manager.add_subscription("s", [{"kinds": [1]}])
    first = await relay.req()
    delivered = running.core.stats()["delivered"]
    await first.event(old)
    await first.eose()
    # Both are in the mailbox before the loop gets its turn again.
    while running.core.stats()["delivered"] == delivered:
        threading.Event().wait(0.05)
    threading.Event().wait(0.1)
    manager.add_subscription("s", [{"kinds": [7]}])
    second = await relay.req(2)
    await relay.close_of(first.sub)
    assert "s" not in NostrRouter.received_subscription_eosenotices
    await second.event(new)
    await second.eose()
    await eventually(
        lambda: "s" in NostrRouter.received_subscription_eosenotices, 5, "its EOSE"
    )
    assert [message.event_id for message in events["s"]] == ids([new])
