"""docs/handover.md: clients' sockets live through an upgrade. What LNbits calls there is
a start of another copy, with a stop before it or without."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from scripts.lnbits_server import LNbits
from support.copied import copy_of
from support.endpoint import Endpoint
from support.events import Author, Event, ids
from support.outbox import down, queue
from support.scripted_relay import Line, ScriptedRelay, stored
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

GOING_AWAY = 1001  # close code: the server ends
SERVICE_RESTART = 1012  # close code: come again
ORDER = 23_194  # kind of an order to pay, which no relay keeps
ANSWER = 23_195  # kind of the answer to it

Upgrade = Callable[[Endpoint], Awaitable[None]]


async def switch(endpoint: Endpoint, action: str) -> None:
    url = f"{endpoint.root}/api/v1/extension/nostrclient/{action}"
    response = await endpoint.http.put(url)
    assert response.status_code == 200, response.text


async def a_start(endpoint: Endpoint) -> None:
    """Without a stop before it: another copy's."""
    await switch(endpoint, "activate")


async def a_stop_and_a_start(endpoint: Endpoint) -> None:
    await switch(endpoint, "deactivate")
    await switch(endpoint, "activate")


async def three_starts(endpoint: Endpoint) -> None:
    """LNbits 1.5 starts the copy of before once more, and then the one it has
    installed."""
    for _ in range(3):
        await a_start(endpoint)


async def everywhere(relay: ScriptedRelay, event: Event) -> None:
    """What comes to the relay goes to whoever has asked it, over each connection."""
    for line in list(relay.lines):
        await line.live(event)


async def go_over(endpoint: Endpoint, relay: ScriptedRelay, upgrade: Upgrade) -> None:
    """Until the next core has asked the relay."""
    known = list(relay.lines)
    await upgrade(endpoint)

    def asked() -> list[Line]:
        return [line for line in relay.lines if line not in known and line.subs]

    await relay.until(asked, "the next core's REQ", 15)


def frame(text: str) -> bytes:
    """As a client sends it."""
    mask, payload = os.urandom(4), text.encode()
    assert len(payload) < 1 << 16
    head = bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + mask
    return head + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@pytest.mark.parametrize("upgrade", [a_start, a_stop_and_a_start, three_starts])
async def test_nothing_is_missed_or_comes_twice(
    endpoint: Endpoint, upgrade: Upgrade
) -> None:
    """Events and orders come all the time, and the relay has stored some; three times."""
    old = Author().sign("stored")
    relay = ScriptedRelay(on_req=stored(old))
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1, ORDER]})
    expected = [old]
    for _ in range(3):
        stop = asyncio.Event()

        async def come(stop: asyncio.Event = stop) -> None:
            while not stop.is_set():
                kind = ORDER if len(expected) % 2 else 1
                expected.append(event := Author().sign("live", kind=kind))
                await everywhere(relay, event)
                await asyncio.sleep(0.02)

        coming = asyncio.create_task(come())
        await go_over(endpoint, relay, upgrade)
        await asyncio.sleep(0.5)
        stop.set()
        await coming
        await client.count("s", len(expected))
        assert client.events("s") == expected, "in the order they came"
        assert (await client.publish(Author().sign("its own", kind=7))).parts[2] is True
    await client.quiet()
    assert client.is_open
    assert len(client.of("EOSE", "s")) == 1
    # Only the last core is left, and it has the client.
    await (await relay.alone()).live(last := Author().sign())
    assert (await client.count("s", len(expected) + 1))[-1] == last
    await client.send("CLOSE", "s")
    await relay.until(lambda: not relay.open_subs(), "the end of the subscription")
    await client.subscribe("another", {"kinds": [1]})
    assert await client.count("another", 1) == [old]


@pytest.mark.parametrize("pause", [0, 1.5])
async def test_what_waits_in_the_outbox_was_given(
    endpoint: Endpoint, pause: float
) -> None:
    """It waits while one core after the other takes the client on."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client, other = await endpoint.client(), await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    await down(endpoint, relay)
    expected = Author().notes(3)
    await queue(other, *expected)
    for _ in range(3):
        await three_starts(endpoint)
        await asyncio.sleep(pause)
        if pause:  # else the core that was stopped has it, which takes nothing more
            await queue(other, another := Author().sign("another"))
            expected.append(another)
    relay.inbox.items.clear()
    await relay.start()
    await relay.until(lambda: set(ids(expected)) <= set(ids(relay.published())), "all")
    await relay.until(lambda: relay.open_subs(), "a subscription")
    await everywhere(relay, last := Author().sign("the last"))
    await client.until(lambda: last in client.events("s"), "the last")
    assert client.events("s") == [*expected, last]
    assert client.is_open and other.is_open


async def test_half_a_message_and_what_is_unanswered(endpoint: Endpoint) -> None:
    """Of one message a half has come, and the relay has not answered another."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    unanswered, halved = Author().notes(2)
    answered = asyncio.Event()

    async def on_event(line: Line, event: Event) -> None:
        if event == unanswered:
            await answered.wait()
        await line.ok(event["id"], True)

    relay.on_event = on_event
    await client.subscribe("s", {"kinds": [7]})
    await client.send("EVENT", unanswered)
    await relay.until(lambda: unanswered in relay.published(), "the event")
    data = frame(json.dumps(["EVENT", halved]))
    client.socket.transport.write(data[:150])
    await asyncio.sleep(0.1)
    upgraded = asyncio.create_task(go_over(endpoint, relay, a_start))
    await asyncio.sleep(0.5)
    answered.set()
    assert (await client.ok(unanswered["id"])).parts[2] is True
    await upgraded
    client.socket.transport.write(data[150:])
    assert (await client.ok(halved["id"])).parts[2] is True
    await client.quiet()
    assert len(client.messages) == 3, "EOSE and two OKs"


