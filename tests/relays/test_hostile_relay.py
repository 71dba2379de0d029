"""Rule 6.3: whatever one relay does, it costs only itself.

Every test runs a good relay beside the bad one and ends with `unharmed`.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from support.endpoint import Endpoint
from support.events import Author
from support.scripted_relay import Filter, Line, ScriptedRelay, Upstream, silent
from support.tcp_relay import TcpLine, TcpRelay, say, stall
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

MEBIBYTE = 1 << 20

SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA=\r\n\r\n"
)


class Scene:
    """A client subscribed through a good and a bad relay."""

    def __init__(self, endpoint: Endpoint, bad: ScriptedRelay) -> None:
        self.endpoint = endpoint
        self.bad = bad
        self.good = ScriptedRelay()
        self.client: WireClient
        self.memory = 0

    async def start(self) -> Upstream:
        """The bad relay's end of the subscription."""
        await self.endpoint.use(self.good, self.bad)
        self.client = await self.endpoint.client()
        await self.client.subscribe("s", {"kinds": [1]})
        self.memory = self.endpoint.memory()
        return await self.bad.req()

    async def unharmed(self, seconds: float = 2) -> None:
        """The good relay's events still come, promptly, publishing works, and the
        LNbits process has not grown much."""
        note, published = Author().sign("live"), Author().sign("published", kind=2)
        before = len(self.client.events("s"))
        await self.good.line.live(note)
        await self.client.until(
            lambda: len(self.client.events("s")) > before, "live event", seconds
        )
        assert self.client.events("s")[-1] == note
        assert (await self.client.publish(published)).parts[2] is True
        assert len(self.client.of("EOSE", "s")) == 1
        assert self.client.of("CLOSED", "s") == []
        assert len(self.good.connected_at) == 1
        assert self.endpoint.memory() < self.memory + 200 * MEBIBYTE


@pytest.fixture
def scene(endpoint: Endpoint) -> Scene:
    return Scene(endpoint, ScriptedRelay())


async def junk_json(line: Line, sub: str) -> None:
    for text in (
        "",
        "junk",
        "[",
        "[]",
        "{}",
        "null",
        "[1]",
        '["EVENT"]',
        '["EVENT", 5, {}]',
        f'["EVENT", "{sub}"]',
        f'["EVENT", "{sub}", null]',
        f'["EVENT", "{sub}", {{}}]',
        f'["EVENT", "{sub}", {{"id": 5}}]',
        f'["EVENT", "{sub}", {{"id": "{"a" * 64}"}}]',
        f'["EVENT", "{sub}", {{"id": "{"a" * 64}", "id": "{"b" * 64}"}}',
        f'["EOSE", "{sub}"',
        '["EOSE"]',
        '["EOSE", null]',
        '["OK"]',
        '["OK", 1, 2, 3]',
        '["OK", "x", "true", ""]',
        f'["OK", "{"a" * 64}", true]',
        '["CLOSED"]',
        '["CLOSED", {}]',
        '["NOTICE"]',
        '["NOTICE", {"text": 1}]',
        '["AUTH"]',
        '["AUTH", []]',
        '["COUNT", "x", {"count": -1}]',
        '["REQ", "s", {}]',
        '["NEG-MSG", "s", "00"]',
        '["\\ud800", "\\udfff"]',
    ):
        await line.send_text(text)


async def deep_json(line: Line, sub: str) -> None:
    for depth in (200, 100_000):
        nest = "[" * depth + "]" * depth
        for text in (
            nest,
            "[" * depth,
            f'["EVENT", "{sub}", {nest}]',
            f'["NOTICE", {nest}]',
            '{"a":' * depth + "1" + "}" * depth,
        ):
            await line.send_text(text)
    event = Author().sign()
    text = json.dumps({**event, "tags": "TAGS"}).replace('"TAGS"', "[" * 50_000)
    await line.send_text(f'["EVENT", "{sub}", {text}')


async def binary(line: Line, sub: str) -> None:
    await line.send_bytes(b"")
    await line.send_bytes(json.dumps(["EVENT", sub, Author().sign()]).encode())
    await line.send_bytes(bytes(range(256)) * 100)


async def endless_auth(line: Line, _: str) -> None:
    for number in range(5_000):
        await line.send("AUTH", f"challenge {number} {'x' * 100}")


