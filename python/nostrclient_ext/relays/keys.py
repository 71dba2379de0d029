"""The keys by which relays may know us (NIP-42): kept encrypted, and for the core alone.

A private key is stored as LNbits stores what it keeps secret, encrypted with the server's
`AUTH_SECRET_KEY`, and read again only to hand it to the core. No answer, no log and no
page has it. Which relay knows us by which key is `changes.py`'s to know. `Refusal` is
what the caller did wrong; its sentence never tells the key.
"""

import asyncio

from lnbits.helpers import decrypt_internal_message, encrypt_internal_message
from loguru import logger

from ..core.refusal import Refusal
from ..core.running import Running
from ..crud import add_relay_key, get_relay_key, get_relay_keys
from ..models import NewKey, Relay, RelayKey, RelayKeyRow

MOST = 100  # keys that are kept

_NO_KEY = (
    "This is no private key: it has 64 hexadecimal characters, or begins with nsec1."
)
_UNREADABLE = (
    "This key cannot be read: LNbits had another AUTH_SECRET_KEY when it was stored."
)

_changes = asyncio.Lock()


async def list_keys(running: Running, relays: list[Relay]) -> list[RelayKey]:
    """Every key that is kept, without what is secret."""
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
    """Keep a key. Its public key, 64 hex."""
    library = running.library
    given = (new.private_key or "").strip()
    private = _read(running, given) if given else library.generate_key()["private_key"]
    public: str = library.public_key(private)
    # 63 characters with a checksum, which tells whether it is read with the right secret.
    secret = encrypt_internal_message(library.to_nsec(private))
    if not secret:
        raise Refusal("no-encryption", "LNbits cannot encrypt this key.")
    row = RelayKeyRow(public_key=public, name=new.name.strip(), secret=secret)
    async with _changes:
        if await get_relay_key(public) is not None:
            raise Refusal("key-exists", "This key is kept already.")
        if len(await get_relay_keys()) >= MOST:
            raise Refusal("too-many-keys", f"At most {MOST} keys are kept.")
        await add_relay_key(row)
    return public


async def private_key(running: Running, public_key: str) -> str:
    """For the core: the private key, 64 hex."""
    row = await get_relay_key(public_key)
    if row is None:
        raise Refusal("no-such-key", "There is no such key.")
    private = _private_key(running, row)
    if private is None:
        raise Refusal("key-unreadable", _UNREADABLE)
    return private


async def hand_over(running: Running, relay: Relay, url: str) -> None:
    """Tell the core who we are to this relay. Without its key we are nobody."""
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
        raise Refusal("not-a-key", _NO_KEY) from None
    return private


def _private_key(running: Running, row: RelayKeyRow) -> str | None:
    """None: it cannot be decrypted with the secret that LNbits has now."""
    try:
        private: str = running.library.from_nsec(decrypt_internal_message(row.secret))
        if running.library.public_key(private) == row.public_key:
            return private
    except Exception:  # whatever comes out of it is no key
        pass
    return None
