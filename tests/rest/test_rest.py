"""COMPAT, REST: what consumers and the admin page call."""

import json
from typing import Any

import httpx
import pytest
from nostr_sdk import Event as SdkEvent
from nostr_sdk import Keys, PublicKey, SecretKey, nip04_decrypt

from support.defaults import DEFAULTS
from support.endpoint import Endpoint
from support.events import Author, event_id
from support.scripted_relay import ScriptedRelay, answer, stored

pytestmark = pytest.mark.asyncio

# Where nothing listens: these relays are only entries in a list.
NOBODY = "ws://127.0.0.1:9"

# What every test starts with.
SETTINGS = {**DEFAULTS, "public_ws": True}


async def test_a_new_installation_has_no_relays(endpoint: Endpoint) -> None:
    assert await endpoint.relays() == []


async def test_a_relays_entry(endpoint: Endpoint) -> None:
    note = Author().sign()
    relay = ScriptedRelay(on_req=stored(note, note), on_event=answer(False, "blocked: x"))
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    await client.publish(Author().sign())
    await relay.line.notice("be nice")
    await relay.line.live(fence := Author().sign())
    await client.count("s", 3)  # its own among them
    assert fence in client.events("s")

    shown = await endpoint.relay(relay.url)
    assert shown["url"] == relay.url
    assert isinstance(shown["id"], str) and shown["id"]
    assert shown["active"] is True
    assert shown["connected"] is True
    assert isinstance(shown["connected_string"], str)
    assert isinstance(shown["ping"], int)
    status = shown["status"]
    assert status["num_sent_events"] == 1
    assert status["num_received_events"] == 3
    assert status["error_counter"] == len(status["error_list"]) == 1
    assert "blocked: x" in status["error_list"][0]
    assert status["notice_list"] == ["be nice"]
    # Rule 4.2, beside the fields that were always there.
    assert status["duplicates"] == 1
    assert status["forged"] == 0
    assert status["rejected"] == 1
    assert status["backlog_dropped"] == 0

    await relay.stop()
    shown = await endpoint.until_relay(relay.url, connected=False, state="waiting")
    assert isinstance(
        shown["status"].get("next_attempt", shown.get("next_attempt")), float
    )


async def test_adding_gives_the_list(endpoint: Endpoint) -> None:
    response = await endpoint.add(NOBODY)
    assert response.status_code == 200
    assert [relay["url"] for relay in response.json()] == [NOBODY]
    response = await endpoint.add("wss://127.0.0.1:9/path")
    urls = {relay["url"] for relay in response.json()}
    assert urls == {NOBODY, "wss://127.0.0.1:9/path"}
    relays = await endpoint.relays()
    assert {relay["url"] for relay in relays} == urls
    assert len({relay["id"] for relay in relays}) == 2


async def test_deleting(endpoint: Endpoint) -> None:
    for url in (NOBODY, NOBODY + "0"):
        await endpoint.add(url)
    assert (await endpoint.remove(NOBODY)).status_code == 200
    assert [relay["url"] for relay in await endpoint.relays()] == [NOBODY + "0"]
    # In another spelling, too.
    assert (await endpoint.remove(NOBODY.upper() + "0/")).status_code == 200
    assert await endpoint.relays() == []


async def switch(endpoint: Endpoint, url: str, **switches: bool) -> None:
    response = await endpoint.http.put(
        f"{endpoint.base}/relay", json={"url": url, **switches}
    )
    assert response.status_code == 200, response.text


async def test_the_switches_of_a_relay(endpoint: Endpoint) -> None:
    """Rule 4.2: read, write, active."""
    reading, writing = ScriptedRelay(), ScriptedRelay()
    await endpoint.use(reading, writing)
    await switch(endpoint, reading.url, write=False)
    await switch(endpoint, writing.url, read=False)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    assert (await client.publish(note := Author().sign())).parts[2] is True
    assert (reading.published(), len(reading.reqs())) == ([], 1)
    assert (writing.published(), len(writing.reqs())) == ([note], 0)

    # No relay takes writes any more; this is not a matter of connections.
    await switch(endpoint, writing.url, active=False)
    await writing.until(lambda: not writing.lines, "the end of the connection")
    reply = await client.publish(note := Author().sign())
    assert reply.parts == ["OK", note["id"], False, "error: no relay configured"]
    shown = await endpoint.relay(writing.url)
    assert (shown["active"], shown["connected"]) == (False, False)

    await switch(endpoint, writing.url, active=True, read=True)
    await endpoint.until_relay(writing.url, connected=True)
    await writing.req()
    assert (await client.publish(Author().sign())).parts[2] is True
    response = await endpoint.http.put(
        f"{endpoint.base}/relay", json={"url": NOBODY, "active": True}
    )
    assert response.status_code == 400


