"""What LNbits installs a release zip from: a manifest with an entry for each version.

    python -m scripts.manifest ZIP [--archive URL] [--repository URL]
                               [--others FILE] [--out FILE]

Describes ZIP, which will be downloaded from the archive's URL: by default where GitHub
has the files of a release, in the repository that manifest.json names. The other versions
in the manifest FILE are kept, so that an owner can go back to them. An owner puts the
address of the result into LNbits' settings.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .version import REPOSITORY

Entry = dict[str, Any]


def entry(archive: Path, url: str | None = None, repository: str | None = None) -> Entry:
    """The zip as LNbits' `ExplicitRelease` wants it described."""
    with zipfile.ZipFile(archive) as packed:
        config = json.loads(packed.read("nostrclient/config.json"))
    version = config["version"]
    repo = repository or _repository()
    # LNbits serves it from the extension's folder; before the install, the web has it.
    tile = config["tile"].removeprefix("/nostrclient/")
    return {
        "id": config["id"],
        "repo": repo,
        "name": config["name"],
        "version": version,
        "min_lnbits_version": config["min_lnbits_version"],
        "short_description": config["short_description"],
        "icon": f"{repo}/raw/v{version}/{tile}",
        "html_url": f"{repo}/releases/tag/v{version}",
        "archive": url or f"{repo}/releases/download/v{version}/{archive.name}",
        "hash": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }


def write(entries: Iterable[Entry], path: Path) -> None:
    """As LNbits reads it."""
    manifest = {"featured": [], "extensions": list(entries)}
    path.write_text(f"{json.dumps(manifest, indent=2)}\n")


def merged(new: Entry, others: Iterable[Entry]) -> list[Entry]:
    """The new version, then the others, newest first; the same version is replaced."""
    kept = [other for other in others if other["version"] != new["version"]]
    return sorted([new, *kept], key=_number, reverse=True)


def _number(some: Entry) -> list[int]:
    return [int(part) for part in str(some["version"]).split(".")]


def _repository() -> str:
    repo = json.loads((REPOSITORY / "manifest.json").read_text())["repos"][0]
    return f"https://github.com/{repo['organisation']}/{repo['repository']}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts.manifest", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("zip", type=Path)
    parser.add_argument("--archive")
    parser.add_argument("--repository")
    parser.add_argument("--others", type=Path)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist/manifest.json")
    options = parser.parse_args()
    others = []
    if options.others:
        others = json.loads(options.others.read_text())["extensions"]
    new = entry(options.zip, options.archive, options.repository)
    write(merged(new, others), options.out)
    print(f"{options.out} has nostrclient {new['version']} and {len(others)} others")
    return 0


if __name__ == "__main__":
    sys.exit(main())
