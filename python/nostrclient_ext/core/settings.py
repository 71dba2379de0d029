"""The owner's settings. All changes go through `change`: it checks what the owner writes,
stores it, and hands it to the running core."""

import asyncio
import re
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from loguru import logger

from ..crud import change_config, get_config, get_stored_config
from ..models import Config, ConfigChange, StoredConfig
from .library import CoreUnavailable, load
from .refusal import Refusal, refusal
from .running import Running, running

_SCHEMES = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}
_HOST = re.compile(r"[a-z0-9.:_-]+")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")

# Codes of refusals: the setting that is wrong.
ADDRESS = "address"
PUBLIC_ALLOWED = "public_allowed"
PROXY = "proxy"

_NO_ADDRESS = "This is no address. It should look like wss://relay.example.com"


FRESH_SECONDS = 5.0  # what another process has changed holds here after that
LOOK_SECONDS = 1.0  # that somebody waits for a database that does not answer


async def current() -> Config:
    """The settings that hold. Another process may have changed them: whoever asks when
    they have not been looked at for `FRESH_SECONDS` waits for one look into the database,
    all together, and not for long. If there is no core that has them, they are read."""
    try:
        found = running()
    except CoreUnavailable:
        return await get_config()
    if found.config is None:
        return await get_config()
    await _look_again(found)
    return found.config.without_secrets()


async def _look_again(found: Running) -> None:
    now = time.monotonic()
    if found.look is None or (found.look.done() and now - found.looked > FRESH_SECONDS):
        found.looked = now
        found.look = found.spawn(_take_over_changes(found))
    if not found.look.done():
        await asyncio.wait({found.look}, timeout=LOOK_SECONDS)


async def _take_over_changes(found: Running) -> None:
    before = found.config
    try:
        stored = await get_stored_config()
    except Exception as exc:
        logger.debug(f"nostrclient: the settings cannot be read: {type(exc).__name__}")
        return
    # Not what was read before a change here.
    if stored != before and found.config is before:
        with suppress(found.library.CoreStopped):
            found.apply(stored)


async def change(wanted: ConfigChange) -> Config:
    """Change the settings that are given. They apply to clients and events that come from
    now on; relays that are reached another way connect anew. Returns all settings. Raises
    `Refusal`, and `CoreUnavailable` for what only the core can check."""
    changes = wanted.dict(exclude_none=True)
    if wanted.address is not None:
        changes["address"] = _server_address(wanted.address)
    if wanted.public_allowed is not None:
        changes["public_allowed"] = _public_keys(wanted.public_allowed)
    if wanted.proxy is not None:
        changes |= _proxy(wanted.proxy, await get_stored_config())
    config = await change_config(changes)
    _apply(config)
    return config.without_secrets()


def _apply(config: StoredConfig) -> None:
    try:
        found = running()
    except CoreUnavailable:
        return  # it is given them when it starts
    found.apply(config)
    queued = found.core.stats()["outbox"]["queued"]
    if queued > config.outbox_size:
        logger.warning(
            f"nostrclient: {queued} events are queued, and at most {config.outbox_size}"
            " may be: no more are taken until some are sent."
        )


def _server_address(text: str) -> str:
    """The server's address, `wss://host/prefix`, which stands before the endpoints'
    paths. The owner may write a host, a page's address or a whole endpoint. Empty stays
    empty."""
    text = text.strip()
    if not text:
        return ""
    if "://" not in text:
        text = f"wss://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Refusal(ADDRESS, _NO_ADDRESS) from None
    scheme = _SCHEMES.get(parts.scheme)
    host = parts.hostname or ""
    if scheme is None or not _HOST.fullmatch(host) or port == 0:
        raise Refusal(ADDRESS, _NO_ADDRESS)
    if parts.username is not None or parts.query or parts.fragment:
        raise Refusal(
            ADDRESS, "The address carries no user name, no ? part and no # part."
        )
    prefix = parts.path.partition("/nostrclient")[0].rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise Refusal(ADDRESS, _NO_ADDRESS)
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}{'' if port is None else f':{port}'}{prefix}"


def _public_keys(texts: list[str]) -> list[str]:
    """The keys that may use the public endpoint, given as `npub1…` or hex: as hex, each
    once. An empty text is refused: an empty list would let everybody in."""
    keys: list[str] = []
    for number, text in enumerate(texts, start=1):
        with refusal(PUBLIC_ALLOWED, f"Public key {number} of the list: "):
            keys.append(load().normalize_public_key(text.strip()))
    return list(dict.fromkeys(keys))


def _proxy(text: str, stored: StoredConfig) -> dict[str, Any]:
    """The proxy as it is stored, its password in a field of its own. The owner sees it
    without the password, and may send it back so. Empty means no proxy. No refusal
    repeats what was given."""
    if not text.strip():
        return {"proxy": "", "proxy_password": None}
    with refusal(PROXY):
        shown, password = running().library.read_proxy_url(text)
    if password is None and "@" in shown:
        if shown != stored.proxy:
            raise Refusal(
                PROXY,
                "The proxy's user name needs its password again:"
                " socks5://user:password@host:port",
            )
        password = stored.proxy_password
    return {"proxy": shown, "proxy_password": password}