async def test_a_stored_answer_that_is_under_way(endpoint: Endpoint) -> None:
    """The relay has sent a half of what it stores, and is slow."""
    first, second, third = Author().notes(3)
    relay = ScriptedRelay()
    done = asyncio.Event()

    async def on_req(line: Line, sub: str, _: object) -> None:
        await line.event(sub, third)
        await done.wait()
        await line.event(sub, second, first)
        await line.eose(sub)

    relay.on_req = on_req
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send("REQ", "s", {"kinds": [1]})
    assert await client.count("s", 1) == [third]
    upgraded = asyncio.create_task(go_over(endpoint, relay, a_start))
    await asyncio.sleep(1)
    done.set()
    await upgraded
    await client.eose("s")
    await client.count("s", 3)
    await client.quiet()
    assert len(client.of("EOSE", "s")) == 1


async def test_many_clients_go_over(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    clients = [await endpoint.client() for _ in range(120)]
    for client in clients:
        await client.subscribe("s", {"kinds": [1]})
    before, after = Author().notes(2)
    await everywhere(relay, before)
    await go_over(endpoint, relay, a_stop_and_a_start)
    await everywhere(relay, after)
    for client in clients:
        await client.count("s", 2)
        assert client.is_open


@pytest.mark.parametrize("upgrade", [a_start, a_stop_and_a_start])
async def test_a_wallet_service_in_the_middle_of_a_payment(
    endpoint: Endpoint, upgrade: Upgrade
) -> None:
    """NIP-47: an order before the upgrade is answered after it, and one that comes right
    after it is an order still."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    service, wallet = await endpoint.client(), await endpoint.client()
    of_service, of_wallet = Author(), Author()
    await service.subscribe("orders", {"kinds": [ORDER], "#p": [of_service.pubkey]})
    await wallet.subscribe("answers", {"kinds": [ANSWER], "#p": [of_wallet.pubkey]})

    def order(text: str) -> Event:
        return of_wallet.sign(text, kind=ORDER, tags=[["p", of_service.pubkey]])

    def answer(order: Event) -> Event:
        tags = [["p", of_wallet.pubkey], ["e", order["id"]]]
        return of_service.sign("paid", kind=ANSWER, tags=tags)

    first, second = order("pay"), order("pay another")
    await everywhere(relay, first)  # from a wallet that is at the relay
    assert await service.count("orders", 1) == [first]
    known = list(relay.lines)
    await upgrade(endpoint)
    # The next core has not asked yet: who is at the relay reaches the one before.
    for line in known:
        await line.live(second)
    assert await service.count("orders", 2) == [first, second]
    answers = [answer(first), answer(second)]
    for event in answers:
        assert (await service.publish(event)).parts[2] is True
    assert await wallet.count("answers", 2) == answers
    third = order("and one more")
    assert (await wallet.publish(third)).parts[2] is True
    assert await service.count("orders", 3) == [first, second, third]
    await relay.alone()
    fourth = order("the last")
    await everywhere(relay, fourth)
    assert await service.count("orders", 4) == [first, second, third, fourth]
    await wallet.quiet()
    assert service.is_open and wallet.is_open


async def served(client: WireClient, relay: ScriptedRelay) -> None:
    await client.subscribe("s", {"kinds": [1]})
    await everywhere(relay, note := Author().sign())
    await client.until(lambda: note in client.events("s"), "the event")


async def test_what_no_start_follows_is_closed(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    await served(client, relay)
    start = time.monotonic()
    await switch(endpoint, "deactivate")
    await everywhere(relay, note := Author().sign())
    await client.until(lambda: note in client.events("s"), "what comes meanwhile")
    assert (await client.ended(15))[0] == SERVICE_RESTART
    assert time.monotonic() - start > 3
    await relay.until(lambda: not relay.lines, "the end of the connection")
    await switch(endpoint, "activate")
    await relay.connected()
    await served(await endpoint.client(), relay)


async def test_who_waits_for_a_start_is_told_that_the_server_ends(
    lnbits: LNbits, tmp_path: Path
) -> None:
    lnbits = copy_of(lnbits, tmp_path / "data")
    async with ScriptedRelay() as relay:
        try:
            lnbits.start()
            endpoint = Endpoint(lnbits)
            await endpoint.reset()
            await endpoint.use(relay)
            client = await endpoint.client()
            await served(client, relay)
            await switch(endpoint, "deactivate")
            assert client.is_open
            await asyncio.to_thread(lnbits.stop)
            assert (await client.ended())[0] == GOING_AWAY
            await endpoint.close()
            assert "Traceback" not in lnbits.log()
        finally:
            await asyncio.to_thread(lnbits.stop)
            lnbits.http.close()
