"""The extension's tables: relays, keys and config.

Urls are compared by the callers, in Python: they were stored in any spelling, and LNbits
strips what looks like HTML from the values of `execute`, but not from a model's.
"""

import asyncio
import json
from typing import Any

from lnbits.db import Database
from loguru import logger

from .models import Config, Relay, RelayKeyRow, RelayRow, StoredConfig, UserConfig

db = Database("ext_nostrclient")

ADMIN = "admin"  # the one owner of settings there is

# One change of the settings at a time: they are read before they are written.
_changes = asyncio.Lock()


async def get_relays() -> list[Relay]:
    """Every row of the table, duplicates included."""
    rows: list[Any] = await db.fetchall("SELECT * FROM nostrclient.relays")
    return [_relay(row) for row in rows]


def _relay(row: Any) -> Relay:
    return Relay(
        id=row["id"],
        url=row["url"],
        active=_is_on(row, "active"),
        read=_is_on(row, "read"),
        write=_is_on(row, "write"),
        key=row.get("auth_key") or None,  # missing until m006 has run
    )


def _is_on(row: Any, switch: str) -> bool:
    # A switch is missing until m004 has run, and a NULL is an old row's "yes".
    return row.get(switch) is None or bool(row[switch])


async def add_relay(relay: RelayRow) -> None:
    """Insert a relay."""
    await db.insert("nostrclient.relays", relay)


async def switch_relay(relay_id: str, switches: dict[str, bool]) -> None:
    """Set some of the switches `active`, `read` and `write`. The last two exist only once
    m004 has run."""
    if switches:
        assignments = ", ".join(f"{name} = :{name}" for name in switches)
        await db.execute(
            f"UPDATE nostrclient.relays SET {assignments} WHERE id = :id",
            {"id": relay_id, **switches},
        )


async def delete_relay(relay_id: str) -> None:
    """Remove the row with this id."""
    await db.execute("DELETE FROM nostrclient.relays WHERE id = :id", {"id": relay_id})


async def set_relay_key(relay_id: str, public_key: str | None) -> None:
    """Set the key we sign in with at this relay. Only once m006 has run."""
    await db.execute(
        "UPDATE nostrclient.relays SET auth_key = :key WHERE id = :id",
        {"id": relay_id, "key": public_key},
    )


async def get_relay_keys() -> list[RelayKeyRow]:
    """All stored keys, sorted by name. Only once m006 has run."""
    rows: list[Any] = await db.fetchall(
        "SELECT * FROM nostrclient.relay_keys ORDER BY name, public_key"
    )
    return [RelayKeyRow(**row) for row in rows]


async def get_relay_key(public_key: str) -> RelayKeyRow | None:
    """The stored key with this public key, if there is one."""
    row: Any = await db.fetchone(
        "SELECT * FROM nostrclient.relay_keys WHERE public_key = :key",
        {"key": public_key},
    )
    return None if row is None else RelayKeyRow(**row)


async def add_relay_key(key: RelayKeyRow) -> None:
    """Insert a key."""
    await db.insert("nostrclient.relay_keys", key)


async def delete_relay_key(public_key: str) -> None:
    """Remove the row of this public key."""
    await db.execute(
        "DELETE FROM nostrclient.relay_keys WHERE public_key = :key", {"key": public_key}
    )


async def get_config(owner_id: str = ADMIN) -> Config:
    """The settings; the defaults if none are stored yet."""
    return (await get_stored_config(owner_id)).without_secrets()


async def get_stored_config(owner_id: str = ADMIN) -> StoredConfig:
    """The same with its secrets, which no answer shows."""
    return await _read_config(owner_id) or StoredConfig()


async def change_config(changes: dict[str, Any], owner_id: str = ADMIN) -> StoredConfig:
    """Change some settings, and add the row if there is none. Returns all settings, with
    their secrets."""
    async with _changes:
        config = (await get_stored_config(owner_id)).copy(update=changes)
        row = UserConfig(owner_id=owner_id, extra=config)
        if await _has_config(owner_id):
            await db.update("nostrclient.config", row, "WHERE owner_id = :owner_id")
        else:
            await db.insert("nostrclient.config", row)
    return config


async def _has_config(owner_id: str) -> bool:
    row: Any = await db.fetchone(
        "SELECT owner_id FROM nostrclient.config WHERE owner_id = :owner_id",
        {"owner_id": owner_id},
    )
    return row is not None


async def _read_config(owner_id: str) -> StoredConfig | None:
    row: Any = await db.fetchone(
        "SELECT extra FROM nostrclient.config WHERE owner_id = :owner_id",
        {"owner_id": owner_id},
    )
    if row is None:
        return None
    try:
        return StoredConfig(**json.loads(row["extra"]))
    except (TypeError, ValueError) as exc:
        logger.error(f"nostrclient: the stored settings are unreadable: {exc}")
        return None
