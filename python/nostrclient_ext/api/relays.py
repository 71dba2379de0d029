"""The REST routes for relays: the owner's list, and changes to it."""

import json
import time

from fastapi import APIRouter, Depends, Request
from lnbits.decorators import require_invoice_key

from ..core.refusal import Refusal, refusal
from ..core.running import Running, running
from ..crud import get_config
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
from ..relays.rows import normalized, required
from .endpoints import is_own
from .routes import Route, admin

DIRECT_MESSAGE = 4  # NIP-04

router = APIRouter(route_class=Route)


@router.get("/relays", dependencies=admin)
async def api_get_relays() -> list[Relay]:
    """All relays, with their state."""
    return await listing.list_relays(running())


@router.get("/relays/urls", dependencies=[Depends(require_invoice_key)])
async def api_get_relay_urls() -> list[str]:
    """The urls of the relays in use, for wallets and other programs."""
    return await listing.active_urls()


@router.post("/relay", dependencies=admin)
async def api_add_relay(data: RelaySwitches, request: Request) -> list[Relay]:
    """Add a relay. Answers with all of them."""
    core = running()
    url = normalized(core, required(data.url))
    if is_own(await get_config(), url, request.headers.get("host", "")):
        raise Refusal("itself", f"Relay: {url} is this server itself, and no relay.")
    await changes.add(core, data)
    return await listing.list_relays(core)


@router.put("/relay", dependencies=admin)
async def api_switch_relay(data: RelaySwitches) -> list[Relay]:
    """Turn a relay, its reading or its writing on or off. Answers with all of them."""
    core = running()
    await changes.switch(core, data)
    return await listing.list_relays(core)


@router.delete("/relay", dependencies=admin)
async def api_delete_relay(data: RelayUrl) -> None:
    """Remove a relay, in any spelling of its url."""
    await changes.remove(running(), data.url)


@router.post("/relay/reconnect", dependencies=admin)
async def api_reconnect(data: RelayUrl) -> None:
    """Connect to a relay anew; without a url, to all that are not connected."""
    core = running()
    if data.url:
        await changes.reconnect(core, data.url)
    else:
        core.core.reconnect()


@router.post("/relay/pause", dependencies=admin)
async def api_pause_relay(data: RelayPause) -> list[Relay]:
    """Do not use a relay for a while. Answers with all relays."""
    core = running()
    await changes.pause(core, data.url, data.seconds)
    return await listing.list_relays(core)


@router.get("/relay/info", dependencies=admin)
async def api_relay_info(url: str) -> RelayInfo:
    """What a relay says about itself (NIP-11). The owner need not have configured it."""
    return await document.fetch(running(), url)


@router.get("/relay/log", dependencies=admin)
async def api_relay_log(url: str) -> RelayLog:
    """The last errors and notices of a relay."""
    return listing.log_of(running(), url)


@router.post("/relay/check", dependencies=admin)
async def api_check_relay(data: RelayUrl) -> RelayCheck:
    """Test a relay: publish an event with a throw-away key and wait until it comes
    back."""
    return await check.check(running(), data.url or "")


@router.put("/relay/test", dependencies=admin)
async def api_test_message(data: TestMessage) -> TestMessageResponse:
    """A signed direct message to test the relays with. It is neither sent nor stored."""
    with refusal("not_a_key"):
        return _test_message(running(), data)


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
