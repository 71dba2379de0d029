"""What LNbits' log says of relays: each loss and each refusal, and when it is over."""

import asyncio
from typing import Any

import pytest
from nostrclient_ext.relays.journal import (
    LINES,
    LOOK_SECONDS,
    MINUTE,
    OVER_SECONDS,
    UNSERVED_SECONDS,
    Journal,
    shown,
)

from support.endpoint import Endpoint
from support.inbox import eventually
from support.scripted_relay import ScriptedRelay

URL = "wss://relay.example"
T = 1_800_000_000.0


class Relay:
    """The core's word on one relay, as the test has it."""

    def __init__(self, url: str = URL) -> None:
        self.journal = Journal()
        self.url = url
        self.now = T
        self.connected: float | None = T
        self.away: float | None = None
        self.log: list[tuple[float, str, str]] = []
        self.count = 0
        self.unserved: tuple[float, int, int, str] | None = None

    def error(self, code: str, text: str) -> None:
        self.log = [*self.log, (self.now, text, code)][-50:]
        self.count += 1

    def lose(
        self, code: str | None = "lost", text: str = "connection lost: gone"
    ) -> None:
        if code is not None:
            self.error(code, text)
        self.connected, self.away, self.unserved = None, self.now, None

    def connect(self) -> None:
        self.connected, self.away = self.now, None

    def passes(self, seconds: float) -> list[tuple[str, str]]:
        self.now += seconds
        return self.look()

    def look(self) -> list[tuple[str, str]]:
        since, refused, waiting, why = self.unserved or (None, 0, 0, None)
        state: Any = {
            "url": self.url,
            "unserved_since": since,
            "unserved_reason": why,
            "subscriptions_refused": refused,
            "subscriptions_waiting": waiting,
            "connected_since": self.connected,
            "disconnected_since": self.away,
            "error_count": self.count,
            "error_times": [at for at, _, _ in self.log],
            "errors": [text for _, text, _ in self.log],
            "error_codes": [code for _, _, code in self.log],
        }
        return list(self.journal.look([state], self.now))


def test_lost_and_back_are_one_line_each() -> None:
    relay = Relay()
    assert relay.look() == []
    relay.lose()
    assert relay.passes(1) == [("WARNING", f"{URL} is lost: connection lost: gone")]
    for _ in range(50):
        relay.error("unreachable", "no connection: refused")
        assert relay.passes(60) == []
    relay.connect()
    assert relay.look() == [("INFO", f"{URL} is connected, after 50 minutes")]
    assert relay.passes(60) == []


def test_what_comes_back_between_two_looks_is_told() -> None:
    relay = Relay()
    relay.look()
    relay.now += 10
    relay.lose()
    relay.now += 0.2
    relay.connect()
    assert relay.passes(0.5) == [
        ("WARNING", f"{URL} is lost: connection lost: gone"),
        ("INFO", f"{URL} is connected, after 0 seconds"),
    ]
    assert relay.passes(1) == []


def test_its_reason_may_be_seen_before_its_loss() -> None:
    relay = Relay()
    relay.look()
    relay.now += 10
    relay.error("cut_off", "cut off: it floods")
    assert relay.look() == []
    relay.lose(code=None)
    assert relay.passes(1) == [("WARNING", f"{URL} is lost: cut off: it floods")]


def test_a_connection_that_the_owner_has_renewed_is_not_lost() -> None:
    relay = Relay()
    relay.look()
    relay.error("connects_anew", "connects anew, because its key was changed")
    relay.lose(code=None)
    assert relay.passes(1) == []
    relay.connect()
    assert relay.passes(1) == []


def test_a_relay_that_never_connects_is_told_once() -> None:
    relay = Relay()
    relay.connected, relay.away = None, T
    assert relay.look() == []
    relay.error("itself", "it is this server itself, and no relay")
    assert relay.passes(1) == []
    line = f"{URL} is not connected: it is this server itself, and no relay"
    assert relay.passes(6) == [("WARNING", line)]
    assert relay.passes(600) == []
    relay.connect()
    assert relay.passes(1) == [("INFO", f"{URL} is connected, after 10 minutes")]


