"""Relays that want to know who we are (NIP-42): with a key they do. Nobody learns it."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nostr_sdk import (
    Keys,
    LocalRelay,
    RateLimit,
    RelayBuilder,
    RelayBuilderNip42,
    RelayBuilderNip42Mode,
)

from support.endpoint import Endpoint, private_id, relay_url
from support.events import Author, Event, ids
from support.outbox import Outbox
from support.scripted_relay import Line, ScriptedRelay

pytestmark = pytest.mark.asyncio


async def call(endpoint: Endpoint, method: str, path: str, body: Any) -> httpx.Response:
    return await endpoint.http.request(method, f"{endpoint.base}{path}", json=body)


async def kept(endpoint: Endpoint) -> list[dict[str, Any]]:
    response = await endpoint.http.get(f"{endpoint.base}/keys")
    assert response.status_code == 200, response.text
    keys: list[dict[str, Any]] = response.json()
    return keys


async def choose(endpoint: Endpoint, url: str, key: str | None) -> httpx.Response:
    body = {"url": url, "public_key": key}
    return await call(endpoint, "PUT", "/relay/key", body)


@pytest_asyncio.fixture
async def keyless(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """An endpoint whose keys are gone after the test, as they were before."""
    yield endpoint
    for key in await kept(endpoint):
        response = await call(endpoint, "DELETE", f"/keys/{key['public_key']}", None)
        assert response.status_code == 200, response.text


async def strict_relay() -> LocalRelay:
    """A real relay that serves only those who log in."""
    limit = RateLimit(max_reqs=1_000_000, notes_per_minute=1_000_000)
    nip42 = RelayBuilderNip42(mode=RelayBuilderNip42Mode.BOTH)
    relay = LocalRelay(RelayBuilder().rate_limit(limit).nip42(nip42))
    await relay.run()
    return relay


def open_database(endpoint: Endpoint) -> sqlite3.Connection:
    return sqlite3.connect(endpoint.lnbits.data_folder / "ext_nostrclient.sqlite3")


def database(endpoint: Endpoint) -> str:
    """Every value of the extension's tables."""
    with closing(open_database(endpoint)) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return "\n".join(
            str(row)
            for (table,) in tables.fetchall()
            for row in db.execute(f'SELECT * FROM "{table}"')
        )


async def test_a_relay_that_serves_only_those_it_knows(keyless: Endpoint) -> None:
    endpoint = keyless
    strict = await strict_relay()
    try:
        await endpoint.use(strict)
        url = await relay_url(strict)
        private = await endpoint.client(endpoint.private_url)
        note, late = Author().sign("hello"), Author().sign("at last")
        refused = await private.publish(note)
        assert refused.parts[2] is False and refused.parts[3].startswith("auth-required:")
        await endpoint.until_relay(url, auth_refused=True, authenticated=False)

        mine = Keys.generate()
        nsec, secret = mine.secret_key().to_bech32(), mine.secret_key().to_hex()
        said = [
            await call(endpoint, "POST", "/keys", {"name": "me", "private_key": nsec})
        ]
        public_key = mine.public_key().to_hex()
        assert said[0].json() == {
            "public_key": public_key,
            "npub": mine.public_key().to_bech32(),
            "name": "me",
            "readable": True,
            "relays": [],
        }
        said.append(await choose(endpoint, url, public_key))
        assert said[-1].json()[0]["key"] == public_key
        # This relay asks when it refuses something. The client hears nothing of that.
        await private.send("REQ", "s", {"kinds": [1]})
        assert (await private.publish(note)).parts[2] is True
        await private.eose("s")
        assert await private.count("s", 1) == [note]
        await endpoint.until_relay(url, authenticated=True, auth_refused=False)

        public = await endpoint.client()
        await public.subscribe("s", {"kinds": [1]})
        assert (await public.publish(late)).parts[2] is True
        assert await private.count("s", 2) == [note, late]
        # It is handed its own event here; what the owner is shown is his.
        assert public.events("s") == [late]
        await endpoint.configure(public_reads_with_keys=True)
        assert sorted(ids(await public.count("s", 2))) == sorted(ids([note, late]))

        said.append(await endpoint.http.get(f"{endpoint.base}/keys"))
        assert said[-1].json()[0]["relays"] == [url]
        said.append(await endpoint.http.get(f"{endpoint.base}/live"))
        said.append(await endpoint.http.get(f"{endpoint.base}/relays"))
        shown = "\n".join(response.text for response in said)
        assert public_key in shown
        for place in (shown, endpoint.lnbits.log(), database(endpoint)):
            assert secret not in place and nsec not in place

        await call(endpoint, "DELETE", f"/keys/{public_key}", None)
        assert await kept(endpoint) == []
        assert (await endpoint.relay(url))["key"] is None
        # It connects anew, and is told nothing.
        await endpoint.until_relay(url, connected=True, authenticated=False)
    finally:
        strict.shutdown()


