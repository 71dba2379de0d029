"""What LNbits' log says of relays: lost, back, refusing, and when that is over.

One task (`keep`) looks at the core's relays and compares them with its last look;
`Journal` depends on its arguments alone. A relay that is away gets one line and one when
it is back, and so does one that has left subscriptions unserved for a minute, and each
kind of refusal, however many there are: that is over when the last is ten minutes old. A
relay that goes and comes, or refuses in ever new ways, has so many lines in a minute, and
one that says how many were left out. Ends with the core.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from loguru import logger

from ..core.running import Running
from ..words import counted, duration

if TYPE_CHECKING:
    from nostrclient_core import RelayStatus

LOOK_SECONDS = 1.0
AWAY_SECONDS = 5.0  # until a relay that gives no reason counts as away
UNSERVED_SECONDS = 60.0  # until a relay counts as one that serves less than it is asked
OVER_SECONDS = 600.0  # since the last refusal of a kind, until it is over
MINUTE = 60.0
LINES = 6  # of one relay in a minute
TEXT = 200  # characters kept of what a relay says

# Codes of what ends a connection, or prevents one. All others are refusals of some kind.
AWAY = {
    "unreachable",
    "turned_away",
    "no_proxy",
    "itself",
    "closed",
    "lost",
    "silent",
    "stalled",
    "internal",
    "cut_off",
}
OWNERS_WISH = {"connects_anew"}

Level: TypeAlias = Literal["INFO", "WARNING"]
Line: TypeAlias = tuple[Level, str]
_Entry: TypeAlias = tuple[float, str, str]  # of a relay's log: when, text, code


async def keep(running: Running) -> None:
    """Write the log until the core stops."""
    journal = Journal()
    while not running.bridge.stopped:
        try:
            states = running.core.relays()
        except running.library.CoreStopped:
            return
        for level, text in journal.look(states, time.time()):
            logger.log(level, f"nostrclient: {text}")
        await asyncio.sleep(LOOK_SECONDS)


@dataclass
class _Known:
    """One relay, as the last look has found it."""

    connected: float | None = None  # since when
    errors: int = 0  # counted
    away: float | None = None  # since when, once the log says so
    unserved: bool = False  # the log says that it leaves subscriptions unserved
    refusing: dict[str, float] = field(default_factory=dict)  # code to its last time
    minute: float = 0.0  # when the present one began
    written: int = 0  # lines in it
    left_out: int = 0


class Journal:
    """What the log has said so far."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def look(self, states: "list[RelayStatus]", now: float) -> list[Line]:
        """What is new since the last look. `now`: unix seconds."""
        for gone in self._known.keys() - {state["url"] for state in states}:
            del self._known[gone]  # by the owner's wish
        return [line for state in states for line in self._relay(state, now)]

    def _relay(self, state: "RelayStatus", now: float) -> Iterator[Line]:
        known = self._known.setdefault(state["url"], _Known())
        name = shown(state["url"])
        news: list[Line] = [
            (level, f"{name} {text}") for level, text in _news(known, state, now)
        ]
        if now - known.minute >= MINUTE:
            if known.left_out:
                left_out = counted(known.left_out, "more line")
                news.insert(0, ("INFO", f"{name}: {left_out} left out"))
            known.minute, known.written, known.left_out = now, 0, 0
        told = news[: LINES - known.written]
        known.written += len(told)
        known.left_out += len(news) - len(told)
        yield from told


def shown(url: str) -> str:
    """A relay's url without what may be a secret: the path of a private endpoint, a token
    behind the question mark."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{'/…' if parts.path or parts.query else ''}"


def _news(known: _Known, state: "RelayStatus", now: float) -> Iterator[Line]:
    lists = state["error_times"], state["errors"], state["error_codes"]
    entries: list[_Entry] = list(zip(*lists, strict=True))
    new = min(max(0, state["error_count"] - known.errors), len(entries))
    known.errors = state["error_count"]
    yield from _connection(known, state, entries, now)
    yield from _refusals(known, entries[len(entries) - new :], now)
    yield from _unserved(known, state, now)


def _connection(
    known: _Known, state: "RelayStatus", entries: list[_Entry], now: float
) -> Iterator[Line]:
    connected = state["connected_since"]
    if known.away is None:
        lost = known.connected is not None and known.connected != connected
        since = known.connected if lost else state["disconnected_since"]
        # The first is that of the loss; those after it are of new attempts.
        why = [
            (at, text)
            for at, text, code in entries
            if code in AWAY and at >= (since or 0)
        ]
        away = state["disconnected_since"]
        late = away is not None and now - away > AWAY_SECONDS
        # Without a reason it may have been the owner, who wanted another connection.
        if (lost and why) or late:
            words = "is lost" if lost else "is not connected"
            yield "WARNING", f"{words}: {_line(why[0][1])}" if why else words
            known.away = away or why[0][0]
    if known.away is not None and connected is not None:
        yield "INFO", f"is connected, after {duration(connected - known.away)}"
        known.away = None
    if connected is not None or known.away is not None:
        known.connected = connected


def _refusals(known: _Known, entries: list[_Entry], now: float) -> Iterator[Line]:
    for at, text, code in entries:
        if code in AWAY or code in OWNERS_WISH:
            continue
        if code not in known.refusing:
            yield "WARNING", _line(text)
        known.refusing[code] = at
    for code, at in list(known.refusing.items()):
        if now - at >= OVER_SECONDS:
            del known.refusing[code]
            words = code.replace("_", " ")
            yield "INFO", f"is quiet again: no “{words}” for {duration(OVER_SECONDS)}"


def _unserved(known: _Known, state: "RelayStatus", now: float) -> Iterator[Line]:
    since = state["unserved_since"]
    if since is None:
        # One that is lost has its own line.
        if known.unserved and state["connected_since"] is not None:
            yield "INFO", "serves all subscriptions again"
        known.unserved = False
    elif not known.unserved and now - since >= UNSERVED_SECONDS:
        refused, waiting = state["subscriptions_refused"], state["subscriptions_waiting"]
        unserved = counted(refused + waiting, "subscription")
        why = _line(state["unserved_reason"] or "")
        numbers = f"{refused:,} refused, {waiting:,} waiting"
        yield "WARNING", f"does not serve {unserved} ({numbers}): {why}"
        known.unserved = True


def _line(text: str) -> str:
    """One line of a relay's own words."""
    return "".join(char if char.isprintable() else " " for char in text[:TEXT]).strip()
