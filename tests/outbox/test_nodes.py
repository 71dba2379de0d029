"""Two LNbits nodes on one PostgreSQL share one outbox: each row is sent by one of them,
and a dead node's rows by the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from support.events import Author, Event, ids
from support.nodes import (
    LEASE,
    LOOK,
    TAKE_OVER,
    Nodes,
    Pair,
    listed,
    stalled,
    two_nodes,
    until_listed,
    until_only,
)
from support.outbox import QUEUED, Outbox, publish_all, queue
from support.scripted_relay import Filter, Line, accept, answer, silent

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with two_nodes(tmp_path_factory.mktemp("nodes")) as pair:
        yield pair


@pytest_asyncio.fixture
async def nodes(pair: Pair) -> AsyncIterator[Nodes]:
    if pair.second.process.ended:  # a test has killed it
        await asyncio.to_thread(pair.second.start)
    nodes = Nodes(pair)
    try:
        await nodes.begin()
        yield nodes
    finally:
        await nodes.end()


async def test_each_row_is_sent_by_one_node(nodes: Nodes) -> None:
    first, second = await nodes.clients()
    ours, theirs = Author().notes(20, "first"), Author().notes(20, "second")
    await nodes.down()
    for our, their in zip(ours, theirs, strict=True):
        await queue(first, our)
        await queue(second, their)
    owner = {row["id"]: row["owner"] for row in await nodes.rows()}
    assert len(owner) == 40
    (us,) = {owner[note["id"]] for note in ours}
    (them,) = {owner[note["id"]] for note in theirs}
    assert None not in (us, them) and us != them
    for node, own in ((nodes.first, ours), (nodes.second, theirs)):
        rows = await listed(node)
        assert rows.keys() == owner.keys()
        assert [row for row in rows if rows[row]["here"]] == ids(own)

    await nodes.relay.start()
    await nodes.until_received(*ours, *theirs)
    await nodes.until_empty()
    # Whatever else they had to send would come before these.
    await nodes.up()
    fences = Author().notes(2, "fence")
    for client, fence in zip((first, second), fences, strict=True):
        assert (await client.publish(fence)).parts[2] is True
    assert len(nodes.relay.published()) == 42
    assert nodes.the_line(*ours, fences[0]) is not nodes.the_line(*theirs, fences[1])


async def test_the_same_event_on_both_is_one_row(nodes: Nodes) -> None:
    first, second = await nodes.clients()
    early, notes = Author().sign("early"), Author().notes(41)
    await nodes.down()
    await queue(first, early)
    assert (await second.publish(early)).parts[2] is True
    # In opposite order, and held up half-way: each waits for rows the other has written.
    async with nodes.held_back(notes[20]) as both_wait:
        publishing = asyncio.gather(
            publish_all(first, notes), publish_all(second, notes[::-1])
        )
        await both_wait()
    replies = [reply.parts[2:] for each in await publishing for reply in each]
    assert replies == [[True, QUEUED]] * 82
    assert {row["id"] for row in await nodes.rows()} == set(ids([early, *notes]))

    await nodes.relay.start()
    await nodes.until_received(early, *notes)
    await nodes.until_empty()
    await nodes.up()
    for client in (first, second):
        assert (await client.publish(Author().sign("fence"))).parts[2] is True
    assert sorted(ids(nodes.relay.published())[:-2]) == sorted(ids([early, *notes]))


async def test_a_killed_nodes_rows_are_taken_over(nodes: Nodes) -> None:
    first, second = await nodes.clients()
    relay, author = nodes.relay, Author()
    # Two events in doubt: sent and unanswered, the relay has one of them.
    found, lost = author.notes(2, "in doubt")
    relay.on_event = relay.on_req = silent
    for note in (found, lost):
        await second.send("EVENT", note)
    for note in (found, lost):
        assert (await second.ok(note["id"])).parts[2] is True
    ours, theirs = author.notes(3, "first"), author.notes(10, "second")
    await nodes.down()
    await queue(first, *ours)
    await queue(second, *theirs)
    by_state = {row["id"]: row["state"] for row in await nodes.rows()}
    assert by_state == {
        **dict.fromkeys(ids([found, lost]), "doubt"),
        **dict.fromkeys(ids([*ours, *theirs]), "queued"),
    }

    # The relay takes three of the second's, and says nothing more as long as it lives.
    alive, taken, accepted = True, theirs[:3], set[str]()

    async def on_event(line: Line, event: Event) -> None:
        if not alive or event in (*ours, *taken):
            accepted.add(event["id"])
            await line.ok(event["id"], True)

    async def on_req(line: Line, sub: str, filters: list[Filter]) -> None:
        if not alive:
            if any(found["id"] in wanted.get("ids", []) for wanted in filters):
                await line.event(sub, found)
            await line.eose(sub)

    relay.on_event, relay.on_req = on_event, on_req
    await relay.start()
    await nodes.until_received(*theirs[:4])
    (dying,) = {each.line for each in nodes.received(*theirs)}
    await asyncio.to_thread(nodes.second.lnbits.kill)
    alive = False
    at_kill = time.monotonic()
    doubtful, held = (found, lost), theirs[3:]
    leases = [
        row["left"]
        for row in await nodes.rows()
        if row["id"] in ids([*doubtful, *held]) and row["left"] is not None
    ]
    assert len(leases) == len(doubtful) + len(held)
    assert 0 < min(leases) <= max(leases) <= LEASE

    await relay.until(
        lambda: accepted >= set(ids([lost, *ours, *theirs])), "all", TAKE_OVER
    )
    await nodes.until_empty()
    survivor = nodes.the_line(*ours)
    assert survivor is not dying and relay.lines == [survivor]
    taken_over = [each for each in nodes.received(lost, *theirs) if each.line is survivor]
    assert all(each.at > at_kill + min(leases) - 0.1 for each in taken_over), "too early"
    sent_again = [each.parts[1] for each in taken_over if each.parts[1] in held]
    assert sent_again == held, "once each, in the order published"
    assert len(nodes.received(found)) == 1, "the relay said that it has it"
    assert lost in [each.parts[1] for each in taken_over]


async def test_what_a_stalled_node_has_lost_it_does_not_send(nodes: Nodes) -> None:
    _, second = await nodes.clients()
    theirs = Author().notes(5)
    await nodes.down()
    await queue(second, *theirs)
    async with AsyncExitStack() as stack:
        with stalled(nodes.second.lnbits):
            await nodes.relay.start()
            await nodes.until_received(*theirs, seconds=TAKE_OVER)
            await nodes.until_empty()
            # It finds the relay before it can see what has become of its rows.
            await stack.enter_async_context(nodes.locked_table())
        await nodes.relay.until(lambda: len(nodes.relay.lines) == 2, "the second", 20)
    await until_only(nodes.second)
    assert (await second.publish(Author().sign("fence"))).parts[2] is True
    nodes.the_line(*theirs)


async def test_a_living_nodes_rows_stay_its_own(nodes: Nodes) -> None:
    """Also while a relay keeps it waiting for longer than a lease lasts."""
    first, second = await nodes.clients()
    limited, unanswered = Author().notes(5, "limited"), Author().notes(5, "unanswered")
    await nodes.down()
    await queue(first, *limited)
    await queue(second, *unanswered)

    async def on_event(line: Line, event: Event) -> None:
        if event in limited:
            await line.ok(event["id"], False, "rate-limited: later")

    nodes.relay.on_event = on_event
    await nodes.relay.start()
    await nodes.until_received(*limited, *unanswered)
    rows = await nodes.rows()
    owners = {row["id"]: row["owner"] for row in rows}
    assert len(owners) == 10 and len(set(owners.values())) == 2
    # Until leases that nobody renews would be over, and every node has looked.
    overdue = time.monotonic() + max(row["left"] for row in rows) + LOOK + 1
    while time.monotonic() < overdue:
        rows = await nodes.rows()
        assert {row["id"]: row["owner"] for row in rows} == owners
        assert all(row["left"] > 0 for row in rows), "a lease was not renewed"
        await asyncio.sleep(0.2)

    nodes.relay.on_event = accept
    for each in nodes.received(*unanswered):
        await each.line.ok(each.parts[1]["id"], True, "it took a while")
    for note in limited:  # or they would wait for most of a minute
        assert (await Outbox(nodes.first).retry(note["id"])).status_code == 200
    await nodes.until_empty()
    lines = [
        {each.line for each in nodes.received(*notes)} for notes in (limited, unanswered)
    ]
    assert [len(found) for found in lines] == [1, 1]
    assert lines[0] != lines[1]


async def test_any_nodes_admin_sees_and_retries_a_rejected_row(nodes: Nodes) -> None:
    reason = "blocked: <b>not</b> here &amp; now, 100 % sure? :no"
    _, second = await nodes.clients()
    note = Author().sign("refused at first")
    await nodes.down()
    await queue(second, note)
    nodes.relay.on_event = answer(False, reason)
    await nodes.relay.start()
    row = await until_listed(nodes.first, note, state="rejected")
    (why,) = row["reasons"].values()
    assert why == reason
    assert row["here"] is False

    nodes.relay.on_event = accept
    reply = await Outbox(nodes.first).retry(note["id"])
    assert reply.status_code == 200, reply.text
    await nodes.until_received(note, note)
    await nodes.until_empty()
    assert len(nodes.received(note)) == 2
    for node in nodes.both:
        await until_only(node)
        assert (await Outbox(node).retry(note["id"])).status_code == 404


async def test_any_nodes_admin_deletes_a_row(nodes: Nodes) -> None:
    _, second = await nodes.clients()
    deleted, kept, rejected = Author().notes(3)
    nodes.relay.on_event = answer(False, "blocked: no")
    await nodes.down()
    await queue(second, rejected)
    await nodes.relay.start()
    await until_listed(nodes.first, rejected, state="rejected", here=False)
    await nodes.down()
    await queue(second, deleted, kept)
    for node, here in ((nodes.first, False), (nodes.second, True)):
        for note in (deleted, kept):
            await until_listed(node, note, state="queued", here=here)

    for note in (deleted, rejected):
        assert (await Outbox(nodes.first).delete(note["id"])).status_code == 200
        assert (await Outbox(nodes.first).delete(note["id"])).status_code == 404
    for node in nodes.both:
        await until_only(node, kept)
        assert (await Outbox(node).delete(deleted["id"])).status_code == 404
    nodes.relay.on_event = accept
    await nodes.relay.start()
    await nodes.until_received(kept)
    await nodes.until_empty()
    assert nodes.relay.published() == [rejected, kept]


async def test_a_row_deleted_on_one_node_does_not_come_back(nodes: Nodes) -> None:
    """The node that holds it may be sending it just then, and be refused."""
    _, second = await nodes.clients()
    deleted, kept = Author().notes(2)
    await nodes.down()
    await queue(second, deleted, kept)

    async def on_event(line: Line, event: Event) -> None:
        reason = "blocked: no" if event == deleted else "rate-limited: later"
        await line.ok(event["id"], False, reason)

    nodes.relay.on_event = on_event
    assert (await Outbox(nodes.first).delete(deleted["id"])).status_code == 200
    await nodes.relay.start()
    await nodes.until_received(kept)
    await nodes.until_renewed(kept)
    assert [row["id"] for row in await nodes.rows()] == [kept["id"]]
    for node in nodes.both:
        await until_only(node, kept)
    nodes.relay.on_event = accept
    assert (await Outbox(nodes.second).retry(kept["id"])).status_code == 200
    await nodes.until_empty()
