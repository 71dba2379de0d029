"""`make run` as a newcomer meets it: no terminal, a data folder of its own."""

import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from scripts.lnbits_server import REPOSITORY, free_port
from support.events import Author
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio


class Run:
    """One `make run`, and what it has printed."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.output = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.txt")
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                ["make", "--no-print-directory", "run"],
                cwd=REPOSITORY,
                env=_newcomer({**settings, "LNBITS_DATA_FOLDER": str(folder)}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    async def line(self, pattern: str, seconds: float = 90) -> re.Match[str]:
        """Wait until it prints something like this."""

        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.text(), re.MULTILINE)
            ended = self._process.poll() is not None
            assert match or not ended, f"make run has ended:\n{self.text()}"
            return match

        match = await eventually(found, seconds, f"{pattern!r} in\n{self.text()}")
        assert match
        return match

    async def interrupt(self) -> None:
        """Ctrl-C in a terminal: everything in front gets it. Nothing may be left."""
        os.killpg(self._process.pid, signal.SIGINT)
        await self._stopped()

    async def terminate(self) -> None:
        """SIGTERM to the one process that a supervisor knows. Nothing may be left."""
        self._process.send_signal(signal.SIGTERM)
        await self._stopped()

    async def _stopped(self) -> None:
        self._process.wait(30)
        await eventually(lambda: not self.left(), 20, "the end of every process")
        assert "Stopped." in self.text().splitlines()
        assert "Traceback" not in self.text()

    async def kill(self) -> None:
        """The launcher has no chance to end what it has started. Nothing may be left."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        await eventually(lambda: not self.left(), 30, "the end of every process")

    def left(self) -> list[str]:
        """Command lines of processes that still have this data folder."""
        found: list[str] = []
        for process in Path("/proc").iterdir():
            try:
                environment = (process / "environ").read_bytes()
                if str(self.folder).encode() in environment:
                    command = (process / "cmdline").read_bytes()
                    found.append(f"{process.name}: {command.decode()}")
            except OSError:
                continue  # no process, or it has ended
        return found

    def give_up(self) -> None:
        """For a test that has failed halfway."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(30)


def _newcomer(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment without what `make test` and pytest have put in."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "LNBITS_", "NOSTRCLIENT_"))
        and name not in ("HOST", "PORT", "AUTH_SECRET_KEY")
    }
    return {**inherited, **settings}


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Whatever a test has started, ended if the test could not."""
    started: list[Run] = []
    yield started
    for run in started:
        run.give_up()


@asynccontextmanager
async def logged_in(
    url: str, username: str, password: str
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        answer = await client.post(
            "/api/v1/auth", json={"username": username, "password": password}
        )
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


async def test_it_runs_stops_and_runs_again(tmp_path: Path, runs: list[Run]) -> None:
    folder, port = tmp_path / "data", free_port()
    settings = {"PORT": str(port), "NOSTRCLIENT_PUBLIC_WS": "1"}
    author = Author()
    note = author.sign("kept")

    run = Run(folder, **settings)
    runs.append(run)
    await run.line(r"^Relays connected: 2 of 2$")
    first = run.text()
    page = (await run.line(r"^Admin page: +(http\S+)$"))[1]
    username, password = (await run.line(r"^Login: +(\S+) / (\S+)$")).groups()
    public = (await run.line(r"^Public endpoint: +(ws\S+)$"))[1]
    private = (await run.line(r"^Private endpoint: +(ws\S+)$"))[1]
    assert f":{port}/" in page and f":{port}/" in public and f":{port}/" in private
    async with logged_in(page.split("/nostrclient")[0], username, password) as admin:
        assert (await admin.get("/nostrclient/")).status_code == 200
        relays = (await admin.get("/nostrclient/api/v1/relays")).json()
        assert len(relays) == 2
    async with WireClient(public) as client:
        assert (await client.publish(note)).parts[2] is True
    await run.interrupt()

    run = Run(folder, **settings)
    runs.append(run)
    await run.line(r"^Relays connected: 2 of 2$")

    def told(text: str) -> list[str]:
        return [line for line in text.splitlines() if re.match(r"\w+ ?\w*: ", line)]

    assert told(run.text()) == told(first)
    async with WireClient(private) as client:
        await client.subscribe("s", {"authors": [author.pubkey]})
        assert client.events("s") == [note]
    await run.terminate()


@pytest.mark.timeout(900)
async def test_it_runs_on_the_older_lnbits(tmp_path: Path, runs: list[Run]) -> None:
    """With relays and a login of the newcomer's own. Installs LNbits the first time."""
    folder, port = tmp_path / "data", free_port()
    async with ScriptedRelay() as one, ScriptedRelay() as two:
        run = Run(
            folder,
            PORT=str(port),
            LNBITS_VERSION="1.5.6",
            NOSTRCLIENT_RELAYS=f"{one.url}, {two.url}",
            LNBITS_ADMIN_USER="satoshi",
            LNBITS_ADMIN_PASSWORD="correct horse battery",
        )
        runs.append(run)
        await run.line(r"^Relays connected: 2 of 2$", 600)
        private = (await run.line(r"^Private endpoint: +(ws\S+)$"))[1]
        assert "1.5.6" in run.text()
        await run.line(r"^Public endpoint: +closed")
        url = f"http://127.0.0.1:{port}"
        async with logged_in(url, "satoshi", "correct horse battery") as admin:
            response = await admin.get("/nostrclient/api/v1/relays")
            relays = {relay["url"] for relay in response.json()}
            assert relays == {one.url, two.url}
            assert (await admin.get("/nostrclient/")).status_code == 200
        async with WireClient(private) as client:
            await client.subscribe("s", {"kinds": [1]})
            await one.line.live(note := Author().sign())
            assert await client.count("s", 1) == [note]
            assert (await client.publish(note)).parts[2] is True
        await run.kill()
