"""The owner's test of one relay: publish an event with a throw-away key, and wait until
it comes back.

It goes the way that events of wallets go (rules 1, 3): over the core and its one
connection to the relay. The event is of an ephemeral kind, which relays pass on and do
not keep, so a test leaves nothing behind.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..core.library import CoreUnavailable
from ..core.running import UNWANTED_RELAYS, Running
from .models import CheckStep, RelayCheck
from .rows import normalized, not_in_use

if TYPE_CHECKING:
    from nostrclient_core import KeyPair, Told

KIND = 24_601  # ephemeral (NIP-01), and used by nobody else
LOOK_SECONDS = 0.2  # whether it is connected
ANSWER_SECONDS = 5.0  # for each step …
PROXIED_SECONDS = 30.0  # … but for a connection through a proxy
MESSAGES = 64  # fetched at a time
AT_ONCE = 8  # tests under way

UNANSWERED = "unanswered"  # the core's code for an OK that no relay has given
SUBSCRIPTION = "test"
CONTENT = "A test of nostrclient."

_turns = asyncio.Semaphore(AT_ONCE)


class _Failed(Exception):
    """A step has failed. The text is a sentence."""


async def check(running: Running, text: str) -> RelayCheck:
    """Test a relay that is in use. Raises `Refusal` for one that is not, and
    `CoreUnavailable` if the core has stopped or has no place for a client."""
    library = running.library
    url = normalized(running, text)
    async with _turns:
        # Checked only now: the test connects to the relay, and the owner may have
        # switched it off while the test waited for its turn.
        if running.core.relay(url) is None or url in UNWANTED_RELAYS:
            raise not_in_use(url)
        try:
            test = _Test(running, url)
            try:
                return await test.run()
            finally:
                test.end()
        except (library.CoreStopped, library.TooManyClients) as exc:
            raise CoreUnavailable(str(exc)) from exc


class _Test:
    """One test. Each step returns a sentence, or raises."""

    def __init__(self, running: Running, url: str) -> None:
        self._running = running
        self._url = url
        self._mail = asyncio.Event()
        self._told: list[Told] = []
        self._keys: KeyPair | None = None
        self._event_id: str | None = None
        self._client = running.bridge.connect_inside(self._mail.set)

    def end(self) -> None:
        self._running.bridge.disconnect_inside(self._client)

    async def run(self) -> RelayCheck:
        steps: list[CheckStep] = []
        for name, work in (
            ("key", self._make_key),
            ("connection", self._connect),
            ("subscription", self._subscribe),
            ("publication", self._publish),
            ("return", self._see_it_again),
        ):
            steps.append(await self._step(name, work))
            if not steps[-1].passed:
                break
        return RelayCheck(
            url=self._url,
            passed=steps[-1].passed,
            event_id=self._event_id,
            steps=steps,
        )

    async def _step(self, name: str, work: Callable[[], Awaitable[str]]) -> CheckStep:
        started = time.perf_counter()
        passed = False
        try:
            words = await asyncio.wait_for(work(), self._patience(name))
            passed = True
        except asyncio.TimeoutError:
            words = self._why_late(name)
        except _Failed as exc:
            words = str(exc)
        took = round((time.perf_counter() - started) * 1000)
        return CheckStep(name=name, passed=passed, ms=took, text=words)

    async def _make_key(self) -> str:
        self._keys = self._running.library.generate_key()
        return "A key for this test only."

    async def _connect(self) -> str:
        try:
            self._running.core.proxy_for(self._url)
        except ValueError as exc:  # it cannot be reached without a proxy
            raise _Failed(str(exc)) from None
        self._running.core.use_relays(self._client, [self._url])
        self._running.core.reconnect(self._url)  # if it waits for its next attempt
        while not self._is_connected():
            # It may connect before the router knows this client, who is not told then.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._next(), LOOK_SECONDS)
        return "Connected."

    async def _subscribe(self) -> str:
        assert self._keys is not None
        filters = {"kinds": [KIND], "authors": [self._keys["public_key"]]}
        self._say(["REQ", SUBSCRIPTION, filters])
        # WHOLE: the relay has answered. An EOSE comes also if it does not.
        verb, text, _ = await self._hear("WHOLE", "CLOSED", "EOSE")
        if verb == "CLOSED":
            raise _Failed(f"Refused: {text}")
        if verb == "EOSE":
            raise _Failed("No answer to a subscription.")
        return "It listens."

    async def _publish(self) -> str:
        assert self._keys is not None
        signed = self._running.library.sign_event(
            self._keys["private_key"], int(time.time()), KIND, [], CONTENT
        )
        event = json.loads(signed)
        self._event_id = event["id"]
        self._say(["EVENT", event])
        verb, text, code = await self._hear("OK", "REFUSED")
        if verb == "REFUSED":
            raise _Failed(f"Refused: {text}")
        if code == UNANSWERED:
            raise _Failed("Sent, but the relay does not answer.")
        return f"Accepted: {text}" if text else "Accepted."

    async def _see_it_again(self) -> str:
        await self._hear("EVENT")
        return "It came back."

    def _is_connected(self) -> bool:
        relay = self._running.core.relay(self._url)
        return relay is not None and relay["state"] == "connected"

    def _patience(self, name: str) -> float:
        try:
            proxied = self._running.core.proxy_for(self._url) is not None
        except ValueError:
            proxied = False
        return PROXIED_SECONDS if proxied and name == "connection" else ANSWER_SECONDS

    def _why_late(self, name: str) -> str:
        if name == "connection":
            relay = self._running.core.relay(self._url)
            errors = relay["errors"] if relay else []
            why = errors[-1] if errors else "no connection"
            return f"{why[:1].upper()}{why[1:]}."
        if name == "return":
            return "The relay took it and did not pass it on."
        return f"No answer within {ANSWER_SECONDS:.0f} seconds."

    def _say(self, message: list[Any]) -> None:
        self._client.feed(json.dumps(message))

    async def _hear(self, *verbs: str) -> tuple[str, str, str]:
        """Wait for the first message with one of these verbs, and return its verb, text
        and code. Others are kept: a relay may send the event before its OK."""
        while True:
            for message in self._told:
                verb, _, text, url, event_id, _ = message
                ours = event_id == self._event_id and url == self._url
                if verb in verbs and (verb != "EVENT" or ours):
                    self._told.remove(message)
                    return verb, text, url  # where a reason has its code
            await self._next()

    async def _next(self) -> None:
        """Wait until there are more messages."""
        self._mail.clear()
        if self._client.closed is not None:
            raise _Failed("nostrclient was stopped.")
        messages = self._client.drain_parts(MESSAGES)
        if not messages:
            await self._mail.wait()
        self._told += messages
