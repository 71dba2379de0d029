"""Rule 5.3: what the endpoints say to who comes without a WebSocket (NIP-11)."""

import asyncio
import json
import time

import pytest

from support.document import NOSTR, get
from support.endpoint import Endpoint, private_id
from support.events import Author
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio


async def test_the_document(endpoint: Endpoint) -> None:
    for url in (endpoint.public_url, endpoint.private_url):
        for address in (url, f"{url}/"):
            response = await get(address, **NOSTR, Origin="https://client.example")
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/nostr+json"
            for name in ("origin", "headers", "methods"):
                assert response.headers[f"access-control-allow-{name}"]
            document = response.json()
            assert document["name"] and document["software"] and document["version"]
            assert set(document["supported_nips"]) >= {1, 11}
            assert document["limitation"]["auth_required"] is False


@pytest.mark.parametrize(
    ("accept", "is_asked_for"),
    [
        ("APPLICATION/NOSTR+JSON", True),
        ("Application/Nostr+Json; charset=utf-8", True),
        ("text/html, application/nostr+json;q=0.9, */*;q=0.1", True),
        ("application/nostr+json-seq", False),
        ("text/html;for=application/nostr+json", False),
        ("*/*", False),
        ("", False),
    ],
)
async def test_it_is_asked_for_in_any_spelling(
    endpoint: Endpoint, accept: str, is_asked_for: bool
) -> None:
    response = await get(endpoint.public_url, Accept=accept)
    assert response.status_code == 200
    is_document = response.headers["content-type"] == "application/nostr+json"
    assert is_document is is_asked_for


async def test_its_limits_are_true(endpoint: Endpoint) -> None:
    await endpoint.use(ScriptedRelay())
    limits = (await get(endpoint.public_url, **NOSTR)).json()["limitation"]
    client = await endpoint.client()
    filters = [{"kinds": [1]}] * limits["max_filters"]
    await client.subscribe("s", *filters)
    await client.send("REQ", "t", *filters, {})
    await client.closed("t")
    longest = "i" * limits["max_subid_length"]
    await client.subscribe(longest, {"kinds": [1]})
    await client.send("REQ", f"{longest}i", {})
    await client.closed(f"{longest}i")
    await client.send("EVENT", Author().sign(content="x" * limits["max_message_length"]))
    assert (await client.notice()).startswith("restricted: message longer than")
    fits = limits["max_message_length"] - len(json.dumps(["EVENT", Author().sign()]))
    note = Author().sign(content="x" * (fits - 100))
    assert (await client.publish(note)).parts[2] is True


async def test_it_says_what_its_relays_do(endpoint: Endpoint) -> None:
    """Counting and searching take one of them, deleting all."""

    async def nips() -> set[int]:
        return set((await get(endpoint.public_url, **NOSTR)).json()["supported_nips"])

    async def until(expected: set[int]) -> None:
        deadline = time.monotonic() + 10
        while (found := await nips() & {9, 45, 50, 77}) != expected:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)

    counting, other = ScriptedRelay(), ScriptedRelay()
    counting.document = b'{"supported_nips": [1, 9, 45, 50, 77]}'
    other.document = b'{"supported_nips": [1, 9]}'
    assert not await nips() & {9, 45, 50, 77}
    await endpoint.use(counting)
    await until({9, 45, 50})
    await endpoint.use(other)
    await until({9, 45, 50})
    await counting.stop()
    await endpoint.until_relay(counting.url, connected=False)
    assert not await nips() & {45, 50}


async def test_people_get_a_sentence(endpoint: Endpoint) -> None:
    for url in (endpoint.public_url, endpoint.private_url):
        response = await get(url, Accept="text/html")
        assert response.status_code == 200
        assert response.text.startswith("This is a Nostr relay.")


async def test_closed_endpoints_and_other_paths_are_not_there(endpoint: Endpoint) -> None:
    secret = private_id(endpoint.secret)
    await endpoint.configure(private_ws=False, public_ws=False)
    for path in ("relay", secret, "nothing", "a/b/c", "x" * 3_000):
        for headers in ({}, NOSTR):
            response = await get(f"{endpoint.ws_base}/{path}", **headers)
            assert response.status_code == 404, path
    # Another route's path, with a slash too many, still leads there.
    response = await endpoint.http.get(f"{endpoint.base}/relays/", follow_redirects=True)
    assert response.status_code == 200 and response.json() == []
    await endpoint.configure(private_ws=True)
    response = await get(f"{endpoint.ws_base}/{secret}", **NOSTR)
    assert response.status_code == 200
    assert secret not in endpoint.lnbits.log(), "who reads the log may not come in"
