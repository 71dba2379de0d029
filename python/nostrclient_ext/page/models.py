"""What the admin's page is told, live and when it asks."""

from pydantic import BaseModel, Field

from ..models import RelayConnection


class ConnectedClient(BaseModel):
    """Somebody who uses the multiplexer now."""

    id: str  # names it while it is connected
    kind: str  # public, private or extension
    address: str | None  # where it connects from; None: inside LNbits
    forwarded_for: str | None  # whom a proxy says it stands for
    agent: str | None  # what program it says it is
    connected_since: float  # unix seconds
    subscriptions: int
    published: int  # events it published
    delivered: int  # events it was given
    waiting: int  # messages it has not fetched yet
    slow: bool  # so many that it may be cut off


class Clients(BaseModel):
    """Who uses the multiplexer now: those with most to do first."""

    total: int
    clients: list[ConnectedClient]  # not all, if there are many


class Action(BaseModel):
    """What mends something."""

    label: str
    do: str  # reconnect, pause, remove, key, retry, show or cut
    target: str  # a relay's url, a client's id or a part of the page


class Attention(BaseModel):
    """Something that is wrong, in one sentence."""

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
    key: str | None  # public key, 64 hex: who we are to it if it asks
    paused_until: float | None
    sent: int
    received: int
    duplicates: int
    forged: int
    rejected: int
    dropped: int  # others have them and it never got them
    errors: int
    noticed_at: float | None  # unix seconds of its last notice
    last_error: str | None
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
    """The outbox of this node in numbers."""

    size: int
    queued: int
    in_doubt: int
    rejected: int
    oldest_age: int | None  # seconds
    delivered: int  # since the core started
    problem: str | None


class State(BaseModel):
    """The whole at a glance."""

    version: str
    warning: str | None
    relays: int  # that are to be connected
    connected: int
    clients: int
    subscriptions: int
    pending_events: int
    totals: Totals
    outbox: OutboxNumbers


class Overview(BaseModel):
    """All that the page shows live."""

    time: float  # unix seconds, of this server
    state: State
    history: list[tuple[int, int, int, int]]
    """Unix second, events received, delivered and published in it; five minutes."""
    attention: list[Attention]
    relays: list[RelayLine]
    clients: Clients


class Ticket(BaseModel):
    """Opens the live data's WebSocket once, within half a minute."""

    ticket: str


class MetricsToken(BaseModel):
    """A token to read the metrics with, shown this once."""

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
