"""Each table of the extension out of reach: whoever asks is told in a sentence, and what
needs none of them goes on."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from support.endpoint import Endpoint
from support.live_page import LivePage
from support.outbox import DATABASE
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

URL = "ws://127.0.0.1:9"

NEED: dict[str, list[tuple[str, str, Any]]] = {
    "relays": [
        ("GET", "relays", None),
        ("POST", "relay", {"url": URL}),
        ("PUT", "relay", {"url": URL, "read": True}),
        ("DELETE", "relay", {"url": URL}),
        ("POST", "relay/pause", {"url": URL}),
    ],
    "config": [
        ("GET", "config", None),
        ("PUT", "config", {"outbox_size": 100}),
        ("GET", "endpoints", None),
        ("GET", "metrics", None),
        ("GET", "metrics/token", None),
        ("POST", "metrics/token", None),
        ("DELETE", "metrics/token", None),
    ],
    "outbox": [("DELETE", "outbox", {"ids": ["0" * 64]})],
}


@contextmanager
def without(endpoint: Endpoint, table: str) -> Iterator[None]:
    path = endpoint.lnbits.data_folder / DATABASE
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            yield
        finally:
            database.execute(f"ALTER TABLE away RENAME TO {table}")


@pytest.mark.parametrize("table", NEED)
async def test_a_table_that_is_away(endpoint: Endpoint, table: str) -> None:
    async def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
        url = f"{endpoint.base}/{path}"
        response = await endpoint.http.request(method, url, json=body)
        return response.status_code, response.json()

    relay = ScriptedRelay()
    await endpoint.use(relay)
    with without(endpoint, table):
        for question in NEED[table]:
            status, answer = await ask(*question)
            assert status == 503, (question, answer)
            assert "outbox" in answer["detail"] or "database" in answer["detail"]
        for path in ("live", "clients", f"relay/log?url={relay.url}"):
            status, answer = await ask("GET", path, None)
            assert status == 200, (path, answer)
    async with LivePage(endpoint) as page:
        await page.until_relay(relay.url, state="connected")
