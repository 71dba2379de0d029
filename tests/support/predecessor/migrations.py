"""What the extension that was installed before has run."""

from lnbits.db import Connection


async def m001_initial(db: Connection) -> None:
    await db.execute("""
        CREATE TABLE nostrclient.relays (
            id TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, active BOOLEAN DEFAULT true
        )
        """)


async def m002_create_config_table(db: Connection) -> None:
    await db.execute("CREATE TABLE nostrclient.config (json_data TEXT NOT NULL)")


async def m003_migrate_config_table(db: Connection) -> None:
    await db.execute("ALTER TABLE nostrclient.config RENAME COLUMN json_data TO extra")
    await db.execute(
        "ALTER TABLE nostrclient.config ADD COLUMN owner_id TEXT DEFAULT 'admin'"
    )
