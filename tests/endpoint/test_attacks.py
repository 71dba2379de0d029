"""What a stranger may send or leave unread costs LNbits no memory and no time."""

import asyncio
import secrets
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, ids
from support.raw_client import (
    BINARY,
    COMPRESSED,
    OFFER,
    PONG,
    TEXT,
    RawClient,
    frame,
    head,
    said,
)
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

MIB = 1 << 20
PROTOCOL, TRY_AGAIN_LATER = 1002, 1013  # close codes
NOTICED = 0.5
"""Seconds between two looks at how much memory there is, at most."""


@asynccontextmanager
async def at_most(endpoint: Endpoint, bound: int) -> AsyncIterator[None]:
    """The process takes no more bytes than so many beside those that it has now."""
    before, most = endpoint.memory(), 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, endpoint.memory())
            await asyncio.sleep(NOTICED / 10)

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
    most = max(most, endpoint.memory())
    assert most - before <= bound, f"{(most - before) / MIB:.0f} MiB more"


async def slowest(endpoint: Endpoint, meanwhile: "asyncio.Future[Any]") -> float:
    """Asks LNbits again and again until that is done. Seconds of the longest answer."""
    longest = 0.0
    while not meanwhile.done():
        began = time.monotonic()
        answer = await endpoint.http.get(f"{endpoint.root}/api/v1/health")
        assert answer.status_code == 200
        longest = max(longest, time.monotonic() - began)
    return longest


async def test_much_in_a_little(endpoint: Endpoint) -> None:
    """15 MiB deflated into 15 KB, from clients that have offered to compress."""
    bomb = frame(TEXT | COMPRESSED, zlib.compress(b"x" * (15 * MIB))[2:-4])

    async def throw() -> int | None:
        async with await RawClient.open(endpoint.public_url, offer=OFFER) as client:
            assert "deflate" not in await client.accepted()
            client.send(bomb)
            return await client.close_code()

    async with at_most(endpoint, 32 * MIB):
        codes = await asyncio.gather(*(throw() for _ in range(20)))
    assert codes == [PROTOCOL] * 20


async def test_who_sends_and_does_not_read(endpoint: Endpoint) -> None:
    """A binary frame, and then as much as the line takes."""
    much = frame(TEXT, b"x" * (400 << 10)) * 4 + frame(BINARY, b"x") * 1_000
    async with at_most(endpoint, 64 * MIB), AsyncExitStack() as stack:
        for _ in range(4):
            client = await RawClient.open(endpoint.public_url, offer=OFFER)
            await stack.enter_async_context(client)
            await client.accepted()
            client.stop_reading()
            client.send(frame(BINARY, b"x"))
            for _ in range(40):
                try:
                    await asyncio.wait_for(client.send_on(much), 1)
                except (asyncio.TimeoutError, ConnectionError):
                    break  # it is read no further, or is gone
        quick = await endpoint.client()
        await quick.fence()


async def test_slow_readers(endpoint: Endpoint) -> None:
    """48 of them, with so much for each that nobody has to be cut off yet (rule 5.1)."""
    relay, author = ScriptedRelay(), Author()
    await endpoint.use(relay)
    quick = await endpoint.client()
    await quick.subscribe("s", {"kinds": [1]})
    notes = [author.sign(f"{n} " + secrets.token_hex(100_000)) for n in range(24)]
    async with at_most(endpoint, 96 * MIB), AsyncExitStack() as stack:
        for _ in range(48):
            first = said("REQ", "s", {"kinds": [1]})
            client = await RawClient.open(endpoint.public_url, first, OFFER)
            await stack.enter_async_context(client)
            await client.accepted()
            assert (await client.message())[0] == "EOSE"
            client.stop_reading()
        for note in notes:
            await relay.line.live(note)
        found = await quick.count("s", len(notes), 30)
    assert sorted(ids(found)) == sorted(ids(notes))


async def test_much_for_many_who_would_compress(endpoint: Endpoint) -> None:
    """1.6 MB for each of 100 clients. LNbits answers in a small part of the time that it
    would take to deflate all that."""
    clients, messages = 100, 4
    await endpoint.use(ScriptedRelay())
    author = await endpoint.client()
    notes = [Author().sign(secrets.token_hex(200_000)) for _ in range(messages)]
    began = time.monotonic()
    zlib.compress(notes[0]["content"].encode())
    to_deflate = (time.monotonic() - began) * messages * clients
    async with AsyncExitStack() as stack:
        crowd = []
        for _ in range(clients):
            first = said("REQ", "s", {"kinds": [1], "limit": 0})
            client = await RawClient.open(endpoint.public_url, first, OFFER)
            crowd.append(await stack.enter_async_context(client))
            await client.accepted()
            assert (await client.message())[0] == "EOSE"

        async def given(client: RawClient) -> list[Event]:
            return [(await client.message())[2] for _ in notes]

        async def publish() -> list[list[Event]]:
            for note in notes:
                assert (await author.publish(note, 30)).parts[2] is True
            return await asyncio.gather(*map(given, crowd))

        publishing = asyncio.ensure_future(publish())
        longest = await slowest(endpoint, publishing)
        for found in await publishing:
            assert sorted(ids(found)) == sorted(ids(notes))
    assert longest < to_deflate / 4, f"{longest:.2f} s of {to_deflate:.2f} s"


@pytest.mark.parametrize("either", ["by its socket"], indirect=True)
async def test_floods_of_what_needs_no_answer(endpoint: Endpoint) -> None:
    """More of them than there are threads: nobody else waits for their turn. Where the
    web server has the sockets, it is the web server that reads all that."""
    await endpoint.use(ScriptedRelay())
    pongs = frame(PONG) * 50_000
    other = await endpoint.client()

    async def flood(client: RawClient) -> None:
        while True:
            await client.send_on(pongs)

    async with AsyncExitStack() as stack:
        floods = []
        for _ in range(6):
            client = await RawClient.open(endpoint.public_url)
            await stack.enter_async_context(client)
            await client.accepted()
            floods.append(asyncio.create_task(flood(client)))
        for number in range(20):
            note = Author().sign(f"{number}")
            assert (await other.publish(note, 10)).parts[2] is True
        for task in floods:
            task.cancel()


@pytest.mark.parametrize("either", ["by its socket"], indirect=True)
async def test_messages_that_are_begun_and_not_ended(endpoint: Endpoint) -> None:
    """480 KiB from each of 600 clients, who then wait. What is short is heard still."""
    begun = head(TEXT, 500 << 10) + bytes(480 << 10)
    other = await endpoint.client()
    async with at_most(endpoint, 160 * MIB), AsyncExitStack() as stack:
        clients = []
        for _ in range(600):
            client = await RawClient.open(endpoint.public_url)
            await stack.enter_async_context(client)
            await client.accepted()
            client.send(begun)
            clients.append(client)
        await other.fence(20)
        assert await clients[-1].close_code() == TRY_AGAIN_LATER
        await other.fence(20)
