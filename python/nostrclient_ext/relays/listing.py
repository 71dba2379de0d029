"""The relays of the database and of the running core as one list, for the owner.

A row whose url is no relay's url is shown, never used. `Refusal` is what the caller did
wrong.
"""

import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from ..core.refusal import Refusal
from ..core.running import Running
from ..crud import get_relays
from ..models import KeptLimits, Relay, RelayConnection, RelayStatus
from ..words import duration
from .models import LogEntry, RelayLog
from .rows import PAUSES, merged, normalized, not_in_use, required, rows_by_url, spelled

if TYPE_CHECKING:
    from nostrclient_core import RelayStatus as CoreStatus


async def list_relays(running: Running) -> list[Relay]:
    """Every relay once, with its current state; those of extensions come last."""
    now = time.time()
    states = {state["url"]: state for state in running.core.relays()}
    known = await rows_by_url(running)
    configured = [
        _with_state(running, merged(rows), states.get(url), now)
        for url, rows in known.items()
    ]
    return configured + [
        _with_state(running, _of_extensions(state), state, now)
        for url, state in states.items()
        if url not in known
    ]


def list_without_rows(running: Running) -> list[Relay]:
    """The relays that the core has, for when the database cannot be read."""
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


def log_of(running: Running, given: str | None) -> RelayLog:
    """The last errors at a relay, and its last notices."""
    url = spelled(running, required(given))
    state = running.core.relay(url)
    if state is None:
        raise not_in_use(url)
    return RelayLog(
        url=url,
        # A core of version 2.0.0 gives no codes.
        errors=_entries(
            state["errors"], state["error_times"], state.get("error_codes", [])
        ),
        notices=_entries(state["notices"], state["notice_times"], []),
    )


def _entries(
    texts: list[str], times: list[float], codes: Sequence[str]
) -> list[LogEntry]:
    lines = zip_longest(texts, times, codes)
    return [LogEntry(time=at, text=text, code=code) for text, at, code in lines][::-1]


def _with_state(
    running: Running, relay: Relay, state: "CoreStatus | None", now: float
) -> Relay:
    # An extension may use a relay that the owner has switched off: it stays off here.
    if state is None or (relay.configured and not state["listed"]):
        return _without_state(running, relay)
    return relay.copy(
        update={
            **RelayConnection.parse_obj(state).dict(),
            "connected": state["state"] == "connected",
            "connected_string": _in_words(state, now),
            "state": state["state"],
            "limits": KeptLimits.parse_obj(state["limits"]),
            "status": RelayStatus.parse_obj(
                {
                    **state,
                    "num_sent_events": state["sent"],
                    "num_received_events": state["received"],
                    "error_counter": state["error_count"],
                    "error_list": state["errors"],
                    "notice_list": state["notices"],
                }
            ),
        }
    )


def _of_extensions(state: "CoreStatus") -> Relay:
    """A relay that only other extensions have named: it has no row."""
    url = state["url"]
    return Relay(id=url, url=url, active=True, read=True, write=True, configured=False)


def _listed(state: "CoreStatus") -> dict[str, bool]:
    """The owner's switches, as the core knows them."""
    return {
        "configured": state["listed"],
        "read": state["read"],
        "write": state["write"],
    }


def _without_state(running: Running, relay: Relay) -> Relay:
    """A relay of the owner's that the core does not have: switched off, paused, or with
    an invalid url."""
    status, state = RelayStatus(), "inactive"
    words = until = None
    if relay.active:
        try:
            url = normalized(running, relay.url or "")
            state = "connecting"  # added a moment ago, or the core is just starting
            until = PAUSES.get(url)
        except Refusal as exc:
            state = "invalid"
            status = RelayStatus(
                error_counter=1, error_list=[str(exc)], error_codes=[exc.code]
            )
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
    if state["state"] == "waiting" and state.get("itself"):
        return "this server itself"
    if state["state"] == "waiting" and attempt is not None:
        return f"next attempt in {duration(attempt - now)}"
    return state["state"]
