"""Schema changes, run once each and in this order by LNbits.

The first three have run on every server where this extension's predecessor is installed:
their names and what they leave behind never change. New ones go on from m004.
"""

from lnbits.db import Connection


async def m001_initial(db: Connection) -> None:
    """The relays to connect to."""
    await db.execute("""
        CREATE TABLE nostrclient.relays (
            id TEXT NOT NULL PRIMARY KEY,
            url TEXT NOT NULL,
            active BOOLEAN DEFAULT true
        )
        """)


async def m002_create_config_table(db: Connection) -> None:
    """The settings, as JSON."""
    await db.execute("CREATE TABLE nostrclient.config (json_data TEXT NOT NULL)")


async def m003_migrate_config_table(db: Connection) -> None:
    """The settings' column gets the name LNbits' models use, and an owner beside it."""
    await db.execute("ALTER TABLE nostrclient.config RENAME COLUMN json_data TO extra")
    await db.execute(
        "ALTER TABLE nostrclient.config ADD COLUMN owner_id TEXT DEFAULT 'admin'"
    )


async def m004_relay_switches(db: Connection) -> None:
    """Whether a relay is read from and written to."""
    await db.execute(
        "ALTER TABLE nostrclient.relays ADD COLUMN read BOOLEAN DEFAULT true"
    )
    await db.execute(
        "ALTER TABLE nostrclient.relays ADD COLUMN write BOOLEAN DEFAULT true"
    )


async def m005_outbox(db: Connection) -> None:
    """Events no relay has taken yet, each with the node that sends it and until when no
    other may (seconds since 1970 by the database's clock), and whether another node has
    promised it too."""
    await db.execute(f"""
        CREATE TABLE nostrclient.outbox (
            id TEXT NOT NULL PRIMARY KEY,
            event TEXT NOT NULL,
            state TEXT NOT NULL,
            position {db.big_int} NOT NULL,
            queued_at {db.big_int} NOT NULL,
            reasons TEXT NOT NULL,
            owner TEXT,
            lease_until DOUBLE PRECISION,
            vouched BOOLEAN NOT NULL DEFAULT false
        )
        """)


async def m006_relay_keys(db: Connection) -> None:
    """The keys by which relays may know us, the private ones encrypted as LNbits does,
    and which relay by which."""
    await db.execute("""
        CREATE TABLE nostrclient.relay_keys (
            public_key TEXT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            secret TEXT NOT NULL
        )
        """)
    await db.execute("ALTER TABLE nostrclient.relays ADD COLUMN auth_key TEXT")
