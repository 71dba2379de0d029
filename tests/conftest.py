"""One LNbits for the whole session, and an endpoint in a known state for every test."""

import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from endpoint import Endpoint
from installation import PLACES, Releases, Server, bundles, put_releases, serving
from outbox import Outbox
from owner import Owner
from served import Consumers
from shelf import Shelf

from scripts.lnbits_server import LNbits

NODE = Path(__file__).parent / "node"


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
    """No relays, both switches on. Ends every relay and client the test has started."""
    endpoint = Endpoint(lnbits)
    await endpoint.reset()
    try:
        yield endpoint
    finally:
        await endpoint.close()
    assert not lnbits.process.ended, f"LNbits has ended:\n{lnbits.process.tail()}"


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


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with strangers' clients installed as the lock file has them."""
    program, npm = shutil.which("node"), shutil.which("npm")
    assert program and npm, "no node and npm on the path: `make test` sees to them"
    installed = NODE / "node_modules" / ".package-lock.json"
    lock = NODE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run([npm, "ci", "--silent"], cwd=NODE, check=True, timeout=100)
        installed.touch()
    return program
