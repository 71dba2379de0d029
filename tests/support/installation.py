"""The servers that releases are installed on, and the releases.

The servers run LNbits alone, from `make`'s environments without Rust and our core. Two of
them run as in a checkout of LNbits, where extensions are `lnbits.extensions.<id>`; in
the other they are `<id>`, in a folder of their own.
"""

import json
import os
import platform
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.lnbits_server import REPOSITORY, LNbits
from scripts.postgres import Postgres

from .owner import DATABASE
from .shelf import Release, Shelf, config, packed, unpacked, zipped

CONSUMERS = Path(__file__).with_name("consumers")
PREDECESSOR = Path(__file__).with_name("predecessor")
RELEASED = Path(__file__).parents[1] / "install" / "released"


@dataclass(frozen=True)
class Place:
    """An LNbits and what it runs on."""

    lnbits: str
    postgres: bool
    checkout: bool

    def __str__(self) -> str:
        return self.lnbits + ("-postgres" if self.postgres else "")


PLACES = [
    Place("1.5.6", postgres=False, checkout=True),
    Place("1.6.2", postgres=False, checkout=False),
    Place("1.6.2", postgres=True, checkout=True),
]


@dataclass(frozen=True)
class Bundle:
    """A zip of ours, on the shelf as many releases."""

    shelf: Shelf
    data: bytes = field(repr=False)

    @property
    def version(self) -> str:
        return str(config(self.data)["version"])

    def new(self) -> Release:
        """One that no process has seen: LNbits 1.5 names its copies of an extension by
        the zip's hash, and starts the older copy again where it knows the hash."""
        mark = {"nostrclient/docs/mark": os.urandom(16)}
        return self.shelf.put(packed({**unpacked(self.data), **mark}))


@dataclass(frozen=True)
class Releases:
    """What is on the shelf."""

    shelf: Shelf
    first: Bundle
    second: Bundle
    """A later version of it."""
    predecessor: Release
    oldest: Release
    """Of those of ours that owners may come from, as they have it."""
    consumers: list[Release]


def oldest_released() -> Path:
    """The zip of the oldest version that is kept."""

    def number(archive: Path) -> list[int]:
        return [int(part) for part in archive.stem.split("-")[1].split(".")]

    return min(RELEASED.glob("nostrclient-*.zip"), key=number)


def is_for_this_machine(archive: Path) -> bool:
    """Whether the release has a core for it."""
    with zipfile.ZipFile(archive) as packed:
        machine = f"/manylinux_{platform.machine()}/"
        return any(machine in name for name in packed.namelist())


def bundles() -> tuple[bytes, bytes]:
    """The release's zip, and that of a later version made for the tests."""
    found = []
    for folder in (REPOSITORY / "dist", REPOSITORY / "dist" / "other"):
        manifest = folder / "manifest.json"
        assert manifest.exists(), "run make bundle other-bundle"
        (entry,) = json.loads(manifest.read_text())["extensions"]
        found.append((folder / f"nostrclient-{entry['version']}.zip").read_bytes())
    return found[0], found[1]


def put_releases(shelf: Shelf, first: bytes, second: bytes) -> Releases:
    """Two bundles of ours, and what the tests have beside them."""
    consumers = [CONSUMERS / name for name in ("listener", "market", "shop", "witness")]
    return Releases(
        shelf,
        Bundle(shelf, first),
        Bundle(shelf, second),
        shelf.put(zipped(PREDECESSOR)),
        shelf.put(oldest_released().read_bytes()),
        [shelf.put(zipped(place)) for place in consumers],
    )


@dataclass(frozen=True)
class Server:
    """A running one."""

    place: Place
    lnbits: LNbits
    postgres: Postgres | None


@contextmanager
def serving(place: Place, shelf: Shelf, folder: Path) -> Iterator[Server]:
    """A new installation without extensions."""
    venv = REPOSITORY / f".venv-owner-{place.lnbits}"
    assert venv.exists(), f"make {venv.name}/.installed"
    env = {**shelf.settings, "PATH": str(venv / "bin")}
    with ExitStack() as stack:
        postgres = None
        if place.postgres:
            postgres = stack.enter_context(Postgres())
            postgres.create(DATABASE)
            env["LNBITS_DATABASE_URL"] = postgres.url(DATABASE)
        lnbits = LNbits(
            folder, venv=venv, extension=None, checkout=place.checkout, env=env
        )
        yield Server(place, stack.enter_context(lnbits), postgres)
