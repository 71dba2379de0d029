"""Rules 1.1, 3.1, 5.4: what clients get wrong, the answer, and that they stay."""

import json
from typing import Any

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, forged_author, forged_content, forged_signature
from support.scripted_relay import ScriptedRelay, refused
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio


async def still_served(client: WireClient, relay: ScriptedRelay) -> None:
    """The connection works on, and nothing but this reached the relay."""
    note = Author().sign("fence")
    assert (await client.publish(note)).parts[2] is True
    assert relay.published() == [note]
    assert relay.reqs() == []
    assert client.is_open


def broken_events() -> dict[str, Event]:
    """Events with one mistake each, under a readable id."""
    author = Author()
    good = author.sign("good", tags=[["t", "x"]])

    def sealed(**fields: Any) -> Event:
        """A mistake that the id and signature are right for."""
        return author.seal({**author.sign(), **fields})

    def without(name: str) -> Event:
        return {key: value for key, value in good.items() if key != name}

    broken = {
        "wrong signature": forged_signature(good),
        "wrong content": forged_content(good),
        "wrong author": forged_author(good),
        "upper-case pubkey": sealed(pubkey=author.pubkey.upper()),
        "upper-case signature": {**good, "sig": good["sig"].upper()},
        "short signature": {**good, "sig": good["sig"][:-2]},
        "long signature": {**good, "sig": good["sig"] + "00"},
        "signature not hex": {**good, "sig": "x" * 128},
        "short pubkey": sealed(pubkey=author.pubkey[:-2]),
        "pubkey off the curve": sealed(pubkey="f" * 64),
        "time as text": sealed(created_at="1700000000"),
        "time as fraction": sealed(created_at=1700000000.5),
        "time negative": sealed(created_at=-1),
        "time beyond 64 bit": sealed(created_at=2**64),
        "kind as text": sealed(kind="1"),
        "kind negative": sealed(kind=-1),
        "kind beyond 16 bit": sealed(kind=65_536),
        "kind as fraction": sealed(kind=1.5),
        "tags as object": sealed(tags={}),
        "tags flat": sealed(tags=["t", "x"]),
        "tag with number": sealed(tags=[["t", 1]]),
        "tag with list": sealed(tags=[["t", ["x"]]]),
        "tag null": sealed(tags=[None]),
        "content number": sealed(content=5),
        "content null": sealed(content=None),
        "content object": sealed(content={}),
    }
    for name in ("pubkey", "created_at", "kind", "tags", "content", "sig"):
        broken[f"no {name}"] = without(name)
        broken[f"{name} null"] = {**good, name: None}
    return broken


BROKEN_EVENTS = broken_events()

UNREADABLE_EVENTS = [
    '["EVENT"]',
    '["EVENT", null]',
    '["EVENT", 1]',
    '["EVENT", "text"]',
    '["EVENT", []]',
    '["EVENT", {}]',
    '["EVENT", {"id": 5}]',
    '["EVENT", {"id": "abc", "kind": 1}]',
    json.dumps(["EVENT", {**Author().sign(), "id": "x" * 64}]),
    json.dumps(["EVENT", {**Author().sign(), "id": "é" * 64}]),
    json.dumps(["EVENT", {**Author().sign(), "id": "a" * 63}]),
    json.dumps(["EVENT", {**Author().sign(), "id": None}]),
]

NO_MESSAGES = [
    "",
    " ",
    "hello",
    "[",
    "[]",
    "{}",
    "null",
    "0",
    '"EVENT"',
    "[[]]",
    "[null]",
    "[1, 2]",
    '["EVENT", {]',
    '["REQ" "s", {}]',
    '["REQ", "s", {}',
    '["REQ", "s", {}] trailing',
    "['REQ', 's', {}]",
    '["UNKNOWN", "s", {}]',
    '["event", {}]',
    '["", "s"]',
    '["NEG-OPEN"]',
    '["NOTICE", "hello"]',
    '["EOSE", "s"]',
    '["OK", "x", true, ""]',
    '["CLOSED", "s", ""]',
    '["REQ", "s", {"kinds": [NaN]}]',
    '["UNKNOWN", "\\ud800"]',
    "\x00",
    "[" * 100_000,
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 50_000,
    '["REQ", "s", ' + "[" * 50_000 + "]" * 50_000 + "]",
    "x" * 200_000,
]


@pytest.mark.parametrize("mistake", BROKEN_EVENTS)
async def test_broken_events_are_refused(endpoint: Endpoint, mistake: str) -> None:
    relay, event = ScriptedRelay(), BROKEN_EVENTS[mistake]
    await endpoint.use(relay)
    client = await endpoint.client()
    reply = await client.publish(event, seconds=2)
    assert reply.parts[:3] == ["OK", event["id"], False]
    assert reply.parts[3].startswith("invalid: ")
    assert len(client.messages) == 1
    await still_served(client, relay)


