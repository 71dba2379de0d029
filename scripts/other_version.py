"""The same sources as another version, as a zip: what tests upgrade an LNbits to.

    python -m scripts.other_version [VERSION] [--out FOLDER]

VERSION is by default the one after this; FOLDER is `dist/other`. The core is really
built in that version, from a copy of the sources, since it says which it is. It has a
target folder of its own below `target/`, because Cargo gives the libraries of all
versions one file name; what Cargo has built of other crates is copied there first.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import bundle
from .version import REPOSITORY, set_version, version

SOURCES = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "benches",
    "config.json",
    "pyproject.toml",
    "python/nostrclient_core",
    "src",
]
PLACE = REPOSITORY / "target/other"


def next_version() -> str:
    """The one after this."""
    *first, last = version().split(".")
    return ".".join([*first, str(int(last) + 1)])


def wheel_of(wanted: str) -> Path:
    """A folder with one wheel, of this machine and that version."""
    sources, target, wheels = (PLACE / name for name in ("sources", "target", "wheels"))
    _copy_sources(sources)
    set_version(wanted, sources)
    if not target.exists():
        _copy_built(target)
    shutil.rmtree(wheels, ignore_errors=True)
    subprocess.run(
        [REPOSITORY / "scripts/wheel.sh", wheels],
        cwd=sources,
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    return wheels


def _copy_sources(sources: Path) -> None:
    """With the times they were changed at, from which Cargo sees what is new."""
    shutil.rmtree(sources, ignore_errors=True)
    for name in SOURCES:
        source, copy = REPOSITORY / name, sources / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            unwanted = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, copy, ignore=unwanted)
        else:
            shutil.copy2(source, copy)


def _copy_built(target: Path) -> None:
    """What is built for release, so that only our own crate has to be built again: for
    this machine's target, and for the build itself."""
    for built in [*REPOSITORY.glob("target/*-*/release"), REPOSITORY / "target/release"]:
        if built.is_dir():
            shutil.copytree(built, target / built.relative_to(REPOSITORY / "target"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts.other_version", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("version", nargs="?", default=next_version())
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist/other")
    options = parser.parse_args()
    wheels = wheel_of(options.version)
    arguments = ["--wheels", str(wheels), "--version", options.version]
    sys.argv[1:] = [*arguments, "--out", str(options.out)]
    return bundle.main()


if __name__ == "__main__":
    sys.exit(main())
