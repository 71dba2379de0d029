"""Live data for the admin's page: who may see it, and what has changed since.

A WebSocket with LNbits' cookie could be opened by a page of another site. So the page
asks for a ticket over REST, where LNbits checks the admin, and shows it once.
"""

import secrets
import time
from typing import Any

from ..core.process import shared
from .models import Overview

TICKET_SECONDS = 30.0
MAX_TICKETS = 100
MAX_WATCHERS = 32

INTERVAL = 1.0  # seconds between two updates
QUIET_SECONDS = (
    10.0  # something is sent at least this often: the page sees that we are there
)
LIFE_SECONDS = 600.0  # until the page has to get a new ticket

# Tickets nobody has shown yet, with the time they end. All copies of the extension share
# them.
_tickets: dict[str, float] = shared("tickets", dict)


def issue_ticket() -> str:
    """A new ticket for an admin."""
    now = time.monotonic()
    for ticket, ends in list(_tickets.items()):
        if ends < now or len(_tickets) >= MAX_TICKETS:
            _tickets.pop(ticket, None)
    ticket = secrets.token_urlsafe(24)
    _tickets[ticket] = now + TICKET_SECONDS
    return ticket


def redeem_ticket(ticket: str) -> bool:
    """Whether this ticket is valid. It is used up then."""
    return _tickets.pop(ticket, 0.0) >= time.monotonic()


class Changes:
    """What one page has been sent, to find what is new."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        self._relays: dict[str, Any] = {}
        self._second = 0
        self._sent_at = 0.0

    def since_then(self, overview: Overview) -> dict[str, Any] | None:
        """What to send to this page: the parts of an `Overview` that have changed. Of the
        relays, the changed ones and, in `gone`, the urls of those removed; of the
        history, the new seconds. None: nothing for now."""
        changed = self._changed_parts(overview)
        now = time.monotonic()
        if not changed and now - self._sent_at < QUIET_SECONDS:
            return None
        self._sent_at = now
        return {"time": overview.time, **changed}

    def _changed_parts(self, overview: Overview) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        first = not self._parts
        for name in ("state", "attention", "clients"):
            part = overview.dict(include={name})[name]
            if self._parts.get(name) != part:
                changed[name] = self._parts[name] = part
        relays = {line.url: line.dict() for line in overview.relays}
        lines = [line for url, line in relays.items() if self._relays.get(url) != line]
        gone = [url for url in self._relays if url not in relays]
        if lines or gone or first:
            changed.update(relays=lines, gone=gone)
        self._relays = relays
        if overview.time < self._second:
            self._second = 0  # the clock was set back: newer seconds have smaller numbers
        # The last second that was sent may not have been over.
        history = [entry for entry in overview.history if entry[0] >= self._second]
        if history and history != self._parts.get("history"):
            changed["history"] = self._parts["history"] = history
            self._second = history[-1][0]
        return changed
