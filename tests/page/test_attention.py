"""What the page says needs attention: a function of the numbers."""

from typing import Any

from nostrclient_ext.models import Relay, RelayStatus
from nostrclient_ext.page.attention import (
    LATELY_SECONDS,
    MOST_CLIENTS,
    MOST_RELAYS,
    needs_attention,
)
from nostrclient_ext.page.models import (
    Attention,
    ConnectedClient,
    OutboxNumbers,
    State,
    Totals,
)
from nostrclient_ext.relays.journal import UNSERVED_SECONDS

NOW = 1_800_000_000.0


def relay(
    host: str = "a", state: str = "connected", errors: Any = (), **rest: Any
) -> Relay:
    """One the owner has configured. `errors`: age in seconds, code and text of each."""
    return Relay(
        url=f"wss://{host}",
        active=state != "inactive",
        connected=state == "connected",
        state=state,
        status=RelayStatus(
            error_list=[text for _, _, text in errors],
            error_times=[NOW - age for age, _, _ in errors],
            error_codes=[code for _, code, _ in errors],
            forged=sum(code == "forged_event" for _, code, _ in errors),
        ),
        **rest,
    )


def state(warning: str | None = None, **outbox: Any) -> State:
    numbers: dict[str, Any] = {
        "size": 100,
        "queued": 0,
        "in_doubt": 0,
        "rejected": 0,
        "oldest_age": None,
        "delivered": 0,
        "problem": None,
    }
    return State(
        version="1",
        warning=warning,
        sockets=None,
        relays=1,
        connected=1,
        clients=0,
        subscriptions=0,
        pending_events=0,
        totals=Totals(received=0, delivered=0, published=0, sent=0, forged=0),
        outbox=OutboxNumbers(**{**numbers, **outbox}),
    )


def attention(
    *relays: Relay, at: State | None = None, problem: str | None = None
) -> list[Attention]:
    return needs_attention(NOW, at or state(), list(relays), [], problem)


def only(items: list[Attention]) -> Attention:
    assert len(items) == 1, items
    return items[0]


def what(item: Attention) -> list[tuple[str, str]]:
    return [(action.do, action.target) for action in item.actions]


def test_nothing_when_all_is_well() -> None:
    assert attention(relay()) == []
    assert attention(relay(), relay("b", "inactive"), relay("c", "paused")) == []
    asks = relay(authentication_required=True)
    assert attention(asks) == [], "it has refused nothing"


def test_without_relays() -> None:
    item = only(attention())
    assert item.serious and what(item) == [("show", "relays")]
    for off in ("inactive", "paused", "invalid"):
        assert "all-off" in [item.id for item in attention(relay(state=off))]


def test_a_relay_that_is_away() -> None:
    def away(seconds: float, **rest: Any) -> Relay:
        errors = [(0, "unreachable", "no connection: Connection refused")]
        since = NOW - seconds
        return relay("b", "waiting", errors, disconnected_since=since, **rest)

    assert attention(relay(), away(4)) == [], "it may just be coming back"
    item = only(attention(relay(), away(130)))
    expected = "wss://b has been away for 2 minutes: no connection: Connection refused."
    assert item.text == expected and not item.serious
    assert what(item) == [("reconnect", "wss://b"), ("pause", "wss://b")]
    item = only(attention(relay(), away(0, itself=True)))
    assert item.text == "wss://b is this server itself, and no relay. It is not used."
    assert what(item) == [("remove", "wss://b")]
    item = only(attention(relay(), away(130, refused=True)))
    assert "has turned us away for 2 minutes" in item.text
    assert ("remove", "wss://b") in what(item)
    first, second = attention(away(130))
    assert first.serious and what(first) == [("reconnect", "")]
    assert second.id == "relay wss://b"
    named = away(130, configured=False)
    assert what(only(attention(relay(), named))) == [], "an extension has named it"


def test_only_so_many_relays_are_named() -> None:
    down = [
        relay(str(number), "waiting", disconnected_since=NOW - 60) for number in range(50)
    ]
    items = attention(relay(), *down)
    assert len(items) == MOST_RELAYS + 1
    assert items[-1].text == f"{50 - MOST_RELAYS} more relays in trouble."


def test_connected_relays_that_do_not_do_their_work() -> None:
    item = only(attention(relay(auth_refused=True)))
    assert item.text == "wss://a answers only to those who log in (NIP-42)."
    assert what(item)[0] == ("key", "wss://a")
    turned_down = [(1, "refused_auth", "did not like it: members only")]
    item = only(attention(relay(auth_refused=True, key="ab", errors=turned_down)))
    words = "wss://a wants another key than the one that is set for it"
    why = "it did not like it: members only"
    assert item.text == f"{words}: {why}."
    item = only(attention(relay(auth_refused=True, key="ab", authenticated=True)))
    assert item.text == f"{words}."
    assert what(item) == [("key", "wss://a"), ("pause", "wss://a")]
    forged = [(1, "forged_event", "lied: wrong signature")]
    item = only(attention(relay(errors=forged)))
    assert item.text == "wss://a has sent 1 forged event. They were dropped."
    refused = [(9, "refused_event", "said no: blocked: not on the list")]
    item = only(attention(relay(errors=refused)))
    assert item.text == "wss://a said no: blocked: not on the list"
    old = [(LATELY_SECONDS + 1, *what) for _, *what in forged + refused]
    assert attention(relay(errors=old)) == [], "that is over"


