"""An honest relay that takes so many subscriptions on a connection and no more.

Its document (NIP-11) says how many. One on top is refused with CLOSED, as relays do, and
kept in `refused`: who has read the document never lets it come to that. It stores what it
is given, except ephemeral kinds, answers with the newest first, and is quick enough for
thousands of filters.
"""

import json

from .event_store import EventStore
from .events import Event
from .scripted_relay import Filter, Line, ScriptedRelay


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
        self.store = EventStore()

    @property
    def kept(self) -> list[Event]:
        """Newest first, of the same second the lowest id first."""
        return self.store.kept

    def keep(self, *events: Event) -> None:
        """Store them, unless they are here."""
        self.store.keep(*events)

    async def publish(self, *events: Event) -> None:
        """Store them and pass them on to whoever has asked for them."""
        for event in events:
            self.keep(event)
            for line in list(self.lines):
                for sub, filters in list(line.subs.items()):
                    if self.store.asked_for(filters, event):
                        await line.event(sub, event)

    def filters(self) -> int:
        """How many are open in all."""
        return sum(len(filters) for filters in self.open_subs().values())

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
        for event in self.store.stored(asked):
            if line.subs.get(sub) is not asked:
                return
            await line.event(sub, event)
        if line.subs.get(sub) is asked:
            await line.eose(sub)

    async def _given(self, line: Line, event: Event) -> None:
        await self.publish(event)
        await line.ok(event["id"], True)
