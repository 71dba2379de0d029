"""RFC 6455 as a stranger may bend it: the right close code, or an answer as if nothing
were, and nobody else notices."""

import asyncio
import time

import pytest

from support.endpoint import Endpoint
from support.raw_client import (
    BEGINS,
    BINARY,
    CLOSE,
    COMPRESSED,
    ENDS,
    GOES_ON,
    PING,
    PONG,
    TEXT,
    RawClient,
    frame,
    head,
    said,
)
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

PROTOCOL, NOT_UTF8, POLICY, TOO_BIG = 1002, 1007, 1008, 1009  # close codes
BY_SOCKET = pytest.mark.parametrize("either", ["by its socket"], indirect=True)
"""For what the web server, where it has the sockets, does in its own way."""

ASKED = said("REQ", "a", {"ids": []})
EURO = "€".encode()

REFUSED = {
    "unmasked": (frame(TEXT, b"[]", mask=b""), PROTOCOL),
    "unmasked ping": (frame(PING, b"", mask=b""), PROTOCOL),
    "first reserved bit": (frame(TEXT | COMPRESSED, b"[]"), PROTOCOL),
    "second reserved bit": (frame(TEXT | 0x20, b"[]"), PROTOCOL),
    "third reserved bit": (frame(PING | 0x10, b"[]"), PROTOCOL),
    "reserved data opcode": (frame(0x83, b"[]"), PROTOCOL),
    "reserved control opcode": (frame(0x8B, b"[]"), PROTOCOL),
    "parted ping": (frame(0x09, b"p"), PROTOCOL),
    "long ping": (frame(PING, b"p" * 126), PROTOCOL),
    "continues nothing": (frame(ENDS, b"[]"), PROTOCOL),
    "begins twice": (frame(BEGINS, b"[") + frame(TEXT, b"]"), PROTOCOL),
    "not UTF-8": (frame(TEXT, b"\xff\xfe"), NOT_UTF8),
    "half a character": (frame(TEXT, EURO[:2]), NOT_UTF8),
    "not UTF-8, parted": (frame(BEGINS, EURO[:1]) + frame(ENDS, b"x"), NOT_UTF8),
    "length past all": (head(TEXT, (1 << 63) - 1) + b"x", TOO_BIG),
    "close of one byte": (frame(CLOSE, b"x"), PROTOCOL),
    "close not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), NOT_UTF8),
    "close without a code": (frame(CLOSE, b"\x03\xed"), PROTOCOL),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_gone_on_with(endpoint: Endpoint, what: str) -> None:
    data, code = REFUSED[what]
    other = await endpoint.client()
    async with await RawClient.open(endpoint.public_url, ASKED) as client:
        await client.accepted()
        assert await client.message() == ["EOSE", "a"]
        client.send(data)
        assert await client.close_code() == code
        await client.ended()
    await other.fence()


async def test_a_huge_ping(endpoint: Endpoint) -> None:
    """It is two things at once, and only its header is sent."""
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.send(head(PING, 1 << 40))
        assert await client.close_code() in (PROTOCOL, TOO_BIG)


async def test_a_message_in_many_parts(endpoint: Endpoint) -> None:
    """Control frames between them, a character in two of them, empty ones too."""
    text = '["REQ","€",{"ids":[]}]'.encode()
    cut = text.index(EURO) + 1
    parts = (
        frame(BEGINS, text[:cut])
        + frame(PING, b"between")
        + frame(GOES_ON)
        + frame(PONG)
        + b"".join(frame(GOES_ON, bytes([byte])) for byte in text[cut:-1])
        + frame(ENDS, text[-1:])
    )
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.send(parts)
        assert await client.frame() == (PONG, b"between")
        assert await client.message() == ["EOSE", "€"]


async def test_a_close_in_mid_message(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.send(said("REQ", "s", {"kinds": [1]}))
        assert (await client.message())[0] == "EOSE"
        client.send(frame(BEGINS, b'["REQ"') + frame(CLOSE, b"\x0f\xa0bye"))
        # uvicorn's library finds that something is missing.
        assert await client.close_code() in (4_000, PROTOCOL)
        await relay.until(lambda: not relay.open_subs(), "the end of its subscription")


async def test_what_comes_after_a_close(endpoint: Endpoint) -> None:
    """It is not read as anything, however much it is."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    files = endpoint.open_files()
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        after = said("REQ", "s", {"kinds": [1]}) + frame(TEXT, b"x" * 60_000) * 20
        client.send(frame(CLOSE, b"\x03\xe8") + after)
        other = await endpoint.client()
        await other.fence()
        await other.close()
        await endpoint.until_open_files(files + 5)
    assert relay.reqs() == []


async def test_a_half_closed_line(endpoint: Endpoint) -> None:
    """Whoever says no more is gone, and so is what it has asked for."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.send(said("REQ", "s", {"kinds": [1]}))
        assert (await client.message())[0] == "EOSE"
        client.writer.write_eof()
        await client.ended()
        await relay.until(lambda: not relay.open_subs(), "the end of its subscription")


async def test_one_that_takes_its_time(endpoint: Endpoint) -> None:
    """A byte now and then, many of them: nobody waits for them."""
    await endpoint.use(ScriptedRelay())
    clients = [await RawClient.open(endpoint.public_url) for _ in range(50)]
    try:
        for client in clients:
            await client.accepted()
        other = await endpoint.client()
        for byte in ASKED:
            for client in clients:
                client.send(bytes([byte]))
            began = time.monotonic()
            await other.fence()
            assert time.monotonic() - began < 3
            await asyncio.sleep(0.02)
        for client in clients:
            assert await client.message() == ["EOSE", "a"]
    finally:
        for client in clients:
            client.abort()


@BY_SOCKET
async def test_empty_frames_without_end(endpoint: Endpoint) -> None:
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.send(frame(BEGINS) + frame(GOES_ON) * 5_000)
        assert await client.close_code() == POLICY


async def test_thousands_of_pings(endpoint: Endpoint) -> None:
    """By somebody who reads the answers, and by one who does not."""
    pings = b"".join(frame(PING, b"%d" % number) for number in range(5_000))
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.send(pings + ASKED)
        # Of pings that wait, the newest has to be answered (RFC 6455, 5.5.3).
        newest = -1
        while (found := await client.frame())[0] == PONG:
            assert int(found[1]) > newest
            newest = int(found[1])
        assert found == (TEXT, b'["EOSE","a"]')
        while newest < 4_999:
            newest = int((await client.frame())[1])
    memory = endpoint.memory()
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        client.stop_reading()
        for _ in range(50):
            try:
                await asyncio.wait_for(client.send_on(pings * 10), 0.5)
            except asyncio.TimeoutError:
                break
        other = await endpoint.client()
        await other.fence(30)
    assert endpoint.memory() < memory + (64 << 20)


@BY_SOCKET
async def test_too_long_ones_in_parts(endpoint: Endpoint) -> None:
    """Dropped as they come, with what is between their parts answered."""
    part = b"x" * 100_000
    async with await RawClient.open(endpoint.public_url) as client:
        await client.accepted()
        memory = endpoint.memory()
        for first in (TEXT, BINARY):
            begins = frame(first & 0x7F, part)
            rest = (frame(GOES_ON, part) + frame(PING, b"p")) * 20 + frame(ENDS)
            client.send(begins + rest + ASKED)
            for _ in range(20):
                assert await client.frame() == (PONG, b"p")
            assert {(await client.message())[0] for _ in range(2)} == {"NOTICE", "EOSE"}
        assert endpoint.memory() < memory + (16 << 20)
