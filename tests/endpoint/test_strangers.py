"""Clients that others wrote: nostr_sdk and, in Node, nostr-tools."""

import json

import pytest

from support.endpoint import Endpoint
from support.scripted_relay import ScriptedRelay, silent
from support.strangers import nostr_sdk, nostr_tools

pytestmark = pytest.mark.asyncio


async def test_nostr_sdk(endpoint: Endpoint) -> None:
    for _ in range(2):
        await endpoint.honest()
    result = await nostr_sdk("publish-and-subscribe", endpoint.public_url)
    assert result["failed"] == 0
    assert sorted(result["seen"]) == sorted(result["sent"])
    assert sorted(result["stored"]) == sorted(result["sent"])
    assert len(result["one"]) == 1


async def test_nostr_sdk_is_told_why(endpoint: Endpoint) -> None:
    result = await nostr_sdk("refusal", endpoint.private_url)
    assert result["success"] == 0
    assert ["no relay configured" in reason for reason in result["failed"]] == [True]


async def test_nostr_tools_publishes_and_subscribes(
    endpoint: Endpoint, node: str
) -> None:
    for _ in range(2):
        await endpoint.honest()
    for url in (endpoint.public_url, endpoint.private_url):
        result = await nostr_tools(node, "round-trip", url)
        seen = [event["id"] for event in result["seen"]]
        assert seen == [result["sent"]["id"]]
        assert result["eoses"] == 1
        assert result["milliseconds"] < 1_500


async def test_nostr_tools_looks_up_the_newest(endpoint: Endpoint, node: str) -> None:
    for _ in range(2):
        await endpoint.honest()
    result = await nostr_tools(node, "look-up", endpoint.public_url)
    assert json.loads(result["found"]["content"]) == {"name": "new"}
    assert result["by_id"]["id"] == result["found"]["id"]
    assert result["missing"] is None
    assert result["milliseconds"] < 1_500


async def test_nostr_tools_is_told_why(endpoint: Endpoint, node: str) -> None:
    await endpoint.honest()
    result = await nostr_tools(node, "refusal", endpoint.public_url)
    assert result["reason"].startswith("invalid: expired")


async def test_nostr_tools_closes(endpoint: Endpoint, node: str) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    result = await nostr_tools(node, "closing", endpoint.public_url)
    assert len(result["reasons"]) == 5
    assert result["found"] == 0
    await relay.until(lambda: len(relay.closes()) >= 6, "CLOSE of every REQ")
    assert len(relay.reqs()) == 6
    assert relay.open_subs() == {}


@pytest.mark.parametrize("kind", ["socket", "browser"])
async def test_nostr_tools_pings(endpoint: Endpoint, node: str, kind: str) -> None:
    """By a WebSocket ping where the socket has it, by a REQ in browsers."""
    result = await nostr_tools(node, f"ping-{kind}", endpoint.public_url)
    assert result["alive"] is True
    assert max(result["milliseconds"]) < 500

    relay = ScriptedRelay(on_req=silent)
    await endpoint.use(relay)
    result = await nostr_tools(node, f"ping-{kind}", endpoint.public_url)
    assert result["alive"] is True
    assert max(result["milliseconds"]) < 500
    assert relay.inbox.items == []
