"""A real Chromium, and the people who look at LNbits' pages with it.

One browser process serves the session (`chromium`). Each `Visit` is a person of his own
in it: logged in or not, on a wide screen or a phone, in the dark or the light theme. It
keeps what goes wrong on his pages, and its `close` fails for whatever the test did not
expect.

All of it lives in the session's event loop: tests say
`pytestmark = pytest.mark.asyncio(loop_scope="session")`. See the fixtures `visit`, `page`
and `visitors`.
"""

import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    WebError,
    async_playwright,
)

from scripts.lnbits_server import REPOSITORY

from .pages import Site

PAGE = "/nostrclient/"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")  # as setup-chromium.sh
SECONDS = 15  # for whatever a page has to do; on a loaded machine, it opens in three
SCREENSHOTS = REPOSITORY / "target" / "screenshots"

# Beside what Playwright gives every Chromium. Only these two names and addresses are
# found, whoever asks, and no proxy of the environment looks for more.
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
LOOPBACK = ("127.0.0.1", "localhost")

# LNbits looks for an extension's routes in a file that extensions with a page made from
# a template do not have.
LNBITS_OWN = [r"^console: .* status of 404 .* \S+/nostrclient/static/routes\.json$"]

# Of LNbits: it runs along the upper edge for a second after each request.
LOADING_BAR = ".q-loading-bar { visibility: hidden }"

MOUNTED = "() => Boolean(document.querySelector('#vue')?.__vue_app__)"

# The theme is there, and LNbits' drawer is what it is on a screen of this width: beside
# the page, or over it and closed.
SETTLED = """
    ([width, dark]) => {
        const drawer = document.querySelector('.q-drawer')
        return Quasar.Screen.width === width
            && Quasar.Dark.isActive === dark
            && (!drawer || drawer.matches('.q-drawer--mobile') === width < 1024)
    }
"""

# What a page sees when its tab is put behind another.
SEEN = """
    hidden => {
        Object.defineProperties(document, {
            hidden: {configurable: true, get: () => hidden},
            visibilityState: {
                configurable: true,
                get: () => hidden ? 'hidden' : 'visible'
            }
        })
        document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))
    }
"""


@dataclass(frozen=True)
class Screen:
    name: str
    width: int
    height: int


