"""The LNbits servers whose pages are looked at: one for each version.

The tests' own LNbits has this repository linked in. The other version is as an owner has
it: LNbits alone, with the release's zip unpacked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest

from scripts.lnbits_server import REPOSITORY, LNbits

from .bundles import Unpacked, release_zip
from .endpoint import Endpoint
from .installation import PLACES

OURS = installed_version("lnbits")
VERSIONS = sorted({place.lnbits for place in PLACES} | {OURS})
ONLY_OURS = pytest.mark.parametrize("shown", [OURS], indirect=True)
"""For tests in which the version makes no difference."""


@contextmanager
def released(version: str, folder: Path) -> Iterator[LNbits]:
    """This LNbits, with the release in it. Ends with the `with`."""
    venv = REPOSITORY / f".venv-owner-{version}"
    assert venv.exists(), f"make {venv.name}/.installed"
    extension = Unpacked(release_zip(), folder / "zip").root
    env = {"PATH": str(venv / "bin")}
    with LNbits(folder / "data", venv=venv, extension=extension, env=env) as lnbits:
        yield lnbits


class Site(Endpoint):
    """The endpoint of an LNbits whose pages are looked at."""

    def __init__(self, lnbits: LNbits, version: str) -> None:
        super().__init__(lnbits)
        self.version = version
        """Of LNbits."""
