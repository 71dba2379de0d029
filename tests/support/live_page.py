"""The live data as the page takes it: a ticket over REST, then a WebSocket."""

import asyncio
import json
import time
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .endpoint import Endpoint
from .inbox import Inbox


class LivePage:
    """`async with LivePage(endpoint) as page:`. With a `ticket`, it shows that one."""

    def __init__(self, endpoint: Endpoint, ticket: str | None = None) -> None:
        self.endpoint = endpoint
        self.ticket = ticket
        self.inbox: Inbox[dict[str, Any]] = Inbox("page")
        self.times: list[float] = []
        """When each message came."""
        self.now: dict[str, Any] = {"relays": {}}
        """What the page shows: the parts as they are, the relays by url."""
        self.closed: int | None = None
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "LivePage":
        ticket = self.ticket or await new_ticket(self.endpoint)
        self._socket = await connect(f"{self.endpoint.ws_base}/live", proxy=None)
        await self._socket.send(ticket)
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._socket is not None and self._reader is not None
        await self._socket.close()
        await self._reader

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                self._take(json.loads(text))
        except ConnectionClosed:
            pass
        self.closed = socket.close_code
        self.inbox.wake()

    def _take(self, news: dict[str, Any]) -> None:
        self.times.append(time.monotonic())
        for url in news.get("gone", []):
            del self.now["relays"][url]
        for line in news.get("relays", []):
            self.now["relays"][line["url"]] = line
        self.now.update(
            {name: part for name, part in news.items() if name not in ("relays", "gone")}
        )
        self.inbox.put(news)

    async def until(self, condition: Any, what: str, seconds: float = 10) -> Any:
        return await self.inbox.until(lambda: condition(self.now), seconds, what)

    async def until_relay(self, url: str, seconds: float = 15, **expected: Any) -> None:
        """Wait until this relay's line has all these values."""

        def is_so(now: dict[str, Any]) -> bool:
            line = now["relays"].get(url, {})
            return all(line.get(name) == value for name, value in expected.items())

        await self.until(is_so, f"{url} with {expected}", seconds)

    async def until_closed(self, seconds: float = 10) -> int:
        await self.inbox.until(lambda: self.closed is not None, seconds, "close")
        assert self.closed is not None
        return self.closed


async def new_ticket(endpoint: Endpoint) -> str:
    response = await endpoint.http.post(f"{endpoint.base}/live")
    assert response.status_code == 200, response.text
    return str(response.json()["ticket"])
