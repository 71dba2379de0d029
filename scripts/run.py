"""`make run`: LNbits with this extension and two local relays, until Ctrl-C.

All settings come from the environment (see the README). The data folder remembers the
login, the relays' ports and the private endpoint.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from .child import RELAYS_READY
from .lnbits_server import REPOSITORY, LNbits, free_port, port_is_taken
from .process import LaunchError, Process
from .state import State

LOCAL_RELAYS = 2
API = "/nostrclient/api/v1"


def say(text: str) -> None:
    """Print at once, whatever our output is connected to."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        pass  # whoever read it is gone, which is no reason to stop


def main() -> int:
    """Run until a signal or the end of a child. 0 after a signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            _run(stack)
    except KeyboardInterrupt:
        say("Stopped.")
        return 0
    except LaunchError as exc:
        print(exc, file=sys.stderr, flush=True)
        return 1
    return 0


def _interrupt(number: int, _: FrameType | None) -> None:
    # Once is enough: what follows is an orderly end.
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(stack: ExitStack) -> None:
    lnbits = _lnbits()
    state = lnbits.state
    wanted = [
        url.strip()
        for url in os.environ.get("NOSTRCLIENT_RELAYS", "").split(",")
        if url.strip()
    ]
    if not state.seeded and not wanted:
        state.local_relay_ports = [free_port() for _ in range(LOCAL_RELAYS)]
        wanted = [f"ws://127.0.0.1:{port}" for port in state.local_relay_ports]
        state.save()

    ended = threading.Event()
    if state.local_relay_ports:
        relays = _local_relays(lnbits.data_folder, state.local_relay_ports)
        stack.callback(relays.stop)
        _watch(relays, ended)
        _until(lambda: RELAYS_READY in relays.log(), relays, "The local relays")

    say(f"Starting LNbits {version('lnbits')}, its log is {lnbits.log_file}")
    # Registered first: an interrupt in the middle of the start stops it too.
    stack.callback(lnbits.stop)
    lnbits.start()
    _watch(lnbits.process, ended)
    if not state.seeded:
        _seed(lnbits, wanted)
    _announce(lnbits)
    _until_connected(lnbits, ended)
    ended.wait()
    raise LaunchError(f"LNbits or a relay has ended:\n{lnbits.process.tail()}")


def _lnbits() -> LNbits:
    data_folder = Path(os.environ.get("LNBITS_DATA_FOLDER") or REPOSITORY / "data")
    extensions = os.environ.get("LNBITS_EXTENSIONS_PATH")
    port = os.environ.get("PORT") or "5000"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise LaunchError(f"PORT is not the number of a port: {port}")
    lnbits = LNbits(
        data_folder,
        host=os.environ.get("HOST") or "127.0.0.1",
        port=int(port),
        extensions_path=Path(extensions) if extensions else None,
    )
    state = lnbits.state
    if not state.seeded:
        state.username = os.environ.get("LNBITS_ADMIN_USER") or state.username
        state.password = os.environ.get("LNBITS_ADMIN_PASSWORD") or state.password
    _keep_secret_key(state)
    return lnbits


def _keep_secret_key(state: State) -> None:
    """The person's own key, if set; the private endpoint depends on it."""
    key = os.environ.get("AUTH_SECRET_KEY")
    if key and key != state.auth_secret_key:
        state.auth_secret_key = key
        state.private_path = None


def _local_relays(data_folder: Path, ports: list[int]) -> Process:
    for port in ports:
        if port_is_taken("127.0.0.1", port):
            raise LaunchError(f"Port {port}, a local relay's, is in use.")
    folder = data_folder / "relays"
    arguments = ["relays", str(folder), *map(str, ports)]
    return Process(arguments, data_folder / "relays.log")


def _watch(process: Process, ended: threading.Event) -> None:
    def wait() -> None:
        process.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()


def _until(condition: Callable[[], bool], process: Process, name: str) -> None:
    pause = threading.Event()
    while not condition():
        if process.ended:
            raise LaunchError(f"{name} did not start:\n{process.tail()}")
        pause.wait(0.05)


def _seed(lnbits: LNbits, relays: list[str]) -> None:
    """What a new installation starts with."""
    for url in relays:
        answer = lnbits.http.post(f"{API}/relay", json={"url": url})
        if answer.status_code != 200 and "already exists" not in answer.text:
            raise LaunchError(f"{url} was not added: {answer.text}")
    if os.environ.get("NOSTRCLIENT_PUBLIC_WS") == "1":
        settings = {"private_ws": True, "public_ws": True}
        lnbits.http.put(f"{API}/config", json=settings).raise_for_status()
    lnbits.state.seeded = True
    lnbits.state.save()


def _announce(lnbits: LNbits) -> None:
    state = lnbits.state
    open_now = lnbits.http.get(f"{API}/endpoints").raise_for_status().json()
    if open_now["private"] and state.private_path is None:
        # Every answer names another one; people want theirs to stay.
        state.private_path = open_now["private"]
        state.save()
    public = lnbits.ws_url + open_now["public"] if open_now["public"] else None
    private = lnbits.ws_url + str(state.private_path) if open_now["private"] else None
    closed = "closed (open it on the admin page)"
    say(f"Admin page:       {lnbits.url}/nostrclient/")
    say(f"Login:            {state.username} / {state.password}")
    say(f"Public endpoint:  {public or closed}")
    say(f"Private endpoint: {private or closed}")


def _until_connected(lnbits: LNbits, ended: threading.Event) -> None:
    """One line, once all relays are there. LNbits may be used before that."""
    pause = 0.1
    while not ended.wait(pause):
        answer = lnbits.http.get(f"{API}/relays")
        active = [relay for relay in answer.json() if relay["active"]]
        connected = [relay for relay in active if relay["connected"]]
        if len(connected) == len(active):
            say(f"Relays connected: {len(connected)} of {len(active)}")
            return
        pause = min(pause * 1.2, 2.0)


if __name__ == "__main__":
    sys.exit(main())
