"""COMPAT, WebSocket: who may come in, and by which path."""

import asyncio
import base64
import json
import os
import sqlite3
from contextlib import closing
from urllib.parse import quote

import pytest

from support.endpoint import Endpoint, private_id
from support.events import Author
from support.outbox import DATABASE
from support.scripted_relay import ScriptedRelay
from support.wire_client import refused

pytestmark = pytest.mark.asyncio

FRESH_SECONDS = 5.0


def id_with(secret: str, *characters: str) -> str:
    """An id in plain base64 that holds all of these."""
    while True:
        found = private_id(secret, urlsafe=False)
        if all(character in found for character in characters):
            return found


async def served(endpoint: Endpoint, url: str) -> None:
    client = await endpoint.client(url)
    await client.subscribe("s", {"kinds": [1]})
    await client.close()


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("public", [True, False])
async def test_the_switches(endpoint: Endpoint, private: bool, public: bool) -> None:
    """They act at once, for those who come."""
    await endpoint.configure(private_ws=private, public_ws=public)
    for _ in range(2):
        assert await refused(endpoint.public_url) == (101 if public else 403)
        assert await refused(endpoint.private_url) == (101 if private else 403)
        await endpoint.configure(private_ws=private, public_ws=public)


async def test_both_endpoints_serve(endpoint: Endpoint) -> None:
    await endpoint.use(ScriptedRelay())
    await served(endpoint, endpoint.public_url)
    await served(endpoint, endpoint.public_url + "/")
    await served(endpoint, endpoint.private_url)
    await served(endpoint, endpoint.private_url + "/")


async def test_private_ids_in_plain_base64(endpoint: Endpoint) -> None:
    """One consumer encrypts without `urlsafe`: slashes and plus signs in the path."""
    await endpoint.use(ScriptedRelay())
    for characters in ("/", "+", "/+"):
        found = id_with(endpoint.secret, *characters)
        await served(endpoint, f"{endpoint.ws_base}/{found}")
        await served(endpoint, f"{endpoint.ws_base}/{found}/")
        await served(endpoint, f"{endpoint.ws_base}/{quote(found, safe='')}")


async def test_ids_with_urlsafe_characters(endpoint: Endpoint) -> None:
    for wanted in ("-", "_"):
        found = private_id(endpoint.secret)
        while wanted not in found:
            found = private_id(endpoint.secret)
        await served(endpoint, f"{endpoint.ws_base}/{found}")


async def test_anything_else_is_refused(endpoint: Endpoint) -> None:
    secret = endpoint.secret
    true = private_id(secret)
    junk = [
        "x",
        "relays",
        "config",
        "relay/test",
        "relay2",
        "RELAY",
        "relay/relay",
        "a/b/c",
        "%00",
        "%ff%fe",
        "%F0%9F%A6%80",
        "..%2frelay",
        "+",
        "=",
        "====",
        "-",
        "x" * 4_000,
        base64.b64encode(b"relay").decode(),
        base64.b64encode(b"Salted__").decode(),
        base64.b64encode(b"Salted__" + os.urandom(8)).decode(),
        base64.b64encode(b"Salted__" + os.urandom(24)).decode(),
        base64.b64encode(b"Salted__" + os.urandom(25)).decode(),
        private_id(secret, "relays"),
        private_id(secret, "config"),
        private_id(secret, " relay"),
        private_id("another secret"),
        true[:-4],
        true + "AAAA",
        "A" + true,
    ]
    for path in junk:
        assert await refused(f"{endpoint.ws_base}/{path}") == 403, path
    # One byte changed anywhere in what is encrypted.
    for index in range(12, 40):
        changed = true[:index] + ("A" if true[index] != "A" else "B") + true[index + 1 :]
        assert await refused(f"{endpoint.ws_base}/{changed}") == 403, changed
    assert await refused(endpoint.public_url) == 101
    assert "Traceback" not in endpoint.lnbits.log()


async def test_switching_off_is_for_those_who_come(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    await endpoint.configure(private_ws=True, public_ws=False)
    assert await refused(endpoint.public_url) == 403
    await relay.line.live(note := Author().sign())
    assert await client.count("s", 1) == [note]


async def test_switching_off_the_private_one(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client(endpoint.private_url)
    await client.subscribe("s", {"kinds": [1]})
    await endpoint.configure(private_ws=False, public_ws=True)
    assert await refused(endpoint.private_url) == 403
    assert await refused(endpoint.public_url) == 101
    await relay.line.live(note := Author().sign())
    assert await client.count("s", 1) == [note]
    assert (await client.publish(Author().sign())).parts[2] is True


async def test_what_another_process_switches_off(endpoint: Endpoint) -> None:
    """Rule 7.1: whoever comes when it was not looked at for seconds finds it so, the
    first of them too."""
    path = endpoint.lnbits.data_folder / DATABASE
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
        for public, status in ((False, 403), (True, 101)):
            # As it is looked at when somebody comes, the time begins with him.
            await refused(endpoint.public_url)
            (extra,) = database.execute("SELECT extra FROM config").fetchone()
            changed = json.dumps({**json.loads(extra), "public_ws": public})
            database.execute("UPDATE config SET extra = ?", (changed,))
            await asyncio.sleep(FRESH_SECONDS + 1)
            assert await refused(endpoint.public_url) == status


async def test_a_market_extensions_way(endpoint: Endpoint) -> None:
    """Private endpoint, five filters in one REQ, long ids, reads EVENT only,
    subscribes again when the socket closes."""
    author, relay = Author(), ScriptedRelay()
    await endpoint.use(relay)
    name = "nostrmarket-" + "0" * 32
    filters = [
        {"kinds": [4], "#p": [author.pubkey]},
        {"kinds": [4], "authors": [author.pubkey]},
        {"kinds": [30017], "authors": [author.pubkey]},
        {"kinds": [30018], "authors": [author.pubkey]},
        {"kinds": [0], "authors": [author.pubkey], "since": 1},
    ]
    for number in range(2):
        client = await endpoint.client(endpoint.private_url)
        await client.subscribe(name, *filters)
        note = author.sign(f"stall {number}", kind=30017, tags=[["d", "x"]])
        await relay.line.live(note, Author().sign(kind=30017))
        assert await client.count(name, 1) == [note]
        await client.vanish()
        await relay.until(lambda: not relay.open_subs(), "the end of it")


async def test_a_wallet_services_way(endpoint: Endpoint) -> None:
    """NIP-47: two subscriptions with 64-character ids, and EOSE on both of them."""
    service, wallet, relay = Author(), Author(), ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client(endpoint.private_url)
    names = [os.urandom(32).hex() for _ in range(2)]
    await asyncio.gather(
        client.subscribe(names[0], {"kinds": [23194], "#p": [service.pubkey]}),
        client.subscribe(names[1], {"kinds": [13194], "authors": [service.pubkey]}),
    )
    info = service.sign("pay_invoice", kind=13194)
    for _ in range(2):
        assert (await client.publish(info)).parts[2] is True
    order = wallet.sign("order", kind=23194, tags=[["p", service.pubkey]])
    await relay.line.live(order, order)
    assert await client.count(names[0], 1) == [order]
    paid = service.sign("paid", kind=23195, tags=[["p", wallet.pubkey]])
    assert (await client.publish(paid)).parts[2] is True
    await client.quiet(0.5)
