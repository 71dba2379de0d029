"""The shapes of what the core takes and gives, for type checkers and readers."""

from typing import TypeAlias, TypedDict

Told: TypeAlias = tuple[str, str, str, str, str, int]
"""What a client inside this process is told: verb, name, text, url, event id, date.

EVENT: subscription id, the event's JSON, the relay it came from first, its id (64 hex)
and date (unix seconds). EOSE: subscription id. CLOSED: subscription id, reason, and the
reason's code (`ReasonCode`) in the url's place. OK and REFUSED: event id, reason, and its
code, the same. NOTICE: the text, and the relay unless the core itself says it.
CONNECTED: the relay. WHOLE and BEHIND: subscription id; it has from every relay what that
stores, and is sent what comes, or does so no more. COUNT: the id, the answer's JSON and
its number in the date's place. AUTH, a challenge, is sent to nobody here. What is not
named is empty or 0."""

ReasonCode: TypeAlias = str
"""What a reason is. A prefix of NIP-01's, a relay's or ours: invalid, pow, blocked,
restricted, auth_required, rate_limited, error, duplicate, mute, unsupported, closed; one
of our own: queued, replaced, local. Ours, where that does not tell: no_relay (the owner
has configured none), outbox_closed (its rows have not been read yet), outbox_full,
database (it does not keep what it is to keep), unanswered (it was sent), ends_connection
(the relay ends the connection over it), not_served (by no relay: the text is a relay's).
Empty: none that is known."""

TroubleCode: TypeAlias = str
"""What an entry of a relay's log is. There is no connection: unreachable, turned_away
(with an HTTP status), no_proxy (and no other way), itself (it is this server). It is
gone: closed (by the relay), lost, silent (no sign of life), stalled (it did not read),
internal (a bug of ours), cut_off (it kept sending what nobody asked for), connects_anew
(because of what the owner has set), ends_connection (it ended it over something that it
is not sent any more). It has sent what it should not: bad_message, too_long (skipped),
forged_event. It has refused something, and the text says why: refused_event,
ended_subscription, refused_count, slow_down (of everything, since too much came at a
time). It wants to know who we are (NIP-42): refused_auth,
unanswered_auth, no_challenge, unsigned_auth (its challenge could not be answered)."""


Offer: TypeAlias = tuple[int, bytes, bytes]
"""A client's socket: its descriptor, what was read after the client's request for a
WebSocket, and the whole answer to that, which is written first. No extension may be
promised in it."""


class Limits(TypedDict):
    """What the endpoint enforces, as NIP-11 names it where NIP-11 has a name."""

    max_message_length: int  # bytes of one client message
    max_subscriptions: int  # per client
    max_filters: int  # per REQ
    max_clients: int  # in all
    max_messages_per_second: int  # per client, on average over ten seconds


class RelayLimits(TypedDict):
    """What a relay's own document (NIP-11) says it takes. None: it does not say."""

    max_subscriptions: int | None
    max_filters: int | None  # per REQ
    max_message_length: int | None  # bytes
    max_limit: int | None
    counts: bool | None  # it answers COUNT (NIP-45)
    sibling: bool  # it is another server of this extension
    searches: bool | None  # it knows `search` (NIP-50)


