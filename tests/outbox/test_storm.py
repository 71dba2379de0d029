"""Relays that come and go, refuse, stall and lie while 10,000 events are published.

One relay is honest: when it is there, it takes everything and keeps it. All decisions
are drawn from one seed; `NOSTRCLIENT_SEED=…` draws them again.
"""

import asyncio
import logging
import os
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, forged_content, forged_signature
from support.outbox import MUTE, Outbox, fence, has_got, reconnect
from support.scripted_relay import Filter, Line, ScriptedRelay
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

STORABLE = 10_000
EPHEMERAL = 500
CLIENTS = 5
WINDOW = 100  # unanswered events of one client; all of them stay below the core's 1,000
PHASES = 40
CONNECT_SECONDS = 4.0  # a phase does not wait longer for a relay to be connected
LIES = 20  # in one phase; past 2,000 in all the relay would be cut off

MOODS = ("accept", "accept", "block", "limit", "stall", "keep quiet", "hang up", "lie")
# What the honest relay misses, in a row: each time it is away, the pause until it is
# connected again doubles.
OUTAGES = (("dark", "dark"), ("block", "limit"), ("stall", "keep quiet"))
STRETCHES = 2


@dataclass(frozen=True)
class Phase:
    """What each relay does for a while. Drawn before it begins."""

    honest: bool  # is there
    moods: tuple[str, ...]  # of the others; "dark": away
    by_itself: bool  # who comes back waits for the next attempt

    @property
    def outage(self) -> bool:
        return not self.honest


def drawn_phases(chance: random.Random) -> list[Phase]:
    phases: list[Phase] = []
    free = PHASES - STRETCHES * len(OUTAGES)
    stretches = set(chance.sample(range(2, free - 4, 3), STRETCHES))
    for number in range(free):
        moods = [chance.choice(MOODS) for _ in range(2)]
        moods = ["dark" if chance.random() < 0.2 else mood for mood in moods]
        phases.append(Phase(True, tuple(moods), chance.random() < 0.5))
        if number in stretches:
            phases += [Phase(False, moods, False) for moods in OUTAGES]
    return phases


