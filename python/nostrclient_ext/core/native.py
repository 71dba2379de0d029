"""What this machine can load, and what a library was made for.

Names a platform as the folders in the release zip are named. Used by `library.py`, which
finds the core; only the standard library is needed, and nothing is loaded.
"""

import os
import platform
import sys
from pathlib import Path

_POINTER_64 = sys.maxsize > 2**32
# A 32-bit Python on a 64-bit kernel, as on many a Raspberry Pi, loads 32-bit libraries.
_SMALLER = {"aarch64": "armv7l", "x86_64": "i686"}

# `platform.system()` in the folders' names, and in the owner's language.
_FOLDER = {"Darwin": "macos"}
_SPOKEN = {"Darwin": "macOS"}

# The numbers ELF and Mach-O headers have for the kinds of machines.
_ELF = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_MACH_O = {0x0100_0007: "x86_64", 0x0100_000C: "arm64"}


def this_platform() -> str:
    """Of this Python, as `manylinux_x86_64`: what the libraries it can load are for."""
    system = platform.system()
    if system == "Linux":
        system = "manylinux" if _has_glibc() else "musllinux"
    return f"{_FOLDER.get(system, system.lower())}_{_machine()}"


def made_for(library: Path) -> str | None:
    """What a library's first bytes say it is for, as `Linux on x86_64`. None: it is no
    library. Raises `OSError` if it cannot be read."""
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
    """This Python, in the words of `made_for`."""
    system = platform.system()
    return f"{_SPOKEN.get(system, system)} on {_machine()}"


def _machine() -> str:
    machine = platform.machine().lower()
    return machine if _POINTER_64 else _SMALLER.get(machine, machine)


def _has_glibc() -> bool:
    """Whether the C library of this very process is glibc, which alone knows this name:
    musl refuses it. What is installed beside it does not matter."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        return False
    return version is not None and version.startswith("glibc")
