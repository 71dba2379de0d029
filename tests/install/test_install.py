"""COMPAT, How LNbits loads an extension: the release's zip, installed, upgraded, switched
off and on, and removed over LNbits' own API while the server runs.

In an environment without Rust and without a core, on each LNbits and database we name
(see `installation.py`). The tests share the servers: each says what it has to find.
"""

import shutil

import pytest

from support.defaults import DEFAULTS
from support.endpoint import private_id
from support.events import Author, ids
from support.inbox import eventually
from support.installation import Releases
from support.outbox import Outbox, down, queue
from support.owner import Owner
from support.scripted_relay import ScriptedRelay
from support.served import Consumers
from support.wire_client import refused

pytestmark = pytest.mark.asyncio

SERVICE_RESTART = 1012  # close code: come again
ROUNDS = 10


async def test_a_fresh_installation(owner: Owner, releases: Releases) -> None:
    """The first request after the click works."""
    venv = owner.lnbits.venv
    assert venv is not None
    assert shutil.which("cargo", path=owner.lnbits.env["PATH"]) is None
    assert not list(venv.glob("lib/*/site-packages/nostrclient*"))
    if await owner.installed():  # by a test before this one
        await owner.uninstall()
        await owner.delete_data()
    assert (await owner.http.get(f"{owner.base}/relays")).status_code == 404

    await owner.install(releases.first.new())
    # Consumers of a test before this one may have named theirs.
    assert not [shown for shown in await owner.relays() if shown["configured"]]
    assert await owner.ask("/nostrclient/api/v1/config") == DEFAULTS
    for path in ("/nostrclient/", "/nostrclient/static/images/nostr-bitcoin.png"):
        assert (await owner.http.get(owner.root + path)).status_code == 200
    assert await refused(owner.private_url) == 101
    assert await refused(owner.public_url) == 403
    assert await owner.tables() >= {"relays", "config", "outbox"}

    relay = ScriptedRelay()
    await owner.use(relay)
    client = await owner.client(owner.private_url)
    await client.subscribe("s", {"kinds": [1]})
    await relay.line.live(note := Author().sign())
    assert await client.count("s", 1) == [note]
    assert (await client.publish(Author().sign("mine"))).parts[2] is True


async def test_an_id_with_two_slashes(owner: Owner, releases: Releases) -> None:
    """One in a hundred ids in plain base64 has them; LNbits 1.5 sends an installed
    extension another path than the client has asked for."""
    await owner.have(releases.first.new())
    await owner.reset()
    while "//" not in (found := private_id(owner.secret, urlsafe=False)):
        pass
    assert await refused(f"{owner.ws_base}/{found}") == 101
    assert await refused(f"{owner.ws_base}/{found}/") == 101


