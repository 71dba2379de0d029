"""A real LNbits with FakeWallet and this extension in it, as a process of its own.

    with LNbits(data_folder) as lnbits:
        lnbits.http.get("/nostrclient/api/v1/relays")

The data folder keeps everything: a second start finds the same admin and the same data.
"""

import importlib.util
import os
import random
import shutil
import socket
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

from .process import LaunchError, Process
from .state import State

REPOSITORY = Path(__file__).resolve().parent.parent
EXTENSION = "nostrclient"
PORTS = range(10_000, 32_768)  # below those of connections, on Linux and macOS
# Each process that runs tests beside others has its own.
OWN_PORTS = PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8 :: 8]
_given: deque[int] = deque(maxlen=500)
START_SECONDS = 120  # the first start of a new data folder takes about 12


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on now. The system gives it to no connection, so it is
    free again for whoever listens there now and then. None is given twice within 500:
    who has one may not listen yet, and who looked for somebody there may go on."""
    port = random.choice(OWN_PORTS)
    while port in _given or port_is_taken(host, port):
        port = random.choice(OWN_PORTS)
    _given.append(port)
    return port


def port_is_taken(host: str, port: int) -> bool:
    """Whether listening there would fail."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


class LNbits:
    """One LNbits process. `start` and `stop` any number of times, or use it in a `with`.

    `env` is added to the environment; a value of it wins over the defaults here.
    `venv` is the Python environment to run in, if it is not ours. `extension` is the
    folder to put in as the extension; without one, LNbits starts as its owner left it.
    With `checkout`, LNbits runs as in a checkout of its repository: from a folder with a
    package `lnbits` that is its own, and with the extensions in that. `websockets` is
    another of uvicorn's implementations, `files` how many it may have open, `tls` a file
    with a key and a certificate for it.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        extensions_path: Path | None = None,
        env: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        venv: Path | None = None,
        extension: Path | None = REPOSITORY,
        checkout: bool = False,
        websockets: str = "auto",
        files: int = 0,
        tls: Path | None = None,
    ) -> None:
        self.data_folder = data_folder.resolve()
        self.host = host
        self.port = port or free_port(host)
        self.venv = venv
        self.extension = extension
        self.checkout = checkout
        self.tls = tls
        self._arguments = [websockets, str(files), str(tls or "")]
        if checkout:
            extensions_path = self._folder / "lnbits"
        beside = self.data_folder.with_name(f"{self.data_folder.name}-extensions")
        self.extensions_path = (extensions_path or beside).resolve()
        self.env = dict(env or {})
        self.log_file = log_file or self.data_folder / "lnbits.log"
        self.state = State.load(self.data_folder)
        self.admin_token = ""
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where to reach it from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """The same for WebSockets."""
        return self.url.replace("http", "ws", 1)

    @property
    def auth_secret_key(self) -> str:
        """The server's key, under which private endpoint ids are encrypted."""
        return self.env.get("AUTH_SECRET_KEY") or self.state.auth_secret_key

    @property
    def process(self) -> Process:
        """The running process."""
        if self._process is None:
            raise LaunchError("LNbits is not started.")
        return self._process

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        return self.process.pid

    def log(self) -> str:
        """What LNbits has printed since its start."""
        return self.process.log()

    def start(self) -> None:
        """Until it answers, an admin is logged in and the extension is enabled."""
        if port_is_taken(self.host, self.port):
            raise LaunchError(f"Port {self.port} of {self.host} is in use.")
        self.state.save()
        self._make_working_directory()
        if self.extension is not None:
            self._link_extension(self.extension)
        self._process = Process(
            ["lnbits", self.host, str(self.port), *self._arguments],
            self.log_file,
            cwd=self._folder,
            env=self._environment(),
            python=self.venv and self.venv / "bin" / "python",
        )
        try:
            self._until_up()
            self._log_in()
            if self.extension is not None:
                self._enable_extension()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it as a server is ended. Idempotent."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it as a power cut does. Idempotent."""
        if self._process is not None:
            self._process.kill()

    def __enter__(self) -> "LNbits":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.http.close()

    def _environment(self) -> dict[str, str]:
        defaults = {
            "AUTH_SECRET_KEY": self.state.auth_secret_key,
            "AUTH_HTTPS_ONLY": "false",
            "LNBITS_ADMIN_UI": "true",
            "LNBITS_BACKEND_WALLET_CLASS": "FakeWallet",
            "LNBITS_RATE_LIMIT_NO": "1000000",
            "PYTHONUNBUFFERED": "1",
        }
        places = {
            "HOST": self.host,
            "PORT": str(self.port),
            "LNBITS_DATA_FOLDER": str(self.data_folder),
            "LNBITS_EXTENSIONS_PATH": str(self.extensions_path),
        }
        if self.checkout:
            # As LNbits calls its own folder, which makes it import from there.
            places |= {
                "LNBITS_EXTENSIONS_PATH": "lnbits",
                "PYTHONPATH": str(self._folder),
            }
        return {**defaults, **os.environ, **places, **self.env}

    @property
    def _folder(self) -> Path:
        """Where LNbits is started: it reads its templates and files from `lnbits/`."""
        return self.data_folder / "cwd"

    def _make_working_directory(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / "lnbits"
        if not self.checkout:
            _link(place, self._package())
        elif not place.exists():
            shutil.copytree(self._package(), place)
            (place / "extensions").mkdir()

    def _package(self) -> Path:
        """The folder of LNbits' code in the Python environment it runs in."""
        if self.venv is not None:
            found = list(self.venv.glob("lib/python3.*/site-packages/lnbits"))
        else:
            spec = importlib.util.find_spec("lnbits")
            found = (
                [Path(place) for place in spec.submodule_search_locations or []]
                if spec
                else []
            )
        if not found:
            raise LaunchError("LNbits is not installed in this Python environment.")
        return found[0]

    def _link_extension(self, extension: Path) -> None:
        """Put this folder in as the extension, unless another copy is there."""
        place = self.extensions_path / "extensions" / EXTENSION
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink() or not place.exists():
            _link(place, extension)

    def _until_up(self) -> None:
        """The socket is only opened once everything is loaded."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.http.get("/api/v1/health")
                return
            except httpx.TransportError:
                pass
            if self.process.ended:
                raise LaunchError(f"LNbits did not start:\n{self.process.tail()}")
            if time.monotonic() > deadline:
                raise LaunchError(f"LNbits does not answer:\n{self.process.tail()}")
            time.sleep(0.1)

    def _log_in(self) -> None:
        """Make the admin of a new data folder, or log him in."""
        login = {"username": self.state.username, "password": self.state.password}
        answer = self.http.put(
            "/api/v1/auth/first_install",
            json={**login, "password_repeat": self.state.password},
        )
        if answer.status_code == 403:  # not the first start
            answer = self.http.post("/api/v1/auth", json=login)
        if answer.status_code != 200:
            raise LaunchError(
                f"LNbits refuses the login of {self.state.username!r}: {answer.text}"
            )
        self.admin_token = answer.json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {self.admin_token}"

    def _enable_extension(self) -> None:
        answer = self.http.put(f"/api/v1/extension/{EXTENSION}/enable")
        if answer.status_code != 200:
            raise LaunchError(
                f"LNbits did not load the extension: {answer.text}\n"
                f"{self.process.tail()}"
            )


def _link(place: Path, target: Path) -> None:
    if place.is_symlink():
        if place.resolve() == target.resolve():
            return
        place.unlink()
    place.symlink_to(target)
