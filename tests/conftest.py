"""One LNbits for the whole session, and an endpoint in a known state for every test."""

import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from endpoint import Endpoint
from outbox import Outbox

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