async def test_an_upgrade(owner: Owner, consumers: Consumers, releases: Releases) -> None:
    """While clients are connected and events wait for a relay."""
    await owner.install(releases.first.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    await consumers.served(relay)
    assert await owner.core() == releases.first.version
    threads = owner.cores_threads()
    assert threads
    client = await owner.client()
    await client.subscribe("s", {"kinds": [1]})
    await relay.line.live(seen := Author().sign())
    assert await client.count("s", 1) == [seen]

    await down(owner, relay)
    queued = Author().notes(3)
    await queue(client, *queued)
    by_the_shop = await consumers.publish("from a thread", "from another")

    await owner.install(releases.second.new())
    assert (await client.ended())[0] == SERVICE_RESTART
    assert await owner.core() == releases.second.version
    await owner.until_threads(threads)  # as many as one core has

    client = await owner.client()
    relay.inbox.items.clear()
    await relay.start()
    await relay.until(
        lambda: {*ids(queued), *by_the_shop} <= set(ids(relay.published())),
        "what was queued",
    )
    sent = [note for note in relay.published() if note in queued]
    assert sent == queued, "in the order published, and once"
    await Outbox(owner).until(queued=0, in_doubt=0, rows=[])
    await client.subscribe("s", {"kinds": [1]})
    await relay.line.live(Author().sign())
    await client.count("s", 1)
    await consumers.served(relay)
    market = await owner.ask("/market/api/v1/read")
    # It asks again at once, and may be turned away once before there is a new core.
    assert SERVICE_RESTART in market["codes"]


async def test_switched_off_and_on(
    owner: Owner, consumers: Consumers, releases: Releases
) -> None:
    await owner.have(releases.second.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    threads = owner.cores_threads()
    client = await owner.client()
    await client.subscribe("s", {"kinds": [1]})

    await owner.switch("deactivate")
    assert (await client.ended())[0] == SERVICE_RESTART
    await owner.until_threads([])
    await relay.until(lambda: not relay.lines, "the end of the connection")
    await owner.until_tasks([])
    assert (await owner.http.get(f"{owner.base}/relays")).status_code == 404
    for url in (owner.public_url, owner.private_url):
        assert await refused(url) in (403, 404)
    # Consumers know nothing of this. What they publish now is sent later.
    published = await consumers.publish("while it is off")

    await owner.switch("activate")
    await owner.until_threads(threads)
    await consumers.served(relay)
    await relay.until(
        lambda: published[0] in ids(relay.published()), "what was published meanwhile"
    )


async def test_ten_rounds_leave_nothing(
    owner: Owner, consumers: Consumers, releases: Releases
) -> None:
    """No thread, no descriptor, no task: neither of stops nor of starts without one."""
    await owner.have(releases.second.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())

    async def round_() -> None:
        await owner.switch("deactivate")
        await owner.until_threads([])
        await owner.until_tasks([])
        await relay.until(lambda: not relay.lines, "the end of the connection")
        await owner.switch("activate")
        await relay.connected()

    await round_()
    await consumers.served(relay)
    # The relay's own document is read now and then, which takes a task and a connection.
    threads = owner.cores_threads()
    tasks = [name for name in await owner.tasks() if name != "_Keeper._read"]
    assert tasks, "those of a running extension are found"
    all_threads, files = owner.threads(), owner.descriptors()
    for _ in range(ROUNDS):
        await round_()
    await consumers.served(relay)
    for _ in range(ROUNDS):
        await owner.switch("activate")
    await consumers.served(relay)
    await owner.until_threads(threads)
    await owner.until_tasks(tasks)
    assert owner.threads() <= all_threads + 2
    await eventually(
        lambda: (owner.descriptors() - files).total() <= 2, 10, "no more descriptors"
    )


async def test_two_copies_at_once(
    owner: Owner, consumers: Consumers, releases: Releases
) -> None:
    """Copies of the extension of before and after an upgrade are started and stopped in
    any order: the newest that runs has the core."""
    await owner.install(releases.first.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    before = await owner.ask("/witness/api/v1/copies", "POST")
    await owner.install(releases.second.new())
    after = await owner.ask("/witness/api/v1/copies", "POST")
    assert len(after) > len(before)
    older, newest = len(before) - 1, len(after) - 1
    await consumers.served(relay)
    threads = owner.cores_threads()

    async def call(copy: int, action: str) -> None:
        await owner.ask(f"/witness/api/v1/copies/{copy}/{action}", "POST")

    client = await owner.client()
    for action in ("stop", "start", "start", "stop", "stop", "start"):
        await call(older, action)
        await client.fence()
        assert await owner.core() == releases.second.version
    await call(newest, "start")  # a second time: nothing to do
    await client.fence()
    assert owner.cores_threads() == threads

    await call(newest, "stop")
    assert (await client.ended())[0] == SERVICE_RESTART
    await owner.until_threads([])
    await call(newest, "stop")
    await call(older, "stop")
    await call(older, "start")
    assert await owner.core() == releases.first.version
    await call(newest, "start")
    assert await owner.core() == releases.second.version
    await call(older, "stop")
    await consumers.served(relay)
    await owner.until_threads(threads)


async def test_going_back(owner: Owner, consumers: Consumers, releases: Releases) -> None:
    """To a release that ran in this process before: it runs again, and can be stopped."""
    await owner.install(first := releases.first.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    await owner.install(second := releases.second.new())
    for release in (first, second, first):
        await owner.install(release)
        assert await owner.core() == release.version
        await consumers.served(relay)
    client = await owner.client()
    await owner.switch("deactivate")
    assert (await client.ended())[0] == SERVICE_RESTART
    await owner.until_threads([])
    await owner.switch("activate")
    assert await owner.core() == first.version
    await consumers.served(relay)


async def test_the_process_starts_again(
    owner: Owner, consumers: Consumers, releases: Releases
) -> None:
    """Consumers are imported and started before nostrclient is."""
    await owner.have(releases.second.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    # LNbits loads extensions in the order they were installed in.
    await owner.uninstall()
    await owner.install(releases.second.new())
    await consumers.served(relay)

    await owner.restart()
    assert await owner.installed() == releases.second.version
    assert await owner.core() == releases.second.version
    await consumers.served(relay)
    if owner.postgres is None:  # there LNbits loads them in whatever order they come
        order = owner.new_log()
        assert order.index("shop (1.0.0)") < order.index("nostrclient (")


async def test_removed_and_installed_again(
    owner: Owner, consumers: Consumers, releases: Releases
) -> None:
    """The endpoint, the files and the threads are gone. What consumers hold stays good:
    they are served again by what is installed next."""
    await owner.have(releases.second.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    await consumers.served(relay)
    client = await owner.client()
    await client.fence()

    await owner.uninstall()
    assert (await client.ended())[0] == SERVICE_RESTART
    await owner.until_threads([])
    await relay.until(lambda: not relay.lines, "the end of the connection")
    await owner.until_tasks([])
    assert not (owner.lnbits.extensions_path / "extensions" / "nostrclient").exists()
    assert (await owner.http.get(f"{owner.base}/relays")).status_code == 404
    assert await refused(owner.private_url) in (403, 404)
    await consumers.publish("into nothing, without an error")

    await owner.install(releases.first.new())
    assert [shown["url"] for shown in await owner.relays()] == [relay.url]
    assert await owner.core() == releases.first.version
    await consumers.served(relay)
