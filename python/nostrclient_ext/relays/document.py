"""What relays say about themselves: their NIP-11 documents, fetched over HTTP.

Strangers write them: they are read within bounds, cut to length, and shown as text. The
page asks for one relay at a time (`fetch`), or takes what is known already (`known`) and
has the rest fetched in the background (`look_up`), a few at a time. `limits` fetches them
again now and then (`refresh`).
"""

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Any

import httpx

from ..core.refusal import Refusal
from ..core.running import Running
from .models import RelayInfo, RelayLimits
from .rows import normalized

SECONDS = 5.0  # for the whole answer
PROXIED_SECONDS = 20.0  # the same through a proxy: Tor takes its time
MAX_BYTES = 128 << 10  # of a document
FRESH_SECONDS = 3600.0  # how long a document counts
RETRY_SECONDS = 300.0  # how long the failure to get one counts
MAX_KNOWN = 500  # relays remembered
AT_ONCE = 4  # fetched in the background at a time

NAME = 80  # characters kept, each
DESCRIPTION = 400
OWN_SOFTWARE = "https://github.com/lnbits/nostrclient"  # what our own documents say
SOFTWARE = 120
URL = 500
NIPS = 100  # numbers

# Not compressed: a few bytes could unpack to any number.
_ACCEPT = {"Accept": "application/nostr+json", "Accept-Encoding": "identity"}

_ONION = re.compile(r"https?://[^/?#]*\.onion\.?(:\d*)?([/?#]|$)", re.IGNORECASE)

# At its lowest level it logs the password for a proxy.
logging.getLogger("httpcore.socks").setLevel(logging.INFO)

_known: dict[str, tuple[float, RelayInfo]] = (
    {}
)  # by url: when it was fetched, and what it said
_looking: set[str] = set()
_turns = asyncio.Semaphore(AT_ONCE)


def known(url: str) -> RelayInfo | None:
    """What was fetched lately. Does not wait."""
    found = _known.get(url)
    return None if found is None else found[1]


async def fetch(running: Running, text: str, newer: float = FRESH_SECONDS) -> RelayInfo:
    """What a relay says about itself, or why nothing is known. Fetched again if it is
    older than `newer` seconds. Raises `Refusal` for what is no relay's url."""
    url = normalized(running, text)
    info = _fresh(url, newer)
    if info is None:
        info = await _ask(running, url)
        _remember(url, info)
    return info


async def refresh(running: Running, url: str, newer: float) -> RelayInfo:
    """As `fetch`, after those that are fetched in the background already."""
    async with _turns:
        return await fetch(running, url, newer)


def look_up(running: Running, urls: Iterable[str]) -> None:
    """Fetch the documents that are missing, in the background."""
    for url in islice(urls, MAX_KNOWN):
        if url not in _looking and _fresh(url) is None and len(_looking) < MAX_KNOWN:
            _looking.add(url)
            running.spawn(_look_up(running, url))


async def _look_up(running: Running, url: str) -> None:
    try:
        async with _turns:  # `fetch` for the page does not wait for a turn
            await fetch(running, url)
    except Refusal:
        pass  # no relay's url: the page says so anyway
    finally:
        _looking.discard(url)


def _fresh(url: str, newer: float = FRESH_SECONDS) -> RelayInfo | None:
    since, info = _known.get(url, (0.0, None))
    lasts = FRESH_SECONDS if info and info.problem is None else RETRY_SECONDS
    lasts = min(lasts, newer)
    return info if info and time.monotonic() - since < lasts else None


def _remember(url: str, info: RelayInfo) -> None:
    _known.pop(url, None)
    _known[url] = (time.monotonic(), info)
    while len(_known) > MAX_KNOWN:
        del _known[next(iter(_known))]


async def _ask(running: Running, url: str) -> RelayInfo:
    seconds, proxy = SECONDS, None
    try:
        # The same way as the relay's connection: a .onion name must reach no resolver.
        proxy = running.core.proxy_for(url)
        seconds = SECONDS if proxy is None else PROXIED_SECONDS
        asked = asyncio.ensure_future(_get(url.replace("ws", "http", 1), proxy, seconds))
        # Before Python 3.12 `wait_for` that is cancelled just then leaves it to nobody.
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        document = await asyncio.wait_for(asked, seconds)
    except asyncio.TimeoutError:
        return RelayInfo(url=url, problem=f"No answer within {seconds:.0f} seconds.")
    except httpx.HTTPError as exc:
        return RelayInfo(url=url, problem=f"It cannot be asked: {_in_words(exc)}")
    except ValueError as exc:
        return RelayInfo(url=url, problem=str(exc))
    except Exception:
        if proxy is None:
            raise
        # httpx has no support for proxies here, or the proxy talks nonsense.
        return RelayInfo(url=url, problem="It cannot be asked through the proxy.")
    return _read(url, document)


async def _get(url: str, proxy: str | None, seconds: float) -> Any:
    # Redirects are not followed: they could lead into this server's own network.
    certificates = await asyncio.to_thread(_certificates)
    client = httpx.AsyncClient(
        timeout=seconds,
        headers=_ACCEPT,
        trust_env=False,
        verify=certificates,
        proxy=proxy,
    )
    async with client:
        async with client.stream("GET", url) as response:
            if response.status_code != 200:
                code = response.status_code
                raise ValueError(f"It does not describe itself (HTTP {code}).")
            body = b""
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_BYTES:
                    raise ValueError("Its description is too long to be read.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("It does not describe itself: that is no JSON.") from None


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """The certificates to trust. Made once, and not on the event loop: it is slow."""
    return httpx.create_ssl_context(trust_env=False)


def _in_words(exc: httpx.HTTPError) -> str:
    return str(exc)[:DESCRIPTION] or type(exc).__name__


def _read(url: str, document: Any) -> RelayInfo:
    """What a document says. A field of a wrong type counts as missing."""
    if not isinstance(document, dict):
        return RelayInfo(url=url, problem="It does not describe itself: no JSON object.")
    limits = document.get("limitation")
    limits = limits if isinstance(limits, dict) else {}
    nips = document.get("supported_nips")
    return RelayInfo(
        url=url,
        name=_text(document.get("name"), NAME),
        description=_text(document.get("description"), DESCRIPTION),
        icon=_link(document.get("icon")),
        software=_text(document.get("software"), SOFTWARE),
        version=_text(document.get("version"), SOFTWARE),
        supported_nips=(
            [nip for nip in nips[:NIPS] if _number(nip) is not None]
            if isinstance(nips, list)
            else []
        ),
        limits=RelayLimits.parse_obj(
            {
                name: (_switch if field.type_ is bool else _number)(limits.get(name))
                for name, field in RelayLimits.__fields__.items()
            }
        ),
    )


def _text(value: Any, most: int) -> str | None:
    if not isinstance(value, str):
        return None
    # One line, without surrogates and control characters.
    printable = "".join(char if char.isprintable() else " " for char in value[: 2 * most])
    return " ".join(printable.split())[:most] or None


def _link(value: Any) -> str | None:
    text = _text(value, URL + 1)
    if text is None or len(text) > URL or " " in text:
        return None
    # For a .onion name the owner's browser would ask a resolver.
    is_shown = text.startswith(("https://", "http://")) and not _ONION.match(text)
    return text if is_shown else None


def _number(value: Any) -> int | None:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return value if plain and 0 <= value < 1 << 53 else None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
