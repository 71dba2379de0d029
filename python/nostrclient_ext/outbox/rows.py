"""The outbox's table: rows written and removed in one transaction, claimed by one node.

Has an engine of its own: a locked database keeps the outbox waiting, not the relays and
the settings. Event texts go in as they are; LNbits' own `execute` would strip from them
what looks like HTML.
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

LEASE_SECONDS = 15.0  # a node that has not renewed for so long is taken for dead
CLAIM_ROWS = 1_000  # at a time
SHOWN_ROWS = 1_000  # of other nodes, at most
TRANSACTION_SECONDS = 10.0  # after which the database counts as out of reach
COMMIT_SECONDS = 0.1  # left for the commit itself, or it is not asked for

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
# A row that another node holds stays with it; it may not be taken back any more.
_VOUCH = """
    UPDATE nostrclient.outbox SET vouched = true WHERE id = :id AND owner <> :owner
"""
# Of a row that was there: somebody may have removed it for good.
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
# Nobody waits for a row that another node is claiming or writing just now.
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
    """The database did not do it. `certain`: nothing of it was done. The text has no
    event and no SQL in it."""

    def __init__(self, error: Exception, certain: bool) -> None:
        orig = error.orig if isinstance(error, DBAPIError) else error
        # What follows this in SQLite's message is a text of the table.
        words = " ".join(str(orig).split(" with text ")[0].split())[:200]
        super().__init__(words or type(orig).__name__)
        self.certain = certain


class OutboxRows:
    """The rows, as one node sees them. Its name is `owner`."""

    def __init__(self, owner: str) -> None:
        self._db = Database("ext_nostrclient")
        self._owner = owner
        self.shared = self._db.type != SQLITE
        """Whether other nodes may be working on the same table."""

    async def write(self, task: "StoreTask") -> list[str]:
        """Do what the core has decided, all or nothing. Ids of rows that are not this
        node's: another one holds them or has removed them. Raises `StoreError`."""
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
                values = {"ids": ids, "owner": self._owner}
                held = {row.id for row in await self._execute(connection, _HELD, values)}
                foreign.extend(row_id for row_id in ids if row_id not in held)
            if delete:
                await self._execute(connection, _DELETE, delete)
            if undo:
                await self._execute(connection, _UNDO, undo)

        await self._transaction(work, until)
        return foreign

    async def claim(self) -> int:
        """Take the rows of nodes that are gone; where this is the only node, all rows.
        How many were taken. Raises `StoreError`."""
        if not self.shared:
            return await self._count(_CLAIM_ALL, {"owner": self._owner})
        return await self._count(_CLAIM, {"owner": self._owner, "most": CLAIM_ROWS})

    async def mine(self) -> list["OutboxRow"]:
        """The rows this node sends, in the order published. Raises `StoreError`."""
        return await self._read(_MINE, {"owner": self._owner})

    async def others(self, known: set[str]) -> list["OutboxRow"]:
        """The rows that are not known here: other nodes', and those that could not be
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
        """Keep this node's rows for another `LEASE_SECONDS`; their ids. Only where other
        nodes share the table. Raises `StoreError`."""
        ids: set[str] = set()

        async def work(connection: Connection) -> None:
            found = await self._execute(connection, _RENEW, {"owner": self._owner})
            ids.update(row.id for row in found)

        await self._transaction(work)
        return ids

    async def steal(self, row_id: str) -> list["OutboxRow"]:
        """Take over a rejected row, which nobody sends. Nothing: there is none. Raises
        `StoreError`."""
        return await self._read(_STEAL, {"id": row_id, "owner": self._owner})

    async def remove(self, row_id: str) -> bool:
        """Remove a row, whoever sends it; its node will notice. False: there is none.
        Raises `StoreError`."""
        return await self._count(_REMOVE, {"id": row_id}) > 0

    async def close(self) -> None:
        """Give the connections back."""
        await self._db.engine.dispose()

    async def _count(self, query: str, values: dict[str, Any]) -> int:
        """Change rows; how many."""
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
            # Until the commit was asked for, leaving the connection rolls back.
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
        return [{"id": row_id, "owner": self._owner} for row_id in sorted(ids)]

    def _values(self, rows: list["OutboxRow"]) -> list[dict[str, Any]]:
        # In one order on every node, so that none waits for another in a circle.
        return [
            {**row, "reasons": json.dumps(row["reasons"]), "owner": self._owner}
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
    """SQLite keeps anything in any column; what is no text is no event either."""
    return stored if isinstance(stored, str) else ""


def _whole(stored: Any) -> int:
    return min(max(0, stored), _MOST) if isinstance(stored, int) else 0


def _reasons(stored: Any) -> dict[str, str]:
    """Only for people to read, so whatever else is there counts for nothing."""
    try:
        reasons = json.loads(stored)
        return {str(url): str(why) for url, why in reasons.items()}
    except (AttributeError, TypeError, ValueError):
        return {}
