"""Nothing is decided by the wording of a text. Every sentence of the core is changed, its
codes are not, and all goes on as before; with another code beside it, a sentence means
something else.

First with the core itself between a relay and an extension, then for each of its codes.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nostrclient_ext import models
from nostrclient_ext.api.relays import api_test_message
from nostrclient_ext.core import library, settings
from nostrclient_ext.core.library import CoreUnavailable
from nostrclient_ext.core.refusal import Refusal
from nostrclient_ext.core.running import Running
from nostrclient_ext.inside.client import InsideClient
from nostrclient_ext.inside.publications import NO_RELAY
from nostrclient_ext.inside.subscriptions import FINAL
from nostrclient_ext.nostr.client.client import NostrClient
from nostrclient_ext.page.attention import (
    ENDS_CONNECTION,
    FORGED,
    NO_LOGIN,
    REFUSED_EVENT,
    TOO_LONG,
    needs_attention,
)
from nostrclient_ext.page.models import OutboxNumbers, State, Totals
from nostrclient_ext.relays.check import UNANSWERED, check
from nostrclient_ext.relays.keys import add_key

import nostrclient_core
from nostrclient_core import Told
from support.events import Author, Event, forged_content
from support.inbox import eventually
from support.reworded import WORDINGS, Reworded
from support.scripted_relay import Line, ScriptedRelay, answer, refused, silent, stored
from support.surface import Server

pytestmark = pytest.mark.asyncio

SOURCES = Path(__file__).resolve().parents[2] / "src"


def codes(file: str) -> set[str]:
    """All that a file of the core has."""
    code, _, _ = (SOURCES / file).read_text().partition("#[cfg(test)]")
    return {word.replace("-", "_") for word in re.findall(r'=> "([a-z_-]+)"', code)}


REASONS = {*codes("nostr/reason.rs"), ""}  # none: a relay's reason without a known prefix
TROUBLES = codes("stats/trouble.rs")


async def test_python_knows_no_code_that_the_core_does_not_have() -> None:
    assert FINAL | NO_RELAY | {UNANSWERED} < REASONS
    assert {ENDS_CONNECTION, FORGED, REFUSED_EVENT, TOO_LONG} | NO_LOGIN < TROUBLES


# The core itself, with other words.


@pytest.fixture(params=list(WORDINGS))
def changed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the core has said in its own words, where nobody hears it."""
    texts: list[str] = []
    core = Reworded(nostrclient_core, WORDINGS[request.param], texts)
    monkeypatch.setattr(library, "_loaded", core)
    return texts


def a_client() -> tuple[NostrClient, Callable[[Event], None]]:
    """An extension's, and how that publishes."""
    client = NostrClient()
    return client, lambda event: client.relay_manager.publish_message(
        json.dumps(["EVENT", event])
    )


async def test_an_event_is_kept_where_there_is_no_relay_and_lost_where_it_is_refused(
    server: Server, changed: list[str]
) -> None:
    note, bad = Author().notes(2)
    client, publish = a_client()
    manager = client.relay_manager
    async with ScriptedRelay() as relay:
        try:
            await server.start()
            publish(note)
            await eventually(lambda: changed, 10, "the refusal")
            assert manager.unanswered == 1
            client.connect([relay.url])
            await relay.until(lambda: relay.published(), "the event")
            await eventually(lambda: not manager.unanswered, 10, "its OK")
            relay.on_event = answer(False, "mute")
            publish(bad)
            await eventually(lambda: not manager.unanswered, 10, "its refusal")
        finally:
            client.close()
    assert {"mute: no relay connected", "error: mute"} < set(changed)


@pytest.mark.parametrize(
    "reason",
    [
        "restricted: not for you",
        "unsupported: no",
        "invalid: whatever",
        "blocked: no",
        "never, and that is final",
    ],
)
async def test_a_subscription_stays_whatever_relays_say(
    server: Server, changed: list[str], reason: str
) -> None:
    """Rule 3.5: only what the core itself does not take ends it."""
    client, _ = a_client()
    async with ScriptedRelay(on_req=refused(reason)) as relay:
        try:
            await server.start()
            client.connect([relay.url])
            line = client.relay_manager.relays[relay.url]
            await eventually(lambda: line.connected, 10, "its relay")
            client.relay_manager.add_subscription("s", [{"kinds": [1]}])
            await eventually(
                lambda: any(reason in text for text in changed), 10, "its end"
            )
            client.relay_manager.add_subscription("bad", [{"kinds": "all"}])
            await eventually(
                lambda: client.relay_manager.subscriptions == ["s"], 10, "the other's end"
            )
        finally:
            client.close()


async def echo(line: Line, event: Event) -> None:
    await line.ok(event["id"], True, "unanswered: so to say")
    await line.live(event)


