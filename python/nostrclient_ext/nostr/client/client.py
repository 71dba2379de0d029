"""A client of relays for another extension, inside this process."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from loguru import logger

from ...inside.urls import normalized
from ..message_pool import (
    BoundedQueue,
    EndOfStoredEventsMessage,
    EventMessage,
    NoticeMessage,
)
from ..relay_manager import RelayManager

CALLBACKS = 50  # in a row, before others get their turn on the loop

M = TypeVar("M")
Callback = Callable[[M], Any]


class NostrClient:
    """A client with relays and subscriptions of its own; it shares the server's one
    connection to each relay. Costs nothing until it is used. Works from any thread."""

    def __init__(self) -> None:
        self.running = True
        self.relay_manager = RelayManager()

    def connect(self, relays: list[str]) -> None:
        """Use these relays too. A wrong url is logged and left out."""
        for url in _good(relays):
            self.relay_manager.add_relay(url)

    def reconnect(self, relays: list[str]) -> None:
        """Use these relays instead of those before. Subscriptions go on."""
        self.running = True
        self.relay_manager.use_relays(_good(relays))

    def close(self) -> None:
        """End the subscriptions, let go of the relays, and have `subscribe` return."""
        self.running = False
        self.relay_manager.close()

    async def subscribe(
        self,
        callback_events_func: Callback[EventMessage] | None = None,
        callback_notices_func: Callback[NoticeMessage] | None = None,
        callback_eosenotices_func: Callback[EndOfStoredEventsMessage] | None = None,
    ) -> None:
        """Call these for what comes in, until `close()`. Runs on any event loop. What a
        callback raises is logged."""
        pool = self.relay_manager.message_pool
        with pool.listening() as came:
            while self.running:
                came.clear()
                # Stored events before their end.
                ends = pool.eose_notices.qsize()
                await _hand_out(pool.events, callback_events_func)
                await _hand_out(pool.notices, callback_notices_func)
                await _hand_out(pool.eose_notices, callback_eosenotices_func, ends)
                if pool.eose_notices.qsize():
                    await asyncio.sleep(
                        0
                    )  # they came in after the events were handed out
                elif self.running:
                    await came.wait()


def _good(relays: list[str]) -> list[str]:
    """The valid urls. The others are logged."""
    good: list[str] = []
    for url in dict.fromkeys(relays):
        try:
            normalized(url)
        except ValueError as exc:
            logger.warning(f"nostrclient: an extension's relay is not used: {exc}")
        else:
            good.append(url)
    return good


async def _hand_out(
    messages: BoundedQueue, callback: Callback[Any] | None, most: int | None = None
) -> None:
    left = messages.qsize() if most is None else most
    while left > 0 and messages.qsize() > 0:
        left -= 1
        message = messages.get_nowait()
        if callback is None:
            continue
        try:
            callback(message)
        except Exception as exc:
            logger.error(f"nostrclient: an extension's callback failed: {exc!r}")
        if left % CALLBACKS == 0:
            await asyncio.sleep(0)
