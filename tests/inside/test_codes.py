"""What the core says in words has a code beside it, by which Python decides."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from nostrclient_core import (
    Core,
    CoreStopped,
    Told,
    WrongInput,
    generate_key,
    sign_event,
    sign_hash,
    to_nsec,
)


@pytest.fixture
def core() -> Iterator[Core]:
    core = Core()
    yield core
    core.stop()


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("url", lambda core: core.add_relay("http://example.com")),
        ("no_proxy", lambda core: core.proxy_for("ws://abc.onion")),
        ("proxy", lambda core: core.set_proxy("http://example.com", True)),
        ("private_key", lambda core: core.set_relay_key("ws://127.0.0.1", "x")),
        ("public_key", lambda core: core.set_public_allowed(["x"])),
        ("event_id", lambda core: core.outbox_delete("x")),
        ("lease", lambda core: core.outbox_lease(-1.0)),
        ("limit", lambda _: Core({"max_filters": 0})),  # type: ignore[arg-type]
        ("private_key", lambda _: to_nsec("x")),
        ("hash", lambda _: sign_hash("7" * 64, b"x")),
    ],
)
def test_wrong_input(core: Core, code: str, call: Callable[[Core], object]) -> None:
    with pytest.raises(WrongInput) as caught:
        call(core)
    assert caught.value.code == code
    assert isinstance(caught.value, ValueError)


def test_a_core_that_has_stopped(core: Core) -> None:
    core.stop()
    with pytest.raises(CoreStopped) as caught:
        core.connect()
    assert caught.value.code == "stopped"


def within(seconds: float, look: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "code"),
    [("ws://127.0.0.1:1", "unreachable"), ("ws://abcdef.onion", "no_proxy")],
)
def test_each_entry_of_a_relays_log(core: Core, url: str, code: str) -> None:
    core.add_relay(url)
    within(10, lambda: core.relays()[0]["errors"] != [])
    (relay,) = core.relays()
    assert set(relay["error_codes"]) == {code}
    assert len(relay["error_codes"]) == len(relay["errors"])


def test_each_reason(core: Core) -> None:
    client = core.connect_inside()
    told: list[Told] = []

    def fetched() -> bool:
        told.extend(client.drain_parts(10))
        return told != []

    def answer(message: list[object]) -> tuple[str, str]:
        client.feed(json.dumps(message))
        within(10, fetched)
        verb, _, text, code, _, _ = told.pop()
        assert text
        return verb, code

    keys = generate_key()
    event = json.loads(sign_event(keys["private_key"], int(time.time()), 1, [], "hi"))
    assert answer(["EVENT", event]) == ("REFUSED", "no_relay")
    core.add_relay("ws://127.0.0.1:1")
    assert answer(["EVENT", event]) == ("REFUSED", "outbox_closed")
    core.outbox_adopt([])
    core.set_outbox_size(0)
    core.outbox()  # is answered when that is so
    assert answer(["EVENT", event]) == ("REFUSED", "outbox_full")
    order = sign_event(keys["private_key"], int(time.time()), 23194, [], "")
    assert answer(["EVENT", json.loads(order)]) == ("REFUSED", "mute")
    forged = {**event, "content": "another"}
    assert answer(["EVENT", forged]) == ("REFUSED", "invalid")
    assert answer(["REQ", "a"]) == ("CLOSED", "invalid")
    assert answer(["COUNT", "a", {}]) == ("CLOSED", "error")
