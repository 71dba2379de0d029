"""A thousand clients come, subscribe and vanish, and nothing of them is left."""

import asyncio
import contextlib

import pytest

from support.endpoint import Endpoint
from support.events import Author
from support.scripted_relay import ScriptedRelay, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

CLIENTS = 1_000


async def crowd(endpoint: Endpoint, relay: ScriptedRelay, first: int) -> None:
    """They come, subscribe and vanish, half of them without a close frame."""
    gate = asyncio.Semaphore(50)

    async def arrive(number: int) -> WireClient:
        async with gate:
            client = await WireClient(endpoint.public_url).open()
        await client.subscribe("s", {"kinds": [1], "since": first + number})
        return client

    clients = await asyncio.gather(*(arrive(number) for number in range(CLIENTS)))
    assert len(relay.open_subs()) < 50, "the relay is asked in as few as it takes"
    await asyncio.gather(
        *(
            client.vanish() if number % 2 else client.close()
            for number, client in enumerate(clients)
        )
    )
    await relay.until(lambda: not relay.open_subs(), "CLOSE for every REQ", 30)


async def test_nothing_is_left_of_them(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    witness = await endpoint.client()
    await witness.fence()
    files = endpoint.open_files()  # and a few that LNbits keeps, its database's
    await crowd(endpoint, relay, first=0)
    await endpoint.until_open_files(files + 5)
    threads, memory = endpoint.threads(), endpoint.memory()
    await crowd(endpoint, relay, first=CLIENTS)
    subs = [upstream.sub for upstream in relay.reqs()]
    assert len(subs) == len(set(subs))
    assert sorted(relay.closes()) == sorted(subs)
    await endpoint.until_open_files(files + 5)
    assert endpoint.threads() <= threads
    assert endpoint.memory() < memory + (50 << 20)
    assert len(relay.connected_at) == 1
    await witness.subscribe("s", {"kinds": [1]})
    await relay.line.live(note := Author().sign())
    assert await witness.count("s", 1) == [note]


async def test_in_every_phase(endpoint: Endpoint) -> None:
    """Before the handshake ends, before EOSE, with answers under way, in mid-message."""
    relay = ScriptedRelay(on_req=silent, on_event=silent)
    await endpoint.use(relay)
    witness = await endpoint.client()
    host, port = endpoint.lnbits.host, endpoint.lnbits.port
    path = endpoint.public_url.split(f":{port}", 1)[1]

    async def in_the_handshake(bytes_sent: int) -> None:
        _, writer = await asyncio.open_connection(host, port)
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        writer.write(request.encode()[:bytes_sent])
        await writer.drain()
        writer.transport.abort()

    async def in_mid_message() -> None:
        client = await WireClient(endpoint.public_url).open()
        await client.send("REQ", "s", {"kinds": [1]})
        client.socket.transport.write(b"\x81\xfe\x10\x00\x00\x00\x00\x00half of it")
        await client.vanish()

    async def with_answers_under_way() -> None:
        client = await WireClient(endpoint.public_url).open()
        author = Author()
        for number in range(20):
            await client.send("REQ", f"s{number}", {"kinds": [number]})
            # No kind that would come to wait in the outbox when the test is over.
            await client.send("EVENT", author.sign(f"{number}", kind=20_001))
        await client.vanish()

    async def at_once() -> None:
        client = await WireClient(endpoint.public_url).open()
        await client.vanish()

    async def all_of_them() -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                *(in_the_handshake(sent) for sent in (0, 10, 100, 10_000) * 10),
                *(in_mid_message() for _ in range(20)),
                *(with_answers_under_way() for _ in range(20)),
                *(at_once() for _ in range(50)),
            )

    await witness.fence()
    files, threads = endpoint.open_files(), endpoint.threads()
    for _ in range(2):
        await all_of_them()
        await witness.fence()
        await relay.until(lambda: not relay.open_subs(), "the end of every REQ", 20)
        await endpoint.until_open_files(files + 5)
    assert endpoint.threads() <= threads
    assert sorted(relay.closes()) == sorted(req.sub for req in relay.reqs())
    assert "Traceback" not in endpoint.lnbits.log()
