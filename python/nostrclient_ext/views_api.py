"""The REST routes."""

import json
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from lnbits.decorators import check_admin, require_invoice_key
from loguru import logger

from . import relays
from .core import CoreUnavailable, Running, running
from .crud import change_config, get_config
from .endpoints import endpoints
from .models import (
    Config,
    ConfigChange,
    Endpoints,
    Outbox,
    Relay,
    RelaySwitches,
    RelayUrl,
    Status,
    TestMessage,
    TestMessageResponse,
)
from .outbox_rows import StoreError
from .status import nostr_status

NO_SUCH_EVENT = HTTPException(HTTPStatus.NOT_FOUND, "No such event in the outbox.")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

DIRECT_MESSAGE = 4  # NIP-04


class Route(APIRoute):
    """Answers 503 with the reason where a route needs the core or the outbox's table and
    there is none."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (CoreUnavailable, StoreError) as exc:
                return JSONResponse({"detail": str(exc)}, HTTPStatus.SERVICE_UNAVAILABLE)

        return answer


api_router = APIRouter(prefix="/api/v1", route_class=Route)
admin = [Depends(check_admin)]


def bad_request(exc: ValueError) -> HTTPException:
    """What the caller did wrong, as the answer to him."""
    return HTTPException(HTTPStatus.BAD_REQUEST, str(exc))


@api_router.get("/relays", dependencies=admin)
async def api_get_relays() -> list[Relay]:
    """Every relay with its state."""
    return await relays.list_relays(running())


@api_router.get("/relays/urls", dependencies=[Depends(require_invoice_key)])
async def api_get_relay_urls() -> list[str]:
    """The relays in use, for other programs that want to name them."""
    return await relays.active_urls()


@api_router.post("/relay", dependencies=admin)
async def api_add_relay(data: RelaySwitches) -> list[Relay]:
    """A new relay. Answers with all of them."""
    core = running()
    try:
        await relays.add(core, data)
    except ValueError as exc:
        raise bad_request(exc) from exc
    return await relays.list_relays(core)


@api_router.put("/relay", dependencies=admin)
async def api_switch_relay(data: RelaySwitches) -> list[Relay]:
    """Turn a relay, its reading or its writing on or off. Answers with all of them."""
    core = running()
    try:
        await relays.switch(core, data)
    except ValueError as exc:
        raise bad_request(exc) from exc
    return await relays.list_relays(core)


@api_router.delete("/relay", dependencies=admin)
async def api_delete_relay(data: RelayUrl) -> None:
    """Remove a relay, in whatever spelling."""
    try:
        await relays.remove(running(), data.url)
    except ValueError as exc:
        raise bad_request(exc) from exc


@api_router.put("/relay/test", dependencies=admin)
async def api_test_message(data: TestMessage) -> TestMessageResponse:
    """A signed direct message to try the relays with. Nothing is sent or kept here."""
    try:
        return _test_message(running(), data)
    except ValueError as exc:
        raise bad_request(exc) from exc


@api_router.get("/config", dependencies=admin)
async def api_get_config() -> Config:
    """The settings."""
    return await get_config()


@api_router.put("/config", dependencies=admin)
async def api_update_config(data: ConfigChange) -> Config:
    """Set the settings that are given. They count for clients and events that come from
    now on. Answers with all of them."""
    config = await change_config(data.dict(exclude_none=True))
    try:
        core = running().core
    except CoreUnavailable:
        return config  # read at its start
    core.set_outbox_size(config.outbox_size)
    queued = core.stats()["outbox"]["queued"]
    if queued > config.outbox_size:
        logger.warning(
            f"nostrclient: {queued} events are queued, and at most {config.outbox_size}"
            " may be: no more are taken until some are sent."
        )
    return config


@api_router.get("/outbox", dependencies=admin)
async def api_get_outbox() -> Outbox:
    """What waits for a relay, and what no relay wants."""
    return await running().outbox.view()


@api_router.post("/outbox/{event_id}/retry", dependencies=admin)
async def api_retry_event(event_id: str) -> None:
    """Try an event again, a rejected one too."""
    outbox = running().outbox
    try:
        found = await outbox.retry(event_id)
    except ValueError:
        found = False
    if not found:
        raise NO_SUCH_EVENT


@api_router.delete("/outbox/{event_id}", dependencies=admin)
async def api_delete_event(event_id: str) -> None:
    """Remove an event for good."""
    if not await running().outbox.delete(event_id):
        raise NO_SUCH_EVENT


@api_router.get("/status", dependencies=[Depends(require_invoice_key)])
async def api_get_status() -> Status:
    """Whether Nostr works right now, for other extensions."""
    return nostr_status()


@api_router.get("/endpoints", dependencies=admin)
async def api_get_endpoints() -> Endpoints:
    """Where clients connect. The one answer that holds the private endpoint's id."""
    return await endpoints()


def _test_message(core: Running, data: TestMessage) -> TestMessageResponse:
    library = core.library
    receiver = library.normalize_public_key(data.reciever_public_key)
    sender = data.sender_private_key or library.generate_key()["private_key"]
    event = library.sign_event(
        sender,
        int(time.time()),
        DIRECT_MESSAGE,
        [["p", receiver]],
        library.encrypt_nip04(sender, receiver, data.message),
    )
    return TestMessageResponse(
        private_key=sender,
        public_key=receiver,
        event_json=json.dumps(["EVENT", json.loads(event)]),
    )
