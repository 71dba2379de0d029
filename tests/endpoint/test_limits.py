"""Rules 5.1, 5.2: bounds on what one client, and all of them, may use."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.endpoint import Endpoint
from support.events import Author, ids
from support.scripted_relay import Filter, ScriptedRelay
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

MESSAGE_BYTES = 512 * 1024
SUBSCRIPTIONS = 256
FILTERS = 100
CLIENTS = 2_000
MESSAGES = 5_000 * 10  # on average over ten seconds

PAST = ("rate-limited: ", "restricted: ")


async def test_messages_up_to_the_limit_are_taken(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    for size in (65_536, MESSAGE_BYTES - 1_000):
        note = Author().sign("x" * size)
        assert (await client.publish(note)).parts[2] is True
        assert relay.published()[-1] == note


async def test_messages_past_the_limit_are_refused(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    note = Author().sign("x" * (MESSAGE_BYTES + 1))
    # An id near the start can be read without reading the whole.
    first = {"id": note["id"], **note}
    await client.send_text(json.dumps(["EVENT", first], separators=(",", ":")))
    reply = await client.ok(note["id"])
    assert reply.parts[2] is False
    assert reply.parts[3].startswith((*PAST, "invalid: "))

    await client.send("REQ", "s", {"#t": ["x" * MESSAGE_BYTES]})
    assert (await client.closed("s")).parts[2].startswith((*PAST, "invalid: "))

    for text in ("x" * (MESSAGE_BYTES + 1), "[" * (8 << 20)):
        before = len(client.notices())
        await client.send_text(text)
        await client.notices_come(before + 1)
        assert client.notices()[-1].startswith((*PAST, "invalid: "))
    assert len(client.messages) == 4
    assert relay.inbox.items == []
    assert (await client.publish(Author().sign())).parts[2] is True


async def test_filters_in_a_request(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    many: list[Filter] = [{"kinds": [number]} for number in range(FILTERS + 1)]
    await client.subscribe("enough", *many[:-1])
    await client.send("REQ", "many", *many)
    assert (await client.closed("many")).parts[2].startswith((*PAST, "invalid: "))
    await client.fence()
    assert [message.verb for message in client.messages] == ["EOSE", "CLOSED"]
    # Ten in each: the relay says nothing of how many it takes.
    asked = [shape for req in relay.reqs() for shape in req.filters]
    assert asked == many[:-1]
    assert max(len(req.filters) for req in relay.reqs()) == 10


async def test_subscriptions_of_a_client(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client, other = await endpoint.client(), await endpoint.client()
    for number in range(SUBSCRIPTIONS):
        await client.subscribe(str(number), {"kinds": [number]})
    await client.send("REQ", "many", {"kinds": [1]})
    assert (await client.closed("many")).parts[2].startswith(PAST)
    assert len(client.of("EOSE", "many")) == 0
    # The same id again is no further one, another client has its own, and one ended
    # makes room for the next.
    await client.subscribe("0", {"kinds": [300]})
    await other.subscribe("s", {"kinds": [1]})
    await client.send("CLOSE", "1")
    await client.subscribe("next", {"kinds": [301]})
    await client.quiet()
    # The relay is asked for all of them, in as few subscriptions as it takes.
    filters = [wanted for each in relay.open_subs().values() for wanted in each]
    kinds = {kind for wanted in filters for kind in wanted["kinds"]}
    assert kinds >= {*range(1, SUBSCRIPTIONS), 300, 301}
    assert len(relay.open_subs()) < 50


async def test_messages_per_second(endpoint: Endpoint) -> None:
    """Past the limit the answer is `rate-limited:`; the connection stays."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client, other = await endpoint.client(), await endpoint.client()
    request = json.dumps(["REQ", "s", {"ids": []}])
    author, refusals = Author(), client.of("CLOSED", "s")
    accepted: list[str] = []
    refused: list[str] = []
    sent = 0
    while not (refusals and refused) and sent < 6 * MESSAGES:
        notes = author.notes(100, prefix=f"{sent}")
        for note in notes:
            for text in [request] * 49 + [json.dumps(["EVENT", note])]:
                await client.send_text(text)
                sent += 1
        await client.total(sent, 20)
        for note in notes:
            (ok,) = client.of("OK", note["id"])
            (accepted if ok.parts[2] else refused).append(note["id"])
            assert ok.parts[2] or ok.parts[3].startswith("rate-limited: ")
    assert refused and refusals, "never limited"
    assert sent > MESSAGES, "limited too early"
    assert all(refusal.parts[2].startswith("rate-limited: ") for refusal in refusals)
    assert sorted(ids(relay.published())) == sorted(accepted)
    assert client.is_open
    assert (await other.publish(Author().sign())).parts[2] is True
    # It recovers with time.
    for _ in range(200):
        if (await client.publish(Author().sign())).parts[2] is True:
            break
        await client.inbox.changes_within(0.1)
    else:
        raise AssertionError("still limited after twenty seconds")


async def test_clients_in_all(endpoint: Endpoint) -> None:
    files = endpoint.open_files()
    gate = asyncio.Semaphore(50)

    async def admit() -> WireClient:
        async with gate:
            return await endpoint.client()

    clients = await asyncio.gather(*(admit() for _ in range(CLIENTS)))
    for client in (clients[0], clients[-1]):
        await client.fence(20)
    refused = await endpoint.client()
    assert (await refused.notice()).startswith(PAST)
    assert (await refused.ended())[0] == 1013
    # One leaves, one more may come.
    await clients[0].close()

    async def admitted() -> bool:
        client = await endpoint.client()
        await client.send("REQ", "s", {"ids": []})
        await client.until(lambda: client.messages, "an answer")
        return client.messages[0].verb == "EOSE"

    for _ in range(50):
        if await admitted():
            break
    else:
        raise AssertionError("no room after one has left")
    await asyncio.gather(*(client.vanish() for client in clients[1:]))
    await endpoint.until_open_files(files + 60, 30)


async def test_a_client_that_does_not_read_is_cut_off(endpoint: Endpoint) -> None:
    """Rule 5.1: 1013, and nobody else is slowed down."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    quick = await endpoint.client()
    await quick.subscribe("s", {"kinds": [1]})
    async with connect(
        endpoint.public_url,
        compression=None,
        ping_interval=None,
        max_size=None,
        max_queue=1,
        proxy=None,
    ) as slow:
        await slow.send(json.dumps(["REQ", "s", {"kinds": [1, 2]}]))
        upstream = await relay.req(2)
        memory = endpoint.memory()
        author = Author()
        sent: list[str] = []
        while upstream.sub in relay.open_subs() and len(sent) < 4_000:
            notes = [author.sign(f"{len(sent)} {n} " + "x" * 16_000) for n in range(20)]
            sent += ids(notes)
            await relay.line.live(*notes)
            await quick.count("s", len(sent))
        await relay.close_of(upstream.sub)
        assert sorted(ids(quick.events("s"))) == sorted(sent)
        assert endpoint.memory() < memory + (100 << 20)
        with pytest.raises(ConnectionClosed):
            while True:
                await slow.recv()
        assert slow.close_code == 1013
    assert quick.is_open
