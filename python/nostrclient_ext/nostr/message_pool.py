"""What one client has received and nobody has fetched yet.

Bounded in number and bytes: the oldest messages are dropped. Filled on LNbits' event
loop, emptied from any thread.
"""

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loguru import logger

MAX_MESSAGES = 10_000
MAX_BYTES = 64 << 20


class EventMessage:
    """An event for a subscription. `event` is its JSON, verified."""

    def __init__(self, event: str, event_id: str, subscription_id: str, url: str) -> None:
        self.event = event
        self.event_id = event_id
        self.subscription_id = subscription_id
        self.url = url  # of the relay it came from first
        self.received_at = time.monotonic()

    @property
    def size(self) -> int:
        return len(self.event)


class NoticeMessage:
    """A relay's NOTICE, a sentence for people."""

    def __init__(self, content: str, url: str) -> None:
        self.content = content
        self.url = url
        self.received_at = time.monotonic()

    @property
    def size(self) -> int:
        return len(self.content)


class EndOfStoredEventsMessage:
    """All relays have sent a subscription's stored events. `url` is empty."""

    def __init__(self, subscription_id: str, url: str = "") -> None:
        self.subscription_id = subscription_id
        self.url = url
        self.received_at = time.monotonic()

    @property
    def size(self) -> int:
        return len(self.subscription_id)


class BoundedQueue(queue.Queue[Any]):
    """A queue whose `put` never waits: when it is full, the oldest messages are dropped.
    `lifetime`: seconds until a message is dropped in any case; `None`: never."""

    def __init__(self, added: Callable[[], None], lifetime: float | None = None) -> None:
        self._added = added
        self._lifetime = lifetime
        self._bytes = 0
        super().__init__()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add a message. Consumers also put back what they cannot use."""
        super().put(item, block, timeout)
        self._added()

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Remove messages that nobody wants any more."""
        with self.mutex:
            wanted = [item for item in self.queue if not unwanted(item)]
            self.queue.clear()
            self.queue.extend(wanted)
            self._bytes = sum(map(_size, wanted))

    def _qsize(self) -> int:
        self._expire()
        return super()._qsize()

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._bytes += _size(item)
        while len(self.queue) > MAX_MESSAGES or self._bytes > MAX_BYTES:
            self._get()

    def _get(self) -> Any:
        item = super()._get()
        self._bytes -= _size(item)
        return item

    def _expire(self) -> None:
        if self._lifetime is None:
            return
        oldest = time.monotonic() - self._lifetime
        while self.queue and getattr(self.queue[0], "received_at", oldest) < oldest:
            self._get()


def _size(item: Any) -> int:
    size = getattr(item, "size", 0)
    return size if isinstance(size, int) else 0


class MessagePool:
    """The queues of one client."""

    def __init__(self, lifetime: float | None = None) -> None:
        self._listeners: list[Callable[[], None]] = []
        self.events = BoundedQueue(self._notify, lifetime)
        self.notices = BoundedQueue(self._notify, lifetime)
        self.eose_notices = BoundedQueue(self._notify, lifetime)

    def has_events(self) -> bool:
        return self.events.qsize() > 0

    def has_notices(self) -> bool:
        return self.notices.qsize() > 0

    def has_eose_notices(self) -> bool:
        return self.eose_notices.qsize() > 0

    def get_event(self) -> EventMessage:
        """The oldest event. Waits for one; but on an event loop, where waiting would
        block everybody, it raises `queue.Empty`."""
        message: EventMessage = _get(self.events)
        return message

    def get_notice(self) -> NoticeMessage:
        """The oldest notice, as `get_event`."""
        message: NoticeMessage = _get(self.notices)
        return message

    def get_eose_notice(self) -> EndOfStoredEventsMessage:
        """The oldest end of stored events, as `get_event`."""
        message: EndOfStoredEventsMessage = _get(self.eose_notices)
        return message

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An asyncio event that is set when something has come in."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        rung = False  # the loop has been called, and has not come yet

        def answer() -> None:
            nonlocal rung
            rung = False
            came.set()

        def wake() -> None:
            nonlocal rung
            if not rung:
                rung = True
                try:
                    loop.call_soon_threadsafe(answer)
                except RuntimeError:
                    logger.debug("nostrclient: a listener's event loop is gone")

        self._listeners.append(wake)
        try:
            yield came
        finally:
            self._listeners.remove(wake)

    def wake_listeners(self) -> None:
        """Wake all listeners."""
        self._notify()

    def _notify(self) -> None:
        for wake in list(self._listeners):
            wake()


def _get(messages: BoundedQueue) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return messages.get()
    return messages.get_nowait()
