"""A relay that reads nothing for a while gets no order later than the rules allow (rule
1.5)."""

import asyncio

import pytest

from support.endpoint import Endpoint
from support.events import Author
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

STALLED = 6
"""Seconds, three times as long as an order may take."""


async def test_an_order_does_not_wait_for_a_relay_to_read(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    line = await relay.connected()
    client = await endpoint.client()
    author = Author()
    line.stop_reading()
    # More than the machine takes for it.
    for number in range(40):
        await client.send("EVENT", author.sign(f"{number}" + "x" * 400_000))
    await asyncio.sleep(1)
    order = author.sign(kind=23_194)
    told = await client.publish(order)
    await asyncio.sleep(STALLED)
    line.socket.transport.resume_reading()
    line.reading.set()
    last = author.sign("last")
    await client.publish(last)
    await relay.until(lambda: last in relay.published(), "the last one", 30)
    assert order not in relay.published(), f"it came late, and was answered {told}"
