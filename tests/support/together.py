"""Cases that mostly wait and do not disturb one another: run at the same time, and told
apart by name.

at_the_same_time: Together[Ground] = Together()

@at_the_same_time
async def a_case(ground: Ground) -> None: ...

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(request: pytest.FixtureRequest, ...) -> Ends:
    return await at_the_same_time.run(Ground(...), request)

@at_the_same_time.each
async def test_at_the_same_time(ends: Ends, case: str) -> None:
    ends.tell(case)

The first test of them takes as long as the longest case, the others no time. Of those
that pytest does not select, none runs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import pytest

Ground = TypeVar("Ground")
Test = TypeVar("Test", bound=Callable[..., Awaitable[None]])


class Ends:
    """How each case has ended."""

    def __init__(self, failures: dict[str, BaseException | None]) -> None:
        self._failures = failures

    def tell(self, case: str) -> None:
        """Fail as it has failed."""
        if failure := self._failures[case]:
            raise failure


class Together(Generic[Ground]):
    def __init__(self) -> None:
        self._cases: dict[str, Callable[[Ground], Awaitable[None]]] = {}

    def __call__(
        self, case: Callable[[Ground], Awaitable[None]]
    ) -> Callable[[Ground], Awaitable[None]]:
        self._cases[case.__name__] = case
        return case

    def each(self, test: Test) -> Test:
        """A test for each case, whose name it is given. Cases may be added later on."""
        marked: Test = pytest.mark.parametrize("case", self._cases)(test)
        return marked

    async def run(self, ground: Ground, request: pytest.FixtureRequest) -> Ends:
        """Those of this module's cases that are selected, to their end."""
        selected = [
            str(item.callspec.params["case"])
            for item in request.session.items
            if isinstance(item, pytest.Function)
            and item.path == request.path
            and "ends" in item.fixturenames
        ]
        ends = await asyncio.gather(
            *(self._cases[name](ground) for name in selected), return_exceptions=True
        )
        return Ends(dict(zip(selected, ends, strict=True)))
