"""One connection to the endpoint: what is asked, what is waited for, what is answered.

Owned by `service.py`, which makes one after the other; it ends when the socket closes.

A session asks twice, for the orders to this service and for the service's own answers.
Until both have their EOSE it only collects. Then it carries out every order it has found
without an answer of its own, and from there on each one as it is delivered. It keeps no
list of what it has carried out: whatever is delivered twice is carried out twice, and
what it is not shown it does again. That is how services of this kind work, and why the
endpoint must never deliver twice and never say EOSE too early.
"""

import asyncio
import json
import secrets
import time
from typing import Any

from loguru import logger
from nostr_sdk import (
    EventBuilder,
    Keys,
    Kind,
    Nip44Version,
    PublicKey,
    Tag,
    nip44_decrypt,
    nip44_encrypt,
)
from websockets.asyncio.client import ClientConnection

from .crud import get_wallet_id, note
from .orders import METHODS, carry_out, payment_hash_of

INFO, REQUEST, RESPONSE = 13194, 23194, 23195
ENCRYPTION = "nip44_v2"
LOOK_BACK = 600  # seconds; orders older than this are nobody's any more
RESUBSCRIBE_SECONDS = 0.2  # after a CLOSED

Event = dict[str, Any]


class Session:
    """`await run()`, once. `finish()` afterwards."""

    def __init__(self, socket: ClientConnection, keys: Keys, info_seconds: float) -> None:
        self._socket = socket
        self._keys = keys
        self._pubkey = keys.public_key().to_hex()
        self._info_seconds = info_seconds
        self._requests = self._responses = ""
        """The ids of the two subscriptions."""
        self._awaited: set[str] = set()
        """Those that have no EOSE yet."""
        self._found: dict[str, Event] = {}
        """Orders that came before both EOSE."""
        self._answered: set[str] = set()
        """Orders that answers were found to by then."""
        self._orders: set[asyncio.Task[None]] = set()
        """Those being carried out now."""

    async def run(self) -> None:
        """Until the socket closes."""
        announcing = asyncio.create_task(self._announce())
        try:
            await self._subscribe()
            async for text in self._socket:
                await self._take(json.loads(text))
        finally:
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)

    async def finish(self) -> None:
        """Wait for the orders that are being carried out."""
        await asyncio.gather(*self._orders, return_exceptions=True)

    async def _send(self, *parts: object) -> None:
        await self._socket.send(json.dumps(parts))

    async def _announce(self) -> None:
        """What this service can do, again and again, for relays that have forgotten."""
        while True:
            tags = [["encryption", ENCRYPTION]]
            await self._publish(INFO, " ".join(METHODS), tags)
            await asyncio.sleep(self._info_seconds)

    async def _subscribe(self) -> None:
        """Ask anew, under new ids. What comes for the old ones is ignored from now on."""
        self._requests, self._responses = secrets.token_hex(32), secrets.token_hex(32)
        self._awaited = {self._requests, self._responses}
        self._found.clear()
        self._answered.clear()
        since = int(time.time()) - LOOK_BACK
        requests = {"kinds": [REQUEST], "#p": [self._pubkey], "since": since}
        responses = {"kinds": [RESPONSE], "authors": [self._pubkey], "since": since}
        await note("subscribed")
        await self._send("REQ", self._requests, requests)
        await self._send("REQ", self._responses, responses)

    async def _take(self, parts: list[Any]) -> None:
        match parts:
            case ["EVENT", sub, event] if sub == self._requests:
                if self._awaited:
                    self._found[event["id"]] = event
                else:
                    self._begin(event)
            case ["EVENT", sub, event] if sub == self._responses and self._awaited:
                self._answered |= {tag[1] for tag in event["tags"] if tag[0] == "e"}
            case ["EOSE", sub] if sub in self._awaited:
                self._awaited.remove(sub)
                if not self._awaited:
                    await self._serve()
            case ["CLOSED", sub, why] if sub in (self._requests, self._responses):
                await note("closed", detail=why)
                await asyncio.sleep(RESUBSCRIBE_SECONDS)
                await self._subscribe()
            case ["OK", event_id, False, why]:
                await note("refused", event_id, why)

    async def _serve(self) -> None:
        """Both EOSE are there."""
        await note("serving")
        for event_id, event in self._found.items():
            if event_id not in self._answered:
                self._begin(event)
        self._found.clear()
        self._answered.clear()

    def _begin(self, event: Event) -> None:
        task = asyncio.create_task(self._carry_out(event))
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _carry_out(self, event: Event) -> None:
        """Read the order, do it, and answer."""
        try:
            app, secret = PublicKey.parse(event["pubkey"]), self._keys.secret_key()
            order = json.loads(nip44_decrypt(secret, app, event["content"]))
            method, params = order["method"], order.get("params") or {}
        except Exception as exc:
            await note("unreadable", event["id"], type(exc).__name__)
            return
        await note(method, event["id"], payment_hash_of(method, params))
        try:
            wallet_id = await get_wallet_id(event["pubkey"])
            answer = json.dumps(await carry_out(wallet_id, method, params))
            content = nip44_encrypt(secret, app, answer, Nip44Version.V2)
            tags = [["p", event["pubkey"]], ["e", event["id"]]]
            await self._publish(RESPONSE, content, tags)
        except Exception as exc:
            # The order may be carried out all the same. Nobody is told.
            logger.warning(f"nwcservice: an order has no answer: {type(exc).__name__}")
            await note("unanswered", event["id"], type(exc).__name__)

    async def _publish(self, kind: int, content: str, tags: list[list[str]]) -> None:
        builder = EventBuilder(Kind(kind), content).tags([Tag.parse(tag) for tag in tags])
        event = json.loads(builder.sign_with_keys(self._keys).as_json())
        if kind == RESPONSE:
            await note("answer", tags[1][1], event["id"])
        await self._send("EVENT", event)
