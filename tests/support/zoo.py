"""The relay zoo: relays as they are, when limits, filters, sizes, sign-in, errors and
restarts come into play.

One relay that can behave like any of them, and `ZOO`, a table of characters. What each
does is read in the sources of the software it is named after, the file beside each
fact; a `Liar` is put together from what was seen of relays in the open. Texts are
worded as theirs are.

    relay = ZooRelay(ZOO["strfry"])
"""

import asyncio
import json
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from websockets.exceptions import ConnectionClosed

from .event_store import EventStore
from .events import Event
from .scripted_relay import Filter, Line, Received, ScriptedRelay

# What a relay says or does, in this order, to a REQ or a message it does not like.


@dataclass(frozen=True)
class Eose:
    """The stored events and EOSE, as if all were well."""


@dataclass(frozen=True)
class Notice:
    """Names no subscription."""

    text: str


@dataclass(frozen=True)
class Closed:
    text: str


@dataclass(frozen=True)
class Auth:
    """A challenge (NIP-42)."""


@dataclass(frozen=True)
class End:
    """The end of the connection: with this close code, or without a word."""

    code: int | None = None


Act = Eose | Notice | Closed | Auth | End
Acts = tuple[Act, ...]
"""Nothing at all: silence."""


@dataclass(frozen=True)
class Character:
    """How a relay differs from an honest one without limits."""

    document: dict[str, Any] | None = None
    """Its `limitation` (NIP-11); None: it has no document."""
    subscriptions: int | None = None
    """So many on a connection."""
    past_subscriptions: Acts = ()
    filters: int | None = None
    """So many in a REQ."""
    past_filters: Acts = ()
    filters_in_all: int | None = None
    """So many live ones on a connection."""
    past_filters_in_all: Acts = ()
    filters_ever: int | None = None
    """So many in all REQs of a connection: those that come back come too late here."""
    past_filters_ever: Acts = ()
    last_filter_only: bool = False
    """It takes a REQ's filters one by one: each has its EOSE, the last one stays."""
    one_copy: bool = False
    """A new event goes to one of a connection's subscriptions only."""
    message: int | None = None
    """So many bytes in a message."""
    past_message: Acts = ()
    page: int | None = None
    """So many stored events for a filter, whatever its limit."""
    unreadable: str | None = None
    """A field of filters that it cannot read."""
    when_unreadable: Acts = ()
    skips_unreadable: bool = False
    """It serves the other filters of the REQ, and refuses only what has none."""
    messages: int | None = None
    """So many messages within ten seconds."""
    past_messages: Acts = ()
    first_reqs: int = 0
    """So many first REQs of a connection are refused."""
    at_first: Acts = ()
    every_req: Acts | None = None
    """It answers each REQ of somebody it does not know with this."""
    ends_after: float | None = None
    """Seconds after which it ends a subscription that was live."""
    when_ended: Acts = ()
    keeps_orders: bool = False
    """Ephemeral events are stored, and sent again to whoever asks later."""
    answers_after: float = 0
    """Seconds that its database takes: stored events and EOSE come after what it says at
    once, a NOTICE about a later REQ too."""
    no_eose_for_nothing: bool = False
    """A filter with `limit` 0 has no EOSE."""
    closes_found: bool = False
    """CLOSED with an empty reason, after the EOSE, when all of the ids are found."""
    chokes_on: str | None = None
    """Content of an event over which it resets the connection."""


# Each number is the software's default, where nothing else is said.

# strfry: src/apps/relay/golpe.yaml has the numbers. RelayReqWorker.cpp sends the EOSE
# when a query is done and only then hands it to RelayReqMonitor.cpp, which says that
# there are too many. RelayIngester.cpp answers what it cannot parse, or with more than
# `maxReqFilterSize` filters, with a NOTICE. RelayWebsocket.cpp gives the socket its
# longest message (the connection ends without a close frame), and writes the document.
# The database's golpe.yaml keeps ephemeral events for five minutes.
_STRFRY = Character(
    document={"max_message_length": 131_072, "max_subscriptions": 20, "max_limit": 500},
    subscriptions=20,
    past_subscriptions=(Eose(), Notice("ERROR: too many concurrent REQs")),
    filters=200,
    past_filters=(Notice("ERROR: bad req: arr too big"),),
    message=131_072,
    past_message=(End(),),
    page=500,
    unreadable="#x",
    when_unreadable=(Notice("ERROR: bad req: unindexed tag filter"),),
    keeps_orders=True,
)

