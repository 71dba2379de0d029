"""An honest relay that takes so many subscriptions on a connection and no more.

Its document (NIP-11) says how many. One on top is refused with CLOSED, as relays do, and
kept in `refused`: who has read the document never lets it come to that. It stores what it
is given, except ephemeral kinds, answers with the newest first, and is quick enough for
thousands of filters.
"""

import json
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable

from .events import Event
from .scripted_relay import Filter, Line, ScriptedRelay

Value = tuple[str, str]
"""What a filter asks for and an event has: the field or tag, and its value."""


class BudgetRelay(ScriptedRelay):
    def __init__(self, most: int) -> None:
        super().__init__(on_req=self._asked, on_event=self._given)
        self.most = most
        self.peak = 0
        """The most that were open at a time."""
        self.refused: list[str] = []
        limits = {"max_subscriptions": most, "max_subid_length": 64}
        document = {"supported_nips": [1, 11], "limitation": limits}
        self.document = json.dumps(document).encode()
        self.kept: list[Event] = []
        """Newest first, of the same second the lowest id first."""
        self._known: set[str] = set()
        self._by_value: dict[Value, list[Event]] = defaultdict(list)
        self._compiled: dict[int, tuple[list[Filter], list[Wanted]]] = {}

    def keep(self, *events: Event) -> None:
        """Store them, unless they are here."""
        for event in events:
            if event["id"] in self._known or 20_000 <= event["kind"] < 30_000:
                continue
            self._known.add(event["id"])
            insort(self.kept, event, key=_order)
            for value in _values(event):
                insort(self._by_value[value], event, key=_order)

    async def publish(self, *events: Event) -> None:
        """Store them and pass them on to whoever has asked for them."""
        for event in events:
            self.keep(event)
            values = _values(event)
            for line in list(self.lines):
                for sub, filters in list(line.subs.items()):
                    if any(one.matches(event, values) for one in self._wanted(filters)):
                        await line.event(sub, event)

    def filters(self) -> int:
        """How many are open in all."""
        return sum(len(filters) for filters in self.open_subs().values())

    def _wanted(self, filters: list[Filter]) -> "list[Wanted]":
        """Read once: a REQ's list is one and the same for as long as it is open."""
        known = self._compiled.get(id(filters))
        if known is None or known[0] is not filters:
            known = filters, [Wanted(one) for one in filters]
            self._compiled[id(filters)] = known
        return known[1]

    def _take(self, line: Line, text: str | bytes) -> None:
        super()._take(line, text)
        if len(line.subs) > self.most:
            sub, _ = line.subs.popitem()
            self.refused.append(sub)
            self._run(line.closed, sub, "rate-limited: too many subscriptions")
        self.peak = max(self.peak, len(line.subs))

    async def _asked(self, line: Line, sub: str, filters: list[Filter]) -> None:
        """Answered for as long as it is neither closed nor replaced nor refused."""
        asked = line.subs.get(sub)
        if asked is None or asked != filters:
            return
        found: dict[str, Event] = {}
        for one in self._wanted(asked):
            found |= {event["id"]: event for event in self._stored(one)}
        for event in sorted(found.values(), key=_order):
            if line.subs.get(sub) is not asked:
                return
            await line.event(sub, event)
        if line.subs.get(sub) is asked:
            await line.eose(sub)

    def _stored(self, one: "Wanted") -> list[Event]:
        found: list[Event] = []
        for event in self._candidates(one):
            if len(found) == one.limit:
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

    async def _given(self, line: Line, event: Event) -> None:
        await self.publish(event)
        await line.ok(event["id"], True)


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
