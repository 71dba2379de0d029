"""Two LNbits nodes on one PostgreSQL, and one relay that both know."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lnbits_server import LNbits, free_port
from scripts.postgres import Postgres

from .endpoint import Endpoint
from .events import Event, ids
from .outbox import Outbox, back, down
from .scripted_relay import Line, Received, ScriptedRelay
from .wire_client import WireClient

DATABASE = "lnbits"
LEASE = 15.0  # seconds
LOOK = 5.0  # between a node's looks at its lease, and for rows that are nobody's
TAKE_OVER = LEASE + LOOK + 5  # and some patience

Row = dict[str, Any]
BothWait = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Pair:
    """The two servers, and the port of the relay that both know."""

    postgres: Postgres
    first: LNbits
    second: LNbits
    port: int


@contextmanager
def two_nodes(folder: Path) -> Iterator[Pair]:
    """Both started, on a new database."""
    port = free_port()
    switches = {"private_ws": True, "public_ws": True}
    with Postgres() as postgres:
        postgres.create(DATABASE)
        env = {"LNBITS_DATABASE_URL": postgres.url(DATABASE)}
        with LNbits(folder / "first", env=env) as first:
            # A node reads the relays when it starts, so they come before the second.
            api, relay = "/nostrclient/api/v1", {"url": f"ws://127.0.0.1:{port}"}
            first.http.put(f"{api}/config", json=switches).raise_for_status()
            first.http.post(f"{api}/relay", json=relay).raise_for_status()
            # The first has made the admin, so the second has to know him.
            (folder / "second").mkdir()
            shutil.copy(first.state.path, folder / "second")
            with LNbits(folder / "second", env=env) as second:
                yield Pair(postgres, first, second, port)


class Nodes:
    """The pair as one test uses it, with a relay of its own."""

    def __init__(self, pair: Pair) -> None:
        self.postgres = pair.postgres
        self.first = Endpoint(pair.first)
        self.second = Endpoint(pair.second)
        self.relay = ScriptedRelay()
        self.relay.port = pair.port

    @property
    def both(self) -> tuple[Endpoint, Endpoint]:
        return self.first, self.second

    async def begin(self) -> None:
        """The relay up, nothing in the outbox."""
        for row in await self.rows():
            assert (await Outbox(self.first).delete(row["id"])).status_code == 200
        for node in self.both:
            await until_only(node)
        await self.relay.start()
        for node in self.both:
            # Connected anew, so that no wait for the relay grows from test to test.
            for active in (False, True):
                switch = {"url": self.relay.url, "active": active}
                reply = await node.http.put(f"{node.base}/relay", json=switch)
                assert reply.status_code == 200, reply.text
            await back(node, self.relay)

    async def end(self) -> None:
        await self.relay.stop()
        for node in self.both:
            await node.close()

    async def down(self) -> None:
        """The relay goes away, and both nodes know."""
        for node in self.both:
            await down(node, self.relay)

    async def up(self) -> None:
        """It is there again, and both are connected."""
        for node in self.both:
            await back(node, self.relay)

    async def clients(self) -> tuple[WireClient, WireClient]:
        """One of each node."""
        return await self.first.client(), await self.second.client()

    async def rows(self) -> list[Row]:
        """The outbox in the order published; `left`: seconds until a lease ends."""
        return await self.postgres.query(
            DATABASE,
            "SELECT *, lease_until - extract(epoch FROM clock_timestamp()) AS left "
            "FROM nostrclient.outbox ORDER BY position",
        )

    @asynccontextmanager
    async def locked_table(self) -> AsyncIterator[None]:
        """Nobody can look at a row or change it meanwhile."""
        async with self.postgres.connect(DATABASE) as other, other.transaction():
            await other.execute("LOCK TABLE nostrclient.outbox")
            yield

    @asynccontextmanager
    async def held_back(self, event: Event) -> AsyncIterator[BothWait]:
        """Whoever wants to write this event's row has to wait meanwhile. Gives what waits
        until both nodes do."""

        async def both_wait() -> None:
            deadline = time.monotonic() + 1.5
            while True:
                held = "SELECT pid FROM pg_locks WHERE NOT granted"
                if len(await self.postgres.query(DATABASE, held)) == 2:
                    return
                assert time.monotonic() < deadline, "they do not wait"

        async with self.postgres.connect(DATABASE) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute(
                "INSERT INTO nostrclient.outbox VALUES ($1, '', 'queued', 0, 0, '{}')",
                event["id"],
            )
            yield both_wait
            await transaction.rollback()

    async def until_empty(self, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while rows := await self.rows():
            assert time.monotonic() < deadline, f"{len(rows)} rows are left: {rows[0]}"
            await asyncio.sleep(0.05)

    async def until_renewed(self, event: Event) -> None:
        """Wait until the node that holds this row has renewed its lease, begun after
        now. It learns then which rows it no longer holds."""
        ends: set[float] = set()
        deadline = time.monotonic() + 3 * LOOK
        while len(ends) < 3:  # one renewal may have begun before
            (row,) = [row for row in await self.rows() if row["id"] == event["id"]]
            ends.add(row["lease_until"])
            assert time.monotonic() < deadline, "the lease is not renewed"
            await asyncio.sleep(0.1)

    def received(self, *events: Event) -> list[Received]:
        """Every time the relay was sent one of these events, in order."""
        wanted = set(ids(list(events)))
        return [
            received
            for received in self.relay.inbox.items
            if received.verb == "EVENT" and received.parts[1]["id"] in wanted
        ]

    async def until_received(self, *events: Event, seconds: float = 20) -> None:
        await self.relay.until(
            lambda: len(self.received(*events)) >= len(events), "all events", seconds
        )

    def the_line(self, *events: Event) -> Line:
        """The one line these events came on, once each and in this order."""
        received = self.received(*events)
        assert [each.parts[1] for each in received] == list(events)
        lines = {each.line for each in received}
        assert len(lines) == 1, f"sent by two nodes: {lines}"
        return lines.pop()


async def listed(node: Endpoint) -> dict[str, Row]:
    """The rows this node's admin sees, by id."""
    shown = await Outbox(node).shown()
    return {row["id"]: row for row in shown["rows"]}


async def until_listed(node: Endpoint, event: Event, **expected: Any) -> Row:
    """Wait until this row has all these values."""
    deadline = time.monotonic() + 10
    while True:
        row = (await listed(node)).get(event["id"], {})
        if all(row.get(name) == value for name, value in expected.items()):
            return row
        assert time.monotonic() < deadline, f"never {expected}: {row}"
        await asyncio.sleep(0.05)


async def until_only(node: Endpoint, *events: Event) -> None:
    """Wait until these are all that the node's admin sees. What another node has done
    shows once this one has looked."""
    deadline = time.monotonic() + LOOK + 5
    while (rows := await listed(node)).keys() != set(ids(list(events))):
        assert time.monotonic() < deadline, f"still there: {rows}"
        await asyncio.sleep(0.05)


@contextmanager
def stalled(lnbits: LNbits) -> Iterator[None]:
    """It stands still meanwhile, as a machine does that is suspended."""
    os.kill(lnbits.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(lnbits.pid, signal.SIGCONT)
