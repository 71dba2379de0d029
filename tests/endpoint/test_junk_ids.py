"""Ten thousand ids on the private endpoint that are none: refused, and nothing of them
is left."""

import asyncio
import base64
import os
import random
from urllib.parse import quote

import pytest

from support.endpoint import Endpoint, private_id
from support.wire_client import refused

pytestmark = pytest.mark.asyncio

IDS = 10_000
AT_ONCE = 10


def junk(secret: str, chance: random.Random) -> str:
    """Short, long, other bytes, other texts, other servers', damaged."""
    true = private_id(secret, urlsafe=chance.random() < 0.5)
    cut = chance.randrange(1, len(true) - 1)
    salted = b"Salted__" + chance.randbytes(8 + 16 * chance.randrange(4))
    made = [
        chance.randbytes(chance.randrange(1, 200)).hex(),
        quote(chance.randbytes(chance.randrange(1, 100)), safe=""),
        base64.b64encode(salted).decode(),
        true[:cut],
        true[:cut] + chance.choice("xyz0+-_") + true[cut:],
        private_id(secret, chance.choice(["relay ", "Relay", "relays", "1", "\0"])),
        private_id("another server's key"),
        "A" * chance.randrange(1, 6_000),
    ]
    return chance.choice(made)


async def knock(endpoint: Endpoint, id_: str) -> bytes:
    """The first line of what the server answers to a handshake there."""
    server = endpoint.lnbits
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(
        f"GET /nostrclient/api/v1/{id_} HTTP/1.1\r\nHost: {server.host}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    line = await reader.readline()
    writer.close()
    return line


async def knock_often(endpoint: Endpoint, number: int, seed: int) -> None:
    chance = random.Random(seed)
    todo = iter([junk(endpoint.secret, chance) for _ in range(number)])

    async def knock_on() -> None:
        for id_ in todo:
            line = await knock(endpoint, id_)
            assert line.startswith(b"HTTP/1.1 403 "), (line, id_)

    await asyncio.gather(*(knock_on() for _ in range(AT_ONCE)))


async def test_they_are_refused_and_forgotten(endpoint: Endpoint) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    client = await endpoint.client(endpoint.private_url)
    await client.fence()
    await knock_often(endpoint, IDS // 20, seed)  # what is made once is made now
    files, threads = endpoint.open_files(), endpoint.threads()
    memory = endpoint.memory()
    await knock_often(endpoint, IDS, seed + 1)
    await endpoint.until_open_files(files + 5)
    assert endpoint.threads() <= threads
    assert endpoint.memory() < memory + (20 << 20)
    await client.fence()
    assert await refused(endpoint.private_url) == 101
    log = endpoint.lnbits.log()
    assert "Traceback" not in log
    assert "U2FsdGVkX1" not in log  # how a true id begins
