"""The REST routes for relays: the owner's list, and what he does to one of them."""

import json
import time

from fastapi import APIRouter, Depends
from lnbits.decorators import require_invoice_key

from ..core.running import Running, running
from ..models import (
    Relay,
    RelayPause,
    RelaySwitches,
    RelayUrl,
    TestMessage,
    TestMessageResponse,
)
from ..relays import changes, check, document, listing
from ..relays.models import RelayCheck, RelayInfo, RelayLog
from .routes import Route, admin, bad_request

DIRECT_MESSAGE = 4  # NIP-04

router = APIRouter(route_class=Route)


@router.get("/relays", dependencies=admin)
async def api_get_relays() -> list[Relay]:
    """Every relay with its state."""
    return await listing.list_relays(running())


@router.get("/relays/urls", dependencies=[Depends(require_invoice_key)])
async def api_get_relay_urls() -> list[str]:
    """The relays in use, for other programs that want to name them."""
    return await listing.active_urls()


@router.post("/relay", dependencies=admin)
async def api_add_relay(data: RelaySwitches) -> list[Relay]:
    """A new relay. Answers with all of them."""
    core = running()
    try:
        await changes.add(core, data)
    except ValueError as exc:
        raise bad_request(exc) from exc
    return await listing.list_relays(core)


@router.put("/relay", dependencies=admin)
async def api_switch_relay(data: RelaySwitches) -> list[Relay]:
    """Turn a relay, its reading or its writing on or off. Answers with all of them."""
    core = running()
    try:
        await changes.switch(core, data)
    except ValueError as exc:
        raise bad_request(exc) from exc
    return await listing.list_relays(core)


@router.delete("/relay", dependencies=admin)
async def api_delete_relay(data: RelayUrl) -> None:
    """Remove a relay, in whatever spelling."""
    try:
        await changes.remove(running(), data.url)
    except ValueError as exc:
        raise bad_request(exc) from exc


@router.post("/relay/reconnect", dependencies=admin)
async def api_reconnect(data: RelayUrl) -> None:
    """Connect a relay anew; without a url, all that are not connected try now."""
    core = running()
    try:
        if data.url:
            await changes.reconnect(core, data.url)
        else:
            core.core.reconnect()
    except ValueError as exc:
        raise bad_request(exc) from exc


@router.post("/relay/pause", dependencies=admin)
async def api_pause_relay(data: RelayPause) -> list[Relay]:
    """Do not use a relay for a while. Answers with all of them."""
    core = running()
    try:
        await changes.pause(core, data.url, data.seconds)
    except ValueError as exc:
        raise bad_request(exc) from exc
    return await listing.list_relays(core)


@router.get("/relay/info", dependencies=admin)
async def api_relay_info(url: str) -> RelayInfo:
    """What a relay says about itself (NIP-11), whether it is configured or not."""
    try:
        return await document.fetch(running(), url)
    except ValueError as exc:
        raise bad_request(exc) from exc


@router.get("/relay/log", dependencies=admin)
async def api_relay_log(url: str) -> RelayLog:
    """The last errors and notices of a relay."""
    try:
        return listing.log_of(running(), url)
    except ValueError as exc:
        raise bad_request(exc) from exc


@router.post("/relay/check", dependencies=admin)
async def api_check_relay(data: RelayUrl) -> RelayCheck:
    """Publish an event of a throw-away key over this relay and wait until it comes
    back."""
    try:
        return await check.check(running(), data.url or "")
    except ValueError as exc:
        raise bad_request(exc) from exc


@router.put("/relay/test", dependencies=admin)
async def api_test_message(data: TestMessage) -> TestMessageResponse:
    """A signed direct message to try the relays with. Nothing is sent or kept here."""
    try:
        return _test_message(running(), data)
    except ValueError as exc:
        raise bad_request(exc) from exc


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
