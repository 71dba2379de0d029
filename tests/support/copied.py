"""A server like one that runs, which takes no time to set up: a new data folder is worth
ten seconds of LNbits' migrations."""

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from scripts.lnbits_server import LNbits

CORE_DATABASE = "database.sqlite3"
EXTENSION_DATABASE = "ext_nostrclient.sqlite3"


def copy_of(
    lnbits: LNbits,
    folder: Path,
    extensions_path: Path | None = None,
    env: Mapping[str, str] | None = None,
    websockets: str = "auto",
    files: int = 0,
    tls: Path | None = None,
) -> LNbits:
    """With the same admin, and nothing in the extension's tables. Not started yet. The
    rest as for `LNbits`."""
    folder.mkdir(parents=True)
    for name in (CORE_DATABASE, EXTENSION_DATABASE):
        with (
            closing(sqlite3.connect(lnbits.data_folder / name)) as source,
            closing(sqlite3.connect(folder / name)) as target,
        ):
            source.backup(target)
    with closing(sqlite3.connect(folder / EXTENSION_DATABASE)) as connection, connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in connection.execute(query).fetchall():
            connection.execute(f"DELETE FROM {table}")
    shutil.copy(lnbits.state.path, folder)
    return LNbits(
        folder,
        extensions_path=extensions_path,
        env=env,
        websockets=websockets,
        files=files,
        tls=tls,
    )
