"""docs/release.md, Upgrade and Go back: from the oldest release that owners may come from
to this version, and back to it, over LNbits' own API while the server runs."""

import asyncio
import time

import pytest

from support.defaults import DEFAULTS
from support.events import Author, Event
from support.installation import Releases, is_for_this_machine, oldest_released
from support.outbox import QUEUED, Outbox, arrive, down
from support.owner import Owner
from support.scripted_relay import ScriptedRelay
from support.shelf import Release
from support.wire_client import refused

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(
        not is_for_this_machine(oldest_released()),
        reason="the oldest release is for other machines",
    ),
]

SERVICE_RESTART = 1012  # close code: come again
SETTINGS = {**DEFAULTS, "public_ws": True, "outbox_size": 70}
STORED = {
    "relays": "*",
    "config": "*",
    "outbox": "id, event, state, position, queued_at, reasons",  # not who sends it
}


async def only_this_is_installed(owner: Owner, release: Release) -> None:
    """Whatever the tests before have left."""
    if await owner.installed():
        await owner.uninstall()
        await owner.delete_data()
    await owner.install(release)


async def answers(owner: Owner, release: Release, threads: list[str]) -> None:
    """This version does, and nothing of another one is left."""
    assert await owner.installed() == release.version
    assert await owner.core() == release.version
    await owner.until_threads(threads)
    deadline = time.monotonic() + 10
    while (code := await owner.ask("/witness/api/v1/code")) != [release.version]:
        assert time.monotonic() < deadline, code
        await asyncio.sleep(0.02)
    for url in (owner.public_url, owner.private_url):
        assert await refused(url) == 101


async def kept(owner: Owner) -> dict[str, object]:
    """What an owner has set up and what waits, as REST shows it and as it is stored."""
    relays = [
        {name: relay[name] for name in ("url", "active", "read", "write")}
        for relay in await owner.relays()
    ]
    waiting = (await Outbox(owner).shown())["rows"]
    return {
        "settings": await owner.ask("/nostrclient/api/v1/config"),
        "relays": sorted(relays, key=lambda relay: str(relay["url"])),
        "waiting": [(row["id"], row["state"]) for row in waiting],
        **{
            table: sorted(await owner.rows(f"SELECT {what} FROM nostrclient.{table}"))
            for table, what in STORED.items()
        },
    }


async def test_from_the_oldest_release_and_back(owner: Owner, releases: Releases) -> None:
    """Each time an event waits for a relay that is away."""
    (witness,) = (one for one in releases.consumers if one.extension == "witness")
    await owner.have(witness)
    oldest, present = releases.oldest, releases.first.new()
    assert oldest.version != present.version
    await only_this_is_installed(owner, oldest)
    used, switched_off = ScriptedRelay(), ScriptedRelay()
    await owner.configure(**SETTINGS)
    await owner.use(used, switched_off)
    for change in ({"active": False}, {"write": False}):
        relay = {"url": switched_off.url, **change}
        await owner.ask("/nostrclient/api/v1/relay", "PUT", relay)
    await switched_off.until(lambda: not switched_off.lines, "the end of the connection")
    threads = owner.cores_threads()
    await answers(owner, oldest, threads)

    sent: list[Event] = []
    for upgrade in (present, oldest):
        await down(owner, used)
        client = await owner.client()
        sent.append(waiting := Author().sign())
        assert (await client.publish(waiting)).parts[2:] == [True, QUEUED]
        before = await kept(owner)
        assert before["settings"] == SETTINGS

        await owner.install(upgrade)
        assert (await client.ended())[0] == SERVICE_RESTART
        await answers(owner, upgrade, threads)
        assert await kept(owner) == before

        await used.start()
        await arrive(used, sent)
        client = await owner.client()
        await client.subscribe("s", {"kinds": [1]})
        await used.line.live(note := Author().sign())
        assert await client.count("s", 1) == [note]
        sent.append(own := Author().sign())
        assert (await client.publish(own)).parts[2] is True
        await arrive(used, sent)
        await client.close()
    assert len(switched_off.connected_at) == 1, "only until it was switched off"
