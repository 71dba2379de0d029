"""Events for other extensions to make, sign and check.

An event belongs to whoever made it, who may change it at any time; so its id is computed
whenever it is asked for. The core's library does that, and checks the signatures.
"""

import json
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ..core.library import load


class EventKind(IntEnum):
    """The kinds that have a name here. Any other number works as well."""

    SET_METADATA = 0
    TEXT_NOTE = 1
    RECOMMEND_RELAY = 2
    CONTACTS = 3
    ENCRYPTED_DIRECT_MESSAGE = 4
    DELETE = 5


@dataclass
class Event:
    """An event (NIP-01). Raises `TypeError` for a content that is no text."""

    content: str | None = None
    public_key: str | None = None  # 64 hex; `PrivateKey.sign_event` sets it
    created_at: int | None = None  # unix seconds; None becomes now
    kind: int = EventKind.TEXT_NOTE
    tags: list[list[str]] = field(default_factory=list)
    signature: str | None = None  # 128 hex

    def __post_init__(self) -> None:
        if self.content is not None and not isinstance(self.content, str):
            raise TypeError("The content of an event must be a text.")
        if self.created_at is None:
            self.created_at = int(time.time())

    @staticmethod
    def serialize(
        public_key: str, created_at: int, kind: int, tags: list[list[str]], content: str
    ) -> bytes:
        """The bytes whose hash is the id. Raises `ValueError`."""
        text: str = load().serialize_event(public_key, created_at, kind, tags, content)
        return text.encode()

    @staticmethod
    def compute_id(
        public_key: str, created_at: int, kind: int, tags: list[list[str]], content: str
    ) -> str:
        """The id of an event with these fields, 64 hex. Raises `ValueError`."""
        event_id: str = load().event_id(public_key, created_at, kind, tags, content)
        return event_id

    @property
    def id(self) -> str:
        """The id of the event as it is now, 64 hex. Raises `ValueError`."""
        if self.public_key is None or self.created_at is None or self.content is None:
            raise ValueError(
                "The event has no id yet: its public key, created_at or content is"
                " missing."
            )
        return Event.compute_id(
            self.public_key, self.created_at, self.kind, self.tags, self.content
        )

    def add_pubkey_ref(self, pubkey: str) -> None:
        """Name somebody (64 hex) in a `p` tag."""
        self.tags.append(["p", pubkey])

    def add_event_ref(self, event_id: str) -> None:
        """Name another event (64 hex) in an `e` tag."""
        self.tags.append(["e", event_id])

    def verify(self) -> bool:
        """Whether fields and signature are right, so that relays and clients take it."""
        try:
            event = json.dumps(self._fields())
        except (TypeError, ValueError):
            return False
        right: bool = load().verify_event(event)
        return right

    def to_message(self) -> str:
        """`["EVENT", {…}]`, as it is sent to a relay. Raises `ValueError`."""
        return json.dumps(["EVENT", self._fields()])

    def _fields(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "pubkey": self.public_key,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": self.tags,
            "content": self.content,
            "sig": self.signature,
        }


@dataclass
class EncryptedDirectMessage(Event):
    """A direct message (NIP-04). A content that is given becomes `cleartext_content`;
    `PrivateKey.sign_event` encrypts that, and what comes out becomes the content.

    Raises `ValueError` without a recipient.
    """

    recipient_pubkey: str | None = None  # 64 hex
    cleartext_content: str | None = field(default=None, repr=False)
    reference_event_id: str | None = None  # the message this is the answer to

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.content is not None:
            self.cleartext_content = self.content
            self.content = None
        if self.recipient_pubkey is None:
            raise ValueError("A direct message needs a recipient_pubkey.")
        self.kind = EventKind.ENCRYPTED_DIRECT_MESSAGE
        self.add_pubkey_ref(self.recipient_pubkey)
        if self.reference_event_id is not None:
            self.add_event_ref(self.reference_event_id)

    @property
    def id(self) -> str:
        """As `Event.id`. There is none before the message is encrypted."""
        if self.content is None:
            raise ValueError("A direct message has no id before it is encrypted.")
        return super().id
