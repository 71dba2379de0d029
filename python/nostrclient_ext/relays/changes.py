"""What the owner does to relays: in the database and in the running core.

`Refusal` is what the caller did wrong.
"""

import asyncio
import time

from lnbits.helpers import urlsafe_short_hash
from loguru import logger

from ..core.refusal import Refusal
from ..core.retry import until_done
from ..core.running import UNWANTED_RELAYS, Running
from ..crud import (
    add_relay,
    delete_relay,
    delete_relay_key,
    set_relay_key,
    switch_relay,
)
from ..models import Relay, RelayRow, RelaySwitches
from . import keys
from .rows import (
    NO_RELAY_URL,
    PAUSES,
    merged,
    normalized,
    not_in_use,
    not_there,
    required,
    rows_by_url,
    spelled,
)

# One change at a time: each reads the list before it writes.
_changes = asyncio.Lock()


async def connect_all(running: Running) -> None:
    """Connect to every active relay in the database, and to paused ones when their pause
    is over."""
    async with _changes:
        for url, rows in (await rows_by_url(running)).items():
            await keys.hand_over(running, merged(rows), url)
            _apply(running, url, merged(rows))
    for url, until in list(PAUSES.items()):
        running.spawn(_go_on_at(running, url, until))


async def add(running: Running, wanted: RelaySwitches) -> None:
    """Add a relay and connect to it."""
    url = normalized(running, required(wanted.url))
    async with _changes:
        if url in await rows_by_url(running):
            raise Refusal("relay_exists", f"Relay: {url} already exists.")
        switches = _switches(wanted)
        row = RelayRow(id=urlsafe_short_hash(), url=url)
        await add_relay(row)
        # In a new row all switches are on.
        await switch_relay(row.id, {k: on for k, on in switches.items() if not on})
        _apply(running, url, Relay(**{**row.dict(), **switches}))


async def switch(running: Running, wanted: RelaySwitches) -> None:
    """Turn a relay, its reading or its writing on or off."""
    url = spelled(running, required(wanted.url))
    async with _changes:
        rows = (await rows_by_url(running)).get(url)
        if rows is None:
            raise not_there(url)
        switches = _switches(wanted)
        for row in rows:
            await switch_relay(row.id or "", switches)
        if "active" in switches:
            PAUSES.pop(url, None)
        _apply(running, url, merged(rows).copy(update=switches))


async def remove(running: Running, given: str | None) -> None:
    """Remove a relay, however it is spelled. Nothing happens if there is none."""
    url = spelled(running, required(given))
    async with _changes:
        rows = (await rows_by_url(running)).get(url, [])
        for row in rows:
            if row.id is not None:
                await delete_relay(row.id)
        UNWANTED_RELAYS.add(url)
        PAUSES.pop(url, None)
        try:
            running.core.remove_relay(url)
            running.core.set_relay_key(url)
        except ValueError as exc:
            if not rows:  # else the row had a url that is none
                raise Refusal(NO_RELAY_URL, str(exc)) from exc


async def choose_key(running: Running, given: str | None, public_key: str | None) -> None:
    """Set the key that we sign in with at a relay. None: none."""
    url = normalized(running, required(given))
    async with _changes:
        rows = (await rows_by_url(running)).get(url)
        if rows is None:
            raise not_there(url)
        private = None
        if public_key is not None:
            private = await keys.private_key(running, public_key)
        for row in rows:
            await set_relay_key(row.id or "", public_key)
        running.core.set_relay_key(url, private)


async def forget_key(running: Running, public_key: str) -> None:
    """Remove a key, and no longer sign in with it anywhere."""
    async with _changes:
        for url, rows in (await rows_by_url(running)).items():
            if merged(rows).key == public_key:
                for row in rows:
                    await set_relay_key(row.id or "", None)
                running.core.set_relay_key(url)
        await delete_relay_key(public_key)


async def pause(running: Running, given: str | None, seconds: float) -> None:
    """Do not use a relay for this long."""
    url = spelled(running, required(given))
    async with _changes:
        relay = await _existing(running, url)
        if not relay.active:
            raise Refusal("relay_off", f"Relay: {url} is switched off.")
        until = time.time() + seconds
        PAUSES[url] = until
        _apply(running, url, relay)
    running.spawn(_go_on_at(running, url, until))


async def reconnect(running: Running, given: str | None) -> None:
    """Connect to a relay anew: whether it is connected, waits for its next attempt or is
    paused."""
    url = spelled(running, required(given))
    async with _changes:
        if url in PAUSES:
            # Read first: if the database is away, the pause goes on.
            relay = await _existing(running, url)
            PAUSES.pop(url, None)
            return _apply(running, url, relay)
        if running.core.relay(url) is None:
            raise not_in_use(url)
        running.core.reconnect(url, anew=True)


async def _go_on_at(running: Running, url: str, until: float) -> None:
    """Use a relay again when its pause is over, unless the pause was changed."""
    await asyncio.sleep(max(0.0, until - time.time()))

    async def go_on() -> None:
        async with _changes:
            if PAUSES.get(url) != until:
                return
            rows = (await rows_by_url(running)).get(url)
            if PAUSES.get(url) == until:  # no other copy of the extension has changed it
                del PAUSES[url]
                if rows:
                    _apply(running, url, merged(rows))

    complaint = f"nostrclient cannot end the pause of {url!r}"
    await until_done(go_on, running.library.CoreStopped, complaint)


async def _existing(running: Running, url: str) -> Relay:
    rows = (await rows_by_url(running)).get(url)
    if rows is None:
        raise not_there(url)
    return merged(rows)


def _switches(wanted: RelaySwitches) -> dict[str, bool]:
    """The switches that are given."""
    return wanted.dict(exclude={"url"}, exclude_none=True)


def _apply(running: Running, url: str, relay: Relay) -> None:
    """Have the core do what the relay's switches say."""
    wanted = relay.active and url not in PAUSES
    if wanted:
        UNWANTED_RELAYS.discard(url)
    else:
        UNWANTED_RELAYS.add(url)
    try:
        if wanted:
            running.core.add_relay(url, relay.read, relay.write)
            running.relays_changed.set()
        else:
            running.core.remove_relay(url)
    except ValueError as exc:
        logger.warning(f"nostrclient does not connect to {url!r}: {exc}")
