"""What a relay keeps, in memory, and what of it a filter asks for (NIP-01).

Quick enough for thousands of filters: a REQ's filters are read once, and stored events
lie under each of their values."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable

from .events import Event
from .scripted_relay import Filter

Value = tuple[str, str]
"""What a filter asks for and an event has: the field or tag, and its value."""


class EventStore:
    def __init__(self, *, ephemeral: bool = False) -> None:
        self.ephemeral = ephemeral
        """Whether kinds 20000 to 29999 are kept too."""
        self.kept: list[Event] = []
        """Newest first, of the same second the lowest id first."""
        self._known: set[str] = set()
        self._by_value: dict[Value, list[Event]] = defaultdict(list)
        self._read: dict[int, tuple[list[Filter], list[Wanted]]] = {}
        self._newest: tuple[Event, set[Value]] | None = None
        """The event that was last matched, and its values."""

    def keep(self, *events: Event) -> None:
        """Store them, unless they are here."""
        for event in events:
            passing = 20_000 <= event["kind"] < 30_000 and not self.ephemeral
            if event["id"] in self._known or passing:
                continue
            self._known.add(event["id"])
            insort(self.kept, event, key=_order)
            for value in _values(event):
                insort(self._by_value[value], event, key=_order)

    def has(self, event: Event) -> bool:
        return event["id"] in self._known

    def asked_for(self, filters: list[Filter], event: Event) -> bool:
        """Whether one of these filters asks for this event, which need not be here."""
        if self._newest is None or self._newest[0] is not event:
            self._newest = event, _values(event)
        values = self._newest[1]
        return any(one.matches(event, values) for one in self._wanted(filters))

    def stored(self, filters: list[Filter], cap: int | None = None) -> list[Event]:
        """What is here for these filters, of each as many as its limit says, and no more
        than `cap`; newest first."""
        found: dict[str, Event] = {}
        for one in self._wanted(filters):
            limits = [limit for limit in (one.limit, cap) if limit is not None]
            found |= {
                event["id"]: event for event in self._of(one, min(limits, default=None))
            }
        return sorted(found.values(), key=_order)

    def _of(self, one: "Wanted", most: int | None) -> list[Event]:
        found: list[Event] = []
        for event in self._candidates(one):
            if len(found) == most:
                break
            if one.matches(event, _values(event)):
                found.append(event)
        return found

    def _candidates(self, one: "Wanted") -> Iterable[Event]:
        """All that can match, in order."""
        if not one.values:
            return self.kept
        lists = [self._by_value.get(value, []) for value in min(one.values, key=len)]
        if len(lists) == 1:
            return lists[0]
        unique = {event["id"]: event for events in lists for event in events}
        return sorted(unique.values(), key=_order)

    def _wanted(self, filters: list[Filter]) -> "list[Wanted]":
        """Read once: a REQ's list is one and the same for as long as it is open."""
        known = self._read.get(id(filters))
        if known is None or known[0] is not filters:
            known = filters, [Wanted(one) for one in filters]
            self._read[id(filters)] = known
        return known[1]


class Wanted:
    """A filter, read once."""

    def __init__(self, one: Filter) -> None:
        fields = {"ids": "id", "authors": "pubkey"}
        self.values: list[frozenset[Value]] = [
            frozenset((fields.get(name, name[1:]), value) for value in wanted)
            for name, wanted in one.items()
            if name in fields or name.startswith("#")
        ]
        self.kinds = frozenset(one["kinds"]) if "kinds" in one else None
        self.since: float = one.get("since", 0)
        self.until: float = one.get("until", float("inf"))
        self.limit: int | None = one.get("limit")

    def matches(self, event: Event, values: set[Value]) -> bool:
        """NIP-01."""
        return (
            (self.kinds is None or event["kind"] in self.kinds)
            and self.since <= event["created_at"] <= self.until
            and not any(values.isdisjoint(wanted) for wanted in self.values)
        )


def _values(event: Event) -> set[Value]:
    tags = {(tag[0], tag[1]) for tag in event["tags"] if len(tag) > 1}
    return tags | {("id", event["id"]), ("pubkey", event["pubkey"])}


def _order(event: Event) -> tuple[int, str]:
    return -event["created_at"], event["id"]
