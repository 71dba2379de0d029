"""The outbox's table: one node claims a row, writes it and removes it.

It has a database engine of its own: if the table is locked, only the outbox waits, not
the relays and the settings. LNbits' own `execute` is not used: it would strip from
events what looks like HTML.
"""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from lnbits.db import SQLITE, Connection, Database
from sqlalchemy import bindparam, text
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from nostrclient_core import OutboxRow, StoreTask

LEASE_SECONDS = 15.0  # a node that has not renewed for this long counts as gone
CLAIM_ROWS = 1_000  # at a time
SHOWN_ROWS = 1_000  # of other nodes, at most
TRANSACTION_SECONDS = 10.0  # after which the database counts as out of reach
COMMIT_SECONDS = 0.1  # a commit needs; with less time left there is none

_MOST = 2**62  # and some room above it
_COLUMNS = "id, event, state, position, queued_at, reasons"

_INSERT = """
    INSERT INTO nostrclient.outbox AS old (
        id, event, state, position, queued_at, reasons, owner, lease_until
    )
    VALUES (
        :id, :event, :state, :position, :queued_at, :reasons, :owner, {now} + {lease}
    )
    ON CONFLICT (id) DO UPDATE SET
        event = excluded.event, state = excluded.state, position = excluded.position,
        queued_at = excluded.queued_at, reasons = excluded.reasons,
        owner = excluded.owner, lease_until = excluded.lease_until, vouched = false
    WHERE old.owner IS NULL OR old.owner = excluded.owner OR old.state = 'rejected'
        OR old.lease_until < {now}
"""
# A row that another node has stays there, and that node may not take it back now.
_VOUCH = """
    UPDATE nostrclient.outbox SET vouched = true WHERE id = :id AND owner <> :owner
"""
# Only of rows that are there: the owner may have removed one.
_CHANGE = """
    UPDATE nostrclient.outbox SET state = :state, reasons = :reasons
    WHERE id = :id AND owner = :owner
"""
_HELD = """
    SELECT id FROM nostrclient.outbox WHERE id IN :ids AND owner = :owner
"""
_DELETE = """
    DELETE FROM nostrclient.outbox WHERE id = :id AND (owner IS NULL OR owner = :owner)
"""
_UNDO = """
    DELETE FROM nostrclient.outbox
    WHERE id = :id AND (owner IS NULL OR owner = :owner) AND NOT vouched
"""
_RENEW = """
    UPDATE nostrclient.outbox SET lease_until = {now} + {lease}
    WHERE id IN (
        SELECT id FROM nostrclient.outbox WHERE owner = :owner ORDER BY id FOR UPDATE
    )
    RETURNING id
"""
# Rows that another node is claiming or writing right now are skipped.
_CLAIM = """
    UPDATE nostrclient.outbox SET owner = :owner, lease_until = {now} + {lease}
    WHERE id IN (
        SELECT id FROM nostrclient.outbox
        WHERE owner IS NULL OR (owner <> :owner AND lease_until < {now})
        ORDER BY position LIMIT :most FOR UPDATE SKIP LOCKED
    )
"""
_CLAIM_ALL = "UPDATE nostrclient.outbox SET owner = :owner"
_MINE = f"""
    SELECT {_COLUMNS} FROM nostrclient.outbox WHERE owner = :owner ORDER BY position
"""
_STEAL = f"""
    UPDATE nostrclient.outbox SET owner = :owner, lease_until = {{now}} + {{lease}}
    WHERE id = :id AND state = 'rejected'
    RETURNING {_COLUMNS}
"""
_REMOVE = "DELETE FROM nostrclient.outbox WHERE id = :id"
_IDS = "SELECT id FROM nostrclient.outbox"
_THESE = f"""
    SELECT {_COLUMNS} FROM nostrclient.outbox WHERE id IN :ids ORDER BY position
"""


class StoreError(Exception):
    """A transaction has failed. `certain`: nothing of it was done; else nobody knows. The
    text contains no event and no SQL."""

    def __init__(self, error: Exception, certain: bool) -> None:
        orig = error.orig if isinstance(error, DBAPIError) else error
        # SQLite's message goes on with a text from the table.
        words = " ".join(str(orig).split(" with text ")[0].split())[:200]
        super().__init__(words or type(orig).__name__)
        self.certain = certain


