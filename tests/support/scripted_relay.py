"""A relay that does what it is told: what honest relays do not do.

Each test hands over small callbacks: what to do on connect and on REQ, EVENT, COUNT,
CLOSE and AUTH. Without any, it is an honest and empty relay that does not count.
Everything it receives is kept with its time. It lives in the test's own event loop; a
callback that fails makes `stop()` fail, so that no mistake in a script goes unseen.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from scripts.lnbits_server import free_port

from .events import Event
from .inbox import Inbox

Filter = dict[str, Any]


@dataclass(eq=False)
class Line:
    """One connection to the relay."""

    socket: ServerConnection
    number: int
    subs: dict[str, list[Filter]] = field(default_factory=dict)
    """The subscriptions open on it."""
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, *parts: object) -> None:
        await self.socket.send(json.dumps(parts, ensure_ascii=False))

    async def send_text(self, text: str) -> None:
        await self.socket.send(text)

    async def send_bytes(self, data: bytes) -> None:
        """A binary frame."""
        await self.socket.send(data)

    def write_raw(self, data: bytes) -> None:
        """Bytes on the TCP line, past the WebSocket framing."""
        self.socket.transport.write(data)

    async def event(self, sub: str, *events: Event) -> None:
        for event in events:
            await self.send("EVENT", sub, event)

    async def live(self, *events: Event) -> None:
        """To every subscription open on this line, asked for or not."""
        for sub in list(self.subs):
            await self.event(sub, *events)

    async def eose(self, sub: str) -> None:
        await self.send("EOSE", sub)

    async def closed(self, sub: str, message: str) -> None:
        self.subs.pop(sub, None)
        await self.send("CLOSED", sub, message)

    async def ok(self, event_id: str, accepted: bool, message: str = "") -> None:
        await self.send("OK", event_id, accepted, message)

    async def notice(self, message: str) -> None:
        await self.send("NOTICE", message)

    def stop_reading(self) -> None:
        """Let the TCP line fill up."""
        self.reading.clear()
        self.socket.transport.pause_reading()

    def drop(self) -> None:
        """The line goes dead without a close frame."""
        self.socket.transport.abort()
        self.reading.set()  # so that its task sees that

    def drop_in_mid_message(self, *parts: object) -> None:
        """Announce a message, send half of it and drop the line."""
        data = json.dumps(parts).encode()
        header = bytes([0x81, 126]) + len(data).to_bytes(2, "big")
        self.write_raw(header + data[: len(data) // 2])
        self.drop()


@dataclass(frozen=True)
class Received:
    """One message from the multiplexer."""

    at: float
    line: Line
    parts: list[Any]

    @property
    def verb(self) -> str:
        return str(self.parts[0])

    def __str__(self) -> str:
        return f"line {self.line.number}: {self.parts}"


@dataclass(frozen=True)
class Upstream:
    """A subscription as the relay got it."""

    at: float
    line: Line
    sub: str
    filters: list[Filter]

    async def event(self, *events: Event) -> None:
        await self.line.event(self.sub, *events)

    async def eose(self) -> None:
        await self.line.eose(self.sub)

    async def closed(self, message: str) -> None:
        await self.line.closed(self.sub, message)


OnConnect = Callable[[Line], Awaitable[None]]
OnReq = Callable[[Line, str, list[Filter]], Awaitable[None]]
OnEvent = Callable[[Line, Event], Awaitable[None]]
OnCount = Callable[[Line, str, list[Filter]], Awaitable[None]]
OnClose = Callable[[Line, str], Awaitable[None]]


async def silent(*_: object) -> None:
    """The callback of a relay that does not answer."""


async def eose_at_once(line: Line, sub: str, _: list[Filter]) -> None:
    await line.eose(sub)


def stored(*events: Event) -> OnReq:
    """These events and EOSE, whatever is asked."""

    async def on_req(line: Line, sub: str, _: list[Filter]) -> None:
        await line.event(sub, *events)
        await line.eose(sub)

    return on_req


async def accept(line: Line, event: Event) -> None:
    await line.ok(event["id"], True)


def refused(message: str) -> OnReq:
    async def on_req(line: Line, sub: str, _: list[Filter]) -> None:
        await line.closed(sub, message)

    return on_req


def counted(count: Any, **more: Any) -> OnCount:
    """So many, whatever is asked."""

    async def on_count(line: Line, sub: str, _: list[Filter]) -> None:
        await line.send("COUNT", sub, {"count": count, **more})

    return on_count


def answer(accepted: bool, message: str = "") -> OnEvent:
    async def on_event(line: Line, event: Event) -> None:
        await line.ok(event["id"], accepted, message)

    return on_event


def reply(status: int, body: bytes = b"", **headers: str) -> Response:
    """An answer over HTTP."""
    length = {"Content-Length": str(len(body))}
    return Response(status, "", Headers({**length, **headers}), body)


class ScriptedRelay:
    """Starts with `start()`, ends with `stop()`; both as often as wanted, on one port."""

    def __init__(
        self,
        *,
        on_connect: OnConnect = silent,
        on_req: OnReq = eose_at_once,
        on_event: OnEvent = accept,
        on_count: OnCount = silent,
        on_close: OnClose = silent,
        on_auth: OnEvent = silent,
    ) -> None:
        self.on_connect = on_connect
        self.on_req = on_req
        self.on_event = on_event
        self.on_count = on_count
        self.on_close = on_close
        self.on_auth = on_auth
        self.max_size: int | None = None
        """Bytes of a message past which it ends the connection (1009)."""
        self.refuse_with: int | None = None
        """HTTP status that connections are refused with."""
        self.document: bytes | Response | None = None
        """What is answered to who asks for its description (NIP-11)."""
        self.describes: asyncio.Event | None = None
        """Such an answer waits for it."""
        self.asked = 0
        """How often it was."""
        self.port = free_port()
        self.lines: list[Line] = []
        """The open connections."""
        self.connected_at: list[float] = []
        """When connections were made, refused ones included."""
        self.inbox: Inbox[Received] = Inbox("relay")
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def line(self) -> Line:
        """The one connection."""
        assert len(self.lines) == 1, f"{len(self.lines)} connections to one relay"
        return self.lines[0]

    async def start(self) -> None:
        if self._server is None:
            self._server = await serve(
                self._serve,
                "127.0.0.1",
                self.port,
                process_request=self._admit,
                ping_interval=None,
                compression=None,
                max_size=self.max_size,
            )

    async def stop(self) -> None:
        """Go down at once. Raises what a script has raised."""
        server, self._server = self._server, None
        if server is None:
            return
        server.server.close()
        for _ in range(3):  # so many turns of the loop take who has just come to `_serve`
            await asyncio.sleep(0)
        server.close()
        for line in list(self.lines):
            line.drop()
        await self.until(lambda: not self.lines, "end of the connections")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()
        if self._failures:
            raise AssertionError("a relay's script failed") from self._failures[0]

    async def __aenter__(self) -> "ScriptedRelay":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # What the multiplexer has done so far.

    def reqs(self) -> list[Upstream]:
        """Every REQ received, oldest first."""
        return [
            Upstream(received.at, received.line, received.parts[1], received.parts[2:])
            for received in self.inbox.items
            if received.verb == "REQ"
        ]

    def published(self) -> list[Event]:
        """Every EVENT received, oldest first."""
        return [
            received.parts[1] for received in self.inbox.items if received.verb == "EVENT"
        ]

    def closes(self) -> list[str]:
        """The subscription ids of every CLOSE received, oldest first."""
        return [
            received.parts[1] for received in self.inbox.items if received.verb == "CLOSE"
        ]

    def counts(self) -> list[list[Filter]]:
        """The filters of every COUNT received, oldest first."""
        return [
            received.parts[2:]
            for received in self.inbox.items
            if received.verb == "COUNT"
        ]

    def open_subs(self) -> dict[str, list[Filter]]:
        """The subscriptions open now, on whatever line."""
        return {sub: filters for line in self.lines for sub, filters in line.subs.items()}

    async def until(
        self, condition: Callable[[], object], what: str, seconds: float = 10
    ) -> None:
        await self.inbox.until(condition, seconds, what)

    async def req(self, number: int = 1, seconds: float = 10) -> Upstream:
        """The REQ of this number, counted from one."""
        await self.until(
            lambda: len(self.reqs()) >= number, f"REQ number {number}", seconds
        )
        return self.reqs()[number - 1]

    async def close_of(self, sub: str) -> None:
        """Wait for the CLOSE of this subscription."""
        await self.until(lambda: sub in self.closes(), f"CLOSE for {sub}")

    async def connections(self, number: int, seconds: float = 20) -> None:
        """Wait until this many have been made, refused and ended ones included."""
        await self.until(
            lambda: len(self.connected_at) >= number,
            f"connection number {number}",
            seconds,
        )

    async def connected(self) -> Line:
        """Wait for a line to be open: the newest one."""
        await self.until(lambda: self.lines, "open line")
        return self.lines[-1]

    # The socket's side.

    async def _admit(self, _: ServerConnection, request: Request) -> Response | None:
        if "application/nostr+json" in request.headers.get("Accept", ""):
            self.asked += 1
            if self.describes is not None:
                await self.describes.wait()
            if isinstance(self.document, Response):
                return self.document
            body = self.document or b""
            return reply(200 if body else 404, body)
        if self.refuse_with is None:
            return None
        self.connected_at.append(time.monotonic())
        self.inbox.wake()
        return reply(self.refuse_with)

    async def _serve(self, socket: ServerConnection) -> None:
        line = Line(socket, len(self.connected_at) + 1)
        line.reading.set()
        self.connected_at.append(time.monotonic())
        self.lines.append(line)
        self.inbox.wake()
        self._run(self.on_connect, line)
        try:
            while True:
                text = await socket.recv()
                await line.reading.wait()
                self._take(line, text)
        except ConnectionClosed:
            pass
        finally:
            self.lines.remove(line)
            self.inbox.wake()

    def _take(self, line: Line, text: str | bytes) -> None:
        try:
            parts = json.loads(text)
            received = Received(time.monotonic(), line, parts)
            if received.verb == "REQ":
                line.subs[parts[1]] = parts[2:]
            elif received.verb == "CLOSE":
                line.subs.pop(parts[1], None)
        except (ValueError, LookupError, TypeError) as error:
            # The multiplexer sent something that is no message: the test has to fail.
            self._failures.append(error)
            return
        self.inbox.put(received)
        if received.verb == "REQ":
            self._run(self.on_req, line, parts[1], parts[2:])
        elif received.verb == "EVENT":
            self._run(self.on_event, line, parts[1])
        elif received.verb == "COUNT":
            self._run(self.on_count, line, parts[1], parts[2:])
        elif received.verb == "CLOSE":
            self._run(self.on_close, line, parts[1])
        elif received.verb == "AUTH":
            self._run(self.on_auth, line, parts[1])

    def _run(self, script: Callable[..., Awaitable[None]], *arguments: object) -> None:
        async def guarded() -> None:
            try:
                await script(*arguments)
            except (ConnectionClosed, asyncio.CancelledError):
                pass
            except Exception as error:
                self._failures.append(error)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
