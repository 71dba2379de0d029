"""Does the core in a release zip run on this machine?

    python scripts/smoke.py ZIP

Needs nothing but Python. Unpacks the zip, has the extension find and load its core, and
lets a client ask, publish and go. Prints one line; anything else than exit code 0 is a
failure.
"""

import json
import select
import sys
import tempfile
import time
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

SECONDS = 10.0


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(sys.argv[1]) as packed:
            packed.extractall(folder)
        extension = Path(folder, "nostrclient").resolve()
        sys.path.insert(0, str(extension / "python"))
        library = import_module("nostrclient_ext.core.library").load()
        platform = import_module("nostrclient_ext.core.native").this_platform()
        if extension not in Path(library.__file__ or "").resolve().parents:
            print(f"The core that was loaded is not the zip's: {library}")
            return 1
        use(library)
    python = ".".join(str(part) for part in sys.version_info[:3])
    print(f"nostrclient {library.__version__} runs on {platform} with Python {python}.")
    return 0


def use(library: ModuleType) -> None:
    """A client's short life, without relays."""
    core = library.Core()
    try:
        client = core.connect()
        client.feed('["REQ","asked",{"kinds":[1]}]')
        assert _answers(core, client, 1) == [["EOSE", "asked"]]
        key = library.generate_key()["private_key"]
        event = library.sign_event(key, int(time.time()), 1, [], "published")
        client.feed(f'["EVENT",{event}]')
        expected: list[Any] = ["OK", json.loads(event)["id"], False]
        # Also to itself: nobody takes it, but it matches.
        answers = _answers(core, client, 2)
        assert any(answer[:3] == expected for answer in answers), answers
        client.disconnect()
    finally:
        core.stop()


def _answers(core: Any, client: Any, count: int) -> list[Any]:
    """At least so many, before the deadline."""
    answers: list[Any] = []
    deadline = time.monotonic() + SECONDS
    while len(answers) < count:
        left = deadline - time.monotonic()
        assert left > 0, answers
        select.select([core.wake_fd], [], [], left)
        core.ready()
        answers += [json.loads(text) for text in client.drain(100)]
    return answers


if __name__ == "__main__":
    sys.exit(main())
