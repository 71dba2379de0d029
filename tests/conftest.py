"""One LNbits for the whole session, and an endpoint in a known state for every test.

A session is one process. With `make test` there are four at a time (see `lanes.py`), and
each has its own of everything here.
"""

import fcntl
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from scripts.lnbits_server import LNbits
from support.browser import Visit, Visitors, chromium
from support.endpoint import Endpoint, cleared
from support.installation import PLACES, Releases, Server, bundles, put_releases, serving
from support.outbox import Outbox
from support.owner import Owner
from support.pages import OURS, VERSIONS, Site, released
from support.served import Consumers
from support.shelf import Shelf

pytest_plugins = ["support.lanes"]

NODE = Path(__file__).parent / "support" / "node"


@pytest.fixture(scope="session", autouse=True)
def file_limit() -> None:
    """Some tests hold thousands of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def lnbits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LNbits]:
    """A new installation, shared by the tests that change nothing but relays and
    switches."""
    folder: Path = tmp_path_factory.mktemp("lnbits")
    with LNbits(folder / "data") as server:
        yield server


@pytest_asyncio.fixture
async def endpoint(lnbits: LNbits) -> AsyncIterator[Endpoint]:
    """As every test finds it, and as nobody finds it after the test."""
    async with cleared(lnbits) as endpoint:
        yield endpoint


@pytest.fixture
def outbox(endpoint: Endpoint) -> Outbox:
    """The outbox of that endpoint, empty."""
    return Outbox(endpoint)


@pytest.fixture(scope="session")
def releases() -> Iterator[Releases]:
    """Served for as long as the session takes: LNbits looks for them at any time."""
    first, second = bundles()
    with Shelf() as shelf:
        yield put_releases(shelf, first, second)


@pytest.fixture(scope="session", params=PLACES, ids=str)
def server(
    request: pytest.FixtureRequest,
    releases: Releases,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A new LNbits without extensions, shared by the tests that install some."""
    folder = tmp_path_factory.mktemp("server")
    with serving(request.param, releases.shelf, folder / "data") as server:
        yield server


@pytest_asyncio.fixture
async def owner(server: Server) -> AsyncIterator[Owner]:
    """Its owner, and whatever the tests before have left installed. Ends every relay and
    client the test has started."""
    owner = Owner(server.lnbits, server.place.lnbits, server.postgres)
    try:
        yield owner
    finally:
        await owner.close()
    assert not server.lnbits.process.ended, server.lnbits.process.tail()
    owner.no_complaints()


@pytest.fixture
def consumers(owner: Owner, releases: Releases) -> Consumers:
    """The extensions that use ours, once they are installed."""
    return Consumers(owner, releases.consumers)


@pytest.fixture(scope="session", params=VERSIONS)
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LNbits, str]]:
    """An LNbits whose pages are looked at, in each version, and its version."""
    if request.param == OURS:
        yield request.getfixturevalue("lnbits"), OURS
        return
    with released(request.param, tmp_path_factory.mktemp("shown")) as server:
        yield server, request.param


@pytest_asyncio.fixture(loop_scope="session")
async def site(shown: tuple[LNbits, str]) -> AsyncIterator[Site]:
    """As `endpoint`, of the LNbits whose pages are looked at."""
    lnbits, version = shown
    site = Site(lnbits, version)
    await site.reset()
    try:
        yield site
    finally:
        await site.close()
    assert not lnbits.process.ended, f"LNbits has ended:\n{lnbits.process.tail()}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One process, for all tests with pages."""
    async with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def visitors(
    request: pytest.FixtureRequest, browser: Browser, site: Site
) -> AsyncIterator[Visitors]:
    """People who come to the site. At the end of the test nothing may have gone wrong on
    their pages but what it expected."""
    marker = request.node.get_closest_marker("asyncio")
    assert (
        marker and marker.kwargs.get("loop_scope") == "session"
    ), 'The browser is in the session\'s loop: pytest.mark.asyncio(loop_scope="session")'
    visitors = Visitors(browser, site)
    try:
        yield visitors
    finally:
        await visitors.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(visitors: Visitors) -> Visit:
    """The server's owner, who has opened nothing yet: wide screen, light theme."""
    return await visitors.admin()


@pytest.fixture
def page(visit: Visit) -> Page:
    """His page."""
    return visit.page


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with strangers' clients installed as the lock file has them."""
    program, npm = shutil.which("node"), shutil.which("npm")
    assert program and npm, "no node and npm on the path: `make test` sees to them"
    installed = NODE / "node_modules" / ".package-lock.json"
    lock = NODE / "package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the folder is the other sessions' too
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run([npm, "ci", "--silent"], cwd=NODE, check=True, timeout=100)
            installed.touch()
    return program
