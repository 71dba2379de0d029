"""Whether Nostr works, as other extensions of the same process ask: without REST."""

import json
import os
import subprocess
import sys
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[2] / "config.json"


def test_it_answers_at_any_time_and_from_any_thread(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("status_child.py"))],
        cwd=tmp_path,
        env={**os.environ, "LNBITS_DATA_FOLDER": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    seen = json.loads(child.stdout.splitlines()[-1])
    relays = {"configured": 2, "connected": 0, "writable": 0}
    nothing = {"depth": 0, "size": 100, "oldest_age": None}
    assert seen["before"] == seen["after"] == "nostrclient is not started."
    version = seen["empty"].pop("version")
    assert version == json.loads(CONFIG.read_text())["version"]
    assert seen["empty"] == {"relays": relays, "outbox": nothing}
    waits = seen["one waits"]["outbox"]
    assert waits["depth"] == 1 and 0 <= waits["oldest_age"] < 10
