"""Rule 5.2: as many clients as there are descriptors for. LNbits works beside them."""

import asyncio
from pathlib import Path

import httpx
import pytest

from scripts.lnbits_server import LNbits
from support.copied import copy_of
from support.endpoint import Endpoint
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

FILES = 1_024
"""What `ulimit -n` says on many machines."""
KEPT = 256
"""For LNbits, its database and the relays."""
TRY_AGAIN_LATER = 1013  # close code


async def _ask(endpoint: Endpoint, number: int) -> int:
    """LNbits itself or the extension, over a connection of its own."""
    path = ("/api/v1/health", "/nostrclient/api/v1/relays", "/api/v1/wallets")[number % 3]
    async with httpx.AsyncClient(headers=endpoint.http.headers, timeout=30) as client:
        return (await client.get(f"{endpoint.root}{path}")).status_code


async def _come(endpoint: Endpoint, number: int) -> list[WireClient]:
    gate = asyncio.Semaphore(50)

    async def one() -> WireClient:
        async with gate:
            return await endpoint.client()

    return await asyncio.gather(*(one() for _ in range(number)))


@pytest.mark.parametrize("websockets", ["auto", "websockets-sansio"])
async def test_few_descriptors(lnbits: LNbits, tmp_path: Path, websockets: str) -> None:
    copy = copy_of(lnbits, tmp_path / "data", websockets=websockets, files=FILES)
    try:
        copy.start()
        endpoint = Endpoint(copy)
        await endpoint.reset()
        clients = await _come(endpoint, FILES - KEPT)
        await asyncio.gather(*(client.fence(30) for client in clients))
        for _ in range(2):
            for refused in await _come(endpoint, 40):
                assert (await refused.notice(30)).startswith("rate-limited: ")
                assert (await refused.ended(30))[0] == TRY_AGAIN_LATER
            answers = await asyncio.gather(*(_ask(endpoint, n) for n in range(20)))
            assert answers == [200] * 20
        await clients.pop().close()
        (client,) = await _come(endpoint, 1)
        await client.fence(30)
        assert "Traceback" not in copy.log()
        await endpoint.close()
    finally:
        await asyncio.to_thread(copy.stop)
        copy.http.close()
