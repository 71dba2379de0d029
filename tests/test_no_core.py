"""Without a usable core LNbits stays up, and everybody is told how to build it."""

from pathlib import Path

import pytest
from endpoint import Endpoint
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from scripts.lnbits_server import LNbits

pytestmark = pytest.mark.asyncio

MISSING = 'raise ImportError("no such platform")\n'
OLD = '__version__ = "0.0.0"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for all of them: only the first start is slow."""
    return tmp_path_factory.mktemp("no-core")


def replaced(place: Path, core: str) -> dict[str, str]:
    """The environment in which `import nostrclient_core` finds this instead."""
    package = place / "nostrclient_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(core)
    (package / "bridge.py").write_text("")
    return {"PYTHONPATH": str(place)}


@pytest.mark.parametrize(
    ("core", "reason"),
    [(MISSING, "no such platform"), (OLD, "0.0.0")],
    ids=["missing", "of another version"],
)
async def test_lnbits_stays_up(
    folder: Path, tmp_path: Path, core: str, reason: str
) -> None:
    env = replaced(tmp_path / "path", core)
    with LNbits(folder / "data", env=env) as lnbits:
        endpoint = Endpoint(lnbits)
        response = await endpoint.http.get(f"{endpoint.base}/relays")
        assert response.status_code == 503
        detail = response.json()["detail"]
        assert "maturin develop" in detail and reason in detail
        assert (await endpoint.add("ws://127.0.0.1:9")).status_code == 503
        page = await endpoint.http.get(f"{lnbits.url}/nostrclient/")
        assert page.status_code == 200
        await endpoint.configure(private_ws=True, public_ws=True)
        for url in (endpoint.public_url, endpoint.private_url):
            with pytest.raises(InvalidStatus) as refusal:
                await connect(url, proxy=None)
            assert refusal.value.response.status_code == 503
            assert b"maturin develop" in (refusal.value.response.body or b"")
        health = await endpoint.http.get(f"{lnbits.url}/api/v1/health")
        assert health.status_code == 200
        assert lnbits.log().count("maturin develop") == 1
        assert "Traceback" not in lnbits.log()
        await endpoint.close()
