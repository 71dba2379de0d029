"""A client of the core in this process, for other extensions' Python code.

It keeps what it was asked for (subscriptions, relays, publications not answered yet) and
gives it to every core that runs in this process, one after the other: it may be used
before the extension is started, while it is upgraded, and from any thread. What the core
says comes in on LNbits' event loop and goes to `receive`. It ends with `close`.
"""

import itertools
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from types import ModuleType
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..core.library import CoreUnavailable, load
from ..core.running import UNWANTED_RELAYS, Running, come_again, join, leave
from .counts import Counts

if TYPE_CHECKING:
    from nostrclient_core import Client, Memory, Told

BATCH = 64  # messages taken before other work gets its turn on the loop
EVERYTHING = 1 << 20
EPHEMERAL = range(20_000, 30_000)  # kinds nobody wants late (NIP-01)
EPHEMERAL_SECONDS = 2.0  # how long one of them may wait here for a relay
MAX_PUBLICATIONS = 1_000  # not answered yet
MAX_PUBLICATION_BYTES = 16 << 20  # of those, in all
MAX_MEMORIES = 1_000  # of subscriptions that are closed
AGAIN_SECONDS = 1.0  # until a client that a running core has closed comes again
REFUSED_SECONDS = 30.0  # until a subscription that no relay serves is asked for again
ANSWER_SECONDS = 60.0  # after which nobody waits for the answer about an event
REPORT_SECONDS = 10.0  # between two lines in the log about events that got lost

# Refusals of a subscription that will not change by asking again.
FINAL = ("invalid:", "restricted:", "unsupported:")
# Refusals of an event because no relay was there and the outbox did not take it.
UNTIL_A_RELAY_CONNECTS = (
    "mute:",
    "error: the offline queue",
    "error: offline queue full",
    "error: the database",
    "error: no relay configured",
)


def normalized(url: str) -> str:
    """The one spelling of a relay's url. Raises `ValueError` with a sentence. Where there
    is no core to ask, nothing will be connected to anyway."""
    try:
        spelling: str = load().normalize_relay_url(url)
    except CoreUnavailable:
        return url
    return spelling


def spelled(url: str) -> str:
    """The same; other texts stay what they are."""
    try:
        return normalized(url)
    except ValueError:
        return url


class _Subscription:
    """What was asked for, and how far it is."""

    __slots__ = ("complete", "filters", "number", "opened", "refused", "since", "whole")

    def __init__(self, filters: str, number: str) -> None:
        self.filters = filters  # JSON, each after a comma
        self.number = number  # names it to the core
        self.opened = int(time.time())
        self.complete = False  # it has had its EOSE
        self.whole = False  # it is sent what comes, by every relay
        self.since: int | None = None  # when it was so last; None: never
        self.refused = False  # no relay serves it for now

    def lose(self) -> None:
        """What comes from now on may be missed."""
        if self.whole:
            self.whole, self.since = False, int(time.time())

    @property
    def req(self) -> str:
        return f'["REQ","{self.number}"{self.filters}]'


class _Publication:
    """An event on its way, as text."""

    __slots__ = ("ephemeral", "held", "since", "text", "told")

    def __init__(self, text: str, ephemeral: bool) -> None:
        self.text = text
        self.ephemeral = ephemeral
        self.since = time.monotonic()
        self.told = False  # a core has had it
        self.held = False  # and had no relay for it

    @property
    def late(self) -> bool:
        return self.ephemeral and time.monotonic() - self.since > EPHEMERAL_SECONDS

    @property
    def old(self) -> bool:
        """It will not be answered any more."""
        asked = self.told and not self.held
        return asked and time.monotonic() - self.since > ANSWER_SECONDS


