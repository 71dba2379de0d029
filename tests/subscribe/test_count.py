"""Rule 3.8: COUNT (NIP-45), over real sockets. The rules one by one are in the core's own
tests."""

from typing import Any

import pytest

from support.endpoint import Endpoint, honest_relay
from support.events import Author
from support.scripted_relay import ScriptedRelay, counted, refused
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

NOTES = {"kinds": [1]}
SKETCH = "01" * 256


async def ask(client: WireClient, name: str = "c", **more: Any) -> Any:
    await client.send("COUNT", name, {**NOTES, **more})
    await client.until(lambda: client.of("COUNT", name), "the answer", 8)
    return client.of("COUNT", name)[-1].parts[2]


async def test_one_relays_answer_is_passed_on(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_count=counted(238, hll=SKETCH, approximate=True))
    await endpoint.use(relay)
    client = await endpoint.client()
    assert await ask(client) == {"count": 238, "approximate": True, "hll": SKETCH}
    assert relay.counts() == [[NOTES]]


async def test_several_are_merged_and_those_that_do_not_count_left_out(
    endpoint: Endpoint,
) -> None:
    most = ScriptedRelay(on_count=counted(50, hll="00" * 256))
    fewer = ScriptedRelay(on_count=counted(20, hll=SKETCH))
    no = ScriptedRelay(on_count=refused("unsupported: no"))
    never = ScriptedRelay(on_count=counted(10**6))
    never.document = b'{"supported_nips": [1]}'
    await endpoint.use(most, fewer, no, never)
    shown = await endpoint.until_relay(
        never.url,
        limits={
            "max_subscriptions": None,
            "max_filters": None,
            "max_message_length": None,
            "max_limit": None,
            "counts": False,
            "searches": False,
        },
    )
    client = await endpoint.client()
    answer = await ask(client)
    assert answer.pop("count") > 50, "each register has seen somebody"
    assert answer == {"approximate": True, "hll": SKETCH}
    assert never.counts() == [] and shown["status"]["error_list"] == []


async def test_real_relays_count(endpoint: Endpoint) -> None:
    """Two with parts of the same events: no less than the larger one has."""
    one, other = await honest_relay(), await honest_relay()
    try:
        await endpoint.use(one, other)
        client = await endpoint.client()
        for number in range(3):
            assert (await client.publish(Author().sign(str(number)))).parts[2] is True
        answer = await ask(client)
        assert answer["count"] == 3 and answer["approximate"] is True
    finally:
        one.shutdown()
        other.shutdown()


async def test_nobody_counts(endpoint: Endpoint) -> None:
    client = await endpoint.client()
    await client.send("COUNT", "none", NOTES)
    assert (await client.closed("none")).parts[2] == "error: no relay configured"
    relay = ScriptedRelay(on_count=refused("unsupported: no"))
    await endpoint.use(relay)
    await client.send("COUNT", "no", NOTES)
    assert (await client.closed("no")).parts[2] == "unsupported: no"
    await client.send("COUNT", "again", NOTES)
    assert (await client.closed("again")).parts[2] == "unsupported: no relay counts"
    assert len(relay.counts()) == 1


async def test_nonsense_is_nobodys_number(endpoint: Endpoint) -> None:
    wrong = [-1, 0.5, 1e30, "5", None, True, [5], {"count": 5}]

    async def lie(line: Any, sub: str, _: Any) -> None:
        await line.send("COUNT", "7777777", {"count": 5})
        await line.send("COUNT", sub, {"count": wrong.pop()})
        await line.send("COUNT", sub, {"count": 9})

    liar = ScriptedRelay(on_count=lie)
    honest = ScriptedRelay(on_count=counted(2))
    await endpoint.use(liar, honest)
    client = await endpoint.client()
    for number in range(len(wrong)):
        answer = await ask(client, f"c{number}")
        assert answer == {"count": 2, "approximate": True}
    assert (await client.publish(Author().sign())).parts[2] is True
