"""What the owner is shown of the clients inside LNbits."""

import pytest
from nostrclient_ext.core.library import CoreUnavailable
from nostrclient_ext.nostr.client.client import NostrClient
from nostrclient_ext.page.clients import clients, cut_off
from nostrclient_ext.relays.check import check
from nostrclient_ext.router import nostr_client

from support.events import Author
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay
from support.surface import Server

pytestmark = pytest.mark.asyncio


async def test_those_of_extensions_are_there(
    server: Server, relay: ScriptedRelay
) -> None:
    running = await server.start()
    nostr_client.relay_manager.add_subscription("s", [{"kinds": [1]}])
    own = NostrClient()
    try:
        own.connect([relay.url])
        own.relay_manager.add_subscription("t", [{"kinds": [1]}])
        own.relay_manager.add_subscription("u", [{"kinds": [2]}])
        await relay.req(3)
        await relay.line.live(Author().sign())
        await eventually(lambda: clients(running).clients[1].delivered, 10, "it is given")
        shared, named = clients(running).clients
        assert shared.agent == "what all extensions share"
        assert named.agent == f"an extension with relays of its own: {relay.url}"
        assert [one.subscriptions for one in (shared, named)] == [1, 2]
        assert {one.kind for one in (shared, named)} == {"extension"}
        assert not cut_off(running, shared.id), "it would come again at once"
    finally:
        own.close()
    assert clients(running).total == 1


async def test_a_relays_test_that_finds_no_place(
    server: Server, relay: ScriptedRelay
) -> None:
    running = await server.start()
    bridge, places = running.bridge, []
    with pytest.raises(running.library.TooManyClients):
        while True:
            places.append(bridge.connect_inside(lambda: None))
    with pytest.raises(CoreUnavailable, match="serves 256 clients already"):
        await check(running, relay.url)
    for place in places:
        bridge.disconnect_inside(place)
