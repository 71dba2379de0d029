"""The outbox of a running LNbits as a test sees it: REST, its table, and outages."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from scripts.lnbits_server import LNbits

from .endpoint import Endpoint
from .events import Author, Event, ids
from .inbox import eventually
from .scripted_relay import Filter, Line, OnReq, ScriptedRelay
from .wire_client import Message, WireClient

SIZE = 100  # the bound of a new installation
IN_DOUBT = 1_000  # beyond it

QUEUED = "queued: no relay connected"
FULL = "error: offline queue full"
REPLACED = "replaced: a newer version is queued"
MUTE = "mute: no relay connected"
UNANSWERED = "sent to 1 relays, unanswered"

ANSWER_SECONDS = 2.5  # after which NDK no longer listens
REPLACEABLE = 10_002
INFO = 13_194  # NIP-47: what a wallet service publishes again every minute
WALLET_KINDS = {"request": 23_194, "response": 23_195, "remote signing": 24_133}

DATABASE = "ext_nostrclient.sqlite3"
CHANGE_COUNTER = slice(24, 28)  # of the file's header: grows with every commit
WRITE_VERSION = 18  # 2 where the file has a write-ahead log, and no counter

# In the content of whatever may fail: no log, no answer may show it.
PRIVATE_TEXT = "nobody but the relays may read this"


@dataclass(frozen=True)
class Row:
    """What a second reader of the SQLite file sees."""

    id: str
    event: str
    state: str
    position: int
    queued_at: int
    reasons: str


class Table:
    """The table `outbox`, opened anew for every look at it."""

    def __init__(self, lnbits: LNbits) -> None:
        self.path = lnbits.data_folder / DATABASE

    def connect(self) -> sqlite3.Connection:
        """Every statement is a transaction of its own, until `BEGIN`."""
        return sqlite3.connect(self.path, timeout=10, isolation_level=None)

    def run(self, statement: str, *values: object) -> list[Any]:
        with closing(self.connect()) as connection:
            return connection.execute(statement, values).fetchall()

    def rows(self) -> list[Row]:
        """In the order published."""
        columns = "id, event, state, position, queued_at, reasons"
        found = self.run(f"SELECT {columns} FROM outbox ORDER BY position, rowid")
        return [Row(*row) for row in found]

    def ids(self, state: str | None = None) -> list[str]:
        return [row.id for row in self.rows() if state in (None, row.state)]

    def put(
        self,
        event: Event | str,
        *,
        row_id: str | None = None,
        state: str = "queued",
        queued_at: float | None = None,
    ) -> Row:
        """A row that was there before the extension started."""
        text = event if isinstance(event, str) else json.dumps(event)
        name = event["id"] if isinstance(event, dict) else row_id
        self.run(
            "INSERT INTO outbox (id, event, state, position, queued_at, reasons)"
            " VALUES (?, ?, ?, (SELECT coalesce(max(position), 0) + 1 FROM outbox),"
            " ?, '{}')",
            row_id or name,
            text,
            state,
            int(time.time() if queued_at is None else queued_at),
        )
        return next(row for row in self.rows() if row.id == (row_id or name))

    def commits(self) -> int:
        """How many transactions have been written to the file, from some start on."""
        header = self.path.read_bytes()[:100]
        assert header[WRITE_VERSION] == 1, "a write-ahead log counts elsewhere"
        return int.from_bytes(header[CHANGE_COUNTER], "big")

    @contextmanager
    def locked(self, mode: str = "EXCLUSIVE") -> Iterator[None]:
        """Somebody else has the file: IMMEDIATE keeps writers out, EXCLUSIVE readers
        too."""
        with closing(self.connect()) as connection:
            connection.execute(f"BEGIN {mode}")
            yield
            connection.execute("ROLLBACK")

    @contextmanager
    def watched(self) -> Iterator[Callable[[], list[str]]]:
        """Ids of all rows that are committed meanwhile, be it for a moment only."""
        self.run("CREATE TABLE committed (id TEXT)")
        self.run(
            "CREATE TRIGGER watch AFTER INSERT ON outbox"
            " BEGIN INSERT INTO committed VALUES (new.id); END"
        )
        try:
            yield lambda: [row[0] for row in self.run("SELECT id FROM committed")]
        finally:
            self.run("DROP TRIGGER watch")
            self.run("DROP TABLE committed")

    @contextmanager
    def failing(self, what: str = "INSERT") -> Iterator[None]:
        """Every INSERT (or UPDATE, or DELETE) fails, as on a medium that is read-only."""
        self.run(
            f"CREATE TRIGGER broken BEFORE {what} ON outbox"
            " BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        )
        try:
            yield
        finally:
            self.run("DROP TRIGGER broken")


class Outbox:
    """The REST routes, and the table behind them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.table = Table(endpoint.lnbits)

    async def shown(self) -> dict[str, Any]:
        response = await self.endpoint.http.get(f"{self.endpoint.base}/outbox")
        assert response.status_code == 200, response.text
        shown: dict[str, Any] = response.json()
        return shown

    async def row(self, event: Event) -> dict[str, Any]:
        """The one entry of this event."""
        found = [row for row in (await self.shown())["rows"] if row["id"] == event["id"]]
        assert len(found) == 1, f"{len(found)} entries for {event['id']}"
        entry: dict[str, Any] = found[0]
        return entry

    async def until(self, seconds: float = 20, **expected: Any) -> dict[str, Any]:
        """Wait until it shows all these values."""
        deadline = time.monotonic() + seconds
        while True:
            shown = await self.shown()
            if all(shown[name] == value for name, value in expected.items()):
                return shown
            assert time.monotonic() < deadline, f"never {expected}: {str(shown)[:2000]}"
            await asyncio.sleep(0.05)

    async def until_empty(self, seconds: float = 20) -> dict[str, Any]:
        """Wait until nothing is to be sent any more; no row may be left."""
        shown = await self.until(seconds, queued=0, in_doubt=0)
        assert self.table.ids() == [row["id"] for row in shown["rows"]]
        return shown

    async def until_dropped(self, before: dict[str, Any], **more: int) -> None:
        """Wait until so many more were dropped than `before`, and no others."""
        expected = {
            name: count + more.get(name, 0) for name, count in before["dropped"].items()
        }
        await self.until(dropped=expected)

    async def retry(self, event_id: str) -> httpx.Response:
        url = f"{self.endpoint.base}/outbox/{event_id}/retry"
        return await self.endpoint.http.post(url)

    async def delete(self, event_id: str) -> httpx.Response:
        url = f"{self.endpoint.base}/outbox/{event_id}"
        return await self.endpoint.http.delete(url)

    async def resize(self, size: object) -> httpx.Response:
        """Nothing but the bound is given: the other settings stay."""
        url = f"{self.endpoint.base}/config"
        return await self.endpoint.http.put(url, json={"outbox_size": size})

    @asynccontextmanager
    async def restarted(self) -> AsyncIterator[None]:
        """The extension is switched off, as on LNbits' own page, and then on again."""
        extension = f"{self.endpoint.root}/api/v1/extension/nostrclient"
        response = await self.endpoint.http.put(f"{extension}/deactivate")
        assert response.status_code == 200, response.text
        try:
            yield
        finally:
            response = await self.endpoint.http.put(f"{extension}/activate")
            assert response.status_code == 200, response.text


