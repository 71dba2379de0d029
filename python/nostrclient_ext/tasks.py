"""The extension's life: what LNbits calls when it starts and stops it."""

import asyncio

from .core import running as core
from .core.retry import until_done
from .crud import db, get_stored_config
from .relays import limits
from .relays.changes import connect_all

OUTBOX_FIRST = 5.0  # seconds the relays wait for the outbox to be read


def nostrclient_start() -> None:
    """Start the core and connect to the relays. Called inside the event loop."""
    started = core.start()
    if started is not None:
        started.spawn(started.outbox.keep())
        started.spawn(_connect_relays(started))
        started.spawn(limits.keep(started))
        started.spawn(_let_go_of_the_database(started))


def nostrclient_stop() -> None:
    """Stop what `nostrclient_start` started, and close every client's socket."""
    core.stop()


async def _connect_relays(started: core.Running) -> None:
    """Read the relays from the database, however long it is out of reach. What waits for
    them is read before."""
    try:
        await asyncio.wait_for(started.outbox.tried.wait(), OUTBOX_FIRST)
    except asyncio.TimeoutError:
        pass  # the relays are of use without it

    async def connect() -> None:
        started.apply(await get_stored_config())
        await connect_all(started)
        started.serve()

    # The core's end ends this task too: `wait_for` may lose its cancellation.
    ended = started.library.CoreStopped
    await until_done(connect, ended, "nostrclient cannot read its relays")


async def _let_go_of_the_database(started: core.Running) -> None:
    """Close this copy's connections when its core stops. LNbits 1.6 loads the extension
    anew at every start, each time with a pool of its own, and forgets the old one."""
    try:
        await asyncio.Event().wait()
    finally:
        await started.until_others_ended()
        async with db.lock:  # whoever uses the connection now gives it back first
            await db.engine.dispose()
