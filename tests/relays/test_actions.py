"""What an owner does with one relay: connect it anew, pause it, test it, look it up."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from support.endpoint import Endpoint, relay_url
from support.events import Author, Event
from support.live_page import LivePage
from support.scripted_relay import Line, ScriptedRelay, answer, refused, reply, silent

pytestmark = pytest.mark.asyncio

NOBODY = "ws://127.0.0.1:9"


async def post(endpoint: Endpoint, path: str, **body: Any) -> httpx.Response:
    return await endpoint.http.post(f"{endpoint.base}/relay/{path}", json=body)


async def get(endpoint: Endpoint, path: str, url: str) -> httpx.Response:
    return await endpoint.http.get(f"{endpoint.base}/relay/{path}", params={"url": url})


# Reconnecting.


async def test_a_connected_relay_gets_a_new_connection(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    started = time.monotonic()
    assert (await post(endpoint, "reconnect", url=relay.url)).status_code == 200
    await relay.connections(2, seconds=1)
    assert time.monotonic() - started < 1, "at once"
    await relay.until(lambda: len(relay.reqs()) == 2, "the subscription again")
    note = Author().sign()
    await relay.reqs()[1].event(note)
    assert await client.count("s", 1) == [note]
    shown = await endpoint.until_relay(relay.url, connected=True)
    assert shown["status"]["error_list"] == [], "the owner wanted it"


async def test_a_relay_that_waits_tries_at_once(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    await relay.stop()
    await endpoint.until_relay(relay.url, state="waiting")
    await relay.start()
    for url in (relay.url, None):
        assert (await post(endpoint, "reconnect", url=url)).status_code == 200
    await endpoint.until_relay(relay.url, seconds=3, connected=True)


async def test_only_relays_in_use_can_be_reconnected(endpoint: Endpoint) -> None:
    response = await post(endpoint, "reconnect", url=NOBODY)
    assert response.status_code == 400
    assert response.json()["detail"] == f"Relay: {NOBODY} is not in use."


# Pausing.


async def test_a_paused_relay_comes_back_by_itself(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    response = await post(endpoint, "pause", url=relay.url, seconds=2)
    assert response.status_code == 200
    (shown,) = response.json()
    assert shown["state"] == "paused" and shown["active"] and not shown["connected"]
    assert abs(shown["paused_until"] - time.time() - 2) < 1
    assert shown["connected_string"].startswith("paused for ")
    await relay.until(lambda: not relay.lines, "the end of the connection")
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    assert relay.reqs() == [], "nothing waits for it"
    await endpoint.until_relay(relay.url, connected=True)
    assert (await relay.req()).filters == [{"kinds": [1]}]


async def test_a_pause_ends_when_the_owner_wants_it(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)

    async def pause() -> None:
        assert (await post(endpoint, "pause", url=relay.url)).status_code == 200
        await endpoint.until_relay(relay.url, state="paused")
        await relay.until(lambda: not relay.lines, "the end of the connection")

    await pause()
    assert (await post(endpoint, "reconnect", url=relay.url)).status_code == 200
    await endpoint.until_relay(relay.url, connected=True)
    await pause()
    for active, state in ((False, "inactive"), (True, "connected")):
        data = {"url": relay.url, "active": active}
        await endpoint.http.put(f"{endpoint.base}/relay", json=data)
        await endpoint.until_relay(relay.url, state=state)
    await pause()
    data = {"url": relay.url, "write": False}
    await endpoint.http.put(f"{endpoint.base}/relay", json=data)
    await endpoint.until_relay(relay.url, state="paused", write=False)
    await endpoint.remove(relay.url)
    await endpoint.add(relay.url)
    await endpoint.until_relay(relay.url, connected=True, write=True)


async def test_what_cannot_be_paused(endpoint: Endpoint) -> None:
    for body, words in (
        ({"url": NOBODY}, f"Relay: {NOBODY} does not exist."),
        ({"url": ""}, "Relay url not provided."),
    ):
        response = await post(endpoint, "pause", **body)
        assert response.status_code == 400 and response.json()["detail"] == words
    await endpoint.add(NOBODY)
    for seconds in (0, -1, "x", 1e9):
        response = await post(endpoint, "pause", url=NOBODY, seconds=seconds)
        assert response.status_code in (400, 422)
    await endpoint.http.put(
        f"{endpoint.base}/relay", json={"url": NOBODY, "active": False}
    )
    response = await post(endpoint, "pause", url=NOBODY)
    assert response.json()["detail"] == f"Relay: {NOBODY} is switched off."


# Its log.


async def test_errors_and_notices_with_their_times(endpoint: Endpoint) -> None:
    async def greet(line: Line) -> None:
        await line.notice("<b>first</b>")
        await line.notice("second")

    relay = ScriptedRelay(on_connect=greet, on_event=answer(False, "blocked: no"))
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.publish(Author().sign())
    log = (await get(endpoint, "log", relay.url)).json()
    assert [entry["text"] for entry in log["notices"]] == ["second", "<b>first</b>"]
    assert [entry["text"] for entry in log["errors"]] == ["refused an event: blocked: no"]
    assert [entry["code"] for entry in log["errors"]] == ["refused_event"]
    for entry in log["notices"] + log["errors"]:
        assert abs(entry["time"] - time.time()) < 60
    assert (await get(endpoint, "log", NOBODY)).status_code == 400


async def test_a_relay_that_turns_us_away(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    relay.refuse_with = 403
    await endpoint.start(relay)
    await endpoint.add(relay.url)
    shown = await endpoint.until_relay(relay.url, refused=True)
    words = "the relay refused the connection (HTTP 403)"
    assert shown["status"]["error_list"][-1] == words
    assert shown["disconnected_since"] <= time.time()
    relay.refuse_with = None
    shown = await endpoint.until_relay(relay.url, refused=False, connected=True)
    assert shown["disconnected_since"] is None


# Its description (NIP-11).

DOCUMENT = {
    "name": "<script>alert(1)</script>",
    "description": "line\n\u0007two " + "x" * 1000,
    "icon": "https://relay.example.com/icon.png",
    "software": "thing",
    "version": "1.2",
    "supported_nips": [1, 11, "x", True, -5],
    "limitation": {
        "max_message_length": 65536,
        "max_subscriptions": 20,
        "max_limit": "many",
        "auth_required": True,
        "payment_required": 1,
    },
}


async def test_what_a_relay_says_about_itself(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    relay.document = json.dumps(DOCUMENT).encode()
    await endpoint.start(relay)
    info = (await get(endpoint, "info", f"{relay.url}/")).json()
    assert info["url"] == relay.url and info["problem"] is None
    assert info["name"] == "<script>alert(1)</script>", "a text like any other"
    assert info["description"].startswith("line two xxx")
    assert len(info["description"]) == 400
    assert info["icon"] == "https://relay.example.com/icon.png"
    assert info["supported_nips"] == [1, 11]
    limits = info["limits"]
    assert limits["max_subscriptions"] == 20 and limits["max_limit"] is None
    assert limits["auth_required"] is True and limits["payment_required"] is None
    await get(endpoint, "info", relay.url)
    assert relay.asked == 1, "it is remembered"
    assert await endpoint.relays() == [], "and not added"


BAD_DOCUMENTS = [
    (b"", "It does not describe itself (HTTP 404)."),
    (b"<html>hello</html>", "It does not describe itself: that is no JSON."),
    (b"[" * 100_000, "It does not describe itself: that is no JSON."),
    (b"[]", "It does not describe itself: no JSON object."),
    (b'{"name": "' + b"x" * 200_000, "Its description is too long to be read."),
    (
        reply(302, Location="http://127.0.0.1:9/"),
        "It does not describe itself (HTTP 302).",
    ),
]


@pytest.mark.parametrize(
    ("document", "problem"), BAD_DOCUMENTS, ids=range(len(BAD_DOCUMENTS))
)
async def test_descriptions_that_are_none(
    endpoint: Endpoint, document: Any, problem: str
) -> None:
    relay = ScriptedRelay()
    relay.document = document
    await endpoint.start(relay)
    info = (await get(endpoint, "info", relay.url)).json()
    assert info["problem"] == problem and info["name"] is None


async def test_relays_that_cannot_be_asked(endpoint: Endpoint) -> None:
    info = (await get(endpoint, "info", NOBODY)).json()
    assert info["problem"].startswith("It cannot be asked: ")
    response = await get(endpoint, "info", "https://relay.example.com")
    assert response.status_code == 400
    assert response.json()["detail"] == "A relay url begins with ws:// or wss://"


async def test_nobody_waits_for_other_relays_descriptions(endpoint: Endpoint) -> None:
    """Web servers that never answer, of relays that are connected: their turns are not
    the owner's."""
    quick, slow = ScriptedRelay(), ScriptedRelay()
    quick.document = slow.document = b"{}"
    slow.describes = asyncio.Event()
    await endpoint.start(quick)
    await endpoint.start(slow)
    for path in range(12):
        await endpoint.add(f"{slow.url}/{path}")
    async with LivePage(endpoint) as page:
        await page.until(lambda now: len(now["relays"]) == 12, "the relays")
        await slow.until(lambda: slow.asked >= 4, "the background's turns")
        started = time.monotonic()
        info = (await get(endpoint, "info", quick.url)).json()
        assert info["problem"] is None
        assert time.monotonic() - started < 3
    slow.describes.set()


