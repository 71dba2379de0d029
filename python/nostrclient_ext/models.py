"""The rows of the extension's tables and the bodies of its REST routes."""

from typing import Any

from pydantic import BaseModel, Field


class RelayStatus(BaseModel):
    """Counters since the core started, and the last 50 errors and notices."""

    num_sent_events: int = 0
    num_received_events: int = 0
    error_counter: int = 0
    error_list: list[str] = Field(default_factory=list)
    notice_list: list[str] = Field(default_factory=list)
    duplicates: int = 0
    forged: int = 0
    rejected: int = 0
    unasked: int = 0


class Relay(BaseModel):
    """A relay as the database has it (id, url and switches), with its state now."""

    id: str | None = None
    url: str | None = None
    active: bool | None = None
    read: bool = True
    write: bool = True
    connected: bool | None = None
    connected_string: str | None = None
    state: str | None = None  # connecting, connected, waiting, inactive or invalid
    authentication_required: bool = False
    next_attempt: float | None = None  # unix seconds
    connected_since: float | None = None  # unix seconds
    status: RelayStatus | None = None
    ping: int | None = None  # milliseconds


class RelayRow(BaseModel):
    """What is inserted for a new relay: the columns every installed version has."""

    id: str
    url: str
    active: bool = True


class RelayUrl(BaseModel):
    """Names a relay."""

    url: str | None = None


class RelaySwitches(BaseModel):
    """Names a relay and sets the switches that are given."""

    url: str | None = None
    active: bool | None = None
    read: bool | None = None
    write: bool | None = None


class Config(BaseModel):
    """Which endpoints are open."""

    private_ws: bool = True
    public_ws: bool = False

    @classmethod
    def validate(cls, value: Any) -> "Config":
        """Pydantic takes an empty list for an empty object, and so for the defaults."""
        if isinstance(value, list):
            raise TypeError("settings are a JSON object")
        return super().validate(value)


class UserConfig(BaseModel):
    """A row of the config table."""

    owner_id: str
    extra: Config = Field(default_factory=Config)


class Endpoints(BaseModel):
    """Paths of the WebSocket endpoints on this server. None: closed."""

    public: str | None
    private: str | None


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