async def unknown_subs(line: Line, _: str) -> None:
    note = Author().sign()
    for number in range(10_000):
        await line.event(f"unknown {number}", note)
        await line.eose(f"unknown {number}")
        await line.send("CLOSED", f"unknown {number}", "error: never was")


async def unasked_events(line: Line, sub: str) -> None:
    author = Author()
    for number in range(3_000):
        await line.event(sub, author.sign(f"{number}", kind=9))


async def answers_nobody_waits_for(line: Line, _: str) -> None:
    note = Author().sign()
    for number in range(10_000):
        await line.ok(f"{number:064x}", number % 2 == 0, "x" * 50)
        await line.ok(note["id"], True)


async def notices(line: Line, _: str) -> None:
    for number in range(5_000):
        await line.notice(f"notice {number} " + "x" * 1_000)


async def eoses(line: Line, sub: str) -> None:
    for _ in range(20_000):
        await line.eose(sub)


Mischief = Callable[[Line, str], Awaitable[None]]
MISCHIEF: list[Mischief] = [
    junk_json,
    deep_json,
    binary,
    endless_auth,
    unknown_subs,
    unasked_events,
    answers_nobody_waits_for,
    notices,
    eoses,
]


@pytest.mark.parametrize("mischief", MISCHIEF, ids=lambda one: one.__name__)
async def test_nonsense_is_borne(scene: Scene, mischief: Mischief) -> None:
    upstream = await scene.start()
    with suppress(ConnectionClosed):  # being hung up on is a just answer
        await mischief(upstream.line, upstream.sub)
    await scene.unharmed()
    assert [message.verb for message in scene.client.messages] == [
        "EOSE",
        "EVENT",
        "OK",
    ]
    status = (await scene.endpoint.relay(scene.bad.url))["status"]
    assert len(status["error_list"]) <= 50
    assert len(status["notice_list"]) <= 50


async def test_the_last_fifty_notices_are_kept(scene: Scene) -> None:
    """Rule 4.2; newest last."""
    upstream = await scene.start()
    for number in range(60):
        await upstream.line.notice(f"notice {number}")
    await upstream.event(fence := Author().sign())
    assert await scene.client.count("s", 1) == [fence]
    shown = (await scene.endpoint.relay(scene.bad.url))["status"]["notice_list"]
    assert shown == [f"notice {number}" for number in range(10, 60)]


async def test_text_from_relays_is_kept_short(scene: Scene) -> None:
    upstream = await scene.start()
    for _ in range(50):
        await upstream.line.notice("x" * 100_000)
        await upstream.line.send("OK", "0" * 64, False, "y" * 100_000)
    await scene.unharmed()
    relay = await scene.endpoint.relay(scene.bad.url)
    assert len(json.dumps(relay)) < 500_000


@pytest.mark.parametrize(
    "header",
    [
        b"\x81\x7f" + (64 * MEBIBYTE).to_bytes(8, "big"),
        b"\x81\x7f" + (1 << 62).to_bytes(8, "big"),
        b"\x82\x7f" + (64 * MEBIBYTE).to_bytes(8, "big"),
        b"\x81\x7f" + (1 << 63).to_bytes(8, "big"),
        b"\xf1\x00",
        b"\x83\x00",
        b"\x89\x7e\x00\x7e" + b"x" * 126,
        b"\x81\x02\xff\xfe",
        b"\x80\x01x",
        b"\x88\x01\x00",
    ],
    ids=lambda header: header[:4].hex(),
)
async def test_broken_frames_end_the_connection(scene: Scene, header: bytes) -> None:
    """Among them frames too large to take: they are refused by their header."""
    upstream = await scene.start()
    upstream.line.write_raw(header)
    await scene.bad.until(lambda: upstream.line not in scene.bad.lines, "the end")
    await scene.unharmed()
    await scene.bad.req(2)  # it is tried again all the same


async def test_a_huge_message_is_not_held(scene: Scene) -> None:
    """64 MiB, and as much in endless fragments."""
    upstream = await scene.start()
    upstream.line.write_raw(b"\x01\x7e\xff\xff" + b"x" * 65_535)
    for _ in range(64 * 16):
        if upstream.line.socket.transport.is_closing():
            break
        upstream.line.write_raw(b"\x00\x7f" + (65_536).to_bytes(8, "big") + b"x" * 65_536)
    await scene.bad.until(lambda: upstream.line not in scene.bad.lines, "the end")
    await scene.unharmed()


