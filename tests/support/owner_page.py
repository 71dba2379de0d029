"""The admin page as its owner uses it: by what it says, not by how it is made."""

import re
from typing import Any

from playwright.async_api import Locator, Page, expect

from .browser import Visit
from .endpoint import Endpoint
from .pages import OURS

# A relay that is away is only called so after five seconds.
expect.set_options(timeout=20_000)

WITHIN = """
    () => document.documentElement.scrollWidth <= window.innerWidth
"""


class OwnerPage:
    """The open page of a visit."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.page: Page = visit.page

    async def open(self) -> "OwnerPage":
        """Go there and wait until there is something to see. Nothing that a stranger
        wrote may ever open a dialog of the browser's own."""
        self.page.on("dialog", _no_dialog)
        await self.visit.open()
        await expect(self.headline).to_be_visible()
        return self

    # What it shows.

    @property
    def headline(self) -> Locator:
        """Whether Nostr works."""
        return self.page.locator("h5 [role=status]")

    def tile(self, name: str) -> Locator:
        return self.page.locator(f"[data-tile={name}] .nostrclient-value")

    @property
    def attention(self) -> Locator:
        """The lines under "Needs attention"."""
        return self.page.locator(".nostrclient-attention .q-item")

    async def until_all_is_well(self) -> None:
        await expect(self.page.get_by_text("Nothing. All is well.")).to_be_visible()
        assert await self.attention.count() == 0

    async def until_attention(self, text: str) -> Locator:
        """The one line that has this text."""
        line = self.attention.filter(has_text=text)
        await expect(line).to_have_count(1)
        return line

    def relay(self, url: str) -> Locator:
        """A relay's row, or its card on a phone."""
        return self.page.locator(f'[data-relay="{url}"]')

    async def until_relay(self, url: str, words: str) -> Locator:
        """Wait until its state is said in words with these in them."""
        row = self.relay(url)
        await expect(row.locator("[data-state]")).to_contain_text(words)
        return row

    def number(self, row: Locator, name: str) -> Locator:
        return row.locator(f"[data-number={name}]")

    # What the owner does.

    async def tab(self, name: str) -> None:
        tab = self.page.get_by_role("tab", name=name)
        await tab.click()
        await expect(tab).to_have_attribute("aria-selected", "true")

    async def button(self, name: str, within: Locator | None = None) -> None:
        place = within or self.page
        await place.get_by_role("button", name=name, exact=True).click()

    async def menu(self, url: str, entry: str) -> None:
        """Choose something in a relay's menu."""
        await self.button(f"What to do with {url}")
        await self.page.locator(".q-menu").get_by_text(entry, exact=True).click()

    async def confirm(self, words: str, yes: bool = True) -> None:
        """Answer the question that has these words in it."""
        question = self.page.locator(".q-dialog").filter(has_text=words)
        await expect(question).to_be_visible()
        await self.button("OK" if yes else "Cancel", question)
        await expect(question).to_have_count(0)

    async def switch(self, row: Locator, label: str) -> None:
        """Flip a relay's switch."""
        await row.get_by_role("switch", name=re.compile(f"^{label} ")).click()

    async def add(self, url: str) -> None:
        """Add a relay by its dialog."""
        await self.button("Add a relay", self.page.get_by_role("tabpanel").first)
        await self.page.get_by_label("Address", exact=True).fill(url)
        await self.button("Add", self.page.locator(".q-dialog"))

    async def until_closed(self) -> None:
        """No dialog is open any more."""
        await expect(self.page.locator(".q-dialog")).to_have_count(0)

    # Pictures, for people to look at.

    async def pictures(self, name: str) -> None:
        """Of a main state: wide and on a phone, dark and light. One version of LNbits
        will do, the two look the same."""
        if self.visit.site.version == OURS:
            await self.visit.screenshots(name)

    # What has to hold whatever it shows.

    async def fits(self) -> None:
        """Nothing is wider than the window."""
        assert await self.page.evaluate(WITHIN), "the page has to be scrolled sideways"


async def _no_dialog(dialog: Any) -> None:
    raise AssertionError(f"the browser was made to say {dialog.message!r}")


async def put(endpoint: Endpoint, **switches: Any) -> None:
    """Switch a relay behind the page's back, as another admin does."""
    response = await endpoint.http.put(f"{endpoint.base}/relay", json=switches)
    assert response.status_code == 200, response.text
