"""Starting, stopping and starting again: the server, and the extension in it."""

import asyncio
import time
from pathlib import Path

import pytest

from scripts.lnbits_server import LNbits
from support.copied import copy_of
from support.endpoint import Endpoint
from support.events import Author
from support.live_page import LivePage
from support.scripted_relay import ScriptedRelay
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

SERVICE_RESTART = 1012  # close code: come again
GOING_AWAY = 1001  # close code


async def switch(endpoint: Endpoint, action: str) -> None:
    url = f"{endpoint.root}/api/v1/extension/nostrclient/{action}"
    response = await endpoint.http.put(url)
    assert response.status_code == 200, response.text


async def served(endpoint: Endpoint, relay: ScriptedRelay) -> WireClient:
    """A client that gets events through this relay."""
    await relay.connected()
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    note = Author().sign()
    await relay.line.live(note)
    assert await client.count("s", 1) == [note]
    return client


async def test_switched_off_and_on(lnbits: LNbits, endpoint: Endpoint) -> None:
    """As an admin does on LNbits' own page."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await served(endpoint, relay)
    threads = endpoint.threads()
    for _ in range(3):
        await switch(endpoint, "deactivate")
        assert (await client.ended())[0] == SERVICE_RESTART
        await relay.until(lambda: not relay.lines, "the end of the connection")
        await switch(endpoint, "activate")
        client = await served(endpoint, relay)
    # A second start without a stop in between is a new copy's, as after an upgrade: it
    # takes over, and nothing of the old one is left.
    await switch(endpoint, "activate")
    assert (await client.ended())[0] == SERVICE_RESTART
    await relay.connections(5)
    await relay.until(lambda: len(relay.lines) == 1, "one connection")
    await served(endpoint, relay)
    assert endpoint.threads() <= threads + 2
    assert "Traceback" not in lnbits.log()


async def test_the_server_ends_and_starts_again(lnbits: LNbits, tmp_path: Path) -> None:
    """Once by SIGTERM, with clients and relays connected, and once by a power cut."""
    lnbits = copy_of(lnbits, tmp_path / "data")
    async with ScriptedRelay() as relay:
        try:
            lnbits.start()
            endpoint = Endpoint(lnbits)
            await endpoint.reset()
            assert (await endpoint.add(relay.url)).status_code == 200
            client = await served(endpoint, relay)

            start = time.monotonic()
            await asyncio.to_thread(lnbits.stop)
            assert time.monotonic() - start < 8
            await client.ended()
            await relay.until(lambda: not relay.lines, "the end of the connection")
            assert "Traceback" not in lnbits.log()
            await endpoint.close()

            await asyncio.to_thread(lnbits.start)
            endpoint = Endpoint(lnbits)
            client = await served(endpoint, relay)
            lnbits.kill()
            await client.ended()
            await endpoint.close()

            await asyncio.to_thread(lnbits.start)
            endpoint = Endpoint(lnbits)
            await served(endpoint, relay)
            await endpoint.close()
        finally:
            await asyncio.to_thread(lnbits.stop)
            lnbits.http.close()


@pytest.mark.parametrize("websockets", ["auto", "websockets-sansio"])
async def test_clients_are_told_that_the_server_ends(
    lnbits: LNbits, tmp_path: Path, websockets: str
) -> None:
    """Whether the core has their sockets or the web server; the page is told too."""
    lnbits = copy_of(lnbits, tmp_path / "data", websockets=websockets)
    async with ScriptedRelay() as relay:
        try:
            lnbits.start()
            endpoint = Endpoint(lnbits)
            await endpoint.reset()
            assert (await endpoint.add(relay.url)).status_code == 200
            idle = await served(endpoint, relay)
            busy = await served(endpoint, relay)
            async with LivePage(endpoint) as page:
                await page.until(lambda now: "state" in now, "first look")
                await busy.send("REQ", "t", {"kinds": [2]})
                await asyncio.to_thread(lnbits.stop)
                assert (await idle.ended())[0] == GOING_AWAY
                assert (await busy.ended())[0] == GOING_AWAY
                assert await page.until_closed() == GOING_AWAY
            await endpoint.close()
            assert "Traceback" not in lnbits.log()
        finally:
            await asyncio.to_thread(lnbits.stop)
            lnbits.http.close()
