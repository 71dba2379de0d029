"""The state, what needs attention, and the relays, clicked through as an owner does."""

import asyncio
import json
import re

import pytest
from playwright.async_api import expect

from support.browser import PHONE, Visit, Visitors
from support.events import Author, Event
from support.owner_page import OwnerPage, put
from support.pages import ONLY_OURS, Site
from support.scripted_relay import Filter, Line, ScriptedRelay, answer, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOBODY = "ws://127.0.0.1:9"
HTML = "<img src=x onerror=alert(1)><b>bold</b>"
LONG = "x" * 400


async def test_an_empty_installation(visit: Visit) -> None:
    """It says what this is and how to begin."""
    page = await OwnerPage(visit).open()
    await expect(page.headline).to_have_text("Nostr does not work")
    await expect(page.tile("relays")).to_have_text("0 of 0")
    line = await page.until_attention("There is no relay yet")
    await expect(page.page.get_by_text("What this is")).to_be_visible()
    await expect(
        page.page.get_by_role("button", name="Add three that many use")
    ).to_be_visible()
    await page.pictures("start")
    await page.button("Choose them myself")
    await expect(page.page.get_by_text("No relay yet.")).to_be_visible()
    await page.tab("Start here")
    await page.button("Add a relay", line)
    await expect(page.page.get_by_text("No relay yet.")).to_be_visible()