class Weather:
    """One relay, in a mood that changes, and what it has said to whom."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.relay = ScriptedRelay(on_event=self.on_event, on_req=self.on_req)
        self.mood = "accept"
        self.store: dict[str, Event] = {}
        self.yes: set[tuple[Line, str]] = set()
        """What it has said `true` to, on this line, asked or not."""
        self.shown: set[str] = set()
        """What it was asked for, and had."""
        self.talk: list[str] = []
        """Ids that others are talking about."""
        self.lies = 0

    def accepted(self) -> set[str]:
        """What it was sent and has confirmed."""
        received = self.received()
        got = {(line, event_id) for event_id, at in received.items() for line, _ in at}
        return {event_id for _, event_id in got & self.yes} | self.shown

    def received(self) -> dict[str, list[tuple[Line, float]]]:
        """Id to the lines and times it came."""
        came: dict[str, list[tuple[Line, float]]] = {}
        for message in self.relay.inbox.items:
            if message.verb == "EVENT":
                at = (message.line, message.at)
                came.setdefault(message.parts[1]["id"], []).append(at)
        return came

    async def say_yes(self, line: Line, event_id: str, why: str = "") -> None:
        self.yes.add((line, event_id))
        await line.ok(event_id, not why, why)

    async def on_event(self, line: Line, event: Event) -> None:
        mood, event_id = self.mood, event["id"]
        if mood in ("accept", "lie"):
            known = event_id in self.store
            self.store[event_id] = event
            await self.say_yes(line, event_id, "duplicate: have it" if known else "")
        elif mood == "block":
            await line.ok(event_id, False, "blocked: not today")
        elif mood == "limit":
            reasons = ("rate-limited: slow down", "auth-required: who is it")
            await line.ok(event_id, False, self.chance.choice(reasons))
        elif mood == "keep quiet":
            self.store[event_id] = event
        elif mood == "hang up":
            line.drop()
        if mood == "lie" and self.lies < LIES:
            self.lies += 1
            await self.lie(line, event)

    async def lie(self, line: Line, event: Event) -> None:
        """After the answer: more answers, to this and to what nobody has asked."""
        await line.ok(event["id"], False, "blocked: after all")
        await line.ok(event["id"], True)
        await line.ok(self.chance.randbytes(32).hex(), True)
        if self.talk:
            await self.say_yes(line, self.chance.choice(self.talk))
        await line.live(forged_signature(event), forged_content(event), event)

    async def on_req(self, line: Line, sub: str, filters: list[Filter]) -> None:
        if self.mood == "stall":
            return
        asked = {event_id for one in filters for event_id in one.get("ids", [])}
        for event_id in asked & set(self.store):
            self.shown.add(event_id)
            await line.event(sub, self.store[event_id])
        await line.eose(sub)


class Storm:
    """Three relays in the weather of each phase."""

    def __init__(self, endpoint: Endpoint, chance: random.Random) -> None:
        self.endpoint = endpoint
        self.honest, *self.others = [
            Weather(random.Random(chance.random())) for _ in range(3)
        ]
        self.all = [self.honest, *self.others]
        self.seen = Counter[str]()

    async def change(self, phase: Phase) -> None:
        """New weather. Ends once it has come."""
        if phase.outage:
            await self.honest.relay.stop()
        for other, mood in zip(self.others, phase.moods, strict=True):
            other.lies = 0
            other.mood = mood
            self.seen[mood] += 1
            if mood == "dark":
                await other.relay.stop()
            elif not other.relay.lines:
                await self.come_back(other, phase.by_itself)
        if phase.honest:
            await self.honest.relay.start()
            await self.connected(self.honest, CONNECT_SECONDS)

    async def come_back(self, other: Weather, by_itself: bool) -> None:
        """By itself, with what it has missed, or as a new relay."""
        await other.relay.start()
        if by_itself:
            await self.connected(other, CONNECT_SECONDS / 2)
        if not other.relay.lines:
            await reconnect(self.endpoint, other.relay)
            await self.connected(other, CONNECT_SECONDS)

    async def connected(self, weather: Weather, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        relay = weather.relay
        while not relay.lines and time.monotonic() < deadline:
            await relay.inbox.changes_within(deadline - time.monotonic())

    async def heal(self) -> None:
        """From now on all are up and take everything."""
        for other in self.others:
            other.mood = "accept"
            if not other.relay.lines:
                await self.come_back(other, by_itself=False)
        await self.honest.relay.start()
        for weather in self.all:
            url = weather.relay.url
            await self.endpoint.until_relay(url, seconds=60, connected=True)


class Publisher:
    """One client, and the events whose answers it waits for."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.open: list[str] = []
        self.sent: list[Event] = []

    async def publish(self, event: Event) -> None:
        """Send it when there is room in the window."""
        await self.below(WINDOW)
        self.open.append(event["id"])
        self.sent.append(event)
        await self.client.send("EVENT", event)

    async def below(self, most: int) -> None:
        """Wait until fewer than this many are unanswered."""
        while len(self.open) >= most:
            self.open = [name for name in self.open if not self.client.of("OK", name)]
            if len(self.open) >= most:
                assert await self.client.inbox.changes_within(10), "no answer at all"

    def answer(self, event_id: str) -> tuple[bool, str, float]:
        """The one answer: accepted, message, time."""
        (reply,) = self.client.of("OK", event_id)
        return reply.parts[2], reply.parts[3], reply.at


async def answered(publishers: list[Publisher]) -> None:
    for publisher in publishers:
        await publisher.below(1)


def drawn_events(chance: random.Random) -> list[Event]:
    authors = [Author() for _ in range(5)]
    events = [
        chance.choice(authors).sign(f"note {number}", kind=1)
        for number in range(STORABLE)
    ]
    orders = [
        chance.choice(authors).sign(
            f"order {number}", kind=chance.choice((23_194, 24_133))
        )
        for number in range(EPHEMERAL)
    ]
    events += orders
    chance.shuffle(events)
    return events


