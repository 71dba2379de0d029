"""Keys for other extensions: to sign, to verify, and for direct messages (NIP-04).

A private key stays in its object: no exception and no `repr` shows it, only `hex`,
`bech32` and `raw_secret` give it away. All computing is done by the core's library. What
is no good raises `ValueError` with a sentence.
"""

from dataclasses import dataclass
from secrets import compare_digest
from typing import cast

from ..core.library import load
from .event import EncryptedDirectMessage, Event, EventKind


@dataclass(frozen=True)
class PublicKey:
    """An x-only public key, 32 bytes. Objects with the same key are equal."""

    raw_bytes: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw_bytes, bytes) or len(self.raw_bytes) != 32:
            raise ValueError("A public key is 32 bytes.")

    @classmethod
    def from_npub(cls, npub: str) -> "PublicKey":
        """From its NIP-19 spelling, `npub1…`."""
        return cls(bytes.fromhex(load().from_npub(npub)))

    def hex(self) -> str:
        """64 hex, as in events."""
        return self.raw_bytes.hex()

    def bech32(self) -> str:
        """`npub1…` (NIP-19), for people."""
        npub: str = load().to_npub(self.hex())
        return npub

    def verify_signed_message_hash(self, hash: str, sig: str) -> bool:  # noqa: A002
        """Whether this key has signed a hash (hash 64 hex, signature 128 hex, BIP-340).
        False for malformed input too."""
        try:
            right: bool = load().verify_hash(hash, sig, self.hex())
        except ValueError:
            return False
        return right


class PrivateKey:
    """A private key, 32 bytes. Without an argument, a new random one."""

    def __init__(self, raw_secret: bytes | None = None) -> None:
        if raw_secret is None:
            raw_secret = bytes.fromhex(load().generate_key()["private_key"])
        elif not isinstance(raw_secret, bytes) or len(raw_secret) != 32:
            raise ValueError("A private key is 32 bytes.")
        self.raw_secret = raw_secret
        try:
            public_key = load().public_key(self.hex())
        except ValueError:
            raise ValueError("These 32 bytes are no private key.") from None
        self.public_key = PublicKey(bytes.fromhex(public_key))

    @classmethod
    def from_nsec(cls, nsec: str) -> "PrivateKey":
        """From its NIP-19 spelling, `nsec1…`."""
        return cls(bytes.fromhex(load().from_nsec(nsec)))

    # A logger may print the values of the names in a line that raises. Below, the secret
    # is never one of them.

    def hex(self) -> str:
        """64 hex. A secret."""
        return self.raw_secret.hex()

    def bech32(self) -> str:
        """`nsec1…` (NIP-19). A secret."""
        nsec: str = load().to_nsec(self.hex())
        return nsec

    def compute_shared_secret(self, public_key_hex: str) -> bytes:
        """The secret that NIP-04 encrypts with between two keys, 32 bytes."""
        library = load()
        public_key = library.normalize_public_key(public_key_hex)
        secret: bytes = library.shared_secret(self.hex(), public_key)
        return secret

    def encrypt_message(self, message: str, public_key_hex: str) -> str:
        """Encrypt a text to a public key (NIP-04)."""
        library = load()
        public_key = library.normalize_public_key(public_key_hex)
        content: str = library.encrypt_nip04(self.hex(), public_key, message)
        return content

    def decrypt_message(self, encoded_message: str, public_key_hex: str) -> str:
        """Decrypt a NIP-04 content that the owner of that public key has sent to this
        key, or has received from it."""
        library = load()
        public_key = library.normalize_public_key(public_key_hex)
        message: str = library.decrypt_nip04(self.hex(), public_key, encoded_message)
        return message

    def encrypt_dm(self, dm: EncryptedDirectMessage) -> None:
        """Encrypt a direct message's text into its content."""
        text = getattr(dm, "cleartext_content", None)
        recipient = getattr(dm, "recipient_pubkey", None)
        if text is None or recipient is None:
            raise ValueError("The direct message has no text or no recipient.")
        dm.content = self.encrypt_message(text, recipient)

    def sign_message_hash(self, hash: bytes) -> str:  # noqa: A002
        """The BIP-340 signature of a hash of 32 bytes, 128 hex. Never the same twice."""
        signature: str = load().sign_hash(self.hex(), hash)
        return signature

    def sign_event(self, event: Event) -> None:
        """Sign an event. Its public key is filled in if it has none, and a direct message
        is encrypted first if it is not yet."""
        if event.kind == EventKind.ENCRYPTED_DIRECT_MESSAGE and event.content is None:
            # Not `isinstance`: it may be of another copy of this extension.
            self.encrypt_dm(cast(EncryptedDirectMessage, event))
        if event.public_key is None:
            event.public_key = self.public_key.hex()
        event.signature = self.sign_message_hash(bytes.fromhex(event.id))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and compare_digest(
            self.raw_secret, other.raw_secret
        )

    def __hash__(self) -> int:
        return hash(self.public_key)

    def __repr__(self) -> str:
        return f"PrivateKey(public_key={self.public_key.hex()})"