class OutboxRows:
    """The rows, as one node sees them. `node`: its name, in the column `owner`."""

    def __init__(self, node: str) -> None:
        self._db = Database("ext_nostrclient")
        self._node = node
        self.shared = self._db.type != SQLITE
        """Whether other nodes may use the same table."""

    async def write(self, task: "StoreTask") -> list[str]:
        """Write a batch, all or nothing. Returns the ids of rows that another node has or
        has removed. Raises `StoreError`."""
        insert, update = self._values(task["insert"]), self._values(task["update"])
        ids = [row["id"] for row in insert + update]
        delete, undo = self._names(task["delete"]), self._names(task["undo"])
        foreign: list[str] = []
        within = task["within"]
        until = None if within is None else time.monotonic() + within - COMMIT_SECONDS

        async def work(connection: Connection) -> None:
            if insert:
                await self._execute(connection, _INSERT, insert)
                if self.shared:
                    await self._execute(connection, _VOUCH, insert)
            if update:
                await self._execute(connection, _CHANGE, update)
            if ids and self.shared:
                values = {"ids": ids, "owner": self._node}
                held = {row.id for row in await self._execute(connection, _HELD, values)}
                foreign.extend(row_id for row_id in ids if row_id not in held)
            if delete:
                await self._execute(connection, _DELETE, delete)
            if undo:
                await self._execute(connection, _UNDO, undo)

        await self._transaction(work, until)
        return foreign

    async def claim(self) -> int:
        """Take over the rows of nodes that are gone; all rows, where this is the only
        node. Returns how many. Raises `StoreError`."""
        if not self.shared:
            return await self._count(_CLAIM_ALL, {"owner": self._node})
        return await self._count(_CLAIM, {"owner": self._node, "most": CLAIM_ROWS})

    async def mine(self) -> list["OutboxRow"]:
        """The rows this node sends, in the order published. Raises `StoreError`."""
        return await self._read(_MINE, {"owner": self._node})

    async def others(self, known: set[str]) -> list["OutboxRow"]:
        """The rows that are not in `known`: other nodes' rows, and those that cannot be
        read. Raises `StoreError`."""
        rows: list[OutboxRow] = []

        async def work(connection: Connection) -> None:
            ids = {row.id for row in await self._execute(connection, _IDS, {})} - known
            if ids:
                values = {"ids": sorted(ids)[:SHOWN_ROWS]}
                found = await self._execute(connection, _THESE, values)
                rows.extend(_row(row) for row in found.mappings())

        await self._transaction(work)
        return rows

    async def renew(self) -> set[str]:
        """Renew the lease on this node's rows and return their ids. Only where the table
        is shared. Raises `StoreError`."""
        ids: set[str] = set()

        async def work(connection: Connection) -> None:
            found = await self._execute(connection, _RENEW, {"owner": self._node})
            ids.update(row.id for row in found)

        await self._transaction(work)
        return ids

    async def steal(self, row_id: str) -> list["OutboxRow"]:
        """Take over a rejected row, which no node sends. Returns it, or nothing if it is
        not there. Raises `StoreError`."""
        return await self._read(_STEAL, {"id": row_id, "owner": self._node})

    async def remove(self, row_id: str) -> bool:
        """Remove a row, whichever node has it. False: it is not there. Raises
        `StoreError`."""
        return await self._count(_REMOVE, {"id": row_id}) > 0

    async def close(self) -> None:
        """Close the connections."""
        await self._db.engine.dispose()

    async def _count(self, query: str, values: dict[str, Any]) -> int:
        """Change rows. Returns how many."""
        counts: list[int] = []

        async def work(connection: Connection) -> None:
            counts.append((await self._execute(connection, query, values)).rowcount)

        await self._transaction(work)
        return counts[0]

    async def _read(self, query: str, values: dict[str, Any]) -> list["OutboxRow"]:
        rows: list[OutboxRow] = []

        async def work(connection: Connection) -> None:
            found = await self._execute(connection, query, values)
            rows.extend(_row(row) for row in found.mappings())

        await self._transaction(work)
        return rows

    async def _transaction(self, work: Any, until: float | None = None) -> None:
        asked = False

        async def whole() -> None:
            nonlocal asked
            async with self._db.connect() as connection:
                await work(connection)
                if until is not None and time.monotonic() > until:
                    raise RuntimeError("it took too long")
                asked = True
                await connection.conn.commit()

        try:
            await asyncio.wait_for(whole(), TRANSACTION_SECONDS)
        except asyncio.TimeoutError:
            error = TimeoutError("it does not answer")
            raise StoreError(error, certain=not asked) from None
        except Exception as exc:
            # Before the commit, leaving the connection rolls everything back.
            raise StoreError(exc, certain=not asked) from None

    async def _execute(
        self, connection: Connection, query: str, values: dict[str, Any] | list[Any]
    ) -> Any:
        now = "extract(epoch from clock_timestamp())"
        if not self.shared:
            now = "CAST(strftime('%s', 'now') AS REAL)"
        filled = text(query.format(now=now, lease=LEASE_SECONDS))
        if ":ids" in query:
            filled = filled.bindparams(bindparam("ids", expanding=True))
        return await connection.conn.execute(filled, values)

    def _names(self, ids: list[str]) -> list[dict[str, Any]]:
        return [{"id": row_id, "owner": self._node} for row_id in sorted(ids)]

    def _values(self, rows: list["OutboxRow"]) -> list[dict[str, Any]]:
        # In the same order on every node, or two might wait for each other for ever.
        return [
            {**row, "reasons": json.dumps(row["reasons"]), "owner": self._node}
            for row in sorted(rows, key=lambda row: row["id"])
        ]


def _row(row: Any) -> "OutboxRow":
    return {
        "id": row["id"],
        "event": _text(row["event"]),
        "state": _text(row["state"]),
        "position": _whole(row["position"]),
        "queued_at": _whole(row["queued_at"]),
        "reasons": _reasons(row["reasons"]),
    }


def _text(stored: Any) -> str:
    """SQLite stores anything in any column. What is no text becomes an empty one."""
    return stored if isinstance(stored, str) else ""


def _whole(stored: Any) -> int:
    return min(max(0, stored), _MOST) if isinstance(stored, int) else 0


def _reasons(stored: Any) -> dict[str, str]:
    """The reasons are only for people; anything unreadable becomes none."""
    try:
        reasons = json.loads(stored)
        return {str(url): str(why) for url, why in reasons.items()}
    except (AttributeError, TypeError, ValueError):
        return {}
