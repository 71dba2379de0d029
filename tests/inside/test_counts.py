"""Counts for other extensions (NIP-45)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from nostrclient_ext.inside.counts import MAX_COUNTS, Counts
from nostrclient_ext.nostr.client.client import NostrClient
from nostrclient_ext.nostr.relay_manager import CountRefused
from nostrclient_ext.router import nostr_client

from support.scripted_relay import ScriptedRelay, counted, refused, silent
from support.surface import Server

pytestmark = pytest.mark.asyncio

manager = nostr_client.relay_manager
NOTES = {"kinds": [1]}


@contextmanager
def refusal(words: str, *codes: str) -> Iterator[None]:
    """A count is refused in these words, with a code that is one of these."""
    with pytest.raises(CountRefused, match=words) as caught:
        yield
    assert caught.value.code in codes


async def test_the_shared_client_counts(server: Server, relay: ScriptedRelay) -> None:
    relay.on_count = counted(5, hll="01" * 256)
    with refusal("not running", "no_core"):
        await manager.count(NOTES)
    await server.start()
    manager.add_subscription("s", [NOTES])
    await relay.req()
    many = await asyncio.gather(*(manager.count([NOTES, {"kinds": [7]}]) for _ in "abc"))
    assert many == [{"count": 5, "hll": "01" * 256}] * 3
    assert relay.counts() == [[NOTES, {"kinds": [7]}]] * 3
    relay.on_count = refused("restricted: not that")
    with refusal("restricted: not that", "restricted"):
        await manager.count(NOTES)
    with refusal("invalid: unknown filter field", "invalid"):
        await manager.count({"x": 1})
    odd: Any = {"kinds": {1}}
    with pytest.raises(TypeError):
        await manager.count(odd)
    # Another loop, in another thread.
    relay.on_count = counted(7)
    assert await asyncio.to_thread(asyncio.run, manager.count(NOTES)) == {"count": 7}


async def test_a_client_of_its_own_asks_its_own_relays(
    server: Server, relay: ScriptedRelay
) -> None:
    relay.on_count = counted(5)
    async with ScriptedRelay(on_count=counted(6)) as its:
        await server.start()
        client = NostrClient()
        with refusal("no relay configured", "no_relay"):
            await client.relay_manager.count(NOTES)
        client.connect([its.url])
        client.relay_manager.add_subscription("s", [NOTES])
        await its.req()
        assert await client.relay_manager.count(NOTES) == {"count": 6}
        its.on_count = silent
        asked = asyncio.ensure_future(client.relay_manager.count(NOTES))
        await its.until(lambda: len(its.counts()) == 2, "the question")
        client.close()
        with refusal("closed", "client_closed"):
            await asked
    assert relay.counts() == []


async def test_a_core_that_stops_leaves_nobody_waiting(
    server: Server, relay: ScriptedRelay
) -> None:
    await server.start()
    manager.add_subscription("s", [NOTES])
    await relay.req()
    asked = asyncio.ensure_future(manager.count(NOTES))
    await relay.until(relay.counts, "the question")
    await server.stop()
    # It says goodbye to its relays first, and may still tell that nobody has counted.
    with refusal(r"the core was stopped|no relay has counted", "stopped", "error"):
        await asked


async def test_more_than_may_wait() -> None:
    counts = Counts()
    first, *_, last = [counts.ask([NOTES]) for _ in range(MAX_COUNTS + 1)]
    with refusal("too many counts", "rate_limited"):
        last.result(0)
    assert not first.done()
