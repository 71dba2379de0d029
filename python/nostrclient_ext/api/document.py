"""The endpoints' answer to a plain HTTP request: their description (NIP-11)."""

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from lnbits.settings import settings
from starlette.routing import Match
from starlette.types import Scope

from ..core.running import Running, running
from ..models import RelayDocument, RelayLimitation
from ..relays import document
from .endpoints import asked_id, is_public, may_be_endpoint, settings_if_open
from .routes import Route
from .websocket import PRIVATE_PATH_IN_LOGS


class EndpointRoute(Route):
    """A route for the endpoints' own paths. It matches every path and takes only what may
    be an endpoint's."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE:
            routed = child["path_params"]["endpoint_id"]
            if not may_be_endpoint(asked_id(scope, routed)):
                return Match.NONE, {}
        return match, child


router = APIRouter(route_class=EndpointRoute)

MEDIA_TYPE = "application/nostr+json"
MAX_SUBSCRIPTION_ID = 64  # characters (NIP-01)

# What we do ourselves: messages, this document, expiry, signing in, protected events.
SUPPORTED_NIPS = [1, 11, 40, 42, 70]
# What the relays have to do, as their own documents say. COUNT (45) and search (50) are
# asked of those connected that list them. Deletion (9) needs every relay that is read
# from: one that does not delete sends what was deleted. The hint that nothing is missing
# (67) needs it from all as well. NIP-62 names relays by address,
# so a request for this one concerns none of them; NIP-77 is not passed on.
IF_ONE_DOES = {45, 50}
IF_ALL_DO = {9, 67}

# Pages of other sites may read it.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Vary": "Accept",
}

GREETING = "This is a Nostr relay. Connect to it with a Nostr client, over WebSocket.\n"


@router.api_route("/{endpoint_id:path}", methods=["GET", "HEAD"])
async def api_describe(request: Request, endpoint_id: str) -> Response:
    """The endpoint's description for a Nostr client, a sentence for anybody else."""
    endpoint_id = asked_id(request.scope, endpoint_id)
    public = is_public(endpoint_id)
    if not public:
        # The server logs this path, and whoever reads the log must not find the id.
        request.scope["path"] = PRIVATE_PATH_IN_LOGS
    config = await settings_if_open(endpoint_id)
    if config is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "Not Found")
    if not _asks_for_document(request.headers.getlist("accept")):
        return PlainTextResponse(GREETING, headers=CORS)
    answer = _document(public and bool(config.public_allowed))
    return JSONResponse(answer.dict(), headers=CORS, media_type=MEDIA_TYPE)


def _asks_for_document(accept: list[str]) -> bool:
    """Whether one of the types that these headers list is the document's: in any case,
    with any parameters (RFC 9110)."""
    listed = ",".join(accept).split(",")
    return MEDIA_TYPE in (one.partition(";")[0].strip().lower() for one in listed)


def _by_relays(found: Running) -> set[int]:
    """The NIPs that hold because of the relays there are now."""
    reading = [
        relay for relay in found.core.relays() if relay["listed"] and relay["read"]
    ]
    does = {relay["url"]: _nips_of(relay["url"]) for relay in reading}
    connected = [relay["url"] for relay in reading if relay["state"] == "connected"]
    one = {nip for url in connected for nip in does[url]}
    every = set.intersection(*does.values()) if does else set()
    return (one & IF_ONE_DOES) | (every & IF_ALL_DO)


def _nips_of(url: str) -> set[int]:
    info = document.known(url)
    return set() if info is None else set(info.supported_nips)


def _document(listed_only: bool) -> RelayDocument:
    """`listed_only`: the owner has a list of those who may use it."""
    found = running()
    return RelayDocument(
        name=f"{settings.lnbits_site_title}: nostrclient",
        description="One connection to many relays: what one loses, another delivers.",
        software=document.OWN_SOFTWARE,
        version=found.library.__version__,
        supported_nips=sorted({*SUPPORTED_NIPS, *_by_relays(found)}),
        limitation=RelayLimitation.parse_obj(
            {
                **found.core.limits,
                "max_subid_length": MAX_SUBSCRIPTION_ID,
                "auth_required": listed_only,
                "restricted_writes": listed_only,
            }
        ),
    )
