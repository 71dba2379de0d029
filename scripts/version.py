"""The one version, which stands in Cargo.toml, Cargo.lock and config.json.

    python -m scripts.version          print it; fails where the three do not agree
    python -m scripts.version 2.1.0    set it

The core is told its version by Cargo.toml, the extension by config.json, and the one
refuses to work with another version of the other.
"""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PLACES = {
    "Cargo.toml": re.compile(r'(?m)^(version = ")([^"]*)'),
    "Cargo.lock": re.compile(r'(?m)^(name = "nostrclient-core"\nversion = ")([^"]*)'),
    "config.json": re.compile(r'(?m)^(  "version": ")([^"]*)'),
}
# No "-rc.1" and the like: Cargo, wheels and LNbits spell them differently.
FORM = re.compile(r"\d+\.\d+\.\d+")


class VersionError(Exception):
    """There is not one version. The text says what there is."""


def version(folder: Path = REPOSITORY) -> str:
    """The version of the sources in this folder. Raises `VersionError`."""
    found = {}
    for name, pattern in PLACES.items():
        match = pattern.search((folder / name).read_text())
        found[name] = match[2] if match else "none"
    if len(set(found.values())) > 1:
        each = ", ".join(f"{name} has {value}" for name, value in found.items())
        raise VersionError(f"One version is needed: {each}.")
    value = found["config.json"]
    if not FORM.fullmatch(value):
        raise VersionError(f"A version is three numbers, and this is {value!r}.")
    return value


def set_version(value: str, folder: Path = REPOSITORY) -> None:
    """Write it to all three. Raises `VersionError` if it is none."""
    if not FORM.fullmatch(value):
        raise VersionError(f"A version is three numbers, and this is {value!r}.")
    for name, pattern in PLACES.items():
        path = folder / name
        path.write_text(pattern.sub(rf"\g<1>{value}", path.read_text(), count=1))


def main() -> int:
    try:
        if len(sys.argv) > 1:
            set_version(sys.argv[1])
        print(version())
    except VersionError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
