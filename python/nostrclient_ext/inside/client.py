"""A client of the core in this process, for other extensions' Python code.

It keeps what it was asked for (subscriptions, relays, publications not answered yet) and
gives it to every core that runs in this process, one after the other: it may be used
before the extension is started, while it is upgraded, and from any thread. What the core
says comes in on LNbits' event loop and goes to `receive`. It ends with `close`.

What it keeps lies in parts with files of their own. They know no lock and no other part:
this one holds its lock, calls them, and has them tell the core what is new (`_tell`).
"""

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..core.running import Running, come_again, join, leave
from .counts import Counts
from .memories import Memories
from .publications import Publications
from .subscriptions import Subscriptions
from .urls import NamedRelays, normalized, spelled

if TYPE_CHECKING:
    from nostrclient_core import Client, Told

BATCH = 64  # messages taken before other work gets its turn on the loop
EVERYTHING = 1 << 20
EPHEMERAL = range(20_000, 30_000)  # kinds nobody wants late (NIP-01)
AGAIN_SECONDS = 1.0  # until a client that a running core has closed comes again


class InsideClient:
    """One client. `own_relays`: it uses those it names with `use`, else the owner's."""

    def __init__(self, receive: Callable[["Told"], None], own_relays: bool) -> None:
        self.own_relays = own_relays
        self._receive = receive
        self._lock = threading.RLock()
        """Held whenever anything below is read or changed, but for the core and the
        core's end of this client, which are read without."""
        self._running: Running | None = None
        self._client: Client | None = None
        self._relays = NamedRelays(own_relays)
        self._subscriptions = Subscriptions()
        self._memories = Memories()
        self._publications = Publications()
        self._counts = Counts()
        self._problem: type[Exception] | None = None
        """Why the last core did not take this client, so that it is said once."""

    @property
    def subscriptions(self) -> list[str]:
        """The names of the open subscriptions."""
        with self._lock:
            return list(self._subscriptions.names)

    @property
    def relays(self) -> list[str]:
        """The relays that were named here, as they were spelled."""
        with self._lock:
            return self._relays.urls

    @property
    def core_client(self) -> "Client | None":
        """The core's end of this client, while it has one."""
        return self._client

    @property
    def unanswered(self) -> int:
        """Publications the core has not answered yet, or has not had."""
        return len(self._publications)

    # What extensions ask for, from any thread.

    def subscribe(self, name: str, filters: list[Any]) -> None:
        """A new subscription in place of any of the same name (NIP-01 REQ). An event that
        was given under this name before is not given again."""
        text = "".join(f",{json.dumps(given)}" for given in filters)
        join(self)
        with self._lock:
            self._subscriptions.open(name, text)
            self._tell()

    def unsubscribe(self, name: str) -> None:
        """End a subscription. Nothing happens if there is none."""
        with self._lock:
            self._subscriptions.end(name)
            self._memories.forget_old(self._subscriptions.names)
            self._tell()

    def publish(self, event: dict[str, Any]) -> None:
        """Publish an event with an id. It is kept until it is answered, also from one
        core to the next; ephemeral kinds for two seconds. Raises `ValueError` for what is
        no JSON."""
        event_id: str = event["id"]
        # The id first: the core reads no more of a message that is too long.
        text = json.dumps(["EVENT", {"id": event_id, **event}], allow_nan=False)
        join(self)
        with self._lock:
            self._publications.add(event_id, text, event.get("kind") in EPHEMERAL)
            self._tell()

    def count(self, filters: list[Any]) -> "Future[dict[str, Any]]":
        """How many events match (NIP-45 COUNT): `count`, and `approximate` and `hll`
        where relays say so. Fails with `CountRefused`. Raises `TypeError` or `ValueError`
        for filters that are no JSON."""
        join(self)
        with self._lock:
            answer = self._counts.ask(filters)
            if self._client is None:
                self._counts.end("error: nostrclient is not running", "no_core")
            self._tell()
            return answer

    def use(
        self, add: list[str], remove: list[str] | None = None, only: bool = False
    ) -> None:
        """Name relays, and leave others; `only`: all others. Where they are this client's
        own, its subscriptions go on at these; else they are added to the owner's until
        LNbits ends. Raises `ValueError` with a sentence for a wrong url, and changes
        nothing then."""
        added = {normalized(url) for url in add}
        removed = {spelled(url) for url in remove or []}
        join(self)
        with self._lock:
            if self._relays.change(add, removed, only):
                # Its answers to what it was asked before would be mixed up with the new.
                self._subscriptions.ask_anew()
            if self._running is not None and self._client is not None:
                self._relays.tell(self._running, self._client, added)
            self._relay_is_there()

    def close(self) -> None:
        """End everything. It may be used again afterwards."""
        leave(self)
        with self._lock:
            running, client = self._running, self._client
            self._running = self._client = None
            self._relays.clear()
            self._subscriptions.clear()
            self._publications.clear()
            self._counts.end("error: the client was closed", "client_closed")
        if running is not None and client is not None:
            running.bridge.disconnect_inside(client)

    # What the core does: `attach` from any thread, `wake` on the loop's.

    def attach(self, running: Running) -> None:
        """There is a core: give it everything."""
        with self._lock:
            if self._client is not None:
                if self._running is running or not self._is_over():
                    return
                self._let_go_of_the_core()
            if not self._connect(running):
                return
            self._subscriptions.tell_all_again()
            self._publications.tell_all_again()
            self._tell()
        # Whatever has called before this was set has not been heard.
        running.bridge.loop.call_soon_threadsafe(self.wake)

    def _is_over(self) -> bool:
        return self._running is None or self._running.bridge.stopped

    def _let_go_of_the_core(self) -> None:
        self._running = self._client = None
        self._counts.end("error: the core was stopped", "stopped")

    def _connect(self, running: Running) -> bool:
        try:
            client = running.bridge.connect_inside(self.wake)
        except running.library.CoreStopped:
            return False
        except Exception as exc:
            # Tried again when it is used again.
            if type(exc) is not self._problem:
                self._problem = type(exc)
                logger.error(f"nostrclient: an extension's client has no core: {exc}")
            return False
        self._running, self._client, self._problem = running, client, None
        self._relays.tell_all(running, client)
        return True

    def wake(self) -> None:
        """The core has something to say, or takes more again."""
        running, client = self._running, self._client
        if running is None or client is None:
            return
        if client.closed is not None:
            self._take_all(client.drain_parts(EVERYTHING), running)
            self._detach(running, client)
            return
        messages = client.drain_parts(BATCH)
        self._take_all(messages, running)
        if len(messages) == BATCH:
            running.bridge.loop.call_soon(self.wake)
        with self._lock:
            self._tell()

    def _detach(self, running: Running, client: "Client") -> None:
        """The core has closed the client: it stops, or this client was too slow for
        it."""
        running.bridge.disconnect_inside(client)
        with self._lock:
            if self._client is not client:
                return
            self._let_go_of_the_core()
            self._subscriptions.lose()
        if not running.bridge.stopped:
            running.bridge.loop.call_later(AGAIN_SECONDS, come_again, self)

    def _take_all(self, messages: list["Told"], running: Running) -> None:
        for message in messages:
            try:
                self._take(message, running)
            except Exception as exc:
                logger.error(f"nostrclient: an extension's event was not taken: {exc!r}")

    def _take(self, message: "Told", running: Running) -> None:
        """Note what the message says, and pass it on unless it is for nobody."""
        verb, number, text, url, event_id, date = message
        code = _code_in(message, running)
        with self._lock:
            name = self._subscriptions.name_of(number)
            if verb == "EVENT":
                if name is None:
                    return  # it has ended
                if not self._memories.note(name, event_id, date, running.library):
                    return
            elif verb == "OK":
                self._publications.answered(number)
            elif verb == "REFUSED":
                self._publications.refused(number, code, text)
            elif verb == "CONNECTED":
                self._relay_is_there()
            elif self._counts.settle(message):
                return
            elif name is not None:
                self._subscription_is(name, message, code, running)
            elif number:
                return  # it has ended
        self._receive((verb, name or "", text, url, event_id, date))

    def _subscription_is(
        self, name: str, message: "Told", code: str, running: Running
    ) -> None:
        verb, number, why, *_ = message
        if verb != "CLOSED":
            self._subscriptions.heard(name, verb)
            return
        logger.warning(f"nostrclient: an extension's subscription was closed: {why}")
        pause = self._subscriptions.refused(name, code)
        if pause is not None:
            running.bridge.loop.call_later(pause, self._pause_is_over, number)

    def _pause_is_over(self, number: str) -> None:
        with self._lock:
            self._subscriptions.pause_is_over(number)
            self._tell()

    def _relay_is_there(self) -> None:
        """What no relay took or served is tried again."""
        self._subscriptions.ask_refused_again()
        self._publications.tell_again()
        self._tell()

    def _tell(self) -> None:
        """Tell the core what is new, as much as it takes."""
        client = self._client
        if client is None:
            return
        # Without a relay a subscription's end would come at once.
        if not self._relays.nowhere:
            self._subscriptions.tell(client)
        self._counts.tell(client)
        self._publications.tell(client)


def _code_in(message: "Told", running: Running) -> str:
    """The code of a reason. A 2.0.0 core gives none, and runs here if the owner went back
    to that version: there it is the reason's prefix (NIP-01)."""
    _, _, reason, code, _, _ = message
    if hasattr(running.library, "WrongInput"):  # it has codes, and their exception
        return code
    prefix = reason.partition(":")[0]
    return "no_relay" if prefix == "error" else prefix
