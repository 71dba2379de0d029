"""Several copies of the extension in one process, and many starts and stops."""

import asyncio
import importlib
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from nostrclient_ext import router
from nostrclient_ext.core import running as core
from nostrclient_ext.core.library import CoreUnavailable

from support.events import Author, ids
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay, stored
from support.surface import Server, another_copy

pytestmark = pytest.mark.asyncio


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def native_threads() -> list[str]:
    """Of the core, which Python's own list does not have."""
    tasks = Path("/proc/self/task")
    names: list[str] = []
    for task in tasks.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            names.append((task / "comm").read_text().strip())
    return [name for name in names if name.startswith("nostrclient")]


async def test_the_newest_copy_has_the_core(server: Server, relay: ScriptedRelay) -> None:
    old, missed, live = Author().notes(3)
    relay.on_req = stored(old)
    first = await server.start()
    manager = router.nostr_client.relay_manager
    manager.add_subscription("s", [{"kinds": [1]}])
    await relay.req()
    with another_copy() as new:
        new_core, new_router = new.module("core.running"), new.module("router")
        relay.on_req = stored(old, missed)
        second = await server.start(new_core)
        assert core.running() is new_core.running() is second is not first
        with pytest.raises(first.library.CoreStopped):
            first.core.connect()
        await relay.connections(2)
        await relay.until(lambda: len(relay.lines) == 1, "one connection")
        # What the old copy is told changes nothing.
        core.stop()
        assert core.start() is None
        core.stop()
        assert core.running() is second
        assert new_core.start() is None  # it runs
        # References to the old copy go on, and are the same things as the new one's.
        assert new_router.nostr_client is router.nostr_client
        received = router.NostrRouter.received_subscription_events
        assert new_router.NostrRouter.received_subscription_events is received
        await eventually(lambda: len(received.get("s", [])) == 2, 10, "what it missed")
        new.forget()
        await relay.line.live(live)
        await eventually(lambda: len(received["s"]) == 3, 10, "a live one")
        assert [message.event_id for message in received["s"]] == ids([old, missed, live])
        note = Author().sign()
        manager.publish_message(json.dumps(["EVENT", note]))
        await relay.until(lambda: note in relay.published(), "the event")
        # Once the new copy was stopped, nothing runs, and anybody may start.
        new_core.stop()
        with pytest.raises(CoreUnavailable, match="not started"):
            core.running()
        new_core.stop()
        assert (await server.start()) is core.running()


async def test_started_and_stopped_in_any_order(
    server: Server, relay: ScriptedRelay
) -> None:
    with another_copy() as second, another_copy() as third:
        cores = [core, second.module("core.running"), third.module("core.running")]
        for copy in cores:
            copy.stop()  # never started
        await server.start(cores[0])
        await server.start(cores[2])
        assert cores[0].start() is None
        await server.start(cores[1])  # started later, so newer
        assert cores[2].start() is None
        cores[0].stop()
        cores[2].stop()
        assert core.running()
        cores[1].stop()
        cores[1].stop()
        with pytest.raises(CoreUnavailable):
            core.running()
        for copy in cores:
            copy.stop()
    await relay.until(lambda: not relay.lines, "the end of the connection")


async def test_ten_rounds_leave_nothing(server: Server, relay: ScriptedRelay) -> None:
    manager = router.nostr_client.relay_manager
    manager.add_subscription("s", [{"kinds": [1]}])

    async def round_of(number: int) -> tuple[int, int, int]:
        running = await server.start()
        await relay.req(number)
        outside = running.bridge.connect()
        outside.client.feed('["REQ","x",{"kinds":[7]}]')
        await relay.until(lambda: len(relay.open_subs()) == 2, "both subscriptions")
        assert native_threads()
        await server.stop()
        assert outside.client.closed == (1012, "nostrclient has stopped")
        outside.close()
        await relay.until(lambda: not relay.lines, "the end of the connection")
        await eventually(lambda: not native_threads(), 5, "the end of the threads")
        await eventually(lambda: len(asyncio.all_tasks()) == tasks, 5, "and of the tasks")
        return descriptors(), threading.active_count(), len(asyncio.all_tasks())

    tasks = len(asyncio.all_tasks())
    await round_of(1)
    before = await round_of(3)
    left = [await round_of(5 + 2 * number) for number in range(10)]
    # A thread that another test has left may end meanwhile.
    more = [now - then for now, then in zip(left[-1], before, strict=True)]
    assert max(more) <= 0, f"{left[-1]}, and {before} before"


async def test_importing_does_nothing() -> None:
    threads, files = threading.active_count(), descriptors()
    with another_copy() as copy:
        for name in ("router", "nostr.client.client", "nostr.relay_manager", "crud"):
            assert importlib.import_module(f"{copy.name}.{name}")
        assert threading.active_count() == threads
        assert descriptors() <= files  # others may be collected meanwhile
