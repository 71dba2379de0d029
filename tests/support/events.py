"""Events as the NIPs want them, and forgeries of them.

The id is computed here and only the signature comes from nostr_sdk, so that a test
decides every byte of an event and no library tidies it up.
"""

import hashlib
import json
import time
from typing import Any

from nostr_sdk import Keys

Event = dict[str, Any]
Tags = list[list[str]]


def now() -> int:
    return int(time.time())


def event_id(event: Event) -> str:
    """NIP-01: sha256 over the canonical array."""
    fields = [0] + [
        event[name] for name in ("pubkey", "created_at", "kind", "tags", "content")
    ]
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Author:
    """A key pair that signs."""

    def __init__(self) -> None:
        self._keys = Keys.generate()
        self.pubkey: str = self._keys.public_key().to_hex()
        self.npub: str = self._keys.public_key().to_bech32()
        self.private_key: str = self._keys.secret_key().to_hex()

    def sign(
        self,
        content: str = "",
        *,
        kind: int = 1,
        tags: Tags | None = None,
        created_at: int | None = None,
    ) -> Event:
        return self.seal(
            {
                "pubkey": self.pubkey,
                "created_at": now() if created_at is None else created_at,
                "kind": kind,
                "tags": tags or [],
                "content": content,
            }
        )

    def seal(self, event: Event) -> Event:
        """`event` with the id and the signature its other fields ask for."""
        sealed_id = event_id(event)
        signature = self._keys.sign_schnorr(bytes.fromhex(sealed_id))
        return {**event, "id": sealed_id, "sig": signature}

    def notes(self, count: int, prefix: str = "note") -> list[Event]:
        """`count` different notes, oldest first."""
        start = now() - count
        return [
            self.sign(f"{prefix} {number}", created_at=start + number)
            for number in range(count)
        ]


def forged_signature(event: Event) -> Event:
    """Right id, wrong signature."""
    flipped = "0" if event["sig"][-1] != "0" else "1"
    return {**event, "sig": event["sig"][:-1] + flipped}


def forged_content(event: Event, content: str = "forged") -> Event:
    """Another content under the id and signature of a true event."""
    return {**event, "content": content}


def forged_author(event: Event) -> Event:
    """A consistent id, but signed by somebody else than the author it names."""
    claimed = {**event, "pubkey": Author().pubkey}
    return {**claimed, "id": event_id(claimed)}


def ids(events: list[Event]) -> list[str]:
    return [event["id"] for event in events]
