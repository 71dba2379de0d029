"""Whether Nostr works right now, for other extensions: from Python and over REST.

A shop that gets `relays.connected == 0` or `outbox.depth > 0` can tell its user that
something is not sent yet.
"""

import time

from .core.running import running
from .models import OutboxStatus, RelaysStatus, Status
from .outbox.keeper import age


def nostr_status() -> Status:
    """The relays' and the outbox's numbers. Callable from any thread; answers at once,
    without the database. Raises `CoreUnavailable` while no core runs."""
    found = running()
    core = found.core
    relays = [relay for relay in core.relays() if relay["listed"]]
    connected = [relay for relay in relays if relay["state"] == "connected"]
    outbox = core.stats()["outbox"]
    return Status(
        version=found.library.__version__,
        relays=RelaysStatus(
            configured=len(relays),
            connected=len(connected),
            writable=sum(relay["write"] for relay in connected),
        ),
        outbox=OutboxStatus(
            depth=outbox["queued"] + outbox["in_doubt"],
            size=outbox["size"],
            oldest_age=age(outbox["oldest"], time.time()),
        ),
    )
