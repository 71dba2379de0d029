"""What the admin's page is sent."""

from pydantic import BaseModel, Field

from ..models import RelayConnection


class ConnectedClient(BaseModel):
    """A client that is connected."""

    id: str  # the same for as long as it is connected
    kind: str  # public, private or extension
    address: str | None  # where it connects from; None: inside LNbits
    forwarded_for: str | None  # as the proxy before this server says
    agent: str | None  # the program, as it says
    connected_since: float  # unix seconds
    subscriptions: int
    published: int  # events it published
    delivered: int  # events sent to it
    waiting: int  # messages it has not fetched yet
    slow: bool  # too many wait: it may be cut off


class Clients(BaseModel):
    """The connected clients, the busiest first."""

    total: int
    clients: list[ConnectedClient]  # at most 200


class Action(BaseModel):
    """A button that mends something."""

    label: str
    do: str  # reconnect, pause, remove, key, retry, show or cut
    target: str  # a relay's url, a client's id or a part of the page


class Attention(BaseModel):
    """Something that needs the owner's attention."""

    id: str  # the same for as long as it lasts
    serious: bool  # Nostr does not work, or something may get lost
    text: str
    actions: list[Action]


class RelayLine(RelayConnection):
    """A relay as the page lists it: its state now, without the lists."""

    url: str
    active: bool
    read: bool
    write: bool
    configured: bool
    state: str
    key: str | None  # public key, 64 hex: we sign in with it if asked
    paused_until: float | None
    sent: int
    received: int
    duplicates: int
    forged: int
    rejected: int
    dropped: int  # events that others have and it never got
    skipped: int  # messages that were too long
    quarantined: int  # what it ends the connection over: not sent to it now
    subscriptions_served: int  # now; 0 while it is not connected
    subscriptions_refused: int  # or not answered
    subscriptions_waiting: int  # for a place
    errors: int
    noticed_at: float | None  # unix seconds of its last notice
    last_error: str | None
    last_error_code: str | None  # `TroubleCode`, or what is wrong with the url
    name: str | None  # as it calls itself
    icon: str | None


class Totals(BaseModel):
    """Events since the core started."""

    received: int  # from relays, copies included
    delivered: int  # to clients
    published: int  # by clients
    sent: int  # to relays
    forged: int


class OutboxNumbers(BaseModel):
    """The outbox of this node."""

    size: int
    queued: int
    in_doubt: int
    rejected: int
    oldest_age: int | None  # seconds
    delivered: int  # since the core started
    problem: str | None


class State(BaseModel):
    """The whole server."""

    version: str
    warning: str | None
    sockets: str | None  # why clients' sockets stay with LNbits' web server, if they do
    relays: int  # that the owner uses
    connected: int
    clients: int
    subscriptions: int
    pending_events: int
    totals: Totals
    outbox: OutboxNumbers


class Overview(BaseModel):
    """Everything the page shows live."""

    time: float  # unix seconds, of this server
    state: State
    history: list[tuple[int, int, int, int]]
    """For each of the last 300 seconds: its unix time, events received, delivered and
    published."""
    attention: list[Attention]
    relays: list[RelayLine]
    clients: Clients


class Ticket(BaseModel):
    """Opens the WebSocket for live data: once, within 30 seconds."""

    ticket: str


class MetricsToken(BaseModel):
    """A token to read the metrics with. It is shown only now."""

    token: str


class HasMetricsToken(BaseModel):
    """Whether there is a token to read the metrics with."""

    exists: bool


class OutboxIds(BaseModel):
    """Names events of the outbox."""

    ids: list[str] = Field(max_items=20_000)


class Done(BaseModel):
    """How many were done."""

    count: int
