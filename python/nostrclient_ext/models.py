"""The rows of the extension's tables and the bodies of its REST routes."""

import re
from typing import Any

from pydantic import BaseModel, ConstrainedStr, Field

MOST_ALLOWED = 1_000  # public keys on the owner's list


class PublicKey(ConstrainedStr):
    """A Nostr public key. If anything else is stored in its place, the settings cannot be
    read: the public endpoint is closed then, not open to everybody."""

    regex = re.compile("^[0-9a-f]{64}$")


# A field that has the same name in nostrclient_core/shapes.py is copied by its name: no
# code on its way from the core to REST and the page names it again.


class RelayStatus(BaseModel):
    """Counters since the core started, and the last 50 errors and notices."""

    num_sent_events: int = 0
    num_received_events: int = 0
    error_counter: int = 0
    error_list: list[str] = Field(default_factory=list)
    error_times: list[float] = Field(default_factory=list)  # unix seconds, of those
    error_codes: list[str] = Field(default_factory=list)  # `TroubleCode`, of those
    notice_list: list[str] = Field(default_factory=list)
    notice_times: list[float] = Field(default_factory=list)
    duplicates: int = 0
    forged: int = 0
    rejected: int = 0
    backlog_dropped: int = 0
    unasked: int = 0
    skipped: int = 0  # messages that were too long
    quarantined: int = 0  # what it ends the connection over: not sent to it now
    subscriptions_served: int = 0  # now; 0 while it is not connected
    subscriptions_refused: int = 0  # or not answered
    subscriptions_waiting: int = 0  # for a place
    unserved_since: float | None = None  # unix seconds; None: it serves all
    unserved_reason: str | None = None


class KeptLimits(BaseModel):
    """The limits the core keeps to at a relay: those of its document (NIP-11) that make
    sense. None: the document does not say."""

    max_subscriptions: int | None = None
    max_filters: int | None = None
    max_message_length: int | None = None  # bytes
    max_limit: int | None = None
    counts: bool | None = None  # it answers COUNT (NIP-45)
    searches: bool | None = None  # it knows `search` (NIP-50)


class RelayConnection(BaseModel):
    """How the connection to a relay is now."""

    authentication_required: bool = False  # the relay has sent a challenge (NIP-42)
    auth_refused: bool = False  # it has refused something until we sign in
    authenticated: bool = False  # it has accepted our signature
    refused: bool = False  # it answered the last attempt with an HTTP error
    itself: bool = False  # it is this server, by another name
    next_attempt: float | None = None  # unix seconds
    connected_since: float | None = None  # unix seconds
    disconnected_since: float | None = None  # unix seconds
    ping: int | None = None  # milliseconds


class Relay(RelayConnection):
    """A relay as it is stored (id, url and switches), with its current state."""

    id: str | None = None
    url: str | None = None
    active: bool | None = None
    read: bool = True
    write: bool = True
    configured: bool = True  # False: only other extensions have named it
    connected: bool | None = None
    connected_string: str | None = None
    state: str | None = None  # connecting, connected, waiting, paused, inactive, invalid
    key: str | None = None  # public key, 64 hex: we sign in with it if asked
    paused_until: float | None = None  # unix seconds
    status: RelayStatus | None = None
    limits: KeptLimits | None = None


class RelayRow(BaseModel):
    """The row of a new relay: the columns that every installed version has."""

    id: str
    url: str
    active: bool = True


class RelayUrl(BaseModel):
    """Names a relay."""

    url: str | None = None


class RelayPause(BaseModel):
    """Names a relay, and how long it is to be left alone."""

    url: str | None = None
    seconds: int = Field(default=3600, ge=1, le=30 * 86400)


class RelaySwitches(BaseModel):
    """Names a relay, and the switches to set."""

    url: str | None = None
    active: bool | None = None
    read: bool | None = None
    write: bool | None = None


class NewKey(BaseModel):
    """A key to store. Without a private key, a new one is generated."""

    name: str = Field(default="", max_length=60)
    private_key: str | None = Field(default=None, max_length=200)  # 64 hex or nsec


class RelayKeyRow(BaseModel):
    """A row of the keys' table."""

    public_key: str  # 64 hex
    name: str
    secret: str  # the private key, encrypted as LNbits does


class RelayKey(BaseModel):
    """A key as the owner sees it: without the private key."""

    public_key: str  # 64 hex
    npub: str
    name: str
    readable: bool  # False: LNbits had another secret key when it was stored
    relays: list[str]  # urls of those we use it for


class RelayKeyChoice(BaseModel):
    """Names a relay, and the key to sign in with there. None: none."""

    url: str | None = None
    public_key: str | None = None  # 64 hex, of a stored key


