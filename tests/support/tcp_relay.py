"""A port that takes TCP connections and is no WebSocket server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from .inbox import Inbox


@dataclass(frozen=True)
class TcpLine:
    at: float
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


OnLine = Callable[[TcpLine], Awaitable[None]]


async def stall(line: TcpLine) -> None:
    """Take what comes and say nothing."""
    while await line.reader.read(65_536):
        pass


async def hang_up(line: TcpLine) -> None:
    line.writer.transport.abort()


def say(data: bytes) -> OnLine:
    """Answer the handshake with these bytes and keep the line open."""

    async def on_line(line: TcpLine) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        line.writer.write(data)
        await stall(line)

    return on_line


class TcpRelay:
    """`async with TcpRelay(hang_up) as relay:`"""

    def __init__(self, on_line: OnLine = stall) -> None:
        self.on_line = on_line
        self.port = 0
        self.inbox: Inbox[TcpLine] = Inbox("tcp relay")
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def lines(self) -> list[TcpLine]:
        """Every connection there was."""
        return self.inbox.items

    async def until(
        self, condition: Callable[[], object], what: str, seconds: float = 10
    ) -> None:
        await self.inbox.until(condition, seconds, what)

    async def __aenter__(self) -> "TcpRelay":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for line in self.lines:
            line.writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line = TcpLine(time.monotonic(), reader, writer)
        self.inbox.put(line)
        try:
            await self.on_line(line)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
