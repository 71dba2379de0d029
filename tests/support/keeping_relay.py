"""A relay as NIP-47 wallets use them: it keeps all it is given, payment orders too, and
passes it on to whoever has asked for it. On request it gets into trouble, at any step.

    relay.trouble["passed", 23194] = relay.drop
"""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from .events import Event
from .scripted_relay import Filter, Line, ScriptedRelay

Step: TypeAlias = Literal["asked", "kept", "passed", "confirmed"]
"""How far it has come: it has been asked for events of this kind; it has been given one
and keeps it; has passed it on; has said OK."""
Trouble: TypeAlias = Callable[[Line, Event], Awaitable[None]]
"""What happens then, instead of all the rest."""


class KeepingRelay(ScriptedRelay):
    """Each entry of `trouble` happens once."""

    def __init__(self, *, confirm_first: bool = False) -> None:
        super().__init__(on_req=self._asked, on_event=self._given)
        self.kept: list[Event] = []
        self.trouble: dict[tuple[Step, int], Trouble] = {}
        self.confirm_first = confirm_first
        """Whether it says OK before it passes an event on."""

    async def drop(self, _: Line, __: Event) -> None:
        """The trouble: every line goes dead. New ones are welcome at once."""
        for line in list(self.lines):
            line.drop()

    async def vanish(self, line: Line, event: Event) -> None:
        """The trouble: the same, and nobody gets in until it may `come_back`."""
        self.refuse_with = 503
        await self.drop(line, event)

    def come_back(self) -> None:
        """After `vanish`: new lines are welcome again."""
        self.refuse_with = None

    async def stall(self, _: Line, __: Event) -> None:
        """The trouble: nothing more is done about the event."""

    async def refuse(self, line: Line, event: Event) -> None:
        """The trouble: it says that it does not want it."""
        await line.ok(event["id"], False, "error: not kept")

    async def go_deaf(self, line: Line, _: Event) -> None:
        """The trouble: it reads no more from this line."""
        line.stop_reading()

    async def halve(self, line: Line, event: Event) -> None:
        """The trouble: the line goes dead in the middle of passing the event on."""
        (sub,) = _who_asked(line, event)[:1]
        line.drop_in_mid_message("EVENT", sub, event)

    async def _asked(self, line: Line, sub: str, filters: list[Filter]) -> None:
        for kind in {kind for wanted in filters for kind in wanted.get("kinds", [])}:
            trouble = self.trouble.pop(("asked", kind), None)
            if trouble is not None:
                return await trouble(line, {})
        for event in self._stored(filters):
            await line.event(sub, event)
        await line.eose(sub)

    def _stored(self, filters: list[Filter]) -> list[Event]:
        newest = sorted(self.kept, key=lambda event: (-event["created_at"], event["id"]))
        found: dict[str, Event] = {}
        for wanted in filters:
            matching = [event for event in newest if matches(wanted, event)]
            found |= {event["id"]: event for event in matching[: wanted.get("limit")]}
        return list(found.values())

    async def _given(self, line: Line, event: Event) -> None:
        work: list[tuple[Step, Trouble]] = [
            ("kept", self._keep),
            ("passed", self._pass_on),
            ("confirmed", self._confirm),
        ]
        if self.confirm_first:
            work[1:] = reversed(work[1:])
        for step, do in work:
            await do(line, event)
            trouble = self.trouble.pop((step, event["kind"]), None)
            if trouble is not None:
                return await trouble(line, event)

    async def _keep(self, _: Line, event: Event) -> None:
        if event not in self.kept:
            self.kept.append(event)

    async def _pass_on(self, _: Line, event: Event) -> None:
        for line in list(self.lines):
            for sub in _who_asked(line, event):
                await line.event(sub, event)

    async def _confirm(self, line: Line, event: Event) -> None:
        await line.ok(event["id"], True)


def _who_asked(line: Line, event: Event) -> list[str]:
    """The subscriptions on this line that the event is for."""
    return [
        sub
        for sub, filters in line.subs.items()
        if any(matches(wanted, event) for wanted in filters)
    ]


def matches(wanted: Filter, event: Event) -> bool:
    """NIP-01: whether an event is what this filter asks for."""
    fields = {"ids": "id", "authors": "pubkey", "kinds": "kind"}
    for name, value in wanted.items():
        if name in fields:
            right = event[fields[name]] in value
        elif name == "since":
            right = event["created_at"] >= value
        elif name == "until":
            right = event["created_at"] <= value
        elif name.startswith("#"):
            right = any(tag[0] == name[1] and tag[1] in value for tag in event["tags"])
        else:
            right = name == "limit"
        if not right:
            return False
    return True
