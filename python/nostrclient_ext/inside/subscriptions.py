"""The subscriptions of an extension, and how far each of them is.

Outlives cores: every core is asked for all of them, and goes on where the one before
stopped. Owned by `InsideClient`, whose lock is held in every call.
"""

import itertools
import time
from collections import OrderedDict
from collections.abc import KeysView
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nostrclient_core import Client

# Codes of what the core itself refuses, and asking again will not change. What relays
# refuse has a code of its own (not_served).
FINAL = {"invalid", "restricted", "unsupported"}
REFUSED_SECONDS = (
    30.0  # until what no relay serves is asked for again; doubled each time,
)
REFUSED_MOST_SECONDS = 1800.0  # and no more than this


class _Subscription:
    """What was asked for, and how far it is."""

    __slots__ = (
        "complete",
        "due",
        "filters",
        "number",
        "opened",
        "pause",
        "refused",
        "since",
        "whole",
    )

    def __init__(self, filters: str, number: str) -> None:
        self.filters = filters  # JSON, each after a comma
        self.number = number  # names it to the core
        self.opened = int(time.time())
        self.complete = False  # it has had its EOSE
        self.whole = False  # it has all that was stored, and is sent what comes
        self.since: int | None = None  # when it was whole last; None: never
        self.refused = False  # no relay serves it for now
        self.pause = 0.0  # seconds it was let alone for, after the last refusal
        self.due = 0.0  # when those were over, by the monotonic clock

    def lose(self) -> None:
        """What comes from now on may be missed."""
        if self.whole:
            self.whole, self.since = False, int(time.time())

    def refuse(self) -> float:
        """No relay serves it. Seconds until it is to be asked for again: more each time,
        and few again once it was served for longer than it had been let alone."""
        self.lose()
        self.refused = True
        now = time.monotonic()
        again = now <= self.due + self.pause
        longer = min(2 * self.pause, REFUSED_MOST_SECONDS) if again else 0.0
        self.pause = max(longer, REFUSED_SECONDS)
        self.due = now + self.pause
        return self.pause

    def tell(self, client: "Client") -> None:
        """Ask the core for it, or to go on with it."""
        self.refused = False
        req = f'["REQ","{self.number}"{self.filters}]'
        if not self.complete:
            client.feed(req)
        elif self.since is None:
            client.resume(req, self.opened, whole=False)
        else:
            client.resume(req, self.since, whole=True)


class Subscriptions:
    """By the name that the extension has given."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Subscription] = {}
        # Each REQ has a number of its own: what still comes for an earlier one of the
        # same name is not taken for this one's.
        self._names: dict[str, str] = {}
        self._numbers = itertools.count(1)
        # Numbers the core is still to be told of: opened or, if they have no name, ended.
        self._untold: OrderedDict[str, None] = OrderedDict()

    @property
    def names(self) -> KeysView[str]:
        return self._by_name.keys()

    def name_of(self, number: str) -> str | None:
        """The subscription of this number. None: there is none, or it has ended."""
        return self._names.get(number)

    def open(self, name: str, filters: str) -> None:
        """A new subscription in place of any of the same name."""
        self.end(name)
        self._ask(name, _Subscription(filters, str(next(self._numbers))))

    def end(self, name: str) -> None:
        """Nothing happens if there is none."""
        subscription = self._by_name.pop(name, None)
        if subscription is not None:
            del self._names[subscription.number]
            self._untold[subscription.number] = None

    def clear(self) -> None:
        """Forget all of them. The core is not told."""
        self._by_name.clear()
        self._names.clear()
        self._untold.clear()

    def tell(self, client: "Client") -> None:
        """Tell as much as the core takes."""
        while self._untold and client.writable:
            number, _ = self._untold.popitem(last=False)
            name = self._names.get(number)
            if name is None:
                client.feed(f'["CLOSE","{number}"]')
            else:
                self._by_name[name].tell(client)

    def tell_all_again(self) -> None:
        """Tell everything to a new core."""
        self._untold = OrderedDict.fromkeys(self._names)

    def ask_anew(self) -> None:
        """Ask for each with a new REQ: late answers to the old one are not taken for its
        own."""
        for name, subscription in list(self._by_name.items()):
            self.end(name)
            subscription.lose()
            subscription.number = str(next(self._numbers))
            self._ask(name, subscription)

    def ask_refused_again(self) -> None:
        """Ask again for those that no relay served: one is there now."""
        for subscription in self._by_name.values():
            if subscription.refused:
                self._untold[subscription.number] = None

    def pause_is_over(self, number: str) -> None:
        """Ask again for the subscription of this number, unless it has been refused once
        more meanwhile and is to be let alone for longer."""
        name = self._names.get(number)
        if name is None:
            return
        subscription = self._by_name[name]
        # A timer may be a little early.
        if subscription.refused and time.monotonic() > subscription.due - 1:
            self._untold[number] = None

    def lose(self) -> None:
        """The core is gone: whatever comes from now on may be missed."""
        for subscription in self._by_name.values():
            subscription.lose()

    def heard(self, name: str, verb: str) -> None:
        """The core says how far a subscription is."""
        subscription = self._by_name[name]
        if verb == "EOSE":
            subscription.complete = True
        elif verb == "WHOLE":
            subscription.whole = True
        elif verb == "BEHIND":
            subscription.lose()

    def refused(self, name: str, code: str) -> float | None:
        """The core has closed a subscription. Seconds until it is to be asked for again.
        None: never; it has ended here too."""
        subscription = self._by_name[name]
        if code in FINAL:
            del self._by_name[name]
            del self._names[subscription.number]
            return None
        return subscription.refuse()

    def _ask(self, name: str, subscription: _Subscription) -> None:
        self._by_name[name] = subscription
        self._names[subscription.number] = name
        self._untold[subscription.number] = None
