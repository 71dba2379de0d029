"""The WebSocket endpoints: who is let in, and the sockets of those who are.

The core takes a client's socket over before the client is answered, and nothing of it
passes here any more (`sockets.py`). Where it cannot be had, text goes from the socket to
the core and back: each client has one reader and one writer. Neither waits for the other,
and a client that does not read blocks only its own writer. All rules are in the core.
"""

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse
from lnbits.settings import settings
from loguru import logger

from ..core.library import CoreUnavailable
from ..core.running import Running, running
from ..page.clients import about
from ..router import NostrRouter, all_routers
from . import sockets
from .endpoints import BASE, asked_id, hosts, is_public, settings_if_open

if TYPE_CHECKING:
    from nostrclient_core.bridge import Connection

router = APIRouter()

PRIVATE_PATH_IN_LOGS = f"{BASE}/private"
BADGE_HEADER = "nostrclient"
START_SECONDS = 5.0  # how long a client waits until the relays have been read
BATCH = 64  # messages sent before other clients get a turn on the loop; see `drain`
MAX_MESSAGE = 16 << 20  # bytes; one that is longer ends the connection
FLUSH_SECONDS = 2.0  # for the last messages to a client that the core has closed
CLOSE_SECONDS = 30.0  # for the closing handshake; uvicorn's own limits end sooner
TRY_AGAIN_LATER = 1013  # close code
INTERNAL_ERROR = 1011  # close code

ITSELF = "This is the server itself that asks, and no relay."
STARTING = "nostrclient cannot read its relays from the database yet."
TOO_MANY = json.dumps(["NOTICE", "rate-limited: too many clients"])

# What a send or a receive raises when the socket has gone away.
GONE = (WebSocketDisconnect, RuntimeError, OSError, asyncio.TimeoutError)


@router.websocket("/{endpoint_id:path}")
async def relay_endpoint(websocket: WebSocket, endpoint_id: str) -> None:
    """A client. The path `relay` is the public endpoint; every encryption of that word is
    a private one."""
    endpoint_id = asked_id(websocket.scope, endpoint_id)
    public = is_public(endpoint_id)
    if not public:
        # The server logs this path, and whoever reads the log must not find the id.
        websocket.scope["path"] = PRIVATE_PATH_IN_LOGS
    config = None if is_blocked(websocket) else await settings_if_open(endpoint_id)
    if config is None:
        await websocket.close()  # before accept: HTTP 403
        return
    try:
        running_core = running()
    except CoreUnavailable as exc:
        answer = PlainTextResponse(str(exc), HTTPStatus.SERVICE_UNAVAILABLE)
        await websocket.send_denial_response(answer)
        return
    try:
        await asyncio.wait_for(running_core.relays_known.wait(), START_SECONDS)
    except asyncio.TimeoutError:
        answer = PlainTextResponse(STARTING, HTTPStatus.SERVICE_UNAVAILABLE)
        await websocket.send_denial_response(answer)
        return
    core = running_core.core
    # Seen by whoever asked: it may be this server, and the request's header be lost.
    badge = {BADGE_HEADER: core.badge}
    peer = core.peer(websocket.headers.get("user-agent", ""))
    if peer == "itself":
        answer = PlainTextResponse(ITSELF, HTTPStatus.LOOP_DETECTED, badge)
        await websocket.send_denial_response(answer)
        return
    known = {
        "public": public,
        "hosts": hosts(config, public, websocket.headers.get("host", "")),
        "sibling": peer == "sibling",
        "about": about(websocket),
    }
    try:
        if not _hand_over(websocket, running_core, badge, known):
            await _pass_on(websocket, running_core, badge, known)
    except running_core.library.TooManyClients:
        await _turn_away(websocket)
    except running_core.library.CoreStopped:
        await websocket.close()


def is_blocked(websocket: WebSocket) -> bool:
    """Whether the owner of LNbits wants nobody from this address. LNbits itself looks at
    HTTP only."""
    host = websocket.client.host if websocket.client else ""
    blocked: bool = (
        host in settings.lnbits_blocked_ips and host not in settings.lnbits_allowed_ips
    )
    return blocked


