"""Which platform this is, and which one a library was built for.

Platforms are named as the folders in the release zip are. Nothing is loaded here, and
only the standard library is used.
"""

import os
import platform
import sys
from pathlib import Path

_POINTER_64 = sys.maxsize > 2**32
# A 32-bit Python on a 64-bit kernel, as on many a Raspberry Pi, loads 32-bit libraries.
_SMALLER = {"aarch64": "armv7l", "x86_64": "i686"}

# `platform.system()` as the folders name it, and as people do.
_FOLDER = {"Darwin": "macos"}
_SPOKEN = {"Darwin": "macOS"}

# The numbers of machine types in ELF and Mach-O headers.
_ELF = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_MACH_O = {0x0100_0007: "x86_64", 0x0100_000C: "arm64"}


def this_platform() -> str:
    """The platform of the libraries that this Python can load, as `manylinux_x86_64`."""
    system = platform.system()
    if system == "Linux":
        system = "manylinux" if _has_glibc() else "musllinux"
    return f"{_FOLDER.get(system, system.lower())}_{_machine()}"


def made_for(library: Path) -> str | None:
    """The platform in a library's header, as `Linux on x86_64`. None: it is no library.
    Raises `OSError` if it cannot be read."""
    with library.open("rb") as file:
        head = file.read(20)
    if len(head) == 20 and head[:4] == b"\x7fELF":
        number = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
        return f"Linux on {_ELF.get(number, f'machine number {number}')}"
    if len(head) == 20 and head[:4] == b"\xcf\xfa\xed\xfe":
        number = int.from_bytes(head[4:8], "little")
        return f"macOS on {_MACH_O.get(number, f'machine number {number}')}"
    if head[:2] == b"MZ":
        return "Windows"
    return None


def this_system() -> str:
    """This Python's platform, in the words of `made_for`."""
    system = platform.system()
    return f"{_SPOKEN.get(system, system)} on {_machine()}"


def _machine() -> str:
    machine = platform.machine().lower()
    return machine if _POINTER_64 else _SMALLER.get(machine, machine)


def _has_glibc() -> bool:
    """Whether this process uses glibc: only glibc knows the name below. Another C library
    may be installed beside it, which does not matter."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        return False
    return version is not None and version.startswith("glibc")
