"""The client that all extensions share, and the lists it fills.

`NostrRouter.received_subscription_events` is filled for subscriptions made with
`nostr_client.relay_manager.add_subscription`, on LNbits' event loop, when the core has
something. Consumers remove from it what they have handled, in any way they like; when a
list is full its oldest events are dropped. All of this exists once in a process,
whichever copy of this module it is reached by.
"""

import threading
from typing import TYPE_CHECKING, ClassVar

from loguru import logger

from .core.process import shared
from .nostr.client.client import NostrClient
from .nostr.message_pool import EndOfStoredEventsMessage, EventMessage, NoticeMessage
from .nostr.relay_manager import RelayManager

if TYPE_CHECKING:
    from fastapi import WebSocket

    from nostrclient_core import Told

MAX_EVENTS = 10_000  # of one subscription
MAX_EVENTS_ALL = 50_000  # of all subscriptions
MAX_BYTES_ALL = 64 << 20  # of all their events
COUNT_EVERY = 1_000  # events between two checks of the bounds above
MAX_NOTICES = 100
MAX_ENDS = 1_000
POOL_SECONDS = 60.0  # that events stay in the message pool, which few extensions read


class NostrRouter:
    """An instance stands for one client's WebSocket; the class holds what extensions
    receive."""

    received_subscription_events: ClassVar[dict[str, list[EventMessage]]] = shared(
        "received_subscription_events", dict
    )
    received_subscription_notices: ClassVar[list[NoticeMessage]] = shared(
        "received_subscription_notices", list
    )
    received_subscription_eosenotices: ClassVar[dict[str, EndOfStoredEventsMessage]] = (
        shared("received_subscription_eosenotices", dict)
    )
    lock: ClassVar[threading.Lock] = shared("received_lock", threading.Lock)

    def __init__(self, websocket: "WebSocket") -> None:
        self.websocket = websocket
        self.connected = True

    async def stop(self) -> None:
        """Close the client's connection."""
        self.connected = False
        try:
            await self.websocket.close()
        except RuntimeError:
            pass  # it is closed


all_routers: list[NostrRouter] = shared("all_routers", list)
"""One for each connected client whose socket stays with LNbits' web server."""


class _SharedManager(RelayManager):
    """The manager of the shared client: the owner's relays, and the lists above."""

    def __init__(self) -> None:
        super().__init__(own_relays=False, lifetime=POOL_SECONDS)
        self._uncounted = 0
        self._full: set[str] = set()

    def close(self) -> None:
        """Does nothing: other extensions use it too."""

    def close_subscription(self, id: str) -> None:  # noqa: A002
        super().close_subscription(id)
        self.message_pool.events.drop(lambda message: message.subscription_id == id)
        if not NostrRouter.received_subscription_events.get(id, True):
            NostrRouter.received_subscription_events.pop(id, None)

    def _forget_end(self, name: str) -> None:
        super()._forget_end(name)
        NostrRouter.received_subscription_eosenotices.pop(name, None)

    def _receive(self, message: "Told") -> None:
        super()._receive(message)
        verb, name, text, url, event_id, _ = message
        if verb == "EVENT":
            self._keep(EventMessage(text, event_id, name, url))
        elif verb == "EOSE":
            ends = NostrRouter.received_subscription_eosenotices
            ends[name] = EndOfStoredEventsMessage(name)
            while len(ends) > MAX_ENDS:
                ends.pop(next(iter(ends)), None)
        elif verb == "NOTICE" and url:
            notices = NostrRouter.received_subscription_notices
            notices.append(NoticeMessage(text, url))
            del notices[:-MAX_NOTICES]

    def _keep(self, message: EventMessage) -> None:
        lists, name = NostrRouter.received_subscription_events, message.subscription_id
        # Take the list out while adding to it: another thread may do the same.
        events = lists.pop(name, None)
        if events is None:
            events = []
        events.append(message)
        there = lists.setdefault(name, events)
        if there is not events:
            there.extend(events)
            events = there
        if len(events) > MAX_EVENTS:
            self._report(name)
            del events[:-MAX_EVENTS]
        self._uncounted += 1
        if self._uncounted >= COUNT_EVERY:
            self._uncounted = 0
            self._trim(lists)

    def _trim(self, lists: dict[str, list[EventMessage]]) -> None:
        """Drop the oldest events of the longest lists, until all lists are within their
        bounds."""
        while True:
            every = list(lists.items())
            count = sum(len(events) for _, events in every)
            size = sum(message.size for _, events in every for message in events)
            if count <= MAX_EVENTS_ALL and size <= MAX_BYTES_ALL:
                return
            name, longest = max(every, key=lambda item: len(item[1]))
            self._report(name)
            del longest[: len(longest) // 2 + 1]

    def _report(self, name: str) -> None:
        if name not in self._full:
            if len(self._full) < MAX_ENDS:
                self._full.add(name)
            logger.warning(
                "nostrclient: nobody fetches the events of the subscription"
                f" {name!r:.80}; the oldest are dropped."
            )


class _SharedClient(NostrClient):
    """The client that all extensions share. Nobody can close it or take the owner's
    relays from it."""

    def __init__(self) -> None:
        super().__init__()
        self.relay_manager = _SharedManager()

    def connect(self, relays: list[str]) -> None:
        """Use these relays too, until LNbits ends."""
        for url in relays:
            try:
                self.relay_manager.add_relay(url)
            except ValueError as exc:
                logger.warning(f"nostrclient: an extension's relay is not used: {exc}")

    def reconnect(self, relays: list[str]) -> None:
        """Use these relays too, and connect now to those that are not connected."""
        self.connect(relays)
        self.relay_manager.check_and_restart_relays()

    def close(self) -> None:
        """Does nothing: other extensions use it too."""


nostr_client: NostrClient = shared("nostr_client", _SharedClient)
