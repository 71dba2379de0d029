"""Rule 1.5: late is late, whoever is to blame for it."""

import asyncio

import pytest

from support.endpoint import Endpoint
from support.events import Author
from support.nodes import stalled
from support.scripted_relay import ScriptedRelay

pytestmark = pytest.mark.asyncio

ORDER = 23_194
STANDSTILL = 5.0  # seconds; the deadline is 2


async def test_an_order_sent_while_the_server_stood_still_is_refused(
    endpoint: Endpoint,
) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    wallet, reader = await endpoint.client(), await endpoint.client()
    await reader.subscribe("s", {"kinds": [ORDER]})
    orders = [Author().sign(f"pay {number}", kind=ORDER) for number in range(3)]
    note = Author().sign("not to be lost")
    with stalled(endpoint.lnbits):
        for event in (*orders, note):
            await wallet.send("EVENT", event)
        await asyncio.sleep(STANDSTILL)
    for order in orders:
        _, _, accepted, why = (await wallet.ok(order["id"])).parts
        assert not accepted and why.startswith("mute: it had waited too long")
    assert (await wallet.ok(note["id"])).parts[2] is True
    await wallet.quiet(1)
    # It is itself again; and what it had refused reaches nobody.
    fresh = Author().sign("pay now", kind=ORDER)
    assert (await wallet.publish(fresh)).parts[2] is True
    assert relay.published() == [note, fresh]
    await reader.count("s", 1)
    assert reader.events("s") == [fresh]


async def test_a_client_that_comes_after_a_standstill_is_served_at_once(
    endpoint: Endpoint,
) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    with stalled(endpoint.lnbits):
        await asyncio.sleep(STANDSTILL)
    wallet = await endpoint.client()
    order = Author().sign("pay", kind=ORDER)
    assert (await wallet.publish(order)).parts[2] is True
    assert relay.published() == [order]
