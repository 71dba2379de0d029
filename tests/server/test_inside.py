"""The Python surface for other extensions: `tests/inside/`, in a process of its own,
because importing the extension imports LNbits, which makes a data folder where it is."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_python_surface(tmp_path: Path) -> None:
    arguments = ["-p", "no:cacheprovider", "-W", "default", "tests/inside"]
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "LNBITS_DATA_FOLDER": str(tmp_path), "PYTHONPATH": "python"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stdout