async def test_a_duplicate_is_refused(endpoint: Endpoint) -> None:
    """Also after normalisation: case of scheme and host, default port, bare slash."""
    await endpoint.add(NOBODY)
    await endpoint.add("wss://relay.invalid/Path")
    await endpoint.add("ws://relay.invalid")
    same = {
        NOBODY: NOBODY,
        NOBODY + "/": NOBODY,
        " " + NOBODY + " ": NOBODY,
        "WS://127.0.0.1:9": NOBODY,
        "wss://RELAY.invalid:443/Path": "wss://relay.invalid/Path",
        "ws://relay.invalid:80/": "ws://relay.invalid",
    }
    for url in same:
        response = await endpoint.add(url)
        assert response.status_code == 400, url
        assert response.json()["detail"].startswith("Relay: ")
        assert response.json()["detail"].endswith(" already exists.")
    response = await endpoint.add(NOBODY)
    assert response.json()["detail"] == f"Relay: {NOBODY} already exists."
    assert len(await endpoint.relays()) == 3
    # A path is another relay.
    assert (await endpoint.add("wss://relay.invalid/path")).status_code == 200


@pytest.mark.parametrize("url", ["", None])
async def test_a_relay_needs_a_url(endpoint: Endpoint, url: str | None) -> None:
    body = {} if url is None else {"url": url}
    response = await endpoint.http.post(f"{endpoint.base}/relay", json=body)
    assert response.status_code == 400
    assert response.json()["detail"] == "Relay url not provided."
    assert await endpoint.relays() == []


@pytest.mark.parametrize(
    "url",
    [
        " ",
        "relay",
        "127.0.0.1:9",
        "http://127.0.0.1:9",
        "https://relay.invalid",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ws://",
        "ws://:80",
        "wss://host:99999",
        "wss://host:port",
        "wss://exa mple.invalid",
        "wss://<b>x</b>",
        "ws//relay.invalid",
        "\x00",
        "wss://" + "x" * 100_000,
    ],
    ids=lambda url: repr(url[:30]),
)
async def test_what_is_no_relay_url_is_refused(endpoint: Endpoint, url: str) -> None:
    response = await endpoint.add(url)
    assert response.status_code == 400
    detail = response.json()["detail"]
    assert isinstance(detail, str) and " " in detail and len(detail) < 500
    assert await endpoint.relays() == []


async def test_urls_for_a_wallet(endpoint: Endpoint) -> None:
    for url in (NOBODY, "wss://relay.invalid/path"):
        await endpoint.add(url)
    wallets = await endpoint.http.get(f"{endpoint.root}/api/v1/wallets")
    for name in ("inkey", "adminkey"):
        key = {"X-Api-Key": wallets.json()[0][name]}
        async with httpx.AsyncClient(headers=key) as wallet:
            response = await wallet.get(f"{endpoint.base}/relays/urls")
        assert response.status_code == 200
        assert sorted(response.json()) == sorted([NOBODY, "wss://relay.invalid/path"])


async def test_the_configuration(endpoint: Endpoint) -> None:
    for private, public in ((False, True), (True, False), (True, True)):
        config = {**SETTINGS, "private_ws": private, "public_ws": public}
        response = await endpoint.http.put(f"{endpoint.base}/config", json=config)
        assert response.status_code == 200
        assert response.json() == config
        response = await endpoint.http.get(f"{endpoint.base}/config")
        assert response.json() == config
    mistakes: list[Any] = [{"private_ws": "perhaps"}, "x", []]
    for wrong in mistakes:
        response = await endpoint.http.put(f"{endpoint.base}/config", json=wrong)
        assert response.status_code in (400, 422)
    response = await endpoint.http.get(f"{endpoint.base}/config")
    assert response.json() == SETTINGS


