"""What people's programs do with nostr_sdk, against one endpoint.

    sdk_stranger.py SCENARIO URL [PRIVATE KEY, or what is wanted]

Prints what it saw as one JSON object; the test that started it judges it. A process of
its own, because the library's connections may outlive the clients that made them.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from nostr_sdk import (
    Client,
    Event,
    EventBuilder,
    Filter,
    HandleNotification,
    Keys,
    Kind,
    NostrSigner,
    PublicKey,
    RelayMessage,
    RelayUrl,
    Tag,
)

PATIENCE = timedelta(seconds=5)
NOTES = 20


class Seen(HandleNotification):
    """The events a client is told of."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.all = asyncio.Event()

    async def handle(
        self, relay_url: RelayUrl, subscription_id: str, event: Event
    ) -> None:
        self.ids.append(event.id().to_hex())
        if len(self.ids) >= NOTES:
            self.all.set()

    async def handle_msg(self, relay_url: RelayUrl, msg: RelayMessage) -> None:
        pass


async def connected(url: str, keys: Keys | None = None) -> tuple[Client, PublicKey]:
    keys = keys or Keys.generate()
    client = Client(NostrSigner.keys(keys))
    await client.add_relay(RelayUrl.parse(url))
    await client.connect()
    await client.wait_for_connection(PATIENCE)
    return client, keys.public_key()


async def publish_and_subscribe(url: str) -> dict[str, Any]:
    """One client subscribes, another one publishes; then the first one looks it up."""
    reader, _ = await connected(url)
    writer, author = await connected(url)
    wanted = Filter().author(author)
    seen = Seen()
    handling = asyncio.ensure_future(reader.handle_notifications(seen))
    subscription = await reader.subscribe(wanted)
    sent: list[str] = []
    failed = 0
    for number in range(NOTES):
        output = await writer.send_event_builder(EventBuilder(Kind(1), f"{number}"))
        sent.append(output.id.to_hex())
        failed += len(output.failed)
    await asyncio.wait_for(seen.all.wait(), PATIENCE.total_seconds())
    await reader.unsubscribe(subscription.id)
    stored = await reader.fetch_events(wanted, PATIENCE)
    one = await reader.fetch_events(wanted.limit(1), PATIENCE)
    handling.cancel()
    await asyncio.gather(handling, return_exceptions=True)
    return {
        "sent": sent,
        "failed": failed,
        "seen": seen.ids,
        "stored": [event.id().to_hex() for event in stored.to_vec()],
        "one": [event.id().to_hex() for event in one.to_vec()],
    }


async def refusal(url: str) -> dict[str, Any]:
    client, _ = await connected(url)
    output = await client.send_event_builder(EventBuilder(Kind(1), "nobody there"))
    return {"success": len(output.success), "failed": list(output.failed.values())}


async def sign_in(url: str, private_key: str) -> dict[str, Any]:
    """Publish, also what is for its author only, and read, signing in where asked to."""
    client, author = await connected(url, Keys.parse(private_key))
    reasons: list[str | None] = []
    for tags in ([], [Tag.protected()]):
        output = await client.send_event_builder(EventBuilder(Kind(1), "").tags(tags))
        reasons.extend(list(output.failed.values()) or [None])
    found = await client.fetch_events(Filter().author(author), PATIENCE)
    return {"reasons": reasons, "found": len(found.to_vec())}


async def newest(url: str, wanted: str) -> dict[str, Any]:
    """What is stored for each of these filters."""
    client, _ = await connected(url)
    found = {}
    for name, one in json.loads(wanted).items():
        events = await client.fetch_events(Filter.from_json(json.dumps(one)), PATIENCE)
        found[name] = [event.id().to_hex() for event in events.to_vec()]
    return found


SCENARIOS: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    "publish-and-subscribe": publish_and_subscribe,
    "refusal": refusal,
    "sign-in": sign_in,
    "newest": newest,
}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(SCENARIOS[sys.argv[1]](*sys.argv[2:]))))
