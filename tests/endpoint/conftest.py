"""Each test here runs over both ways of a client to the core: by its socket, which the
core takes over, and through a web server that keeps it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from scripts.lnbits_server import LNbits
from support.endpoint import Endpoint, cleared


@pytest.fixture(scope="session")
def lnbits_with_sockets(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LNbits]:
    """LNbits on a WebSocket implementation whose sockets cannot be had."""
    folder = tmp_path_factory.mktemp("lnbits-with-sockets")
    with LNbits(folder / "data", websockets="websockets-sansio") as server:
        yield server


@pytest.fixture(params=["by its socket", "through the server"])
def either(request: pytest.FixtureRequest) -> LNbits:
    by_socket = request.param == "by its socket"
    name = "lnbits" if by_socket else "lnbits_with_sockets"
    server: LNbits = request.getfixturevalue(name)
    return server


@pytest_asyncio.fixture
async def endpoint(either: LNbits) -> AsyncIterator[Endpoint]:
    async with cleared(either) as endpoint:
        yield endpoint
