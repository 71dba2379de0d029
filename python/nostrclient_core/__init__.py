"""The nostrclient multiplexer: the Rust core and the bridge from it to asyncio.

Imports nothing of LNbits. `_native` is the Rust part, and `shapes` has the
dictionaries it answers with.
"""

from ._native import (
    STORE,
    Client,
    Core,
    CoreBusy,
    CoreStopped,
    Memory,
    TooManyClients,
    __version__,
    encrypt_nip04,
    generate_key,
    normalize_public_key,
    normalize_relay_url,
    public_key,
    sign_event,
)
from .shapes import (
    KeyPair,
    Limits,
    OutboxEntry,
    OutboxRow,
    OutboxStats,
    RelayStatus,
    Stats,
    StoreTask,
    Told,
)

__all__ = [
    "STORE",
    "Client",
    "Core",
    "CoreBusy",
    "CoreStopped",
    "KeyPair",
    "Limits",
    "Memory",
    "OutboxEntry",
    "OutboxRow",
    "OutboxStats",
    "RelayStatus",
    "Stats",
    "StoreTask",
    "Told",
    "TooManyClients",
    "__version__",
    "encrypt_nip04",
    "generate_key",
    "normalize_public_key",
    "normalize_relay_url",
    "public_key",
    "sign_event",
]
