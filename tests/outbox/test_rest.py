"""The outbox over REST: for the admin, and for other extensions with a wallet's key."""

import time
from typing import Any

import httpx
import pytest

from scripts.version import version
from support.defaults import DEFAULTS
from support.endpoint import Endpoint
from support.events import Author, ids
from support.outbox import SIZE, Outbox, back, down, fence, outage, queue
from support.scripted_relay import ScriptedRelay, accept, answer, eose_at_once, silent

pytestmark = pytest.mark.asyncio

NO_SUCH_EVENT = {"detail": "No such event in the outbox.", "code": "no_such_event"}
UNKNOWN = "0" * 64


async def wallet_keys(endpoint: Endpoint) -> dict[str, str]:
    wallets = await endpoint.http.get(f"{endpoint.root}/api/v1/wallets")
    wallet: dict[str, str] = wallets.json()[0]
    return wallet


async def status(endpoint: Endpoint) -> dict[str, Any]:
    """As another extension asks for it."""
    key = {"X-Api-Key": (await wallet_keys(endpoint))["inkey"]}
    async with httpx.AsyncClient(headers=key) as wallet:
        response = await wallet.get(f"{endpoint.base}/status")
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


async def test_an_empty_outbox(endpoint: Endpoint, outbox: Outbox) -> None:
    shown = await outbox.shown()
    delivered, dropped = shown.pop("delivered"), shown.pop("dropped")
    assert shown == {
        "size": SIZE,
        "queued": 0,
        "in_doubt": 0,
        "rejected": 0,
        "oldest_age": None,
        "problem": None,
        "rows": [],
    }
    assert set(dropped) == {"expired", "withdrawn", "superseded", "rejected"}
    assert all(isinstance(count, int) for count in (delivered, *dropped.values()))
    assert await status(endpoint) == {
        "version": version(),
        "relays": {"configured": 0, "connected": 0, "writable": 0},
        "outbox": {"depth": 0, "size": SIZE, "oldest_age": None},
    }


async def test_the_rows(endpoint: Endpoint, outbox: Outbox) -> None:
    """One in each state."""
    relay = ScriptedRelay(on_event=answer(False, "blocked: no"))
    author, started = Author(), time.time()
    rejected, doubtful, waiting = author.notes(3)
    client = await outage(endpoint, relay)
    await queue(client, rejected)
    await back(endpoint, relay)
    await outbox.until(rejected=1)
    relay.on_event, relay.on_req = silent, silent
    assert (await client.publish(doubtful)).parts[2] is True
    await down(endpoint, relay)
    await queue(client, waiting)

    shown = await outbox.shown()
    assert (shown["queued"], shown["in_doubt"], shown["rejected"]) == (1, 1, 1)
    expected = {
        rejected["id"]: ("rejected", {relay.url: "blocked: no"}, {relay.url: "blocked"}),
        doubtful["id"]: ("in doubt", {}, {}),
        waiting["id"]: ("queued", {}, {}),
    }
    assert {row["id"] for row in shown["rows"]} == set(expected)
    assert len(shown["rows"]) == 3
    for row in shown["rows"]:
        assert set(row) == {
            "id",
            "kind",
            "pubkey",
            "state",
            "queued_at",
            "age",
            "reasons",
            "reason_codes",
            "here",
        }
        said = row["state"], row["reasons"], row["reason_codes"]
        assert said == expected[row["id"]]
        assert (row["kind"], row["pubkey"]) == (1, author.pubkey)
        assert row["here"] is True
        assert int(started) <= row["queued_at"] <= time.time()
        assert 0 <= row["age"] <= time.time() - row["queued_at"] + 1
    assert 0 <= shown["oldest_age"] <= time.time() - started + 1
    depth = (await status(endpoint))["outbox"]
    assert (depth["depth"], depth["size"]) == (2, SIZE)
    assert 0 <= depth["oldest_age"] <= time.time() - started + 1

    delivered = shown["delivered"]
    relay.on_event, relay.on_req = accept, eose_at_once
    await outbox.resize(50)
    await back(endpoint, relay)
    shown = await outbox.until(queued=0, in_doubt=0)
    assert shown["delivered"] == delivered + 2
    assert [row["id"] for row in shown["rows"]] == [rejected["id"]]
    depth = (await status(endpoint))["outbox"]
    assert depth == {"depth": 0, "size": 50, "oldest_age": None}


