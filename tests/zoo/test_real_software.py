"""The same promises behind software that others wrote (the second rule, 3.2, 3.5, 4.3):
what the zoo's characters are measured by."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from nostr_sdk import LocalRelay, RateLimit, RelayBuilder

from support.crowd import ORDER, Crowd
from support.endpoint import Endpoint
from support.events import Author, Event
from support.real_relay import RealRelay
from support.wire_client import WireClient
from support.zoo import ZOO, Character, ZooRelay

pytestmark = pytest.mark.asyncio

CROWDS = [1, 37, 100]


@pytest.fixture(scope="module")
def nostr_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRelay]:
    with RealRelay(tmp_path_factory.mktemp("nostr-relay")) as relay:
        yield relay


@dataclass
class Sdk:
    """nostr_sdk's own, with so many REQs on a connection."""

    url: str

    async def publish(self, *events: Event) -> None:
        async with WireClient(self.url) as client:
            for event in events:
                assert (await client.publish(event)).parts[2] is True


@pytest_asyncio.fixture
async def nostr_sdk() -> AsyncIterator[Sdk]:
    limit = RateLimit(max_reqs=20, notes_per_minute=1_000_000)
    relay = LocalRelay(RelayBuilder().rate_limit(limit))
    await relay.run()
    try:
        yield Sdk(str(await relay.url()))
    finally:
        relay.shutdown()


async def everybody_gets_everything(
    endpoint: Endpoint, relay: RealRelay | Sdk, number: int
) -> None:
    assert (await endpoint.add(relay.url)).status_code == 200
    await endpoint.until_relay(relay.url, connected=True)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, number)
    await crowd.ask()
    await crowd.answered()
    await crowd.everybody_gets(crowd.notes())
    await crowd.everybody_gets(crowd.orders(), 5)
    crowd.fair()


@pytest.mark.parametrize("number", CROWDS)
async def test_behind_nostr_relay(
    endpoint: Endpoint, nostr_relay: RealRelay, number: int
) -> None:
    await everybody_gets_everything(endpoint, nostr_relay, number)


@pytest.mark.parametrize("number", CROWDS)
async def test_behind_nostr_sdk(endpoint: Endpoint, nostr_sdk: Sdk, number: int) -> None:
    await everybody_gets_everything(endpoint, nostr_sdk, number)


async def test_the_zoo_is_like_them(nostr_relay: RealRelay, nostr_sdk: Sdk) -> None:
    """What the characters do with a subscription too many and with several filters, the
    software does."""
    for url, character in [
        (nostr_relay.url, ZOO["nostr-relay"]),
        (nostr_sdk.url, ZOO["nostr_sdk"]),
    ]:
        async with ZooRelay(character) as copy:
            assert await _past(url, character) == await _past(copy.url, character)
            assert await _two_filters(url) == await _two_filters(copy.url)


async def _two_filters(url: str) -> tuple[int, int, int]:
    """Of a REQ with two filters: how many EOSE and CLOSED, and how many are live."""
    authors = Author(), Author()
    async with WireClient(url) as client:
        await client.send("REQ", "s", *({"authors": [one.pubkey]} for one in authors))
        await client.until(
            lambda: client.of("EOSE", "s") + client.of("CLOSED", "s"), "an answer"
        )
        for one in authors:
            await client.publish(one.sign(kind=ORDER))
        await client.until(lambda: client.events("s"), "something live")
        await client.settled()
        eoses, closed = client.of("EOSE", "s"), client.of("CLOSED", "s")
        return len(eoses), len(closed), len(client.events("s"))


async def _past(url: str, character: Character) -> tuple[list[str], set[str], int]:
    """What a client is told that asks for one subscription too many: the NOTICEs, the
    verbs for that subscription, and how many of all are live."""
    most = character.subscriptions or 0
    author = Author()
    async with WireClient(url) as client:
        for number in range(most + 1):
            wanted = {"kinds": [ORDER], "authors": [author.pubkey], "since": number}
            await client.send("REQ", str(number), wanted)
        last = str(most)
        await client.until(
            lambda: sum(len(client.of("EOSE", str(number))) for number in range(most + 1))
            == most
            and (client.notices() or client.of("CLOSED", last)),
            "answers",
        )
        order = author.sign(kind=ORDER)
        await client.publish(order)
        await client.until(
            lambda: sum(bool(client.events(str(n))) for n in range(most)) == most, "live"
        )
        await client.settled()
        verbs = {verb for verb in ("EOSE", "CLOSED", "EVENT") if client.of(verb, last)}
        return client.notices(), verbs, len(client.events(last))
