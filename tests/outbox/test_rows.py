"""What the table holds when the extension starts: rows that nobody understands, that
come from the future, or that are too many."""

import json
from collections.abc import Iterator

import pytest

from scripts.lnbits_server import LNbits
from support.endpoint import Endpoint
from support.events import Author, forged_content, forged_signature, ids, now
from support.outbox import (
    FULL,
    PRIVATE_TEXT,
    Outbox,
    arrive,
    back,
    discreet,
    fence,
    outage,
    private_note,
    private_notes,
    queue,
    until_logged,
)
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def nothing_private_is_logged(lnbits: LNbits) -> Iterator[None]:
    """All events of these tests have a content that no log may show."""
    with discreet(lnbits):
        yield


class Unreadable:
    """What an upgrade, or a hand in the database, may leave behind."""

    def __init__(self) -> None:
        true, author = private_note(), Author()
        self.good = private_notes(4)
        self.texts: dict[str, str] = {
            "a" * 64: f"{{{PRIVATE_TEXT}",
            "b" * 64: "",
            "c" * 64: "[]",
            "d" * 64: json.dumps({**private_note(), "kind": "one"}),
            "e" * 64: "\x00\ud7ff" + "x" * 100_000,
            "no id at all": json.dumps(private_note()),
        }
        self.events = [
            forged_signature(private_note()),
            forged_content(true, f"{PRIVATE_TEXT} forged"),
            private_note(7, author),
        ]
        self.another_id = private_note(8, author)

    def put(self, outbox: Outbox) -> list[str]:
        """Between good rows; the ids of those that are not understood."""
        bad: list[str] = []
        good = iter(self.good)
        outbox.table.put(next(good))
        for name, text in self.texts.items():
            bad.append(outbox.table.put(text, row_id=name).id)
        outbox.table.put(next(good))
        for event in self.events[:2]:
            bad.append(outbox.table.put(event).id)
        bad.append(outbox.table.put(self.events[2], state="on its way").id)
        outbox.table.put(next(good), state="doubt")
        bad.append(outbox.table.put(self.another_id, row_id="f" * 64).id)
        outbox.table.put(next(good))
        return bad


async def test_rows_that_nobody_understands(endpoint: Endpoint, outbox: Outbox) -> None:
    """They stay as they are, the admin sees them, and the others are delivered."""
    relay, rows = ScriptedRelay(), Unreadable()
    await outage(endpoint, relay)
    start = len(endpoint.lnbits.log())
    async with outbox.restarted():
        bad = rows.put(outbox)
        untouched = {row.id: row for row in outbox.table.rows() if row.id in bad}
    shown = await outbox.until(queued=3, in_doubt=1)
    states = {row["id"]: row["state"] for row in shown["rows"]}
    unreadable = {name for name, state in states.items() if state == "unreadable"}
    assert unreadable == set(bad)
    assert len(shown["rows"]) == len(bad) + len(rows.good)
    assert PRIVATE_TEXT not in json.dumps(shown)
    await until_logged(endpoint.lnbits, "outbox", start)

    client = await endpoint.client()
    await queue(client, new := private_note())
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert sorted(ids(relay.published())) == sorted(ids([*rows.good, new, after]))
    assert {row.id: row for row in outbox.table.rows()} == untouched

    # Each of them once, not at every look.
    for _ in range(3):
        await outbox.shown()
    logged = endpoint.lnbits.log()[start:].splitlines()
    about = [line for line in logged if any(name[:16] in line for name in bad)]
    assert len(about) == len(bad), about
    async with outbox.restarted():
        pass
    assert {row.id: row for row in outbox.table.rows()} == untouched

    # The admin may do away with them.
    for name in bad:
        response = await outbox.delete(name)
        assert response.status_code == 200, (name, response.text)
    assert (await outbox.shown())["rows"] == []
    assert outbox.table.ids() == []


async def test_a_clock_that_was_set_back(endpoint: Endpoint, outbox: Outbox) -> None:
    """Rows from the future are sent like any others, in their order."""
    relay, (first, second, third) = ScriptedRelay(), private_notes(3)
    await outage(endpoint, relay)
    async with outbox.restarted():
        outbox.table.put(first, queued_at=now() + 10 * 365 * 86_400)
        outbox.table.put(second, queued_at=now() + 86_400, state="doubt")
    shown = await outbox.until(queued=1, in_doubt=1)
    assert shown["oldest_age"] == 0
    assert [row["age"] for row in shown["rows"]] == [0, 0]
    client = await endpoint.client()
    await queue(client, third)
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert sorted(ids(relay.published())) == sorted(ids([first, second, third, after]))
    assert relay.published().index(first) < relay.published().index(third)


async def test_more_rows_than_the_bound(endpoint: Endpoint, outbox: Outbox) -> None:
    """The setting was lowered while nothing ran: all of them are delivered."""
    relay, many = ScriptedRelay(), private_notes(120)
    await outage(endpoint, relay)
    async with outbox.restarted():
        for event in many:
            outbox.table.put(event)
    shown = await outbox.until(queued=120)
    assert shown["size"] == 100
    client, refused_event = await endpoint.client(), private_note()
    reply = await client.publish(refused_event)
    assert reply.parts[2:] == [False, FULL]
    await back(endpoint, relay)
    await arrive(relay, many)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [*many, after]
