"""A client of which the test writes every byte, the handshake's too.

client = await RawClient.open(endpoint.public_url, first=frame(0x81, b"[]"))
await client.accepted()
assert await client.text() == "..."
"""

import asyncio
import base64
import json
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from .inbox import eventually

FINAL, TEXT, BINARY = 0x80, 0x81, 0x82
BEGINS, GOES_ON, ENDS = 0x01, 0x00, 0x80
"""First bytes of a text's frames, where it has several."""
CLOSE, PING, PONG = 0x88, 0x89, 0x8A
COMPRESSED = 0x40
"""Of a first byte: RSV1, which permessage-deflate uses."""
OFFER = "permessage-deflate; client_max_window_bits"
SECONDS = 20.0


def frame(first: int, payload: bytes = b"", mask: bytes = b"\1\2\3\4") -> bytes:
    """A frame as a client sends it; without a mask if that is empty."""
    return head(first, len(payload), mask) + masked(payload, mask)


def head(first: int, length: int, mask: bytes = b"\1\2\3\4") -> bytes:
    """Its header, which may lie about the length."""
    bit = 0x80 if mask else 0
    if length < 126:
        size = bytes([bit | length])
    elif length < 1 << 16:
        size = bytes([bit | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([bit | 127]) + length.to_bytes(8, "big")
    return bytes([first]) + size + mask


def masked(payload: bytes, mask: bytes) -> bytes:
    if not mask or not payload:
        return payload
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    found = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return found.to_bytes(length, "big")


def said(*parts: Any) -> bytes:
    """A message in a frame."""
    return frame(TEXT, json.dumps(parts).encode())


def handshake(url: str, offer: str | None = None) -> bytes:
    """The request for a WebSocket."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    if offer is not None:
        lines.append(f"Sec-WebSocket-Extensions: {offer}")
    return "\r\n".join([*lines, "\r\n"]).encode()


class RawClient:
    """Use it in an `async with`, or end it with `abort`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, url: str) -> "RawClient":
        """Nothing is sent yet."""
        parts = urlsplit(url)
        # A small limit: what the test does not read stays in the socket.
        line = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 16)
        return cls(*line)

    @classmethod
    async def open(
        cls, url: str, first: bytes = b"", offer: str | None = None
    ) -> "RawClient":
        """Sends the handshake, and these bytes before it is answered. Not at once:
        uvicorn drops what it reads together with a handshake, as no client may send
        anything then (RFC 6455, 4.1)."""
        client = await cls.connect(url)
        client.writer.write(handshake(url, offer))
        if first:
            await client.until_read()
            client.writer.write(first)
        return client

    async def until_read(self) -> None:
        """Wait until the server, which is on this machine, has read all that was sent."""
        await self.writer.drain()
        ports = [
            f":{self.writer.get_extra_info(name)[1]:04X}"
            for name in ("peername", "sockname")
        ]

        def is_read() -> bool:
            lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
            theirs = [
                line
                for line in map(str.split, lines)
                if [line[1][8:], line[2][8:]] == ports
            ]
            return all(line[4].endswith(":00000000") for line in theirs)

        await eventually(is_read, SECONDS, "all is read")

    async def accepted(self) -> str:
        """The answer's headers."""
        answer = (await self._read(self.reader.readuntil(b"\r\n\r\n"))).decode()
        assert answer.startswith("HTTP/1.1 101 "), answer
        return answer

    async def refused(self) -> int:
        """The status it is refused with."""
        answer = (await self._read(self.reader.readuntil(b"\r\n\r\n"))).decode()
        found = re.match(r"HTTP/1\.1 (\d+) ", answer)
        assert found, answer
        return int(found[1])

    def send(self, data: bytes) -> None:
        """Without waiting for room."""
        self.writer.write(data)

    async def send_on(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next one: its first byte, and what it carries."""
        first, second = await self._read(self.reader.readexactly(2))
        assert second < 0x80, "a server masks nothing"
        length = second
        if second > 125:
            size = await self._read(self.reader.readexactly(2 if second == 126 else 8))
            length = int.from_bytes(size, "big")
        return first, await self._read(self.reader.readexactly(length))

    async def text(self) -> str:
        """The next frame has to be one."""
        first, payload = await self.frame()
        assert first == TEXT, (first, payload)
        return payload.decode()

    async def message(self) -> list[Any]:
        """As `text`, and JSON."""
        found: list[Any] = json.loads(await self.text())
        return found

    async def close_code(self) -> int | None:
        """Of the close frame, whatever comes before it. None: the line ends without."""
        try:
            while True:
                first, payload = await self.frame()
                if first == CLOSE:
                    return int.from_bytes(payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def ended(self) -> None:
        """Wait until nothing more can come."""
        try:
            while await self._read(self.reader.read(1 << 16)):
                pass
        except ConnectionError:
            pass

    def abort(self) -> None:
        self.writer.transport.abort()

    async def _read(self, reading: Any) -> bytes:
        found: bytes = await asyncio.wait_for(reading, SECONDS)
        return found

    async def __aenter__(self) -> "RawClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
