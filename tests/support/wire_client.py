"""A client that speaks NIP-01 on the bare socket and keeps everything it is told."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .events import Event
from .inbox import Inbox


async def refused(url: str) -> int:
    """The HTTP status the handshake is refused with; 101 when it is not."""
    try:
        async with connect(url, compression=None, proxy=None):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@dataclass(frozen=True)
class Message:
    """One message from the endpoint."""

    at: float
    parts: list[Any]

    @property
    def verb(self) -> str:
        return str(self.parts[0])

    def __str__(self) -> str:
        return str(self.parts)


class WireClient:
    """`async with WireClient(url) as client:`"""

    def __init__(self, url: str) -> None:
        self.url = url
        self.inbox: Inbox[Message] = Inbox("client")
        self.sent_at: dict[str, float] = {}
        """When the newest REQ of this id, or the EVENT of this id, was sent."""
        self._events: dict[str, list[Event]] = defaultdict(list)
        self._named: dict[tuple[str, str], list[Message]] = defaultdict(list)
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._fences = 0

    async def open(self) -> "WireClient":
        self._socket = await connect(
            self.url, compression=None, max_size=None, ping_interval=None, proxy=None
        )
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def close(self) -> None:
        """Say goodbye and leave."""
        await self.socket.close()
        await self._finish()

    async def vanish(self) -> None:
        """Leave without a close frame."""
        self.socket.transport.abort()
        await self._finish()

    async def _finish(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader

    async def __aenter__(self) -> "WireClient":
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def socket(self) -> ClientConnection:
        assert self._socket is not None, "not connected"
        return self._socket

    # Sending.

    async def send(self, *parts: Any) -> None:
        if parts[0] == "REQ":
            self.sent_at[parts[1]] = time.monotonic()
        elif parts[0] == "EVENT":
            self.sent_at[parts[1]["id"]] = time.monotonic()
        await self.socket.send(json.dumps(parts, ensure_ascii=False))

    async def send_text(self, text: str) -> None:
        await self.socket.send(text)

    async def publish(self, event: Event, seconds: float = 5) -> Message:
        """Publish and return the answer to it."""
        before = len(self.of("OK", event["id"]))
        await self.send("EVENT", event)
        return await self._first("OK", event["id"], before + 1, seconds)

    async def subscribe(self, sub: str, *filters: dict[str, Any]) -> Message:
        """Subscribe and return the EOSE."""
        before = len(self.of("EOSE", sub))
        await self.send("REQ", sub, *filters)
        return await self.eose(sub, number=before + 1)

    # What has come so far.

    @property
    def messages(self) -> list[Message]:
        return self.inbox.items

    def of(self, verb: str, name: str) -> list[Message]:
        """EOSE and CLOSED for this subscription, OK for this event id."""
        return self._named[verb, name]

    def notices(self) -> list[str]:
        return [message.parts[1] for message in self.messages if message.verb == "NOTICE"]

    def events(self, sub: str) -> list[Event]:
        """The events delivered to this subscription, in order of arrival."""
        return self._events[sub]

    def after(self, name: str, message: Message) -> float:
        """Seconds between the sending of the REQ or EVENT `name` and this answer."""
        return message.at - self.sent_at[name]

    # Waiting.

    async def until(
        self, condition: Callable[[], object], what: str, seconds: float = 5
    ) -> None:
        await self.inbox.until(condition, seconds, what)

    async def _first(self, verb: str, name: str, number: int, seconds: float) -> Message:
        await self.until(
            lambda: len(self.of(verb, name)) >= number, f"{verb} for {name}", seconds
        )
        return self.of(verb, name)[number - 1]

    async def ok(self, event_id: str, seconds: float = 5) -> Message:
        return await self._first("OK", event_id, 1, seconds)

    async def oks(self, event_id: str, number: int) -> list[Message]:
        """Wait until this many answers are there; more is a failure."""
        await self._first("OK", event_id, number, 5)
        assert len(self.of("OK", event_id)) == number
        return self.of("OK", event_id)

    async def eose(self, sub: str, seconds: float = 6, number: int = 1) -> Message:
        return await self._first("EOSE", sub, number, seconds)

    async def closed(self, sub: str, seconds: float = 6) -> Message:
        return await self._first("CLOSED", sub, 1, seconds)

    async def notice(self, seconds: float = 5) -> str:
        await self.until(self.notices, "NOTICE", seconds)
        return self.notices()[0]

    async def notices_come(self, number: int) -> None:
        """Wait until this many are there; more is a failure."""
        await self.until(lambda: len(self.notices()) >= number, f"NOTICE {number}")
        assert len(self.notices()) == number

    async def total(self, number: int, seconds: float = 10) -> None:
        """Wait until this many messages of any kind are there; more is a failure."""
        await self.until(
            lambda: len(self.messages) >= number, f"{number} messages", seconds
        )
        assert len(self.messages) == number

    async def count(self, sub: str, number: int, seconds: float = 10) -> list[Event]:
        """Wait until this many events are there; more is a failure."""
        await self.until(
            lambda: len(self._events[sub]) >= number,
            f"{number} events for {sub} (have {len(self._events[sub])})",
            seconds,
        )
        assert len(self._events[sub]) == number
        return self._events[sub]

    async def fence(self, seconds: float = 5) -> None:
        """Wait until the endpoint has dealt with everything sent before.

        A filter with an empty list matches nothing, so its EOSE comes at once and no
        relay hears of it. Fences leave no trace in `messages`.
        """
        self._fences += 1
        sub = f"fence-{self._fences}"
        await self.send("REQ", sub, {"ids": []})
        await self.eose(sub, seconds)
        await self.send("CLOSE", sub)
        self.inbox.items[:] = [
            message for message in self.messages if message.parts[1:2] != [sub]
        ]

    async def quiet(self, seconds: float = 0.3) -> None:
        """Fail if anything arrives within this time."""
        before = len(self.messages)
        if await self.inbox.changes_within(seconds):
            more = [str(message)[:300] for message in self.messages[before:]]
            raise AssertionError(f"unexpected: {more or 'the connection has ended'}")

    async def settled(self, seconds: float = 0.5) -> None:
        """Wait until nothing has come for so long: what else there is has come."""
        while await self.inbox.changes_within(seconds):
            pass

    async def ended(self, seconds: float = 10) -> tuple[int | None, str]:
        """Wait until the endpoint closes the connection; its code and reason."""
        await asyncio.wait_for(self.socket.wait_closed(), seconds)
        return self.socket.close_code, self.socket.close_reason or ""

    @property
    def is_open(self) -> bool:
        return self.socket.close_code is None

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                message = Message(time.monotonic(), json.loads(text))
                if message.verb == "EVENT":
                    self._events[message.parts[1]].append(message.parts[2])
                elif message.verb != "NOTICE":
                    self._named[message.verb, message.parts[1]].append(message)
                self.inbox.put(message)
        except ConnectionClosed:
            pass
        finally:
            self.inbox.wake()
