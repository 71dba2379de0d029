"""The service's tables: its key, the apps it serves, and its journal.

The journal is for whoever wants to know what the service did. The service itself never
reads it: what it still has to do it learns from the relays alone.
"""

from typing import Any

from lnbits.db import Database
from nostr_sdk import Keys

db = Database("ext_nwcservice")


async def get_identity() -> Keys:
    """The service's own key, made when it is first asked for."""
    row: Any = await db.fetchone("SELECT secret FROM nwcservice.identity")
    if row is not None:
        return Keys.parse(row["secret"])
    keys = Keys.generate()
    await db.execute(
        "INSERT INTO nwcservice.identity (secret) VALUES (:secret)",
        {"secret": keys.secret_key().to_hex()},
    )
    return keys


async def add_app(pubkey: str, wallet_id: str) -> None:
    """From now on this app gives orders to that wallet."""
    await db.execute(
        "INSERT INTO nwcservice.apps (pubkey, wallet_id) VALUES (:pubkey, :wallet_id)",
        {"pubkey": pubkey, "wallet_id": wallet_id},
    )


async def get_wallet_id(pubkey: str) -> str | None:
    """The wallet this app gives orders to."""
    row: Any = await db.fetchone(
        "SELECT wallet_id FROM nwcservice.apps WHERE pubkey = :pubkey",
        {"pubkey": pubkey},
    )
    return None if row is None else str(row["wallet_id"])


async def note(step: str, subject: str = "", detail: str = "") -> None:
    """One more line for the journal."""
    await db.execute(
        "INSERT INTO nwcservice.journal (step, subject, detail)"
        " VALUES (:step, :subject, :detail)",
        {"step": step, "subject": subject, "detail": detail},
    )


async def get_journal(after: int) -> list[Any]:
    """The lines with a position above this one, oldest first."""
    return await db.fetchall(
        "SELECT * FROM nwcservice.journal WHERE position > :after ORDER BY position",
        {"after": after},
    )
