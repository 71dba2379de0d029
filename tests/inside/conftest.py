"""A server and a relay for the tests of the Python surface."""

import shutil
from collections.abc import AsyncIterator

import pytest_asyncio

from support.lnbits_code import DATA

# isort: split

from nostrclient_ext import router
from nostrclient_ext.core import running as core

from support.scripted_relay import ScriptedRelay
from support.surface import Server


def pytest_sessionfinish() -> None:
    shutil.rmtree(DATA)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.make_table()
    try:
        yield server
    finally:
        await server.stop()
        manager = router.nostr_client.relay_manager
        manager.close_all_subscriptions()
        manager.remove_relays()
        pool = manager.message_pool
        router.NostrRouter.received_subscription_events.clear()
        router.NostrRouter.received_subscription_eosenotices.clear()
        router.NostrRouter.received_subscription_notices.clear()
        for messages in (pool.events, pool.notices, pool.eose_notices):
            messages.drop(lambda _: True)
        core.UNWANTED_RELAYS.clear()


@pytest_asyncio.fixture
async def relay(server: Server) -> AsyncIterator[ScriptedRelay]:
    """One relay that the owner has configured."""
    async with ScriptedRelay() as relay:
        server.relays.append(relay.url)
        yield relay
