"""Releases that cannot work: LNbits stays up, the page and the API say what is wrong, and
the next good release repairs it."""

import html
import json
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from support.installation import Releases
from support.owner import Owner
from support.scripted_relay import ScriptedRelay
from support.served import Consumers
from support.shelf import packed, unpacked

pytestmark = pytest.mark.asyncio

Files = dict[str, bytes]
LIBRARY = "_native.abi3.so"


def library(files: Files) -> str:
    """The native library's name in a zip."""
    (found,) = (name for name in files if name.endswith(LIBRARY))
    return found


def missing(files: Files) -> None:
    del files[library(files)]


def empty(files: Files) -> None:
    files[library(files)] = b""


def text(files: Files) -> None:
    files[library(files)] = b"no library\n" * 1_000


def cut_off(files: Files) -> None:
    files[library(files)] = files[library(files)][:100_000]


def foreign(files: Files) -> None:
    """Right but for the machine in its ELF header: aarch64, or x86_64 there."""
    data = bytearray(files[library(files)])
    data[18] = 0x3E if data[18] == 0xB7 else 0xB7
    files[library(files)] = bytes(data)


def another_platforms(files: Files) -> None:
    """Nothing for this one."""
    here = library(files).split("/")[3]
    for name in list(files):
        if f"/{here}/" in name:
            files[name.replace(here, "plan9_mips")] = files.pop(name)


def older_core(files: Files) -> None:
    """The extension is newer than what it comes with."""
    name = "nostrclient/config.json"
    told = json.loads(files[name])
    files[name] = json.dumps({**told, "version": "9.0.0"}).encode()


def older_core_in_its_place(files: Files) -> None:
    """And somebody has put that where the new one belongs."""
    version = library(files).split("/")[2]
    older_core(files)
    for name in list(files):
        if name.startswith(f"nostrclient/native/{version}/"):
            files[name.replace(f"native/{version}", "native/9.0.0", 1)] = files.pop(name)


BROKEN: dict[Callable[[Files], None], tuple[str, ...]] = {
    missing: (LIBRARY, "missing"),
    empty: ("empty", "release zip"),
    text: ("no library", "release zip"),
    cut_off: ("damaged", "release zip"),
    foreign: ("made for", "release zip"),
    another_platforms: ("plan9_mips", "this machine"),
    older_core: ("9.0.0", "same version"),
    older_core_in_its_place: ("9.0.0", "same version"),
}


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)
async def test_a_clear_refusal(
    owner: Owner,
    consumers: Consumers,
    releases: Releases,
    breaks: Callable[[Files], None],
) -> None:
    """And then a release that works does."""
    if await owner.installed() is None:
        await owner.install(releases.second.new())
    await owner.reset()
    await consumers.use(relay := ScriptedRelay())
    files = unpacked(releases.second.data)
    breaks(files)
    before = len(owner.new_log())
    await owner.install(releases.shelf.put(packed(files)))

    # Once for each start: LNbits 1.5 starts the old copy too, before it is replaced.
    told = errors(owner.new_log()[before:])
    assert 1 <= len(told) <= 2
    sentence = told[-1]
    assert all(word in sentence for word in BROKEN[breaks]), sentence
    assert str(owner.lnbits.extensions_path) not in sentence
    page = await owner.http.get(f"{owner.root}/nostrclient/")
    assert page.status_code == 200
    assert sentence in html.unescape(page.text)
    if await owner.core() is None:
        await refused_with(owner, sentence)
    else:  # what ran before was started again by LNbits 1.5, and goes on
        await consumers.served(relay)
    # Its consumers are told nothing they do not understand.
    await consumers.publish("while it is broken")
    await consumers.got()
    await owner.ask("/api/v1/health")

    await owner.install(releases.second.new())
    await consumers.served(relay)


def errors(log: str) -> list[str]:
    """Ours, however many columns LNbits writes before them."""
    lines = [line.rpartition(" | ")[2] for line in log.splitlines() if " ERROR " in line]
    return [line for line in lines if line.startswith("nostrclient")]


async def refused_with(owner: Owner, sentence: str) -> None:
    """Nothing runs, and everybody who asks is told why."""
    await owner.until_threads([])
    response = await owner.http.get(f"{owner.base}/relays")
    assert response.status_code == 503
    assert response.json()["detail"] == sentence
    with pytest.raises(InvalidStatus) as refusal:
        await connect(owner.private_url, proxy=None)
    assert refusal.value.response.status_code == 503
    assert refusal.value.response.body == sentence.encode()
