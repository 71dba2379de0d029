"""The live data for the admin's page, over a WebSocket or request by request."""

import asyncio
import json
from collections import deque
from contextlib import suppress

from fastapi import APIRouter, WebSocket

from ..core.library import CoreUnavailable
from ..core.running import running
from ..page import live
from ..page.models import Overview, Ticket
from ..page.overview import overview
from . import sockets
from .routes import Route, admin
from .sockets import GOING_AWAY
from .websocket import GONE, TRY_AGAIN_LATER, is_blocked

TICKET_SECONDS = 5.0  # that a WebSocket has to show its ticket
MOST_WITHOUT = 4  # WebSockets that have shown none yet; the oldest makes room
MOST_BYTES = 1 << 10  # of a message; a ticket is much shorter
CLOSE_SECONDS = 5.0  # for the closing handshake
POLICY = 1008  # close code
DONE = 1000  # close code

router = APIRouter(route_class=Route)
_watchers = 0
_without_ticket: "deque[asyncio.Future[None]]" = deque()
"""One for each WebSocket that has shown no ticket yet, the oldest first. Done: it has to
make room."""


@router.get("/live", dependencies=admin)
async def api_get_live() -> Overview:
    """Everything the page shows, for a page that has no WebSocket."""
    return await overview(running())


@router.post("/live", dependencies=admin)
async def api_get_ticket() -> Ticket:
    """A ticket for the WebSocket with live data: the page sends it as its first
    message."""
    running()
    return Ticket(ticket=live.issue_ticket())


@router.websocket("/live")
async def live_endpoint(websocket: WebSocket) -> None:
    """What has changed, as it changes. `live.Changes` says what is sent."""
    with suppress(*GONE):
        if is_blocked(websocket):
            await websocket.close()  # before accept: HTTP 403
            return
        sockets.bound(websocket, MOST_BYTES)
        await websocket.accept()
        code = await _serve(websocket)
        await asyncio.wait_for(websocket.close(code), CLOSE_SECONDS)


async def _serve(websocket: WebSocket) -> int:
    """Serve until the page goes away or needs a new ticket. Returns the close code."""
    global _watchers
    if not live.redeem_ticket(await _first_text(websocket)):
        return POLICY
    # Counted from here on: whoever has no ticket takes no admin's place.
    if _watchers >= live.MAX_WATCHERS:
        return TRY_AGAIN_LATER
    _watchers += 1
    page = asyncio.create_task(_until_gone(websocket))
    try:
        return await _tell(websocket, page)
    finally:
        _watchers -= 1
        page.cancel()
        await asyncio.wait({page})


async def _tell(websocket: WebSocket, page: "asyncio.Task[None]") -> int:
    loop = asyncio.get_running_loop()
    ends = loop.time() + live.LIFE_SECONDS
    changes = live.Changes()
    try:
        found = running()
    except CoreUnavailable:
        return GOING_AWAY
    with suppress(found.library.CoreStopped):
        while not found.bridge.stopped:
            news = changes.since_then(await overview(found))
            if news is not None:
                await websocket.send_text(json.dumps(news))
            await asyncio.wait({page}, timeout=live.INTERVAL)
            if page.done() or loop.time() > ends:
                return DONE
    return GOING_AWAY


async def _first_text(websocket: WebSocket) -> str:
    """Its ticket. Empty: it has shown none in time, or others came after it who may."""
    while len(_without_ticket) >= MOST_WITHOUT:
        _without_ticket.popleft().set_result(None)
    pushed_out = asyncio.get_running_loop().create_future()
    _without_ticket.append(pushed_out)
    first = asyncio.ensure_future(websocket.receive())
    try:
        await asyncio.wait(
            {first, pushed_out},
            timeout=TICKET_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return (first.result().get("text") or "") if first.done() else ""
    finally:
        first.cancel()
        if pushed_out in _without_ticket:
            _without_ticket.remove(pushed_out)


async def _until_gone(websocket: WebSocket) -> None:
    with suppress(*GONE):
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass  # whatever it sends means nothing
