"""COMPAT, Identity and data: an installed server's database is taken over untouched."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scripts.lnbits_server import LNbits
from support.copied import CORE_DATABASE, EXTENSION_DATABASE, copy_of
from support.defaults import DEFAULTS
from support.endpoint import Endpoint
from support.scripted_relay import ScriptedRelay
from support.wire_client import refused

pytestmark = pytest.mark.asyncio

# What the predecessor's three migrations leave behind.
INSTALLED = """
    CREATE TABLE relays (
        id TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, active BOOLEAN DEFAULT true
    );
    CREATE TABLE config (extra TEXT, owner_id TEXT DEFAULT 'admin');
"""
CONFIG = '{"private_ws": false, "public_ws": true}'


def rows(folder: Path, query: str, database: str = EXTENSION_DATABASE) -> list[Any]:
    with closing(sqlite3.connect(folder / database)) as connection:
        return connection.execute(query).fetchall()


def script(folder: Path, text: str, database: str = EXTENSION_DATABASE) -> None:
    with closing(sqlite3.connect(folder / database)) as connection:
        connection.executescript(text)


def columns(folder: Path, table: str) -> dict[str, tuple[str, int, str | None, int]]:
    """Column name to (type, not null, default, primary key)."""
    found = rows(folder, f"PRAGMA table_info({table})")
    return {row[1]: (row[2], row[3], row[4], row[5]) for row in found}


async def test_a_new_installation_has_the_same_tables(endpoint: Endpoint) -> None:
    folder = endpoint.lnbits.data_folder
    relays = columns(folder, "relays")
    assert relays["id"] == ("TEXT", 1, None, 1)
    assert relays["url"][:2] == ("TEXT", 1)
    assert relays["active"][0] == "BOOLEAN"
    config = columns(folder, "config")
    assert config["extra"][0] == "TEXT"
    assert config["owner_id"][0] == "TEXT"
    assert str(config["owner_id"][2]).strip("'") == "admin"
    # What came later.
    outbox = columns(folder, "outbox")
    assert list(outbox) == [
        "id",
        "event",
        "state",
        "position",
        "queued_at",
        "reasons",
        "owner",
        "lease_until",
        "vouched",
    ]
    assert outbox["id"][3] == 1  # the primary key


@pytest.fixture
def installed(lnbits: LNbits, tmp_path: Path) -> Iterator[LNbits]:
    """A server as the predecessor left it, not started yet: the data folder of ours
    with the extension's part set back."""
    server = copy_of(lnbits, tmp_path / "data")
    folder = server.data_folder
    script(
        folder,
        "UPDATE dbversions SET version = 3 WHERE db = 'nostrclient';",
        CORE_DATABASE,
    )
    tables = ("relays", "config", "outbox")
    script(folder, "".join(f"DROP TABLE {name};" for name in tables) + INSTALLED)
    yield server
    server.stop()
    server.http.close()


def version(folder: Path) -> int:
    query = "SELECT version FROM dbversions WHERE db = 'nostrclient'"
    ((number,),) = rows(folder, query, CORE_DATABASE)
    return int(number)


async def test_it_is_taken_over(installed: LNbits) -> None:
    folder = installed.data_folder
    async with ScriptedRelay() as used, ScriptedRelay() as switched_off:
        table = [
            ("one", used.url, 1),
            ("two", used.url, 1),
            ("three", used.url + "/", 1),
            ("four", switched_off.url, 0),
            ("five", "no relay's url", 1),
            ("six", "wss://relay.invalid/", 1),
        ]
        with closing(sqlite3.connect(folder / EXTENSION_DATABASE)) as connection:
            connection.executemany("INSERT INTO relays VALUES (?, ?, ?)", table)
            connection.execute("INSERT INTO config (extra) VALUES (?)", (CONFIG,))
            connection.commit()
        assert version(folder) == 3

        installed.start()
        endpoint = Endpoint(installed)
        await used.connected()
        shown = await endpoint.relays()
        assert [relay["url"] for relay in shown].count(used.url) == 1
        assert len(shown) == 4
        assert (await endpoint.relay(used.url))["active"] is True
        assert (await endpoint.relay(switched_off.url))["active"] is False
        response = await endpoint.http.get(f"{endpoint.base}/config")
        # A setting that came later has its default.
        assert response.json() == {**DEFAULTS, **json.loads(CONFIG)}
        assert await refused(endpoint.private_url) == 403
        assert await refused(endpoint.public_url) == 101
        client = await endpoint.client()
        await client.subscribe("s", {"kinds": [1]})

        kept = "SELECT id, url, active FROM relays ORDER BY rowid"
        assert rows(folder, kept) == table
        assert rows(folder, "SELECT extra, owner_id FROM config") == [(CONFIG, "admin")]
        assert version(folder) == 5
        assert rows(folder, "SELECT * FROM outbox") == []
        assert (len(used.connected_at), switched_off.connected_at) == (1, [])

        # Deleting a relay deletes every row of it.
        assert (await endpoint.remove(used.url)).status_code == 200
        await used.until(lambda: not used.lines, "the end of the connection")
        assert rows(folder, kept) == table[3:]
        # And one that never was a relay can be deleted too.
        assert (await endpoint.remove("no relay's url")).status_code == 200
        assert rows(folder, kept) == [table[3], table[5]]
        await endpoint.close()


async def test_without_a_config_row(installed: LNbits) -> None:
    """The endpoint answers by the defaults, and PUT creates the row."""
    folder = installed.data_folder
    installed.start()
    endpoint = Endpoint(installed)
    assert await refused(endpoint.private_url) == 101
    assert await refused(endpoint.public_url) == 403
    assert rows(folder, "SELECT * FROM config") == []
    await endpoint.configure(private_ws=False, public_ws=True)
    assert len(rows(folder, "SELECT * FROM config")) == 1
    assert await refused(endpoint.private_url) == 403
    assert await refused(endpoint.public_url) == 101
    await endpoint.close()
