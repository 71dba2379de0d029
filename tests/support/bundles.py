"""The release zips that tests install and take apart: this version and the next.

`make test` has built them before; make only looks whether they are of these sources.
"""

import base64
import hashlib
import os
import platform
import re
import subprocess
import zipfile
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path

from scripts.lnbits_server import REPOSITORY
from scripts.other_version import next_version
from scripts.version import version

THIS = version()
NEXT = next_version()
LIBRARY = "nostrclient_core/_native.abi3.so"


@cache
def release_zip() -> Path:
    """Of this version."""
    _make("bundle")
    return REPOSITORY / f"dist/nostrclient-{THIS}.zip"


@cache
def next_zip() -> Path:
    """The same as the next version."""
    _make("other-bundle")
    return REPOSITORY / f"dist/other/nostrclient-{NEXT}.zip"


def _make(target: str) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=REPOSITORY,
        env={**os.environ, "LNBITS_VERSION": installed_version("lnbits")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Unpacked:
    """A zip's extension in a folder, as LNbits unpacks it, to be damaged."""

    def __init__(self, archive: Path, folder: Path) -> None:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        self.root = folder / "nostrclient"
        self.native = next(self.root.glob(f"native/*/manylinux_{platform.machine()}"))
        """The unpacked wheel for this machine."""

    @property
    def library(self) -> Path:
        return self.native / LIBRARY

    @property
    def record(self) -> Path:
        return next(self.native.glob("*.dist-info")) / "RECORD"

    def replace_library(self, content: bytes) -> None:
        """By another, as the wheel might have had it."""
        self.library.write_bytes(content)
        digest = hashlib.sha256(content).digest()
        value = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        line = f"{LIBRARY},sha256={value},{len(content)}"
        pattern = rf"(?m)^{re.escape(LIBRARY)},.*$"
        self.record.write_text(re.sub(pattern, line, self.record.read_text()))
