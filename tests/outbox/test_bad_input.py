"""A database that is locked, read-only or incomplete: nothing is lost, and what was
refused stays refused."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import pytest_asyncio

from scripts.lnbits_server import LNbits
from support.endpoint import Endpoint
from support.events import Event, ids
from support.outbox import (
    ANSWER_SECONDS,
    PRIVATE_TEXT,
    QUEUED,
    UNANSWERED,
    Outbox,
    arrive,
    back,
    discreet,
    down,
    fence,
    outage,
    private_note,
    private_notes,
    queue,
    reconnect,
    until_logged,
)
from support.scripted_relay import ScriptedRelay, accept, eose_at_once, silent
from support.wire_client import Message, WireClient

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def nothing_private_is_logged(lnbits: LNbits) -> Iterator[None]:
    """All events of these tests have a content that no log may show."""
    with discreet(lnbits):
        yield


def refused(client: WireClient, event: Event, reply: Message) -> None:
    """`false` with a reason, early enough, and without what the database was told."""
    assert reply.parts[:3] == ["OK", event["id"], False]
    assert reply.parts[3].startswith("error: ")
    assert PRIVATE_TEXT not in reply.parts[3] and len(reply.parts[3]) < 200
    assert client.after(event["id"], reply) < ANSWER_SECONDS


async def serves(endpoint: Endpoint, client: WireClient) -> None:
    """LNbits answers, and so does the endpoint."""
    response = await endpoint.http.get(f"{endpoint.root}/api/v1/health", timeout=2)
    assert response.status_code == 200
    await client.fence(2)


async def publish_in_vain(client: WireClient, *events: Event) -> None:
    for event in events:
        await client.send("EVENT", event)
    for event in events:
        refused(client, event, await client.ok(event["id"]))


@contextmanager
def dropped_table(outbox: Outbox) -> Iterator[None]:
    """As before the migration has run."""
    where = "FROM sqlite_master WHERE tbl_name = 'outbox' AND sql IS NOT NULL"
    schema = [row[0] for row in outbox.table.run(f"SELECT sql {where} ORDER BY rowid")]
    rows = outbox.table.run("SELECT * FROM outbox")
    outbox.table.run("DROP TABLE outbox")
    try:
        yield
    finally:
        for statement in schema:
            outbox.table.run(statement)
        for row in rows:
            marks = ", ".join("?" for _ in row)
            outbox.table.run(f"INSERT INTO outbox VALUES ({marks})", *row)


class Scene:
    """Five events queued before the database fails, and what came after."""

    def __init__(self, endpoint: Endpoint, outbox: Outbox) -> None:
        self.endpoint = endpoint
        self.outbox = outbox
        self.relay = ScriptedRelay()
        self.before = private_notes(5)
        self.client: WireClient

    async def start(self) -> None:
        self.client = await outage(self.endpoint, self.relay)
        await queue(self.client, *self.before)

    async def recovered(self, *in_vain: Event) -> None:
        """Queueing works again, and everything but these arrives."""
        late = private_notes(3)
        await queue(self.client, *late)
        assert self.outbox.table.ids() == ids([*self.before, *late])
        shown = await self.outbox.until(queued=len(self.before) + len(late))
        assert shown["problem"] is None
        await reconnect(self.endpoint, self.relay)
        await arrive(self.relay, [*self.before, *late])
        await self.outbox.until_empty()
        after = await fence(self.client, self.relay)
        assert self.relay.published() == [*self.before, *late, after]
        # It was not for good.
        for event in in_vain[:3]:
            assert (await self.client.publish(event)).parts[2] is True


@pytest_asyncio.fixture
async def scene(endpoint: Endpoint, outbox: Outbox) -> AsyncIterator[Scene]:
    scene = Scene(endpoint, outbox)
    await scene.start()
    yield scene


async def problem(outbox: Outbox) -> str:
    """The sentence for the admin."""
    shown = await outbox.shown()
    sentence = shown["problem"]
    assert isinstance(sentence, str) and " " in sentence
    assert PRIVATE_TEXT not in json.dumps(shown)
    return sentence


async def test_locked_for_some_seconds(scene: Scene) -> None:
    """By another process, longer than a client waits and shorter than SQLite does: what
    was refused must not be written when the lock goes, not even for a moment."""
    client, table = scene.client, scene.outbox.table
    in_vain, late = private_notes(20), private_note()
    with table.watched() as committed:
        with table.locked():
            await publish_in_vain(client, *in_vain)
            await serves(scene.endpoint, client)
            await client.send("EVENT", late)
            await client.fence()
        assert (await client.ok(late["id"])).parts[2:] == [True, QUEUED]
        assert (await scene.outbox.delete(late["id"])).status_code == 200
        await scene.recovered(*in_vain)
        assert not set(committed()) & set(ids(in_vain))


async def test_locked_for_longer(scene: Scene) -> None:
    """Past the time that SQLite itself waits."""
    client, outbox = scene.client, scene.outbox
    in_vain: list[Event] = []
    start = len(scene.endpoint.lnbits.log())
    end = time.monotonic() + 8
    with outbox.table.locked():
        while time.monotonic() < end:
            in_vain.append(private_note())
            await publish_in_vain(client, in_vain[-1])
            await serves(scene.endpoint, client)
        await problem(outbox)
    await until_logged(scene.endpoint.lnbits, "offline queue", start)
    await scene.recovered(*in_vain)


@pytest.mark.parametrize("seconds", [1, 4])
async def test_locked_while_a_relay_returns(scene: Scene, seconds: float) -> None:
    """What was queued is sent all the same. Its rows go when they can."""
    with scene.outbox.table.locked():
        await scene.relay.start()
        await arrive(scene.relay, scene.before)
        await scene.client.quiet(seconds)
    await scene.outbox.until_empty()
    after = await fence(scene.client, scene.relay)
    assert scene.relay.published() == [*scene.before, after]


async def test_in_doubt_while_it_is_locked(endpoint: Endpoint, outbox: Outbox) -> None:
    """It has been sent, so `false` would be a lie."""
    relay, event = ScriptedRelay(on_event=silent, on_req=silent), private_note()
    await endpoint.use(relay)
    client = await endpoint.client()
    with outbox.table.locked():
        reply = await client.publish(event)
        assert reply.parts[2:] == [True, UNANSWERED]
        assert client.after(event["id"], reply) < ANSWER_SECONDS
        await serves(endpoint, client)
    # It is remembered all the same, and settled once the relay answers.
    relay.on_event, relay.on_req = accept, eose_at_once
    await down(endpoint, relay)
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [event, event, after]


async def test_nothing_can_be_inserted(scene: Scene) -> None:
    """As on a medium that has become read-only, or is full."""
    start, in_vain = len(scene.endpoint.lnbits.log()), private_notes(5)
    with scene.outbox.table.failing("INSERT"):
        await publish_in_vain(scene.client, *in_vain)
        await serves(scene.endpoint, scene.client)
        await problem(scene.outbox)
        assert scene.outbox.table.ids() == ids(scene.before)
    await until_logged(scene.endpoint.lnbits, "offline queue", start)
    await scene.recovered(*in_vain)


async def test_nothing_can_be_deleted(scene: Scene) -> None:
    """The relay has it, and the table does not learn of it until it can be written."""
    with scene.outbox.table.failing("DELETE"):
        await back(scene.endpoint, scene.relay)
        await arrive(scene.relay, scene.before)
        await serves(scene.endpoint, scene.client)
        await problem(scene.outbox)
        assert scene.outbox.table.ids() == ids(scene.before)
    # Without anybody's help, once it works again.
    await scene.outbox.until(queued=0, problem=None)
    deadline = time.monotonic() + 15
    while scene.outbox.table.ids() and time.monotonic() < deadline:
        await scene.client.inbox.changes_within(0.1)
    assert scene.outbox.table.ids() == []
    after = await fence(scene.client, scene.relay)
    assert scene.relay.published() == [*scene.before, after]


async def test_the_table_goes_missing(scene: Scene) -> None:
    in_vain = private_notes(5)
    with dropped_table(scene.outbox):
        await publish_in_vain(scene.client, *in_vain)
        await serves(scene.endpoint, scene.client)
        await problem(scene.outbox)
    await scene.recovered(*in_vain)


async def test_the_table_is_not_there_yet(endpoint: Endpoint, outbox: Outbox) -> None:
    """Clients are served, relays are used; only nothing can be kept."""
    relay, in_vain = ScriptedRelay(), private_note()
    await endpoint.use(relay)
    with dropped_table(outbox):
        async with outbox.restarted():
            pass
        await endpoint.until_relay(relay.url, connected=True)
        client = await endpoint.client()
        assert (await client.publish(private_note())).parts[2] is True
        await down(endpoint, relay)
        await publish_in_vain(client, in_vain)
        await serves(endpoint, client)
        await problem(outbox)
    # Now the migration has run.
    async with outbox.restarted():
        pass
    client = await endpoint.client()
    await queue(client, kept := private_note())
    await back(endpoint, relay)
    await outbox.until_empty()
    await fence(client, relay)
    assert kept in relay.published() and in_vain not in relay.published()


async def test_locked_when_the_extension_starts(scene: Scene) -> None:
    """What the table holds is found once it can be read."""
    lock = ExitStack()
    with lock:
        async with scene.outbox.restarted():
            lock.enter_context(scene.outbox.table.locked())
        response = await scene.endpoint.http.get(f"{scene.endpoint.root}/api/v1/health")
        assert response.status_code == 200
        await scene.relay.inbox.changes_within(2)
    await scene.outbox.until(queued=len(scene.before))
    scene.client = await scene.endpoint.client()
    await scene.recovered()
