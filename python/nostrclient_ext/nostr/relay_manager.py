"""The relays, subscriptions and publications of one client in this process.

A thin front of `InsideClient`: names, arguments and results are those that other
extensions know. Every method may be called from any thread, and before the extension is
started; none waits for a relay.
"""

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..core.library import CoreUnavailable
from ..core.running import running
from ..inside.client import InsideClient
from ..inside.counts import CountRefused as CountRefused
from .message_pool import (
    EndOfStoredEventsMessage,
    EventMessage,
    MessagePool,
    NoticeMessage,
)
from .relay import Relay, Relays

if TYPE_CHECKING:
    from nostrclient_core import Told

_EVENT_ID = re.compile("[0-9a-f]{64}")


class RelayManager:
    """The manager of one client. `own_relays`: it uses the relays it is given; else the
    owner's."""

    def __init__(self, own_relays: bool = True, lifetime: float | None = None) -> None:
        self.message_pool = MessagePool(lifetime)
        self._own_relays = own_relays
        self._inside = InsideClient(self._receive, own_relays)

    @property
    def relays(self) -> dict[str, Relay]:
        """Url to relay: this client's own, or all that are in use on this server."""
        if self._own_relays:
            return Relays(self._inside.relays)
        try:
            statuses = running().core.relays()
        except CoreUnavailable:
            return Relays(self._inside.relays)
        return Relays(status["url"] for status in statuses if status["listed"])

    @property
    def subscriptions(self) -> list[str]:
        """The ids of the open subscriptions."""
        return self._inside.subscriptions

    @property
    def unanswered(self) -> int:
        """How many events nobody has taken or refused yet."""
        return self._inside.unanswered

    def add_relay(self, url: str) -> Relay:
        """Use this relay too. If the owner has not configured it, it stays connected
        until LNbits ends; the owner's switches are kept. Raises `ValueError` with a
        sentence for a wrong url."""
        self._inside.use([url])
        return Relay(url)

    def remove_relay(self, url: str) -> None:
        """Stop using this relay. The owner's relays come back at the next start."""
        self._inside.use([], remove=[url])
        if not self._own_relays:
            try:
                running().core.remove_relay(url)
            except (CoreUnavailable, ValueError):
                pass  # it is not there

    def remove_relays(self) -> None:
        """Stop using all relays that were added here."""
        for url in self._inside.relays:
            self.remove_relay(url)

    def use_relays(self, urls: list[str]) -> None:
        """Use these relays instead of those that were added here before."""
        self._inside.use(urls, only=True)

    def check_and_restart_relays(self) -> None:
        """Connect now to the relays that wait for their next attempt."""
        try:
            running().core.reconnect()
        except CoreUnavailable:
            pass  # all are tried at the start

    def close_connections(self) -> None:
        """Stop using its own relays. The owner's stay connected."""
        if self._own_relays and self._inside.relays:
            self._inside.use([], only=True)

    def add_subscription(self, id: str, filters: Any) -> None:  # noqa: A002
        """Subscribe (NIP-01 REQ): a list of filters, each a dictionary. The same id again
        replaces the subscription. Events come into `message_pool`."""
        if isinstance(filters, dict):
            filters = [filters]
        self._forget_end(str(id))
        self._inside.subscribe(str(id), list(filters))

    def close_subscription(self, id: str) -> None:  # noqa: A002
        """End a subscription. Nothing happens if there is none."""
        self._inside.unsubscribe(str(id))
        self._forget_end(str(id))

    def close_subscriptions(self, subscriptions: list[str]) -> None:
        """End these subscriptions."""
        for name in list(subscriptions):
            self.close_subscription(name)

    def close_all_subscriptions(self) -> None:
        """End all subscriptions of this client."""
        self.close_subscriptions(self._inside.subscriptions)

    async def count(self, filters: Any) -> dict[str, Any]:
        """How many stored events match (NIP-45 COUNT) a filter or one of a list: `count`,
        with `approximate` and `hll` where relays say so. Within a few seconds, on any
        event loop. Raises `CountRefused` with the reason and its `code` if no relay
        counts."""
        if isinstance(filters, dict):
            filters = [filters]
        return await asyncio.wrap_future(self._inside.count(list(filters)))

    def publish_message(self, message: str) -> None:
        """Hand over a message for relays, as JSON text. `["EVENT", {…}]` is published:
        kept until a relay or the outbox has it, ephemeral kinds for two seconds. REQ and
        CLOSE are taken too. Anything else goes to the log, not to the caller."""
        try:
            verb, *rest = json.loads(message)
            if verb == "EVENT":
                (event,) = rest
                if not _EVENT_ID.fullmatch(event["id"]):
                    raise ValueError("an event needs its id, 64 hexadecimal characters")
                self._inside.publish(event)
            elif verb == "REQ":
                self.add_subscription(rest[0], rest[1:])
            elif verb == "CLOSE":
                self.close_subscription(rest[0])
            else:
                raise ValueError("neither EVENT, REQ nor CLOSE")
        except (IndexError, KeyError, TypeError, ValueError) as exc:
            logger.warning(
                f"nostrclient: an extension's message was not sent: {exc!r:.200}"
            )

    def publish_event(self, event: Any) -> None:
        """Publish a signed `Event`. Raises `ValueError` if its signature is wrong."""
        if not event.verify():
            raise ValueError("The event's signature is missing or wrong.")
        self.publish_message(event.to_message())

    def close(self) -> None:
        """End the subscriptions and let go of the relays."""
        self._inside.close()
        self.message_pool.wake_listeners()

    def _forget_end(self, name: str) -> None:
        """Drop an EOSE nobody has fetched: it is not the next subscription's."""
        self.message_pool.eose_notices.drop(lambda end: end.subscription_id == name)

    def _receive(self, message: "Told") -> None:
        """What the core says, on LNbits' event loop."""
        verb, name, text, url, event_id, _ = message
        if verb == "EVENT":
            self.message_pool.events.put(EventMessage(text, event_id, name, url))
        elif verb == "EOSE":
            self.message_pool.eose_notices.put(EndOfStoredEventsMessage(name))
        elif verb == "NOTICE" and url:
            self.message_pool.notices.put(NoticeMessage(text, url))
