"""Finds the core's library."""

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

_CONFIG = Path(__file__).resolve().parents[2] / "config.json"
_HOW_TO_BUILD = (
    "To build it, run `maturin develop --release` in the extension's folder, in the"
    " Python environment that LNbits runs in (it needs Rust), and restart LNbits."
)


class CoreUnavailable(Exception):
    """There is no core to use. The text says why, and what to do about it."""


def load() -> ModuleType:
    """The core's package. Raises `CoreUnavailable`."""
    try:
        library = import_module("nostrclient_core")
        import_module("nostrclient_core.bridge")
    except Exception as exc:
        raise CoreUnavailable(
            f"nostrclient's core cannot be loaded: {exc}. {_HOW_TO_BUILD}"
        ) from exc
    needed = json.loads(_CONFIG.read_text())["version"]
    if library.__version__ != needed:
        raise CoreUnavailable(
            f"nostrclient {needed} needs its core in the same version, and finds"
            f" {library.__version__}. {_HOW_TO_BUILD}"
        )
    return library