async def test_large_events_within_reason_come_through(scene: Scene) -> None:
    upstream = await scene.start()
    note = Author().sign("x" * 400_000)
    await upstream.event(note)
    assert await scene.client.count("s", 1) == [note]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n",
        SWITCHING,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    ],
    ids=["zeros", "ssh", "404", "301", "wrong accept", "headers"],
)
async def test_what_is_no_websocket_server(scene: Scene, data: bytes) -> None:
    async with TcpRelay(say(data)) as other:
        await scene.start()
        assert (await scene.endpoint.add(other.url)).status_code == 200
        await other.until(lambda: len(other.lines) >= 2, "another attempt", 30)
        shown = await scene.endpoint.relay(other.url)
        assert shown["connected"] is False
        assert shown["status"]["error_list"]
        await scene.unharmed()


async def test_a_wss_relay_is_spoken_to_in_tls(scene: Scene) -> None:
    """And one that does not speak it costs only itself."""
    greeting: list[bytes] = []

    async def plain(line: TcpLine) -> None:
        greeting.append(await line.reader.readexactly(3))
        line.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stall(line)

    async with TcpRelay(plain) as other:
        await scene.start()
        url = other.url.replace("ws:", "wss:")
        assert (await scene.endpoint.add(url)).status_code == 200
        await other.until(lambda: len(other.lines) >= 2, "another attempt", 30)
        shown = await scene.endpoint.relay(url)
        assert shown["connected"] is False
        assert shown["status"]["error_list"]
        assert greeting[0] == b"\x16\x03\x01"  # a handshake record of TLS
        await scene.unharmed()


async def test_a_relay_that_stops_reading(scene: Scene) -> None:
    """Its line fills up; publishing through the others goes on."""
    scene.bad.on_event = silent
    upstream = await scene.start()
    upstream.line.stop_reading()
    author, content = Author(), "x" * 20_000
    for number in range(1_500):
        note = author.sign(f"{number} {content}", kind=2)
        assert (await scene.client.publish(note)).parts[2] is True
    assert len(scene.good.published()) == 1_500
    assert scene.endpoint.memory() < scene.memory + 100 * MEBIBYTE


async def test_a_flood_leaves_the_others_their_pace(scene: Scene) -> None:
    """Events nobody asked for, as fast as the line takes them."""
    upstream = await scene.start()
    notes = Author().notes(200)
    texts = [json.dumps(["EVENT", upstream.sub, {**note, "kind": 9}]) for note in notes]
    flooding = True

    async def flood() -> None:
        with suppress(ConnectionClosed):
            while flooding:
                for text in texts:
                    await upstream.line.send_text(text)

    flood_task = asyncio.ensure_future(flood())
    try:
        delays: list[float] = []
        for number in range(20):
            note = Author().sign(f"live {number}")
            start = time.monotonic()
            await scene.good.line.live(note)
            await scene.client.count("s", number + 1)
            delays.append(time.monotonic() - start)
    finally:
        flooding = False
        await flood_task
    assert sorted(delays)[10] < 0.5, delays
    assert max(delays) < 2, delays
    await scene.unharmed()


async def test_many_bad_relays_leave_nothing_open(endpoint: Endpoint) -> None:
    """Connections that keep breaking leave no descriptor and no thread behind."""

    async def hang_up(line: Line, sub: str, _: list[Filter]) -> None:
        line.drop()

    scene = Scene(endpoint, ScriptedRelay())
    await scene.start()
    files, threads = endpoint.open_files(), endpoint.threads()
    bad = [ScriptedRelay(on_req=hang_up) for _ in range(20)]
    for relay in bad:
        await endpoint.start(relay)
        assert (await endpoint.add(relay.url)).status_code == 200
    for relay in bad:
        await relay.connections(2)
    for relay in bad:
        assert (await endpoint.remove(relay.url)).status_code == 200
        await relay.stop()
    await scene.unharmed()
    await endpoint.until_open_files(files + 5)
    assert endpoint.threads() <= threads + 2