@pytest.fixture
def seed() -> int:
    seed = int(
        os.environ.get("NOSTRCLIENT_SEED") or random.SystemRandom().randrange(10**9)
    )
    print(f"NOSTRCLIENT_SEED={seed}")
    return seed


@pytest.mark.timeout(300)
async def test_every_answer_is_kept(
    endpoint: Endpoint, outbox: Outbox, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "asyncio")  # relays talk on to lines they have cut
    chance = random.Random(seed)
    events = drawn_events(chance)
    storm = Storm(endpoint, chance)
    await outbox.resize(10_000)
    await endpoint.use(*(weather.relay for weather in storm.all))
    listener = await endpoint.client()
    await listener.subscribe("s", {"kinds": [1]})
    publishers = [Publisher(await endpoint.client()) for _ in range(CLIENTS)]

    async def publish(publisher: Publisher, share: list[Event]) -> None:
        for event in share:
            await publisher.publish(event)

    size = -(-len(events) // PHASES)
    for number, phase in enumerate(drawn_phases(chance)):
        share = events[number * size :][:size]
        for weather in storm.all:
            weather.talk = [event["id"] for event in share]
        change = asyncio.ensure_future(storm.change(phase))
        if phase.outage:
            await change  # or the phase would be over before it has begun
        await asyncio.gather(
            change,
            *(publish(one, share[n::CLIENTS]) for n, one in enumerate(publishers)),
        )
        if phase.outage:
            await answered(publishers)
    await answered(publishers)
    await storm.heal()
    await outbox.until_empty(60)
    last = await fence(publishers[0].client, storm.honest.relay)
    for weather in storm.others:
        await has_got(weather.relay, last)
    for publisher in publishers:
        await publisher.client.fence()

    shown = await outbox.shown()
    tally = check_answers(publishers, storm)
    print(f"{dict(tally)}, {dict(storm.seen)}, dropped {shown['dropped']}")
    assert sum(tally.values()) == len(events)
    # Nobody but the honest relay can have refused it, so nothing was given up.
    assert shown["rows"] == [] and outbox.table.ids() == []
    check_orders(publishers, storm)
    published = {event["id"]: event for event in events}
    heard = listener.events("s")
    assert len(heard) == len({event["id"] for event in heard})
    assert all(published[event["id"]] == event for event in heard)
    # It was a storm.
    assert min(tally[kind] for kind in ("taken", "queued", "unanswered", "refused")) > 50


def check_answers(publishers: list[Publisher], storm: Storm) -> Counter[str]:
    """Every storable event's promise; how many of each kind there were."""
    accepted = set[str]().union(*(weather.accepted() for weather in storm.all))
    received = [weather.received() for weather in storm.all]
    tally = Counter[str]()
    for publisher in publishers:
        for event in publisher.sent:
            name = event["id"]
            true, why, at = publisher.answer(name)
            times = [when for came in received for _, when in came.get(name, [])]
            storable = event["kind"] == 1
            if not true or why.startswith("local: "):
                # The listener has it, or nobody: no relay.
                tally["refused" if storable else "order refused"] += 1
                late = [when - at for when in times if when > at]
                assert not late, f"{name}: false ({why}), and sent {late} s later"
                if why.startswith("error:") or why == MUTE:
                    assert not times, f"{name}: {why}, and yet it was sent"
            elif not storable:
                tally["order"] += 1
            else:
                assert name in accepted, f"{name}: true ({why}), and nobody has it"
                if why.startswith("queued:"):
                    tally["queued"] += 1
                else:
                    tally["unanswered" if "unanswered" in why else "taken"] += 1
    return tally


def check_orders(publishers: list[Publisher], storm: Storm) -> None:
    """No relay is sent an ephemeral event twice; nothing else was sent than published."""
    sent = {event["id"]: event for one in publishers for event in one.sent}
    orders = {name for name, event in sent.items() if event["kind"] != 1}
    for weather in storm.all:
        assert all(
            sent[event["id"]] == event
            for event in weather.relay.published()
            if event["kind"] != 9  # the fence
        )
        twice = [
            name
            for name, at in weather.received().items()
            if name in orders and len(at) > 1
        ]
        assert not twice
