"""The relays, in the database and in the running core as one list.

A relay may have several rows, in several spellings: it is one relay all the same, and it
is on when one of its rows is. A row whose url is no relay's url is shown, never used.
A pause is a wish for the next hour and in no row: it ends with its time, or with LNbits.
`ValueError` is what the caller did wrong, as a sentence.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from lnbits.helpers import urlsafe_short_hash
from loguru import logger

from . import relay_keys
from .core import UNWANTED_RELAYS, Running
from .crud import (
    add_relay,
    delete_relay,
    delete_relay_key,
    get_relays,
    set_relay_key,
    switch_relay,
)
from .models import KeptLimits, Relay, RelayRow, RelayStatus, RelaySwitches
from .models_page import LogEntry, RelayLog
from .process import shared
from .words import duration

if TYPE_CHECKING:
    from nostrclient_core import RelayStatus as CoreStatus

RETRY_FIRST = 1.0  # seconds until a database that fails is asked again
RETRY_MOST = 60.0  # and at most, doubling

# One change at a time: they read the list before they write it.
_changes = asyncio.Lock()

_pauses: dict[str, float] = shared("relay_pauses", dict)
"""Relays that are not used for a while: url to unix seconds when it ends."""


async def connect_all(running: Running) -> None:
    """Connect to every active relay of the database, and to those that are paused when
    their time comes."""
    async with _changes:
        for url, rows in (await _rows_by_url(running)).items():
            await relay_keys.hand_over(running, _merged(rows), url)
            _apply(running, url, _merged(rows))
    for url, until in list(_pauses.items()):
        running.spawn(_go_on_at(running, url, until))


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


def list_without_rows(running: Running) -> list[Relay]:
    """Those the core has, for when the database cannot be read."""
    now = time.time()
    states = running.core.relays()
    return [
        _with_state(
            running, _of_extensions(state).copy(update=_listed(state)), state, now
        )
        for state in states
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
        if "active" in switches:
            _pauses.pop(url, None)
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
        _pauses.pop(url, None)
        try:
            running.core.remove_relay(url)
            running.core.set_relay_key(url)
        except ValueError:
            if not rows:  # else it was a row that never was a relay
                raise


async def choose_key(running: Running, given: str | None, public_key: str | None) -> None:
    """Who we are to a relay that wants to know, from now on."""
    url = _normalized(running, _given(given))
    async with _changes:
        rows = (await _rows_by_url(running)).get(url)
        if rows is None:
            raise ValueError(f"Relay: {url} does not exist.")
        private = None
        if public_key is not None:
            private = await relay_keys.private_key(running, public_key)
        for row in rows:
            await set_relay_key(row.id or "", public_key)
        running.core.set_relay_key(url, private)


async def forget_key(running: Running, public_key: str) -> None:
    """Keep a key no longer: relays that knew us by it do so no more."""
    async with _changes:
        for url, rows in (await _rows_by_url(running)).items():
            if _merged(rows).key == public_key:
                for row in rows:
                    await set_relay_key(row.id or "", None)
                running.core.set_relay_key(url)
        await delete_relay_key(public_key)


async def pause(running: Running, given: str | None, seconds: float) -> None:
    """Do not use a relay for so long."""
    url = _spelled(running, _given(given))
    async with _changes:
        relay = await _existing(running, url)
        if not relay.active:
            raise ValueError(f"Relay: {url} is switched off.")
        until = time.time() + seconds
        _pauses[url] = until
        _apply(running, url, relay)
    running.spawn(_go_on_at(running, url, until))


async def reconnect(running: Running, given: str | None) -> None:
    """Give a relay a new connection now, whether it has one, waits for its next attempt
    or is paused."""
    url = _spelled(running, _given(given))
    async with _changes:
        if url in _pauses:
            # Asked for first: without the database, the pause has to end by itself.
            relay = await _existing(running, url)
            _pauses.pop(url, None)
            return _apply(running, url, relay)
        if running.core.relay(url) is None:
            raise ValueError(f"Relay: {url} is not in use.")
        running.core.reconnect(url, anew=True)


def log_of(running: Running, given: str | None) -> RelayLog:
    """What went wrong at a relay and what it had to say."""
    url = _spelled(running, _given(given))
    state = running.core.relay(url)
    if state is None:
        raise ValueError(f"Relay: {url} is not in use.")
    return RelayLog(
        url=url,
        errors=_entries(state["errors"], state["error_times"]),
        notices=_entries(state["notices"], state["notice_times"]),
    )


def _entries(texts: list[str], times: list[float]) -> list[LogEntry]:
    both = zip(texts, times, strict=True)
    return [LogEntry(time=at, text=text) for text, at in both][::-1]


async def _go_on_at(running: Running, url: str, until: float) -> None:
    """Use a relay again when its pause is over, unless somebody has changed that."""
    await asyncio.sleep(max(0.0, until - time.time()))
    delay = RETRY_FIRST
    while _pauses.get(url) == until:
        try:
            async with _changes:
                rows = (await _rows_by_url(running)).get(url)
                if _pauses.get(url) == until:
                    del _pauses[url]
                    if rows:
                        _apply(running, url, _merged(rows))
        except running.library.CoreStopped:
            return
        except Exception as exc:
            logger.error(f"nostrclient cannot end the pause of {url!r} yet: {exc}")
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MOST)


async def _existing(running: Running, url: str) -> Relay:
    rows = (await _rows_by_url(running)).get(url)
    if rows is None:
        raise ValueError(f"Relay: {url} does not exist.")
    return _merged(rows)


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
    switches = {
        name: any(getattr(row, name) for row in rows)
        for name in ("active", "read", "write")
    }
    key = next((row.key for row in rows if row.key), None)
    return rows[0].copy(update={**switches, "key": key})


def _switches(wanted: RelaySwitches) -> dict[str, bool]:
    """Those that are given."""
    return wanted.dict(exclude={"url"}, exclude_none=True)


def _apply(running: Running, url: str, relay: Relay) -> None:
    """Let the core do what the relay's switches say."""
    wanted = relay.active and url not in _pauses
    if wanted:
        UNWANTED_RELAYS.discard(url)
    else:
        UNWANTED_RELAYS.add(url)
    try:
        if wanted:
            running.core.add_relay(url, relay.read, relay.write)
            running.relays_changed.set()
        else:
            running.core.remove_relay(url)
    except ValueError as exc:
        logger.warning(f"nostrclient does not connect to {url!r}: {exc}")


