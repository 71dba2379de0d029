"""The WebSocket endpoints: their paths, and who may connect."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from lnbits.helpers import decrypt_internal_message, encrypt_internal_message
from lnbits.settings import settings

from ..core.library import CoreUnavailable, load
from ..core.settings import current
from ..crud import get_config
from ..models import Config, Endpoints

BASE = "/nostrclient/api/v1"
PUBLIC_ID = "relay"  # the public endpoint's path, and the text private ids encrypt

HOST_LENGTH = 300  # characters kept of a Host header

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

# What LNbits' encryption of a short text looks like. Longer texts are not decrypted.
_PRIVATE_ID = re.compile(r"[A-Za-z0-9+/_-]{16,254}={0,2}")


async def endpoints() -> Endpoints:
    """The paths of the open endpoints. Every call makes a new private id; all of them
    stay valid as long as the server keeps its secret key."""
    config = await get_config()
    private_id = encrypt_internal_message(PUBLIC_ID, urlsafe=True)
    allowed: list[str] = [*config.public_allowed]
    try:
        allowed = [load().to_npub(key) for key in allowed]
    except (CoreUnavailable, ValueError):
        pass  # hex is readable too
    return Endpoints(
        public=f"{BASE}/{PUBLIC_ID}" if config.public_ws else None,
        private=f"{BASE}/{private_id}" if config.private_ws else None,
        address=config.address,
        public_allowed=allowed,
    )


def hosts(config: Config, public: bool, host: str) -> list[str]:
    """The names of this server, one of which a client has to sign to authenticate
    (NIP-42); `host` is the one it asked for. Where the owner has set an address, the
    public endpoint has no other name: the header is the client's own word, and whoever
    has got somebody to sign in at another place might repeat that place's name here."""
    if public and config.address:
        return [config.address]
    return [name for name in (host[:HOST_LENGTH], config.address) if name]


def is_own(config: Config, url: str, host: str) -> bool:
    """Whether a relay's url, in its one spelling, is an endpoint of this server by one of
    the names that are known here; `host` is what the owner's browser calls it. By any
    other name it is recognised when it is connected to."""
    parts = urlsplit(url)
    path = unquote(parts.path).rstrip("/")
    _, is_there, id_ = path.partition(f"{BASE}/")
    if not is_there or not may_be_endpoint(id_):
        return False
    if parts.hostname in _THIS_MACHINE and parts.port == settings.port:
        return True
    names = (f"//{host[:HOST_LENGTH]}", config.address, settings.lnbits_baseurl)
    return (parts.hostname, parts.port) in {
        (own.hostname, own.port) for own in map(urlsplit, names) if own.hostname
    }


def asked_id(scope: Mapping[str, Any], routed_id: str) -> str:
    """The id as the client wrote it, without slashes at the end. LNbits 1.5 serves an
    extension that was installed over its API from another path, in which two slashes
    have become one, as plain base64 may have them."""
    asked = unquote(scope.get("raw_path", b"").decode("ascii", "replace"))
    _, is_there, id_ = asked.partition(f"{BASE}/")
    return (id_ if is_there else routed_id).rstrip("/")


async def settings_if_open(endpoint_id: str) -> Config | None:
    """The settings, if this path is an endpoint's and it is open."""
    public = is_public(endpoint_id)
    if not public and not _is_private_id(endpoint_id):
        return None
    config = await current()
    return config if (config.public_ws if public else config.private_ws) else None


def is_public(endpoint_id: str) -> bool:
    """Whether this path is the public endpoint's."""
    return endpoint_id == PUBLIC_ID


def may_be_endpoint(endpoint_id: str) -> bool:
    """Whether this looks like the path of an endpoint, open or not."""
    return is_public(endpoint_id) or _PRIVATE_ID.fullmatch(endpoint_id) is not None


def _is_private_id(text: str) -> bool:
    if not _PRIVATE_ID.fullmatch(text):
        return False
    # Extensions use either base64 alphabet.
    standard = text.replace("-", "+").replace("_", "/")
    try:
        return decrypt_internal_message(standard) == PUBLIC_ID
    except Exception:
        # Anybody may send anything here, and the decryption fails in many ways.
        return False