async def test_the_oldest_age(endpoint: Endpoint, outbox: Outbox) -> None:
    """In seconds since it was published; a clock that was set back makes none younger
    than now."""
    await outage(endpoint, ScriptedRelay())
    old, new, future = Author().notes(3)
    async with outbox.restarted():
        moment = int(time.time())
        outbox.table.put(old, queued_at=moment - 3600)
        outbox.table.put(new, queued_at=moment - 60)
        outbox.table.put(future, queued_at=moment + 86_400)
    shown = await outbox.until(queued=3)
    assert 3600 <= shown["oldest_age"] < 3700
    ages = [row["age"] for row in shown["rows"]]
    assert 3600 <= ages[0] < 3700 and 60 <= ages[1] < 160 and ages[2] == 0
    assert 3600 <= (await status(endpoint))["outbox"]["oldest_age"] < 3700
    for event in (old, new):
        assert (await outbox.delete(event["id"])).status_code == 200
    await outbox.until(oldest_age=0)
    assert (await status(endpoint))["outbox"]["oldest_age"] == 0


async def test_the_relays_in_the_status(endpoint: Endpoint) -> None:
    async def counts() -> tuple[int, int, int]:
        relays = (await status(endpoint))["relays"]
        assert set(relays) == {"configured", "connected", "writable"}
        return relays["configured"], relays["connected"], relays["writable"]

    both, reading, off = ScriptedRelay(), ScriptedRelay(), ScriptedRelay()
    await endpoint.use(both, reading, off)
    assert await counts() == (3, 3, 3)
    for relay, switch in ((reading, "write"), (off, "active")):
        response = await endpoint.http.put(
            f"{endpoint.base}/relay", json={"url": relay.url, switch: False}
        )
        assert response.status_code == 200
    await off.until(lambda: not off.lines, "the end of the connection")
    assert await counts() == (2, 2, 1)
    await down(endpoint, both)
    assert await counts() == (2, 1, 0)


async def test_the_status_needs_a_wallets_key(endpoint: Endpoint) -> None:
    """As `relays/urls` does: any key of a wallet, and nothing else."""
    keys = await wallet_keys(endpoint)
    url = f"{endpoint.base}/status"
    async with httpx.AsyncClient() as anyone:
        for name in ("inkey", "adminkey"):
            response = await anyone.get(url, headers={"X-Api-Key": keys[name]})
            assert response.status_code == 200, name
        for headers in (
            {},
            {"X-Api-Key": "wrong"},
            {"X-Api-Key": keys["id"]},
            {"Authorization": f"Bearer {await endpoint.user_token()}"},
        ):
            response = await anyone.get(url, headers=headers)
            assert response.status_code in (400, 401, 403, 404), headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", "/{}/retry"), ("DELETE", "/{}")],
    ids=["list", "retry", "delete"],
)
async def test_only_admins_may(
    endpoint: Endpoint, outbox: Outbox, method: str, path: str
) -> None:
    client, note = await outage(endpoint, ScriptedRelay()), Author().sign()
    await queue(client, note)
    keys = await wallet_keys(endpoint)
    url = f"{endpoint.base}/outbox{path.format(note['id'])}"
    async with httpx.AsyncClient() as anyone:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"X-Api-Key": keys["adminkey"]},
            {"X-Api-Key": keys["inkey"]},
            {"Authorization": f"Bearer {await endpoint.user_token()}"},
        ):
            response = await anyone.request(method, url, headers=headers)
            assert response.status_code in (401, 403), (headers, response.text)
            assert note["id"] not in response.text
    assert outbox.table.ids() == [note["id"]]
    assert (await outbox.row(note))["state"] == "queued"


@pytest.mark.parametrize(
    "name", [UNKNOWN, "x", "%27%20OR%201=1--", "f" * 5_000], ids=lambda name: name[:8]
)
async def test_no_such_event(endpoint: Endpoint, outbox: Outbox, name: str) -> None:
    client, note = await outage(endpoint, ScriptedRelay()), Author().sign()
    await queue(client, note)
    for response in (await outbox.retry(name), await outbox.delete(name)):
        assert (response.status_code, response.json()) == (404, NO_SUCH_EVENT)
    assert outbox.table.ids() == [note["id"]]


