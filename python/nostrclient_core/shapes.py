"""The shapes of what the core takes and gives, for type checkers and readers."""

from typing import TypedDict


class Limits(TypedDict):
    """What the endpoint enforces, as NIP-11 names it where NIP-11 has a name."""

    max_message_length: int  # bytes of one client message
    max_subscriptions: int  # per client
    max_filters: int  # per REQ
    max_clients: int  # in all
    max_messages_per_second: int  # per client, on average over ten seconds


class RelayStatus(TypedDict):
    """One relay as it is now. Counters start at zero when the core starts."""

    url: str
    read: bool
    write: bool
    state: str  # "connecting" | "connected" | "waiting" (for the next attempt)
    authentication_required: bool
    next_attempt: float | None  # unix seconds, while waiting
    connected_since: float | None  # unix seconds, while connected
    ping: int | None  # round trip of the last answered ping, milliseconds
    sent: int  # events written to the relay
    received: int  # events the relay sent, copies included
    duplicates: int
    forged: int  # wrong id or signature
    rejected: int  # events the relay answered OK false
    unasked: int  # events for no subscription, or that match no filter of theirs
    errors: list[str]  # newest last, at most 50
    notices: list[str]  # newest last, at most 50
    error_count: int


class Stats(TypedDict):
    """Counts over the whole core."""

    clients: int
    subscriptions: int
    pending_events: int  # published and not yet answered
    verified: int
    forged: int
    delivered: int


class KeyPair(TypedDict):
    private_key: str  # 64 hex
    public_key: str  # 64 hex, x-only