# nostr-rs-relay: src/conn.rs (`max_subs`), src/config.rs (`2 << 17` bytes),
# src/error.rs (the texts), src/server.rs: a NOTICE for a subscription too many, for
# what it cannot parse and for a message over `max_ws_message_bytes` (which ends
# nothing), and no query, so no EOSE, for `limit` 0 (src/subscription.rs,
# `needs_historical_events`); what is found comes from the database's thread, after
# NOTICEs that were said meanwhile. src/info.rs: the document has no limits.
_NOSTR_RS_RELAY = Character(
    document={},
    subscriptions=32,
    past_subscriptions=(
        Notice("Subscription error: Maximum concurrent subscription count reached"),
    ),
    message=262_144,
    past_message=(Notice("message too large"),),
    unreadable="#x",
    when_unreadable=(Notice("could not parse command"),),
    answers_after=0.05,
    no_eose_for_nothing=True,
)

# nostream: resources/default-settings.yaml (`limits.client.subscription`,
# `limits.message`), src/handlers/subscribe-message-handler.ts (`canSubscribe`: a NOTICE,
# nothing else), src/adapters/web-socket-adapter.ts: past the rate a message is answered
# "rate limited" and lost, a CLOSE too; what fails the schema gets a NOTICE.
# src/handlers/request-handlers/root-request-handler.ts: the document gives the number of
# a filter's values (2,500) as `max_filters`, which are ten.
_NOSTREAM = Character(
    document={
        "max_message_length": 524_288,
        "max_subscriptions": 10,
        "max_filters": 2_500,
        "max_limit": 5_000,
    },
    subscriptions=10,
    past_subscriptions=(
        Notice(
            "Subscription request rejected: Too many subscriptions: Number of "
            "subscriptions must be less than or equal to 10"
        ),
    ),
    filters=10,
    past_filters=(
        Notice(
            "Subscription request rejected: Too many filters: Number of filters per "
            "susbscription must be less then or equal to 10"
        ),
    ),
    message=524_288,
    past_message=(End(1009),),
    page=5_000,
    unreadable="#x",
    when_unreadable=(Notice('Invalid message: "[2]" does not match'),),
)

# khatru: handlers.go refuses all of a REQ when one filter is refused, sends a challenge
# before `auth-required:`, and is silent about what it cannot parse.
# policies/sane_defaults.go and ratelimits.go: a hundred filters, then twenty a minute.
# relay.go: the longest message, by the WebSocket library, which closes with 1009.
_KHATRU = Character(
    document={},
    filters_ever=100,
    past_filters_ever=(
        Closed(
            "rate-limited: there is a bug in the client, no one should be making so "
            "many requests"
        ),
    ),
    message=512_000,
    past_message=(End(1009),),
    unreadable="#x",
    when_unreadable=(Closed("blocked: too many things to filter for"),),
)

# LNbits' nostrrelay: relay/client_connection.py takes a REQ's filters one by one, each
# in place of the one before it, each with an EOSE (`_handle_request`); a new event goes
# to the first subscription that it matches (`notify_event`); what it cannot parse is
# logged and not answered; past `max_client_filters` there is a NOTICE alone.
# relay/relay.py: by default there is no such limit, and a page has 1,000. The document
# has no limits.
_LNBITS = Character(
    document={},
    last_filter_only=True,
    one_copy=True,
    page=1_000,
    unreadable="#x",
)

# nostr_sdk's LocalRelay (rust-nostr): local/inner.rs of nostr-relay-builder refuses a
# subscription over `max_reqs`, ends one whose ids are all found with an empty reason,
# and what it cannot parse ends the connection's task (`from_json(…)?`), without a word.
# Some versions refuse a REQ of several filters (`ReqMultiFilter`); 0.44.8 does not.
_NOSTR_SDK = Character(
    subscriptions=20,
    past_subscriptions=(Closed("rate-limited: too many REQs"),),
    unreadable="#x",
    when_unreadable=(End(),),
    closes_found=True,
    chokes_on="\\ud83d",
)

# nostr-relay of PyPI: config.yaml (`subscription_limit`), storage/base.py
# (`subscribe`): a NOTICE for one too many, and filters that it cannot read are left
# out; a REQ of which nothing is left has its EOSE and is not live. web.py: what is
# found comes out of a queue, so that NOTICE overtakes the EOSE of REQs before it.
_NOSTR_RELAY = Character(
    document={},
    subscriptions=32,
    past_subscriptions=(Notice("rejected: too many subscriptions"),),
    page=6_000,
    unreadable="#x",
    skips_unreadable=True,
    when_unreadable=(Eose(),),
    answers_after=0.05,
)

