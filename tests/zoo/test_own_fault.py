"""What a relay does not like in one client's REQ or event stays with that client (the
second rule, 2.7): the others keep their subscriptions, and the connection that is
everybody's."""

import json
import secrets

import pytest

from support.crowd import ANSWERED, Crowd
from support.endpoint import Endpoint
from support.events import Author
from support.scripted_relay import Filter
from support.wire_client import WireClient
from support.zoo import ZOO, Acts, End, ZooRelay

pytestmark = pytest.mark.asyncio

INNOCENT = 30
ENDS = 2
"""So often at most may one client's message end everybody's connection (rule 2.7)."""


async def innocent(endpoint: Endpoint, relay: ZooRelay) -> tuple[Crowd, WireClient]:
    """Some clients, who have asked for nothing yet, and one more."""
    await endpoint.use(relay)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, INNOCENT)
    return crowd, await endpoint.client()


async def spared(
    crowd: Crowd, endpoint: Endpoint, relay: ZooRelay, ends: bool = False
) -> None:
    """`ends`: the relay ends the connection over it. An order that comes to the relay
    while nobody is connected is nobody's (1.5), so none comes before that is over."""
    await crowd.answered()
    await crowd.everybody_gets(crowd.notes(), 20)
    if ends:
        await endpoint.until_relay(relay.url, quarantined=1, connected=True)
        await crowd.everybody_gets(crowd.notes(), 20)
    assert crowd.open == crowd.guests, "somebody else was told CLOSED"
    await crowd.everybody_gets(crowd.orders(), 5)
    crowd.fair()
    assert len(relay.connected_at) <= 1 + ENDS


async def answered(client: WireClient, sub: str) -> None:
    """EOSE or CLOSED in the EOSE's time. A relay that goes away has no more to give
    (3.2), so where it did over this very REQ a CLOSED may follow; nothing else may."""

    def answers() -> list[str]:
        all_of = [*client.of("EOSE", sub), *client.of("CLOSED", sub)]
        return [message.verb for message in sorted(all_of, key=lambda one: one.at)]

    await client.until(answers, "an answer", ANSWERED)
    assert answers() in (["EOSE"], ["CLOSED"], ["EOSE", "CLOSED"])


def ends(acts: Acts) -> bool:
    return any(isinstance(act, End) for act in acts)


UNREADABLE = [name for name, character in ZOO.items() if character.unreadable]
SHORT = [
    name
    for name, character in ZOO.items()
    if character.message is not None and character.message < 300_000
]
CHOKING = [name for name, character in ZOO.items() if character.chokes_on]


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_filter_that_a_relay_cannot_read(endpoint: Endpoint, name: str) -> None:
    relay = ZooRelay(ZOO[name])
    crowd, other = await innocent(endpoint, relay)
    await other.send("REQ", "bad", {"kinds": [1], "#x": ["what"]})
    await crowd.ask()
    await spared(crowd, endpoint, relay, ends(relay.character.when_unreadable))
    await answered(other, "bad")


@pytest.mark.parametrize("name", SHORT)
async def test_a_req_that_is_too_long_for_a_relay(endpoint: Endpoint, name: str) -> None:
    relay = ZooRelay(ZOO[name])
    crowd, other = await innocent(endpoint, relay)
    authors = [secrets.token_hex(32) for _ in range(4_500)]
    wanted: Filter = {"authors": authors}
    assert len(json.dumps(wanted)) > (relay.character.message or 0)
    await crowd.ask()
    await other.send("REQ", "long", wanted)
    await spared(crowd, endpoint, relay)
    await answered(other, "long")


@pytest.mark.parametrize("name", SHORT)
async def test_an_event_that_is_too_long_for_a_relay(
    endpoint: Endpoint, name: str
) -> None:
    relay = ZooRelay(ZOO[name])
    crowd, other = await innocent(endpoint, relay)
    await crowd.ask()
    said = (relay.character.document or {}).get("max_message_length")
    await other.publish(Author().sign("x" * 290_000))
    await spared(crowd, endpoint, relay, not said and ends(relay.character.past_message))


@pytest.mark.parametrize("name", CHOKING)
async def test_an_event_that_a_relay_chokes_on(endpoint: Endpoint, name: str) -> None:
    relay = ZooRelay(ZOO[name])
    crowd, other = await innocent(endpoint, relay)
    await crowd.ask()
    await other.publish(Author().sign(f"half of {relay.character.chokes_on}"))
    await spared(crowd, endpoint, relay, ends=True)
