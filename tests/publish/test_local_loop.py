"""Two clients of one server talk whatever the relays do (rule 1.6)."""

import asyncio

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event, ids
from support.keeping_relay import KeepingRelay
from support.scripted_relay import ScriptedRelay, answer, silent
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

ORDER, ANSWER = 23_194, 23_195


class Party:
    """A wallet or its service (NIP-47): hears what is for it, and speaks to the other."""

    def __init__(self, client: WireClient, hears: int, speaks: int) -> None:
        self.client = client
        self.author = Author()
        self.hears, self.speaks = hears, speaks

    async def listen(self) -> None:
        await self.client.subscribe("s", {"kinds": [self.hears], "#p": [self.pubkey]})

    @property
    def pubkey(self) -> str:
        return self.author.pubkey

    def message(self, other: "Party", text: str) -> Event:
        return self.author.sign(text, kind=self.speaks, tags=[["p", other.pubkey]])


async def parties(endpoint: Endpoint) -> tuple[Party, Party]:
    """One on each endpoint, listening."""
    wallet = Party(await endpoint.client(), ANSWER, ORDER)
    service = Party(await endpoint.client(endpoint.private_url), ORDER, ANSWER)
    await asyncio.gather(wallet.listen(), service.listen())
    return wallet, service


async def talk(wallet: Party, service: Party) -> None:
    """Each hears the other once, and is told that it was heard."""
    for number in range(1, 6):
        for speaker, hearer in ((wallet, service), (service, wallet)):
            said = speaker.message(hearer, f"{number}")
            ok = await speaker.client.publish(said)
            assert ok.parts[2] is True, ok.parts
            assert (await hearer.client.count("s", number))[-1] == said
    for party in (wallet, service):
        await party.client.fence()
        assert len(party.client.events("s")) == 5


async def echo(relay: ScriptedRelay) -> None:
    """Once it has all that was said, it says it again."""
    await relay.until(lambda: len(relay.published()) == 10, "all of it")
    await relay.line.live(*relay.published())


async def test_with_relays_whose_echo_is_no_news(endpoint: Endpoint) -> None:
    relays = KeepingRelay(), KeepingRelay(confirm_first=True)
    await endpoint.use(*relays)
    wallet, service = await parties(endpoint)
    await talk(wallet, service)
    for relay in relays:
        await echo(relay)
    for party in (wallet, service):
        await party.client.quiet()


async def test_without_waiting_for_a_relay(endpoint: Endpoint) -> None:
    mute = ScriptedRelay(on_event=silent)
    await endpoint.use(mute)
    wallet, service = await parties(endpoint)
    order = wallet.message(service, "at once")
    await wallet.client.send("EVENT", order)
    assert await service.client.count("s", 1, seconds=1) == [order]
    assert (await wallet.client.ok(order["id"])).parts[2] is True
    # What is kept for a relay is handed over as well.
    await service.client.subscribe("notes", {"kinds": [1]})
    note = wallet.author.sign("a note")
    await wallet.client.send("EVENT", note)
    assert await service.client.count("notes", 1, seconds=1) == [note]
    await mute.line.live(note, order)
    await service.client.fence()
    assert len(service.client.events("notes")) == len(service.client.events("s")) == 1


async def test_with_relays_that_refuse_everything(endpoint: Endpoint) -> None:
    relays = [ScriptedRelay(on_event=answer(False, "blocked: no")) for _ in range(2)]
    await endpoint.use(*relays)
    wallet, service = await parties(endpoint)
    await talk(wallet, service)
    unheard = wallet.author.sign("to nobody", kind=ORDER)
    ok = await wallet.client.publish(unheard)
    assert ok.parts[2:] == [False, "blocked: no"]


async def test_with_every_relay_down(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    wallet, service = await parties(endpoint)
    await service.client.subscribe("notes", {"kinds": [1]})
    await relay.stop()
    await endpoint.until_relay(relay.url, connected=False)
    await talk(wallet, service)
    unheard = wallet.author.sign("to nobody", kind=ORDER)
    ok = await wallet.client.publish(unheard)
    assert ok.parts[2:] == [False, "mute: no relay connected"]
    notes = wallet.author.notes(3)
    for note in notes:
        ok = await wallet.client.publish(note)
        assert ok.parts[2:] == [True, "queued: no relay connected"]
    assert ids(await service.client.count("notes", 3)) == ids(notes)
    # They go to the relay once it is back, and come from there as what is known.
    await relay.start()
    await relay.until(lambda: len(relay.published()) == 3, "what was queued", 30)
    assert ids(relay.published()) == ids(notes), "and no order is delivered late"
    await relay.until(
        lambda: sum(len(filters) for filters in relay.open_subs().values()) >= 3,
        "the subscriptions",
    )
    await relay.line.live(*notes)
    await service.client.fence()
    assert len(service.client.events("notes")) == 3


async def test_without_any_relay(endpoint: Endpoint) -> None:
    wallet, service = await parties(endpoint)
    await talk(wallet, service)
    unheard = wallet.author.sign("to nobody", kind=ORDER)
    ok = await wallet.client.publish(unheard)
    assert ok.parts[2] is False
    await service.client.subscribe("notes", {"kinds": [1]})
    note = wallet.author.sign("a note")
    await wallet.client.publish(note)
    assert await service.client.count("notes", 1) == [note]
