"""The consumers in LNbits' process (see `consumers/`), and whether all are served.

A note reaches each of them by another way: three kinds of taking from the shared lists,
a client of its own with callbacks, and the private WebSocket endpoint.
"""

import asyncio
import time
from typing import Any

from .events import Author, Event, ids
from .owner import Owner
from .scripted_relay import ScriptedRelay
from .shelf import Release

LISTS = ("pop", "get", "mutate")  # the shop's
WAYS = (*LISTS, "listener", "market")


class Consumers:
    def __init__(self, owner: Owner, releases: list[Release]) -> None:
        self._owner = owner
        self._releases = releases
        self._sent: list[Event] = []

    async def use(self, relay: ScriptedRelay) -> None:
        """Have all of them installed, and this relay in use by all. The one with its own
        client has to be told of it."""
        if await self._owner.have(*self._releases) and self._owner.version < "1.6":
            # Until its next start, LNbits 1.5 runs two copies of what it has installed.
            await self._owner.restart()
        await self._owner.use(relay)
        await self._owner.ask("/listener/api/v1/reconnect", "POST")

    async def got(self) -> dict[str, list[str]]:
        """The ids of the events each has got since it was imported, in order."""
        ask = self._owner.ask
        taken = await ask("/shop/api/v1/taken")
        return {
            **{way: ids(taken[way]) for way in LISTS},
            "listener": (await ask("/listener/api/v1/heard"))["events"],
            "market": (await ask("/market/api/v1/read"))["events"],
        }

    async def publish(self, *contents: str) -> list[str]:
        """The shop publishes these from worker threads. Their ids."""
        published: list[str] = await self._owner.ask(
            "/shop/api/v1/publish", "POST", list(contents)
        )
        return published

    async def served(self, relay: ScriptedRelay) -> None:
        """Every one has its subscription at the relay, gets a new note once and none of
        the old ones again, and what the shop publishes arrives."""
        await relay.until(
            lambda: _tags(relay) >= set(WAYS), f"all of {WAYS} among the subscriptions"
        )
        note = Author().sign("to all", tags=[["t", way] for way in WAYS])
        await relay.line.live(*self._sent, note)
        self._sent.append(note)
        got = await self._until_all_have(note["id"])
        for way in (*LISTS, "listener"):  # the market subscribes anew each time
            assert len(got[way]) == len(set(got[way])), f"{way} had one twice"
        (published,) = await self.publish("from a thread")
        await relay.until(
            lambda: published in ids(relay.published()), "what the shop published"
        )
        assert ids(relay.published()).count(published) == 1

    async def _until_all_have(self, note: str) -> dict[str, list[str]]:
        deadline = time.monotonic() + 10
        while True:
            got = await self.got()
            missing = [way for way in WAYS if note not in got[way]]
            if not missing:
                return got
            assert time.monotonic() < deadline, f"{missing} did not get the note"
            await asyncio.sleep(0.02)


def _tags(relay: ScriptedRelay) -> set[Any]:
    """The topics that subscriptions open on the relay ask for."""
    filters = [wanted for sub in relay.open_subs().values() for wanted in sub]
    return {topic for wanted in filters for topic in wanted.get("#t", [])}
