"""The one running core of this process: who has it, how it starts and ends.

LNbits may load this extension more than once in a process, under several names and
versions. The running core is kept where every copy finds it: the newest `start` takes
it over, and only the copy that started it can stop it. Nothing happens at import.
"""

import asyncio
import atexit
import secrets
import sys
from collections.abc import Coroutine
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from loguru import logger

from .library import CoreUnavailable as CoreUnavailable
from .library import load
from .outbox import OutboxKeeper

if TYPE_CHECKING:
    from nostrclient_core.bridge import Bridge

_SHARED = "_nostrclient_running"  # its place among `sys.modules`
_THIS_COPY = object()  # tells this copy of the extension from others


class Running:
    """A started core, the loop's bridge to it, and the tasks that end with it."""

    def __init__(self, library: ModuleType, bridge: "Bridge", node: str) -> None:
        self.library = library
        self.bridge = bridge
        self.core = bridge.core
        self.outbox = OutboxKeeper(library, bridge, node)
        self.relays_known = asyncio.Event()
        """Set once the core has the database's relays. Before that no client is served:
        its EOSE would not wait for relays that are still to come."""
        self._tasks: set[asyncio.Task[None]] = set()
        # LNbits ends without stopping its extensions. The core's threads write to
        # Python's log, so they have to end before the interpreter does.
        atexit.register(self.core.stop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background, until it is done or the core stops."""
        task = self.bridge.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """End the core, its relays, its clients' sockets and the background tasks."""
        for task in list(self._tasks):
            task.cancel()
        self.bridge.stop()
        atexit.unregister(self.core.stop)


class _Shared(ModuleType):
    """What all copies of the extension in this process share."""

    running: Running | None = None
    owner: object = None
    node: str | None = None  # this process among those that share a database
    problem = "nostrclient is not started."


def _shared() -> _Shared:
    return cast(_Shared, sys.modules.setdefault(_SHARED, _Shared(_SHARED)))


def start() -> Running | None:
    """Start the core in the running event loop. None: nothing new was started.

    Without a usable core LNbits goes on: the log says why, and so does `running`.
    """
    shared = _shared()
    if shared.running is not None:
        if shared.owner is _THIS_COPY:
            return None
        shared.running.stop()
        shared.running = None
    shared.owner = _THIS_COPY
    shared.node = shared.node or secrets.token_hex(8)
    try:
        shared.running = _launch(shared.node)
    except CoreUnavailable as exc:
        shared.problem = str(exc)
        logger.error(exc)
    return shared.running


def stop() -> None:
    """Stop the core, if this copy of the extension started it."""
    shared = _shared()
    if shared.owner is not _THIS_COPY:
        return
    if shared.running is not None:
        shared.running.stop()
    shared.running = None
    shared.owner = None
    shared.problem = _Shared.problem


def running() -> Running:
    """The running core, whichever copy started it. Raises `CoreUnavailable`."""
    shared = _shared()
    if shared.running is None:
        raise CoreUnavailable(shared.problem)
    return shared.running


def _launch(node: str) -> Running:
    library = load()
    bridge = import_module(f"{library.__name__}.bridge")
    try:
        return Running(library, bridge.Bridge(library.Core()), node)
    except Exception as exc:
        raise CoreUnavailable(f"nostrclient's core cannot start: {exc}") from exc
