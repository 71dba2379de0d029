"""What one end of a socket has received, in order, and how a test waits for more.

Nothing in the suite sleeps to let something happen: a test names the condition it waits
for and a deadline, and is woken by every arrival.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Inbox(Generic[Item]):
    """A list that can be waited on."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.items: list[Item] = []
        self._waiters: set[asyncio.Future[None]] = set()

    def put(self, item: Item) -> None:
        self.items.append(item)
        self.wake()

    def wake(self) -> None:
        """Let everyone who waits look again: something changed."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def until(
        self, condition: Callable[[], Result], seconds: float, what: str
    ) -> Result:
        """The first truthy value of `condition`; fails at the deadline, saying `what`."""
        deadline = time.monotonic() + seconds
        while True:
            result = condition()
            if result:
                return result
            left = deadline - time.monotonic()
            if left <= 0 or not await self.changes_within(left):
                result = condition()
                if result:
                    return result
                raise AssertionError(
                    f"{self.owner}: no {what} within {seconds} s; last received: "
                    f"{[str(item)[:300] for item in self.items[-8:]]}"
                )

    async def changes_within(self, seconds: float) -> bool:
        """Whether anything arrives within this time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, seconds)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)


async def eventually(
    condition: Callable[[], Result], seconds: float, what: str
) -> Result:
    """As `Inbox.until`, for states that announce nothing (files, processes)."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; got {result!r}")
        await asyncio.sleep(0.02)
