"""The numbers of the whole server, for the page's live data and for the metrics.

They are gathered at most once in `FRESH_SECONDS`, however many ask.
"""

import asyncio
import time

from loguru import logger

from ..core.running import Running
from ..models import Relay, RelayStatus
from ..outbox.keeper import age
from ..relays import document, listing
from .attention import IN_USE, needs_attention
from .clients import clients
from .models import Overview, RelayLine, State

FRESH_SECONDS = 0.9
DATABASE_SECONDS = 2.0  # after which the page does without the database

_looking = asyncio.Lock()
_last: tuple[float, Running, Overview] | None = None


async def overview(running: Running) -> Overview:
    """All numbers as they are now, or were less than a second ago."""
    global _last
    async with _looking:
        if _last is not None:
            at, seen, last = _last
            if seen is running and time.monotonic() - at < FRESH_SECONDS:
                return last
        taken = await _look(running)
        _last = time.monotonic(), running, taken
        return taken


async def _look(running: Running) -> Overview:
    now = time.time()
    stats = running.core.stats()
    found, problem = await _relays(running)
    lines = sorted(map(_line, found), key=lambda line: line.url)
    present = clients(running)
    outbox = stats["outbox"]
    state = State.parse_obj(
        {
            **stats,
            "version": running.library.__version__,
            "warning": running.warning,
            "sockets": running.sockets,
            "relays": sum(line.configured and line.state in IN_USE for line in lines),
            "connected": sum(
                line.configured and line.state == "connected" for line in lines
            ),
            "totals": stats,
            "outbox": {
                **outbox,
                "oldest_age": age(outbox["oldest"], now),
                "problem": running.outbox.problem,
            },
        }
    )
    return Overview(
        time=now,
        state=state,
        history=running.core.history(),
        attention=needs_attention(now, state, found, present.clients, problem),
        relays=lines,
        clients=present,
    )


async def _relays(running: Running) -> tuple[list[Relay], str | None]:
    """All relays, and what is wrong with their table. If it cannot be read, those that
    the core has."""
    try:
        found = await asyncio.wait_for(listing.list_relays(running), DATABASE_SECONDS)
    except running.library.CoreStopped:
        raise
    except Exception as exc:
        logger.debug(f"nostrclient: the page does without the database: {exc!r}")
        return listing.list_without_rows(running), "The relays' table cannot be read."
    connected = [relay.url for relay in found if relay.connected and relay.url]
    document.look_up(running, connected)
    return found, None


def _line(relay: Relay) -> RelayLine:
    status = relay.status or RelayStatus()
    info = document.known(relay.url or "")
    lists = {"status", "limits"}
    return RelayLine.parse_obj(
        {
            **status.dict(),
            **relay.dict(exclude=lists),
            "url": relay.url or "",
            "active": bool(relay.active),
            "state": relay.state or "inactive",
            "ping": relay.ping if relay.connected else None,
            "sent": status.num_sent_events,
            "received": status.num_received_events,
            "dropped": status.backlog_dropped,
            "errors": status.error_counter,
            "noticed_at": status.notice_times[-1] if status.notice_times else None,
            "last_error": status.error_list[-1] if status.error_list else None,
            "last_error_code": status.error_codes[-1] if status.error_codes else None,
            "name": info.name if info else None,
            "icon": info.icon if info else None,
        }
    )
