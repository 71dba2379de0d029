"""50,000 events, and four real relays that hold different, overlapping parts of them.

Signing and storing them takes half a minute, so it is done once: they stay under the
target folder. What a test publishes must not get into these relays' stores.
"""

import asyncio
import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nostr_sdk import Event as SdkEvent
from nostr_sdk import LocalRelay, NostrDatabase, RateLimit, RelayBuilder

from .events import Author, Event
from .keeping_relay import matches
from .scripted_relay import Filter

VERSION = 1
"""To be counted up when other events are made."""
FOLDER = Path(__file__).parents[2] / "target" / "tmp" / f"subsets-v{VERSION}"
RELAYS = 4
NOTES, VERSIONS = 46_000, 4_000
FIRST = 1_700_000_000
"""When the first of them was made; a second has ten."""
AT_ONCE = 2_000
"""So many are stored at the same time."""


@dataclass(frozen=True)
class Subsets:
    relays: list[LocalRelay]
    current: list[Event] = field(repr=False)
    """All that is on any of them, without versions that a newer one has replaced. Newest
    first, of the same second the lowest id first."""

    def newest(self, *filters: Filter) -> list[Event]:
        """What these filters ask for: of each the newest, as many as its limit says."""
        wanted: set[str] = set()
        for one in filters:
            found = [event["id"] for event in self.current if matches(one, event)]
            wanted.update(found[: one.get("limit")])
        return [event for event in self.current if event["id"] in wanted]

    def tell(self, number: int, event: Event) -> None:
        """This relay passes it on to its subscribers, and does not store it."""
        self.relays[number].notify_event(SdkEvent.from_json(json.dumps(event)))


@asynccontextmanager
async def subsets() -> AsyncIterator[Subsets]:
    """The relays run until the end of it."""
    if not FOLDER.exists():
        await _make()
    lines = (FOLDER / "events").read_text().splitlines()
    relays = [await _relay(number) for number in range(RELAYS)]
    try:
        yield Subsets(relays, _current(map(json.loads, lines)))
    finally:
        for relay in relays:
            relay.shutdown()


async def _relay(number: int) -> LocalRelay:
    limit = RateLimit(max_reqs=1_000_000, notes_per_minute=1_000_000)
    builder = RelayBuilder().rate_limit(limit).default_filter_limit(100_000)
    relay = LocalRelay(builder.database(_database(FOLDER, number)))
    await relay.run()
    return relay


def _database(folder: Path, number: int) -> NostrDatabase:
    return NostrDatabase.lmdb(str(folder / f"relay-{number}"))


def _order(event: Event) -> tuple[int, str]:
    return -event["created_at"], event["id"]


def _current(events: Iterable[Event]) -> list[Event]:
    kept: dict[object, Event] = {}
    for event in sorted(events, key=_order):
        kept.setdefault(_address(event), event)
    return list(kept.values())


def _address(event: Event) -> object:
    """NIP-01: what there is one version of."""
    kind = event["kind"]
    if kind in (0, 3) or 10_000 <= kind < 20_000:
        return kind, event["pubkey"]
    if 30_000 <= kind < 40_000:
        return kind, event["pubkey"], event["tags"][0][1]
    return event["id"]


async def _make() -> None:
    making = FOLDER.with_name(f"{FOLDER.name}-{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    events = _events()
    (making / "events").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    stores = [_database(making, number) for number in range(RELAYS)]
    for first in range(0, len(events), AT_ONCE):
        parsed = [SdkEvent.from_json(json.dumps(e)) for e in events[first:][:AT_ONCE]]
        await asyncio.gather(
            *(store.save_event(event) for event in parsed for store in _some(stores))
        )
    del stores
    try:
        making.rename(FOLDER)
    except OSError:
        shutil.rmtree(making)  # another run was first
        assert FOLDER.exists()


def _events() -> list[Event]:
    """In no order: a relay gets some old versions after the new ones."""
    authors = [Author() for _ in range(16)]
    events = [
        authors[number % 16].sign(
            f"note {number}",
            tags=[["t", f"topic {number % 50}"], ["p", authors[number % 7].pubkey]],
            created_at=FIRST + number // 10,
        )
        for number in range(NOTES)
    ]
    for number in range(VERSIONS):
        kind = (0, 3, 10_002, 30_023)[number % 4]
        tags = [["d", f"{number // 64 % 5}"]] if kind == 30_023 else []
        date = FIRST + (number * 37 % NOTES) // 10
        author = authors[number // 4 % 16]
        events.append(
            author.sign(f"version {number}", kind=kind, tags=tags, created_at=date)
        )
    random.shuffle(events)
    return events


def _some(stores: list[NostrDatabase]) -> list[NostrDatabase]:
    """Two in five of them, but one at least."""
    some = [store for store in stores if random.random() < 0.4]
    return some or [random.choice(stores)]