async def test_odd_fields_are_as_good_as_none(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    odd = {"name": 7, "icon": "javascript:alert(1)", "limitation": [], "version": {}}
    relay.document = json.dumps(odd).encode()
    await endpoint.start(relay)
    info = (await get(endpoint, "info", relay.url)).json()
    assert info["problem"] is None
    assert info["name"] is info["icon"] is info["version"] is None


# Its test.


async def check(endpoint: Endpoint, url: str) -> dict[str, Any]:
    response = await post(endpoint, "check", url=url)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


ALL_STEPS = ["key", "connection", "subscription", "publication", "return"]


async def test_an_honest_relay_passes(endpoint: Endpoint) -> None:
    url = await relay_url(await endpoint.honest())
    found = await check(endpoint, url)
    assert found["passed"], found
    assert [step["name"] for step in found["steps"]] == ALL_STEPS
    assert all(step["passed"] and step["ms"] < 2_000 for step in found["steps"])
    outbox = (await endpoint.http.get(f"{endpoint.base}/outbox")).json()
    assert outbox["rows"] == []


async def test_many_at_once(endpoint: Endpoint) -> None:
    url = await relay_url(await endpoint.honest())
    found = await asyncio.gather(*(check(endpoint, url) for _ in range(20)))
    assert all(one["passed"] for one in found)
    assert len({one["event_id"] for one in found}) == 20


async def echo_first(line: Line, event: Event) -> None:
    """It passes the event on before it says that it has it."""
    await line.live(event)
    await line.ok(event["id"], True, "")


BAD_RELAYS = [
    (
        {"on_req": refused("auth-required: who are you")},
        "subscription",
        "Refused: auth-required: who are you",
    ),
    ({"on_req": silent}, "subscription", "No answer to a subscription."),
    (
        {"on_event": answer(False, "blocked: no")},
        "publication",
        "Refused: blocked: no",
    ),
    (
        {"on_event": silent},
        "publication",
        "Sent, but the relay does not answer.",
    ),
    ({}, "return", "The relay took it and did not pass it on."),
]


@pytest.mark.parametrize(
    ("script", "step", "words"), BAD_RELAYS, ids=[step for _, step, _ in BAD_RELAYS]
)
async def test_relays_that_fail(
    endpoint: Endpoint, script: dict[str, Any], step: str, words: str
) -> None:
    relay = ScriptedRelay(**script)
    await endpoint.use(relay)
    found = await check(endpoint, relay.url)
    assert not found["passed"]
    last = found["steps"][-1]
    assert (last["name"], last["passed"], last["text"]) == (step, False, words)
    assert [one["name"] for one in found["steps"]] == ALL_STEPS[: len(found["steps"])]
    await relay.until(lambda: not relay.open_subs(), "end of its subscription")


async def test_an_event_that_comes_before_its_answer(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_event=echo_first)
    await endpoint.use(relay)
    assert (await check(endpoint, relay.url))["passed"]


async def test_a_relay_may_say_what_it_likes_when_it_takes_an_event(
    endpoint: Endpoint,
) -> None:
    async def take(line: Line, event: Event) -> None:
        await line.ok("0" * 64, False, "blocked: another event")
        await line.ok(event["id"], True, "sent to 3 more relays")
        await line.live(event)

    relay = ScriptedRelay(on_event=take)
    await endpoint.use(relay)
    found = await check(endpoint, relay.url)
    assert found["passed"], found
    assert found["steps"][3]["text"] == "Accepted: sent to 3 more relays"


async def test_a_relay_that_drops_the_line(endpoint: Endpoint) -> None:
    async def drop(line: Line, *_: Any) -> None:
        line.drop()

    for script, step in (
        ({"on_req": drop}, "subscription"),
        ({"on_event": drop}, "publication"),
    ):
        relay = ScriptedRelay(**script)
        await endpoint.use(relay)
        found = await check(endpoint, relay.url)
        assert not found["passed"]
        assert found["steps"][-1]["name"] == step, found
        await endpoint.remove(relay.url)


async def test_a_test_that_waits_for_its_turn_wakes_no_paused_relay(
    endpoint: Endpoint,
) -> None:
    relay = ScriptedRelay(on_req=silent)
    await endpoint.use(relay)
    first = [asyncio.create_task(check(endpoint, relay.url)) for _ in range(8)]
    await relay.until(lambda: len(relay.open_subs()) == 8, "all turns taken")
    last = asyncio.create_task(post(endpoint, "check", url=relay.url))
    # Its turn comes when the first ones have failed, 4 s after they asked.
    await asyncio.wait({last}, timeout=0.5)
    assert (await post(endpoint, "pause", url=relay.url)).status_code == 200
    response = await last
    assert response.json()["detail"] == f"Relay: {relay.url} is not in use."
    assert not any(found["passed"] for found in await asyncio.gather(*first))
    await relay.until(lambda: not relay.lines, "the end of the connection")
    await endpoint.until_relay(relay.url, state="paused")


async def test_a_relay_that_is_not_there(endpoint: Endpoint) -> None:
    response = await post(endpoint, "check", url=NOBODY)
    assert response.json()["detail"] == f"Relay: {NOBODY} is not in use."
    await endpoint.add(NOBODY)
    found = await check(endpoint, NOBODY)
    assert found["steps"][-1]["name"] == "connection"
    assert found["steps"][-1]["text"].startswith("No connection: ")


# The address of the endpoints.

ADDRESSES = [
    ("relay.example.com", "wss://relay.example.com"),
    ("https://Example.com/ln/", "wss://example.com/ln"),
    ("http://10.0.0.1:5000", "ws://10.0.0.1:5000"),
    ("wss://r.example/nostrclient/api/v1/relay", "wss://r.example"),
    ("wss://[::1]:8080", "wss://[::1]:8080"),
    ("  ", ""),
]


async def test_the_address_the_owner_gives(endpoint: Endpoint) -> None:
    async def put(text: str) -> httpx.Response:
        return await endpoint.http.put(f"{endpoint.base}/config", json={"address": text})

    for text, address in ADDRESSES:
        response = await put(text)
        assert response.status_code == 200 and response.json()["address"] == address
        endpoints = (await endpoint.http.get(f"{endpoint.base}/endpoints")).json()
        assert endpoints["address"] == address
        assert endpoints["public"] == "/nostrclient/api/v1/relay"
    await put("relay.example.com")
    for wrong in ("ftp://x", "wss://", "wss://u:p@x", "wss://x?a=b", "a b", "wss://x:0"):
        response = await put(wrong)
        assert response.status_code == 400, wrong
        assert "address" in response.json()["detail"]
    config = (await endpoint.http.get(f"{endpoint.base}/config")).json()
    assert config["address"] == "wss://relay.example.com"
    assert (await put("")).status_code == 200