def _hand_over(
    websocket: WebSocket, found: Running, badge: dict[str, str], known: dict[str, Any]
) -> bool:
    """Give the client's socket to the core. False: it cannot be had."""
    try:
        socket = sockets.Socket(websocket)
    except sockets.NotToBeHad as exc:
        _report(found, str(exc))
        return False
    try:
        answer = sockets.answer(websocket, badge)
        found.core.serve((socket.descriptor, socket.read, answer), **known)
    except BaseException:
        socket.leave()
        raise
    socket.taken()
    return True


def _report(found: Running, why: str) -> None:
    if found.sockets is None:
        found.sockets = why
        logger.info(
            f"nostrclient: clients' messages go through LNbits' web server: {why} They"
            " get the same answers, a little later, and cost LNbits more."
        )


async def _pass_on(
    websocket: WebSocket, found: Running, badge: dict[str, str], known: dict[str, Any]
) -> None:
    """Serve a client whose socket stays with the web server, until it ends."""
    connection = found.bridge.connect(**known)
    stand_in = NostrRouter(websocket)
    all_routers.append(stand_in)
    try:
        sockets.bound(websocket, MAX_MESSAGE)
        await websocket.accept(
            headers=[(k.encode(), v.encode()) for k, v in badge.items()]
        )
        await _serve(websocket, connection)
    except GONE:
        pass  # it went away while the connection was made
    finally:
        all_routers.remove(stand_in)
        connection.close()


async def _turn_away(websocket: WebSocket) -> None:
    try:
        await websocket.accept()
        await websocket.send_text(TOO_MANY)
        await websocket.close(TRY_AGAIN_LATER, "too many clients")
    except GONE:
        pass


async def _serve(websocket: WebSocket, connection: "Connection") -> None:
    """Serve until the client goes away or the core closes it."""
    reader = asyncio.create_task(_read(websocket, connection))
    writer = asyncio.create_task(_write(websocket, connection))
    try:
        await asyncio.wait(
            {reader, writer, connection.closed}, return_when=asyncio.FIRST_COMPLETED
        )
        if connection.client.closed is not None and not reader.done():
            await asyncio.wait({writer}, timeout=FLUSH_SECONDS)
    finally:
        reader.cancel()
        writer.cancel()
        ends = await asyncio.gather(reader, writer, return_exceptions=True)
    # Whatever happens to the socket now, the client is sent nothing more.
    closed = connection.client.closed
    connection.close()
    for end in ends:
        if isinstance(end, Exception):
            logger.error(f"nostrclient: a client's connection failed: {end!r}")
            closed = closed or (INTERNAL_ERROR, "internal error")
    if closed is not None:
        await asyncio.wait_for(websocket.close(*closed), CLOSE_SECONDS)


async def _read(websocket: WebSocket, connection: "Connection") -> None:
    """From the socket to the core, until the client goes away."""
    client = connection.client
    while True:
        try:
            message = await websocket.receive()
        except GONE:
            return
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if not (client.feed_binary() if text is None else client.feed(text)):
            while not client.writable and client.closed is None:
                connection.incoming.clear()
                await connection.incoming.wait()


async def _write(websocket: WebSocket, connection: "Connection") -> None:
    """From the core to the socket, until the core has closed the client."""
    client = connection.client
    while True:
        connection.outgoing.clear()
        messages = client.drain(BATCH)
        for text in messages:
            if not await _send(websocket, text):
                return
        if messages:
            await asyncio.sleep(0)  # the others' turn; then there may be more
        elif client.closed is not None:
            return
        else:
            await connection.outgoing.wait()


async def _send(websocket: WebSocket, text: str) -> bool:
    """False: the socket has gone away."""
    try:
        await websocket.send({"type": "websocket.send", "text": text})
    except GONE:
        return False
    return True
