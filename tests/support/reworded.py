"""The core with every one of its sentences changed, and its codes as they are.

It stands before the library where the extension finds that, and so before whatever the
extension is given by it.
"""

from collections.abc import Callable
from typing import Any

from nostrclient_core import Client, Core

Wording = Callable[[str], str]

WORDINGS: dict[str, Wording] = {
    "as it is": lambda text: text,
    "nothing": lambda _: "",
    "nonsense": lambda text: "x" * len(text),
    "of a last word": lambda _: "invalid: never again",
    "of a passing trouble": lambda _: "error: no relay configured",
}

# Who tells, by its verb, something in words; the rest is data.
IN_WORDS = {"CLOSED", "NOTICE", "OK", "REFUSED"}
# By what names a dictionary has words.
WORDS = {"errors", "notices", "reasons"}


class Reworded:
    """What an object of the core says, in other words. `changed` has what it said."""

    def __init__(self, real: Any, wording: Wording, changed: list[str]) -> None:
        self._real = real
        self._wording = wording
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        is_plain = isinstance(found, type) and found is not Core
        if is_plain or not callable(found):
            return self._other(found)

        def call(*given: Any, **named: Any) -> Any:
            try:
                return self._other(found(*map(_real, given), **named))
            except Exception as exc:
                if hasattr(exc, "code"):
                    exc.args = (self._word(str(exc)),)
                raise

        return call

    def _word(self, text: str) -> str:
        self._changed.append(text)
        return self._wording(text)

    def _other(self, found: Any) -> Any:
        """The same with other words."""
        match found:
            case Core() | Client():
                return Reworded(found, self._wording, self._changed)
            case (str(verb), name, text, *rest) if len(found) == 6 and verb in IN_WORDS:
                return (verb, name, self._word(text), *rest)
            case (int(status), str(why)):  # how a client was closed
                return status, self._word(why)
            case list():
                return [self._other(one) for one in found]
            case dict():
                return {
                    name: self._words(value) if name in WORDS else self._other(value)
                    for name, value in found.items()
                }
        return found

    def _words(self, texts: Any) -> Any:
        if isinstance(texts, dict):
            return {url: self._word(text) for url, text in texts.items()}
        return [self._word(text) for text in texts]


def _real(given: Any) -> Any:
    return given._real if isinstance(given, Reworded) else given
