"""The zoo's relay is what its character says, to a client that is connected to it
directly."""

import pytest

from support.events import Author
from support.wire_client import WireClient
from support.zoo import ZOO, Character, Closed, Eose, Notice, ZooRelay

pytestmark = pytest.mark.asyncio

LIMITED = [name for name, character in ZOO.items() if character.subscriptions]


@pytest.mark.parametrize("name", LIMITED)
async def test_one_subscription_too_many(name: str) -> None:
    character = ZOO[name]
    most = character.subscriptions or 0
    author = Author()
    relay = ZooRelay(character)
    async with relay, WireClient(relay.url) as client:
        for number in range(most):
            await client.subscribe(str(number), {"authors": [author.pubkey]})
        before = len(client.messages)
        await client.send("REQ", "last", {"authors": [author.pubkey]})
        acts = character.past_subscriptions
        await client.total(before + len(acts))
        verbs = {Eose: "EOSE", Notice: "NOTICE", Closed: "CLOSED"}
        said = [message.verb for message in client.messages[before:]]
        assert said == [verbs[type(act)] for act in acts]
        await relay.until(lambda: len(relay.refused) == 1, "a refusal")
        await relay.publish(note := author.sign())
        for number in range(most):
            assert await client.count(str(number), 1) == [note]
        assert client.events("last") == []


async def test_filters_one_by_one() -> None:
    one, other = Author(), Author()
    relay = ZooRelay(ZOO["lnbits"])
    async with relay, WireClient(relay.url) as client:
        both = [{"authors": [author.pubkey]} for author in (one, other)]
        await client.send("REQ", "s", *both)
        await client.eose("s", number=2)
        await client.subscribe("t", both[1])
        await relay.publish(one.sign(), note := other.sign())
        assert await client.count("s", 1) == [note]
        await client.quiet()
        assert client.events("t") == [], "one copy"


async def test_what_passes_and_what_is_forgotten() -> None:
    author = Author()
    character = Character(first_reqs=1, at_first=(Closed("error: not now"),), page=2)
    relay = ZooRelay(character)
    async with relay, WireClient(relay.url) as client:
        relay.store.keep(*author.notes(3))
        await client.send("REQ", "s", {})
        assert (await client.closed("s")).parts[2] == "error: not now"
        await client.subscribe("s", {"limit": 3})
        assert len(client.events("s")) == 2, "a page"
        relay.forget()
        await relay.publish(author.sign())
        await client.quiet()
