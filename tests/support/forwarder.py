"""Another name for a server: a port that passes on whatever comes to the server's."""

import asyncio
import re
from types import TracebackType


class Forwarder:
    """`async with Forwarder(port) as name:`

    `drops`: the name of a header of requests that it does not pass on.
    """

    def __init__(self, to: int, drops: str | None = None) -> None:
        self.to = to
        self.drops = drops
        self.port = 0
        self.web_sockets = 0
        """Asked for."""
        self.bytes = 0
        """Both ways, the handshakes included."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Forwarder":
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
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers |= {writer, onward}
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.drops is not None:
                header = rf"(?im)^{self.drops}:.*\r\n".encode()
                head = re.sub(header, b"", head)
            self.web_sockets += b"upgrade: websocket" in head.lower()
            self.bytes += len(head)
            onward.write(head)
            await asyncio.gather(self._pass(reader, onward), self._pass(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers -= {writer, onward}
            writer.transport.abort()
            onward.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65_536):
            self.bytes += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
