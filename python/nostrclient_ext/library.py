"""Finds the core's library, when it is needed and not before."""

from importlib import import_module
from types import ModuleType


def load() -> ModuleType:
    """The library. Importing the extension never fails for want of it; this may."""
    return import_module("nostrclient_core")
