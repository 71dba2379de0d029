"""From the core's threads to one asyncio loop, without a call or an await per message.

Owns the registration of the core's wake descriptor with the loop and one `Connection`
per client. The core makes the descriptor readable, the loop calls `_wake`, and each
client that is named there gets its events set. Everything here runs on the loop's
thread. Ends with `stop()`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from ._native import STORE, Client, Core
from .shapes import About

BEAT = 0.25  # seconds


class Woken(Protocol):
    """Whoever waits for something of a client."""

    def wake(self) -> None:
        """Something changed for it. Called on the loop's thread."""


class Inside:
    """A client inside this process, which fetches its mail when it is called."""

    __slots__ = ("_call", "_loop")

    def __init__(self, call: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop

    def wake(self) -> None:
        """Something changed for this client. Its mistakes are not the others' loss."""
        try:
            self._call()
        except Exception as exc:
            message = "nostrclient: a client inside failed"
            self._loop.call_exception_handler({"message": message, "exception": exc})


class Connection:
    """One client, seen from the loop: what its reader and its writer wait for."""

    __slots__ = ("_bridge", "client", "closed", "incoming", "outgoing")

    def __init__(self, bridge: "Bridge", client: Client) -> None:
        self._bridge = bridge
        self.client = client
        self.outgoing = asyncio.Event()
        """Set when there may be something to drain. The writer clears it."""
        self.incoming = asyncio.Event()
        """Set when `client.writable` may have changed. The reader clears it."""
        self.closed: asyncio.Future[None] = bridge.loop.create_future()
        """Done once the core has closed the client: `client.closed` says why."""

    def wake(self) -> None:
        """Something changed for this client: let its tasks look."""
        self.outgoing.set()
        self.incoming.set()
        if not self.closed.done() and self.client.closed is not None:
            self.closed.set_result(None)

    def close(self) -> None:
        """The socket is gone: ends the client's subscriptions. Idempotent."""
        self._bridge.forget(self)
        self.client.disconnect()
        if not self.closed.done():
            self.closed.cancel()


class Bridge:
    """The running core on one event loop. Made inside that loop, which it belongs to."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.loop = asyncio.get_running_loop()
        self.store = asyncio.Event()
        """Set when `core.store_task()` has something. The rows' keeper clears it."""
        self.stopped = False
        self._connections: dict[int, Woken] = {}
        self._wake_fd: int | None = core.wake_fd
        self.loop.add_reader(self._wake_fd, self._wake)
        self._beat()

    def connect(
        self,
        public: bool = True,
        hosts: Sequence[str] = (),
        sibling: bool = False,
        about: About | None = None,
    ) -> Connection:
        """Admit a client. The arguments: as `Core.connect`. Raises `TooManyClients` or
        `CoreStopped`."""
        client = self.core.connect(public, list(hosts), sibling, about)
        connection = Connection(self, client)
        self._connections[client.token] = connection
        return connection

    def connect_inside(self, wake: Callable[[], None]) -> Client:
        """Admit a client inside this process. `wake` is called on the loop's thread when
        there is something to drain, when it may be fed again and when it was closed. To
        be ended with `disconnect_inside`. Both from any thread. Raises as `connect`."""
        client = self.core.connect_inside()
        self._connections[client.token] = Inside(wake, self.loop)
        return client

    def disconnect_inside(self, client: Client) -> None:
        """Ends the client's subscriptions. Idempotent."""
        self._connections.pop(client.token, None)
        client.disconnect()

    def forget(self, connection: Connection) -> None:
        """Called by `Connection.close`."""
        self._connections.pop(connection.client.token, None)

    def stop(self, away: bool = False) -> None:
        """Stop the core and let every client's tasks see that it is over. `away`: as
        `Core.stop`. Idempotent."""
        self.stopped = True
        self._detach()
        self._next_beat.cancel()
        self.core.stop(away)
        for connection in list(self._connections.values()):
            connection.wake()

    def _beat(self) -> None:
        """This loop reads the sockets: the core has to know if it stood still."""
        self.core.beat()
        self._next_beat = self.loop.call_later(BEAT, self._beat)

    def _wake(self) -> None:
        try:
            ready = self.core.ready()
        except BaseException:
            # The descriptor would stay readable and call us for ever.
            self._detach()
            raise
        for token in ready:
            if token == STORE:
                self.store.set()
                continue
            connection = self._connections.get(token)
            if connection is not None:
                connection.wake()

    def _detach(self) -> None:
        if self._wake_fd is not None and not self.loop.is_closed():
            self.loop.remove_reader(self._wake_fd)
        self._wake_fd = None