@pytest.mark.parametrize(
    ("script", "fails"),
    [
        ({"on_event": echo}, None),
        ({"on_event": silent}, "publication"),
        ({"on_event": answer(False, "duplicated: by nobody")}, "publication"),
        ({"on_req": refused("error: no")}, "subscription"),
    ],
    ids=["honest", "silent", "refuses events", "refuses subscriptions"],
)
async def test_the_test_of_a_relay(
    server: Server, changed: list[str], script: dict[str, Any], fails: str | None
) -> None:
    async with ScriptedRelay(**script) as relay:
        server.relays.append(relay.url)
        running = await server.start()
        await relay.connections(1)
        found = await check(running, relay.url)
        assert found.passed == (fails is None)
        last = "return" if fails is None else fails
        assert (found.steps[-1].name, found.steps[-1].passed) == (last, found.passed)
    assert changed


async def test_what_needs_attention(server: Server, changed: list[str]) -> None:
    note = Author().sign()
    client, publish = a_client()
    script: dict[str, Any] = {"on_event": answer(False, "blocked: no")}
    async with (
        ScriptedRelay(on_req=stored(forged_content(note))) as forger,
        ScriptedRelay(**script) as refuser,
        ScriptedRelay() as honest,
    ):
        relays = [forger, refuser, honest]
        server.relays += [relay.url for relay in relays]
        try:
            running = await server.start()
            for relay in relays:
                await relay.connections(1)
            client.connect(server.relays)
            client.relay_manager.add_subscription("s", [{"kinds": [1]}])
            await forger.req()
            publish(note)
            await refuser.until(lambda: refuser.published(), "the event")

            def found() -> dict[str, list[str]]:
                shown = [relay_of(state) for state in running.core.relays()]
                items = needs_attention(shown[0][0], STATE, [r for _, r in shown], [])
                return {item.id: [one.do for one in item.actions] for item in items}

            wanted = {
                f"relay {forger.url}": ["pause", "remove"],
                f"relay {refuser.url}": ["pause"],
            }
            await eventually(lambda: found() == wanted, 10, "what the two have done")
        finally:
            client.close()
    assert changed


def relay_of(state: Any) -> tuple[float, models.Relay]:
    """A relay as the page has it, and when it was."""
    times = state["error_times"]
    status = models.RelayStatus(
        error_list=state["errors"],
        error_times=times,
        error_codes=state["error_codes"],
        forged=state["forged"],
    )
    connected = state["state"] == "connected"
    relay = models.Relay(
        url=state["url"], state=state["state"], connected=connected, status=status
    )
    return max(times, default=state["connected_since"] or 0.0), relay


STATE = State(
    version="1",
    warning=None,
    sockets=None,
    relays=1,
    connected=1,
    clients=0,
    subscriptions=0,
    pending_events=0,
    totals=Totals(received=0, delivered=0, published=0, sent=0, forged=0),
    outbox=OutboxNumbers(
        size=100,
        queued=0,
        in_doubt=0,
        rejected=0,
        oldest_age=None,
        delivered=0,
        problem=None,
    ),
)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda running: check(running, "http://a"), "not_a_url"),
        (lambda running: check(running, "ws://127.0.0.1:1"), "relay_not_in_use"),
        (
            lambda running: add_key(running, models.NewKey(private_key="nsec1x")),
            "not_a_key",
        ),
        (
            lambda _: settings.change(models.ConfigChange(public_allowed=["x"])),
            "public_allowed",
        ),
        (
            lambda _: api_test_message(
                models.TestMessage(reciever_public_key="x", message="")
            ),
            "not_a_key",
        ),
    ],
)
async def test_what_the_owner_is_refused(
    server: Server,
    changed: list[str],
    call: Callable[[Running], Awaitable[object]],
    code: str,
) -> None:
    running = await server.start()
    with pytest.raises(Refusal) as caught:
        await call(running)
    assert caught.value.code == code


async def test_a_core_that_takes_no_client(
    server: Server, relay: ScriptedRelay, changed: list[str]
) -> None:
    running = await server.start()
    places = []
    with pytest.raises(running.library.TooManyClients):
        while True:
            places.append(running.bridge.connect_inside(lambda: None))
    with pytest.raises(CoreUnavailable):
        await check(running, relay.url)
    assert len(changed) == 2
    for place in places:
        running.bridge.disconnect_inside(place)


# Each of its codes, beside each wording.


class Answering:
    """Stands for the core's end of a client: what it is told, it answers."""

    token = 7
    writable = True
    closed = None

    def __init__(self, answers: Callable[[list[Any]], list[Told]]) -> None:
        self._answers = answers
        self._mail: list[Told] = []

    def feed(self, text: str) -> None:
        self._mail += self._answers(json.loads(text))

    def drain_parts(self, _: int) -> list[Told]:
        mail, self._mail = self._mail, []
        return mail

    def disconnect(self) -> None:
        self._mail = []


def a_core(
    answers: Callable[[list[Any]], list[Told]], its_library: Any = nostrclient_core
) -> Running:
    """One that has no relay's line, and answers so."""
    client = Answering(answers)
    core = SimpleNamespace(
        relay=lambda _: {"state": "connected"},
        proxy_for=lambda _: None,
        use_relays=lambda *_: None,
        reconnect=lambda _: None,
        relays=list,
    )
    bridge = SimpleNamespace(
        connect_inside=lambda _: client,
        disconnect_inside=lambda _: None,
        loop=asyncio.get_running_loop(),
        stopped=False,
    )
    found = SimpleNamespace(library=its_library, bridge=bridge, core=core)
    return cast(Running, found)


