"""The owner's relays, where extensions have named the same ones for themselves, and
where the database fails."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nostrclient_ext import crud
from nostrclient_ext.core.running import Running
from nostrclient_ext.models import Relay, RelaySwitches
from nostrclient_ext.nostr.client.client import NostrClient
from nostrclient_ext.page.overview import overview
from nostrclient_ext.relays import changes, listing, rows

from migrations import m001_initial, m004_relay_switches
from support.scripted_relay import ScriptedRelay
from support.surface import Server

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def running(server: Server) -> AsyncIterator[Running]:
    """A core, and an empty table of relays."""
    async with crud.db.connect() as connection:
        await connection.execute("DROP TABLE IF EXISTS nostrclient.relays")
        await m001_initial(connection)
        await m004_relay_switches(connection)
    yield await server.start()
    await crud.db.engine.dispose()


async def only(running: Running) -> Relay:
    (shown,) = await listing.list_relays(running)
    return shown


async def test_what_an_extension_uses_for_itself_is_not_the_owners(
    running: Running,
) -> None:
    """Its relay is connected, but nothing that anybody else publishes goes there."""
    client = NostrClient()
    try:
        async with ScriptedRelay() as relay:
            await changes.add(running, RelaySwitches(url=relay.url))
            client.connect([relay.url])
            await relay.connections(1)
            await changes.pause(running, relay.url, 60)
            shown = await only(running)
            assert shown.state == "paused" and not shown.connected
            assert shown.paused_until is not None
            seen = await overview(running)
            assert seen.state.connected == 0 and seen.state.relays == 0
            assert [item.id for item in seen.attention] == ["all-off"]
            await changes.switch(running, RelaySwitches(url=relay.url, active=False))
            shown = await only(running)
            assert shown.state == "inactive" and not shown.connected
            await changes.switch(running, RelaySwitches(url=relay.url, active=True))
            assert (await only(running)).state == "connected"
    finally:
        client.close()


async def test_a_pause_outlives_a_database_that_fails(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> list[Relay]:
        raise OSError("the database is away")

    async with ScriptedRelay() as relay:
        await changes.add(running, RelaySwitches(url=relay.url))
        await relay.connections(1)
        await changes.pause(running, relay.url, 1)
        with monkeypatch.context() as patch:
            patch.setattr(rows, "get_relays", fails)
            with pytest.raises(OSError, match="away"):
                await changes.reconnect(running, relay.url)
        assert (await only(running)).state == "paused"
        await relay.connections(2)
        assert (await only(running)).paused_until is None


async def test_what_is_wrong_with_a_row_has_a_code(running: Running) -> None:
    await crud.db.execute(
        "INSERT INTO nostrclient.relays (id, url, active) VALUES ('a', 'http://a', true)"
    )
    (line,) = (await overview(running)).relays
    assert line.state == "invalid" and line.last_error
    assert line.last_error_code == "not_a_url"
