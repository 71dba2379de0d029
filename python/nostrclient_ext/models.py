"""The rows of the extension's tables and the bodies of its REST routes."""

import re
from typing import Any

from pydantic import BaseModel, ConstrainedStr, Field

MOST_ALLOWED = 1_000  # public keys on the owner's list


class PublicKey(ConstrainedStr):
    """A Nostr public key. What is stored and is none makes the settings unreadable, and
    so the public endpoint closed, rather than open to everybody."""

    regex = re.compile("^[0-9a-f]{64}$")


# Where a field has the core's name for it (nostrclient_core/shapes.py), it is filled by
# that name and named nowhere else on its way to REST and to the page.


class RelayStatus(BaseModel):
    """Counters since the core started, and the last 50 errors and notices."""

    num_sent_events: int = 0
    num_received_events: int = 0
    error_counter: int = 0
    error_list: list[str] = Field(default_factory=list)
    error_times: list[float] = Field(default_factory=list)  # unix seconds, of those
    notice_list: list[str] = Field(default_factory=list)
    notice_times: list[float] = Field(default_factory=list)
    duplicates: int = 0
    forged: int = 0
    rejected: int = 0
    backlog_dropped: int = 0
    unasked: int = 0


class KeptLimits(BaseModel):
    """What the core keeps to at a relay: what that one's document (NIP-11) says, as far
    as it makes sense. None: it does not say."""

    max_subscriptions: int | None = None
    max_filters: int | None = None
    max_message_length: int | None = None  # bytes
    max_limit: int | None = None
    counts: bool | None = None  # it answers COUNT (NIP-45)


class RelayConnection(BaseModel):
    """How the connection to a relay is now."""

    authentication_required: bool = False  # it has asked for it (NIP-42)
    auth_refused: bool = False  # and has refused something for want of it
    authenticated: bool = False  # it takes us for the owner of the relay's key
    refused: bool = False  # it turned the last attempt to connect down
    next_attempt: float | None = None  # unix seconds
    connected_since: float | None = None  # unix seconds
    disconnected_since: float | None = None  # unix seconds
    ping: int | None = None  # milliseconds


class Relay(RelayConnection):
    """A relay as the database has it (id, url and switches), with its state now."""

    id: str | None = None
    url: str | None = None
    active: bool | None = None
    read: bool = True
    write: bool = True
    configured: bool = True  # False: other extensions have named it, the owner has not
    connected: bool | None = None
    connected_string: str | None = None
    state: str | None = None  # connecting, connected, waiting, paused, inactive, invalid
    key: str | None = None  # public key, 64 hex: who we are to it if it asks
    paused_until: float | None = None  # unix seconds
    status: RelayStatus | None = None
    limits: KeptLimits | None = None


class RelayRow(BaseModel):
    """What is inserted for a new relay: the columns every installed version has."""

    id: str
    url: str
    active: bool = True


class RelayUrl(BaseModel):
    """Names a relay."""

    url: str | None = None


class RelayPause(BaseModel):
    """Names a relay and says for how long it is not to be used."""

    url: str | None = None
    seconds: int = Field(default=3600, ge=1, le=30 * 86400)


class RelaySwitches(BaseModel):
    """Names a relay and sets the switches that are given."""

    url: str | None = None
    active: bool | None = None
    read: bool | None = None
    write: bool | None = None


class NewKey(BaseModel):
    """A key to be kept. Without a private key one is made."""

    name: str = Field(default="", max_length=60)
    private_key: str | None = Field(default=None, max_length=200)  # 64 hex or nsec


class RelayKeyRow(BaseModel):
    """A row of the keys' table."""

    public_key: str  # 64 hex
    name: str
    secret: str  # the private key, encrypted as LNbits does


class RelayKey(BaseModel):
    """A key as the owner is shown it: never the private one."""

    public_key: str  # 64 hex
    npub: str
    name: str
    readable: bool  # False: it was stored under another secret key of LNbits
    relays: list[str]  # urls of those that know us by it


class RelayKeyChoice(BaseModel):
    """Who we are to a relay from now on. None: nobody."""

    url: str | None = None
    public_key: str | None = None  # 64 hex, of a key that is kept


class Config(BaseModel):
    """Which endpoints are open and under what address they are reached, how many events
    may wait for a relay, what public clients may read, and through what proxy relays are
    reached."""

    private_ws: bool = True
    public_ws: bool = False
    public_reads_with_keys: bool = False  # also from relays that know us by a key
    outbox_size: int = Field(default=100, ge=0, le=10_000)
    address: str = ""  # wss://host/prefix; empty: as the admin's page is reached
    public_allowed: list[PublicKey] = Field(default_factory=list, max_items=MOST_ALLOWED)
    # who may use the public endpoint; nobody is named: everybody
    proxy: str = ""  # socks5://user@host:port, without its password; empty: none
    proxy_for_all: bool = False  # else for .onion relays only

    @classmethod
    def validate(cls, value: Any) -> "Config":
        """Pydantic takes an empty list for an empty object, and so for the defaults."""
        if isinstance(value, list):
            raise TypeError("settings are a JSON object")
        return super().validate(value)


class ConfigChange(BaseModel):
    """Settings to be set; those that are not given stay as they are."""

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
        """Pydantic takes an empty list for an empty object."""
        if isinstance(value, list):
            raise TypeError("settings are a JSON object")
        return super().validate(value)


class StoredConfig(Config):
    """The settings as they are stored: with what no answer shows."""

    metrics_token_hash: str | None = None  # SHA-256, hex
    proxy_password: str | None = Field(default=None, repr=False)  # as in a url

    def proxy_url(self) -> str | None:
        """The proxy with its password."""
        if self.proxy_password is not None:
            return self.proxy.replace("@", f":{self.proxy_password}@", 1)
        return self.proxy or None

    def without_secrets(self) -> Config:
        """What the owner is shown."""
        return Config(**self.dict(include=set(Config.__fields__)))


class UserConfig(BaseModel):
    """A row of the config table."""

    owner_id: str
    extra: StoredConfig = Field(default_factory=StoredConfig)


class Endpoints(BaseModel):
    """Paths of the WebSocket endpoints on this server. None: closed."""

    public: str | None
    private: str | None
    address: str  # what stands before them, if the owner has set it
    public_allowed: list[str]  # npub1…: who may use the public one; none: everybody


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
    """What the endpoints are (NIP-11)."""

    name: str
    description: str
    software: str
    version: str
    supported_nips: list[int]
    limitation: RelayLimitation


class OutboxEntry(BaseModel):
    """An event that waits for a relay, or that no relay wants."""

    id: str
    kind: int | None
    pubkey: str | None
    state: str  # queued, in doubt, rejected or unreadable
    queued_at: int  # unix seconds
    age: int  # seconds
    reasons: dict[str, str]  # relay url to what it said
    here: bool  # this node sends it


class OutboxDropped(BaseModel):
    """Events that left the outbox without a relay, since the core started."""

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
    problem: str | None  # what is wrong with its database
    rows: list[OutboxEntry]


class RelaysStatus(BaseModel):
    """How many relays there are."""

    configured: int
    connected: int
    writable: int  # connected, and set for writing


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
    """Asks for a direct message to try the relays with. The spelling is the API's."""

    sender_private_key: str | None = None  # 64 hex; without it one is made
    reciever_public_key: str  # 64 hex or npub
    message: str


class TestMessageResponse(BaseModel):
    """The signed message, as text to send to the endpoint."""

    private_key: str  # of the sender, 64 hex
    public_key: str  # of the receiver, 64 hex
    event_json: str  # ["EVENT", {…}]
