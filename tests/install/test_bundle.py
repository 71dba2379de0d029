"""The release zip: what is in it, for which machines, and what LNbits is told of it."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import manifest
from scripts.bundle import BundleError, bundle
from scripts.lnbits_server import REPOSITORY
from scripts.version import VersionError, set_version, version
from support.bundles import LIBRARY, NEXT, THIS, Unpacked, next_zip, release_zip

WHEELS = REPOSITORY / "dist/wheels"
NEWEST_GLIBC = (2, 17)  # that the library may need: manylinux_2_17's
WHO = ("AUTHOR", "COMMITTER")  # of commits
SYSTEM_LIBRARIES = {"libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0"}


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """As LNbits unpacks it."""
    return Unpacked(release_zip(), tmp_path_factory.mktemp("zip"))


def test_one_folder_with_what_an_owner_needs(extension: Unpacked) -> None:
    with zipfile.ZipFile(release_zip()) as packed:
        names = packed.namelist()
        assert packed.testzip() is None
    assert {name.split("/")[0] for name in names} == {"nostrclient"}
    inside = {name.removeprefix("nostrclient/") for name in names}
    own = {
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("python/nostrclient_ext", "static", "templates", "docs")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files = "LICENSE README.md __init__.py config.json description.md manifest.json"
    native = {name for name in inside if name.startswith("native/")}
    assert inside - native == own | {*files.split(), "migrations.py"}
    assert all(name.startswith(f"native/{THIS}/") for name in native)
    assert f"native/{THIS}/manylinux_{platform.machine()}/{LIBRARY}" in native
    assert json.loads((extension.root / "config.json").read_text())["version"] == THIS


def test_the_same_files_give_the_same_zip(tmp_path: Path) -> None:
    for wheel in WHEELS.glob(f"*-{THIS}-*.whl"):
        shutil.copy(wheel, tmp_path)  # which makes it newer
    archive, platforms = bundle([tmp_path], tmp_path / "again")
    assert archive.read_bytes() == release_zip().read_bytes()
    assert f"manylinux_{platform.machine()}" in platforms


def test_the_next_version_is_one_throughout(tmp_path: Path) -> None:
    other = Unpacked(next_zip(), tmp_path)
    assert json.loads((other.root / "config.json").read_text())["version"] == NEXT
    assert other.native.parent.name == NEXT
    assert NEXT.encode() in other.library.read_bytes()


def test_the_library_runs_on_old_systems(extension: Unpacked) -> None:
    """It needs no symbol that glibc 2.17 of 2012 does not have, and no library that
    could be missing."""
    listed = _readelf("--version-info", extension.library)
    needed = {
        (int(major), int(minor))
        for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", listed)
    }
    assert needed and max(needed) <= NEWEST_GLIBC
    libraries = re.findall(r"NEEDED.*\[(.*)\]", _readelf("--dynamic", extension.library))
    loader = {name for name in libraries if name.startswith("ld-linux")}
    assert set(libraries) - loader <= SYSTEM_LIBRARIES


def test_no_place_of_the_machine_it_was_built_on(extension: Unpacked) -> None:
    home = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    places = {str(REPOSITORY), home, str(Path.home()), "/registry/"} - {"/"}
    for path in extension.native.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found = [place for place in places if place.encode() in content]
        assert not found, path


def test_it_runs_where_there_is_only_python(tmp_path: Path) -> None:
    """As the release workflow looks on each platform: no LNbits, no environment."""
    done = subprocess.run(
        [sys.executable, "-I", REPOSITORY / "scripts/smoke.py", release_zip()],
        env={"PATH": os.defpath},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"nostrclient {THIS} runs on manylinux_{platform.machine()}" in done.stdout


def test_a_zip_for_all_machines(tmp_path: Path) -> None:
    """Wheels are told apart by their names, and land where the extension looks."""
    tags = {
        "manylinux2014_x86_64.manylinux_2_17_x86_64": "manylinux_x86_64",
        "manylinux_2_17_aarch64.manylinux2014_aarch64": "manylinux_aarch64",
        "musllinux_1_2_x86_64": "musllinux_x86_64",
        "musllinux_1_2_aarch64": "musllinux_aarch64",
        "macosx_11_0_arm64": "macos_arm64",
        "macosx_10_13_x86_64": "macos_x86_64",
    }
    for tag in tags:
        _wheel(tmp_path, tag)
    _wheel(tmp_path, "macosx_11_0_arm64", of_version="0.0.1")  # left from before
    archive, platforms = bundle([tmp_path], tmp_path / "out", complete=True)
    assert platforms == sorted(tags.values())
    with zipfile.ZipFile(archive) as packed:
        for tag, folder in tags.items():
            name = f"nostrclient/native/{THIS}/{folder}/{LIBRARY}"
            assert packed.read(name) == tag.encode()


def test_wheels_that_make_no_zip(tmp_path: Path) -> None:
    usual = _wheel(tmp_path / "usual", "manylinux_2_17_x86_64")
    newer = _wheel(tmp_path / "newer", "manylinux_2_28_x86_64")
    local = _wheel(tmp_path / "local", "linux_x86_64")
    old = _wheel(tmp_path / "old", "manylinux_2_17_x86_64", of_version="0.0.1")
    alien = tmp_path / "alien-1.0-py3-none-any.whl"
    alien.write_bytes(b"")
    for wheels, said in [
        ([usual, newer], "are for manylinux_x86_64"),
        ([local], "runs on the machine it was built on"),
        ([old], "is not of version"),
        ([old.parent], "There is no wheel of version"),
        ([alien], "is no wheel of nostrclient's core"),
    ]:
        with pytest.raises(BundleError, match=said):
            bundle(wheels, tmp_path / "out")
    with pytest.raises(BundleError, match="no wheel for macos_arm64, macos_x86_64, many"):
        bundle([usual], tmp_path / "out", complete=True)
    assert not (tmp_path / "out").exists()


def test_the_manifest_is_what_lnbits_reads(tmp_path: Path) -> None:
    """By LNbits' own models, in a process of its own for the settings they bring."""
    data = json.loads((release_zip().parent / "manifest.json").read_text())
    [entry] = data["extensions"]
    assert entry["hash"] == hashlib.sha256(release_zip().read_bytes()).hexdigest()
    assert entry["archive"].endswith(f"/v{THIS}/nostrclient-{THIS}.zip")
    older = {**entry, "version": "0.0.10", "hash": "0" * 64}
    oldest = {**entry, "version": "0.0.9", "hash": "1" * 64}
    same = {**entry, "hash": "2" * 64}
    entries = manifest.merged(entry, [oldest, same, older])
    assert entries == [entry, older, oldest]
    path = tmp_path / "manifest.json"
    manifest.write(entries, path)
    program = (
        "import sys; from lnbits.core.models.extensions import Manifest;"
        "manifest = Manifest.parse_file(sys.argv[1]);"
        "print(*(f'{e.id} {e.version} {e.hash} {e.is_version_compatible()}'"
        " for e in manifest.extensions), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        env={**os.environ, "LNBITS_DATA_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"nostrclient {each['version']} {each['hash']} True" for each in entries
    ]


