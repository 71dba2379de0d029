"""Many clients of the endpoint, each with something that nobody else wants, behind one
relay; and what they were promised."""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from .endpoint import Endpoint
from .events import Author, Event, Tags, now
from .inbox import eventually
from .scripted_relay import Filter
from .wire_client import WireClient

ANSWERED = 8
"""Seconds within which every REQ has its EOSE or CLOSED (rule 3.2), with some to
spare."""
DELIVERED = 10
"""Seconds within which an event reaches whoever is open, asking again included."""
SUB = "s"
NOTE, ORDER = 1, 23_194
MENTIONED = 10
"""So many people an event mentions."""


class Source(Protocol):
    """A relay, to somebody who publishes there without us."""

    async def publish(self, *events: Event) -> None: ...


@dataclass
class Guest:
    """A client with one subscription."""

    client: WireClient
    person: str
    filters: list[Filter]
    due: list[str] = field(default_factory=list)
    """The ids of all it has to be given."""

    @property
    def told(self) -> str | None:
        """Why its subscription has ended."""
        closed = self.client.of("CLOSED", SUB)
        return str(closed[0].parts[2]) if closed else None

    @property
    def answered(self) -> bool:
        return bool(self.client.of("EOSE", SUB)) or self.told is not None

    @property
    def missing(self) -> set[str]:
        return set(self.due) - {event["id"] for event in self.client.events(SUB)}

    def fair(self) -> None:
        """One EOSE, unless it was told CLOSED before it, and nothing twice."""
        eoses = len(self.client.of("EOSE", SUB))
        assert eoses == 1 or (eoses == 0 and self.told), f"{eoses} EOSE, {self.told}"
        got = [event["id"] for event in self.client.events(SUB)]
        assert len(got) == len(set(got)), "an event came twice"
        assert set(got) <= set(self.due), "an event that it has not asked for"


class Crowd:
    """Use it as: `enter`, `ask`, `answered`, `everybody_gets`, `fair`, `leave`."""

    def __init__(self, relay: Source) -> None:
        self.relay = relay
        self.author = Author()
        self.start = now() - 10_000
        self.guests: list[Guest] = []

    async def enter(self, endpoint: Endpoint, number: int) -> None:
        """So many, who ask for nothing yet. What each will be given first is stored."""
        gate = asyncio.Semaphore(50)

        async def one(place: int) -> Guest:
            async with gate:
                client = await endpoint.client()
            person = secrets.token_hex(32)
            return Guest(client, person, [_wanted(person, place, self.start)])

        self.guests += await asyncio.gather(*(one(place) for place in range(number)))
        await self.relay.publish(*self.notes(created_at=self.start + 5_000))

    async def ask(self) -> None:
        await asyncio.gather(
            *(guest.client.send("REQ", SUB, *guest.filters) for guest in self.guests)
        )

    async def answered(self, seconds: float = ANSWERED) -> None:
        await eventually(
            lambda: all(guest.answered for guest in self.guests),
            seconds,
            "an answer for everybody",
        )

    @property
    def open(self) -> list[Guest]:
        """Those that were not told CLOSED."""
        return [guest for guest in self.guests if guest.told is None]

    def mentions(self, kind: int, created_at: int | None = None) -> list[Event]:
        """Events for each of them, ten people in one."""
        events = []
        for first in range(0, len(self.guests), MENTIONED):
            ten = self.guests[first:][:MENTIONED]
            tags: Tags = [["p", guest.person] for guest in ten]
            tags += [["t", guest.person] for guest in ten]
            event = self.author.sign(
                secrets.token_hex(4), kind=kind, tags=tags, created_at=created_at
            )
            events.append(event)
            for guest in ten:
                guest.due.append(event["id"])
        return events

    def notes(self, created_at: int | None = None) -> list[Event]:
        return self.mentions(NOTE, created_at)

    def orders(self) -> list[Event]:
        return self.mentions(ORDER)

    async def everybody_gets(
        self, events: Iterable[Event] = (), seconds: float = DELIVERED
    ) -> None:
        """Somebody else publishes these at the relay: whoever is open gets all that is
        due."""
        await self.relay.publish(*events)
        await served(self.guests, seconds)

    def fair(self) -> None:
        for guest in self.guests:
            guest.fair()

    async def leave(self) -> None:
        """Some with CLOSE, some with a goodbye, some without a word."""
        for place, guest in enumerate(self.guests):
            if place % 3 == 0:
                await guest.client.send("CLOSE", SUB)
            elif place % 3 == 1:
                await guest.client.close()
            else:
                await guest.client.vanish()


async def served(guests: list[Guest], seconds: float = DELIVERED) -> None:
    def deaf() -> list[Guest]:
        return [guest for guest in guests if guest.told is None and guest.missing]

    try:
        await eventually(lambda: not deaf(), seconds, "everybody is served")
    except AssertionError:
        told = [guest for guest in guests if guest.told is not None]
        raise AssertionError(
            f"{len(deaf())} of {len(guests)} are open, were not told CLOSED, and did not "
            f"get what was due within {seconds} s; {len(told)} were told CLOSED "
            f"({ {guest.told for guest in told} })"
        ) from None


def _wanted(person: str, place: int, start: int) -> Filter:
    """What wallets and their services ask for, in several shapes. Those of two tags
    cannot be asked for as one, as orders of one wallet to one service cannot."""
    wanted: Filter = {"kinds": [NOTE, ORDER], "#p": [person]}
    if place % 2 == 0:
        wanted["#t"] = [person]
    elif place % 4 == 1:
        wanted["since"] = start - place
    else:
        wanted["limit"] = 100 + place
    return wanted