class InsideClient:
    """One client. `own_relays`: it uses those it names with `use`, else the owner's."""

    def __init__(self, receive: Callable[["Told"], None], own_relays: bool) -> None:
        self._receive = receive
        self._lock = threading.RLock()
        self._running: Running | None = None
        self._client: Client | None = None
        self.own_relays = own_relays
        self._relays: dict[str, None] = {}  # urls as they were spelled
        self._left: set[str] = set()  # relays that were its own before
        self._subscriptions: dict[str, _Subscription] = {}
        # Each REQ has a number of its own: what still comes for an earlier one of the
        # same name is not taken for this one's.
        self._names: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._publications: OrderedDict[str, _Publication] = OrderedDict()
        self._bytes = 0  # of the publications
        # What the core is still to be told: subscriptions by number, events by id.
        self._untold: OrderedDict[str, None] = OrderedDict()
        self._unsent: OrderedDict[str, None] = OrderedDict()
        self._counts = Counts()
        self._memories: OrderedDict[str, Memory] = OrderedDict()
        self._problem = ""
        self._lost = 0
        self._reported = 0.0

    @property
    def subscriptions(self) -> list[str]:
        """The ids."""
        with self._lock:
            return list(self._subscriptions)

    @property
    def relays(self) -> list[str]:
        """The relays that were named here, as they were spelled."""
        with self._lock:
            return list(self._relays)

    @property
    def core_client(self) -> "Client | None":
        """The core's end of this client, while it has one."""
        return self._client

    @property
    def unanswered(self) -> int:
        """Publications the core has not answered yet, or has not had."""
        return len(self._publications)

    # What consumers ask for.

    def subscribe(self, name: str, filters: list[Any]) -> None:
        """A new subscription in place of any of the same name (NIP-01 REQ). An event that
        was given under this name before is not given again."""
        text = "".join(f",{json.dumps(given)}" for given in filters)
        join(self)
        with self._lock:
            self._end(name)
            subscription = _Subscription(text, str(next(self._numbers)))
            self._subscriptions[name] = subscription
            self._ask(name, subscription)
            self._pump()

    def unsubscribe(self, name: str) -> None:
        """End a subscription. Nothing happens if there is none."""
        with self._lock:
            self._end(name)
            self._forget_memories()
            self._pump()

    def publish(self, event: dict[str, Any]) -> None:
        """Publish an event with an id. It is kept until it is answered, also from one
        core to the next; ephemeral kinds for two seconds. Raises `ValueError` for what is
        no JSON."""
        event_id: str = event["id"]
        # The id first: of a message that is too long no more is read.
        text = json.dumps(["EVENT", {"id": event_id, **event}], allow_nan=False)
        publication = _Publication(text, event.get("kind") in EPHEMERAL)
        join(self)
        with self._lock:
            self._drop_publication(event_id)
            if not self._has_room(text):
                self._drop_old()
            if not self._has_room(text):
                self._report_lost("too many wait for an answer")
                return
            self._publications[event_id] = publication
            self._bytes += len(text)
            self._unsent[event_id] = None
            self._pump()

    def count(self, filters: list[Any]) -> "Future[dict[str, Any]]":
        """How many events match (NIP-45 COUNT): `count`, and `approximate` and `hll`
        where relays say so. Fails with `CountRefused`. Raises `TypeError` or `ValueError`
        for filters that are no JSON."""
        join(self)
        with self._lock:
            answer = self._counts.ask(filters)
            if self._client is None:
                self._counts.end("error: nostrclient is not running")
            self._pump()
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
            left = {
                url: spelled(url)
                for url in self._relays
                if spelled(url) in removed or (only and spelled(url) not in added)
            }
            for url in left:
                del self._relays[url]
            known = {spelled(url) for url in self._relays}
            for url in add:
                if normalized(url) not in known:
                    self._relays[url] = None
            if self.own_relays:
                if self._left & added:
                    # A relay that comes back would mix up answers: a new REQ each.
                    self._renew_subscriptions()
                self._left = (self._left | set(left.values())) - added
            self._name_relays(added)
            self._relay_is_there()

    def close(self) -> None:
        """End everything. It may be used again afterwards."""
        leave(self)
        with self._lock:
            running, client = self._running, self._client
            self._running = self._client = None
            self._relays.clear()
            self._left.clear()
            self._subscriptions.clear()
            self._names.clear()
            self._publications.clear()
            self._bytes = 0
            self._untold.clear()
            self._unsent.clear()
            self._counts.end("error: the client was closed")
        if running is not None and client is not None:
            running.bridge.disconnect_inside(client)

    # What the core does. `attach` from any thread, `wake` on the loop's.

    def attach(self, running: Running) -> None:
        """There is a core: give it everything."""
        with self._lock:
            if self._client is not None:
                if self._running is running or not self._is_over():
                    return
                self._running = self._client = None
                self._counts.end("error: the core was stopped")
            if not self._connect(running):
                return
            self._untold = OrderedDict.fromkeys(self._names)
            self._unsent.clear()
            for event_id, publication in list(self._publications.items()):
                if publication.ephemeral and publication.told and not publication.held:
                    # A relay may have it, and it is never sent again.
                    self._drop_publication(event_id)
                    self._report_lost("the core was stopped before it was answered")
                else:
                    self._unsent[event_id] = None
            self._pump()
        # Whatever has called before this was set has not been heard.
        running.bridge.loop.call_soon_threadsafe(self.wake)

    def _is_over(self) -> bool:
        return self._running is None or self._running.bridge.stopped

    def _connect(self, running: Running) -> bool:
        try:
            client = running.bridge.connect_inside(self.wake)
        except running.library.CoreStopped:
            return False
        except Exception as exc:
            # Tried again when it is used again; said once.
            if str(exc) != self._problem:
                self._problem = str(exc)
                logger.error(f"nostrclient: an extension's client has no core: {exc}")
            return False
        self._running, self._client, self._problem = running, client, ""
        self._name_relays({spelled(url) for url in self._relays})
        return True

    def wake(self) -> None:
        """There is something to fetch, or to be told again."""
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
            self._pump()

    def _take_all(self, messages: list["Told"], running: Running) -> None:
        for message in messages:
            try:
                self._take(message, running)
            except Exception as exc:
                logger.error(f"nostrclient: an extension's event was not taken: {exc!r}")

    def _take(self, message: "Told", running: Running) -> None:
        verb, number, text, url, event_id, date = message
        with self._lock:
            name = self._names.get(number)
            if verb == "OK":
                self._drop_publication(number)
            elif verb == "REFUSED":
                self._refused(number, text)
            elif verb == "CONNECTED":
                self._relay_is_there()
            elif verb == "EVENT":
                if name is None:
                    return  # it has ended
                if not self._memory(name, running.library).insert(event_id, date):
                    return
            elif self._counts.settle(verb, number, text):
                return
            elif number:
                if name is None:
                    return
                self._subscription_is(name, verb, text, running)
        self._receive((verb, name or "", text, url, event_id, date))

    def _subscription_is(self, name: str, verb: str, why: str, running: Running) -> None:
        subscription = self._subscriptions[name]
        if verb == "EOSE":
            subscription.complete = True
        elif verb == "WHOLE":
            subscription.whole = True
        elif verb == "BEHIND":
            subscription.lose()
        elif verb == "CLOSED":
            self._closed(name, why, running)

    def _detach(self, running: Running, client: "Client") -> None:
        """The core has closed the client: it stops, or this client was too slow for
        it."""
        running.bridge.disconnect_inside(client)
        with self._lock:
            if self._client is not client:
                return
            self._running = self._client = None
            self._counts.end("error: the core was stopped")
            for subscription in self._subscriptions.values():
                subscription.lose()
        if not running.bridge.stopped:
            running.bridge.loop.call_later(AGAIN_SECONDS, come_again, self)

    def _name_relays(self, added: set[str]) -> None:
        """Tell the core which relays are this client's own, or which are new."""
        running, client = self._running, self._client
        if running is None or client is None:
            return
        try:
            if self.own_relays:
                running.core.use_relays(client, self._usable(running))
                return
            listed = {relay["url"] for relay in running.core.relays() if relay["listed"]}
            # What the owner has set for a relay stays.
            for url in (added & set(self._usable(running))) - listed - UNWANTED_RELAYS:
                running.core.add_relay(url)
        except running.library.CoreStopped:
            pass  # the next one is told

    def _usable(self, running: Running) -> list[str]:
        """The relays the core can connect to: while there was none, any text was one."""
        usable: list[str] = []
        for url in self._relays:
            try:
                usable.append(running.library.normalize_relay_url(url))
            except ValueError as exc:
                logger.warning(f"nostrclient: an extension's relay is not used: {exc}")
        return usable

    def _renew_subscriptions(self) -> None:
        for name, subscription in list(self._subscriptions.items()):
            self._end(name)
            subscription.lose()
            subscription.number = str(next(self._numbers))
            self._subscriptions[name] = subscription
            self._ask(name, subscription)

    def _ask(self, name: str, subscription: _Subscription) -> None:
        self._names[subscription.number] = name
        self._untold[subscription.number] = None

    def _end(self, name: str) -> None:
        subscription = self._subscriptions.pop(name, None)
        if subscription is not None:
            del self._names[subscription.number]
            self._untold[subscription.number] = None

    def _pump(self) -> None:
        """Tell the core what it takes."""
        client = self._client
        if client is None:
            return
        # Without a relay its end would come at once.
        nowhere = self.own_relays and not self._relays
        while self._untold and client.writable and not nowhere:
            number, _ = self._untold.popitem(last=False)
            name = self._names.get(number)
            if name is None:
                client.feed(f'["CLOSE","{number}"]')
                continue
            subscription = self._subscriptions[name]
            if subscription.complete:
                whole = subscription.since is not None
                since = subscription.since or subscription.opened
                client.resume(subscription.req, since, whole)
            else:
                client.feed(subscription.req)
        self._counts.tell(client)
        while self._unsent and client.writable:
            event_id, _ = self._unsent.popitem(last=False)
            publication = self._publications[event_id]
            if publication.late:
                self._drop_publication(event_id)
                self._report_lost("no relay was there in time")
            else:
                publication.told, publication.held = True, False
                client.feed(publication.text)

    def _closed(self, name: str, why: str, running: Running) -> None:
        logger.warning(f"nostrclient: an extension's subscription was closed: {why}")
        subscription = self._subscriptions[name]
        if why.startswith(FINAL):
            del self._subscriptions[name]
            del self._names[subscription.number]
        else:
            subscription.lose()
            subscription.refused = True
            running.bridge.loop.call_later(REFUSED_SECONDS, self._ask_refused_again)

    def _ask_refused_again(self) -> None:
        with self._lock:
            self._relay_is_there()

    def _refused(self, event_id: str, why: str) -> None:
        publication = self._publications.get(event_id)
        if publication is None:
            return
        if why.startswith(UNTIL_A_RELAY_CONNECTS) and not publication.late:
            publication.held = True
            return
        self._drop_publication(event_id)
        self._report_lost(why)

    def _relay_is_there(self) -> None:
        """What no relay took or served is tried again."""
        for subscription in self._subscriptions.values():
            if subscription.refused:
                subscription.refused = False
                self._untold[subscription.number] = None
        for event_id, publication in self._publications.items():
            if publication.held:
                self._unsent[event_id] = None
        self._pump()

    def _has_room(self, text: str) -> bool:
        enough = self._bytes + len(text) <= MAX_PUBLICATION_BYTES
        return enough and len(self._publications) < MAX_PUBLICATIONS

    def _drop_old(self) -> None:
        old = [name for name, sent in self._publications.items() if sent.late or sent.old]
        for event_id in old:
            self._drop_publication(event_id)

    def _drop_publication(self, event_id: str) -> None:
        self._unsent.pop(event_id, None)
        publication = self._publications.pop(event_id, None)
        if publication is not None:
            self._bytes -= len(publication.text)

    def _memory(self, name: str, library: ModuleType) -> "Memory":
        memory = self._memories.get(name)
        if memory is None:
            memory = self._memories[name] = library.Memory()
        self._memories.move_to_end(name)
        return memory

    def _forget_memories(self) -> None:
        """Of subscriptions that are closed the latest are remembered."""
        while len(self._memories) > MAX_MEMORIES + len(self._subscriptions):
            for name in self._memories:
                if name not in self._subscriptions:
                    del self._memories[name]
                    break

    def _report_lost(self, why: str) -> None:
        """One line now and then: nobody else is told."""
        self._lost += 1
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            logger.warning(
                f"nostrclient: {self._lost} events of extensions were not published:"
                f" {why}"
            )
            self._lost, self._reported = 0, now
