"""What the launcher starts: LNbits or local relays, in a process of their own.

Started by path, with nothing of this repository importable. Ends at SIGTERM, and when
the parent is gone: its end of our standard input is closed then, however it ended.

    child.py lnbits HOST PORT [WEBSOCKETS [FILES [TLS]]]
    child.py relays FOLDER PORT …
"""

import asyncio
import os
import resource
import signal
import sys
import threading
from pathlib import Path

RELAYS_READY = "relays are listening"  # printed once they are


def set_file_limit(most: int | None = None) -> None:
    """So many open files and no more; or as many as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most or hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def end_with_parent() -> None:
    """End like at SIGTERM when standard input closes."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def serve_lnbits(host: str, port: int, websockets: str, tls: str | None) -> None:
    """LNbits with the settings its own command line gives uvicorn, but in this process:
    that command line forks, and stopping it would leave the server behind. `websockets`:
    one of uvicorn's implementations; LNbits' own choice is `auto`. `tls`: a file with a
    key and its certificate."""
    import uvicorn

    uvicorn.run(
        "lnbits.__main__:app",
        host=host,
        port=port,
        loop="uvloop",
        ws=websockets,
        ws_ping_timeout=60,
        ws_max_queue=128,
        ssl_keyfile=tls,
        ssl_certfile=tls,
        timeout_graceful_shutdown=5,
    )


async def serve_relays(folder: Path, ports: list[int]) -> None:
    """Relays that keep their events in `folder`, without limits one would notice."""
    from nostr_sdk import LocalRelay, NostrDatabase, RateLimit, RelayBuilder

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    relays: list[LocalRelay] = []
    for port in ports:
        store = folder / str(port)
        store.mkdir(parents=True, exist_ok=True)
        builder = (
            RelayBuilder()
            .addr("127.0.0.1")
            .port(port)
            .database(NostrDatabase.lmdb(str(store)))
            .rate_limit(RateLimit(max_reqs=100_000, notes_per_minute=10_000_000))
            .max_filter_limit(100_000)
            .default_filter_limit(100_000)
        )
        relay = LocalRelay(builder)
        await relay.run()
        relays.append(relay)
    print(RELAYS_READY, flush=True)
    await ended.wait()
    for relay in relays:
        relay.shutdown()


def main() -> None:
    """See the module's text."""
    sys.path.pop(0)  # this folder
    # Ctrl-C reaches the whole group; only the launcher acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_file_limit()
    end_with_parent()
    what, *arguments = sys.argv[1:]
    if what == "lnbits":
        defaults = ["auto", "0", ""][len(arguments) - 2 :]
        host, port, websockets, files, tls = arguments + defaults
        set_file_limit(int(files))
        serve_lnbits(host, int(port), websockets, tls or None)
    else:
        folder, *ports = arguments
        asyncio.run(serve_relays(Path(folder), [int(port) for port in ports]))


if __name__ == "__main__":
    main()