class RelayStatus(TypedDict):
    """One relay as it is now. Counters start at zero when the core starts."""

    url: str
    read: bool
    write: bool
    listed: bool  # the owner has configured it; else clients inside have named it
    limits: RelayLimits  # as `Core.set_relay_limits` was told them, where they make sense
    state: str  # "connecting" | "connected" | "waiting" (for the next attempt)
    authentication_required: bool
    auth_refused: bool  # on this connection it refused something with "auth-required:"
    authenticated: bool  # it takes us for the owner of the key that is set for it
    refused: bool  # it answered the last attempt with an HTTP status
    itself: bool  # the last attempt ended at this server itself
    next_attempt: float | None  # unix seconds, while waiting
    connected_since: float | None  # unix seconds, while connected
    disconnected_since: float | None  # unix seconds, while not connected
    ping: int | None  # round trip of the last answered ping, milliseconds
    sent: int  # events written to the relay
    received: int  # events the relay sent, copies included
    duplicates: int
    forged: int  # wrong id or signature
    rejected: int  # events the relay answered OK false
    backlog_dropped: int  # events others have and it never got: away too long, too slow
    unasked: int  # events for no subscription, or that match no filter of theirs
    skipped: int  # messages that were too long
    quarantined: int  # what it is not sent now, because it ends the connection over it
    # Of all subscriptions here that want it; 0 while it is not connected.
    subscriptions_served: int  # or asked for, a moment ago
    subscriptions_refused: int  # or not answered
    subscriptions_waiting: int  # for a place
    unserved_since: float | None  # unix seconds; None: it serves all
    unserved_reason: str | None  # a sentence, or its words
    errors: list[str]  # newest last, at most 50
    notices: list[str]  # newest last, at most 50
    error_times: list[float]  # unix seconds, of those above
    error_codes: list[TroubleCode]  # what each of those is
    notice_times: list[float]
    error_count: int


class ClientStatus(TypedDict):
    """One client as it is now."""

    inside: bool  # in this process
    connected_since: float  # unix seconds
    subscriptions: int
    published: int  # events it published that were found true
    delivered: int  # events it was given, those that wait among them
    waiting: int  # messages in its mailbox
    waiting_bytes: int


class About(TypedDict):
    """What is known of a client outside, beside what it does."""

    address: str | None  # where its connection comes from
    forwarded_for: str | None  # as a proxy says
    agent: str | None  # the program, as it says


class OutsideClient(About):
    """One client outside of this process as it is now."""

    token: int  # names it in `Core.cut_off`
    public: bool  # through the public endpoint
    status: ClientStatus


class Stats(TypedDict):
    """Counts over the whole core, since it started but for the first three."""

    clients: int
    subscriptions: int
    pending_events: int  # published and not yet answered
    received: int  # events relays have sent, copies included
    sent: int  # events written to relays
    published: int  # events clients have published that were found true
    verified: int
    forged: int
    delivered: int
    outbox: "OutboxStats"


class OutboxStats(TypedDict):
    """The outbox of this node. Below `oldest`: counted since the core started."""

    size: int  # how many may be queued
    queued: int  # no relay has had them
    in_doubt: int  # sent, and no relay has said what became of them
    rejected: int  # kept for the owner to see
    oldest: int | None  # unix seconds, of those that wait
    delivered: int
    rejected_ever: int
    expired: int  # NIP-40
    withdrawn: int  # NIP-09, NIP-62
    superseded: int  # a newer version came


class OutboxRow(TypedDict):
    """An event of the outbox as the database keeps it."""

    id: str  # 64 hex
    event: str  # its JSON
    state: str  # "queued" | "doubt" | "rejected"
    position: int  # orders the events as they were published
    queued_at: int  # unix seconds
    reasons: dict[str, str]  # relay url to what it said


class StoreTask(TypedDict):
    """Something to be done with the database."""

    number: int | None  # for `outbox_stored`; None: read the rows and `outbox_adopt` them
    insert: list[OutboxRow]  # new rows; a row of the same id that is there gives way
    update: list[OutboxRow]  # state and reasons of rows that were written before
    delete: list[str]  # ids to be removed, after the others, all in one transaction
    undo: list[str]  # the same, unless another node has promised the row since
    within: float | None  # seconds; not committed by then, it must not be any more


class OutboxEntry(TypedDict):
    """An event of the outbox as the owner sees it."""

    id: str  # 64 hex
    kind: int
    pubkey: str  # 64 hex
    state: str  # as in `OutboxRow`
    queued_at: int  # unix seconds
    reasons: dict[str, str]  # relay url to what it said
    reason_codes: dict[str, ReasonCode]  # the same


class KeyPair(TypedDict):
    private_key: str  # 64 hex
    public_key: str  # 64 hex, x-only
