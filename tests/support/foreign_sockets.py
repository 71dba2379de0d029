"""WebSockets of others as one kind of thing: `websockets`, npm's `ws`, Chromium's.

Each is made with the url, connected by `open`, and hands over what it hears in order.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Protocol

from playwright.async_api import Browser, Page
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

SECONDS = 20
PROGRAM = Path(__file__).parent / "node" / "socket.mjs"
LINE = 4 << 20  # bytes of a line from Node


class ForeignSocket(Protocol):
    async def open(self) -> None: ...

    async def send(self, text: str) -> None: ...

    async def hear(self) -> str:
        """The next text."""
        ...

    async def ping(self) -> None:
        """Send one and wait for the answer, where it can."""
        ...

    async def close(self, code: int, reason: str) -> None: ...

    async def closed(self) -> int:
        """The code, once it is."""
        ...

    async def end(self) -> None: ...


class Websockets:
    """Python's. It offers compression, as it does unless told otherwise."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: ClientConnection | None = None

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None
        return self._socket

    async def open(self) -> None:
        self._socket = await connect(self._url, proxy=None)

    async def send(self, text: str) -> None:
        await self.socket.send(text)

    async def hear(self) -> str:
        return str(await asyncio.wait_for(self.socket.recv(), SECONDS))

    async def ping(self) -> None:
        await asyncio.wait_for(await self.socket.ping(b"p"), SECONDS)

    async def close(self, code: int, reason: str) -> None:
        await self.socket.close(code, reason)

    async def closed(self) -> int:
        try:
            while True:
                await self.hear()
        except ConnectionClosed:
            return self.socket.close_code or 0

    async def end(self) -> None:
        await self.socket.close()


class Ws:
    """Node's. It offers compression too."""

    def __init__(self, url: str, node: str) -> None:
        self._command = [node, str(PROGRAM), url]
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, limit=LINE
        )
        assert await self._next() == {"open": True}

    async def _next(self) -> dict[str, Any]:
        assert self._process and self._process.stdout
        line = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
        found: dict[str, Any] = json.loads(line)
        return found

    async def _order(self, **order: Any) -> None:
        assert self._process and self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    async def send(self, text: str) -> None:
        await self._order(send=text)

    async def hear(self) -> str:
        return str((await self._next())["text"])

    async def ping(self) -> None:
        await self._order(ping="p")
        assert await self._next() == {"pong": "p"}

    async def close(self, code: int, reason: str) -> None:
        await self._order(close=[code, reason])

    async def closed(self) -> int:
        while True:
            found = await self._next()
            if "closed" in found:
                return int(found["closed"])

    async def end(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


OPEN = """
    url => new Promise((resolve, reject) => {
        const socket = new WebSocket(url)
        Object.assign(window, {socket, heard: [], code: null})
        socket.onmessage = event => window.heard.push(event.data)
        socket.onclose = event => { window.code = event.code; reject(event.code) }
        socket.onopen = () => resolve()
    })
"""


class Chromium:
    """A page's. It offers compression, too, and cannot ping."""

    def __init__(self, url: str, browser: Browser) -> None:
        self._url = url
        self._browser = browser
        self._page: Page | None = None

    @property
    def page(self) -> Page:
        assert self._page is not None
        return self._page

    async def open(self) -> None:
        self._page = await self._browser.new_page()
        self._page.set_default_timeout(SECONDS * 1000)
        await self._page.evaluate(OPEN, self._url)

    async def send(self, text: str) -> None:
        await self.page.evaluate("text => window.socket.send(text)", text)

    async def hear(self) -> str:
        await self.page.wait_for_function("() => window.heard.length")
        return str(await self.page.evaluate("() => window.heard.shift()"))

    async def ping(self) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        await self.page.evaluate("how => window.socket.close(...how)", [code, reason])

    async def closed(self) -> int:
        await self.page.wait_for_function("() => window.code !== null")
        return int(await self.page.evaluate("() => window.code"))

    async def end(self) -> None:
        await self.page.close()
