"""A relay that others wrote, as a process: `nostr-relay` of PyPI, from the environment
that `make` sets up for it (requirements/relays.in)."""

import subprocess
import time
from pathlib import Path
from types import TracebackType

import httpx

from scripts.lnbits_server import REPOSITORY, free_port

from .events import Event
from .wire_client import WireClient

PROGRAM = REPOSITORY / ".venv-relays" / "bin" / "nostr-relay"
START_SECONDS = 100  # on a busy machine; about 3 else

# Ends the server once our end of its standard input closes, however we ended.
WITH_US = '"$@" & read -r _; kill $! && wait $!'

CONFIG = """
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{folder}/events.sqlite3
  validators: [nostr_relay.validators.is_signed]
gunicorn: {{bind: "127.0.0.1:{port}"}}
subscription_limit: {subscriptions}
"""


class RealRelay:
    """`with RealRelay(folder) as relay:`"""

    def __init__(self, folder: Path, subscriptions: int = 32) -> None:
        """`subscriptions`: so many on a connection. The default is the software's own."""
        assert PROGRAM.exists(), "make test sets it up"
        self.port = free_port()
        self.log = folder / "relay.log"
        self._config = folder / "config.yaml"
        self._config.write_text(
            CONFIG.format(folder=folder, port=self.port, subscriptions=subscriptions)
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def publish(self, *events: Event) -> None:
        """As somebody who comes by."""
        async with WireClient(self.url) as client:
            for event in events:
                answer = await client.publish(event, 10)
                assert answer.parts[2] is True, answer

    def start(self) -> None:
        """Until it answers."""
        command = [str(PROGRAM), "-c", str(self._config), "serve", "--use-uvicorn"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", WITH_US, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5)
                return
            except httpx.HTTPError:
                assert self._process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """It ends. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()

    def __enter__(self) -> "RealRelay":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
