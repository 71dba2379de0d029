"""What the owner of a server does on LNbits' extension page, and what of nostrclient is
left in the process afterwards.

An `Owner` is the endpoint of an LNbits that started without extensions: everything in
it was installed over LNbits' own API, from a shelf.
"""

import asyncio
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from scripts.lnbits_server import LNbits
from scripts.postgres import Postgres

from .endpoint import Endpoint
from .inbox import eventually
from .shelf import Release

EXTENSION = "nostrclient"
CORES_THREADS = "nostr"  # how the names of the core's threads begin
DATABASE = "lnbits"

# What LNbits' log never has, whatever an owner does.
COMPLAINTS = (
    "Traceback",
    "Could not load extension",
    "Error migrating",
    "ImportError",
    "ModuleNotFoundError",
    "Failed to start background work",
    "Failed to stop background work",
    "was never awaited",
    "never retrieved",
    "cannot read its relays",
)

# Nor ids of the private endpoint, which begin so. While the extension is off, LNbits
# answers for it and logs what was asked for.
PRIVATE_ID = "U2FsdGVkX1"
WHILE_OFF = " 404"


class Owner(Endpoint):
    def __init__(self, lnbits: LNbits, version: str, postgres: Postgres | None) -> None:
        super().__init__(lnbits)
        self.version = version
        """Of LNbits."""
        self.postgres = postgres
        self._read = len(lnbits.log())  # of the log, by those who came before

    # On the extension page.

    async def try_to_install(self, release: Release) -> httpx.Response:
        """Install it, or upgrade to it, as a click on the release does."""
        data = {
            "ext_id": release.extension,
            "archive": release.archive,
            "source_repo": release.manifest,
            "version": release.version,
        }
        return await self.http.post(f"{self.root}/api/v1/extension", json=data)

    async def install(self, release: Release) -> None:
        """Have it installed, active and enabled, whatever was there."""
        response = await self.try_to_install(release)
        assert response.status_code == 200, response.text
        await self.switch("enable", release.extension)

    async def have(self, *releases: Release) -> bool:
        """Install those that are not installed and active. Whether there were any."""
        installed = [await self.installed(release.extension) for release in releases]
        missing = [
            release
            for release, version in zip(releases, installed, strict=True)
            if version != release.version
        ]
        for release in missing:
            await self.install(release)
        return bool(missing)

    async def installed(self, extension: str = EXTENSION) -> str | None:
        """The version of it that is installed and active."""
        for shown in await self.ask("/api/v1/extension/all"):
            if shown["id"] == extension and shown["isInstalled"] and shown["isActive"]:
                return str(shown["installedRelease"]["version"])
        return None

    async def switch(self, action: str, extension: str = EXTENSION) -> None:
        """`activate` or `deactivate` for everybody, `enable` for oneself."""
        url = f"{self.root}/api/v1/extension/{extension}/{action}"
        response = await self.http.put(url)
        assert response.status_code == 200, response.text

    async def uninstall(self, extension: str = EXTENSION) -> None:
        url = f"{self.root}/api/v1/extension/{extension}"
        response = await self.http.delete(url)
        assert response.status_code == 200, response.text

    async def delete_data(self, extension: str = EXTENSION) -> None:
        """Drop the extension's tables."""
        url = f"{self.root}/api/v1/extension/{extension}/db"
        response = await self.http.delete(url)
        assert response.status_code == 200, response.text

    async def restart(self) -> None:
        """End the process in order and start it again, on the same port."""
        await asyncio.to_thread(self.lnbits.stop)
        self.no_complaints()
        await asyncio.to_thread(self.lnbits.start)
        self._read = 0
        self.token = self.lnbits.admin_token
        self.http.headers["Authorization"] = f"Bearer {self.token}"
        self.pid = self.lnbits.pid

    # Over HTTP, and in the log.

    async def ask(self, path: str, method: str = "GET", json: object = None) -> Any:
        """What the server answers to this."""
        response = await self.http.request(method, f"{self.root}{path}", json=json)
        assert response.status_code == 200, f"{path}: {response.text}"
        return response.json()

    def new_log(self) -> str:
        """What LNbits has printed since the test or the process began."""
        return self.lnbits.log()[self._read :]

    def no_complaints(self) -> None:
        """Fail if the log has what it never should."""
        log = self.new_log()
        for complaint in COMPLAINTS:
            assert complaint not in log, log
        for line in log.splitlines():
            assert PRIVATE_ID not in line or line.endswith(WHILE_OFF), line

    # In the process.

    def cores_threads(self) -> list[str]:
        """The names of the native core's threads. LNbits and Python have others."""
        names = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                names.append((task / "comm").read_text().strip())
            except OSError:
                pass  # it has ended meanwhile
        return sorted(name for name in names if name.startswith(CORES_THREADS))

    async def until_threads(self, expected: list[str]) -> None:
        await eventually(
            lambda: self.cores_threads() == expected, 10, f"the threads {expected}"
        )

    def descriptors(self) -> Counter[str]:
        """The open files by kind: `socket`, `anon_inode:[eventfd]`, a path."""
        kinds: Counter[str] = Counter()
        for place in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                target = os.readlink(place)
            except OSError:
                continue  # closed meanwhile
            is_numbered = target.startswith(("socket:", "pipe:"))
            kinds[target.split(":")[0] if is_numbered else target] += 1
        return kinds

    async def core(self) -> str | None:
        """The version of the core that runs, as other extensions ask for it."""
        wallets = await self.ask("/api/v1/wallets")
        key = {"X-Api-Key": wallets[0]["inkey"]}
        response = await self.http.get(f"{self.base}/status", headers=key)
        if response.status_code == 503:
            return None
        assert response.status_code == 200, response.text
        return str(response.json()["version"])

    async def tasks(self) -> list[str]:
        """The asyncio tasks that run the extension's code."""
        found: list[str] = await self.ask("/witness/api/v1/tasks")
        return found

    async def until_tasks(self, expected: list[str]) -> None:
        """What is cancelled may have to end something with the database first."""
        deadline = time.monotonic() + 10
        while (tasks := await self.tasks()) != expected:
            assert time.monotonic() < deadline, f"{tasks} instead of {expected}"
            await asyncio.sleep(0.02)

    # In the database.

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement on the extension's tables gives; they are called
        `nostrclient.relays` and so on, and values `$1` and so on."""
        if self.postgres is not None:
            found = await self.postgres.query(DATABASE, sql, *values)
            return [tuple(row.values()) for row in found]
        sql = sql.replace(f"{EXTENSION}.", "").replace("$", "?")
        file = self.lnbits.data_folder / f"ext_{EXTENSION}.sqlite3"
        with closing(sqlite3.connect(file)) as connection, connection:
            return connection.execute(sql, values).fetchall()

    async def tables(self) -> set[str]:
        """The extension's tables there are."""
        if self.postgres is not None:
            sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'nostrclient'"
        else:
            sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {name for (name,) in await self.rows(sql)}
