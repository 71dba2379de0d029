"""No consumer: what tests can only see and do from inside of LNbits' process."""

import asyncio
import sys
from types import ModuleType
from typing import Any

from fastapi import APIRouter
from lnbits.db import Database

db = Database("ext_witness")
witness_ext = APIRouter(prefix="/witness")
copies: list[ModuleType] = []


def witness_start() -> None:
    """Nothing runs."""


def witness_stop() -> None:
    """Nothing to stop."""


@witness_ext.get("/api/v1/tasks")
async def api_tasks() -> list[str]:
    """The asyncio tasks that run nostrclient's code."""
    coroutines: list[Any] = [task.get_coro() for task in asyncio.all_tasks()]
    return sorted(
        coroutine.__qualname__ for coroutine in coroutines if _is_ours(coroutine)
    )


def _is_ours(coroutine: Any) -> bool:
    """By its module's name: LNbits' own files may be in a folder of any name. uvloop's
    coroutines have no frame, and no module."""
    frame = getattr(coroutine, "cr_frame", None)
    module = frame.f_globals["__name__"] if frame is not None else ""
    return any(part.startswith("nostrclient") for part in module.split("."))


@witness_ext.post("/api/v1/copies")
async def api_keep_copies() -> list[str]:
    """Keep the copies of the extension that are loaded now. The names of all kept, the
    oldest first; LNbits gives different ones the same name."""
    for name, module in list(sys.modules.items()):
        is_one = "nostrclient" in name and hasattr(module, "nostrclient_ext")
        if is_one and not any(module is copy for copy in copies):
            copies.append(module)
    return [copy.__name__ for copy in copies]


@witness_ext.post("/api/v1/copies/{number}/{action}")
async def api_call(number: int, action: str) -> None:
    """`start` or `stop` one of them, as LNbits does."""
    getattr(copies[number], f"nostrclient_{action}")()