def test_a_refusal_is_told_when_it_begins_and_when_it_is_over() -> None:
    relay = Relay()
    relay.look()
    told = []
    for _ in range(200):
        relay.error("refused_event", "refused an event: blocked:\nno\x1b[0m")
        told += relay.passes(1)
    assert told == [("WARNING", f"{URL} refused an event: blocked: no [0m")]
    relay.error("ended_subscription", "ended a subscription: error: no")
    assert relay.passes(1) == [
        ("WARNING", f"{URL} ended a subscription: error: no"),
    ]
    over = relay.passes(OVER_SECONDS)
    assert over == [
        ("INFO", f"{URL} is quiet again: no “refused event” for 10 minutes"),
        ("INFO", f"{URL} is quiet again: no “ended subscription” for 10 minutes"),
    ]
    assert relay.passes(OVER_SECONDS) == []


def test_subscriptions_that_are_not_served_are_told_when_that_begins_and_ends() -> None:
    relay = Relay()
    relay.look()
    relay.unserved = T, 2, 0, "blocked: no"
    assert relay.passes(UNSERVED_SECONDS - 1) == [], "it may pass"
    relay.unserved = T, 2, 3, "blocked:\nno"
    line = f"{URL} does not serve 5 subscriptions (2 refused, 3 waiting): blocked: no"
    assert relay.passes(1) == [("WARNING", line)]
    relay.unserved = T, 7, 0, "error: another"
    assert relay.passes(600) == [], "once, whatever becomes of it"
    relay.unserved = None
    assert relay.passes(1) == [("INFO", f"{URL} serves all subscriptions again")]
    assert relay.passes(1) == []
    # It ends with the connection, which has a line of its own.
    relay.unserved = relay.now, 1, 0, "blocked: no"
    assert len(relay.passes(UNSERVED_SECONDS)) == 1
    relay.lose()
    lines = [text for _, text in relay.passes(1)]
    relay.connect()
    lines += [text for _, text in relay.passes(1)]
    assert [text.split(" ")[1:3] for text in lines] == [
        ["is", "lost:"],
        ["is", "connected,"],
    ]


def test_one_that_goes_and_comes_has_so_many_lines() -> None:
    relay = Relay()
    relay.look()
    told = []
    for _ in range(90):
        relay.lose()
        told += relay.passes(1)
        relay.connect()
        told += relay.passes(1)
    told += relay.passes(MINUTE)
    left_out = [int(text.split()[1]) for _, text in told if text.endswith("left out")]
    # Three minutes, which need not begin when the log's do.
    assert len(told) <= 4 * LINES
    assert 3 <= len(left_out) <= 4
    assert len(told) - len(left_out) + sum(left_out) == 180
    assert relay.passes(MINUTE) == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("wss://relay.example", "wss://relay.example"),
        ("ws://[::1]:7000", "ws://[::1]:7000"),
        ("wss://user:secret@relay.example/secret?key=secret", "wss://relay.example/…"),
        ("wss://relay.example/?key=secret", "wss://relay.example/…"),
    ],
)
def test_no_secret_of_a_url_is_told(url: str, name: str) -> None:
    assert shown(url) == name


@pytest.mark.asyncio
async def test_a_relay_that_goes_and_comes_has_two_lines(endpoint: Endpoint) -> None:
    def lines() -> list[str]:
        log = endpoint.lnbits.log().splitlines()
        return [line for line in log if f"nostrclient: {relay.url} " in line]

    relay = ScriptedRelay()
    await endpoint.use(relay)
    await asyncio.sleep(3 * LOOK_SECONDS)  # until the log has seen it connected
    await relay.stop()
    await eventually(lambda: len(lines()) == 1, 10, "a line about the loss")
    await relay.start()
    await endpoint.until_relay(relay.url, connected=True)
    await eventually(lambda: len(lines()) == 2, 10, "a line about the return")
    await endpoint.remove(relay.url)
    lost, back = lines()
    assert "WARNING" in lost and " is lost: " in lost
    assert "INFO" in back and " is connected, after " in back
