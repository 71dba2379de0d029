"""The rows of the relays' table as relays, and the pauses, which are in no row.

A relay may have several rows, in several spellings: it is one relay all the same, and it
is on when one of its rows is. A pause ends with its time, or with LNbits.
"""

from ..core.process import shared
from ..core.running import Running
from ..crud import get_relays
from ..models import Relay

PAUSES: dict[str, float] = shared("relay_pauses", dict)
"""Relays that are not used for a while: url to unix seconds when it ends."""


def required(url: str | None) -> str:
    """The url that a request needs."""
    if not url:
        raise ValueError("Relay url not provided.")
    return url


def normalized(running: Running, url: str) -> str:
    """The one spelling of a relay's url."""
    spelling: str = running.library.normalize_relay_url(url)
    return spelling


def spelled(running: Running, url: str) -> str:
    """The one spelling of a relay's url; other texts stay what they are."""
    try:
        return normalized(running, url)
    except ValueError:
        return url


async def rows_by_url(running: Running) -> dict[str, list[Relay]]:
    """Every row, by its relay."""
    rows: dict[str, list[Relay]] = {}
    for row in await get_relays():
        rows.setdefault(spelled(running, row.url or ""), []).append(row)
    return rows


def merged(rows: list[Relay]) -> Relay:
    """The one relay of these rows."""
    switches = {
        name: any(getattr(row, name) for row in rows)
        for name in ("active", "read", "write")
    }
    key = next((row.key for row in rows if row.key), None)
    return rows[0].copy(update={**switches, "key": key})
