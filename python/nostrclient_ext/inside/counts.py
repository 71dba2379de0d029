"""The counts that an extension has asked for (NIP-45) and that are not answered yet.

Owned by `InsideClient`, whose lock is held in every call. A count belongs to one core and
is not asked again: it fails when that core ends.
"""

import itertools
import json
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nostrclient_core import Client, Told

MAX_COUNTS = 1_000  # not answered yet


class CountRefused(RuntimeError):
    """There is no count. The text says why, for people; programs go by `code`: the core's
    `ReasonCode`, or `no_core` (none runs), `stopped` (it ended before the answer),
    `client_closed`. Empty: none that is known."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Counts:
    """By number: the future that waits for the answer."""

    def __init__(self) -> None:
        self._waiting: dict[str, Future[dict[str, Any]]] = {}
        self._untold: OrderedDict[str, str] = OrderedDict()
        self._numbers = itertools.count(1)

    def ask(self, filters: list[Any]) -> "Future[dict[str, Any]]":
        """Ask; the question goes out with the next `tell`. Returns the answer to come."""
        text = "".join(f",{json.dumps(given, allow_nan=False)}" for given in filters)
        answer: Future[dict[str, Any]] = Future()
        answer.set_running_or_notify_cancel()
        if len(self._waiting) >= MAX_COUNTS:
            why = "rate-limited: too many counts at a time"
            answer.set_exception(CountRefused(why, "rate_limited"))
            return answer
        number = f"count-{next(self._numbers)}"  # no subscription's
        self._waiting[number] = answer
        self._untold[number] = f'["COUNT","{number}"{text}]'
        return answer

    def tell(self, client: "Client") -> None:
        """Tell as much as the core takes."""
        while self._untold and client.writable:
            _, text = self._untold.popitem(last=False)
            client.feed(text)

    def settle(self, message: "Told") -> bool:
        """Take the answer to a count, COUNT or CLOSED. False: it is none."""
        verb, number, text, code, _, _ = message
        answer = self._waiting.pop(number, None) if verb in ("COUNT", "CLOSED") else None
        if answer is None:
            return False
        if verb == "COUNT":
            answer.set_result(json.loads(text))
        else:
            answer.set_exception(CountRefused(text, code))
        return True

    def end(self, why: str, code: str) -> None:
        """Let all counts fail."""
        waiting, self._waiting = self._waiting, {}
        self._untold.clear()
        for answer in waiting.values():
            answer.set_exception(CountRefused(why, code))
