"""What a page is told of one look after another: what has changed, and nothing twice."""

from typing import Any

from nostrclient_ext.page.live import Changes
from nostrclient_ext.page.models import Clients, OutboxNumbers, Overview, State, Totals

NOW = 1_800_000_000


def look(time: float, *history: tuple[int, int, int, int]) -> Overview:
    numbers = {"size": 100, "queued": 0, "in_doubt": 0, "rejected": 0, "delivered": 0}
    state = State(
        version="1",
        warning=None,
        sockets=None,
        relays=0,
        connected=0,
        clients=0,
        subscriptions=0,
        pending_events=0,
        totals=Totals(received=0, delivered=0, published=0, sent=0, forged=0),
        outbox=OutboxNumbers(**numbers, oldest_age=None, problem=None),
    )
    return Overview(
        time=time,
        state=state,
        history=list(history),
        attention=[],
        relays=[],
        clients=Clients(total=0, clients=[]),
    )


def history_of(changes: Changes, overview: Overview) -> Any:
    return (changes.since_then(overview) or {}).get("history")


def second(at: int, received: int = 1) -> tuple[int, int, int, int]:
    return at, received, 0, 0


def test_of_the_history_what_is_new() -> None:
    changes = Changes()
    first, last = second(NOW - 2), second(NOW)
    assert history_of(changes, look(NOW, first, last)) == [first, last]
    gone_on, new = second(NOW, 5), second(NOW + 1)
    told = history_of(changes, look(NOW + 1, first, gone_on, new))
    assert told == [gone_on, new], "the last second told had not ended"
    later = look(NOW + 2, first, gone_on, new)
    assert history_of(changes, later) in (None, [new])
    assert history_of(changes, later) is None


def test_a_clock_that_is_set_back_hides_nothing() -> None:
    changes = Changes()
    assert history_of(changes, look(NOW, second(NOW))) == [second(NOW)]
    back = NOW - 3_600
    assert history_of(changes, look(back, second(back))) == [second(back)]
    new = second(back + 1)
    assert history_of(changes, look(back + 1, second(back), new))[-1] == new
