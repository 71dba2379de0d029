"""The extension that was installed before, as far as ours meets it: its tables, and its
modules in a running process."""

from fastapi import APIRouter
from lnbits.db import Database

db = Database("ext_nostrclient")
nostrclient_ext = APIRouter(prefix="/nostrclient")
nostrclient_static_files = [{"path": "/nostrclient/static", "name": "nostrclient_static"}]


@nostrclient_ext.get("/api/v1/before")
async def api_before() -> str:
    """Only it has this route."""
    return "here"


def nostrclient_start() -> None:
    """Nothing runs."""


def nostrclient_stop() -> None:
    """Nothing to stop."""
