"""One LNbits on a real PostgreSQL: what is stored, and what becomes of the outbox when
LNbits or the database goes down."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from scripts.lnbits_server import LNbits
from scripts.postgres import Postgres
from support.endpoint import Endpoint
from support.events import Author, Event, ids
from support.outbox import (
    ANSWER_SECONDS,
    FULL,
    QUEUED,
    down,
    fence,
    heard,
    publish_all,
    queue,
)
from support.scripted_relay import ScriptedRelay, accept, eose_at_once, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

DATABASE = "lnbits"
WAITING = "SELECT pid FROM pg_locks WHERE NOT granted"
TAKE_OVER_SECONDS = 25  # the lease of a dead process, the next look, and some patience

# What LNbits' text cleaning, SQL and drivers make something else of, if they may.
SPOILABLE = [
    "<b>html</b> &amp; &#60; &lt;i>",
    "%s %(name)s %% :name :1 ::text $1 ? ?? {} {0} ${x}",
    "' '' \" \\ \\' \\\\ E'\\n' -- /* */ ;",
    "\n\r\t\b\f\u0000\u001f\u007f\u2028\ufeff",
    "\U0001f980 e\u0301 \u5b57 \U0010ffff",
    " leading and trailing ",
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as postgres:
        postgres.create(DATABASE)
        yield postgres


@pytest.fixture(scope="module")
def node(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LNbits]:
    """A new installation on it, shared by the tests here."""
    folder = tmp_path_factory.mktemp("postgres")
    env = {"LNBITS_DATABASE_URL": postgres.url(DATABASE)}
    with LNbits(folder / "data", env=env) as node:
        yield node


@pytest_asyncio.fixture
async def endpoint(node: LNbits) -> AsyncIterator[Endpoint]:
    """As the one of conftest, on PostgreSQL."""
    endpoint = Endpoint(node)
    await endpoint.reset()
    try:
        yield endpoint
    finally:
        await endpoint.close()


async def restart(endpoint: Endpoint, *, kill: bool = False) -> None:
    """End LNbits and start it again, on the same port."""
    node = endpoint.lnbits
    await asyncio.to_thread(node.kill if kill else node.stop)
    await asyncio.to_thread(node.start)
    endpoint.http.headers["Authorization"] = f"Bearer {node.admin_token}"


async def rows(postgres: Postgres) -> int:
    found = await postgres.query(DATABASE, "SELECT id FROM nostrclient.outbox")
    return len(found)


async def until_empty(postgres: Postgres, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while left := await rows(postgres):
        assert time.monotonic() < deadline, f"{left} rows are left"
        await asyncio.sleep(0.05)


async def refused(client: WireClient, event: Event) -> None:
    """Publish what the database cannot take: refused in time, and with a reason."""
    reply = await client.publish(event)
    assert reply.parts[2] is False, reply
    assert reply.parts[3].startswith("error: "), reply
    assert reply.parts[3] != FULL
    assert client.after(event["id"], reply) < ANSWER_SECONDS


async def queue_again(client: WireClient) -> Event:
    """Publish events until one is queued, once the database is back: that one."""
    deadline = time.monotonic() + 15
    while True:
        note = Author().sign("after")
        reply = await client.publish(note)
        if reply.parts[2:] == [True, QUEUED]:
            return note
        assert reply.parts[2] is False, reply
        assert time.monotonic() < deadline, f"nothing is queued any more: {reply}"


async def until_served(endpoint: Endpoint) -> None:
    """LNbits learns from a query that fails that its connections are gone, and closes
    the connection it came from too."""
    deadline = time.monotonic() + 10
    while True:
        try:
            await endpoint.relays()
            return
        except (AssertionError, httpx.TransportError):
            assert time.monotonic() < deadline, "LNbits does not come back"


async def test_settings_and_relays_survive_a_restart(
    endpoint: Endpoint, postgres: Postgres
) -> None:
    async with ScriptedRelay() as relay:
        idle = "wss://127.0.0.1:1/?a=1&amp;b=%25%s<x>"
        assert (await endpoint.add(relay.url)).status_code == 200
        off = {"url": idle, "active": False}
        answer = await endpoint.http.post(f"{endpoint.base}/relay", json=off)
        assert answer.status_code == 200, answer.text
        await endpoint.configure(private_ws=False, public_ws=True)
        before = {entry["url"]: entry["active"] for entry in await endpoint.relays()}
        config = (await endpoint.http.get(f"{endpoint.base}/config")).json()
        stored = await postgres.query(DATABASE, "SELECT url FROM nostrclient.relays")
        assert len(stored) == 2

        await restart(endpoint)
        after = {entry["url"]: entry["active"] for entry in await endpoint.relays()}
        assert after == before
        assert sorted(after.values()) == [False, True]
        answer = await endpoint.http.get(f"{endpoint.base}/config")
        assert answer.json() == config
        assert (config["private_ws"], config["public_ws"]) == (False, True)
        await endpoint.until_relay(relay.url, connected=True)

        note, client = Author().sign("hello"), await endpoint.client()
        await client.subscribe("s", {"authors": [note["pubkey"]]})
        assert (await client.publish(note)).parts == ["OK", note["id"], True, ""]
        assert relay.published() == [note]
        await relay.line.live(note)
        assert await client.count("s", 1) == [note]
        assert await rows(postgres) == 0
    assert "Traceback" not in endpoint.lnbits.log()


async def test_what_is_queued_survives_a_power_cut_letter_by_letter(
    endpoint: Endpoint, postgres: Postgres
) -> None:
    relay, author = ScriptedRelay(), Author()
    await endpoint.use(relay)
    await down(endpoint, relay)
    notes = [author.sign(text, tags=[["t", text], ["x"]]) for text in SPOILABLE]
    # Its `d` is what a newer version is known by.
    listed = [
        author.sign("", kind=30000, tags=[["d", text]], created_at=1_700_000_000 + age)
        for text in SPOILABLE
        for age in range(2)
    ]
    client = await endpoint.client()
    await queue(client, *notes, *listed)
    assert await rows(postgres) == 2 * len(SPOILABLE), "newer versions take the place"

    await restart(endpoint, kill=True)
    assert await rows(postgres) == 2 * len(SPOILABLE)
    await relay.start()
    expected = notes + listed[1::2]
    await relay.until(
        lambda: len(relay.published()) >= len(expected), "all", TAKE_OVER_SECONDS
    )
    await until_empty(postgres)
    assert relay.published() == expected, "once each, in the order published"


async def test_the_database_goes_down_and_comes_back(
    endpoint: Endpoint, postgres: Postgres
) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    await down(endpoint, relay)
    client = await endpoint.client()
    before = Author().notes(3, "before")
    await queue(client, *before)

    await asyncio.to_thread(postgres.kill)
    for note in Author().notes(3, "refused"):
        await refused(client, note)
    await asyncio.to_thread(postgres.start)
    after = await queue_again(client)
    assert await rows(postgres) == len(before) + 1

    await relay.start()
    await relay.until(lambda: after in relay.published(), "the last one", 20)
    await until_empty(postgres)
    assert relay.published() == [*before, after]
    await until_served(endpoint)


async def test_a_relay_returns_before_the_database_does(
    endpoint: Endpoint, postgres: Postgres
) -> None:
    """Whether it sends what it holds, or waits to be sure that it still holds it: nothing
    is lost, and what has arrived leaves the outbox."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    await down(endpoint, relay)
    client = await endpoint.client()
    queued, live = Author().notes(3, "queued"), Author().sign("live")
    await queue(client, *queued)

    await asyncio.to_thread(postgres.kill)
    await relay.start()
    await relay.connected()
    # With a relay there, publishing needs no database.
    assert (await client.publish(live)).parts == ["OK", live["id"], True, ""]
    await asyncio.to_thread(postgres.start)

    await until_empty(postgres, TAKE_OVER_SECONDS)
    assert set(ids(relay.published())) == set(ids([*queued, live]))
    await until_served(endpoint)


