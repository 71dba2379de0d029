"""Relays that want to know who publishes (NIP-42): a refusal, a challenge, and then it
may be published. Whoever publishes gets one answer, and that is true (rules 1.3, 4.4)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from support.endpoint import Endpoint
from support.events import Author, Event, ids, now
from support.scripted_relay import Line, ScriptedRelay

pytestmark = pytest.mark.asyncio

ANSWERED = 3
"""Seconds within which every EVENT has its OK, with some to spare."""
EPHEMERAL = 23_194


class Gate(ScriptedRelay):
    """It takes events only from whom it knows; everybody may read."""

    def __init__(self, challenge_first: bool = False, knows: bool = True) -> None:
        super().__init__(on_connect=self._greet, on_event=self._given, on_auth=self._told)
        self.challenge_first = challenge_first
        self.knows = knows
        self.pause = 0.0
        """Seconds between a refusal and the challenge that follows it."""
        self.kept: list[Event] = []
        self._known: set[Line] = set()
        self._asked: set[Line] = set()

    async def _greet(self, line: Line) -> None:
        if self.challenge_first:
            await self._ask(line)

    async def _ask(self, line: Line) -> None:
        if line not in self._asked:
            self._asked.add(line)
            await line.send("AUTH", f"who are you, {line.number}")

    async def _given(self, line: Line, event: Event) -> None:
        if line in self._known:
            self.kept.append(event)
            return await line.ok(event["id"], True)
        await line.ok(event["id"], False, "auth-required: we only take what we know")
        await asyncio.sleep(self.pause)
        await self._ask(line)

    async def _told(self, line: Line, event: Event) -> None:
        if self.knows:
            self._known.add(line)
        await line.ok(event["id"], self.knows, "" if self.knows else "restricted: no")


@pytest_asyncio.fixture
async def keyless(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """An endpoint whose keys are gone after the test, as they were before."""
    yield endpoint
    for key in (await endpoint.http.get(f"{endpoint.base}/keys")).json():
        await endpoint.http.delete(f"{endpoint.base}/keys/{key['public_key']}")


async def give_key(endpoint: Endpoint, relay: ScriptedRelay) -> None:
    made = (await endpoint.http.post(f"{endpoint.base}/keys", json={})).json()
    body: dict[str, Any] = {"url": relay.url, "public_key": made["public_key"]}
    answer = await endpoint.http.put(f"{endpoint.base}/relay/key", json=body)
    assert answer.status_code == 200, answer.text


async def one_answer(endpoint: Endpoint, event: Event) -> tuple[bool, str]:
    """What its publisher is told, and that he is told nothing else."""
    client = await endpoint.client()
    told = await client.publish(event, ANSWERED)
    await asyncio.sleep(1)
    assert client.of("OK", event["id"]) == [told]
    return told.parts[2], told.parts[3]


@pytest.mark.parametrize("kind", [1, EPHEMERAL])
@pytest.mark.parametrize("challenge_first", [True, False])
async def test_without_a_key(
    endpoint: Endpoint, challenge_first: bool, kind: int
) -> None:
    """The refusal is passed on, nothing is kept for later, and the page says why."""
    relay = Gate(challenge_first)
    await endpoint.use(relay)
    event = Author().sign(kind=kind)
    accepted, why = await one_answer(endpoint, event)
    assert (accepted, why.split(":")[0]) == (False, "auth-required")
    await endpoint.until_relay(relay.url, auth_refused=True)
    assert relay.published() == [event], "it was sent again"
    outbox = (await endpoint.http.get(f"{endpoint.base}/outbox")).json()
    assert outbox["rows"] == []


@pytest.mark.parametrize("kind", [1, EPHEMERAL])
@pytest.mark.parametrize("challenge_first", [True, False])
async def test_with_a_key(keyless: Endpoint, challenge_first: bool, kind: int) -> None:
    """The refusal waits for the challenge, and nobody hears of it."""
    relay = Gate(challenge_first)
    await keyless.use(relay)
    await give_key(keyless, relay)
    if challenge_first:
        await keyless.until_relay(relay.url, authenticated=True)
    events = [Author().sign(kind=kind) for _ in range(3)]
    for event in events:
        assert await one_answer(keyless, event) == (True, "")
    assert ids(relay.kept) == ids(events), "each once, and in order"


async def test_a_challenge_that_comes_after_the_answer(keyless: Endpoint) -> None:
    """Whoever was told `false` is not published after all."""
    relay = Gate()
    relay.pause = 4
    await keyless.use(relay)
    await give_key(keyless, relay)
    event, later = Author().sign(), Author().sign("later")
    accepted, why = await one_answer(keyless, event)
    assert (accepted, why.split(":")[0]) == (False, "auth-required")
    await keyless.until_relay(relay.url, authenticated=True)
    assert await one_answer(keyless, later) == (True, "")
    assert relay.kept == [later]


async def test_a_key_that_the_relay_does_not_want(keyless: Endpoint) -> None:
    relay = Gate(knows=False)
    await keyless.use(relay)
    await give_key(keyless, relay)
    accepted, why = await one_answer(keyless, Author().sign())
    assert (accepted, why.split(":")[0]) == (False, "auth-required")
    await keyless.until_relay(relay.url, auth_refused=True, authenticated=False)
    assert relay.kept == []


async def test_another_relay_takes_it_at_once(keyless: Endpoint) -> None:
    """Whoever publishes does not wait for the sign-in; the gate has it in the end."""
    gate, other = Gate(), ScriptedRelay()
    gate.pause = 1
    await keyless.use(gate, other)
    await give_key(keyless, gate)
    note, order = Author().sign(), Author().sign(kind=EPHEMERAL, created_at=now())
    client = await keyless.client()
    for event in (note, order):
        told = await client.publish(event, 1)
        assert told.parts[2:] == [True, ""]
    await gate.until(lambda: note in gate.kept, "the note")
    assert gate.kept.count(note) == 1
