"""What a caller did wrong, for programs and for people."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(ValueError):
    """A request that cannot be done as it is. Its text is a sentence for people; programs
    go by `code`, which stays the same in every version."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@contextmanager
def refusal(code: str, about: str = "") -> Iterator[None]:
    """The core's `ValueError` is a sentence about what the caller gave: make it a refusal
    with this code, and with words in front that say what it is about."""
    try:
        yield
    except Refusal:
        raise
    except ValueError as exc:
        raise Refusal(code, f"{about}{exc}") from exc
