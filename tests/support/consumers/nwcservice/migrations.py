"""The service's tables."""

from lnbits.db import Connection


async def m001_initial(db: Connection) -> None:
    """The service's own key, the apps it serves, and what it has done."""
    await db.execute("CREATE TABLE nwcservice.identity (secret TEXT NOT NULL)")
    await db.execute("""
        CREATE TABLE nwcservice.apps (
            pubkey TEXT NOT NULL PRIMARY KEY,
            wallet_id TEXT NOT NULL
        )
        """)
    await db.execute(f"""
        CREATE TABLE nwcservice.journal (
            position {db.serial_primary_key},
            step TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL
        )
        """)
