"""A consumer with a client of its own, which calls back in a thread and loop of its own.

The client is made when the module is imported, and connected to the relays that
nostrclient's database names. Tests ask over HTTP what it was told.
"""

# pyright: reportMissingImports=false

import asyncio
import json
import threading
from typing import Any

from fastapi import APIRouter
from lnbits.db import Database

try:
    from lnbits.extensions.nostrclient.crud import get_relays
    from lnbits.extensions.nostrclient.nostr.client.client import NostrClient
except ModuleNotFoundError:
    from nostrclient.crud import get_relays
    from nostrclient.nostr.client.client import NostrClient

SUBSCRIPTION = "listener"
WANTED = [{"kinds": [1], "#t": ["listener"]}]

db = Database("ext_listener")
listener_ext = APIRouter(prefix="/listener")
own_client = NostrClient()
heard: dict[str, list[Any]] = {"events": [], "notices": [], "eose": [], "threads": []}
tasks: set[asyncio.Task[None]] = set()


def listener_start() -> None:
    """Listen from now on."""
    task = asyncio.get_running_loop().create_task(begin())
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def listener_stop() -> None:
    """Listen no more."""
    own_client.close()


async def relays() -> list[str]:
    return [relay.url for relay in await get_relays() if relay.active]


async def begin() -> None:
    urls = await relays()
    threading.Thread(target=listen, args=(urls,), name="listener", daemon=True).start()


def listen(urls: list[str]) -> None:
    own_client.connect(urls)
    own_client.relay_manager.add_subscription(SUBSCRIPTION, WANTED)
    asyncio.run(
        own_client.subscribe(
            callback_events_func=on_event,
            callback_notices_func=on_notice,
            callback_eosenotices_func=on_eose,
        )
    )


def on_event(message: Any) -> None:
    event = json.loads(message.event)
    assert event["id"] == message.event_id
    assert message.subscription_id == SUBSCRIPTION
    heard["events"].append(message.event_id)
    heard["threads"].append(threading.current_thread().name)


def on_notice(message: Any) -> None:
    heard["notices"].append(message.content)


def on_eose(message: Any) -> None:
    heard["eose"].append(message.subscription_id)


@listener_ext.get("/api/v1/heard")
async def api_heard() -> dict[str, list[Any]]:
    """Everything it was told, in order."""
    return heard


@listener_ext.post("/api/v1/reconnect")
async def api_reconnect() -> None:
    """Use the relays there are now."""
    await asyncio.to_thread(own_client.reconnect, await relays())
