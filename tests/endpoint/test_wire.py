"""Rules 1.1 to 1.3 and 5.4: how messages are spelled, and in which words refused."""

import json

import pytest

from support.endpoint import Endpoint
from support.events import Author
from support.scripted_relay import ScriptedRelay, answer, refused

pytestmark = pytest.mark.asyncio

FIELDS = ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"]


async def test_a_list_of_an_events_fields_is_no_event(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    event = Author().sign()
    as_list = [event[name] for name in FIELDS]
    await client.send_text(json.dumps(["EVENT", as_list]))
    assert await client.notice() == "invalid: not a Nostr event: it must be a JSON object"
    await client.send("REQ", "s", [[event["id"]]])
    assert (await client.closed("s")).parts[2].startswith("invalid: a filter must be")
    # Nor is one that a relay sends.
    await client.subscribe("t", {"kinds": [event["kind"]]})
    await relay.line.send("EVENT", relay.reqs()[-1].sub, as_list)
    await relay.line.live(event)
    await client.count("t", 1)
    assert relay.published() == []


async def test_an_id_in_capitals_has_its_answer(endpoint: Endpoint) -> None:
    await endpoint.use(ScriptedRelay())
    client = await endpoint.client()
    event = Author().sign()
    capitals = event["id"].upper()
    reply = await client.publish({**event, "id": capitals})
    why = "invalid: id must be 64 lowercase hex characters"
    assert reply.parts == ["OK", capitals, False, why]
    assert client.notices() == []


async def test_wrong_fields_are_named_in_plain_words(endpoint: Endpoint) -> None:
    client = await endpoint.client()
    event = Author().sign()
    for name, value, wanted in [
        ("created_at", "now", "created_at must be a whole number from 0 to"),
        ("kind", 1.5, "kind must be a whole number from 0 to 65535"),
        ("tags", {}, "tags must be a list of lists of strings"),
        ("content", None, "content must be a string"),
        ("sig", 5, "sig must be a string"),
    ]:
        reply = await client.publish({**event, name: value})
        assert reply.parts[3].startswith(f"invalid: not a Nostr event: {wanted}")


async def test_what_stands_around_a_message_does_no_harm(endpoint: Endpoint) -> None:
    """A byte order mark before it, something more behind its last part."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    first, second, third = (Author().sign(f"{number}") for number in range(3))
    await client.send_text("\ufeff" + json.dumps(["EVENT", first]))
    await client.send("EVENT", second, {"more": 1})
    for event in (first, second):
        assert (await client.ok(event["id"])).parts[2] is True
    await client.subscribe("s", {"kinds": [1]})
    sub = relay.reqs()[-1].sub
    for more, event in (({"seen": 1}, first), ("more", second)):
        text = json.dumps(["EVENT", sub, event, more], separators=(",", ":"))
        await relay.line.send_text(text)
    text = json.dumps(["EVENT", sub, third], separators=(",", ":"))
    await relay.line.send_text("\ufeff" + text)
    await client.count("s", 3)


async def test_a_refusal_without_a_prefix_gets_one(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_event=answer(False, "go away"), on_req=refused("not you"))
    await endpoint.use(relay)
    client = await endpoint.client()
    assert (await client.publish(Author().sign())).parts[2:] == [False, "error: go away"]
    await client.send("REQ", "s", {"kinds": [1]})
    assert (await client.closed("s")).parts[2] == "error: not you"
    relay.on_event = answer(True, "thank you")
    assert (await client.publish(Author().sign("b"))).parts[2:] == [True, "thank you"]
