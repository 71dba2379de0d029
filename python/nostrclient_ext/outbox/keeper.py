"""The outbox between the core and the database: the core decides, this writes.

`OutboxKeeper.keep` is the only task that touches the rows. It reads those of earlier runs
and writes what the core hands out, one transaction at a time. Where several nodes share a
database, it renews this node's lease and takes over the rows of nodes that are gone.
"""

import asyncio
import json
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from loguru import logger

from ..core.retry import Pauses
from ..models import Outbox, OutboxDropped, OutboxEntry
from .rows import LEASE_SECONDS, OutboxRows, StoreError

if TYPE_CHECKING:
    from nostrclient_core import OutboxRow, StoreTask
    from nostrclient_core.bridge import Bridge

RENEW_SECONDS = 5.0  # between two looks at the lease
LEASE_MARGIN = 3.0  # seconds before the end of its lease this node stops sending
LOAD_MOST = 30.0  # seconds until rows that could not be read are tried again
STUMBLE_SECONDS = 1.0  # until the keeper goes on after a mistake of its own
BUSY_SECONDS = 0.05  # until a busy core is called again

STATES = {"doubt": "in doubt"}  # the core's state to the one in REST, where they differ


class OutboxKeeper:
    """Keeps the rows of one running core. Made and used on its event loop. `node` names
    this process to others that share the database."""

    def __init__(self, library: ModuleType, bridge: "Bridge", node: str) -> None:
        self.core = bridge.core
        self._library = library
        self.rows = OutboxRows(node)
        self.problem: str | None = None
        """What is wrong with the database, as a sentence for the owner."""
        self.tried = asyncio.Event()
        """Set once the rows have been read, or reading them has failed."""
        self._wake = bridge.store
        self._unreadable: dict[str, str] = {}
        self._strays: set[str] = set()
        self._load_at: float | None = None
        self._load_pauses = Pauses(LOAD_MOST)
        self._renew_at = 0.0

    async def keep(self) -> None:
        """Run until the core stops. A transaction that is under way is finished first."""
        step: asyncio.Task[bool] | None = None
        try:
            while True:
                step = asyncio.create_task(self._go_on())
                if not await asyncio.shield(step):
                    return
                try:
                    await asyncio.wait_for(self._wake.wait(), self._seconds_left())
                except asyncio.TimeoutError:
                    pass
        finally:
            if step is not None:
                await asyncio.wait({step})  # it uses the connection until then
            await self.rows.close()

    async def _go_on(self) -> bool:
        """False: the core has stopped."""
        try:
            await self._do_what_is_due()
        except self._library.CoreStopped:
            return False
        except Exception as exc:
            # Nothing may end this task: clients wait for it when they publish.
            logger.error(f"nostrclient: the outbox's keeper stumbled: {exc!r}")
            await asyncio.sleep(STUMBLE_SECONDS)
        return True

    async def _do_what_is_due(self) -> None:
        self._wake.clear()
        while (task := self.core.store_task()) is not None:
            if task["number"] is None:
                self._load_pauses.start_again()
                await self._load()
            else:
                await self._write(task["number"], task)
        if self._load_at is not None and time.monotonic() >= self._load_at:
            await self._load()
        if self.rows.shared and self._load_at is None:
            if time.monotonic() >= self._renew_at:
                await self._renew()

    def _seconds_left(self) -> float | None:
        """Until the next thing that is due by the clock. None: there is nothing."""
        due = self._load_at
        if due is None and self.rows.shared:
            due = self._renew_at
        return None if due is None else max(0.0, due - time.monotonic())

    async def _load(self) -> None:
        """Hand the rows of earlier runs to the core, which takes no new events before."""
        self._load_at = time.monotonic() + self._load_pauses.next()
        try:
            await self._take_over()
        except StoreError as exc:
            self._trouble(f"The offline queue cannot be read from the database: {exc}")
        else:
            self._load_at = None
            self._recovered()
        finally:
            self.tried.set()

    async def _take_over(self) -> None:
        before = time.monotonic()
        await self.rows.claim()
        if self.rows.shared:
            await self.rows.renew()
            self._leased(before)
        await self._adopt(await self.rows.mine())

    async def _adopt(self, rows: list["OutboxRow"]) -> None:
        # In a thread: every signature is verified.
        bad = await asyncio.to_thread(self.core.outbox_adopt, rows)
        for row_id, why in bad:
            if row_id not in self._unreadable:
                logger.error(
                    f"nostrclient leaves the outbox's row {row_id[:64]!r} alone,"
                    f" it cannot be read: {why}"
                )
        self._unreadable.update(bad)

    async def _write(self, number: int, task: "StoreTask") -> None:
        try:
            elsewhere = await self.rows.write(task)
        except Exception as exc:
            self._trouble(f"The offline queue cannot be written to the database: {exc}")
            words = "the offline queue's database failed"
            certain = isinstance(exc, StoreError) and exc.certain
            await self._tell(number, error=words, certain=certain)
        else:
            await self._tell(number, elsewhere=elsewhere)
            self._recovered()

    async def _tell(self, number: int, **result: Any) -> None:
        """Tell the core what became of a batch. It hands out nothing else before."""
        while True:
            try:
                self.core.outbox_stored(number, **result)
                return
            except self._library.CoreBusy:
                await asyncio.sleep(BUSY_SECONDS)

    async def _renew(self) -> None:
        """Renew the lease on this node's rows, let go of rows that another node has
        taken, and take over rows whose lease has ended."""
        before = time.monotonic()
        self._renew_at = before + RENEW_SECONDS
        ids = {entry["id"] for entry in await asyncio.to_thread(self.core.outbox)}
        try:
            kept = await self.rows.renew()
            # Before the lease is renewed: another node may have sent these.
            self.core.outbox_let_go(sorted(ids - kept))
            self._leased(before)
            # Rows of this node that the core does not know: a take-over broke off.
            strays = kept - ids - self._unreadable.keys()
            if await self.rows.claim() or strays & self._strays:
                await self._adopt(await self.rows.mine())
            self._strays = strays
        except StoreError as exc:
            self._trouble(f"The offline queue's database is out of reach: {exc}")
        else:
            self._recovered()

    def _leased(self, before: float) -> None:
        """The lease was renewed by a query that began at this time."""
        left = LEASE_SECONDS - LEASE_MARGIN - (time.monotonic() - before)
        self.core.outbox_lease(max(0.0, left))
        self._renew_at = before + RENEW_SECONDS

    def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            logger.error(f"nostrclient: {problem}")
        self.problem = problem

    def _recovered(self) -> None:
        if self.problem is not None and self._load_at is None:
            logger.info("nostrclient: the offline queue's database works again.")
            self.problem = None

    # What the owner sees and does.

    async def view(self) -> Outbox:
        """The outbox of this node, and the rows of others that share the database."""
        stats = self.core.stats()["outbox"]
        now = time.time()
        entries = [
            OutboxEntry.parse_obj(
                {
                    **entry,
                    "state": STATES.get(entry["state"], entry["state"]),
                    "age": age(entry["queued_at"], now),
                    "here": True,
                }
            )
            for entry in await asyncio.to_thread(self.core.outbox)
        ]
        known = {entry.id for entry in entries}
        problem = self.problem
        try:
            others = await self.rows.others(known)
        except StoreError as exc:
            others, problem = [], problem or f"The offline queue cannot be read: {exc}"
        entries += [self._from_row(row, now) for row in others]
        return Outbox(
            size=stats["size"],
            queued=_count(entries, "queued"),
            in_doubt=_count(entries, "in doubt"),
            rejected=_count(entries, "rejected"),
            oldest_age=_oldest_age(entries),
            delivered=stats["delivered"],
            dropped=OutboxDropped(
                expired=stats["expired"],
                withdrawn=stats["withdrawn"],
                superseded=stats["superseded"],
                rejected=stats["rejected_ever"],
            ),
            problem=problem,
            rows=entries,
        )

    async def retry(self, row_id: str) -> bool:
        """Try an event again at every relay. False: it is not there. Raises `ValueError`
        for what is no event's id."""
        if await asyncio.to_thread(self.core.outbox_retry, row_id):
            return True
        rows = await self.rows.steal(row_id)
        if not rows:
            return False
        await self._adopt(rows)
        return await asyncio.to_thread(self.core.outbox_retry, row_id)

    async def delete(self, row_ids: list[str]) -> int:
        """Remove events for good. Returns how many: some may not be there, or not be
        answered yet."""
        elsewhere = [row_id for row_id in row_ids if not await self._delete_here(row_id)]
        if not elsewhere:
            return len(row_ids)
        here = {entry["id"] for entry in await asyncio.to_thread(self.core.outbox)}
        done = len(row_ids) - len(elsewhere)
        for row_id in elsewhere:
            if row_id not in here:
                done += await self.rows.remove(row_id)
        return done

    async def _delete_here(self, row_id: str) -> bool:
        try:
            return await asyncio.to_thread(self.core.outbox_delete, row_id)
        except ValueError:
            return False  # the id of a row that cannot be read

    def _from_row(self, row: "OutboxRow", now: float) -> OutboxEntry:
        kind, pubkey = _kind_and_author(row["event"])
        reasons, state = row["reasons"], STATES.get(row["state"], row["state"])
        if row["id"] in self._unreadable:
            reasons, state = {"": self._unreadable[row["id"]]}, "unreadable"
        return OutboxEntry.parse_obj(
            {
                **row,
                "kind": kind,
                "pubkey": pubkey,
                "state": state,
                "age": age(row["queued_at"], now),
                "reasons": reasons,
                "here": False,
            }
        )


def age(since: int | None, now: float) -> int | None:
    """Seconds since then, never negative: the clock may have been set back."""
    return None if since is None else max(0, round(now - since))


def _count(entries: list[OutboxEntry], state: str) -> int:
    return sum(entry.state == state for entry in entries)


def _oldest_age(entries: list[OutboxEntry]) -> int | None:
    ages = [entry.age for entry in entries if entry.state in ("queued", "in doubt")]
    return max(ages, default=None)


def _kind_and_author(event: str) -> tuple[int | None, str | None]:
    """The kind and author in an event's JSON. None: it is no event."""
    try:
        fields: Any = json.loads(event)
        kind, pubkey = fields["kind"], fields["pubkey"]
    except (KeyError, TypeError, ValueError):
        return None, None
    return (
        kind if isinstance(kind, int) else None,
        pubkey if isinstance(pubkey, str) else None,
    )
