"""No consumer: what tests can only see and do from inside of LNbits' process."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
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
    return sorted(coroutine.__qualname__ for coroutine, _ in _ours())


@witness_ext.get("/api/v1/code")
async def api_code() -> list[str]:
    """The versions of nostrclient whose code runs in tasks. Code that LNbits has loaded
    anew since, at the same place, is `replaced`."""
    return sorted({_version(module) for _, module in _ours()})


def _ours() -> Iterator[tuple[Any, dict[str, Any]]]:
    """The coroutines of those tasks, each with what its module holds. A module is ours by
    its name, since LNbits itself may be in a folder of any name."""
    for task in asyncio.all_tasks():
        coroutine: Any = task.get_coro()
        frame = getattr(coroutine, "cr_frame", None)  # uvloop's own have none
        if frame is None:
            continue
        parts = frame.f_globals["__name__"].split(".")
        if any(part.startswith("nostrclient") for part in parts):
            yield coroutine, frame.f_globals


def _version(module: dict[str, Any]) -> str:
    """Of the extension that a module belongs to, as its config.json says."""
    loaded = sys.modules.get(module["__name__"])
    if loaded is None or vars(loaded) is not module:
        return "replaced"
    folders = Path(module["__file__"]).parents
    config = next(
        place for folder in folders if (place := folder / "config.json").exists()
    )
    return str(json.loads(config.read_text())["version"])


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
