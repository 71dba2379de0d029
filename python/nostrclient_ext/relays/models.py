"""What relays say about themselves, what went wrong at them, how they did in a test."""

from pydantic import BaseModel, Field


class RelayLimits(BaseModel):
    """The limits in a relay's document (NIP-11). None: it does not say."""

    max_message_length: int | None = None  # bytes
    max_subscriptions: int | None = None
    max_filters: int | None = None
    max_limit: int | None = None
    auth_required: bool | None = None
    payment_required: bool | None = None
    restricted_writes: bool | None = None


class RelayInfo(BaseModel):
    """A relay's document (NIP-11): texts of strangers, cut to length."""

    url: str
    name: str | None = None
    description: str | None = None
    icon: str | None = None  # an http or https url
    software: str | None = None
    version: str | None = None
    supported_nips: list[int] = Field(default_factory=list)
    limits: RelayLimits = Field(default_factory=RelayLimits)
    problem: str | None = None  # why nothing is known, as a sentence


class LogEntry(BaseModel):
    """One line of a relay's log."""

    time: float  # unix seconds
    text: str
    code: str | None = None  # an error's


class RelayLog(BaseModel):
    """The last errors and notices of a relay, newest first."""

    url: str
    errors: list[LogEntry]
    notices: list[LogEntry]


class CheckStep(BaseModel):
    """One step of a relay's test."""

    name: str  # key, connection, subscription, publication or return
    passed: bool
    ms: int  # how long it took
    text: str  # what happened, as a sentence


class RelayCheck(BaseModel):
    """The result of a relay's test. The first step that fails is the last."""

    url: str
    passed: bool
    event_id: str | None  # of the event that was published
    steps: list[CheckStep]
