"""A consumer of the main client: imports it, keeps it, and looks for events in a loop.

It takes them from the shared lists in each of the ways that are found in the wild, and
publishes from worker threads. Tests ask over HTTP what it has got. Everything it has of
nostrclient it imported when it was imported itself, and never again.
"""

# pyright: reportMissingImports=false

import asyncio
import json
from typing import Any

from fastapi import APIRouter
from lnbits.db import Database

# As an extension does that has to work with both of LNbits' extension paths.
try:
    from lnbits.extensions.nostrclient.nostr.event import Event
    from lnbits.extensions.nostrclient.nostr.key import PrivateKey
    from lnbits.extensions.nostrclient.router import NostrRouter, nostr_client
except ModuleNotFoundError:
    from nostrclient.nostr.event import Event
    from nostrclient.nostr.key import PrivateKey
    from nostrclient.router import NostrRouter, nostr_client

PAUSE = 0.05  # seconds between two looks

db = Database("ext_shop")
shop_ext = APIRouter(prefix="/shop")
taken: dict[str, list[dict[str, Any]]] = {"pop": [], "get": [], "mutate": []}
tasks: list[asyncio.Task[None]] = []


def shop_start() -> None:
    """Subscribe, and look from now on."""
    for way in taken:
        wanted = [{"kinds": [1], "#t": [way]}]
        nostr_client.relay_manager.add_subscription(f"shop-{way}", wanted)
    tasks.append(asyncio.get_running_loop().create_task(look_forever()))


def shop_stop() -> None:
    """Look no more."""
    for task in tasks:
        task.cancel()
    tasks.clear()
    nostr_client.relay_manager.close_subscriptions([f"shop-{way}" for way in taken])


async def look_forever() -> None:
    """Take what has come, for as long as the shop is open."""
    while True:
        by_popping_the_list()
        by_popping_from_the_list()
        by_emptying_the_list()
        await asyncio.sleep(PAUSE)


def by_popping_the_list() -> None:
    for message in NostrRouter.received_subscription_events.pop("shop-pop", []):
        keep("pop", message)


def by_popping_from_the_list() -> None:
    messages = NostrRouter.received_subscription_events.get("shop-get")
    while messages:
        keep("get", messages.pop(0))


def by_emptying_the_list() -> None:
    messages = NostrRouter.received_subscription_events.get("shop-mutate")
    if messages is None:
        return
    for message in messages[:2]:
        keep("mutate", message)
    del messages[:2]
    for message in messages:
        keep("mutate", message)
    messages.clear()


def keep(way: str, message: Any) -> None:
    event = json.loads(message.event)
    assert event["id"] == message.event_id
    assert message.subscription_id == f"shop-{way}"
    taken[way].append({"id": message.event_id, "url": message.url})


def publish(content: str, key: str | None) -> str:
    """In a worker thread: sign a note and hand it over."""
    signer = PrivateKey(bytes.fromhex(key)) if key else PrivateKey()
    event = Event(content=content, public_key=signer.public_key.hex())
    signer.sign_event(event)
    nostr_client.relay_manager.publish_message(event.to_message())
    return str(event.id)


@shop_ext.get("/api/v1/taken")
async def api_taken() -> dict[str, list[dict[str, Any]]]:
    """The events of each way, in the order they came."""
    return taken


@shop_ext.post("/api/v1/publish")
async def api_publish(contents: list[str]) -> list[str]:
    """Publish a note for each, every one from a thread of its own. Their ids."""
    work = (asyncio.to_thread(publish, content, None) for content in contents)
    return await asyncio.gather(*work)


@shop_ext.get("/api/v1/relays")
async def api_relays() -> dict[str, bool]:
    """Which relays the main client knows, and whether it is connected to them."""
    relays = nostr_client.relay_manager.relays
    return {url: relay.connected for url, relay in relays.items()}
