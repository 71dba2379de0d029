"""The page's live data: a WebSocket that anybody may open, and what little it gives."""

import asyncio
import zlib
from contextlib import AsyncExitStack

import pytest

from support.endpoint import Endpoint
from support.live_page import LivePage, new_ticket
from support.raw_client import (
    BEGINS,
    BINARY,
    COMPRESSED,
    ENDS,
    GOES_ON,
    OFFER,
    TEXT,
    RawClient,
    frame,
    head,
)

pytestmark = pytest.mark.asyncio

WITHOUT = 4
"""So many may wait to show a ticket."""
MOST = 1 << 10
PROTOCOL, POLICY, TOO_BIG = 1002, 1008, 1009  # close codes


def live_url(endpoint: Endpoint) -> str:
    return f"{endpoint.ws_base}/live"


async def test_few_without_a_ticket(endpoint: Endpoint) -> None:
    """The oldest make room."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(3 * WITHOUT):
            client = await RawClient.open(live_url(endpoint))
            clients.append(await stack.enter_async_context(client))
            await client.accepted()
        first = [asyncio.create_task(client.close_code()) for client in clients]
        gone, stay = first[:-WITHOUT], first[-WITHOUT:]
        assert await asyncio.gather(*gone) == [POLICY] * len(gone)
        assert not any(task.done() for task in stay), "these have some seconds"
        async with LivePage(endpoint) as page:
            await page.until(lambda now: "state" in now, "first look")
        assert await asyncio.gather(*stay) == [POLICY] * WITHOUT, "and then no more"


@pytest.mark.parametrize("with_ticket", [False, True])
async def test_long_messages(endpoint: Endpoint, with_ticket: bool) -> None:
    """Only a header of them is sent: nobody waits for the rest."""
    too_long = head(TEXT, MOST + 1)
    parted = frame(BEGINS, b"x" * MOST) + frame(GOES_ON, b"x") + frame(ENDS)
    huge = head(BINARY, 1 << 40)
    for bad in (too_long, parted, huge):
        async with await RawClient.open(live_url(endpoint)) as client:
            await client.accepted()
            if with_ticket:
                client.send(frame(TEXT, (await new_ticket(endpoint)).encode()))
                assert "state" in await client.text()
            client.send(bad)
            assert await client.close_code() == TOO_BIG


async def test_the_longest_is_read(endpoint: Endpoint) -> None:
    async with await RawClient.open(live_url(endpoint)) as client:
        await client.accepted()
        client.send(frame(TEXT, b"x" * MOST))
        assert await client.close_code() == POLICY


async def test_compressed_ones(endpoint: Endpoint) -> None:
    """15 MiB in 15 KB: nothing is inflated."""
    async with await RawClient.open(live_url(endpoint), offer=OFFER) as client:
        assert "deflate" not in await client.accepted()
        client.send(frame(TEXT | COMPRESSED, zlib.compress(b"x" * (15 << 20))[2:-4]))
        assert await client.close_code() in (PROTOCOL, TOO_BIG)
