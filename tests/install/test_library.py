"""Finding and loading the core: what is right is loaded, all else gets a sentence.

Each case is a copy of the zip's folder, loaded in a process of its own.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.lnbits_server import REPOSITORY
from support.bundles import NEXT, THIS, Unpacked, next_zip, release_zip

CHILD = Path(__file__).with_name("library_child.py")
NAME = f"_nostrclient_core_{THIS.replace('.', '_')}"
MODULES = [NAME, *(f"{NAME}.{part}" for part in ("_native", "bridge", "shapes"))]
AGAIN = "Install nostrclient's release zip again"

# What `import nostrclient_core` finds in the Python environment.
NO_WHEEL = 'raise ModuleNotFoundError("not there", name="nostrclient_core")'
BROKEN_WHEEL = 'raise ImportError("it is broken")'
OLD_WHEEL = '__version__ = "0.0.1"'


def child(
    folder: Path, *arguments: str | Path, wheel: str | None = NO_WHEEL
) -> dict[str, Any]:
    """Run `library_child.py` in an environment with this wheel. None: as it is."""
    package = folder / "environment/nostrclient_core"
    if wheel is not None:
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(wheel)
        (package / "bridge.py").write_text("")
    path = os.pathsep.join([str(package.parent), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, CHILD, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.fixture
def copy(tmp_path: Path) -> Unpacked:
    """The zip's extension, to be damaged."""
    return Unpacked(release_zip(), tmp_path / "copy")


def test_the_zips_own_is_loaded(copy: Unpacked, tmp_path: Path) -> None:
    """Whatever is installed beside it, and under a name with the version in it."""
    seen = child(tmp_path, "one", copy.root, wheel=OLD_WHEEL)
    package = copy.native / "nostrclient_core/__init__.py"
    assert seen["loaded"] == [NAME, THIS, str(package)]
    assert seen["at import"] == [] and seen["modules"] == MODULES


def test_a_wheel_is_loaded_where_the_zip_has_nothing(
    copy: Unpacked, tmp_path: Path
) -> None:
    """The one in this environment is of this version."""
    other_platforms(copy)
    seen = child(tmp_path, "one", copy.root, wheel=None)
    assert seen["loaded"][:2] == ["nostrclient_core", THIS]


def test_copies_and_versions_side_by_side(tmp_path: Path) -> None:
    """As LNbits has them in one process after an upgrade: loaded at once from several
    threads, used at once, and what one raises is not what the other raises."""
    first, second, other = (
        Unpacked(archive, tmp_path / name).root
        for name, archive in [
            ("first", release_zip()),
            ("second", release_zip()),
            ("other", next_zip()),
        ]
    )
    seen = child(tmp_path, "together", first, second, other)
    assert seen["shared"]
    assert seen["versions"] == [THIS, NEXT]
    assert seen["errors"] == [[True, False], [False, True]]
    assert len(seen["modules"]) == 2 * len(MODULES)


def missing_library(copy: Unpacked) -> None:
    copy.library.unlink()


def missing_python_file(copy: Unpacked) -> None:
    (copy.native / "nostrclient_core/shapes.py").unlink()


def missing_record(copy: Unpacked) -> None:
    copy.record.unlink()


def empty_library(copy: Unpacked) -> None:
    copy.library.write_bytes(b"")


def text_for_a_library(copy: Unpacked) -> None:
    copy.library.write_text("version https://git-lfs.example/spec/v1\n")


