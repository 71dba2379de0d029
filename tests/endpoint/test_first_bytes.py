"""What a client sends before its handshake is answered, or in the smallest pieces, is not
lost."""

import asyncio
import json

import pytest

from support.endpoint import Endpoint
from support.events import Author
from support.raw_client import (
    BEGINS,
    ENDS,
    PING,
    PONG,
    TEXT,
    RawClient,
    frame,
    handshake,
    said,
)
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

ASKED = said("REQ", "a", {"ids": []})
BEGUN, ENDED = frame(BEGINS, b'["REQ","b"'), frame(ENDS, b',{"ids":[]}]')


async def test_frames_right_after_the_handshake(endpoint: Endpoint) -> None:
    first = ASKED + BEGUN + ENDED
    async with await RawClient.open(endpoint.public_url, first) as client:
        await client.accepted()
        answers = [await client.message() for _ in range(2)]
    assert sorted(answers) == [["EOSE", "a"], ["EOSE", "b"]]


@pytest.mark.parametrize("either", ["by its socket"], indirect=True)
async def test_a_ping_among_them(endpoint: Endpoint) -> None:
    """The web server itself may answer one before it has answered the handshake."""
    first = ASKED + BEGUN + frame(PING, b"p") + ENDED
    async with await RawClient.open(endpoint.public_url, first) as client:
        await client.accepted()
        # The answer to a ping passes by the router, which answers the others.
        found = sorted([await client.frame() for _ in range(3)])
    assert found[2] == (PONG, b"p")
    assert {tuple(json.loads(text)) for _, text in found[:2]} == {
        ("EOSE", "a"),
        ("EOSE", "b"),
    }


async def test_much_right_after_the_handshake(endpoint: Endpoint) -> None:
    """More than any server reads before it answers, and all of it counts."""
    relay, notes = ScriptedRelay(), Author().notes(400, prefix="x" * 2_000)
    await endpoint.use(relay)
    first = b"".join(said("EVENT", note) for note in notes)
    async with await RawClient.open(endpoint.public_url, first) as client:
        await client.accepted()
        oks = [await client.message() for _ in notes]
    assert all(ok[2] for ok in oks)
    assert sorted(ok[1] for ok in oks) == sorted(note["id"] for note in notes)


@pytest.mark.parametrize("cut", [1, 2, 5, 6, 7, len(ASKED) - 1])
async def test_half_a_frame_right_after_the_handshake(
    endpoint: Endpoint, cut: int
) -> None:
    async with await RawClient.open(endpoint.public_url, ASKED[:cut]) as client:
        await client.accepted()
        client.send(ASKED[cut:])
        assert await client.message() == ["EOSE", "a"]


async def test_one_byte_at_a_time(endpoint: Endpoint) -> None:
    """The handshake too, and each in a segment of its own."""
    client = await RawClient.connect(endpoint.public_url)
    note = Author().sign("é" * 20)
    text = json.dumps(["EVENT", note], ensure_ascii=False).encode()
    async with client:
        for bytes_sent in (handshake(endpoint.public_url), ASKED, frame(TEXT, text)):
            for byte in bytes_sent:
                await client.send_on(bytes([byte]))
                await asyncio.sleep(0)
            await client.until_read()
        await client.accepted()
        assert await client.message() == ["EOSE", "a"]
        assert await client.message() == [
            "OK",
            note["id"],
            False,
            "error: no relay configured",
        ]
