"""The scripted relay and the wire client do what the other tests take for granted."""

import json

import pytest
from nostr_sdk import Event as SdkEvent

from support.events import (
    Author,
    event_id,
    forged_author,
    forged_content,
    forged_signature,
)
from support.scripted_relay import Filter, Line, ScriptedRelay, answer, stored
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio


async def test_events_are_what_the_sdk_takes_for_true_and_forgeries_are_not() -> None:
    event = Author().sign('tabs\t, "quotes" and \U0001f980', tags=[["t", "é"]])
    assert SdkEvent.from_json(json.dumps(event)).verify()
    for forgery in (forged_signature(event), forged_content(event)):
        assert forgery["id"] == event["id"]
        assert not SdkEvent.from_json(json.dumps(forgery)).verify()
    stranger = forged_author(event)
    assert stranger["id"] == event_id(stranger) != event["id"]
    assert not SdkEvent.from_json(json.dumps(stranger)).verify()


async def test_it_answers_by_script_and_remembers() -> None:
    note = Author().sign("one")
    relay = ScriptedRelay(on_req=stored(note), on_event=answer(False, "blocked: no"))
    async with relay, WireClient(relay.url) as client:
        await client.subscribe("s", {"kinds": [1]})
        assert client.events("s") == [note]
        assert (await client.publish(note)).parts == [
            "OK",
            note["id"],
            False,
            "blocked: no",
        ]
        assert [req.filters for req in relay.reqs()] == [[{"kinds": [1]}]]
        assert relay.open_subs() == {"s": [{"kinds": [1]}]}
        await client.send("CLOSE", "s")
        await relay.until(lambda: relay.closes() == ["s"], "CLOSE")
        assert relay.open_subs() == {}
        assert relay.published() == [note]


async def test_it_drops_in_mid_message_and_comes_up_on_the_same_port() -> None:
    async with ScriptedRelay() as relay:
        client = await WireClient(relay.url).open()
        (await relay.connected()).drop_in_mid_message("NOTICE", "x" * 1000)
        assert (await client.ended())[0] == 1006
        assert client.messages == []
        await client.close()
        await relay.stop()
        url = relay.url
        await relay.start()
        assert relay.url == url
        async with WireClient(url):
            await relay.connections(2)


async def test_a_script_that_fails_fails_the_test() -> None:
    async def broken(line: Line, sub: str, filters: list[Filter]) -> None:
        raise RuntimeError("a mistake in a test")

    relay = ScriptedRelay(on_req=broken)
    await relay.start()
    async with WireClient(relay.url) as client:
        await client.send("REQ", "s", {})
        await relay.req()
    with pytest.raises(AssertionError, match="script failed"):
        await relay.stop()