def half_a_library(copy: Unpacked) -> None:
    content = copy.library.read_bytes()
    copy.library.write_bytes(content[: len(content) // 2])


def changed_python_file(copy: Unpacked) -> None:
    with (copy.native / "nostrclient_core/bridge.py").open("a") as file:
        file.write("1 / 0\n")


def record_of_nothing(copy: Unpacked) -> None:
    copy.record.write_text("")


def record_of_nonsense(copy: Unpacked) -> None:
    copy.record.write_bytes(b"\xff\x00,\n")


def other_machine(copy: Unpacked) -> None:
    """The library of another kind of computer, in a wheel of its own."""
    content = bytearray(copy.library.read_bytes())
    content[18:20] = (243).to_bytes(2, "little")
    copy.replace_library(bytes(content))


def other_system(copy: Unpacked) -> None:
    magic = b"\xcf\xfa\xed\xfe" + 0x0100_000C.to_bytes(4, "little")
    copy.replace_library(magic + bytes(1000))


def missing_symbol(copy: Unpacked) -> None:
    """A library that loads, and is none of Python's."""
    content = copy.library.read_bytes()
    copy.replace_library(content.replace(b"PyInit__native", b"PyInit__nobody"))


def core_of_another_version(copy: Unpacked) -> None:
    """Found out before it is loaded."""
    copy.record.parent.rename(copy.native / "nostrclient_core-0.0.1.dist-info")


def folder_of_another_version(copy: Unpacked) -> None:
    copy.native.parent.rename(copy.root / "native/0.0.1")


def core_that_lies(copy: Unpacked) -> None:
    """Found out only when it is loaded, and then it is there until a restart."""
    other = Unpacked(next_zip(), copy.root.parent / "other")
    copy.replace_library(other.library.read_bytes())


def other_platforms(copy: Unpacked) -> None:
    copy.native.rename(copy.native.with_name("manylinux_riscv64"))
    shutil.copytree(
        copy.native.with_name("manylinux_riscv64"), copy.native.with_name("macos_arm64")
    )


def nothing_native(copy: Unpacked) -> None:
    shutil.rmtree(copy.root / "native")


def no_config(copy: Unpacked) -> None:
    (copy.root / "config.json").write_text("[]")


MACHINE = platform.machine()
PLACE = f"native/{THIS}/manylinux_{MACHINE}"
PACKAGE = f"{PLACE}/nostrclient_core"
LIBRARY = f"{PACKAGE}/_native.abi3.so"
SAME = f"nostrclient {THIS} needs its core in the same version, and"

Damage = Callable[[Unpacked], None]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (missing_library, f"core is incomplete: {LIBRARY} is missing. {AGAIN}."),
        (missing_python_file, f"incomplete: {PACKAGE}/shapes.py is missing. {AGAIN}."),
        (missing_record, f"{THIS}.dist-info/RECORD is missing. {AGAIN}."),
        (empty_library, f"core is damaged: {LIBRARY} is empty. {AGAIN}."),
        (text_for_a_library, f"core is damaged: {LIBRARY} is no library. {AGAIN}."),
        (half_a_library, f"{LIBRARY} is not what came in the release zip. {AGAIN}."),
        (changed_python_file, "bridge.py is not what came in the release zip."),
        (record_of_nothing, "RECORD does not name the library. Install"),
        (record_of_nonsense, f"core cannot be read: 'utf-8' codec can't .* {AGAIN}."),
        (other_machine, f"is made for Linux on riscv64, .* is Linux on {MACHINE}."),
        (other_system, f"is made for macOS on arm64, .* is Linux on {MACHINE}."),
        (missing_symbol, f"cannot be loaded: .*PyInit__native.* {AGAIN} and restart"),
        (core_of_another_version, f"{SAME} comes with 0.0.1. {AGAIN}."),
        (folder_of_another_version, f"{SAME} comes with 0.0.1. {AGAIN}."),
        (core_that_lies, f"{SAME} comes with {NEXT}. {AGAIN} and restart LNbits."),
        (
            other_platforms,
            f"no core for this machine .manylinux_{MACHINE}., only for macos_arm64 and"
            " manylinux_riscv64. To have one, build its wheel from nostrclient's source",
        ),
        (nothing_native, "Install nostrclient's release zip, which .*maturin develop"),
        (no_config, f"config.json cannot be read: .*{AGAIN}."),
    ],
)
def test_what_is_wrong_is_said(
    copy: Unpacked, tmp_path: Path, damage: Damage, said: str
) -> None:
    damage(copy)
    seen = child(tmp_path, "one", copy.root)
    sentence = seen["refused"]
    assert re.search(said, sentence), sentence
    assert sentence.endswith(".") and "\n" not in sentence
    assert str(tmp_path) not in sentence
    assert seen["again"] == sentence
    assert seen["modules"] == []


@pytest.mark.parametrize(
    ("wheel", "said"),
    [
        (
            OLD_WHEEL,
            f"{SAME} finds nostrclient_core 0.0.1 in LNbits' Python environment.",
        ),
        (
            "",
            f"{SAME} finds nostrclient_core of no version in LNbits' Python environment.",
        ),
        (
            BROKEN_WHEEL,
            "environment cannot be loaded: it is broken. Install its wheel of",
        ),
        ("1 / 0", "cannot be loaded: division by zero. Install its wheel of version"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_said(
    copy: Unpacked, tmp_path: Path, wheel: str, said: str
) -> None:
    nothing_native(copy)
    seen = child(tmp_path, "one", copy.root, wheel=wheel)
    sentence = seen["refused"]
    assert said in sentence and f"its wheel of version {THIS} there" in sentence, sentence
    assert sentence.endswith("restart LNbits.")
    assert seen["again"] == sentence
