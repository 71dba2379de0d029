"""How a caller is told what is wrong with a request: a code and a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(ValueError):
    """What is wrong with a request. The text is a sentence for people; programs go by
    `code`, which does not change."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@contextmanager
def refusal(code: str, about: str = "") -> Iterator[None]:
    """Turn a `ValueError` of the core into a refusal. `about`: words before its
    sentence."""
    try:
        yield
    except Refusal:
        raise
    except ValueError as exc:
        raise Refusal(code, f"{about}{exc}") from exc
