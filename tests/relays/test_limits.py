"""Rule 4.3: what relays' documents (NIP-11) say of their limits reaches the core, if it
makes sense, and nothing waits for it."""

import json
from typing import Any

import pytest

from support.endpoint import Endpoint
from support.events import Author
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay, reply

pytestmark = pytest.mark.asyncio

NOTHING: dict[str, Any] = {
    "max_subscriptions": None,
    "max_filters": None,
    "max_message_length": None,
    "max_limit": None,
    "counts": None,
    "searches": None,
}
SAID = {
    "max_subscriptions": 20,
    "max_filters": 10,
    "max_message_length": 65_536,
    "max_limit": 500,
}


def document(nips: Any = None, **limits: Any) -> bytes:
    return json.dumps({"supported_nips": nips, "limitation": limits}).encode()


async def test_what_documents_say_is_kept(endpoint: Endpoint) -> None:
    counting, silent = ScriptedRelay(), ScriptedRelay()
    counting.document = document([1, 45, 50], **SAID)
    said = {**SAID, "counts": True, "searches": True}
    silent.document = document([1, 11], max_filters=3)
    await endpoint.use(counting, silent)
    await endpoint.until_relay(counting.url, limits=said)
    kept = {**NOTHING, "max_filters": 3, "counts": False, "searches": False}
    await endpoint.until_relay(silent.url, limits=kept)
    # Removed and added again: the core has forgotten it, what it said is known.
    await endpoint.remove(counting.url)
    await endpoint.add(counting.url)
    await endpoint.until_relay(counting.url, limits=said)
    assert counting.asked == 1


@pytest.mark.parametrize("lie", [0, -1, 1e30, "20", True, None, [20], 2**70], ids=str)
async def test_lies_are_as_good_as_nothing(endpoint: Endpoint, lie: Any) -> None:
    relay = ScriptedRelay()
    # The last one is true, so that there is something to wait for.
    limits = dict.fromkeys(SAID, lie) | {"max_filters": 7}
    relay.document = document("all of them", **limits)
    await endpoint.use(relay)
    await endpoint.until_relay(relay.url, limits={**NOTHING, "max_filters": 7})


async def test_documents_that_are_none_hold_nothing_up(endpoint: Endpoint) -> None:
    relays = [ScriptedRelay() for _ in range(5)]
    relays[0].document = b"<html>hello</html>"
    relays[1].document = b'{"limitation": {"max_filters": 1}, "name": "' + b"x" * 200_000
    relays[2].document = reply(302, Location="http://127.0.0.1:9/")
    relays[3].document = b"[" * 100_000
    await endpoint.use(*relays)
    await eventually(lambda: all(relay.asked for relay in relays), 10, "all are asked")
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    assert (await client.publish(Author().sign())).parts[2] is True
    for relay in await endpoint.relays():
        assert relay["limits"] == NOTHING and relay["status"]["error_list"] == []


async def test_a_relay_that_failed_is_asked_when_it_connects_again(
    endpoint: Endpoint,
) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    await relay.until(lambda: relay.asked == 1, "the first question")
    relay.document = document([45])
    relay.line.drop()
    known = {**NOTHING, "counts": True, "searches": False}
    await endpoint.until_relay(relay.url, limits=known)


async def test_a_relay_that_comes_back_with_less_room_is_not_overrun(
    endpoint: Endpoint,
) -> None:
    """Until its document was read again, what it said before counts as far as it is
    less than what any relay takes."""
    relay = ScriptedRelay()
    relay.document = document(max_subscriptions=200)
    await endpoint.use(relay)
    await endpoint.until_relay(relay.url, limits={**NOTHING, "max_subscriptions": 200})
    client = await endpoint.client()
    for number in range(48):
        await client.send("REQ", f"{number}", {"kinds": [number], "limit": 0})
    await eventually(lambda: len(relay.open_subs()) == 48, 10, "each has its own")
    relay.document = document(max_subscriptions=15)
    asked = relay.asked
    relay.line.drop()
    await relay.connections(2)
    most = 0

    def is_read_again() -> bool:
        nonlocal most
        most = max(most, len(relay.open_subs()))
        return relay.asked > asked

    await eventually(is_read_again, 15, "the document is read again")
    assert 0 < most <= 20
    await endpoint.until_relay(relay.url, limits={**NOTHING, "max_subscriptions": 15})
    await eventually(lambda: len(relay.open_subs()) <= 15, 10, "it is kept to")
    live = Author().sign(kind=47)
    await relay.line.live(live)
    assert await client.count("47", 1) == [live]
