"""What LNbits calls to start and stop the extension."""

import asyncio

from .core import running as core
from .core.retry import until_done
from .crud import db, get_stored_config
from .relays import journal, limits
from .relays.changes import connect_all

OUTBOX_FIRST = 5.0  # seconds the relays wait until the outbox has been read


def nostrclient_start() -> None:
    """Start the core and connect to the relays. Called in the event loop."""
    started = core.start()
    if started is not None:
        started.end_with_lnbits()
        started.spawn(started.outbox.keep())
        started.spawn(_connect_relays(started))
        started.spawn(limits.keep(started))
        started.spawn(journal.keep(started))
        started.spawn(_let_go_of_the_database(started))


def nostrclient_stop() -> None:
    """Stop what `nostrclient_start` started, and close every client's socket."""
    core.stop()


async def _connect_relays(started: core.Running) -> None:
    """Connect to the relays in the database, as soon as it can be read. The outbox is
    read first: its events wait for these relays."""
    try:
        await asyncio.wait_for(started.outbox.tried.wait(), OUTBOX_FIRST)
    except asyncio.TimeoutError:
        pass  # the relays are useful without it

    async def connect() -> None:
        started.apply(await get_stored_config())
        await connect_all(started)
        started.serve()

    # The core's end ends this task too: `wait_for` may lose its cancellation.
    ended = started.library.CoreStopped
    await until_done(connect, ended, "nostrclient cannot read its relays")


async def _let_go_of_the_database(started: core.Running) -> None:
    """Close this copy's database connections when its core stops. LNbits 1.6 imports the
    extension again at every start, each time with a new pool, and forgets the old one."""
    try:
        await asyncio.Event().wait()
    finally:
        await started.until_others_ended()
        async with db.lock:  # wait for whoever uses the connection now
            await db.engine.dispose()