class Config(BaseModel):
    """Which endpoints are open and at what address they are reached, how many events
    may wait for a relay, what public clients may read, and through what proxy relays are
    reached."""

    private_ws: bool = True
    public_ws: bool = False
    public_reads_with_keys: bool = False  # also from relays where we have signed in
    outbox_size: int = Field(default=100, ge=0, le=10_000)
    address: str = ""  # wss://host/prefix; empty: as the admin's page is reached
    public_allowed: list[PublicKey] = Field(default_factory=list, max_items=MOST_ALLOWED)
    # who may use the public endpoint; an empty list means everybody
    proxy: str = ""  # socks5://user@host:port, without its password; empty: none
    proxy_for_all: bool = False  # else for .onion relays only

    @classmethod
    def validate(cls, value: Any) -> "Config":
        """Pydantic would take an empty list for an empty object: for the defaults."""
        if isinstance(value, list):
            raise TypeError("settings are a JSON object")
        return super().validate(value)


class ConfigChange(BaseModel):
    """Settings to change. Those that are None stay as they are."""

    private_ws: bool | None = None
    public_ws: bool | None = None
    public_reads_with_keys: bool | None = None
    outbox_size: int | None = Field(default=None, ge=0, le=10_000)
    address: str | None = Field(default=None, max_length=200)
    public_allowed: list[str] | None = Field(default=None, max_items=MOST_ALLOWED)
    # npub1… or hex
    proxy: str | None = Field(default=None, max_length=1000, repr=False)
    proxy_for_all: bool | None = None

    @classmethod
    def validate(cls, value: Any) -> "ConfigChange":
        """Pydantic would take an empty list for an empty object."""
        if isinstance(value, list):
            raise TypeError("settings are a JSON object")
        return super().validate(value)


class StoredConfig(Config):
    """The settings as they are stored, with the secrets that no answer shows."""

    metrics_token_hash: str | None = None  # SHA-256, hex
    proxy_password: str | None = Field(default=None, repr=False)  # as in a url

    def proxy_url(self) -> str | None:
        """The proxy's url with its password. None: there is no proxy."""
        if self.proxy_password is not None:
            return self.proxy.replace("@", f":{self.proxy_password}@", 1)
        return self.proxy or None

    def without_secrets(self) -> Config:
        """The settings as the owner sees them."""
        return Config(**self.dict(include=set(Config.__fields__)))


class UserConfig(BaseModel):
    """A row of the config table."""

    owner_id: str
    extra: StoredConfig = Field(default_factory=StoredConfig)


class Endpoints(BaseModel):
    """Paths of the WebSocket endpoints on this server. None: closed."""

    public: str | None
    private: str | None
    address: str  # the server's, before the paths, if the owner has set it
    public_allowed: list[str]  # npub1…; an empty list means everybody


class RelayLimitation(BaseModel):
    """What the endpoints enforce, in NIP-11's words."""

    max_message_length: int  # bytes
    max_subscriptions: int  # of one client
    max_filters: int  # of one REQ
    max_subid_length: int  # characters
    auth_required: bool = False
    payment_required: bool = False
    restricted_writes: bool = False


class RelayDocument(BaseModel):
    """The endpoints' description (NIP-11)."""

    name: str
    description: str
    software: str
    version: str
    supported_nips: list[int]
    limitation: RelayLimitation


class OutboxEntry(BaseModel):
    """An event that waits for a relay, or that every relay has refused."""

    id: str
    kind: int | None
    pubkey: str | None
    state: str  # queued, in doubt, rejected or unreadable
    queued_at: int  # unix seconds
    age: int  # seconds
    reasons: dict[str, str]  # what each relay said, by its url
    reason_codes: dict[str, str] = Field(default_factory=dict)  # `ReasonCode`, of those
    here: bool  # it is this node that sends it: only then there are codes


class OutboxDropped(BaseModel):
    """Events that left the outbox without reaching a relay, since the core started."""

    expired: int
    withdrawn: int  # by their author
    superseded: int  # by a newer version
    rejected: int


class Outbox(BaseModel):
    """The outbox as the owner sees it."""

    size: int  # how many may be queued
    queued: int
    in_doubt: int
    rejected: int
    oldest_age: int | None  # seconds, of those that wait
    delivered: int  # since the core started
    dropped: OutboxDropped
    problem: str | None  # what is wrong with its table
    rows: list[OutboxEntry]


class RelaysStatus(BaseModel):
    """How many of the owner's relays there are."""

    configured: int
    connected: int
    writable: int  # connected, and events may be sent there


class OutboxStatus(BaseModel):
    """How much waits for a relay on this node."""

    depth: int
    size: int  # how many may be queued
    oldest_age: int | None  # seconds


class Status(BaseModel):
    """Whether Nostr works right now."""

    version: str  # of the core that runs
    relays: RelaysStatus
    outbox: OutboxStatus


class TestMessage(BaseModel):
    """Asks for a direct message to test the relays with. The misspelling is part of the
    API."""

    sender_private_key: str | None = None  # 64 hex; None: a new one
    reciever_public_key: str  # 64 hex or npub
    message: str


class TestMessageResponse(BaseModel):
    """The signed message, as text to send to the endpoint."""

    private_key: str  # of the sender, 64 hex
    public_key: str  # of the receiver, 64 hex
    event_json: str  # ["EVENT", {…}]
