"""Outbox, clients, endpoints, test and live data, clicked through as an owner does."""

import asyncio
import re
import time
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Route, WebSocket, WebSocketRoute, expect

from support.browser import PHONE, Visit, Visitors
from support.endpoint import relay_url
from support.events import Author
from support.outbox import Outbox, back, outage, queue
from support.owner_page import OwnerPage
from support.pages import ONLY_OURS, Site
from support.scripted_relay import ScriptedRelay, accept, answer, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def copied(visit: Visit) -> str:
    text: str = await visit.page.evaluate("navigator.clipboard.readText()")
    return text


# The outbox.


async def test_what_waits_and_what_was_refused(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay(on_event=answer(False, "blocked: <b>no</b>"))
    first, second, third = Author().notes(3)
    client = await outage(site, relay)
    await queue(client, first, second, third)
    page = await OwnerPage(visit).open()
    await expect(page.tile("outbox")).to_have_text("3")
    await page.tab("Outbox")
    rows = page.page.locator("[data-event]")
    await expect(page.page.locator("[data-group=waiting] [data-event]")).to_have_count(3)
    await expect(rows.first).to_contain_text("Kind 1")
    await back(site, relay)
    rejected = page.page.locator("[data-group=rejected]")
    await expect(rejected.locator("[data-event]")).to_have_count(3)
    reason = rejected.locator("[data-reason]").first
    await expect(reason).to_have_text(f"{relay.url}: blocked: <b>no</b>")
    await page.until_attention("3 events were refused by every relay")
    await page.pictures("outbox")

    await page.button(f"Delete the event {short(first['id'])}", rejected)
    await page.confirm("Delete 1 event for good?")
    await expect(rows).to_have_count(2)
    relay.on_event = accept
    await page.button(f"Try the event {short(second['id'])} again", rejected)
    await expect(rows).to_have_count(1)
    assert relay.published()[-1]["id"] == second["id"]
    await page.button("Delete all", rejected)
    await page.confirm("Delete 1 event for good?", yes=False)
    await page.button("Try all again", rejected)
    await expect(page.page.locator("[data-empty]")).to_be_visible()
    assert relay.published()[-1]["id"] == third["id"]
    await expect(page.attention.filter(has_text="by every relay")).to_have_count(0)


def short(event_id: str) -> str:
    return f"{event_id[:8]}…{event_id[-4:]}"


async def test_the_outbox_is_full(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    client = await outage(site, relay)
    page = await OwnerPage(visit).open()
    await page.tab("Outbox")
    size = page.page.get_by_label("Events that may wait")
    await size.fill("many")
    await expect(page.page.get_by_text("A number from 0 to 10,000")).to_be_visible()
    await size.fill("2")
    await page.button("Save")
    await expect(page.page.get_by_text("room for 2")).to_be_visible()
    await queue(client, *Author().notes(2))
    await page.until_attention("The outbox is full: 2 events waiting")
    await page.button("Delete all", page.page.locator("[data-group=waiting]"))
    await page.confirm("They were promised to be sent. Deleted, they are lost.")
    await expect(page.page.locator("[data-empty]")).to_be_visible()
    assert (await Outbox(site).shown())["rows"] == []
    assert (await Outbox(site).shown())["size"] == 2


@ONLY_OURS
async def test_the_owner_is_quicker_than_the_settings(visit: Visit, site: Site) -> None:
    """What he has typed stays when they come."""
    came = asyncio.Event()

    async def wait(route: Route) -> None:
        await came.wait()
        await route.continue_()

    page = await OwnerPage(visit).open()
    await page.page.route("**/nostrclient/api/v1/config", wait)
    await page.tab("Outbox")
    await page.page.get_by_label("Events that may wait").fill("2")
    async with page.page.expect_response("**/nostrclient/api/v1/config") as response:
        came.set()
    await (await response.value).finished()
    # The page has taken them once it has asked for something that comes after.
    await page.page.evaluate("Nostrclient.call('GET', '/config')")
    await page.button("Save")
    await expect(page.page.get_by_text("room for 2")).to_be_visible()
    assert (await Outbox(site).shown())["size"] == 2


# Who uses it.


async def test_a_client_is_seen_and_cut_off(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.use(relay)
    page = await OwnerPage(visit).open()
    await page.tab("Who uses it")
    client = await site.client()
    await client.subscribe("s", {"kinds": [1]})
    await client.publish(Author().sign())
    row = page.page.locator("[data-client]").filter(has_text="Public endpoint")
    await expect(row).to_contain_text("127.0.0.1")
    await expect(row).to_contain_text("websockets")
    await expect(page.number(row, "subscriptions")).to_have_text("1")
    await expect(page.number(row, "published")).to_have_text("1")
    await page.pictures("clients")
    await page.button("Cut off", row)
    await page.confirm("Close this connection?")
    assert await client.ended() == (1008, "cut off by the owner of this server")
    await expect(row).to_have_count(0)


# The endpoints.


def endpoint(page: OwnerPage, name: str) -> Locator:
    return page.page.locator(f"[data-endpoint={name}]")


async def answers(url: str) -> bool:
    """Whether a client gets in there."""
    async with WireClient(url) as client:
        await client.send("REQ", "s", {"limit": 0})
        await client.eose("s")
    return True


async def test_the_addresses(visit: Visit, site: Site) -> None:
    await site.use(ScriptedRelay())
    page = await OwnerPage(visit).open()
    await page.tab("Endpoints")
    for name in ("private", "public"):
        box = endpoint(page, name)
        url = await box.locator("[data-url]").inner_text()
        assert url.startswith(f"{site.ws_base}/")
        await page.button(f"Copy the address of the {name} endpoint", box)
        assert await copied(visit) == url
        assert await answers(url)
        await page.button(f"Show the address of the {name} endpoint as a QR code", box)
        code = page.page.locator(".q-dialog")
        await expect(code.locator("svg, canvas").first).to_be_visible()
        await expect(code).to_contain_text(url)
        await page.button("Close", code)
        await page.until_closed()
    await page.pictures("endpoints")
    visit.expect("status of 400")
    address = page.page.get_by_label("Address of this server for Nostr clients")
    await address.fill("ftp://x")
    await page.button("Save")
    await expect(page.page.get_by_text("This is no address.")).to_be_visible()
    await address.fill("https://nostr.example.com/ln/")
    await page.button("Save")
    shown = endpoint(page, "public").locator("[data-url]")
    expected = "wss://nostr.example.com/ln/nostrclient/api/v1/relay"
    await expect(shown).to_have_text(expected)
    await address.fill("")
    await page.button("Save")
    await expect(shown).to_have_text(site.public_url)


@ONLY_OURS
async def test_a_list_of_who_may_come(visit: Visit, site: Site) -> None:
    somebody = Author()
    page = await OwnerPage(visit).open()
    await page.tab("Endpoints")
    visit.expect("status of 400")
    listed = page.page.get_by_label("Who may use the public endpoint")
    await listed.fill("npub1wrong")
    await page.button("Save")
    await expect(page.page.get_by_text("Public key 1 of the list:")).to_be_visible()
    await listed.fill(f"{somebody.pubkey}\n{somebody.npub}\n\n")
    await page.button("Save")
    await expect(listed).to_have_value(somebody.npub)
    await expect(endpoint(page, "public")).to_contain_text("Only those who sign in")
    assert (await config(site))["public_allowed"] == [somebody.pubkey]
    await page.pictures("endpoints-listed")
    await listed.fill("")
    await page.button("Save")
    await page.confirm("Open the public endpoint?")
    await expect(endpoint(page, "public")).to_contain_text("Anybody who reaches")
    assert (await config(site))["public_allowed"] == []


async def test_opening_and_closing(visit: Visit, site: Site) -> None:
    await site.use(ScriptedRelay())
    await site.configure(public_ws=False)
    page = await OwnerPage(visit).open()
    await page.tab("Endpoints")
    box, save = endpoint(page, "public"), page.page.get_by_role("button", name="Save")
    await expect(box).to_contain_text("off")
    await expect(save).to_be_disabled()
    toggle = box.get_by_role("switch")
    await toggle.click()
    await expect(box).to_contain_text("Clients may connect once this is saved.")
    assert (await config(site))["public_ws"] is False, "not before"
    await save.click()
    await page.confirm("Open the public endpoint?", yes=False)
    assert (await config(site))["public_ws"] is False
    await save.click()
    await page.confirm("Open the public endpoint?")
    await expect(box).to_contain_text("on")
    await expect(box.locator("[data-url]")).to_have_text(site.public_url)
    assert await answers(site.public_url)
    private = endpoint(page, "private")
    await private.get_by_role("switch").click()
    await expect(private).to_contain_text("No new clients may connect")
    await page.button("Undo")
    await expect(private.get_by_role("switch")).to_be_checked()
    await private.get_by_role("switch").click()
    await save.click()
    await expect(private.locator("[data-url]")).to_have_count(0)
    assert (await config(site))["private_ws"] is False


async def config(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = (await site.http.get(f"{site.base}/config")).json()
    return found


async def test_a_token_for_the_metrics(visit: Visit, site: Site) -> None:
    page = await OwnerPage(visit).open()
    await page.tab("Endpoints")
    box = page.page.locator("[data-metrics]")
    await page.button("Make a token", box)
    token = await box.locator("[data-token]").inner_text()
    url = f"{site.base}/metrics"
    await expect(box).to_contain_text(url)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers) as prometheus:
        assert "nostrclient_relays 0" in (await prometheus.get(url)).text
        await page.button("Withdraw the token", box)
        await expect(box.locator("[data-token]")).to_have_count(0)
        await expect(box.get_by_role("button", name="Make a token")).to_be_visible()
        assert (await prometheus.get(url)).status_code in (401, 403)


# The test.


async def test_the_guided_test(visit: Visit, site: Site) -> None:
    good = await relay_url(await site.honest())
    bad = ScriptedRelay(on_event=answer(False, "blocked: no"))
    await site.use(bad)
    page = await OwnerPage(visit).open()
    await page.tab("Test")
    await page.button("Run the test")
    checked = page.page.locator(f'[data-check="{good.rstrip("/")}"]')
    for name in ("key", "connection", "subscription", "publication", "return"):
        step = checked.locator(f"[data-step={name}]")
        await expect(step).to_contain_text(re.compile(r"\d+ ms"))
    await expect(checked).to_contain_text("works")
    failed = page.page.locator(f'[data-check="{bad.url}"]')
    await expect(failed).to_contain_text("Refused: blocked: no")
    await expect(page.page.locator("[data-check=endpoint]")).to_contain_text("ms")
    verdict = page.page.get_by_text("1 of 2 relays have passed the test.")
    await expect(verdict).to_be_visible()
    await page.pictures("test")


async def test_a_direct_message(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.use(relay)
    page = await OwnerPage(visit).open()
    await page.tab("Test")
    await page.page.get_by_text("Send a direct message").click()
    await expect(page.page.get_by_text("Never use a key that matters")).to_be_visible()
    key = "1" * 64
    sender = page.page.get_by_label("Sender's private key")
    await sender.fill(key)
    await page.page.get_by_label("Receiver's public key").fill(Author().pubkey)
    await page.page.get_by_role("textbox", name="Message").fill("hello")
    await page.button("Send")
    await expect(page.page.get_by_text("Accepted.")).to_be_visible()
    (event,) = relay.published()
    assert event["kind"] == 4 and "hello" not in event["content"]
    await expect(sender).to_have_value("")
    kept = await visit.page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert key not in kept
    visit.expect("status of 400")
    await page.page.get_by_label("Receiver's public key").fill("x")
    await page.button("Send")
    await expect(page.page.locator("[data-line]")).to_have_count(1)
    assert len(relay.published()) == 1


# Live data.


@ONLY_OURS
async def test_without_a_websocket_it_asks(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.use(relay)

    async def close(route: WebSocketRoute) -> None:
        await route.close()

    await visit.page.route_web_socket(re.compile("/live$"), close)
    await visit.page.goto("/nostrclient/")
    note = visit.page.get_by_text("it asks every 3 seconds instead")
    await expect(note).to_be_visible(timeout=20_000)
    page = OwnerPage(visit)
    await expect(page.headline).to_have_text("Nostr works")
    await visit.hide()
    await visit.hide(False)
    await expect(note).to_be_visible()
    # LNbits' service worker answers so while the server is away.
    kept = (await site.http.get(f"{site.base}/live")).text

    async def answer_as_before(route: Route) -> None:
        if route.request.method == "GET":
            await route.fulfill(body=kept, content_type="application/json")
        else:
            await route.continue_()

    await visit.page.route(re.compile("/live$"), answer_as_before)
    await expect(page.headline).to_have_text("No live data")
    banner = page.page.get_by_role("alert").filter(has_text="cannot be reached")
    await expect(banner).to_be_visible()
    await visit.page.unroute(re.compile("/live$"))
    await expect(page.headline).to_have_text("Nostr works")
    await site.remove(relay.url)
    await expect(page.relay(relay.url)).to_have_count(0)


@ONLY_OURS
async def test_a_hidden_page_costs_nothing(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.use(relay)
    frames: list[float] = []
    sockets: list[WebSocket] = []

    def seen(socket: WebSocket) -> None:
        if socket.url.endswith("/live"):
            sockets.append(socket)
            socket.on("framereceived", lambda _: frames.append(time.monotonic()))

    visit.page.on("websocket", seen)
    page = await OwnerPage(visit).open()
    assert len(sockets) == 1 and frames
    await visit.hide()
    requests: list[str] = []
    visit.page.on("request", lambda request: requests.append(request.url))
    frames.clear()
    client = await site.client()
    for _ in range(4):
        await client.publish(Author().sign())
        await asyncio.sleep(0.5)
    assert sockets[0].is_closed() and not frames and not requests
    await visit.hide(False)
    row = await page.until_relay(relay.url, "Connected for")
    await expect(page.number(row, "sent")).to_have_text("4")
    assert len(sockets) == 2


@ONLY_OURS
async def test_the_extension_is_switched_off_and_on(visit: Visit, site: Site) -> None:
    """The page says so, and goes on by itself."""
    relay = ScriptedRelay()
    await site.use(relay)
    page = await OwnerPage(visit).open()
    visit.expect("status of 404")
    extension = f"{site.root}/api/v1/extension/nostrclient"
    assert (await site.http.put(f"{extension}/deactivate")).status_code == 200
    try:
        await expect(page.headline).to_have_text("No live data")
        banner = page.page.get_by_role("alert").filter(has_text="disabled")
        await expect(banner).to_be_visible()
    finally:
        assert (await site.http.put(f"{extension}/activate")).status_code == 200
    await expect(page.headline).to_have_text("Nostr works")
    await expect(banner).to_have_count(0)


async def test_every_tab_fits_on_a_phone(visitors: Visitors, site: Site) -> None:
    relay = ScriptedRelay(on_event=silent)
    await site.use(relay)
    await site.add(f"ws://127.0.0.1:9/{'x' * 300}")
    visit = await visitors.admin(PHONE)
    page = await OwnerPage(visit).open()
    for name in ("Relays", "Outbox", "Who uses it", "Endpoints", "Test", "Start here"):
        await page.tab(name)
        await page.fits()
