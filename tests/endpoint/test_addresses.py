"""The addresses that LNbits' owner wants nobody from: at the endpoints as over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.endpoint import Endpoint
from support.events import Author
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

STRANGE, OTHER = "127.0.0.2", "127.0.0.3"

Setting = Callable[..., Awaitable[None]]


async def _set(endpoint: Endpoint, **settings: list[str]) -> None:
    url = f"{endpoint.root}/admin/api/v1/settings"
    answer = await endpoint.http.patch(url, json=settings)
    assert answer.status_code == 200, answer.text


@pytest_asyncio.fixture
async def set_addresses(endpoint: Endpoint) -> AsyncIterator[Setting]:
    """As the owner of LNbits does it on LNbits' own page."""

    async def set_addresses(blocked: list[str], allowed: list[str]) -> None:
        await _set(endpoint, lnbits_blocked_ips=blocked, lnbits_allowed_ips=allowed)

    yield set_addresses
    await set_addresses([], [])


async def statuses(endpoint: Endpoint, address: str) -> set[int]:
    """What somebody from there gets, over HTTP and at each WebSocket."""
    source = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(transport=source) as client:
        answer = await client.get(f"{endpoint.root}/api/v1/health")
    found = {answer.status_code}
    for url in (endpoint.public_url, endpoint.private_url, f"{endpoint.ws_base}/live"):
        try:
            async with connect(url, local_addr=(address, 0), proxy=None):
                found.add(200)
        except InvalidStatus as error:
            found.add(error.response.status_code)
    return found


async def test_blocked_ones(endpoint: Endpoint, set_addresses: Setting) -> None:
    assert await statuses(endpoint, STRANGE) == {200}
    await set_addresses([STRANGE], [])
    assert await statuses(endpoint, STRANGE) == {403}
    assert await statuses(endpoint, OTHER) == {200}
    await set_addresses([STRANGE, OTHER], [STRANGE])
    assert await statuses(endpoint, STRANGE) == {200}
    assert await statuses(endpoint, OTHER) == {403}
    await set_addresses([], [OTHER])
    assert await statuses(endpoint, STRANGE) == {200}, "as LNbits has it over HTTP"


async def test_who_is_connected_stays(endpoint: Endpoint, set_addresses: Setting) -> None:
    relay, note = ScriptedRelay(), Author().sign()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    await set_addresses([STRANGE], [])
    await relay.line.live(note)
    assert await client.count("s", 1) == [note]