# Outages.


async def down(endpoint: Endpoint, *relays: ScriptedRelay) -> None:
    """These relays go away, and the multiplexer knows."""
    for relay in relays:
        await relay.stop()
    for relay in relays:
        await endpoint.until_relay(relay.url, connected=False)


async def outage(endpoint: Endpoint, *relays: ScriptedRelay) -> WireClient:
    """A client, and these relays, which were connected and are away."""
    await endpoint.use(*relays)
    await down(endpoint, *relays)
    return await endpoint.client()


async def back(endpoint: Endpoint, *relays: ScriptedRelay) -> None:
    """These relays are there again, and connected."""
    for relay in relays:
        await relay.start()
    for relay in relays:
        await endpoint.until_relay(relay.url, seconds=40, connected=True)


async def reconnect(endpoint: Endpoint, relay: ScriptedRelay) -> None:
    """The relay is there again, and the admin switches it off and on rather than wait
    for the next attempt. To the multiplexer it is a new one then."""
    await relay.start()
    for active in (False, True):
        response = await endpoint.http.put(
            f"{endpoint.base}/relay", json={"url": relay.url, "active": active}
        )
        assert response.status_code == 200, response.text


async def arrive(relay: ScriptedRelay, events: list[Event], seconds: float = 20) -> None:
    """Wait until the relay has got these, in this order; more is a failure."""
    await relay.until(
        lambda: len(relay.published()) >= len(events), f"{len(events)} events", seconds
    )
    assert ids(relay.published()) == ids(events)
    assert relay.published() == events


