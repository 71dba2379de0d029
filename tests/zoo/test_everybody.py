"""Whoever is open and was not told CLOSED gets every event, behind whatever relay (the
second rule, 3.2, 3.5, 4.3): with one client, with more than most relays take, with far
more."""

import pytest

from support.crowd import ANSWERED, Crowd
from support.endpoint import Endpoint
from support.inbox import eventually
from support.zoo import ZOO, Character, ZooRelay

pytestmark = pytest.mark.asyncio

CROWDS = [(name, number) for number in (1, 37, 200) for name in ZOO]
ANSWERED_AT_LAST = 32
"""Seconds within which whoever waits for its turn has an answer, too (rule 3.2), and a
relay that has to rest has heard of all ends."""


async def use(endpoint: Endpoint, character: Character) -> ZooRelay:
    """Connected, and its document read."""
    relay = ZooRelay(character)
    await endpoint.use(relay)
    said = (character.document or {}).get("max_subscriptions")
    await eventually(lambda: relay.asked, 10, "its document is read")
    while (await endpoint.relay(relay.url))["limits"]["max_subscriptions"] != said:
        await relay.inbox.changes_within(0.05)
    return relay


@pytest.mark.parametrize(("name", "number"), CROWDS)
async def test_everybody_gets_everything(
    endpoint: Endpoint, name: str, number: int
) -> None:
    character = ZOO[name]
    relay = await use(endpoint, character)
    crowd = Crowd(relay)
    await crowd.enter(endpoint, number)
    await crowd.ask()
    hurried = number > (character.messages or number)
    await crowd.answered(ANSWERED_AT_LAST if hurried else ANSWERED)
    # A note is stored: who is asked for again after a refusal is given it then.
    await crowd.everybody_gets(crowd.notes())
    # An order is not: who is open is served by now.
    before = len(relay.refused)
    await crowd.everybody_gets(crowd.orders(), 5)
    crowd.fair()

    assert len(relay.connected_at) == 1, "connections"
    assert len(relay.refused) == before, "it goes on asking for what is refused"
    said = (character.document or {}).get("max_subscriptions")
    if said is not None and said == character.subscriptions and not hurried:
        assert before == 0, "its document says how many it takes"
    await crowd.leave()
    await relay.left(ANSWERED_AT_LAST if hurried else 10)
