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

# Codes of refusals that will not change by asking again.
FINAL = {"invalid", "restricted", "unsupported"}


class _Subscription:
    """What was asked for, and how far it is."""

    __slots__ = ("complete", "filters", "number", "opened", "refused", "since", "whole")

    def __init__(self, filters: str, number: str) -> None:
        self.filters = filters  # JSON, each after a comma
        self.number = number  # names it to the core
        self.opened = int(time.time())
        self.complete = False  # it has had its EOSE
        self.whole = False  # it has all that was stored, and is sent what comes
        self.since: int | None = None  # when it was whole last; None: never
        self.refused = False  # no relay serves it for now

    def lose(self) -> None:
        """What comes from now on may be missed."""
        if self.whole:
            self.whole, self.since = False, int(time.time())

    def tell(self, client: "Client") -> None:
        """Ask the core for it, or to go on with it."""
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
                subscription.refused = False
                self._untold[subscription.number] = None

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

    def refused(self, name: str, code: str) -> bool:
        """The core has closed a subscription. False: for good; it has ended here too."""
        subscription = self._by_name[name]
        if code in FINAL:
            del self._by_name[name]
            del self._names[subscription.number]
            return False
        subscription.lose()
        subscription.refused = True
        return True

    def _ask(self, name: str, subscription: _Subscription) -> None:
        self._by_name[name] = subscription
        self._names[subscription.number] = name
        self._untold[subscription.number] = None
