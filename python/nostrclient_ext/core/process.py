"""What all copies of the extension in this process share.

LNbits may import this extension several times in one process, under several names and in
several versions, and other extensions keep what they imported from any of them. What
must exist only once (the running core, the inside clients, the lists they fill) is kept
in a module of its own in `sys.modules`, where every copy looks it up when it is called.

Copies of different versions share these objects: a name keeps its meaning for ever.
"""

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar, cast

T = TypeVar("T")

_NAME = "_nostrclient_process"  # not a submodule of the extension: LNbits removes those


def shared(name: str, make: Callable[[], T]) -> T:
    """The object of this name in the process, made by the first copy that asks."""
    place = sys.modules.setdefault(_NAME, ModuleType(_NAME, __doc__))
    return cast(T, vars(place).setdefault(name, make()))


LOCK = shared("lock", threading.RLock)
"""Held while another copy takes over the core, and while an inside client joins or
leaves. Never acquired by a thread that holds an inside client's own lock."""