async def test_a_locked_table(endpoint: Endpoint, postgres: Postgres) -> None:
    """What was refused because the database took too long must not be stored after all,
    by a statement that was still waiting there."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    await down(endpoint, relay)
    client = await endpoint.client()
    async with postgres.connect(DATABASE) as other, other.transaction():
        await other.execute("LOCK TABLE nostrclient.outbox")
        await refused(client, Author().sign("refused"))
    after = await queue_again(client)
    assert await rows(postgres) == 1

    await relay.start()
    await relay.until(lambda: after in relay.published(), "the last one", 20)
    await until_empty(postgres)
    assert relay.published() == [after]


async def test_what_is_delivered_during_a_take_over_is_not_sent_again(
    endpoint: Endpoint, postgres: Postgres
) -> None:
    relay = ScriptedRelay(on_event=silent, on_req=silent)
    await endpoint.use(relay)
    client = await endpoint.client()
    notes, orphan = Author().notes(5), Author().sign("of a node that is gone")
    replies = await publish_all(client, notes)
    assert [reply.parts[2] for reply in replies] == [True] * len(notes)
    assert await rows(postgres) == len(notes), "in doubt"
    async with postgres.connect(DATABASE) as other, other.transaction():
        await other.execute("LOCK TABLE nostrclient.outbox")
        await other.execute(
            "INSERT INTO nostrclient.outbox VALUES ($1, $2, 'queued', 1, 1, '{}')",
            orphan["id"],
            json.dumps(orphan),
        )
        # Until it wants to look for such rows, and has to wait.
        deadline = time.monotonic() + 10
        while not await postgres.query(DATABASE, WAITING):
            assert time.monotonic() < deadline, "it does not look"
            await asyncio.sleep(0.02)
        relay.on_event, relay.on_req = accept, eose_at_once
        for note in notes:
            await relay.line.ok(note["id"], True)
        for req in relay.reqs():  # it may have been asked whether it has them
            await req.eose()
        await heard(client)
        sent = len(relay.published())
    await relay.until(lambda: orphan in relay.published(), "the orphan")
    await until_empty(postgres)
    await heard(client)
    last = await fence(client, relay)
    assert relay.published()[sent:] == [orphan, last]


async def test_what_one_node_takes_back_another_has_promised(
    postgres: Postgres, endpoint: Endpoint, tmp_path: Path
) -> None:
    """A client that was told `false` by one node and `true` by the other."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("rows_child.py")),
        cwd=tmp_path,
        env={**os.environ, "LNBITS_DATABASE_URL": postgres.url(DATABASE)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    assert child.returncode == 0
    assert json.loads(out.splitlines()[-1]) == {
        "held elsewhere": ["delivered", "vouched"],
        "left": ["vouched"],
        "kept": ["vouched"],
        "gone": ["alone"],
        "late": ["it took too long", True],
        "at the end": ["vouched"],
    }
    query = "DELETE FROM nostrclient.outbox RETURNING id"
    assert len(await postgres.query(DATABASE, query)) == 1