def test_what_a_relay_does_not_bear() -> None:
    over = [(LATELY_SECONDS + 1, "ends_connection", "ends the connection over this")]
    strict = relay(errors=over)
    assert attention(strict) == [], "that is over"
    assert strict.status is not None
    strict.status.quarantined = 2
    item = only(attention(strict))
    words = "wss://a is not sent 2 things that it does not bear"
    assert item.text == f"{words}: it ends the connection over this."
    assert what(item) == [("reconnect", "wss://a"), ("pause", "wss://a")]
    long = [(9, "too_long", "sent a message of 2000000 bytes")]
    item = only(attention(relay(errors=long)))
    assert item.text == "wss://a sent a message of 2000000 bytes"


def test_subscriptions_that_a_relay_does_not_serve() -> None:
    picky = relay()
    assert picky.status is not None
    picky.status.subscriptions_served, picky.status.subscriptions_refused = 10, 2
    picky.status.unserved_since = NOW - UNSERVED_SECONDS + 1
    picky.status.unserved_reason = "blocked: no."
    assert attention(picky) == [], "it may pass"
    picky.status.unserved_since = NOW - 300
    item = only(attention(picky))
    words = "wss://a has not served 2 of 12 subscriptions for 5 minutes (2 refused, 0"
    assert item.text.startswith(
        f"{words} waiting): blocked: no. They are asked for again."
    )
    assert not item.serious
    assert what(item) == [
        ("show", "relays"),
        ("reconnect", "wss://a"),
        ("pause", "wss://a"),
    ]
    picky.status.subscriptions_refused, picky.status.subscriptions_waiting = 0, 1
    assert "1 of 11 subscriptions for" in only(attention(picky)).text
    # Who it wants to know is told before what it refuses for that.
    picky.auth_refused = True
    assert "log in" in only(attention(picky)).text
    picky.auth_refused, picky.status.unserved_since = False, None
    assert attention(picky) == [], "that is over"


def test_nobody_to_read_or_to_write() -> None:
    for name, one in (("read", relay(read=False)), ("write", relay(write=False))):
        item = only(attention(one))
        assert item.serious and f"({name})" in item.text
    assert attention(relay(read=False), relay("b", write=False)) == []


def test_what_becomes_of_what_is_published() -> None:
    """It waits only where a relay is configured that may get it (rule 1.4)."""
    away: dict[str, Any] = {"state": "waiting", "disconnected_since": NOW - 60}
    for others, words in (
        ([], "what is published is refused."),
        ([relay("b", write=False, **away)], "what is published is refused."),
        ([relay("b", **away)], "published waits (payment orders are refused)."),
    ):
        item = attention(relay(write=False), *others)[0]
        assert item.id == "no-write" and item.text.endswith(words)
    assert "published waits (" in attention(relay(**away))[0].text
    assert "published is refused." in attention(relay(write=False, **away))[0].text


def test_relays_that_are_not_known_may_be_there() -> None:
    item = only(attention(problem="The relays' table cannot be read."))
    assert item.id == "table"


def test_the_outbox() -> None:
    item = only(attention(relay(), at=state(queued=100, oldest_age=7200)))
    assert item.serious and "the oldest for 2 hours" in item.text
    assert what(item) == [("retry", ""), ("show", "outbox")]
    item = only(attention(relay(), at=state(in_doubt=1, oldest_age=601)))
    assert item.text == "1 event waiting for a relay, the oldest for 10 minutes."
    assert attention(relay(), at=state(queued=1, oldest_age=5)) == []
    item = only(attention(relay(), at=state(rejected=2)))
    assert item.text == "2 events were refused by every relay and not sent."
    assert item.serious
    item = only(attention(relay(), at=state(problem="The database is away.")))
    assert item.serious and item.text == "The database is away."


def test_what_the_server_has_to_say_comes_first() -> None:
    items = attention(relay(auth_refused=True), at=state(warning="Too old."))
    assert items[0].text == "Too old."
    assert attention(relay(), problem="No table.")[0].serious


def test_a_client_that_does_not_keep_up() -> None:
    def client(**rest: Any) -> ConnectedClient:
        fields: dict[str, Any] = {
            "id": "7",
            "kind": "public",
            "address": "10.0.0.1",
            "forwarded_for": None,
            "agent": None,
            "connected_since": NOW,
            "subscriptions": 1,
            "published": 0,
            "delivered": 0,
            "waiting": 9_000,
            "slow": True,
        }
        return ConnectedClient(**{**fields, **rest})

    item = only(needs_attention(NOW, state(), [relay()], [client()]))
    expected = "The client at 10.0.0.1 does not keep up: 9,000 messages waiting for it."
    assert item.text == expected
    assert what(item) == [("cut", "7")]
    assert needs_attention(NOW, state(), [relay()], [client(slow=False)]) == []
    many = [client(id=str(number)) for number in range(50)]
    items = needs_attention(NOW, state(), [relay()], many)
    assert len(items) == MOST_CLIENTS + 1
    assert items[-1].text == f"{50 - MOST_CLIENTS} more clients not keeping up."
