"""The REST routes: relays, settings and what other extensions ask for."""

import json
import time

from fastapi import APIRouter, Depends
from lnbits.decorators import require_invoice_key
from loguru import logger

from . import relay_check, relay_info, relays
from .core import CoreUnavailable, Running, running
from .crud import change_config, get_config, get_stored_config
from .endpoints import endpoints, public_keys, server_address
from .models import (
    Config,
    ConfigChange,
    Endpoints,
    Relay,
    RelayPause,
    RelaySwitches,
    RelayUrl,
    Status,
    TestMessage,
    TestMessageResponse,
)
from .models_page import RelayCheck, RelayInfo, RelayLog
from .proxy import proxy_changes
from .routes import API, Route, admin, bad_request
from .status import nostr_status

DIRECT_MESSAGE = 4  # NIP-04

api_router = APIRouter(prefix=API, route_class=Route)


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


@api_router.post("/relay/reconnect", dependencies=admin)
async def api_reconnect(data: RelayUrl) -> None:
    """Connect a relay anew; without a url, all that are not connected try now."""
    core = running()
    try:
        if data.url:
            await relays.reconnect(core, data.url)
        else:
            core.core.reconnect()
    except ValueError as exc:
        raise bad_request(exc) from exc


@api_router.post("/relay/pause", dependencies=admin)
async def api_pause_relay(data: RelayPause) -> list[Relay]:
    """Do not use a relay for a while. Answers with all of them."""
    core = running()
    try:
        await relays.pause(core, data.url, data.seconds)
    except ValueError as exc:
        raise bad_request(exc) from exc
    return await relays.list_relays(core)


@api_router.get("/relay/info", dependencies=admin)
async def api_relay_info(url: str) -> RelayInfo:
    """What a relay says about itself (NIP-11), whether it is configured or not."""
    try:
        return await relay_info.fetch(running(), url)
    except ValueError as exc:
        raise bad_request(exc) from exc


@api_router.get("/relay/log", dependencies=admin)
async def api_relay_log(url: str) -> RelayLog:
    """The last errors and notices of a relay."""
    try:
        return relays.log_of(running(), url)
    except ValueError as exc:
        raise bad_request(exc) from exc


@api_router.post("/relay/check", dependencies=admin)
async def api_check_relay(data: RelayUrl) -> RelayCheck:
    """Publish an event of a throw-away key over this relay and wait until it comes
    back."""
    try:
        return await relay_check.check(running(), data.url or "")
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
    now on; relays that are reached another way connect anew. Answers with all of them."""
    changes = data.dict(exclude_none=True)
    try:
        if data.address is not None:
            changes["address"] = server_address(data.address)
        if data.public_allowed is not None:
            changes["public_allowed"] = public_keys(data.public_allowed)
        if data.proxy is not None:
            changes |= proxy_changes(data.proxy, await get_stored_config())
    except ValueError as exc:
        raise bad_request(exc) from exc
    config = await change_config(changes)
    try:
        found = running()
    except CoreUnavailable:
        return config.without_secrets()  # read at its start
    found.apply(config)
    queued = found.core.stats()["outbox"]["queued"]
    if queued > config.outbox_size:
        logger.warning(
            f"nostrclient: {queued} events are queued, and at most {config.outbox_size}"
            " may be: no more are taken until some are sent."
        )
    return config.without_secrets()


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
