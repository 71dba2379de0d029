"""The page's live data, the clients and the metrics, over REST and WebSocket."""

import asyncio
import json
import re
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from support.endpoint import Endpoint
from support.events import Author
from support.live_page import LivePage, new_ticket
from support.scripted_relay import ScriptedRelay
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

POLICY = 1008  # close code
GOING_AWAY = 1001  # close code
TRY_AGAIN_LATER = 1013  # close code

SAMPLE = re.compile(r'(\w+)(?:\{(\w+)="((?:[^"\\]|\\.)*)"\})? (\S+)')


async def live(endpoint: Endpoint) -> dict[str, Any]:
    response = await endpoint.http.get(f"{endpoint.base}/live")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def metrics(endpoint: Endpoint) -> dict[str, float]:
    """Each number by its name, those of a relay by `name url`."""
    response = await endpoint.http.get(f"{endpoint.base}/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    numbers = {}
    for line in response.text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name, _, label, number = match.groups()
            numbers[f"{name} {label}" if label else name] = float(number)
    return numbers


async def test_what_happens_is_told(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    async with LivePage(endpoint) as page:
        await page.until(lambda now: "clients" in now, "first look")
        first = page.inbox.items[0]
        assert first.keys() >= {"time", "state", "attention", "relays", "clients"}
        await page.until(  # the first look may be a moment old
            lambda now: [item["id"] for item in now["attention"]] == ["no-relay"],
            "what there is to do",
        )
        await endpoint.use(relay)
        await page.until_relay(relay.url, state="connected")
        await page.until(lambda now: now["attention"] == [], "end of the attention")
        client = await endpoint.client()
        await client.subscribe("s", {"kinds": [1]})
        await client.publish(Author().sign())
        await relay.line.live(Author().sign())
        await page.until_relay(relay.url, received=1, sent=1)
        assert page.now["state"]["totals"]["delivered"] > 0
        assert page.now["state"]["clients"] >= 1
        assert sum(entry[1] for entry in page.now["history"]) >= 1
        await relay.stop()
        await page.until(lambda now: now["attention"], "something to do", 15)
        await endpoint.remove(relay.url)
        await page.until(lambda now: not now["relays"], "end of the row")
    gaps = [later - at for at, later in zip(page.times, page.times[1:], strict=False)]
    assert min(gaps) > 0.4, "no more than two a second"


async def test_a_relays_last_error_has_a_code(endpoint: Endpoint) -> None:
    relay, nobody = ScriptedRelay(), "ws://127.0.0.1:9"
    await endpoint.use(relay)
    await endpoint.add(nobody)
    async with LivePage(endpoint) as page:
        await page.until_relay(nobody, last_error_code="unreachable")
        assert page.now["relays"][nobody]["last_error"]
        line = page.now["relays"][relay.url]
        assert line["last_error"] is None and line["last_error_code"] is None


async def test_a_page_that_asks_sees_the_same(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    async with LivePage(endpoint) as page:
        await page.until_relay(relay.url, state="connected")
        asked = await live(endpoint)
    assert asked.keys() == {
        "time",
        "state",
        "history",
        "attention",
        "relays",
        "clients",
    }
    (line,) = asked["relays"]
    assert line.keys() == page.now["relays"][relay.url].keys()
    assert asked["state"].keys() == page.now["state"].keys()


async def test_only_an_admins_ticket_opens_it(endpoint: Endpoint) -> None:
    for ticket in ("", "x", endpoint.token):
        async with LivePage(endpoint, ticket or " ") as page:
            assert await page.until_closed() == POLICY
            assert not page.inbox.items
    ticket = await new_ticket(endpoint)
    async with LivePage(endpoint, ticket) as page:
        await page.until(lambda now: "state" in now, "first look")
    async with LivePage(endpoint, ticket) as page:
        assert await page.until_closed() == POLICY, "it is good once"
    assert ticket not in endpoint.lnbits.log()


async def test_strangers_take_no_admins_place(endpoint: Endpoint) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(40):
            await stack.enter_async_context(
                connect(f"{endpoint.ws_base}/live", proxy=None)
            )
        async with LivePage(endpoint) as page:
            await page.until(lambda now: "state" in now, "first look")


async def test_pages_in_excess_are_told_to_come_later(endpoint: Endpoint) -> None:
    async with AsyncExitStack() as stack:
        pages = [await stack.enter_async_context(LivePage(endpoint)) for _ in range(32)]
        for page in pages:
            await page.until(lambda now: "state" in now, "first look")
        async with LivePage(endpoint) as late:
            assert await late.until_closed() == TRY_AGAIN_LATER
    async with LivePage(endpoint) as page:
        await page.until(lambda now: "state" in now, "first look")


async def test_it_ends_with_the_extension(endpoint: Endpoint) -> None:
    extension = f"{endpoint.root}/api/v1/extension/nostrclient"
    async with LivePage(endpoint) as page:
        await page.until(lambda now: "state" in now, "first look")
        assert (await endpoint.http.put(f"{extension}/deactivate")).status_code == 200
        try:
            assert await page.until_closed() == GOING_AWAY
        finally:
            response = await endpoint.http.put(f"{extension}/activate")
            assert response.status_code == 200


async def client_lines(endpoint: Endpoint) -> list[dict[str, Any]]:
    response = await endpoint.http.get(f"{endpoint.base}/clients")
    assert response.status_code == 200
    found = response.json()
    assert found["total"] == len(found["clients"])
    return [line for line in found["clients"] if line["kind"] != "extension"]


async def test_who_is_connected(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    assert await client_lines(endpoint) == []
    public = await endpoint.client()
    await public.subscribe("s", {"kinds": [1]})
    await public.subscribe("t", {"kinds": [1]})
    await relay.line.live(Author().sign())
    await public.count("t", 1)
    private = await endpoint.client(endpoint.private_url)
    await private.publish(Author().sign(kind=7))  # of no interest to the other
    first, second = sorted(
        await client_lines(endpoint), key=lambda line: line["kind"], reverse=True
    )
    assert first["kind"] == "public" and second["kind"] == "private"
    assert (first["subscriptions"], first["published"], first["delivered"]) == (2, 0, 2)
    assert (second["subscriptions"], second["published"]) == (0, 1)
    assert first["address"] == "127.0.0.1" and "websockets" in first["agent"]
    assert not first["slow"] and first["waiting"] == 0
    assert abs(time.time() - first["connected_since"]) < 60
    await public.close()
    await private.close()
    await relay.until(lambda: not relay.open_subs(), "end of the subscriptions")
    assert await client_lines(endpoint) == []


async def test_cutting_one_off(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    one = await endpoint.client()
    other = await endpoint.client()
    for client in (one, other):
        await client.subscribe("s", {"kinds": [1]})
    lines = await client_lines(endpoint)
    assert len(lines) == 2
    oldest = min(lines, key=lambda line: int(line["id"]))
    url = f"{endpoint.base}/clients/{oldest['id']}"
    assert (await endpoint.http.delete(url)).status_code == 200
    code, why = await one.ended()
    assert (code, why) == (POLICY, "cut off by the owner of this server")
    await relay.until(lambda: len(relay.open_subs()) == 1, "end of its subscription")
    assert (await endpoint.http.delete(url)).status_code == 404
    note = Author().sign()
    await relay.line.live(note)
    assert await other.count("s", 1) == [note], "nobody else has noticed"


async def test_a_client_that_does_not_read_is_shown(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    client.socket.transport.pause_reading()
    # More than the socket's own buffers take.
    long = [Author().sign(content="x" * 60_000) for _ in range(240)]
    for note in long:
        await relay.line.live(note)

    async def is_shown() -> bool:
        found = await live(endpoint)
        texts = [item["text"] for item in found["attention"]]
        return any("does not keep up" in text for text in texts)

    deadline = time.monotonic() + 20
    while not await is_shown():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    (line,) = await client_lines(endpoint)
    assert line["slow"] and line["waiting"] > 0
    assert (await metrics(endpoint))["nostrclient_clients_slow"] == 1
    client.socket.transport.resume_reading()
    await client.count("s", len(long))
    (line,) = await client_lines(endpoint)
    assert not line["slow"]


async def test_the_metrics_are_the_same_numbers(endpoint: Endpoint) -> None:
    relay, down = ScriptedRelay(), "ws://127.0.0.1:9"
    await endpoint.use(relay)
    await endpoint.add(down)
    client = await endpoint.client()
    await client.publish(Author().sign())
    async with LivePage(endpoint) as page:
        await page.until_relay(relay.url, sent=1)
    numbers = await metrics(endpoint)
    assert numbers["nostrclient_relays"] == 2
    assert numbers["nostrclient_relays_connected"] == 1
    assert numbers[f"nostrclient_relay_connected {relay.url}"] == 1
    assert numbers[f"nostrclient_relay_connected {down}"] == 0
    assert numbers[f"nostrclient_relay_sent_total {relay.url}"] == 1
    assert numbers["nostrclient_outbox_size"] == 100
    assert numbers["nostrclient_outbox_ok"] == 1
    found = await live(endpoint)
    assert numbers["nostrclient_needs_attention"] == len(found["attention"])
    assert numbers["nostrclient_clients"] == found["state"]["clients"]


async def test_a_token_for_the_metrics(endpoint: Endpoint) -> None:
    url = f"{endpoint.base}/metrics"

    async def status(token: str, path: str = url) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(headers=headers) as anyone:
            return (await anyone.get(path)).status_code

    try:
        first = (await endpoint.http.post(f"{url}/token")).json()["token"]
        second = (await endpoint.http.post(f"{url}/token")).json()["token"]
        assert (await endpoint.http.get(f"{url}/token")).json() == {"exists": True}
        assert await status(second) == 200
        assert await status(first) in (401, 403), "the new one took its place"
        assert await status("x") in (401, 403)
        assert await status(await endpoint.user_token()) == 403
        assert await status(second, f"{endpoint.base}/relays") in (401, 403)
        config = await endpoint.http.get(f"{endpoint.base}/config")
        assert "token" not in config.text
        # Settings that change do not take it away.
        await endpoint.configure(outbox_size=99)
        assert await status(second) == 200
    finally:
        assert (await endpoint.http.delete(f"{url}/token")).status_code == 200
    assert await status(second) in (401, 403)
    assert (await endpoint.http.get(f"{url}/token")).json() == {"exists": False}
    log = endpoint.lnbits.log()
    assert first not in log and second not in log


async def test_settings_changed_at_once_are_all_kept(endpoint: Endpoint) -> None:
    """Two admins, or two pages: none undoes what another has just set."""
    url = f"{endpoint.base}/metrics"
    try:
        for size in range(90, 100):
            made, _ = await asyncio.gather(
                endpoint.http.post(f"{url}/token"), endpoint.configure(outbox_size=size)
            )
            assert made.status_code == 200
            config = await endpoint.http.get(f"{endpoint.base}/config")
            assert config.json()["outbox_size"] == size
            exists = await endpoint.http.get(f"{url}/token")
            assert exists.json() == {"exists": True}, "and not undone"
            withdrawn, _ = await asyncio.gather(
                endpoint.http.delete(f"{url}/token"), endpoint.configure(outbox_size=99)
            )
            assert withdrawn.status_code == 200
            exists = await endpoint.http.get(f"{url}/token")
            assert exists.json() == {"exists": False}, "and not given back"
    finally:
        await endpoint.http.delete(f"{url}/token")


async def test_the_history_is_of_these_minutes(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    before = await live(endpoint)
    start = before["time"]
    for _ in range(3):
        await client.publish(Author().sign())
    await asyncio.sleep(1)  # what was looked at a moment ago counts for a second
    found = await live(endpoint)
    since = [entry for entry in found["history"] if entry[0] >= int(start)]
    assert sum(published for _, _, _, published in since) >= 3
    assert all(found["time"] - 301 < second for second, *_ in found["history"])
    assert json.dumps(found["history"]) == json.dumps(sorted(found["history"]))


async def test_a_flood_costs_the_page_nothing(endpoint: Endpoint) -> None:
    """It is told at its own pace, whatever happens."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client: WireClient = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    notes = [Author().sign() for _ in range(300)]
    async with LivePage(endpoint) as page:
        for note in notes:
            await relay.line.live(note)
        await client.count("s", len(notes))
        await page.until_relay(relay.url, received=len(notes))
    assert len(page.inbox.items) < 8
