"""Rule 4.6: this server itself is no relay, by whatever name; another server of this
extension is one, and nothing goes round between two that list each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from scripts.lnbits_server import LNbits
from support.endpoint import Endpoint, cleared
from support.events import Author
from support.forwarder import Forwarder
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

IDLE_CLIENTS = 5
QUIET_SECONDS = 3.0
QUIET_BYTES = 500  # in that time: pings and their answers, of both


@pytest_asyncio.fixture
async def other(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoint]:
    """Another LNbits with this extension."""
    with LNbits(tmp_path_factory.mktemp("other") / "data") as server:
        async with cleared(server) as endpoint:
            yield endpoint


def named(endpoint: Endpoint, name: str) -> str:
    return endpoint.public_url.replace("127.0.0.1", name)


def by(name: Forwarder) -> str:
    return f"ws://127.0.0.1:{name.port}/nostrclient/api/v1/relay"


async def idle(endpoint: Endpoint) -> list[WireClient]:
    clients = [await endpoint.client() for _ in range(IDLE_CLIENTS)]
    for number, client in enumerate(clients):
        await client.subscribe("idle", {"kinds": [1], "#t": [f"nobody {number}"]})
    return clients


async def numbers(endpoint: Endpoint) -> dict[str, float]:
    """Those for Prometheus that are of the whole server."""
    text = (await endpoint.http.get(f"{endpoint.base}/metrics")).text
    lines = (line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    return {line[0]: float(line[1]) for line in lines if len(line) == 2}


async def test_its_own_names_are_refused_at_once(endpoint: Endpoint) -> None:
    await endpoint.configure(address="wss://own.example/lnbits")
    for url in (
        endpoint.public_url,
        f"{endpoint.public_url}/",
        endpoint.private_url,
        named(endpoint, "localhost"),
        "wss://own.example/lnbits/nostrclient/api/v1/relay",
    ):
        response = await endpoint.add(url)
        assert response.status_code == 400, url
        assert response.json()["code"] == "itself"
        assert "is this server itself, and no relay." in response.json()["detail"]
    assert await endpoint.relays() == []
    # LNbits may have a relay of another extension beside us.
    assert (await endpoint.add(f"{endpoint.lnbits.ws_url}/nostrrelay/r")).is_success


@pytest.mark.parametrize("drops", [None, "user-agent"])
async def test_any_other_name_is_recognised(
    endpoint: Endpoint, drops: str | None
) -> None:
    async with Forwarder(endpoint.lnbits.port, drops) as name:
        assert (await endpoint.add(by(name))).status_code == 200
        relay = await endpoint.until_relay(by(name), state="waiting", itself=True)
        assert relay["connected_string"] == "this server itself"
        assert relay["status"]["error_codes"] == ["itself"]
        assert relay["status"]["error_list"] == ["it is this server itself, and no relay"]
        assert relay["next_attempt"] > relay["disconnected_since"] + 500
        await idle(endpoint)
        passed = name.bytes
        await asyncio.sleep(QUIET_SECONDS)
        assert (name.web_sockets, name.bytes) == (1, passed)


@pytest.mark.parametrize(
    "url", ["wss://wss://relay.example", "wss://wss//relay.example", "wss://wss"]
)
async def test_an_url_with_two_beginnings_is_refused(
    endpoint: Endpoint, url: str
) -> None:
    response = await endpoint.add(url)
    assert response.status_code == 400
    assert response.json()["code"] == "not_a_url"
    assert await endpoint.relays() == []


async def test_two_that_list_each_other(endpoint: Endpoint, other: Endpoint) -> None:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(Forwarder(other.lnbits.port))
        back = await stack.enter_async_context(Forwarder(endpoint.lnbits.port))
        await endpoint.add(by(there))
        await other.add(by(back))
        await endpoint.until_relay(by(there), connected=True)
        await other.until_relay(by(back), connected=True)
        here, elsewhere = await idle(endpoint), await idle(other)
        await asyncio.sleep(QUIET_SECONDS)
        passed = there.bytes + back.bytes
        await asyncio.sleep(QUIET_SECONDS)
        assert there.bytes + back.bytes - passed < QUIET_BYTES
        for server in (endpoint, other):
            # The clients' own and those that the other asks for them.
            subscriptions = (await numbers(server))["nostrclient_subscriptions"]
            assert subscriptions == 2 * IDLE_CLIENTS
        # Each is a relay to the other all the same.
        author = Author()
        listens = await elsewhere[0].subscribe("listens", {"authors": [author.pubkey]})
        assert listens.verb == "EOSE"
        event = author.sign(content="hello")
        told = await here[0].publish(event)
        assert told.parts[2] is True, told
        assert [one["id"] for one in await elsewhere[0].count("listens", 1)] == [
            event["id"]
        ]
        # With a relay behind it, it takes what nobody there waits for.
        await other.honest()
        told = await here[0].publish(author.sign(content="kept"))
        assert told.parts[2] is True, told
        passed = there.bytes + back.bytes
        await asyncio.sleep(QUIET_SECONDS)
        assert there.bytes + back.bytes - passed < QUIET_BYTES
