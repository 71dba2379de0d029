"""Clients of others, straight and through what people put before LNbits."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from scripts.lnbits_server import LNbits
from support.certificate import certificate
from support.copied import copy_of
from support.endpoint import Endpoint, cleared
from support.events import Author, ids, now
from support.foreign_sockets import Chromium, ForeignSocket, Websockets, Ws
from support.front_end import FrontEnd
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONGEST = 512 << 10
NORMAL, OWN, POLICY = 1000, 4_321, 1008  # close codes


@pytest.fixture(scope="module", params=["straight", "nginx", "caddy"])
def port(
    request: pytest.FixtureRequest,
    lnbits: LNbits,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    if request.param == "straight":
        yield lnbits.port
        return
    folder = tmp_path_factory.mktemp(request.param)
    with FrontEnd(request.param, folder, to=lnbits.port) as front:
        yield front.port


@pytest_asyncio.fixture(loop_scope="session")
async def endpoint(lnbits: LNbits) -> AsyncIterator[Endpoint]:
    async with cleared(lnbits) as endpoint:
        yield endpoint


@pytest.fixture(params=["websockets", "ws", "chromium"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(loop_scope="session")
async def socket(
    kind: str, endpoint: Endpoint, browser: Browser, node: str, port: int
) -> AsyncIterator[ForeignSocket]:
    """Not connected yet."""
    url = f"ws://127.0.0.1:{port}/nostrclient/api/v1/relay"
    made: ForeignSocket
    if kind == "websockets":
        made = Websockets(url)
    elif kind == "ws":
        made = Ws(url, node)
    else:
        made = Chromium(url, browser)
    try:
        yield made
    finally:
        await made.end()


async def say(socket: ForeignSocket, *parts: Any) -> None:
    await socket.send(json.dumps(parts, separators=(",", ":")))


async def hear(socket: ForeignSocket) -> list[Any]:
    found: list[Any] = json.loads(await socket.hear())
    return found


async def test_a_conversation(
    endpoint: Endpoint, socket: ForeignSocket, port: int
) -> None:
    relay, author = ScriptedRelay(), Author()
    await endpoint.use(relay)
    await endpoint.configure(public_allowed=[author.pubkey])
    await socket.open()
    verb, challenge = await hear(socket)
    assert verb == "AUTH"
    tags = [["challenge", challenge], ["relay", f"ws://127.0.0.1:{port}/"]]
    who = author.sign("", kind=22242, tags=tags, created_at=now())
    await say(socket, "AUTH", who)
    assert await hear(socket) == ["OK", who["id"], True, ""]

    await say(socket, "REQ", "s", {"kinds": [1]})
    assert (await hear(socket))[:2] == ["EOSE", "s"]
    await socket.ping()

    # The largest message, there and back. What is before the text takes a little.
    note = author.sign("é" + "x" * (LONGEST - 600))
    await say(socket, "EVENT", note)
    heard = [await hear(socket), await hear(socket)]
    assert sorted(part[0] for part in heard) == ["EVENT", "OK"]
    assert ["EVENT", "s", note] in heard
    assert ["OK", note["id"], True, ""] in heard
    assert relay.published() == [note]

    live = [author.sign(f"{number} " + "y" * 30_000) for number in range(100)]
    await relay.line.live(*live)
    came = [(await hear(socket))[2] for _ in live]
    assert sorted(ids(came)) == sorted(ids(live))
    await say(socket, "CLOSE", "s")
    await relay.until(lambda: not relay.open_subs(), "the end of it")


async def test_the_client_closes(endpoint: Endpoint, socket: ForeignSocket) -> None:
    await endpoint.use(relay := ScriptedRelay())
    await socket.open()
    await say(socket, "REQ", "s", {"kinds": [1]})
    await hear(socket)
    await socket.close(OWN, "enough")
    assert await socket.closed() == OWN
    await relay.until(lambda: not relay.open_subs(), "the end of its subscription")


async def test_the_server_closes(endpoint: Endpoint, socket: ForeignSocket) -> None:
    await socket.open()
    await say(socket, "REQ", "s", {"ids": []})
    assert (await hear(socket))[0] == "EOSE"
    found = (await endpoint.http.get(f"{endpoint.base}/clients")).json()["clients"]
    (line,) = [line for line in found if line["kind"] == "public"]
    url = f"{endpoint.base}/clients/{line['id']}"
    assert (await endpoint.http.delete(url)).status_code == 200
    assert await socket.closed() == POLICY


async def test_lnbits_itself_speaks_tls(
    lnbits: LNbits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the sockets stay with the web server, which the page says."""
    tls = certificate(tmp_path / "tls.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tls))
    lnbits = copy_of(lnbits, tmp_path / "data", tls=tls)
    async with ScriptedRelay() as relay:
        try:
            await asyncio.to_thread(lnbits.start)
            endpoint = Endpoint(lnbits)
            await endpoint.reset()
            await endpoint.use(relay)
            for url in (endpoint.public_url, endpoint.private_url):
                assert url.startswith("wss://")
                client = await endpoint.client(url)
                await client.subscribe("s", {"kinds": [1]})
                await relay.line.live(note := Author().sign())
                assert await client.count("s", 1) == [note]
                assert (await client.publish(Author().sign("its own"))).parts[2] is True
            shown = (await endpoint.http.get(f"{endpoint.base}/live")).json()
            assert "TLS" in shown["state"]["sockets"]
            await endpoint.close()
        finally:
            await asyncio.to_thread(lnbits.stop)
            lnbits.http.close()
