"""Without a usable core LNbits stays up, and everybody is told what to do about it.

What else can be wrong, and what is said then, is in test_library.py.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from scripts.lnbits_server import LNbits
from support.bundles import THIS, Unpacked, release_zip
from support.copied import copy_of
from support.endpoint import Endpoint

pytestmark = pytest.mark.asyncio

# What `import nostrclient_core` finds in LNbits' Python environment.
MISSING = 'raise ModuleNotFoundError("not there", name="nostrclient_core")\n'
BROKEN = 'raise ImportError("no such platform")\n'
OLD = '__version__ = "0.0.0"\n'


class Installed:
    """An LNbits with the extension from the release zip, which is damaged on the way."""

    def __init__(self, lnbits: LNbits, folder: Path) -> None:
        extensions = folder / "extensions-path/extensions"
        extensions.mkdir(parents=True)
        self.extension = Unpacked(release_zip(), extensions)
        self.wheel = folder / "environment/nostrclient_core/__init__.py"
        self.wheel.parent.mkdir(parents=True)
        (self.wheel.parent / "bridge.py").write_text("")
        self.wheel.write_text(MISSING)
        self.lnbits = copy_of(
            lnbits,
            folder / "data",
            extensions_path=extensions.parent,
            env={
                "PYTHONPATH": str(self.wheel.parents[1]),
                # Files change faster than the times by which bytecode is told apart.
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )

    def half_a_library(self) -> None:
        whole = self.extension.library.read_bytes()
        self.extension.library.write_bytes(whole[: len(whole) // 2])

    def no_library(self) -> None:
        self.extension.library.unlink()

    def other_platforms(self) -> None:
        self.extension.native.rename(self.extension.native.with_name("macos_arm64"))

    def nothing_native(self) -> None:
        shutil.rmtree(self.extension.root / "native")

    def broken_wheel(self) -> None:
        self.wheel.write_text(BROKEN)

    def old_wheel(self) -> None:
        self.wheel.write_text(OLD)

    def install_again(self) -> None:
        shutil.rmtree(self.extension.root)
        Unpacked(release_zip(), self.extension.root.parent)


async def activate(endpoint: Endpoint) -> None:
    """Stop the extension and start it again, as an admin does who has mended it."""
    for action in ("deactivate", "activate"):
        url = f"{endpoint.root}/api/v1/extension/nostrclient/{action}"
        response = await endpoint.http.put(url)
        assert response.status_code == 200, response.text


async def refuses(endpoint: Endpoint, lnbits: LNbits, said: str) -> None:
    """Everybody is told this, the log once, and all else of LNbits works."""
    response = await endpoint.http.get(f"{endpoint.base}/relays")
    assert response.status_code == 503
    detail = response.json()["detail"]
    assert said in detail
    assert (await endpoint.add("ws://127.0.0.1:9")).status_code == 503
    page = await endpoint.http.get(f"{lnbits.url}/nostrclient/")
    assert page.status_code == 200
    assert said in page.text
    for url in (endpoint.public_url, endpoint.private_url):
        with pytest.raises(InvalidStatus) as refusal:
            await connect(url, proxy=None)
        assert refusal.value.response.status_code == 503
        assert said.encode() in (refusal.value.response.body or b"")
    health = await endpoint.http.get(f"{lnbits.url}/api/v1/health")
    assert health.status_code == 200
    assert lnbits.log().count(detail) == 1
    assert "Traceback" not in lnbits.log()


async def test_lnbits_stays_up(lnbits: LNbits, tmp_path: Path) -> None:
    """From its start on without a library; then without in other ways, and mended in the
    end, all without a restart."""
    installed = Installed(lnbits, tmp_path)
    installed.half_a_library()
    with installed.lnbits as damaged:
        endpoint = Endpoint(damaged)
        await endpoint.configure(private_ws=True, public_ws=True)
        await refuses(endpoint, damaged, "is not what came in the release zip")
        spoil: list[tuple[Callable[[], None], str]] = [
            (installed.no_library, "_native.abi3.so is missing"),
            (installed.other_platforms, "has no core for this machine"),
            (installed.nothing_native, "maturin develop"),
            (installed.broken_wheel, "no such platform"),
            (installed.old_wheel, f"nostrclient {THIS} needs its core in the same"),
        ]
        for change, said in spoil:
            change()
            await activate(endpoint)
            await refuses(endpoint, damaged, said)
        installed.install_again()
        await activate(endpoint)
        assert (await endpoint.http.get(f"{endpoint.base}/relays")).json() == []
        await (await connect(endpoint.public_url, proxy=None)).close()
        await endpoint.close()
