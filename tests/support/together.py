"""Cases that mostly wait and do not disturb one another, run at the same time.

at_the_same_time: Together[Ground] = Together()

@at_the_same_time
async def a_case(ground: Ground) -> None: ...

async def test_at_the_same_time(endpoint: Endpoint) -> None:
    await at_the_same_time.run(Ground(endpoint))
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Ground = TypeVar("Ground")


class Together(Generic[Ground]):
    def __init__(self) -> None:
        self._cases: list[Callable[[Ground], Awaitable[None]]] = []

    def __call__(
        self, case: Callable[[Ground], Awaitable[None]]
    ) -> Callable[[Ground], Awaitable[None]]:
        self._cases.append(case)
        return case

    async def run(self, ground: Ground) -> None:
        """All cases to their end. Fails with the failures of each that fails."""
        cases = (case(ground) for case in self._cases)
        ends = await asyncio.gather(*cases, return_exceptions=True)
        failures = [end for end in ends if end is not None]
        texts = ["".join(traceback.format_exception(failure)) for failure in failures]
        text = f"{len(failures)} of {len(ends)} fail:\n" + "\n".join(texts)
        assert not failures, text
