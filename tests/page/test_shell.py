"""The page as such: who gets it, from where, and that it runs. Not what is on it."""

import re
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from playwright.async_api import Page

from support.browser import PAGE, PHONE, Visit, Visitors
from support.pages import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATIC = "/nostrclient/static/"


async def test_it_runs(visitors: Visitors) -> None:
    """On the first visit and the next: then, LNbits' service worker stands between the
    page and the server."""
    visit = await visitors.admin(PHONE, dark=True)
    await visit.open()
    assert await visit.page.evaluate("Quasar.Dark.isActive")
    await visit.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await visit.open()
    assert await visit.page.title() == "LNbits"
    assert await visit.page.evaluate("Boolean(navigator.serviceWorker.controller)")


async def test_nothing_covers_it(visit: Visit, page: Page) -> None:
    """An owner who has read LNbits' disclaimer, which comes with the drawer, sees the
    page."""
    await visit.open()
    await page.locator(".q-drawer").wait_for()
    assert await page.locator(".q-dialog").count() == 0
    assert not await page.evaluate("Quasar.Dark.isActive")
    await visit.screenshots("shell")


async def test_its_files_change_address_with_the_server(site: Site) -> None:
    """Browsers keep them: under the same address, they would go on with the old ones."""
    cookies = {"cookie_access_token": site.token}
    async with httpx.AsyncClient(base_url=site.root, cookies=cookies) as browser:
        page = await browser.get(PAGE)
        found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        files = [urlsplit(urljoin(site.root, address)) for address in found]
        ours = [file for file in files if file.path.startswith(STATIC)]
        assert any(file.path.endswith(".js") for file in ours), found
        for file in ours:
            assert parse_qs(file.query).get("v"), file
            answer = await browser.get(file.geturl())
            assert answer.status_code == 200, file


@pytest.mark.parametrize("login", [True, False], ids=["user", "nobody"])
async def test_only_admins_get_it(site: Site, login: bool) -> None:
    cookies = {"cookie_access_token": await site.user_token()} if login else None
    async with httpx.AsyncClient(base_url=site.root, cookies=cookies) as browser:
        answer = await browser.get(PAGE, headers={"Accept": "text/html"})
    assert answer.status_code == (403 if login else 401)
    assert "nostrclient/static" not in answer.text


async def test_without_login_it_leads_to_the_login(visitors: Visitors) -> None:
    visit = await visitors.come(None)
    visit.expect(rf"^console: .* status of 401 .* {visit.site.root}{PAGE}$")
    await visit.page.goto(PAGE)
    await visit.page.wait_for_url(f"{visit.site.root}/")