async def test_a_key_that_is_made_here(keyless: Endpoint) -> None:
    """The first time the relay does not want it, and says so in its log. It is there
    again after a restart."""
    endpoint = keyless
    answers: list[Event] = []

    async def ask(line: Line) -> None:
        await line.send("AUTH", f"who are you, {line.number}")

    async def judge(line: Line, event: Event) -> None:
        answers.append(event)
        knows = len(answers) > 1
        await line.ok(event["id"], knows, "" if knows else "restricted: members only")

    relay = ScriptedRelay(on_connect=ask, on_auth=judge)
    await endpoint.use(relay)
    made = (await call(endpoint, "POST", "/keys", {})).json()
    assert (await choose(endpoint, relay.url, made["public_key"])).status_code == 200
    shown = await endpoint.until_relay(relay.url, auth_refused=True)
    error = "refused our authentication: restricted: members only"
    assert error in shown["status"]["error_list"]
    async with Outbox(endpoint).restarted():
        pass
    await endpoint.until_relay(relay.url, authenticated=True, auth_refused=False)
    assert [answer["pubkey"] for answer in answers] == [made["public_key"]] * 2
    for number, answer in enumerate(answers, 2):
        challenge = ["challenge", f"who are you, {number}"]
        assert answer["tags"] == [["relay", relay.url], challenge]


async def test_what_is_no_key_is_refused_and_not_repeated(keyless: Endpoint) -> None:
    endpoint = keyless
    await endpoint.use(relay := ScriptedRelay())
    secret = Keys.generate().secret_key().to_hex()
    npub = Keys.generate().public_key().to_bech32()
    bad = [
        "hello",
        npub,
        secret[:-1],
        "0" * 64,
        f"nsec1{secret}",
        f"{secret}00",
        secret * 9,
    ]
    answers = [
        await call(endpoint, "POST", "/keys", {"private_key": key}) for key in bad
    ] + [
        await endpoint.http.post(f"{endpoint.base}/keys", content=content)
        for content in (f'{{"private_key": "{secret}"', json.dumps([secret]), secret)
    ]
    for answer in answers:
        assert answer.status_code == 400, answer.text
        assert secret[:-1] not in answer.text and npub not in answer.text
    log = endpoint.lnbits.log()
    assert secret[:-1] not in log
    assert await kept(endpoint) == []
    assert (await choose(endpoint, relay.url, "0" * 64)).status_code == 400
    assert (await choose(endpoint, "wss://other.example", None)).status_code == 400
    twice = [
        await call(endpoint, "POST", "/keys", {"private_key": secret.upper()})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in twice] == [200, 400]
    # LNbits gets another secret key, and cannot read what it stored under the one before.
    with closing(open_database(endpoint)) as db, db:
        stored = private_id("another secret", "nsec1" + secret, urlsafe=False)
        db.execute("UPDATE relay_keys SET secret = ?", (stored,))
    (key,) = await kept(endpoint)
    assert key["readable"] is False
    answer = await choose(endpoint, relay.url, key["public_key"])
    assert answer.status_code == 400 and "AUTH_SECRET_KEY" in answer.text


async def test_keys_are_for_admins_only(endpoint: Endpoint) -> None:
    token = await endpoint.user_token()
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        async with httpx.AsyncClient(headers=headers) as stranger:
            for method, path in (
                ("GET", "/keys"),
                ("POST", "/keys"),
                ("DELETE", "/keys/00"),
                ("PUT", "/relay/key"),
            ):
                answer = await stranger.request(
                    method, f"{endpoint.base}{path}", json={"name": "x"}
                )
                assert answer.status_code in (401, 403), (method, path)
