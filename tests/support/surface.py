"""The extension without LNbits around it: started and stopped on the test's own event
loop, in one or several copies."""

import asyncio
import importlib
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from nostrclient_ext.core import running as core
from nostrclient_ext.core.running import Running
from nostrclient_ext.outbox.rows import OutboxRows

from migrations import m005_outbox

SOURCE = Path(core.__file__).parents[1]
_numbers = itertools.count(1)


class Server:
    """What LNbits does with the extension: starts and stops it, with these relays."""

    def __init__(self) -> None:
        self.relays: list[str] = []
        self.switched_off: set[str] = set()
        self._stop = core.stop

    @staticmethod
    async def make_table() -> None:
        """An empty outbox."""
        async with OutboxRows("nobody")._db.connect() as connection:
            await connection.execute("DROP TABLE IF EXISTS nostrclient.outbox")
            await m005_outbox(connection)

    async def start(self, copy: ModuleType = core) -> Running:
        """Start a copy, this one by default."""
        running = copy.start()
        assert running is not None
        self._stop = copy.stop
        running.spawn(running.outbox.keep())
        await running.outbox.tried.wait()
        for url in self.relays:
            running.core.add_relay(url)
        core.UNWANTED_RELAYS.update(self.switched_off)
        running.serve()
        found: Running = running
        return found

    async def stop(self) -> None:
        """And wait for what is still at work on the database: the end of the test's loop
        would cut it off, which the end of the extension does not."""
        self._stop()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            _, others = await asyncio.wait(others, timeout=10)
            assert not others, others


class Copy:
    """The extension loaded once more, under another name, as an upgrade loads it."""

    def __init__(self) -> None:
        self.name = f"nostrclient-copy{next(_numbers)}"
        package = ModuleType(self.name)
        package.__path__ = [str(SOURCE)]
        sys.modules[self.name] = package

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.name}.{name}")

    def forget(self) -> None:
        """As LNbits forgets the modules of an extension it loads anew."""
        for name in list(sys.modules):
            if name == self.name or name.startswith(f"{self.name}."):
                del sys.modules[name]


@contextmanager
def another_copy() -> Iterator[Copy]:
    copy = Copy()
    try:
        yield copy
    finally:
        copy.forget()
