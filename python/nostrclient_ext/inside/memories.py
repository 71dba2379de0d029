"""Which events each subscription of an extension has been given.

Kept by the subscription's name, over cores and over its end: an event that was given
under a name is not given under it again. Owned by `InsideClient`, whose lock is held in
every call.
"""

from collections import OrderedDict
from collections.abc import Collection
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nostrclient_core import Memory

MAX_MEMORIES = 1_000  # of subscriptions that are closed


class Memories:
    """By name, the one used last at the end."""

    def __init__(self) -> None:
        self._memories: OrderedDict[str, Memory] = OrderedDict()

    def note(self, name: str, event_id: str, date: int, library: ModuleType) -> bool:
        """An event of this id and date is given. False: it was before, or may have
        been."""
        memory = self._memories.get(name)
        if memory is None:
            memory = self._memories[name] = library.Memory()
        self._memories.move_to_end(name)
        return memory.insert(event_id, date)

    def forget_old(self, open_names: Collection[str]) -> None:
        """Keep those of the open subscriptions and, of the others, the latest."""
        while len(self._memories) > MAX_MEMORIES + len(open_names):
            for name in self._memories:
                if name not in open_names:
                    del self._memories[name]
                    break