def _with_state(
    running: Running, relay: Relay, state: "CoreStatus | None", now: float
) -> Relay:
    # An extension may use, for itself, a relay that the owner does not: not his then.
    if state is None or (relay.configured and not state["listed"]):
        return _without_state(running, relay)
    return relay.copy(
        update={
            "connected": state["state"] == "connected",
            "connected_string": _in_words(state, now),
            "state": state["state"],
            "authentication_required": state["authentication_required"],
            "auth_refused": state["auth_refused"],
            "authenticated": state["authenticated"],
            "refused": state["refused"],
            "next_attempt": state["next_attempt"],
            "connected_since": state["connected_since"],
            "limits": KeptLimits(**state["limits"]),
            "disconnected_since": state["disconnected_since"],
            "ping": state["ping"],
            "status": RelayStatus(
                num_sent_events=state["sent"],
                num_received_events=state["received"],
                error_counter=state["error_count"],
                error_list=state["errors"],
                error_times=state["error_times"],
                notice_list=state["notices"],
                notice_times=state["notice_times"],
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


def _listed(state: "CoreStatus") -> dict[str, bool]:
    """How the owner has set it, by the core's word."""
    return {
        "configured": state["listed"],
        "read": state["read"],
        "write": state["write"],
    }


def _without_state(running: Running, relay: Relay) -> Relay:
    """A relay the core does not have for the owner: switched off, paused, or with a url
    it cannot use."""
    status, state = RelayStatus(), "inactive"
    words = until = None
    if relay.active:
        try:
            url = _normalized(running, relay.url or "")
            state = "connecting"  # added a moment ago, or the core is just starting
            until = _pauses.get(url)
        except ValueError as exc:
            state = "invalid"
            status = RelayStatus(error_counter=1, error_list=[str(exc)])
    if until is not None:
        state, words = "paused", f"paused for {duration(until - time.time())}"
    return relay.copy(
        update={
            "connected": False,
            "connected_string": words or state,
            "state": state,
            "paused_until": until,
            "status": status,
        }
    )


def _in_words(state: "CoreStatus", now: float) -> str:
    since, attempt = state["connected_since"], state["next_attempt"]
    if state["state"] == "connected" and since is not None:
        return f"connected for {duration(now - since)}"
    if state["state"] == "waiting" and attempt is not None:
        return f"next attempt in {duration(attempt - now)}"
    return state["state"]