async def fence(client: WireClient, *relays: ScriptedRelay) -> Event:
    """An event published now that each of these relays has got. What was to be sent
    before has been sent by then."""
    event = Author().sign("fence", kind=9)
    assert (await client.publish(event)).parts[2] is True
    for relay in relays:
        await has_got(relay, event)
    return event


async def has_got(relay: ScriptedRelay, event: Event) -> None:
    await relay.until(lambda: event in relay.published(), f"event {event['id']}")


async def heard(client: WireClient) -> None:
    """Every connected relay has answered once more: what they said before is known."""
    await client.subscribe("heard", {"kinds": [9]})
    await client.send("CLOSE", "heard")


async def queue(client: WireClient, *events: Event) -> None:
    """Publish while every relay is away; each has to be taken."""
    for event in events:
        reply = await client.publish(event)
        assert reply.parts == ["OK", event["id"], True, QUEUED]


async def publish_all(client: WireClient, events: list[Event]) -> list[Message]:
    """Send all of these at once; the answers in the same order."""
    for event in events:
        await client.send("EVENT", event)
    return [await client.ok(event["id"]) for event in events]


def holding(*events: Event) -> OnReq:
    """A relay that has these events and gives those that are asked for by id."""

    async def on_req(line: Line, sub: str, filters: list[Filter]) -> None:
        asked = {name for one in filters for name in one.get("ids", [])}
        await line.event(sub, *(event for event in events if event["id"] in asked))
        await line.eose(sub)

    return on_req


def asked_by_id(relay: ScriptedRelay, event: Event) -> bool:
    """Whether this relay was asked for this event."""
    return any(
        event["id"] in one.get("ids", []) for req in relay.reqs() for one in req.filters
    )


# The log.


def private_note(number: int = 0, author: Author | None = None) -> Event:
    """A note that no log may show."""
    return (author or Author()).sign(f"{PRIVATE_TEXT} {number}")


def private_notes(count: int) -> list[Event]:
    author = Author()
    return [private_note(number, author) for number in range(count)]


@contextmanager
def discreet(lnbits: LNbits) -> Iterator[None]:
    """Whatever is logged meanwhile shows no content and no secret."""
    before = len(lnbits.log())
    yield
    logged = lnbits.log()[before:]
    for secret in (PRIVATE_TEXT, lnbits.auth_secret_key, lnbits.admin_token):
        assert secret not in logged


async def until_logged(lnbits: LNbits, text: str, after: int = 0) -> str:
    """Wait until this is in the log after this many characters of it; the line."""

    def found() -> str | None:
        lines = lnbits.log()[after:].splitlines()
        return next((line for line in lines if text in line), None)

    line = await eventually(found, 10, f"{text!r} in the log")
    assert line
    return line
