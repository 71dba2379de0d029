"""A real PostgreSQL for tests: a new cluster on a port of its own, gone afterwards.

    with Postgres() as postgres:
        postgres.create("lnbits")
        LNbits(folder, env={"LNBITS_DATABASE_URL": postgres.url("lnbits")})

PostgreSQL does not run as root. For root it runs as the user `postgres`, whom Debian's
package makes, in a folder that this user can reach.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from .lnbits_server import free_port
from .process import LaunchError

DEBIAN = Path("/usr/lib/postgresql")  # and in it a folder for each version
HOST = "127.0.0.1"
USER = "lnbits"
UNPRIVILEGED = "postgres"
START_SECONDS = 30

# None of the settings of the one who started us.
ENVIRONMENT = {"PATH": os.defpath}

# Runs what is given once our end of its standard input closes, however we ended.
AFTER_US = 'read -r _; exec "$@"'


class Postgres:
    """One server. `start`, `stop` and `kill` it any number of times within a `with`;
    whoever connects is let in."""

    def __init__(self) -> None:
        self.port = free_port(HOST)
        self._programs = _programs()
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._groups: list[int] | None = None if self._user is None else []
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._watcher: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self._folder, self._user)

    def url(self, database: str) -> str:
        """Of this database, as LNbits wants it."""
        return f"postgres://{USER}:unused@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Until it takes connections."""
        if not self._data.exists():
            self._make_cluster()
        log = f"--log={self._log}"
        self._control("start", "--wait", f"--timeout={START_SECONDS}", log)
        self._watcher = subprocess.Popen(
            ["sh", "-c", AFTER_US, "sh", *self._command("stop", "--mode=fast")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C
            user=self._user,
            group=self._user,
            extra_groups=self._groups,
            cwd=self._folder,
            env=ENVIRONMENT,
        )

    def stop(self) -> None:
        """Cut all connections and end it in order. Idempotent."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.communicate()

    def kill(self) -> None:
        """End it as a power cut does: what was committed is recovered at the next
        start."""
        self._control("stop", "--mode=immediate")
        self.stop()

    def create(self, database: str) -> None:
        """A new and empty database."""
        where = [f"--host={HOST}", f"--port={self.port}", f"--username={USER}"]
        self._run(["createdb", *where, database])

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Any]:
        """A connection of asyncpg's."""
        connection = await asyncpg.connect(self.url(database))
        try:
            yield connection
        finally:
            await connection.close()

    async def query(
        self, database: str, sql: str, *values: object
    ) -> list[dict[str, Any]]:
        """The rows of one statement, on a connection of its own."""
        async with self.connect(database) as connection:
            return [dict(row) for row in await connection.fetch(sql, *values)]

    def __enter__(self) -> "Postgres":
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._remove()

    def _make_cluster(self) -> None:
        access = ["--auth=trust", f"--username={USER}"]
        # Only making it is hurried; the server itself syncs as on any machine.
        format_ = ["--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run(["initdb", f"--pgdata={self._data}", *access, *format_])
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"\nlisten_addresses = '{HOST}'\n"
                f"port = {self.port}\n"
                "unix_socket_directories = ''\n"
            )

    def _remove(self) -> None:
        shutil.rmtree(self._folder)

    def _command(self, action: str, *options: str) -> list[str]:
        program = str(self._programs / "pg_ctl")
        return [program, action, f"--pgdata={self._data}", *options]

    def _control(self, action: str, *options: str) -> None:
        self._run(self._command(action, *options))

    def _run(self, command: list[str]) -> None:
        # To a file: the server inherits its end of a pipe, which would never close.
        printed = self._folder / "printed"
        with printed.open("w") as output:
            code = subprocess.run(
                [self._programs / command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user,
                group=self._user,
                extra_groups=self._groups,
                cwd=self._folder,
                env=ENVIRONMENT,
            ).returncode
        if code:
            log = self._log.read_text() if self._log.exists() else ""
            raise LaunchError(f"{command} failed:\n{printed.read_text()}{log}")


def _programs() -> Path:
    """The folder of the newest PostgreSQL there is."""
    versions = [program.parent.parent for program in DEBIAN.glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda version: float(version.name)) / "bin"
    initdb = shutil.which("initdb")
    if initdb is None:
        raise LaunchError("PostgreSQL is missing. On Debian: apt-get install postgresql")
    return Path(initdb).resolve().parent
