"""What other extensions import as `nostrclient.helpers`."""

from .core.library import load


def normalize_public_key(pubkey: str) -> str:
    """A public key as 64 hexadecimal characters in lower case. Takes `npub1…` (NIP-19) or
    hex. Raises `ValueError` with a sentence."""
    key: str = load().normalize_public_key(pubkey)
    return key