async def test_a_relay_is_added_and_removed(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    relay.document = json.dumps(
        {"name": HTML, "description": LONG, "limitation": {"payment_required": True}}
    ).encode()
    await site.start(relay)
    page = await OwnerPage(visit).open()
    await page.tab("Relays")
    dialog = page.page.locator(".q-dialog")
    visit.expect("status of 400")
    await page.add("https://relay.example.com")
    await expect(dialog).to_contain_text("A relay url begins with ws:// or wss://")
    await page.page.get_by_label("Address", exact=True).fill(relay.url)
    await expect(dialog.locator("[data-relay-name]")).to_have_text(HTML)
    await expect(dialog).to_contain_text("paying users only")
    assert await dialog.locator("img, b").count() == 0
    await page.visit.screenshot("add")
    await page.button("Add", dialog)
    await page.until_closed()
    row = await page.until_relay(relay.url, "Connected for")
    await expect(row).to_contain_text(HTML)
    await expect(page.headline).to_have_text("Nostr works")
    await page.until_all_is_well()
    await page.add(f"{relay.url}/")
    await expect(dialog).to_contain_text(f"Relay: {relay.url} already exists.")
    await page.button("Cancel", dialog)
    await page.until_closed()
    await page.menu(relay.url, "Remove")
    await page.confirm(f"Remove {relay.url}?", yes=False)
    await expect(row).to_be_visible()
    await page.menu(relay.url, "Remove")
    await page.confirm(f"Remove {relay.url}?")
    await expect(row).to_have_count(0)
    await relay.until(lambda: not relay.lines, "the end of the connection")


async def test_a_relay_goes_down_and_comes_back(visit: Visit, site: Site) -> None:
    """While the page is open, and its owner types."""
    steady, relay = ScriptedRelay(), ScriptedRelay()
    own = f"{site.root}/nostrclient/static/images/nostr-bitcoin.png"
    icon = own.replace("127.0.0.1", "localhost")
    steady.document = json.dumps({"name": "Lighthouse", "icon": icon}).encode()
    relay.document = json.dumps({"name": "Harbour", "icon": own}).encode()
    await site.use(steady, relay)
    client = await site.client()
    await client.subscribe("s", {"kinds": [1]})
    page = await OwnerPage(visit).open()
    await expect(page.tile("relays")).to_have_text("2 of 2")
    await expect(page.page.get_by_text("Lighthouse")).to_be_visible()
    picture = page.relay(steady.url).locator("img")
    await expect(picture).to_have_attribute("src", icon)
    await expect(picture).to_be_visible()
    # It would be fetched with the owner's login.
    await expect(page.relay(relay.url)).to_contain_text("Harbour")
    await expect(page.relay(relay.url).locator("img")).to_have_count(0)
    row = await page.until_relay(relay.url, "Connected for")
    for number in range(1, 121):
        note = Author().sign()
        await relay.line.live(note)
        if number % 2:
            await steady.line.live(note)
        await client.count("s", number)
    await expect(page.number(row, "received")).to_have_text("120")
    chart = page.page.get_by_role("img", name=re.compile(r"[1-9]\d\d from relays"))
    await expect(chart).to_be_visible()
    await visit.screenshots("relays")
    await row.evaluate("row => { row.mine = true }")
    search = page.page.get_by_label("Search the relays")
    await search.press_sequentially("127.0")
    await relay.stop()
    await page.until_relay(relay.url, "Not connected, next attempt in")
    line = await page.until_attention(f"{relay.url} has been away for")
    await expect(row.locator("[data-error]")).to_contain_text("no connection")
    await expect(page.tile("relays")).to_have_text("1 of 2")
    await expect(page.headline).to_have_text("Nostr works")
    await search.press_sequentially(".0.1")
    await expect(search).to_have_value("127.0.0.1")
    assert await row.evaluate("row => row.mine"), "the row is the same one"
    await page.pictures("trouble")
    await relay.start()
    await page.button("Connect now", line)
    await page.until_relay(relay.url, "Connected for")
    await page.until_all_is_well()


async def test_all_relays_are_away(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.use(relay)
    page = await OwnerPage(visit).open()
    await expect(page.headline).to_have_text("Nostr works")
    await relay.stop()
    await expect(page.headline).to_have_text("Nostr does not work")
    line = await page.until_attention("No relay is connected")
    await relay.start()
    await page.button("Connect now", line)
    await expect(page.headline).to_have_text("Nostr works")


async def test_a_pause(visit: Visit, site: Site) -> None:
    steady = ScriptedRelay()
    relay = ScriptedRelay(on_event=answer(False, "blocked: go away"))
    await site.use(steady, relay)
    await (await site.client()).publish(Author().sign())
    page = await OwnerPage(visit).open()
    line = await page.until_attention("refused an event: blocked: go away")
    await page.button("Pause for an hour", line)
    row = await page.until_relay(relay.url, "Paused for")
    await page.until_all_is_well()
    await relay.until(lambda: not relay.lines, "the end of the connection")
    await page.menu(relay.url, "End the pause")
    await page.until_relay(relay.url, "Connected for")
    await page.menu(relay.url, "Reconnect now")
    await relay.connections(3)
    await expect(row).to_be_visible()


async def test_the_switches(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.use(relay)
    page = await OwnerPage(visit).open()
    row = await page.until_relay(relay.url, "Connected for")
    await page.switch(row, "Write")
    await page.until_attention("No connected relay takes events (write)")
    await expect(page.headline).to_have_text("Nostr works in part")
    assert (await site.relay(relay.url))["write"] is False
    await page.switch(row, "Write")
    await page.until_all_is_well()
    await page.switch(row, "Use")
    await page.until_relay(relay.url, "Switched off")
    # Another admin switches it on.
    await put(site, url=relay.url, active=True)
    await page.until_relay(relay.url, "Connected for")
    await expect(row.get_by_role("switch", name=f"Use {relay.url}")).to_be_checked()


async def test_relays_that_refuse(visit: Visit, site: Site) -> None:
    shy = ScriptedRelay(on_req=refused("auth-required: who are you"))
    closed = ScriptedRelay()
    closed.refuse_with = 403
    await site.use(shy)
    await site.start(closed)
    await site.add(closed.url)
    client = await site.client()
    await client.send("REQ", "s", {"kinds": [1]})
    page = await OwnerPage(visit).open()
    await page.until_relay(shy.url, "authentication required")
    await page.until_relay(closed.url, "Refused, next attempt in")
    await page.until_attention(f"{shy.url} answers only to those who log in")
    line = await page.until_attention(f"{closed.url} has turned us away")
    await expect(line).to_contain_text("HTTP 403")
    await page.button("Remove", line)
    await page.confirm(f"Remove {closed.url}?")
    await expect(page.relay(closed.url)).to_have_count(0)


@ONLY_OURS
async def test_a_key_for_a_relay_that_wants_one(visit: Visit, site: Site) -> None:
    members: set[Line] = set()

    async def ask(line: Line) -> None:
        await line.send("AUTH", "who are you")

    async def admit(line: Line, event: Event) -> None:
        members.add(line)
        await line.ok(event["id"], True)

    async def serve(line: Line, sub: str, _: list[Filter]) -> None:
        if line in members:
            await line.eose(sub)
        else:
            await line.closed(sub, "auth-required: who are you")

    relay = ScriptedRelay(on_connect=ask, on_req=serve, on_auth=admit)
    await site.use(relay)
    client = await site.client(site.private_url)
    await client.send("REQ", "s", {"kinds": [1]})
    await client.closed("s")
    page = await OwnerPage(visit).open()
    await page.tab("Relays")
    line = await page.until_attention(f"{relay.url} answers only to those who log in")
    await page.button("Set a key", line)
    dialog = page.page.locator(".q-dialog")
    visit.expect("status of 400")
    await dialog.get_by_text("A key that you have").click()
    await dialog.get_by_label("Private key").fill("nsec1nonsense")
    await page.button("Set", dialog)
    await expect(dialog.get_by_role("alert")).to_contain_text("This is no private key")
    await page.fits()
    await visit.screenshot("key")
    await dialog.get_by_text("A new key, made here").click()
    await dialog.get_by_label("Name, for yourself").fill(HTML)
    await page.button("Set", dialog)
    await page.until_closed()
    await page.until_relay(relay.url, "logged in")
    await page.until_all_is_well()
    await client.subscribe("s", {"kinds": [1]})
    key = page.page.locator("[data-key]")
    await expect(key).to_contain_text(HTML)
    await expect(key).to_contain_text(f"For {relay.url}")
    assert await key.locator("img, b").count() == 0
    await page.fits()
    await visit.screenshot("keys")
    await page.button(f"Delete the key {HTML}", key)
    await page.confirm(f"{relay.url} will not know you by it")
    await expect(key).to_have_count(0)
    await page.until_relay(relay.url, "authentication required")


async def test_errors_and_notices(visit: Visit, site: Site) -> None:
    """What a relay says is text, however long."""

    async def greet(line: Line) -> None:
        await line.notice(HTML)
        await line.notice(LONG)

    relay = ScriptedRelay(on_connect=greet, on_event=answer(False, f"blocked: {LONG}"))
    relay.document = b'{"limitation": {"max_subscriptions": 20, "max_filters": "x"}}'
    await site.use(relay)
    client = await site.client()
    await client.publish(Author().sign())
    page = await OwnerPage(visit).open()
    await page.menu(relay.url, "Errors and notices")
    dialog = page.page.locator(".q-dialog")
    await expect(dialog).to_contain_text(f"refused an event: blocked: {LONG}")
    await expect(dialog.locator("[data-facts]")).to_have_text("Subscriptions20")
    await expect(dialog).to_contain_text(HTML)
    assert await dialog.locator("img, b").count() == 0
    await page.fits()
    await visit.screenshot("log")
    # What is new comes in while it is open.
    await relay.line.notice("and one more")
    await expect(dialog).to_contain_text("and one more")
    await page.button("Close", dialog)
    await page.until_closed()
    line = await page.until_attention("refused an event: blocked: xxx")
    await expect(line).to_be_visible()
    await page.fits()


async def test_fifty_relays_on_a_phone(visitors: Visitors, site: Site) -> None:
    urls = [f"{NOBODY}/{number}-{LONG[:120]}" for number in range(49)]
    steady = ScriptedRelay()
    await site.use(steady)
    await asyncio.gather(*(site.add(url) for url in urls))
    visit = await visitors.admin(PHONE, dark=True)
    page = await OwnerPage(visit).open()
    await expect(page.tile("relays")).to_have_text("1 of 50")
    await expect(page.page.locator("[data-relay]")).to_have_count(50)
    await page.until_attention("more relays in trouble")
    await page.fits()
    await page.page.get_by_label("Search the relays").fill("9/17-")
    await expect(page.page.locator("[data-relay]")).to_have_count(1)
    await page.page.get_by_label("Search the relays").fill("connected for")
    await expect(page.page.locator("[data-relay]")).to_have_count(1)
    await page.until_relay(steady.url, "Connected for")
    await page.page.get_by_label("Search the relays").fill("nothing at all")
    await expect(page.page.get_by_text("No relay fits this search.")).to_be_visible()
    await page.page.get_by_label("Search the relays").fill("")
    await page.pictures("many")


async def test_by_keyboard_alone(visit: Visit, site: Site) -> None:
    relay = ScriptedRelay()
    await site.start(relay)
    page = await OwnerPage(visit).open()
    keys = page.page.keyboard

    async def tab_to(pattern: str) -> None:
        """Press the tab key until this has the focus."""
        for _ in range(80):
            await keys.press("Tab")
            name = await page.page.evaluate("""
                () => {
                    const at = document.activeElement
                    return at.getAttribute('aria-label') || at.textContent
                }
                """)
            if re.search(pattern, name or ""):
                return
        raise AssertionError(f"the tab key never comes to {pattern}")

    await tab_to("^Start here$")
    await keys.press("Home")
    await keys.press("Enter")
    await tab_to("Add a relay")
    await keys.press("Enter")
    await expect(page.page.get_by_label("Address", exact=True)).to_be_focused()
    await keys.type(relay.url)
    await keys.press("Enter")
    await page.until_closed()
    row = await page.until_relay(relay.url, "Connected for")
    await tab_to(f"^Write {relay.url}")
    await keys.press("Space")
    switch = row.get_by_role("switch", name=f"Write {relay.url}")
    await expect(switch).not_to_be_checked()
    await tab_to(f"^What to do with {relay.url}")
    await keys.press("Enter")
    await expect(page.page.locator(".q-menu")).to_be_visible()
    await tab_to("Errors and notices")
    await keys.press("Enter")
    await expect(page.page.locator(".q-dialog")).to_contain_text("No error.")
    await keys.press("Escape")
    await page.until_closed()