ZOO: dict[str, Character] = {
    "honest": Character(),
    "strfry": _STRFRY,
    "strfry, unsaid": replace(_STRFRY, document={}, filters=20),
    "nostr-rs-relay": _NOSTR_RS_RELAY,
    "nostream": _NOSTREAM,
    # Its rate is 240 a minute: a sixth of the time, a sixth of the messages.
    "nostream, slow down": replace(
        _NOSTREAM, messages=40, past_messages=(Notice("rate limited"),)
    ),
    "khatru": _KHATRU,
    "lnbits": _LNBITS,
    "lnbits, ten filters": replace(
        _LNBITS,
        filters_in_all=10,
        past_filters_in_all=(Notice("Maximum number of filters (10) exceeded."),),
    ),
    "lnbits, all copies": replace(_LNBITS, one_copy=False),
    "nostr_sdk": _NOSTR_SDK,
    "nostr_sdk, one filter": replace(
        _NOSTR_SDK,
        filters=1,
        past_filters=(Closed("unsupported: multi-filter REQs aren't supported"),),
    ),
    "nostr-relay": _NOSTR_RELAY,
    "liar, closed": Character(
        document={"max_subscriptions": 100},
        subscriptions=8,
        past_subscriptions=(Closed("error: too many subscriptions"),),
    ),
    "liar, silent": Character(document={"max_subscriptions": 100}, subscriptions=8),
    "liar, eose and closed": Character(
        subscriptions=8,
        past_subscriptions=(Eose(), Closed("rate-limited: too many subscriptions")),
    ),
    "liar, notice and eose": Character(
        subscriptions=8,
        past_subscriptions=(Notice("ERROR: too many concurrent REQs"), Eose()),
    ),
    "liar, 1009": Character(message=131_072, past_message=(End(1009),)),
}

REFUSALS: dict[str, Character] = {
    # khatru's policies, and strfry's and nostr-rs-relay's where they ask for a sign-in:
    # for good, as long as we are nobody.
    "auth-required": Character(every_req=(Auth(), Closed("auth-required: who are you?"))),
    "restricted": Character(every_req=(Closed("restricted: not for you"),)),
    "blocked": Character(every_req=(Closed("blocked: not for you"),)),
    "no prefix": Character(every_req=(Closed("go away"),)),
}

PASSING: dict[str, Character] = {
    # Relays on a busy SQLite, and rates: the next attempt is served.
    "database locked": Character(
        first_reqs=1, at_first=(Closed("error: database is locked"),)
    ),
    "rate-limited": Character(
        first_reqs=1, at_first=(Closed("rate-limited: slow down"),)
    ),
    # nostream, when its database fails (subscribe-message-handler.ts, `fetchAndSend`).
    "silent": Character(first_reqs=1),
    # NIP-01's own example of a CLOSED.
    "idle": Character(
        ends_after=1.5, when_ended=(Closed("error: shutting down idle subscription"),)
    ),
}

# LNbits' nostrrelay, where `require_auth_filter` is set: a challenge, and not another
# word.
CHALLENGE_ALONE = Character(every_req=(Auth(),))

RATE_SECONDS = 10
"""For `Character.messages`."""


