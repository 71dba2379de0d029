"""Rule 4.5: relays through a real SOCKS5 server, which alone knows their names."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from support.browser import Visit
from support.endpoint import Endpoint
from support.events import Author
from support.owner_page import OwnerPage
from support.pages import ONLY_OURS, Site
from support.scripted_relay import ScriptedRelay
from support.socks_proxy import SocksProxy

pytestmark = pytest.mark.asyncio

ONION = "relay.abcdefghijklmnop.onion"
HIDDEN = "relay.known-to-the-proxy.invalid"
PASSWORD = "hunter2/&%"
WRITTEN = "hunter2"  # its beginning, also as it stands in a url


@pytest.fixture
def proxy(tmp_path: Path) -> SocksProxy:
    """Not started. Who does not log in is not served."""
    return SocksProxy(tmp_path, [ONION, HIDDEN], ("me", PASSWORD))


@pytest_asyncio.fixture
async def relay(endpoint: Endpoint) -> AsyncIterator[ScriptedRelay]:
    """One that describes itself, and that nobody was told of."""
    relay = ScriptedRelay()
    relay.document = json.dumps({"name": "Hidden", "icon": "http://x.onion/i"}).encode()
    await endpoint.start(relay)
    yield relay


async def put(endpoint: Endpoint, **settings: Any) -> httpx.Response:
    return await endpoint.http.put(f"{endpoint.base}/config", json=settings)


async def info(endpoint: Endpoint, url: str) -> dict[str, Any]:
    answer = await endpoint.http.get(f"{endpoint.base}/relay/info", params={"url": url})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_error(endpoint: Endpoint, url: str, beginning: str) -> None:
    """Wait until something like this has gone wrong at a relay."""
    deadline = time.monotonic() + 20
    while True:
        errors = (await endpoint.relay(url))["status"]["error_list"]
        if any(error.startswith(beginning) for error in errors):
            return
        assert time.monotonic() < deadline, f"never {beginning!r}: {errors}"
        await asyncio.sleep(0.02)


async def nowhere(endpoint: Endpoint) -> None:
    """The password is in no answer and not in the log."""
    answers = [
        await endpoint.http.get(f"{endpoint.base}/{path}")
        for path in ("config", "relays", "live", "status", "metrics", "endpoints")
    ]
    answers.append(await endpoint.http.get(f"{endpoint.root}/nostrclient/"))
    assert all(WRITTEN not in answer.text for answer in answers)
    assert WRITTEN not in endpoint.lnbits.log()


async def test_an_onion_relay(
    endpoint: Endpoint, relay: ScriptedRelay, proxy: SocksProxy
) -> None:
    url = f"ws://{ONION}:{relay.port}"
    assert (await endpoint.add(url)).status_code == 200
    sentence = "A .onion relay is reached only through a proxy"
    await until_error(endpoint, url, sentence)
    assert (await info(endpoint, url))["problem"].startswith(sentence)
    check = await endpoint.http.post(f"{endpoint.base}/relay/check", json={"url": url})
    assert check.json()["steps"][-1]["text"].startswith(sentence)
    assert relay.connected_at == [] and relay.asked == 0

    with proxy:
        answer = await put(endpoint, proxy=f" {proxy.url.replace('socks5', 'SOCKS5H')}/ ")
        assert answer.status_code == 200, answer.text
        assert answer.json()["proxy"] == proxy.shown
        await endpoint.until_relay(url, seconds=5, connected=True)
        request = (await relay.connected()).socket.request
        assert request and request.headers["Host"] == f"{ONION}:{relay.port}"
        note, client = Author().sign("hello"), await endpoint.client()
        await client.subscribe("s", {"authors": [note["pubkey"]]})
        assert (await client.publish(note)).parts == ["OK", note["id"], True, ""]
        assert relay.published() == [note]
        # Another url, so that nothing is known yet.
        found = await info(endpoint, f"{url}/again")
        assert (found["name"], found["icon"], relay.asked) == ("Hidden", None, 1)

        # As it is shown, it may be given back; for another, the password is asked for.
        assert (await put(endpoint, proxy=proxy.shown)).json()["proxy"] == proxy.shown
        moved = await put(endpoint, proxy=proxy.shown.replace(str(proxy.port), "9050"))
        assert moved.status_code == 400
        assert "needs its password" in moved.json()["detail"]

        # Switched off and on: what is stored is enough.
        for action in ("deactivate", "activate"):
            path = f"{endpoint.root}/api/v1/extension/nostrclient/{action}"
            assert (await endpoint.http.put(path)).status_code == 200
        await endpoint.until_relay(url, seconds=5, connected=True)
        await relay.connections(2)

    # The proxy goes away and comes back.
    await until_error(endpoint, url, "the proxy cannot be reached")
    with proxy:
        await endpoint.http.post(f"{endpoint.base}/relay/reconnect", json={"url": url})
        await endpoint.until_relay(url, connected=True)

        await endpoint.configure(proxy=proxy.url.replace(WRITTEN, "other"))
        await until_error(endpoint, url, "the proxy refuses the user name and password")
        await endpoint.configure(proxy=f"socks5://127.0.0.1:{proxy.port}")
        await until_error(endpoint, url, "the proxy asks for a user name and password")
        assert relay.lines == []
        await endpoint.configure(proxy=proxy.url)
        await endpoint.until_relay(url, connected=True)
        await endpoint.configure(proxy="")
        await relay.until(lambda: not relay.lines, "the end of the connection")
    await nowhere(endpoint)


async def test_all_relays_but_those_of_this_machine(
    endpoint: Endpoint, relay: ScriptedRelay, proxy: SocksProxy
) -> None:
    url = f"ws://{HIDDEN}:{relay.port}"
    await endpoint.configure(proxy=proxy.url, proxy_for_all=True)
    with proxy:
        assert (await endpoint.add(url)).status_code == 200
        await endpoint.until_relay(url, connected=True)
        assert (await info(endpoint, url))["name"] == "Hidden"
        unknown = "ws://nobody.knows.invalid"
        await endpoint.add(unknown)
        await until_error(endpoint, unknown, "the proxy c")
    local = ScriptedRelay()
    await endpoint.use(local)
    assert (await info(endpoint, local.url))["problem"].endswith("(HTTP 404).")
    await until_error(endpoint, url, "the proxy cannot be reached")
    asked = await info(endpoint, f"{url}/again")
    assert asked["problem"].startswith("It cannot be asked: ")
    await nowhere(endpoint)


async def test_what_is_no_proxy_is_refused(endpoint: Endpoint) -> None:
    for wrong in (
        "127.0.0.1:9050",
        "http://me:hunter2@127.0.0.1:9050",
        "socks5://me:hunter2@127.0.0.1",
        "socks5://me:hunter2@127.0.0.1:99999",
        "socks5://me:hunter2/@127.0.0.1:9050",
        "socks5://:hunter2@127.0.0.1:9050",
        "socks5://me@127.0.0.1:9050",
        "socks5://me:hunter2@127.0.0.1:9050\x00",
        "socks5://me:hunter2@abc.onion:9050",
        "socks5://me:hunter2@127.0.0.1:9050" + "/" * 2_000,
        ["socks5://me:hunter2@127.0.0.1:9050"],
        {"hunter2": 1},
    ):
        answer = await put(endpoint, proxy=wrong, proxy_for_all=True)
        assert answer.status_code in (400, 422), wrong
        assert WRITTEN not in answer.text
    config = (await endpoint.http.get(f"{endpoint.base}/config")).json()
    assert (config["proxy"], config["proxy_for_all"]) == ("", False)
    await nowhere(endpoint)


@ONLY_OURS
@pytest.mark.asyncio(loop_scope="session")
async def test_the_owner_sets_it(visit: Visit, site: Site, tmp_path: Path) -> None:
    relay = ScriptedRelay()
    await site.start(relay)
    url = f"ws://{ONION}:{relay.port}"
    await site.add(url)
    page = await OwnerPage(visit).open()
    await page.tab("Relays")
    await page.page.get_by_text("Proxy", exact=True).click()
    field = page.page.get_by_label("Address of the proxy")
    with SocksProxy(tmp_path, [ONION], ("me", PASSWORD)) as proxy:
        visit.expect("status of 400")
        await field.fill("socks5://me:hunter2@127.0.0.1")
        await page.button("Save")
        await expect(page.page.get_by_text("The proxy needs a port.")).to_be_visible()
        await field.fill(proxy.url)
        await page.page.get_by_role("switch", name="For all relays").click()
        await page.button("Save")
        await expect(field).to_have_value(proxy.shown)
        await page.until_relay(url, "Connected for")
        config = (await site.http.get(f"{site.base}/config")).json()
        assert (config["proxy"], config["proxy_for_all"]) == (proxy.shown, True)
        assert WRITTEN not in await page.page.content()
        await page.fits()
    await nowhere(site)