WIDE = Screen("wide", 1280, 900)
PHONE = Screen("phone", 390, 844)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """The machine's Chromium, with a new profile, until the end of the `with`. It does
    not outlive this process. What it writes beside its profile goes to `folder`."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program, "no Chromium on the path: make chromium"
    places = {"XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=FLAGS,
            env={**os.environ, **places},
            chromium_sandbox=False,  # with it, Chromium does not run as root
        )
        try:
            yield browser
        finally:
            await browser.close()


class Visit:
    """A person with a browser, and the page he looks at. Begins with `begin`, ends with
    `close`."""

    page: Page

    def __init__(
        self, context: BrowserContext, site: Site, screen: Screen, dark: bool
    ) -> None:
        self.context = context
        self.site = site
        self.screen = screen
        self.dark = dark
        self.complaints: list[str] = []
        self._expected = [re.compile(pattern) for pattern in LNBITS_OWN]
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("request", self._on_request)
        context.on("requestfailed", self._on_failure)
        context.on("page", self._on_page)

    @classmethod
    async def begin(
        cls,
        browser: Browser,
        site: Site,
        token: str | None,
        screen: Screen = WIDE,
        dark: bool = False,
    ) -> "Visit":
        """Of somebody who is logged in with this access token, or who is not. The page is
        not opened yet."""
        context = await browser.new_context(
            base_url=site.root,
            viewport={"width": screen.width, "height": screen.height},
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(SECONDS * 1000)
        if token is not None:
            await _log_in(context, site.root, token)
        await context.add_init_script(_settings(dark))
        visit = cls(context, site, screen, dark)
        visit.page = await context.new_page()
        return visit

    def expect(self, pattern: str) -> None:
        """Complaints in which this expression is found are no failure. They read
        `console: TEXT ADDRESS`, `error: TEXT`, `request: REASON ADDRESS`,
        `outside: ADDRESS` and `crash: ADDRESS`."""
        self._expected.append(re.compile(pattern))

    async def open(self, path: str = PAGE) -> None:
        """Go there, and wait until LNbits' application runs in the page."""
        response = await self.page.goto(path)
        assert response is not None and response.ok, f"{path}: {response}"
        await self.page.wait_for_function(MOUNTED)

    async def hide(self, hidden: bool = True) -> None:
        """Tell the page that its tab is behind another, or in front again. Playwright
        keeps every page in front, so that no browser says it."""
        await self.page.evaluate(SEEN, hidden)

    async def close(self) -> None:
        """End it. Fails if something went wrong that was not expected."""
        complaints = list(self.complaints)  # not those about the end
        await self.context.close()
        unexpected = [
            complaint
            for complaint in complaints
            if not any(pattern.search(complaint) for pattern in self._expected)
        ]
        assert not unexpected, "\n".join(unexpected)

    # Pictures.

    async def screenshots(self, name: str) -> None:
        """What the page shows, wide and on a phone, dark and light. The page is the same
        one in all four and not opened again, and looks as before afterwards."""
        before = self.screen, self.dark
        for screen in (WIDE, PHONE):
            for dark in (True, False):
                await self.look(screen, dark)
                await self.screenshot(name)
        await self.look(*before)

    async def look(self, screen: Screen, dark: bool) -> None:
        """Change the window's size, and the theme as the switch on LNbits' account page
        does."""
        self.screen, self.dark = screen, dark
        await self.page.set_viewport_size(
            {"width": screen.width, "height": screen.height}
        )
        await self.page.evaluate("dark => { g.darkChoice = dark }", dark)
        await self.page.wait_for_function(SETTLED, arg=[screen.width, dark])

    async def screenshot(self, name: str, whole: bool = False) -> Path:
        """What the window shows now, or the whole page, but the bar that says that it
        loads. Returns the file, which is in `target/screenshots/`."""
        theme = "dark" if self.dark else "light"
        name = f"{name}-{theme}-{self.screen.name}.png"
        path = SCREENSHOTS / self.site.version / name
        await self.page.screenshot(
            path=path, full_page=whole, animations="disabled", style=LOADING_BAR
        )
        return path

    # What goes wrong.

    def _complain(self, kind: str, text: str) -> None:
        self.complaints.append(f"{kind}: {text}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complain("console", f"{message.text} {message.location['url']}")

    def _on_error(self, error: WebError) -> None:
        self._complain("error", str(error.error))

    def _on_request(self, request: Request) -> None:
        self._check_address(request.url)

    def _on_failure(self, request: Request) -> None:
        # A page that is left, or closes a stream, gives its requests up itself.
        if request.failure != "net::ERR_ABORTED":
            self._complain("request", f"{request.failure} {request.url}")

    def _on_page(self, page: Page) -> None:
        page.on("websocket", lambda websocket: self._check_address(websocket.url))
        page.on("crash", lambda page: self._complain("crash", page.url))

    def _check_address(self, url: str) -> None:
        """Complain if it is of another machine."""
        parts = urlsplit(url)
        is_far = parts.scheme not in ("data", "blob", "about", "chrome-error")
        if is_far and parts.hostname not in LOOPBACK:
            self._complain("outside", url)


class Visitors:
    """All the visits of a test."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser = browser
        self._site = site
        self._visits: list[Visit] = []

    async def admin(self, screen: Screen = WIDE, dark: bool = False) -> Visit:
        """The server's owner, logged in."""
        return await self.come(self._site.token, screen, dark)

    async def come(
        self, token: str | None, screen: Screen = WIDE, dark: bool = False
    ) -> Visit:
        """Somebody who is logged in with this access token, or who is not."""
        visit = await Visit.begin(self._browser, self._site, token, screen, dark)
        self._visits.append(visit)
        return visit

    async def close(self) -> None:
        """End them all. Fails if something went wrong on a page of any."""
        wrong = []
        for visit in self._visits:
            try:
                await visit.close()
            except AssertionError as exc:
                wrong.append(str(exc))
        assert not wrong, "\n".join(wrong)


async def _log_in(context: BrowserContext, root: str, token: str) -> None:
    """Give it the cookies that LNbits sets at a login."""
    await context.add_cookies(
        [
            {
                "name": "cookie_access_token",
                "value": token,
                "url": root,
                "httpOnly": True,
                "sameSite": "Lax",
            },
            {
                "name": "is_lnbits_user_authorized",
                "value": "true",
                "url": root,
                "sameSite": "Lax",
            },
        ]
    )


def _settings(dark: bool) -> str:
    """A script that leaves in a new browser what a click on "I understand" in LNbits'
    disclaimer and on its switch for the theme leave there."""
    settings = {
        "lnbits.disclaimerShown": "__q_bool|1",
        "lnbits.darkMode": f"__q_bool|{int(dark)}",
    }
    return f"""
        if (location.protocol.startsWith('http')) {{
            for (const [name, value] of Object.entries({json.dumps(settings)})) {{
                if (localStorage.getItem(name) === null) localStorage.setItem(name, value)
            }}
        }}
    """