async def call_test(endpoint: Endpoint, **body: Any) -> httpx.Response:
    return await endpoint.http.put(f"{endpoint.base}/relay/test", json=body)


async def test_a_test_message(endpoint: Endpoint) -> None:
    sender, receiver = Keys.generate(), Keys.generate()
    response = await call_test(
        endpoint,
        sender_private_key=sender.secret_key().to_hex(),
        reciever_public_key=receiver.public_key().to_hex(),
        message="hello \u00e9 \U0001f980",
    )
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"private_key", "public_key", "event_json"}
    assert body["private_key"] == sender.secret_key().to_hex()
    assert body["public_key"] == receiver.public_key().to_hex()
    verb, event = json.loads(body["event_json"])
    assert verb == "EVENT"
    assert event["kind"] == 4
    assert event["pubkey"] == sender.public_key().to_hex()
    assert event["tags"] == [["p", receiver.public_key().to_hex()]]
    assert event["id"] == event_id(event)
    assert SdkEvent.from_json(json.dumps(event)).verify()
    text = nip04_decrypt(receiver.secret_key(), sender.public_key(), event["content"])
    assert text == "hello \u00e9 \U0001f980"


async def test_a_test_message_from_a_new_key(endpoint: Endpoint) -> None:
    receiver = Keys.generate()
    for sender in (None, ""):
        response = await call_test(
            endpoint,
            sender_private_key=sender,
            reciever_public_key=receiver.public_key().to_bech32(),
            message="hi",
        )
        assert response.status_code == 200
        body = response.json()
        assert body["public_key"] == receiver.public_key().to_hex()
        keys = Keys(SecretKey.parse(body["private_key"]))
        event = json.loads(body["event_json"])[1]
        assert keys.public_key().to_hex() == event["pubkey"]
        assert event["tags"] == [["p", receiver.public_key().to_hex()]]
        author = PublicKey.parse(event["pubkey"])
        assert nip04_decrypt(receiver.secret_key(), author, event["content"]) == "hi"


async def test_a_test_message_with_wrong_keys(endpoint: Endpoint) -> None:
    good = Keys.generate().public_key().to_hex()
    for body in (
        {"sender_private_key": None, "reciever_public_key": "x", "message": "hi"},
        {"sender_private_key": None, "reciever_public_key": "f" * 64, "message": "hi"},
        {"sender_private_key": "0" * 64, "reciever_public_key": good, "message": "hi"},
        {"sender_private_key": "5ec2e7", "reciever_public_key": good, "message": "hi"},
    ):
        response = await call_test(endpoint, **body)
        assert response.status_code == 400, response.text
        assert "5ec2e7" not in response.text


ADMIN_CALLS: list[tuple[str, str, Any]] = [
    ("GET", "relays", None),
    ("POST", "relay", {"url": NOBODY}),
    ("DELETE", "relay", {"url": NOBODY}),
    ("PUT", "relay/test", {"reciever_public_key": "f" * 64, "message": "x"}),
    ("GET", "config", None),
    ("PUT", "config", {"private_ws": False, "public_ws": False, "outbox_size": 0}),
    ("POST", "relay/reconnect", {}),
    ("POST", "relay/pause", {"url": NOBODY}),
    ("POST", "relay/check", {"url": NOBODY}),
    ("GET", "relay/info?url=ws://127.0.0.1:9", None),
    ("GET", "relay/log?url=ws://127.0.0.1:9", None),
    ("GET", "live", None),
    ("POST", "live", None),
    ("GET", "clients", None),
    ("DELETE", "clients/1", None),
    ("GET", "metrics", None),
    ("GET", "metrics/token", None),
    ("POST", "metrics/token", None),
    ("DELETE", "metrics/token", None),
    ("POST", "outbox/retry", None),
    ("DELETE", "outbox", {"ids": []}),
]