def test_versions_are_added_to_the_manifest_of_the_web(tmp_path: Path) -> None:
    """By the release workflow's script, into a repository like the one on the web."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    who = {f"GIT_{role}_{what}": "x" for role in WHO for what in ("NAME", "EMAIL")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, **who},
            cwd=clone if clone.exists() else tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "--quiet", "--bare", origin)
    run("git", "clone", "--quiet", origin, clone)
    web = "https://forge.example/we/nostrclient"
    for archive in (release_zip(), next_zip(), release_zip()):
        run(REPOSITORY / "scripts/publish-manifest.sh", archive, web)
    text = run("git", "-C", origin, "show", "manifest:manifest.json")
    entries = json.loads(text)["extensions"]
    assert [entry["version"] for entry in entries] == [NEXT, THIS]
    assert [entry["archive"] for entry in entries] == [
        f"{web}/releases/download/v{version}/nostrclient-{version}.zip"
        for version in (NEXT, THIS)
    ]
    files = run("git", "-C", origin, "ls-tree", "--name-only", "manifest")
    assert files.split() == ["manifest.json"]
    log = run("git", "-C", origin, "log", "--format=%s", "manifest")
    assert len(log.splitlines()) == 3


def test_the_version_is_one(tmp_path: Path) -> None:
    for name in ("Cargo.toml", "Cargo.lock", "config.json"):
        shutil.copy(REPOSITORY / name, tmp_path)
    set_version("1.22.333", tmp_path)
    assert version(tmp_path) == "1.22.333"
    changed = json.loads((tmp_path / "config.json").read_text())
    ours = json.loads((REPOSITORY / "config.json").read_text())
    assert changed == {**ours, "version": "1.22.333"}
    (tmp_path / "config.json").write_text(json.dumps({**ours}, indent=2))
    with pytest.raises(VersionError, match=f"Cargo.toml has 1.22.333, .* has {THIS}"):
        version(tmp_path)
    for nonsense in ("1.2", "1.2.3-rc.1", "v1.2.3", ""):
        with pytest.raises(VersionError):
            set_version(nonsense, tmp_path)


def _readelf(option: str, library: Path) -> str:
    done = subprocess.run(
        ["readelf", "--wide", option, library], capture_output=True, text=True, check=True
    )
    return done.stdout


def _wheel(folder: Path, tag: str, of_version: str = THIS) -> Path:
    """Called as maturin calls its wheels; the library says what it is for."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"nostrclient_core-{of_version}-cp310-abi3-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(LIBRARY, tag)
    return path
