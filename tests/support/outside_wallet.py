"""An outside wallet, `@getalby/sdk` in Node, and what it is told about its orders."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

from .inbox import Inbox

PROGRAM = Path(__file__).parent / "node" / "outside_wallet.mjs"


class Verdict(Enum):
    """What the SDK tells its caller."""

    DONE = "it is done"
    """The service's answer, a result."""
    DENIED = "it is not done"
    """The service's answer, an error."""
    REFUSED = "nobody was told"
    """`OK false`. The caller may order again."""
    UNKNOWN = "don't know"
    """The order has left, and no answer has come in time. The caller has to look it up
    before it may order again."""


ERRORS = {
    "Nip47WalletError": Verdict.DENIED,
    "Nip47PublishError": Verdict.REFUSED,
    "Nip47ReplyTimeoutError": Verdict.UNKNOWN,
}


@dataclass(frozen=True)
class Told:
    verdict: Verdict
    result: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""


class OutsideWallet:
    """`async with OutsideWallet(node, uri) as wallet:`"""

    def __init__(self, node: str, uri: str) -> None:
        self._node = node
        self._uri = uri
        self._inbox: Inbox[dict[str, Any]] = Inbox("outside wallet")
        self._count = 0
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "OutsideWallet":
        self._process = await asyncio.create_subprocess_exec(
            self._node, str(PROGRAM), stdin=PIPE, stdout=PIPE
        )
        self._reader = asyncio.create_task(self._read(self._process))
        self._write({"uri": self._uri})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None and self._reader is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), 10)
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await self._reader
        assert code == 0, "the outside wallet has failed"

    async def order(
        self, method: str, *, patience: float | None = None, **params: Any
    ) -> Told:
        """What the SDK tells. `patience`: seconds it waits for the service's answer, in
        place of its own ten or sixty."""
        self._count += 1
        number, limit = self._count, None if patience is None else int(patience * 1_000)
        message = {"id": number, "method": method, "params": params, "patience": limit}
        self._write(message)
        (answer,) = await self._inbox.until(
            lambda: [item for item in self._inbox.items if item["id"] == number],
            70,
            f"word about {method}",
        )
        return _told(answer)

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._inbox.put(json.loads(line))


def _told(answer: dict[str, Any]) -> Told:
    if "result" in answer:
        return Told(Verdict.DONE, answer["result"])
    error = answer["error"]
    assert error["name"] in ERRORS, f"the SDK fails in another way: {error}"
    return Told(ERRORS[error["name"]], {}, error.get("code") or "", error["message"])
