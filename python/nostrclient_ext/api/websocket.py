"""The WebSocket endpoints: text from the socket to the core, and back.

Each client has one reader and one writer. Neither waits for the other, and a client that
does not read blocks only its own writer. All rules are in the core.
"""

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse
from loguru import logger

from ..core.library import CoreUnavailable
from ..core.running import running
from ..page.clients import arrived, left
from ..router import NostrRouter, all_routers
from .endpoints import BASE, asked_id, hosts, is_public, settings_if_open

if TYPE_CHECKING:
    from nostrclient_core.bridge import Connection

router = APIRouter()

PRIVATE_PATH_IN_LOGS = f"{BASE}/private"
BADGE_HEADER = "nostrclient"
START_SECONDS = 5.0  # how long a client waits until the relays have been read
BATCH = 64  # messages sent before other clients get a turn on the loop
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
    config = await settings_if_open(endpoint_id)
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
    try:
        names = hosts(config, public, websocket.headers.get("host", ""))
        connection = running_core.bridge.connect(public, names, peer == "sibling")
    except running_core.library.TooManyClients:
        await _turn_away(websocket)
        return
    except running_core.library.CoreStopped:
        await websocket.close()
        return
    stand_in = NostrRouter(websocket)
    all_routers.append(stand_in)
    guest = arrived(connection.client, websocket, public)
    try:
        await websocket.accept(
            headers=[(k.encode(), v.encode()) for k, v in badge.items()]
        )
        await _serve(websocket, connection)
    except GONE:
        pass  # it went away while the connection was made
    finally:
        left(guest)
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
        if len(messages) == BATCH:
            await asyncio.sleep(0)
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
