"""What other extensions import as `nostrclient.helpers`."""

from .core.library import load


def normalize_public_key(pubkey: str) -> str:
    """A public key given as `npub1…` (NIP-19) or as 64 hexadecimal characters, as the
    latter in lower case. Raises `ValueError` with a sentence."""
    key: str = load().normalize_public_key(pubkey)
    return key
