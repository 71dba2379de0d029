"""The running core of this process: which copy of the extension owns it, how it starts
and ends.

LNbits may import this extension several times in one process (`process.py`). The newest
copy that was started owns the core; starting or stopping an older one changes nothing
then. Nothing happens at import.
"""

import asyncio
import atexit
import hmac
import json
import resource
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from lnbits.settings import settings
from lnbits.tasks import create_task
from loguru import logger

from ..models import StoredConfig
from ..outbox.keeper import OutboxKeeper
from .library import CoreUnavailable, load
from .process import LOCK, shared

if TYPE_CHECKING:
    from nostrclient_core import Client
    from nostrclient_core.bridge import Bridge

__all__ = [
    "UNWANTED_RELAYS",
    "Running",
    "come_again",
    "inside_clients",
    "join",
    "leave",
    "running",
    "start",
    "stop",
]

UNWANTED_RELAYS: set[str] = shared("unwanted_relays", set)
"""Relays the owner has switched off or removed, whatever an extension asks for."""

MOST_CLIENTS = 2_000
MOST_FILES = 65_536
RESERVED_FILES = 256  # for LNbits, its database and the relays

_NOT_STARTED = "nostrclient is not started."


class InsideClient(Protocol):
    """A client in this process. Its class comes from the copy of the extension that was
    imported first, and works with the core of any other copy."""

    own_relays: bool
    """True: it uses relays of its own. False: the owner's."""

    @property
    def relays(self) -> list[str]:
        """The relays it has named."""
        ...

    @property
    def core_client(self) -> "Client | None":
        """The core's end of it, while it has one."""
        ...

    def attach(self, running: "Running") -> None:
        """Use this core until it closes the client. Called from any thread."""


