"""Extensions behind relays of several characters: whatever these do, each of an
extension's subscriptions gets its events, once, and stays (rules 3.5, 4.3)."""

import asyncio
import secrets
from dataclasses import replace

import pytest
from nostrclient_ext.router import NostrRouter, nostr_client

from support.events import Author, Event
from support.inbox import eventually
from support.surface import Server
from support.zoo import PASSING, ZOO, Character, ZooRelay

pytestmark = pytest.mark.asyncio

NOTE, ORDER = 1, 23_194
SERVED = 15
"""Seconds within which everybody is served, asking again included."""

CHARACTERS: dict[str, Character] = {
    "closes what is idle": PASSING["idle"],
    "takes eight subscriptions": ZOO["liar, closed"],
    "takes twenty, and says so late": ZOO["strfry, unsaid"],
    "keeps one filter of a REQ": ZOO["lnbits"],
    "takes one filter of a REQ": ZOO["nostr_sdk, one filter"],
}

manager = nostr_client.relay_manager


class Extension:
    """One subscription of an extension's, which wants what mentions one person."""

    def __init__(self, author: Author) -> None:
        self.name = secrets.token_hex(4)
        self.person = secrets.token_hex(32)
        self.author = author
        self.due: list[str] = []

    def subscribe(self) -> None:
        tagged = {"kinds": [NOTE, ORDER], "#p": [self.person]}
        other = {"kinds": [NOTE, ORDER], "#t": [self.person]}
        manager.add_subscription(self.name, [tagged, other])

    def mention(self, kind: int, tag: str) -> Event:
        event = self.author.sign(
            secrets.token_hex(4), kind=kind, tags=[[tag, self.person]]
        )
        self.due.append(event["id"])
        return event

    @property
    def got(self) -> list[str]:
        events = NostrRouter.received_subscription_events.get(self.name, [])
        return [event.event_id for event in events]

    @property
    def served(self) -> bool:
        return set(self.got) >= set(self.due)


async def everybody_gets(relay: ZooRelay, extensions: list[Extension], kind: int) -> None:
    for extension in extensions:
        await relay.publish(extension.mention(kind, "p"), extension.mention(kind, "t"))
    await eventually(
        lambda: all(extension.served for extension in extensions),
        SERVED,
        "everybody has what is due",
    )
    for extension in extensions:
        assert sorted(extension.got) == sorted(extension.due), "once, and nothing else"


@pytest.mark.parametrize("number", [1, 30])
@pytest.mark.parametrize("name", CHARACTERS)
async def test_an_extension_is_served(server: Server, name: str, number: int) -> None:
    relay = ZooRelay(CHARACTERS[name])
    async with relay:
        server.relays.append(relay.url)
        author = Author()
        extensions = [Extension(author) for _ in range(number)]
        # What is stored comes first.
        for extension in extensions:
            relay.store.keep(extension.mention(NOTE, "p"), extension.mention(NOTE, "t"))
        await server.start()
        await relay.connected()
        for extension in extensions:
            extension.subscribe()
        await everybody_gets(relay, extensions, NOTE)
        if relay.character.ends_after is not None:
            asked = len(relay.reqs())
            await relay.until(lambda: len(relay.reqs()) >= asked + number, "an end")
        else:
            # It is open at the relay by now, and orders are not stored.
            await everybody_gets(relay, extensions, ORDER)
        await everybody_gets(relay, extensions, NOTE)
        assert len(relay.connected_at) == 1
        for extension in extensions:
            manager.close_subscription(extension.name)
        await relay.left()


@pytest.mark.parametrize("name", CHARACTERS)
async def test_what_was_missed_in_a_restart_comes(server: Server, name: str) -> None:
    relay = ZooRelay(replace(CHARACTERS[name], ends_after=None))
    async with relay:
        server.relays.append(relay.url)
        author = Author()
        extensions = [Extension(author) for _ in range(12)]
        await server.start()
        await relay.connected()
        for extension in extensions:
            extension.subscribe()
        await everybody_gets(relay, extensions, NOTE)
        relay.refuse_with = 503
        await relay.restart()
        await relay.until(lambda: not relay.lines, "the end of the connection")
        missed = [extension.mention(NOTE, "p") for extension in extensions]
        await relay.publish(*missed)
        relay.refuse_with = None
        await relay.connected()
        await everybody_gets(relay, extensions, NOTE)
        await asyncio.sleep(1)
        await everybody_gets(relay, extensions, ORDER)
