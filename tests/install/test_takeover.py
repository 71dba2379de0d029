"""COMPAT, Identity and data: the extension that was installed before is upgraded to
ours over LNbits' API, with the tables it leaves behind, and nothing of them is lost."""

import json

import pytest

from support.defaults import DEFAULTS
from support.endpoint import Endpoint
from support.events import Author
from support.installation import Releases
from support.outbox import QUEUED
from support.owner import Owner
from support.scripted_relay import ScriptedRelay
from support.wire_client import refused

pytestmark = pytest.mark.asyncio

CONFIG = {"private_ws": False, "public_ws": True}
RELAYS = "SELECT id, url, active FROM nostrclient.relays ORDER BY id"


async def as_left_by_the_predecessor(owner: Owner, releases: Releases) -> None:
    """It runs, with the tables it makes itself, and no rows in them."""
    if await owner.installed():
        for release in releases.consumers:
            if await owner.installed(release.extension):
                await owner.uninstall(release.extension)
        await owner.uninstall()
        await owner.delete_data()
        # What LNbits keeps of removed extensions in its process is gone with that.
        await owner.restart()
    await owner.install(releases.predecessor)
    assert await owner.ask("/nostrclient/api/v1/before") == "here"
    assert await owner.tables() == {"relays", "config"}


async def served(owner: Endpoint, relay: ScriptedRelay) -> None:
    """A client of the public endpoint gets an event through it, and publishes one."""
    await relay.connected()
    client = await owner.client()
    # Not until EOSE: that waits for the relay nobody can reach.
    await client.send("REQ", "s", {"kinds": [1]})
    await client.fence()
    await relay.until(lambda: relay.open_subs(), "the subscription")
    await relay.line.live(note := Author().sign())
    assert await client.count("s", 1) == [note]
    assert (await client.publish(Author().sign())).parts[2] is True


async def test_relays_duplicates_and_settings(owner: Owner, releases: Releases) -> None:
    """With a row of settings and without, until it is ours and after a new start."""
    await as_left_by_the_predecessor(owner, releases)
    used, switched_off = ScriptedRelay(), ScriptedRelay()
    await owner.start(used)
    await owner.start(switched_off)
    table = sorted(
        [
            ("one", used.url, True),
            ("two", used.url, True),
            ("three", used.url + "/", True),
            ("four", switched_off.url, False),
            ("five", "no relay's url", True),
            ("six", "ws://127.0.0.1:9/nobody", True),
        ]
    )
    for row in table:
        await owner.rows("INSERT INTO nostrclient.relays VALUES ($1, $2, $3)", *row)
    extra = json.dumps(CONFIG)
    await owner.rows("INSERT INTO nostrclient.config (extra) VALUES ($1)", extra)

    async def taken_over() -> None:
        await served(owner, used)
        shown = {relay["url"]: relay for relay in await owner.relays()}
        assert len(shown) == 4
        assert [url.rstrip("/") for url in shown].count(used.url) == 1
        assert shown[switched_off.url]["active"] is False
        config = await owner.ask("/nostrclient/api/v1/config")
        assert config == {**DEFAULTS, **CONFIG}
        assert await refused(owner.private_url) == 403
        assert await refused(owner.public_url) == 101
        assert await owner.rows(RELAYS) == table
        kept = await owner.rows("SELECT extra, owner_id FROM nostrclient.config")
        assert kept == [(extra, "admin")]
        assert switched_off.connected_at == []

    await owner.install(releases.first.new())
    await taken_over()
    await owner.restart()
    await taken_over()
    assert await owner.tables() == {"relays", "config", "outbox", "relay_keys"}
    await queues(owner, used)
    await without_a_row_of_settings(owner)

    # And back: what is new in the database does no harm. LNbits 1.5 starts ours once
    # more while it is replaced, so there it takes a new start of the process.
    await owner.install(releases.predecessor)
    assert await owner.ask("/nostrclient/api/v1/before") == "here"
    if owner.version.startswith("1.5"):
        await owner.restart()
    await owner.until_threads([])
    assert await owner.rows(RELAYS) == table


async def without_a_row_of_settings(owner: Owner) -> None:
    """The defaults count, and setting them makes the row."""
    await owner.rows("DELETE FROM nostrclient.config")
    await owner.switch("deactivate")
    await owner.switch("activate")
    assert await refused(owner.private_url) == 101
    assert await refused(owner.public_url) == 403
    assert await owner.rows("SELECT extra FROM nostrclient.config") == []
    await owner.configure(**CONFIG)
    ((extra,),) = await owner.rows("SELECT extra FROM nostrclient.config")
    assert CONFIG.items() <= json.loads(extra).items()
    assert await refused(owner.private_url) == 403
    assert await refused(owner.public_url) == 101


async def queues(owner: Owner, relay: ScriptedRelay) -> None:
    """With the outbox's table, events wait for the relay."""
    await relay.stop()
    client = await owner.client()
    note = Author().sign()
    await owner.until_relay(relay.url, connected=False)
    assert (await client.publish(note)).parts[2:] == [True, QUEUED]
    await relay.start()
    await relay.until(lambda: note in relay.published(), "what was queued")
