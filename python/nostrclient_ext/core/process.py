"""What all copies of the extension in this process share.

LNbits loads this extension more than once in a process, under several names and in
several versions, and other extensions keep what they imported from any of them. So what
there is only one of (the running core, the in-process clients, the lists they fill) lies
here, in a module of its own among `sys.modules`, where every copy finds it when it is
called.

Copies of different versions meet here: a name once given keeps its meaning.
"""

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar, cast

T = TypeVar("T")

_NAME = "_nostrclient_process"  # no submodule of the extension: LNbits forgets those


def shared(name: str, make: Callable[[], T]) -> T:
    """The one object of this name in the process, made by whoever asks first."""
    place = sys.modules.setdefault(_NAME, ModuleType(_NAME, __doc__))
    return cast(T, vars(place).setdefault(name, make()))


LOCK = shared("lock", threading.RLock)
"""Held while the running core changes hands, and while an in-process client comes or
goes. Who holds a client's own lock never asks for this one."""
