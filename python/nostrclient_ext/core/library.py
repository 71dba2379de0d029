"""The core's library for this copy of the extension: found, checked and loaded.

Whatever needs the core calls `load`, from any thread. The release zip has an unpacked
wheel for each platform in `native/<version>/<platform>/`. If it has none for this
machine, a wheel in LNbits' Python environment is used (`maturin develop` installs one).

A loaded library stays until the process ends, but LNbits upgrades extensions in a running
process, and for a path that it knows the system returns the old library. So the path and
the module's name contain the version, and several versions live side by side. Nothing
happens at import, and `sys.path` is never changed.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from .native import made_for, this_platform, this_system
from .process import shared

ROOT = Path(__file__).resolve().parents[3]  # of this copy of the extension

_PACKAGE = "nostrclient_core"
_LIBRARY = f"{_PACKAGE}/_native.abi3.so"
_AGAIN = "Install nostrclient's release zip again"
_BUILD = (
    "build its wheel from nostrclient's source (docs/release.md says how), install it in"
    " LNbits' Python environment and restart LNbits"
)

_loaded: ModuleType | None = None


class CoreUnavailable(Exception):
    """There is no core. The text says why, and what to do about it."""


def load() -> ModuleType:
    """The package `nostrclient_core` in this copy's version, its `bridge` loaded too. It
    may have another name. Raises `CoreUnavailable`; the next call looks again."""
    global _loaded
    if _loaded is None:
        with shared("loading", threading.RLock):  # one copy of the extension at a time
            _loaded = _find()
    return _loaded


def _find() -> ModuleType:
    version = _version()
    platform = this_platform()
    folder = ROOT / "native" / version / platform
    if folder.is_dir():
        return _bundled(folder, version)
    installed = _installed(version)
    if installed is not None:
        return installed
    bundled = sorted(path for path in (ROOT / "native").glob("*/*") if path.is_dir())
    platforms = [path.name for path in bundled if path.parent.name == version]
    if platforms:
        raise CoreUnavailable(
            f"nostrclient {version} has no core for this machine ({platform}), only for"
            f" {_list(platforms)}. To have one, {_BUILD}."
        )
    if bundled:
        found = sorted({path.parent.name for path in bundled})
        raise CoreUnavailable(_mismatch(version, f"comes with {_list(found)}", _AGAIN))
    raise CoreUnavailable(
        "nostrclient has no core to run: this copy of the extension comes without, and"
        " LNbits' Python environment has none. Install nostrclient's release zip, which"
        " comes with it; or build it with `maturin develop --release` in the extension's"
        " folder, in the Python environment that LNbits runs in (it needs Rust), and"
        " restart LNbits."
    )


def _version() -> str:
    try:
        return str(json.loads((ROOT / "config.json").read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise CoreUnavailable(
            f"nostrclient's config.json cannot be read: {_text(exc)}. {_AGAIN}."
        ) from exc


def _bundled(folder: Path, version: str) -> ModuleType:
    """The core in this copy's own folder. It is checked even if another copy has loaded
    the same version: after a restart it is this one that gets loaded."""
    _check(folder, version)
    name = "_" + re.sub(r"\W", "_", f"{_PACKAGE}_{version}")
    if name in sys.modules:
        return sys.modules[name]
    again = f"{_AGAIN} and restart LNbits"
    with _all_or_nothing(name, f"nostrclient's core cannot be loaded: %s. {again}."):
        package = folder / _PACKAGE
        spec = spec_from_file_location(
            name, package / "__init__.py", submodule_search_locations=[str(package)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{package} is no package")
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
        import_module(f"{name}.bridge")
        if module.__version__ != version:
            where = f"comes with {module.__version__}"
            raise CoreUnavailable(_mismatch(version, where, again))
    return module


def _installed(version: str) -> ModuleType | None:
    """The core in the Python environment. None: there is none."""
    again = f"Install its wheel of version {version} there"
    broken = f"The {_PACKAGE} in LNbits' Python environment cannot be loaded: %s. {again}"
    with _all_or_nothing(_PACKAGE, f"{broken} and restart LNbits."):
        try:
            module = import_module(_PACKAGE)
        except ModuleNotFoundError as exc:
            if exc.name == _PACKAGE:
                return None
            raise
        import_module(f"{_PACKAGE}.bridge")
    found = getattr(module, "__version__", "of no version")
    if found == version:
        return module
    where = f"finds {_PACKAGE} {found} in LNbits' Python environment"
    remove = "or remove it and install nostrclient's release zip; then restart LNbits"
    raise CoreUnavailable(_mismatch(version, where, f"{again}, {remove}"))


def _check(folder: Path, version: str) -> None:
    """Check the library before the system loads it: a damaged one may crash the process,
    and a wrong one stays loaded until a restart."""
    infos = sorted(path.name for path in folder.glob(f"{_PACKAGE}-*.dist-info"))
    info = f"{_PACKAGE}-{version}.dist-info"
    if infos and info not in infos:
        found = infos[0].removeprefix(f"{_PACKAGE}-").removesuffix(".dist-info")
        raise CoreUnavailable(_mismatch(version, f"comes with {found}", _AGAIN))
    library = folder / _LIBRARY
    try:
        target = made_for(library)
        if target is None:
            raise CoreUnavailable(
                f"nostrclient's core is damaged: {_place(library)} is"
                f" {'no library' if library.stat().st_size else 'empty'}. {_AGAIN}."
            )
        if target != this_system():
            raise CoreUnavailable(
                f"nostrclient's core in {_place(library)} is made for {target}, and this"
                f" machine is {this_system()}. {_AGAIN}."
            )
        for path, digest in _recorded(folder / info / "RECORD").items():
            if hashlib.sha256((folder / path).read_bytes()).digest() != digest:
                raise CoreUnavailable(
                    f"nostrclient's core is damaged: {_place(folder / path)} is not what"
                    f" came in the release zip. {_AGAIN}."
                )
    except FileNotFoundError as exc:
        raise CoreUnavailable(
            f"nostrclient's core is incomplete: {_place(Path(exc.filename))} is missing."
            f" {_AGAIN}."
        ) from exc
    except (OSError, ValueError) as exc:
        raise CoreUnavailable(
            f"nostrclient's core cannot be read: {_text(exc)}. {_AGAIN}."
        ) from exc


def _recorded(record: Path) -> dict[str, bytes]:
    """The package's files and their SHA-256, as the wheel lists them."""
    files = {}
    for line in record.read_text().splitlines():
        path, value, _ = line.rsplit(",", 2)
        if path.startswith(f"{_PACKAGE}/"):
            digest = value.removeprefix("sha256=")
            files[path] = base64.urlsafe_b64decode(f"{digest}=")
    if _LIBRARY not in files:
        raise ValueError(f"{_place(record)} does not name the library")
    return files


@contextmanager
def _all_or_nothing(name: str, sentence: str) -> Iterator[None]:
    """If loading fails, remove the modules that were loaded already. `sentence` is the
    error's text, with %s for the reason."""
    try:
        yield
    except BaseException as exc:
        for module in list(sys.modules):
            if module == name or module.startswith(f"{name}."):
                del sys.modules[module]
        if isinstance(exc, CoreUnavailable) or not isinstance(exc, Exception):
            raise
        raise CoreUnavailable(sentence % _text(exc)) from exc


def _mismatch(version: str, found: str, advice: str) -> str:
    needed = f"nostrclient {version} needs its core in the same version"
    return f"{needed}, and {found}. {advice}."


def _place(path: Path) -> str:
    """A path within the extension's folder; where that lies is not told."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _text(exc: Exception) -> str:
    """An error's text on one line, without absolute paths and without a full stop."""
    text = " ".join(str(exc).split()).replace(f"{ROOT}/", "")
    if isinstance(exc, ImportError) and exc.path:
        text = text.replace(exc.path, Path(exc.path).name)
    return text.rstrip(".") or type(exc).__name__


def _list(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
