"""Each test here runs over both ways of a client to the core: by its socket, which the
core takes over, and through a web server that keeps it."""

from collections.abc import Iterator

import pytest

from scripts.lnbits_server import LNbits


@pytest.fixture(scope="session")
def lnbits_with_sockets(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LNbits]:
    """LNbits on a WebSocket implementation whose sockets cannot be had."""
    folder = tmp_path_factory.mktemp("lnbits-with-sockets")
    with LNbits(folder / "data", websockets="websockets-sansio") as server:
        yield server


@pytest.fixture(params=["by its socket", "through the server"])
def lnbits(lnbits: LNbits, request: pytest.FixtureRequest) -> LNbits:
    if request.param == "by its socket":
        return lnbits
    other: LNbits = request.getfixturevalue("lnbits_with_sockets")
    return other
