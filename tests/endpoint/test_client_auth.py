"""NIP-42 by clients: the owner's list for the public endpoint, and NIP-70 by it."""

from typing import Any

import pytest

from support.document import NOSTR, get
from support.endpoint import Endpoint
from support.events import Author, Event
from support.scripted_relay import ScriptedRelay
from support.strangers import nostr_sdk, nostr_tools
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio


async def challenge(client: WireClient) -> str:
    """Wait for it."""
    await client.until(lambda: "AUTH" in verbs(client), "AUTH")
    found = next(message for message in client.messages if message.verb == "AUTH")
    return str(found.parts[1])


def verbs(client: WireClient) -> list[str]:
    return [message.verb for message in client.messages]


def proof(author: Author, url: str, text: str) -> Event:
    return author.sign(kind=22242, tags=[["relay", url], ["challenge", text]])


async def sign_in(client: WireClient, author: Author, url: str | None = None) -> Any:
    """What the client is answered."""
    event = proof(author, url or client.url, await challenge(client))
    await client.send("AUTH", event)
    return (await client.ok(event["id"])).parts[2:]


async def auth_required(url: str) -> bool:
    document = (await get(url, **NOSTR)).json()
    assert set(document["supported_nips"]) >= {42, 70}
    return bool(document["limitation"]["auth_required"])


async def test_a_list_of_who_may_come(endpoint: Endpoint) -> None:
    relay, member, other = ScriptedRelay(), Author(), Author()
    await endpoint.use(relay)
    early = await endpoint.client()
    await early.subscribe("s", {"kinds": [1]})
    assert await auth_required(endpoint.public_url) is False
    await endpoint.configure(public_allowed=[member.npub])
    config = (await endpoint.http.get(f"{endpoint.base}/config")).json()
    assert config["public_allowed"] == [member.pubkey]
    assert await auth_required(endpoint.public_url) is True
    assert await auth_required(endpoint.private_url) is False

    # Who was there already is asked too.
    assert (await early.closed("s")).parts[2].startswith("auth-required: ")
    client = await endpoint.client()
    await challenge(client)
    await client.send("REQ", "s", {"kinds": [1]})
    assert (await client.closed("s")).parts[2].startswith("auth-required: ")
    note = Author().sign()
    reply = await client.publish(note)
    assert reply.parts[2] is False and reply.parts[3].startswith("auth-required: ")
    assert await sign_in(client, other) == [True, ""]
    reply = await client.publish(note)
    assert reply.parts[2] is False and reply.parts[3].startswith("restricted: ")
    assert await sign_in(client, member) == [True, ""]
    await client.subscribe("s", {"kinds": [1]})
    last = Author().sign()
    assert (await client.publish(last)).parts[2] is True

    # What comes in one breath with the AUTH is served.
    hasty = await endpoint.client()
    await hasty.send("AUTH", proof(member, hasty.url, await challenge(hasty)))
    await hasty.subscribe("s", {"kinds": [1]})
    assert hasty.of("CLOSED", "s") == []

    private = await endpoint.client(endpoint.private_url)
    assert (await private.publish(note)).parts[2] is True
    assert verbs(private) == ["OK"]
    assert relay.published() == [last, note]

    await endpoint.configure(public_allowed=[])
    anyone = await endpoint.client()
    await anyone.subscribe("s", {"kinds": [1]})
    assert verbs(anyone) == ["EOSE"]


async def test_a_list_that_is_none(endpoint: Endpoint) -> None:
    """It must not become an empty one, which is everybody."""
    key = Author().pubkey
    await endpoint.configure(public_allowed=[key])
    for wrong in ([""], ["nsec1"], [key, "x"], [key] * 1_001, "text", {"a": key}, [None]):
        url, body = f"{endpoint.base}/config", {"public_allowed": wrong}
        response = await endpoint.http.put(url, json=body)
        assert response.status_code in (400, 422), wrong
    config = (await endpoint.http.get(f"{endpoint.base}/config")).json()
    assert config["public_allowed"] == [key]


async def test_the_address_is_the_servers_name(endpoint: Endpoint) -> None:
    """A client's Host header is its own word; the owner's address is not."""
    member = Author()
    address = "wss://nostr.example/ln"
    await endpoint.configure(address=address, public_allowed=[member.pubkey])
    client = await endpoint.client()
    accepted, reason = await sign_in(client, member)
    assert accepted is False and reason.startswith("invalid: ")
    assert await sign_in(client, member, f"{address}/nostrclient/api/v1/relay") == [
        True,
        "",
    ]


async def test_protected_events(endpoint: Endpoint) -> None:
    relay, author = ScriptedRelay(), Author()
    await endpoint.use(relay)
    own, of_another = author.sign(tags=[["-"]]), Author().sign(tags=[["-"]])
    for url in (endpoint.public_url, endpoint.private_url):
        client = await endpoint.client(url)
        reply = await client.publish(of_another)
        assert reply.parts[2] is False and reply.parts[3].startswith("auth-required: ")
        assert verbs(client) == ["AUTH", "OK"]
        assert await sign_in(client, author) == [True, ""]
        assert (await client.publish(own)).parts[2] is True
        reply = await client.publish(of_another)
        assert reply.parts[2] is False and reply.parts[3].startswith("restricted: ")
    assert relay.published() == [own, own]


async def test_strangers_sign_in(endpoint: Endpoint, node: str) -> None:
    member, url = Author(), endpoint.public_url
    await endpoint.use(ScriptedRelay())  # which takes protected events
    await endpoint.honest()
    await endpoint.configure(public_allowed=[member.pubkey])
    for result in (
        await nostr_sdk("sign-in", url, member.private_key),
        await nostr_tools(node, "sign-in", url, member.private_key),
    ):
        assert result["reasons"] == [None, None]
        assert result["found"] >= 1
    result = await nostr_sdk("sign-in", url, Author().private_key)
    assert len(result["reasons"]) == 2
    assert all(reason.startswith("restricted: ") for reason in result["reasons"])
    assert result["found"] == 0
