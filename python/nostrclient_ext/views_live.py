"""Who and what is there right now: the live data, the clients, the metrics."""

import asyncio
import json
from contextlib import suppress
from http import HTTPStatus

from fastapi import APIRouter, Depends, HTTPException, Request, Response, WebSocket
from lnbits.decorators import check_access_token, check_account_exists, check_admin

from . import clients, live, metrics
from .core import CoreUnavailable, running
from .models_page import Clients, HasMetricsToken, MetricsToken, Overview, Ticket
from .overview import overview
from .routes import API, Route, admin
from .views_ws import GONE, TRY_AGAIN_LATER

NO_SUCH_CLIENT = HTTPException(HTTPStatus.NOT_FOUND, "This client is not connected.")

TICKET_SECONDS = 5.0  # that a WebSocket has to show its ticket
CLOSE_SECONDS = 5.0  # for the closing handshake
POLICY = 1008  # close code
DONE = 1000  # close code
GOING_AWAY = 1001  # close code

live_router = APIRouter(prefix=API, route_class=Route)
_watchers = 0


@live_router.get("/live", dependencies=admin)
async def api_get_live() -> Overview:
    """All that the page shows, for a page that cannot keep a WebSocket."""
    return await overview(running())


@live_router.post("/live", dependencies=admin)
async def api_get_ticket() -> Ticket:
    """Lets the caller open the live data's WebSocket: it sends the ticket as its first
    message."""
    running()
    return Ticket(ticket=live.issue_ticket())


@live_router.websocket("/live")
async def live_endpoint(websocket: WebSocket) -> None:
    """The same as it changes. See `live.Changes` for what is sent."""
    with suppress(*GONE):
        await websocket.accept()
        code = await _serve(websocket)
        await asyncio.wait_for(websocket.close(code), CLOSE_SECONDS)


async def _serve(websocket: WebSocket) -> int:
    """Until the page goes away, or has to show a new ticket. The close code."""
    global _watchers
    if not live.redeem_ticket(await _first_text(websocket)):
        return POLICY
    # Counted from here on: strangers, who have no ticket, take no admin's place.
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
    try:
        message = await asyncio.wait_for(websocket.receive(), TICKET_SECONDS)
    except asyncio.TimeoutError:
        return ""
    return message.get("text") or ""


async def _until_gone(websocket: WebSocket) -> None:
    with suppress(*GONE):
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass  # it has nothing more to say


@live_router.get("/clients", dependencies=admin)
async def api_get_clients() -> Clients:
    """Who is connected."""
    running()
    return clients.clients()


@live_router.delete("/clients/{client_id}", dependencies=admin)
async def api_cut_off(client_id: str) -> None:
    """Close a client's connection. It may come again."""
    running()
    if not clients.cut_off(client_id):
        raise NO_SUCH_CLIENT


async def _may_read_metrics(
    request: Request, token: str | None = Depends(check_access_token)
) -> None:
    if token and await metrics.is_token(token):
        return
    await check_admin(await check_account_exists(request, token))


@live_router.get("/metrics", dependencies=[Depends(_may_read_metrics)])
async def api_get_metrics() -> Response:
    """The numbers for Prometheus, for an admin or with the token below as Bearer."""
    text = metrics.metrics_text(await overview(running()))
    return Response(text, media_type=metrics.CONTENT_TYPE)


@live_router.get("/metrics/token", dependencies=admin)
async def api_has_metrics_token() -> HasMetricsToken:
    """Whether there is a token. What it is nobody can say any more."""
    return HasMetricsToken(exists=await metrics.has_token())


@live_router.post("/metrics/token", dependencies=admin)
async def api_make_metrics_token() -> MetricsToken:
    """A new token, in place of the one before."""
    return MetricsToken(token=await metrics.make_token())


@live_router.delete("/metrics/token", dependencies=admin)
async def api_drop_metrics_token() -> None:
    """Let no token read the metrics."""
    await metrics.drop_token()