async def test_deleting(endpoint: Endpoint, outbox: Outbox) -> None:
    """Waiting or in doubt: it is not sent any more, and a client may publish it again."""
    relay = ScriptedRelay(on_event=silent, on_req=silent)
    doubtful, gone, again, kept = Author().notes(4)
    await endpoint.use(relay)
    client = await endpoint.client()
    assert (await client.publish(doubtful)).parts[2] is True
    await down(endpoint, relay)
    await queue(client, gone, again, kept)
    for event in (doubtful, gone, again):
        assert (await outbox.delete(event["id"])).status_code == 200
        response = await outbox.delete(event["id"])
        assert (response.status_code, response.json()) == (404, NO_SUCH_EVENT)
    assert outbox.table.ids() == [kept["id"]]
    await queue(client, again)
    relay.on_event = accept
    await back(endpoint, relay)
    await outbox.until_empty()
    after = await fence(client, relay)
    assert relay.published() == [doubtful, kept, again, after]


async def test_retrying_what_waits(endpoint: Endpoint, outbox: Outbox) -> None:
    """It changes nothing while the relays are away, and does not wait for the pause."""
    relay, note = ScriptedRelay(), Author().sign()
    client = await outage(endpoint, relay)
    await queue(client, note)
    assert (await outbox.retry(note["id"])).status_code == 200
    assert (await outbox.row(note))["state"] == "queued"
    assert outbox.table.ids() == [note["id"]]
    relay.on_event = answer(False, "rate-limited: later")
    await back(endpoint, relay)
    await relay.until(lambda: relay.published() == [note], "the first attempt")
    relay.on_event = accept
    start = time.monotonic()
    assert (await outbox.retry(note["id"])).status_code == 200
    await outbox.until_empty()
    assert time.monotonic() - start < 2
    assert ids(relay.published()) == [note["id"]] * 2


async def test_the_size(endpoint: Endpoint, outbox: Outbox) -> None:
    """A setting beside the others; what is not given stays."""
    config = f"{endpoint.base}/config"
    for size in (0, 1, 10_000, SIZE):
        response = await outbox.resize(size)
        assert response.status_code == 200, response.text
        expected = {**DEFAULTS, "public_ws": True, "outbox_size": size}
        assert response.json() == expected
        assert (await endpoint.http.get(config)).json() == expected
        assert (await outbox.shown())["size"] == size
    mistakes: list[Any] = [-1, 10_001, "many", [], {}, 1e30]
    for wrong in mistakes:
        assert (await outbox.resize(wrong)).status_code in (400, 422), wrong
    await outbox.resize(7)
    response = await endpoint.http.put(config, json={"private_ws": False})
    expected |= {"private_ws": False, "outbox_size": 7}
    assert response.json() == (await endpoint.http.get(config)).json() == expected
    async with outbox.restarted():
        pass
    await outbox.until(size=7)


async def test_all_at_once(endpoint: Endpoint, outbox: Outbox) -> None:
    """Retried or deleted together; what was not named stays."""
    relay = ScriptedRelay(on_event=answer(False, "blocked: no"))
    first, second, third = Author().notes(3)
    client = await outage(endpoint, relay)
    await queue(client, first, second, third)
    await back(endpoint, relay)
    await outbox.until(rejected=3)
    url = f"{endpoint.base}/outbox"
    named = {"ids": [first["id"], UNKNOWN, "x"]}
    response = await endpoint.http.request("DELETE", url, json=named)
    assert response.status_code == 200 and response.json() == {"count": 1}
    assert set(outbox.table.ids()) == {second["id"], third["id"]}
    relay.on_event = accept
    named = {"ids": [second["id"], UNKNOWN, "x"]}
    response = await endpoint.http.post(f"{url}/retry", json=named)
    assert response.json() == {"count": 1}
    await outbox.until(queued=0, rejected=1)
    assert outbox.table.ids() == [third["id"]]
    response = await endpoint.http.post(f"{url}/retry")
    assert response.json() == {"count": 1}
    await outbox.until_empty()
    assert (await endpoint.http.post(f"{url}/retry")).json() == {"count": 0}
