"""An owner goes back to the predecessor, or to an older version: docs/release.md says
that what we have added to the database does no harm there."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.lnbits_server import REPOSITORY


def test_what_we_added_is_not_in_the_way(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("back_child.py")],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "LNBITS_DATA_FOLDER": str(tmp_path),
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    # Its migrations are behind the version it finds, and are left alone.
    assert seen["ran"] == []
    # It reads our rows, and what it writes has our columns' defaults.
    assert seen["relays"] == [
        {"id": "its", "url": "wss://its", "active": True},
        {"id": "ours", "url": "wss://ours.example", "active": True},
    ]
    extra = {"private_ws": False, "public_ws": True}
    assert seen["config"] == {"owner_id": "admin", "extra": extra}
    assert seen["switches"] == [True, True]
