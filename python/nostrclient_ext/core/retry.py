"""What fails is tried again, with a longer pause each time."""

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

FIRST_SECONDS = 1.0
MOST_SECONDS = 60.0


class Pauses:
    """The seconds to wait between attempts: twice as many each time, up to a bound."""

    def __init__(self, most: float = MOST_SECONDS) -> None:
        self._most = most
        self._next = FIRST_SECONDS

    def next(self) -> float:
        """The pause that is due now."""
        seconds = self._next
        self._next = min(seconds * 2, self._most)
        return seconds

    def start_again(self) -> None:
        """From the shortest."""
        self._next = FIRST_SECONDS


async def until_done(
    work: Callable[[], Awaitable[None]], end: type[Exception], complaint: str
) -> None:
    """Do some work, again and again until it succeeds. It is given up when it raises
    `end`; whatever else it raises goes to the log after the complaint."""
    pauses = Pauses()
    while True:
        try:
            return await work()
        except end:
            return
        except Exception as exc:
            seconds = pauses.next()
            logger.error(f"{complaint}, next try in {seconds:.0f} s: {exc}")
        await asyncio.sleep(seconds)
