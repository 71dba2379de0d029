"""The rows of the relays' table as relays, and the pauses, which are in no row.

A relay may have several rows, in several spellings: it is one relay all the same, and it
is on when one of its rows is. A pause ends with its time, or with LNbits.
"""

from ..core.process import shared
from ..core.refusal import Refusal, refusal
from ..core.running import Running
from ..crud import get_relays
from ..models import Relay

NO_RELAY_URL = "not_a_url"  # code of a refusal

PAUSES: dict[str, float] = shared("relay_pauses", dict)
"""Relays that are paused: url to unix seconds when the pause ends."""


def required(url: str | None) -> str:
    """The url of a request that cannot do without."""
    if not url:
        raise Refusal("no_url", "Relay url not provided.")
    return url


def normalized(running: Running, url: str) -> str:
    """The one spelling of a relay's url. Raises `Refusal` for what is none."""
    with refusal(NO_RELAY_URL):
        spelling: str = running.library.normalize_relay_url(url)
    return spelling


def spelled(running: Running, url: str) -> str:
    """The same; a text that is no relay's url stays as it is."""
    try:
        return normalized(running, url)
    except Refusal:
        return url


def not_there(url: str) -> Refusal:
    """The database has no such relay."""
    return Refusal("no_such_relay", f"Relay: {url} does not exist.")


def not_in_use(url: str) -> Refusal:
    """The core has no such relay."""
    return Refusal("relay_not_in_use", f"Relay: {url} is not in use.")


async def rows_by_url(running: Running) -> dict[str, list[Relay]]:
    """All rows, by the url of their relay."""
    rows: dict[str, list[Relay]] = {}
    for row in await get_relays():
        rows.setdefault(spelled(running, row.url or ""), []).append(row)
    return rows


def merged(rows: list[Relay]) -> Relay:
    """One relay of all its rows."""
    switches = {
        name: any(getattr(row, name) for row in rows)
        for name in ("active", "read", "write")
    }
    key = next((row.key for row in rows if row.key), None)
    return rows[0].copy(update={**switches, "key": key})
