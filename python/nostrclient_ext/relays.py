"""The relays, in the database and in the running core as one list.

A relay may have several rows, in several spellings: it is one relay all the same, and it
is on when one of its rows is. A row whose url is no relay's url is shown, never used.
`ValueError` is what the caller did wrong, as a sentence.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from lnbits.helpers import urlsafe_short_hash
from loguru import logger

from .core import UNWANTED_RELAYS, Running
from .crud import add_relay, delete_relay, get_relays, switch_relay
from .models import Relay, RelayRow, RelayStatus, RelaySwitches

if TYPE_CHECKING:
    from nostrclient_core import RelayStatus as CoreStatus

# One change at a time: they read the list before they write it.
_changes = asyncio.Lock()


async def connect_all(running: Running) -> None:
    """Connect to every active relay of the database."""
    async with _changes:
        for url, rows in (await _rows_by_url(running)).items():
            _apply(running, url, _merged(rows))


async def list_relays(running: Running) -> list[Relay]:
    """Every relay once, with its state now; last those that extensions have named."""
    now = time.time()
    states = {state["url"]: state for state in running.core.relays()}
    known = await _rows_by_url(running)
    configured = [
        _with_state(running, _merged(rows), states.get(url), now)
        for url, rows in known.items()
    ]
    return configured + [
        _with_state(running, _of_extensions(state), state, now)
        for url, state in states.items()
        if url not in known
    ]


async def active_urls() -> list[str]:
    """The urls in use, each once. Needs no core."""
    return list(dict.fromkeys(r.url for r in await get_relays() if r.active and r.url))


async def add(running: Running, wanted: RelaySwitches) -> None:
    """A new relay, connected to at once."""
    url = _normalized(running, _given(wanted.url))
    async with _changes:
        if url in await _rows_by_url(running):
            raise ValueError(f"Relay: {url} already exists.")
        switches = _switches(wanted)
        row = RelayRow(id=urlsafe_short_hash(), url=url)
        await add_relay(row)
        # All are on in a new row.
        await switch_relay(row.id, {k: on for k, on in switches.items() if not on})
        _apply(running, url, Relay(**{**row.dict(), **switches}))


async def switch(running: Running, wanted: RelaySwitches) -> None:
    """Turn a relay, its reading or its writing on or off."""
    url = _spelled(running, _given(wanted.url))
    async with _changes:
        rows = (await _rows_by_url(running)).get(url)
        if rows is None:
            raise ValueError(f"Relay: {url} does not exist.")
        switches = _switches(wanted)
        for row in rows:
            await switch_relay(row.id or "", switches)
        _apply(running, url, _merged(rows).copy(update=switches))


async def remove(running: Running, given: str | None) -> None:
    """Remove a relay, however it is spelled. Nothing happens if there is none."""
    url = _spelled(running, _given(given))
    async with _changes:
        rows = (await _rows_by_url(running)).get(url, [])
        for row in rows:
            if row.id is not None:
                await delete_relay(row.id)
        UNWANTED_RELAYS.add(url)
        try:
            running.core.remove_relay(url)
        except ValueError:
            if not rows:  # else it was a row that never was a relay
                raise


def _given(url: str | None) -> str:
    if not url:
        raise ValueError("Relay url not provided.")
    return url


def _normalized(running: Running, url: str) -> str:
    normalized: str = running.library.normalize_relay_url(url)
    return normalized


def _spelled(running: Running, url: str) -> str:
    """The one spelling of a relay's url; other texts stay what they are."""
    try:
        return _normalized(running, url)
    except ValueError:
        return url


async def _rows_by_url(running: Running) -> dict[str, list[Relay]]:
    rows: dict[str, list[Relay]] = {}
    for row in await get_relays():
        rows.setdefault(_spelled(running, row.url or ""), []).append(row)
    return rows


def _merged(rows: list[Relay]) -> Relay:
    return rows[0].copy(
        update={
            name: any(getattr(row, name) for row in rows)
            for name in ("active", "read", "write")
        }
    )


def _switches(wanted: RelaySwitches) -> dict[str, bool]:
    """Those that are given."""
    return wanted.dict(exclude={"url"}, exclude_none=True)


def _apply(running: Running, url: str, relay: Relay) -> None:
    """Let the core do what the relay's switches say."""
    if not relay.active:
        UNWANTED_RELAYS.add(url)
    else:
        UNWANTED_RELAYS.discard(url)
    try:
        if relay.active:
            running.core.add_relay(url, relay.read, relay.write)
        else:
            running.core.remove_relay(url)
    except ValueError as exc:
        logger.warning(f"nostrclient does not connect to {url!r}: {exc}")


def _with_state(
    running: Running, relay: Relay, state: "CoreStatus | None", now: float
) -> Relay:
    if state is None:
        return _without_state(running, relay)
    return relay.copy(
        update={
            "connected": state["state"] == "connected",
            "connected_string": _in_words(state, now),
            "state": state["state"],
            "authentication_required": state["authentication_required"],
            "next_attempt": state["next_attempt"],
            "connected_since": state["connected_since"],
            "ping": state["ping"],
            "status": RelayStatus(
                num_sent_events=state["sent"],
                num_received_events=state["received"],
                error_counter=state["error_count"],
                error_list=state["errors"],
                notice_list=state["notices"],
                duplicates=state["duplicates"],
                forged=state["forged"],
                rejected=state["rejected"],
                backlog_dropped=state["backlog_dropped"],
                unasked=state["unasked"],
            ),
        }
    )


def _of_extensions(state: "CoreStatus") -> Relay:
    """A relay that is in no row: other extensions have named it."""
    url = state["url"]
    return Relay(id=url, url=url, active=True, read=True, write=True, configured=False)


def _without_state(running: Running, relay: Relay) -> Relay:
    """A relay the core does not have: switched off, or with a url it cannot use."""
    status, state = RelayStatus(), "inactive"
    if relay.active:
        try:
            _normalized(running, relay.url or "")
            state = "connecting"  # added a moment ago, or the core is just starting
        except ValueError as exc:
            state = "invalid"
            status = RelayStatus(error_counter=1, error_list=[str(exc)])
    update = {"connected": False, "connected_string": state, "state": state}
    return relay.copy(update={**update, "status": status})


def _in_words(state: "CoreStatus", now: float) -> str:
    since, attempt = state["connected_since"], state["next_attempt"]
    if state["state"] == "connected" and since is not None:
        return f"connected for {_duration(now - since)}"
    if state["state"] == "waiting" and attempt is not None:
        return f"next attempt in {_duration(attempt - now)}"
    return state["state"]


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if whole >= length:
            count = whole // length
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{whole} second{'' if whole == 1 else 's'}"