@pytest.mark.parametrize(
    ("method", "path", "body"), ADMIN_CALLS, ids=lambda part: str(part)[:20]
)
async def test_only_admins_may(
    endpoint: Endpoint, method: str, path: str, body: Any
) -> None:
    """Rule 6.5. A wallet's key is not enough, nor is an account."""
    wallets = await endpoint.http.get(f"{endpoint.root}/api/v1/wallets")
    tries: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer wrong"},
        {"X-Api-Key": wallets.json()[0]["adminkey"]},
        {"Authorization": f"Bearer {await endpoint.user_token()}"},
    ]
    async with httpx.AsyncClient() as anyone:
        for headers in tries:
            response = await anyone.request(
                method, f"{endpoint.base}/{path}", json=body, headers=headers
            )
            assert response.status_code in (401, 403), (headers, response.text)
    assert await endpoint.relays() == []
    config = await endpoint.http.get(f"{endpoint.base}/config")
    assert config.json() == SETTINGS


async def test_a_cookie_is_as_good_as_a_token(endpoint: Endpoint) -> None:
    """The page calls the API with the cookie."""
    cookies = {
        "cookie_access_token": endpoint.token,
        "is_lnbits_user_authorized": "true",
    }
    async with httpx.AsyncClient(cookies=cookies) as browser:
        response = await browser.get(f"{endpoint.base}/relays")
    assert response.status_code == 200
    assert response.json() == []


async def test_urls_need_a_wallet_key(endpoint: Endpoint) -> None:
    async with httpx.AsyncClient() as anyone:
        for headers in ({}, {"X-Api-Key": "wrong"}):
            response = await anyone.get(f"{endpoint.base}/relays/urls", headers=headers)
            assert response.status_code in (400, 401, 403, 404)


async def test_the_page_and_its_picture(endpoint: Endpoint) -> None:
    page = await endpoint.http.get(f"{endpoint.root}/nostrclient/", follow_redirects=True)
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    async with httpx.AsyncClient() as anyone:
        response = await anyone.get(f"{endpoint.root}/nostrclient/")
        assert response.status_code != 200
        picture = await anyone.get(
            f"{endpoint.root}/nostrclient/static/images/nostr-bitcoin.png"
        )
    assert picture.status_code == 200
    assert picture.content.startswith(b"\x89PNG")


async def test_no_secret_in_any_answer(endpoint: Endpoint) -> None:
    """Rule 6.5: keys never reach a log, an answer or the page."""
    await endpoint.add(NOBODY)
    private = Keys.generate().secret_key().to_hex()
    await call_test(
        endpoint, sender_private_key=private, reciever_public_key="x", message="hi"
    )
    response = await call_test(
        endpoint,
        sender_private_key=private,
        reciever_public_key=Keys.generate().public_key().to_hex(),
        message="hi",
    )
    assert response.status_code == 200
    for path in ("relays", "config"):
        text = (await endpoint.http.get(f"{endpoint.base}/{path}")).text
        assert private not in text and endpoint.secret not in text
    log = endpoint.lnbits.log()
    assert private not in log
    assert endpoint.secret not in log


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "relay", {}, 400, "no_url"),
        ("POST", "relay", {"url": "no url"}, 400, "not_a_url"),
        ("GET", "relay/info?url=x", None, 400, "not_a_url"),
        ("PUT", "relay", {"url": NOBODY, "active": False}, 400, "no_such_relay"),
        ("POST", "relay/pause", {"url": NOBODY}, 400, "no_such_relay"),
        ("POST", "relay/reconnect", {"url": NOBODY}, 400, "relay_not_in_use"),
        ("PUT", "relay/key", {"url": NOBODY}, 400, "no_such_relay"),
        ("PUT", "config", {"address": "no address"}, 400, "address"),
        ("PUT", "config", {"public_allowed": ["nobody"]}, 400, "public_allowed"),
        ("PUT", "config", {"proxy": "no proxy"}, 400, "proxy"),
        ("POST", "keys", {"private_key": "no key"}, 400, "not_a_key"),
        ("POST", "keys", {"name": []}, 400, "malformed"),
        ("DELETE", "outbox/nothing", None, 404, "no_such_event"),
        ("DELETE", "clients/nobody", None, 404, "no_such_client"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_refusal_has_a_code_for_programs(
    endpoint: Endpoint, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """They need not read its sentence, which may change."""
    response = await endpoint.http.request(method, f"{endpoint.base}/{path}", json=body)
    answer = response.json()
    assert (response.status_code, answer["code"]) == (status, code)
    assert " " in answer["detail"]