async def test_events_without_a_readable_id_get_a_notice(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    for number, text in enumerate(UNREADABLE_EVENTS, start=1):
        await client.send_text(text)
        await client.notices_come(number)
    assert all(notice.startswith("invalid: ") for notice in client.notices())
    assert len(client.messages) == len(UNREADABLE_EVENTS)
    await still_served(client, relay)


async def test_an_upper_case_id_is_refused(endpoint: Endpoint) -> None:
    relay, note = ScriptedRelay(), Author().sign()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send("EVENT", {**note, "id": note["id"].upper()})
    await client.until(lambda: client.messages, "an answer")
    assert client.messages[0].parts[0] in ("OK", "NOTICE")
    assert client.messages[0].parts[-1].startswith("invalid: ")
    assert client.messages[0].parts[2:3] in ([], [False])
    del client.messages[:]
    await still_served(client, relay)


@pytest.mark.parametrize("text", NO_MESSAGES, ids=lambda text: repr(text[:20]))
async def test_what_is_no_message_gets_a_notice(endpoint: Endpoint, text: str) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send_text(text)
    await client.until(lambda: client.messages, "an answer")
    await client.fence()
    (message,) = client.messages
    if text.startswith('["REQ", "s"'):
        # The subscription's id can be read: its owner learns that it is over.
        assert message.verb in ("CLOSED", "NOTICE")
    else:
        assert message.verb == "NOTICE"
    assert message.parts[-1].startswith("invalid: ")
    await still_served(client, relay)


async def test_binary_frames_get_a_notice(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    frames = [b"", b"\x00\xff", json.dumps(["REQ", "s", {}]).encode()]
    for number, data in enumerate(frames, start=1):
        await client.socket.send(data)
        await client.notices_come(number)
    assert all(notice.startswith("invalid: ") for notice in client.notices())
    await still_served(client, relay)


async def test_text_that_is_not_utf8_ends_only_that_connection(
    endpoint: Endpoint,
) -> None:
    """RFC 6455 8.1 asks for close code 1007; the WebSocket library sees to it."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client, other = await endpoint.client(), await endpoint.client()
    client.socket.transport.write(b"\x81\x82\x00\x00\x00\x00\xff\xfe")
    assert (await client.ended())[0] == 1007
    await still_served(other, relay)


@pytest.mark.parametrize("name", ["", "x" * 65, "é" * 65])
async def test_subscription_ids_have_1_to_64_characters(
    endpoint: Endpoint, name: str
) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send("REQ", name, {"kinds": [1]})
    closed = await client.closed(name)
    assert closed.parts[2].startswith("invalid: ")
    await client.fence()
    assert len(client.messages) == 1
    await still_served(client, relay)


@pytest.mark.parametrize("name", [None, 1, True, [], {}, ["s"]], ids=repr)
async def test_subscription_ids_are_text(endpoint: Endpoint, name: Any) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send_text(json.dumps(["REQ", name, {"kinds": [1]}]))
    assert (await client.notice()).startswith("invalid: ")
    await client.fence()
    assert len(client.messages) == 1
    await still_served(client, relay)


BROKEN_FILTERS: list[Any] = [
    None,
    1,
    "kinds",
    [],
    [{}],
    {"kinds": 1},
    {"kinds": ["1"]},
    {"kinds": [-1]},
    {"kinds": [65_536]},
    {"kinds": [1.5]},
    {"kinds": None},
    {"ids": "f" * 64},
    {"ids": ["f" * 63]},
    {"ids": ["f" * 65]},
    {"ids": ["F" * 64]},
    {"ids": ["x" * 64]},
    {"ids": [1]},
    {"authors": ["abcd"]},
    {"authors": ["A" * 64]},
    {"authors": {}},
    {"authors": [None]},
    {"since": "yesterday"},
    {"since": -1},
    {"since": 1.5},
    {"until": [1]},
    {"until": 2**64},
    {"limit": -1},
    {"limit": "10"},
    {"limit": None},
    {"#e": "f" * 64},
    {"#e": [1]},
    {"#p": [None]},
    {"#t": {}},
    {"search": 1},
    {"unknown": 1},
    {"#": ["x"]},
    {"#tt": ["x"]},
    {"#1": ["x"]},
    {"#é": ["x"]},
    {"kind": [1]},
]


@pytest.mark.parametrize("broken", BROKEN_FILTERS, ids=json.dumps)
async def test_broken_filters_close_the_subscription(
    endpoint: Endpoint, broken: Any
) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    for number, filters in enumerate(([broken], [{"kinds": [1]}, broken])):
        await client.send("REQ", f"s{number}", *filters)
        closed = await client.closed(f"s{number}")
        assert closed.parts[2].startswith("invalid: ")
    await client.fence()
    assert len(client.messages) == 2
    await still_served(client, relay)


async def test_a_subscription_needs_a_filter(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send("REQ", "s")
    assert (await client.closed("s")).parts[2].startswith("invalid: ")
    await client.send_text('["REQ"]')
    assert (await client.notice()).startswith("invalid: ")
    await still_served(client, relay)


async def test_what_is_not_offered_says_so(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_count=refused("unsupported: it does not count"))
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send("COUNT", "c", {"kinds": [1]})
    closed = await client.closed("c")
    assert closed.parts[2].startswith("unsupported: ")
    event = Author().sign(kind=22242, tags=[["challenge", "x"], ["relay", "ws://x"]])
    await client.send("AUTH", event)
    reply = await client.ok(event["id"])
    assert reply.parts[2] is False
    assert reply.parts[3].startswith("restricted: "), "nobody has asked it"
    await client.send("NEG-OPEN", "n", {}, "61")
    await client.send("NEG-CLOSE", "n")
    await client.total(3)
    assert client.messages[2].parts[:2] == ["NEG-ERR", "n"]
    await still_served(client, relay)
