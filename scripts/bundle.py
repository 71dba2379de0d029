"""The release zip: the extension with its native core, for owners without a compiler.

    python -m scripts.bundle [--wheels PATH…] [--version VERSION] [--out FOLDER]
                             [--complete]

PATH is a wheel or a folder of wheels; the default is `dist/wheels`, the default FOLDER
`dist`. Writes `FOLDER/nostrclient-VERSION.zip`, prints its SHA-256, and writes
`FOLDER/manifest.json`, which LNbits installs it from (see `manifest.py`). The zip has
one folder, `nostrclient`: what LNbits loads and an owner reads, and each wheel unpacked,
in `native/VERSION/PLATFORM/`. The same files give the same zip, byte for byte.

Wheels have to be of VERSION, which is the sources' own if it is not given. A different
one is for tests of upgrades: the zip's config.json names it (see `other_version.py`).
`--complete` is for releases: it refuses to leave out a platform.
"""

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import manifest
from .version import REPOSITORY, VersionError, version

TOP = "nostrclient"
FILES = [
    "LICENSE",
    "README.md",
    "__init__.py",
    "config.json",
    "description.md",
    "manifest.json",
    "migrations.py",
]
FOLDERS = ["docs", "python/nostrclient_ext", "static", "templates"]
SUFFIXES = {".css", ".html", ".js", ".md", ".png", ".py", ".svg", ".webp"}

# A wheel's file name: version, then a tag for each system it runs on.
WHEEL = re.compile(r"nostrclient_core-([^-]+)-cp310-abi3-([^-]+)\.whl")
PLATFORMS = {
    re.compile(r"manylinux_2_\d+_(.+)"): "manylinux_",
    re.compile(r"musllinux_1_\d+_(.+)"): "musllinux_",
    re.compile(r"macosx_\d+_\d+_(.+)"): "macos_",
}
ALL = {
    *("manylinux_x86_64", "manylinux_aarch64", "musllinux_x86_64", "musllinux_aarch64"),
    *("macos_x86_64", "macos_arm64"),
}
OLDEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say: the same time for every file


class BundleError(Exception):
    """There is no zip to be made of this. The text says why."""


def bundle(
    wheels: Iterable[Path],
    out: Path,
    of_version: str | None = None,
    complete: bool = False,
) -> tuple[Path, list[str]]:
    """Make the zip. Returns its path, and the platforms in it. Raises `BundleError`."""
    wanted = of_version or version()
    content = dict(_extension(wanted))
    platforms: dict[str, Path] = {}
    for wheel in _chosen(wheels, wanted):
        platform = _platform(wheel)
        if platform in platforms:
            raise BundleError(f"{wheel} and {platforms[platform]} are for {platform}.")
        platforms[platform] = wheel
        with zipfile.ZipFile(wheel) as unpacked:
            for name in unpacked.namelist():
                content[f"native/{wanted}/{platform}/{name}"] = unpacked.read(name)
    if not platforms:
        raise BundleError(
            f"There is no wheel of version {wanted}. `make wheel` makes one."
        )
    if complete and (lacking := sorted(ALL - platforms.keys())):
        raise BundleError(f"There is no wheel for {', '.join(lacking)}.")
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"{TOP}-{wanted}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(content):
            info = zipfile.ZipInfo(f"{TOP}/{name}", OLDEST)
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, content[name], compresslevel=9)
    return archive, sorted(platforms)


def _extension(wanted: str) -> Iterator[tuple[str, bytes]]:
    """What LNbits loads and an owner reads."""
    for name in FILES:
        yield name, (REPOSITORY / name).read_bytes()
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).rglob("*"):
            if "__pycache__" in path.parts or not path.is_file():
                continue
            if path.suffix not in SUFFIXES:
                raise BundleError(f"Does {path} belong into the zip? See SUFFIXES.")
            yield path.relative_to(REPOSITORY).as_posix(), path.read_bytes()
    if wanted != version():
        config = json.loads((REPOSITORY / "config.json").read_text())
        config["version"] = wanted
        yield "config.json", f"{json.dumps(config, indent=2)}\n".encode()


def _chosen(places: Iterable[Path], wanted: str) -> Iterator[Path]:
    """The wheels of this version: one that was named has to be, others are left out."""
    for place in places:
        for wheel in sorted(place.glob("*.whl")) if place.is_dir() else [place]:
            match = WHEEL.fullmatch(wheel.name)
            if match is None:
                raise BundleError(f"{wheel} is no wheel of nostrclient's core.")
            if match[1] == wanted:
                yield wheel
            elif wheel == place:
                raise BundleError(f"{wheel} is not of version {wanted}.")
            else:
                print(f"{wheel} is of another version, and left out.")


def _platform(wheel: Path) -> str:
    """The folder's name for a wheel, the one `native.this_platform` looks for."""
    match = WHEEL.fullmatch(wheel.name)
    for tag in match[2].split(".") if match else []:
        for pattern, prefix in PLATFORMS.items():
            if found := pattern.fullmatch(tag):
                return f"{prefix}{found[1]}"
    raise BundleError(f"{wheel} runs on the machine it was built on, and maybe no other.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts.bundle", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    dist = REPOSITORY / "dist"
    parser.add_argument("--wheels", nargs="+", type=Path, default=[dist / "wheels"])
    parser.add_argument("--version")
    parser.add_argument("--out", type=Path, default=dist)
    parser.add_argument("--complete", action="store_true")
    options = parser.parse_args()
    try:
        archive, platforms = bundle(
            options.wheels, options.out, options.version, options.complete
        )
    except (BundleError, VersionError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    entry = manifest.entry(archive)
    manifest.write([entry], options.out / "manifest.json")
    size = archive.stat().st_size / 1e6
    print(f"{archive} ({size:.1f} MB) for {', '.join(platforms)}")
    print(f"SHA-256 {entry['hash']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
