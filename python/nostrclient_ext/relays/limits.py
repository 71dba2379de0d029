"""Tells the core the limits in its relays' documents (NIP-11). A document is read when a
relay is new, for each of its connections and about every hour.

One task (`keep`) looks which relays the core has, and `document` fetches a few at a time;
nothing waits for them. Where there is no document, or nothing useful in it, the core's
defaults hold; if it cannot be read later, what it said before holds. Ends with the
core.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..core.running import Running
from ..models import KeptLimits
from . import document
from .models import RelayInfo

if TYPE_CHECKING:
    from nostrclient_core import RelayStatus

LOOK_SECONDS = 1.0  # between two looks at the core's relays
REFRESH_SECONDS = 3600.0  # until a document is read again …
SPREAD = 0.1  # … give or take this part of it, so that not all are read at once
RETRY_SECONDS = 600.0  # after a failure
AGAIN_SECONDS = 10.0  # a relay that connects again is asked when this has passed …
AGAIN_RETRY_SECONDS = 3.0  # … or this, if it could not be read before

COUNT = 45  # NIP-45
SEARCH = 50  # NIP-50


@dataclass
class _Plan:
    """One relay's document: when to read it, and what it said."""

    at: float = 0.0  # when to read it, on the monotonic clock
    read: float | None = None  # when the last attempt began
    well: bool = False  # the last attempt gave a document
    reading: bool = False
    connected: float | None = None  # since when the relay was, at the last look
    limits: dict[str, Any] = field(default_factory=dict)  # what the core was last told
    sibling: bool = False  # it is of this extension; version 2.0.0 says it nowhere else
    kept: Any = None  # what the core has made of it


async def keep(running: Running) -> None:
    """Keep the core informed until it stops."""
    keeper = _Keeper(running)
    while not running.bridge.stopped:
        running.relays_changed.clear()
        try:
            keeper.look()
        except running.library.CoreStopped:
            return
        try:
            await asyncio.wait_for(running.relays_changed.wait(), LOOK_SECONDS)
        except asyncio.TimeoutError:
            pass


def limits_of(info: RelayInfo) -> dict[str, Any]:
    """The limits in a document, as `core.set_relay_limits` takes them."""
    # A relay that lists no NIPs does not say.
    nips = info.supported_nips or None
    return {
        **info.limits.dict(include=set(KeptLimits.__fields__)),
        "nips": nips and [nip for nip in (COUNT, SEARCH) if nip in nips],
    }


class _Keeper:
    def __init__(self, running: Running) -> None:
        self._running = running
        self._plans: dict[str, _Plan] = {}

    def look(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        states = {state["url"]: state for state in self._running.core.relays()}
        for gone in self._plans.keys() - states.keys():
            del self._plans[gone]
        for url, state in states.items():
            plan = self._plans.setdefault(url, _Plan())
            if plan.limits and plan.kept != state["limits"]:
                self._tell(url, plan)  # it was removed and added again
            if not plan.reading and _is_due(plan, state, now):
                plan.reading = True
                self._running.spawn(self._read(url, plan, now))

    async def _read(self, url: str, plan: _Plan, now: float) -> None:
        # The first time, what was just read for the page will do.
        newer = AGAIN_SECONDS if plan.read is None else LOOK_SECONDS
        plan.read, plan.well = now, False
        try:
            info = await document.refresh(self._running, url, newer)
            plan.well = info.problem is None
            if plan.well:
                plan.limits = limits_of(info)
                plan.sibling = info.software == document.OWN_SOFTWARE
                self._tell(url, plan)
        except self._running.library.CoreStopped:
            pass
        except Exception as exc:
            logger.warning(f"nostrclient cannot read the document of {url!r}: {exc!r}")
        finally:
            wait = REFRESH_SECONDS if plan.well else RETRY_SECONDS
            plan.at = time.monotonic() + wait * random.uniform(1 - SPREAD, 1 + SPREAD)
            plan.reading = False

    def _tell(self, url: str, plan: _Plan) -> None:
        try:
            self._running.core.set_relay_limits(url, **plan.limits)
            self._running.core.set_relay_sibling(url, plan.sibling)
        except self._running.library.CoreBusy:
            return  # the next look will find that the core lacks them
        state = self._running.core.relay(url)
        plan.kept = None if state is None else state["limits"]


def _is_due(plan: _Plan, state: "RelayStatus", now: float) -> bool:
    """Whether to read the document now: at first in any case, later only while the relay
    is connected, and for each connection. It may have come back as another one."""
    connected = state["connected_since"]
    again = connected is not None and connected != plan.connected
    if plan.read is None:
        plan.connected = connected
        return True
    if connected is None:
        return False
    if again:
        rest = AGAIN_SECONDS if plan.well else AGAIN_RETRY_SECONDS
        plan.at = min(plan.at, plan.read + rest)
        plan.connected = connected
    return now >= plan.at