def what_becomes_of(
    code: str, text: str, its_library: Any = nostrclient_core
) -> tuple[bool, bool]:
    """Whether an extension's event, and its subscription, are kept when both are refused
    with this code and this text."""

    def refuse(message: list[Any]) -> list[Told]:
        if message[0] == "EVENT":
            return [("REFUSED", message[1]["id"], text, code, "", 0)]
        return [("CLOSED", message[1], text, code, "", 0)]

    client = InsideClient(lambda _: None, own_relays=False)
    try:
        client.subscribe("s", [{"kinds": [1]}])
        client.publish(Author().sign())
        client.attach(a_core(refuse, its_library))
        client.wake()
        return client.unanswered == 1, client.subscriptions == ["s"]
    finally:
        client.close()


def texts(code: str) -> list[str]:
    """That of this code, and others that have nothing to do with it."""
    others = [f"{other.replace('_', '-')}: so" for other in sorted(REASONS - {""})]
    return [f"{code}: so", *others, "", "x" * 20]


@pytest.mark.parametrize("code", sorted(REASONS))
async def test_what_an_extension_is_refused(code: str) -> None:
    found = {what_becomes_of(code, text) for text in texts(code)}
    assert found == {(code in NO_RELAY, code not in FINAL)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("error: no relay configured", (True, True)),
        ("mute: no relay connected", (True, True)),
        ("invalid: no", (False, False)),
        ("restricted: no", (False, False)),
        ("blocked: no", (False, True)),
    ],
)
async def test_a_core_of_the_first_version_has_no_codes(
    text: str, found: tuple[bool, bool]
) -> None:
    """2.0.0, which may run beside this version of the extension: there is nothing but the
    reasons' prefixes."""
    names = {name: getattr(nostrclient_core, name) for name in ("Memory", "CoreStopped")}
    assert what_becomes_of("", text, SimpleNamespace(**names)) == found


@pytest.mark.parametrize("code", sorted(REASONS))
async def test_what_a_relays_test_hears(code: str) -> None:
    """An OK, of which only the code says that no relay has given it."""
    url = "ws://127.0.0.1:1"

    def answers(text: str) -> Callable[[list[Any]], list[Told]]:
        def say(message: list[Any]) -> list[Told]:
            if message[0] == "REQ":
                return [("WHOLE", message[1], "", "", "", 0)]
            event = message[1]
            told: Told = ("EVENT", "test", json.dumps(event), url, event["id"], 0)
            return [("OK", event["id"], text, code, "", 0), told]

        return say

    found = {(await check(a_core(answers(text)), url)).passed for text in texts(code)}
    assert found == {code != UNANSWERED}


NOW = 1_800_000_000.0


def in_the_log(code: str, text: str, **relay: Any) -> list[tuple[str, ...]]:
    """What is to be done about a relay with this entry in its log."""
    status = models.RelayStatus(error_list=[text], error_times=[NOW], error_codes=[code])
    shown = models.Relay(url="wss://a", status=status, **relay)
    return [
        (item.id, *(action.do for action in item.actions))
        for item in needs_attention(NOW, STATE, [shown], [])
    ]


@pytest.mark.parametrize("code", sorted(TROUBLES))
@pytest.mark.parametrize(
    "relay",
    [
        {"state": "connected", "connected": True},
        {"state": "connected", "connected": True, "auth_refused": True},
        {"state": "connected", "connected": True, "auth_refused": True, "key": "7" * 64},
        {"state": "waiting", "disconnected_since": NOW - 60, "refused": True},
        {"state": "waiting", "disconnected_since": NOW - 60},
        {"state": "invalid"},
    ],
    ids=["connected", "asks who", "asks for another", "turned away", "away", "wrong"],
)
async def test_what_the_owner_is_told_of_a_relay(
    code: str, relay: dict[str, Any]
) -> None:
    of_code = in_the_log(code, "has done what it has done", **relay)
    words = {other.replace("_", " ") for other in TROUBLES}
    for text in ("", "x" * 20, "sent a forged event", "refused an event: no", *words):
        assert in_the_log(code, text, **relay) == of_code
    if relay == {"state": "connected", "connected": True}:
        bad: dict[str, list[tuple[str, ...]]] = {
            FORGED: [("relay wss://a", "pause", "remove")]
        }
        bad[REFUSED_EVENT] = bad[TOO_LONG] = [("relay wss://a", "pause")]
        assert of_code == bad.get(code, [])


@pytest.mark.parametrize("code", sorted(TROUBLES))
async def test_why_a_relay_does_not_let_us_in(code: str) -> None:
    """It is shown what it said to our signature, and nothing else."""
    status = models.RelayStatus(error_list=["xyz"], error_times=[NOW], error_codes=[code])
    shown = models.Relay(
        url="wss://a",
        state="connected",
        connected=True,
        auth_refused=True,
        key="7" * 64,
        status=status,
    )
    (item,) = needs_attention(NOW, STATE, [shown], [])
    assert ("xyz" in item.text) == (code in NO_LOGIN)