class Running:
    """A started core, the bridge from it to the event loop, and the tasks that end with
    it."""

    def __init__(self, library: ModuleType, bridge: "Bridge", node: str) -> None:
        self.library = library
        self.bridge = bridge
        self.core = bridge.core
        self.outbox = OutboxKeeper(library, bridge, node)
        self.relays_known = asyncio.Event()
        """Set once the core has the relays of the database. No client is let in before:
        its EOSE would not wait for relays that are added later."""
        self.relays_changed = asyncio.Event()
        """Set when the owner's relays have changed. `relays/limits.py` clears it."""
        self.config: StoredConfig | None = None
        """The settings that hold; None until they have been read."""
        self.look: asyncio.Task[None] | None = None
        """The last look whether another process has changed them."""
        self.looked = 0.0
        """When that began: monotonic seconds."""
        self.sockets: str | None = None
        """Why clients' sockets stay with the web server, as a sentence for the owner.
        None: the core has them, or no client has come yet."""
        self.warning: str | None = None
        """What is wrong although the core runs, as a sentence for the owner."""
        self._tasks: set[asyncio.Task[None]] = set()
        # The core's threads write to Python's log, so they have to end before the
        # interpreter does.
        atexit.register(self.core.stop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something in the background until it is done or the core stops."""
        return self._keep(self.bridge.loop.create_task(work))

    def _keep(self, task: "asyncio.Task[None]") -> "asyncio.Task[None]":
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def until_others_ended(self) -> None:
        """Wait until all other background tasks have ended."""
        others = self._tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    def apply(self, config: StoredConfig) -> None:
        """Hand the settings to the core. They hold from now on."""
        self.config = config
        self.core.set_outbox_size(config.outbox_size)
        self.core.set_public_reads(config.public_reads_with_keys)
        self.core.set_public_allowed([*config.public_allowed])
        self.core.set_proxy(config.proxy_url(), config.proxy_for_all)

    def serve(self) -> None:
        """Let the clients in: the core has its relays."""
        with LOCK:
            self.relays_known.set()
            if _state().running is self:
                for client in list(_clients()):
                    _attach(client, self)

    def end_with_lnbits(self) -> None:
        """Have LNbits end this core when it ends itself, and its clients be told why. It
        calls no extension's stop then, and its web server has the process killed before
        the event loop could cancel what runs in it; but it cancels its own tasks first,
        so one of them waits for that."""

        async def until_cancelled() -> None:
            # LNbits keeps its tasks, and a cancelled one keeps this core's descriptors.
            # So it ends as if it had not been.
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if not self.bridge.stopped:
                self.stop(away=True)

        self._keep(create_task(until_cancelled()))

    def stop(self, away: bool = False) -> None:
        """End the core, its relays, its clients' sockets and the background tasks.
        `away`: LNbits itself ends."""
        self.bridge.stop(away)
        for task in list(self._tasks):
            task.cancel()
        atexit.unregister(self.core.stop)


class _State:
    """What all copies share. `owner` is the number of the copy whose core runs, `newest`
    the highest number of all."""

    running: Running | None = None
    owner = 0
    newest = 0
    node: str | None = None  # names this process to others that share its database
    problem = _NOT_STARTED


_number = 0  # this copy's, given at its first start


def _state() -> _State:
    return shared("state", _State)


def _clients() -> list[InsideClient]:
    return shared("clients", list)


def start() -> Running | None:
    """Start the core in the running event loop. None: nothing was started.

    If there is no core to start, LNbits runs on; the log says why, and so does `running`.
    """
    global _number
    with LOCK:
        state = _state()
        if not _number:
            state.newest += 1
            _number = state.newest
        if state.running is not None:
            if state.owner == _number:
                return None
            if state.owner > _number and not _is_the_installed_one(state.running):
                logger.warning(
                    "An older copy of nostrclient was started while a newer one runs, and"
                    " is left alone. To run it, restart LNbits."
                )
                return None
            if state.owner > _number:
                state.newest += 1
                _number = state.newest
        state.owner = _number
        state.node = state.node or secrets.token_hex(8)
        try:
            library = load()
            if state.running is not None:
                state.running.stop()
                state.running = None
            state.running = _launch(library, state.node)
        except CoreUnavailable as exc:
            logger.error(exc)
            state.problem = str(exc)
            if state.running is not None:
                # Better the old core than none. This copy owns it from now on.
                state.running.warning = f"{exc} Until then the version before this runs."
            return None
        return state.running


def stop() -> None:
    """Stop the core, if this copy of the extension started it."""
    with LOCK:
        state = _state()
        if not _number or state.owner != _number:
            return
        if state.running is not None:
            state.running.stop()
        state.running = None
        state.owner = 0
        state.problem = _NOT_STARTED


def running() -> Running:
    """The running core, whichever copy started it. Raises `CoreUnavailable`."""
    state = _state()
    found = state.running
    if found is None:
        raise CoreUnavailable(state.problem)
    return found


def join(client: InsideClient) -> None:
    """Attach this client to the core that runs now, and to each one that runs later.
    Idempotent; called from any thread."""
    with LOCK:
        clients = _clients()
        if client not in clients:
            clients.append(client)
        found = _state().running
        if found is not None and found.relays_known.is_set():
            _attach(client, found)


def come_again(client: InsideClient) -> None:
    """Attach a client that a core has closed to the core that runs now, unless it has
    left meanwhile."""
    with LOCK:
        if client in _clients():
            join(client)


def leave(client: InsideClient) -> None:
    """Attach this client to no core any more. Idempotent; called from any thread."""
    with LOCK:
        clients = _clients()
        if client not in clients:
            return
        clients.remove(client)
        found = _state().running
        if found is not None and found.relays_known.is_set():
            for other in clients:  # there may have been no place for them
                _attach(other, found)


def inside_clients() -> list[InsideClient]:
    """The clients that have joined and not left."""
    with LOCK:
        return list(_clients())


def _attach(client: InsideClient, found: Running) -> None:
    try:
        client.attach(found)
    except Exception as exc:
        logger.error(f"nostrclient: an extension's client has no core: {exc!r}")


def _is_the_installed_one(found: Running) -> bool:
    """Whether this older copy is of the version in LNbits' extensions folder, and what
    runs is not: the owner went back, and LNbits 1.5 starts the copy of that release that
    it had loaded before."""
    folder = Path(settings.lnbits_extensions_path, "extensions", "nostrclient")
    try:
        installed = json.loads((folder / "config.json").read_text())["version"]
        own = load().__version__
    except (CoreUnavailable, OSError, ValueError, LookupError, TypeError):
        return False
    return bool(own == installed != found.library.__version__)


def _secret() -> bytes:
    """By which this server knows itself, on all nodes that share LNbits' secret key."""
    key = settings.auth_secret_key.encode()
    return hmac.digest(key, b"nostrclient: this server itself", "sha256")


def _room() -> int:
    """How many clients there may be: a socket each, and LNbits and the relays need some
    too. As many files may be open as the system lets this process have, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY:
        return MOST_CLIENTS
    return max(1, min(MOST_CLIENTS, soft - max(RESERVED_FILES, soft // 4)))


def _launch(library: ModuleType, node: str) -> Running:
    try:
        bridge = import_module(f"{library.__name__}.bridge")
        core = library.Core({"max_clients": _room()}, _secret())
        return Running(library, bridge.Bridge(core), node)
    except Exception as exc:
        raise CoreUnavailable(f"nostrclient's core cannot start: {exc}") from exc
