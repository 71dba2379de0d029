"""The keys we sign in with at relays (NIP-42): stored encrypted, read only by the core.

A private key is stored as LNbits stores its own secrets, encrypted with the server's
`AUTH_SECRET_KEY`, and decrypted only to hand it to the core. It is in no answer, no log
and no page. `changes.py` sets which key is used at which relay. `Refusal` is
what the caller did wrong; its sentence never tells the key.
"""

import asyncio

from lnbits.helpers import decrypt_internal_message, encrypt_internal_message
from loguru import logger

from ..core.refusal import Refusal
from ..core.running import Running
from ..crud import add_relay_key, get_relay_key, get_relay_keys
from ..models import NewKey, Relay, RelayKey, RelayKeyRow

MOST = 100  # keys that are stored

_NO_KEY = (
    "This is no private key: it has 64 hexadecimal characters, or begins with nsec1."
)
_UNREADABLE = (
    "This key cannot be read: LNbits had another AUTH_SECRET_KEY when it was stored."
)

_changes = asyncio.Lock()


async def list_keys(running: Running, relays: list[Relay]) -> list[RelayKey]:
    """All stored keys, without their private halves."""
    return [
        RelayKey(
            public_key=row.public_key,
            npub=running.library.to_npub(row.public_key),
            name=row.name,
            readable=_private_key(running, row) is not None,
            relays=[r.url for r in relays if r.key == row.public_key and r.url],
        )
        for row in await get_relay_keys()
    ]


async def add_key(running: Running, new: NewKey) -> str:
    """Store a key. Returns its public key, 64 hex."""
    library = running.library
    given = (new.private_key or "").strip()
    private = _read(running, given) if given else library.generate_key()["private_key"]
    public: str = library.public_key(private)
    # `nsec1…` has a checksum, which tells whether it was decrypted with the right secret.
    secret = encrypt_internal_message(library.to_nsec(private))
    if not secret:
        raise Refusal("no_encryption", "LNbits cannot encrypt this key.")
    row = RelayKeyRow(public_key=public, name=new.name.strip(), secret=secret)
    async with _changes:
        if await get_relay_key(public) is not None:
            raise Refusal("key_exists", "This key is kept already.")
        if len(await get_relay_keys()) >= MOST:
            raise Refusal("too_many_keys", f"At most {MOST} keys are kept.")
        await add_relay_key(row)
    return public


async def private_key(running: Running, public_key: str) -> str:
    """The private key of a stored key, 64 hex. For the core only."""
    row = await get_relay_key(public_key)
    if row is None:
        raise Refusal("no_such_key", "There is no such key.")
    private = _private_key(running, row)
    if private is None:
        raise Refusal("key_unreadable", _UNREADABLE)
    return private


async def hand_over(running: Running, relay: Relay, url: str) -> None:
    """Give the core the key to sign in with at this relay, if it has one and it can be
    read."""
    if relay.key is None:
        return
    try:
        running.core.set_relay_key(url, await private_key(running, relay.key))
    except ValueError as exc:
        logger.warning(f"nostrclient cannot use the key that is set for {url!r}: {exc}")


def _read(running: Running, given: str) -> str:
    try:
        if given.lower().startswith("nsec1"):
            private: str = running.library.from_nsec(given)
        else:
            private = given.lower()
        running.library.public_key(private)
    except ValueError:
        raise Refusal("not_a_key", _NO_KEY) from None
    return private


def _private_key(running: Running, row: RelayKeyRow) -> str | None:
    """None: it cannot be decrypted with the secret that LNbits has now."""
    try:
        private: str = running.library.from_nsec(decrypt_internal_message(row.secret))
        if running.library.public_key(private) == row.public_key:
            return private
    except Exception:  # decryption fails in many ways
        pass
    return None
