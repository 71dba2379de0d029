"""The multiplexer of a running LNbits as a test sees it: REST, WebSocket, and /proc.

Whatever a test starts through it (relays, clients) is ended with it, by `close()`.
"""

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
from Cryptodome.Cipher import AES
from nostr_sdk import LocalRelay, RateLimit, RelayBuilder

from scripts.lnbits_server import LNbits, port_is_taken

from .defaults import DEFAULTS
from .inbox import eventually
from .scripted_relay import ScriptedRelay
from .wire_client import WireClient

Relay: TypeAlias = "ScriptedRelay | LocalRelay"


def private_id(secret: str, text: str = "relay", urlsafe: bool = True) -> str:
    """The private endpoint's path: `text` as LNbits encrypts internal messages.

    Written down once more here (salted AES-256-CBC, the key derived as OpenSSL does),
    because importing LNbits would read and write settings of its own.
    """
    salt = os.urandom(8)
    block, derived = b"", b""
    while len(derived) < 48:
        block = hashlib.md5(block + secret.encode() + salt).digest()
        derived += block
    padding = 16 - len(text) % 16
    cipher = AES.new(derived[:32], AES.MODE_CBC, derived[32:48])
    data = b"Salted__" + salt + cipher.encrypt(text.encode() + bytes([padding]) * padding)
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return encode(data).decode()


async def honest_relay() -> LocalRelay:
    """A real relay of nostr_sdk, without its limits of a few messages a minute."""
    limit = RateLimit(max_reqs=1_000_000, notes_per_minute=1_000_000)
    builder = RelayBuilder().rate_limit(limit).default_filter_limit(100_000)
    relay = LocalRelay(builder)
    await relay.run()
    return relay


class Endpoint:
    def __init__(self, lnbits: LNbits) -> None:
        self.lnbits = lnbits
        self.root = lnbits.url
        self.token = lnbits.admin_token
        self.secret = lnbits.auth_secret_key
        self.pid = lnbits.pid
        self.base = f"{lnbits.url}/nostrclient/api/v1"
        self.ws_base = f"{lnbits.ws_url}/nostrclient/api/v1"
        self.http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self.token}"}, timeout=20
        )
        self._stack = AsyncExitStack()

    @property
    def public_url(self) -> str:
        return f"{self.ws_base}/relay"

    @property
    def private_url(self) -> str:
        return f"{self.ws_base}/{private_id(self.secret)}"

    async def close(self) -> None:
        await self._stack.aclose()
        await self.http.aclose()

    # REST.

    async def relays(self) -> list[dict[str, Any]]:
        response = await self.http.get(f"{self.base}/relays")
        assert response.status_code == 200, response.text
        relays: list[dict[str, Any]] = response.json()
        return relays

    async def relay(self, url: str) -> dict[str, Any]:
        """The one entry of this relay."""
        found = [relay for relay in await self.relays() if _same(relay["url"], url)]
        assert len(found) == 1, f"{len(found)} entries for {url}"
        return found[0]

    async def add(self, url: str) -> httpx.Response:
        return await self.http.post(f"{self.base}/relay", json={"url": url})

    async def remove(self, url: str) -> httpx.Response:
        return await self.http.request("DELETE", f"{self.base}/relay", json={"url": url})

    async def configure(self, **settings: bool | int | str | list[str]) -> None:
        """Change these settings; the others stay."""
        response = await self.http.put(f"{self.base}/config", json=settings)
        assert response.status_code == 200, response.text

    async def reset(self) -> None:
        """No relays, no proxy, both endpoints open, an empty outbox: how every test
        starts."""
        for relay in await self.relays():
            assert (await self.remove(relay["url"])).status_code == 200
        await self.configure(**{**DEFAULTS, "public_ws": True})
        response = await self.http.get(f"{self.base}/outbox")
        assert response.status_code == 200, response.text
        for row in response.json()["rows"]:
            response = await self.http.delete(f"{self.base}/outbox/{row['id']}")
            assert response.status_code in (200, 404), response.text

    async def until_relay(
        self, url: str, seconds: float = 20, **expected: Any
    ) -> dict[str, Any]:
        """Wait until the relay's entry, or its status, has all these values."""
        deadline = time.monotonic() + seconds
        while True:
            relay = await self.relay(url)
            shown = {**relay["status"], **relay}
            if all(shown.get(name) == value for name, value in expected.items()):
                return relay
            assert time.monotonic() < deadline, f"never {expected}: {relay}"
            await asyncio.sleep(0.05)

    async def user_token(self) -> str:
        """The token of a new account that is no admin."""
        password = "no admin's password"
        account = {
            "username": f"user{time.monotonic_ns()}",
            "password": password,
            "password_repeat": password,
        }
        url = f"{self.root}/api/v1/auth/register"
        async with httpx.AsyncClient() as anyone:
            response = await anyone.post(url, json=account)
        assert response.status_code == 200, response.text
        return str(response.json()["access_token"])

    # What a test starts.

    async def start(self, relay: ScriptedRelay) -> None:
        """Start this relay, to be stopped at the end, without telling anybody."""
        self._stack.push_async_callback(relay.stop)
        await relay.start()

    async def use(self, *relays: Relay) -> None:
        """Start these relays, add them and wait until the multiplexer is connected."""
        for relay in relays:
            if isinstance(relay, ScriptedRelay):
                await self.start(relay)
            response = await self.add(await relay_url(relay))
            assert response.status_code == 200, response.text
        for relay in relays:
            await self.until_relay(await relay_url(relay), connected=True)

    async def honest(self) -> LocalRelay:
        """A real relay, connected."""
        relay = await honest_relay()
        self._stack.callback(relay.shutdown)
        await self.use(relay)
        return relay

    async def lose(self, relay: LocalRelay) -> None:
        """Shut it down, until nobody listens there and the multiplexer has seen it. Its
        `shutdown` reaches those of its tasks that wait at that moment; one that is busy
        misses it, so it is said until all have heard."""
        url = await relay_url(relay)
        port = int(url.rstrip("/").rpartition(":")[2])
        deadline = time.monotonic() + 20
        while (await self.relay(url))["connected"] or port_is_taken("127.0.0.1", port):
            assert time.monotonic() < deadline, f"{url} does not go away"
            relay.shutdown()
            await asyncio.sleep(0.02)

    async def client(self, url: str | None = None) -> WireClient:
        """A client of the public endpoint (or of another url), connected."""
        client = WireClient(url or self.public_url)
        return await self._stack.enter_async_context(client)

    # What the LNbits process holds.

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    async def until_open_files(self, most: int, seconds: float = 10) -> None:
        """Wait until the process has closed what it no longer needs."""
        await eventually(
            lambda: self.open_files() <= most, seconds, f"at most {most} open files"
        )

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the LNbits process has ended")


@asynccontextmanager
async def cleared(lnbits: LNbits) -> AsyncIterator[Endpoint]:
    """No relays, both switches on. Ends every relay and client the test has started."""
    endpoint = Endpoint(lnbits)
    await endpoint.reset()
    try:
        yield endpoint
    finally:
        await endpoint.close()
    assert not lnbits.process.ended, f"LNbits has ended:\n{lnbits.process.tail()}"


async def relay_url(relay: Relay) -> str:
    if isinstance(relay, ScriptedRelay):
        return relay.url
    return str(await relay.url())


def _same(left: str, right: str) -> bool:
    return left.rstrip("/") == right.rstrip("/")