class ZooRelay(ScriptedRelay):
    """A relay of this character, with a store. It reads each connection's messages one by
    one; `line.subs` is what is live there."""

    def __init__(self, character: Character) -> None:
        super().__init__(on_connect=self._attend)
        self.character = character
        self.store = EventStore(ephemeral=character.keeps_orders)
        self.refused: list[float] = []
        """When it has refused a REQ, in whatever way."""
        self.peak = 0
        """The most that were live at a time on a connection."""
        self._unread: dict[Line, asyncio.Queue[str | bytes]] = defaultdict(asyncio.Queue)
        self._read_at: dict[Line, list[float]] = defaultdict(list)
        self._reqs: dict[Line, int] = defaultdict(int)
        self._filters: dict[Line, int] = defaultdict(int)
        if character.document is not None:
            document = {"supported_nips": [1, 11], "limitation": character.document}
            self.document = json.dumps(document).encode()

    async def publish(self, *events: Event) -> None:
        """Somebody else has published them here."""
        for event in events:
            self.store.keep(event)
            for line in list(self.lines):
                with suppress(ConnectionClosed):  # who has just left hears nothing
                    await self._pass_on(line, event)

    def forget(self) -> None:
        """All that is live is forgotten, without a word."""
        for line in self.lines:
            line.subs.clear()

    async def restart(self) -> None:
        """Every connection ends; new ones are welcome."""
        for line in list(self.lines):
            line.drop()

    async def left(self, seconds: float = 10) -> None:
        """Wait until nothing is open here."""
        await self.until(lambda: not self.open_subs(), "end of what is open", seconds)

    # One connection.

    def _take(self, line: Line, text: str | bytes) -> None:
        self._unread[line].put_nowait(text)

    async def _attend(self, line: Line) -> None:
        while True:
            await self._hear(line, await self._unread[line].get())

    async def _hear(self, line: Line, text: str | bytes) -> None:
        character = self.character
        length = len(text.encode() if isinstance(text, str) else text)
        if character.message is not None and length > character.message:
            return await self._act(line, None, character.past_message)
        received = Received(time.monotonic(), line, json.loads(text))
        self.inbox.put(received)
        if character.messages is not None and self._too_fast(line, character.messages):
            if received.verb == "REQ":
                self.refused.append(time.monotonic())
            return await self._act(line, None, character.past_messages)
        if received.verb == "REQ":
            await self._asked(line, received.parts[1], received.parts[2:])
        elif received.verb == "CLOSE":
            line.subs.pop(received.parts[1], None)
        elif received.verb == "EVENT":
            await self._given(line, received.parts[1])
        self.inbox.wake()

    def _too_fast(self, line: Line, most: int) -> bool:
        since = time.monotonic() - RATE_SECONDS
        recent = [at for at in self._read_at[line] if at > since]
        self._read_at[line] = [*recent, time.monotonic()]
        return len(recent) >= most

    async def _asked(self, line: Line, sub: str, filters: list[Filter]) -> None:
        character = self.character
        line.subs.pop(sub, None)
        if character.skips_unreadable:
            readable = [one for one in filters if character.unreadable not in one]
            filters = readable or filters
        acts = self._refusal(line, filters)
        if acts is not None:
            self.refused.append(time.monotonic())
            return await self._act(line, (sub, filters), acts)
        asked = [[one] for one in filters] if character.last_filter_only else [filters]
        for some in asked:
            line.subs[sub] = some
            self.peak = max(self.peak, len(line.subs))
            if character.answers_after:
                self._run(self._answer_later, line, sub, some)
            else:
                await self._answer(line, sub, some)
        if character.ends_after is not None:
            self._run(self._end_later, line, sub, character.ends_after)

    def _refusal(self, line: Line, filters: list[Filter]) -> Acts | None:
        """What a REQ gets that is not served. The subscription is not counted yet."""
        character = self.character
        self._reqs[line] += 1
        if character.every_req is not None:
            return character.every_req
        if self._reqs[line] <= character.first_reqs:
            return character.at_first
        if any(character.unreadable in one for one in filters):
            return character.when_unreadable
        if len(filters) > (character.filters or len(filters)):
            return character.past_filters
        if character.filters_in_all is not None:
            live = sum(len(some) for some in line.subs.values())
            kept = 1 if character.last_filter_only else len(filters)
            if live + kept > character.filters_in_all:
                return character.past_filters_in_all
        if character.filters_ever is not None:
            self._filters[line] += len(filters)
            if self._filters[line] > character.filters_ever:
                return character.past_filters_ever
        if len(line.subs) >= (character.subscriptions or len(line.subs) + 1):
            return character.past_subscriptions
        return None

    async def _answer_later(self, line: Line, sub: str, filters: list[Filter]) -> None:
        await asyncio.sleep(self.character.answers_after)
        if line.subs.get(sub) is filters:
            await self._answer(line, sub, filters)

    async def _answer(self, line: Line, sub: str, filters: list[Filter]) -> None:
        character = self.character
        events = self.store.stored(filters, character.page)
        await line.event(sub, *events)
        wanted = [event_id for one in filters for event_id in one.get("ids", [])]
        nothing = all(one.get("limit") == 0 for one in filters)
        if not (nothing and character.no_eose_for_nothing):
            await line.eose(sub)
        if character.closes_found and wanted and len(wanted) == len(events):
            await line.closed(sub, "")

    async def _act(
        self, line: Line, req: tuple[str, list[Filter]] | None, acts: Acts
    ) -> None:
        for act in acts:
            if isinstance(act, Notice):
                await line.notice(act.text)
            elif isinstance(act, Auth):
                await line.send("AUTH", "a challenge")
            elif isinstance(act, End):
                await self._end(line, act.code)
            elif req is not None and isinstance(act, Eose):
                await self._answer(line, *req)
            elif req is not None and isinstance(act, Closed):
                await line.closed(req[0], act.text)

    async def _end(self, line: Line, code: int | None) -> None:
        if code is None:
            line.drop()
        else:
            await line.socket.close(code)

    async def _end_later(self, line: Line, sub: str, seconds: float) -> None:
        filters = line.subs.get(sub)
        await asyncio.sleep(seconds)
        if filters is not None and line.subs.get(sub) is filters:
            del line.subs[sub]
            await self._act(line, (sub, filters), self.character.when_ended)

    async def _given(self, line: Line, event: Event) -> None:
        if self.character.chokes_on and self.character.chokes_on in event["content"]:
            return await self._end(line, None)
        if self.store.has(event):
            return await line.ok(event["id"], True, "duplicate: have this event")
        await self.publish(event)
        await line.ok(event["id"], True)

    async def _pass_on(self, line: Line, event: Event) -> None:
        for sub, filters in list(line.subs.items()):
            if self.store.asked_for(filters, event):
                await line.event(sub, event)
                if self.character.one_copy:
                    return
