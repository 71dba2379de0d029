"""Rules 2.7 and 4.3: a message that one side does not bear costs that message, and not
the connection that everybody shares."""

import json
from functools import partial

import pytest

from support.endpoint import Endpoint
from support.events import Author, Event
from support.scripted_relay import Filter, Line, ScriptedRelay, accept, eose_at_once

pytestmark = pytest.mark.asyncio

KIBIBYTE = 1 << 10
TWO_MEGABYTES = "x" * 2_000_000
SECONDS = 30  # for two losses, and the attempts after them


class Scene:
    """A client that reads notes through a good and a strict relay."""

    def __init__(self, endpoint: Endpoint, strict: ScriptedRelay) -> None:
        self.endpoint, self.strict, self.good = endpoint, strict, ScriptedRelay()

    async def start(self) -> None:
        await self.endpoint.use(self.good, self.strict)
        self.client = await self.endpoint.client()
        await self.client.subscribe("notes", {"kinds": [1]})

    async def quarantined(self) -> None:
        """Wait until one thing is not sent to the strict relay any more."""
        await self.endpoint.until_relay(self.strict.url, SECONDS, quarantined=1)

    def has(self, event: Event) -> bool:
        return event in self.strict.published()

    async def at_peace(self) -> None:
        """The strict relay keeps its connection and serves who read through it."""
        await self.endpoint.until_relay(self.strict.url, connected=True)
        made = len(self.strict.connected_at)
        for number in range(3):
            before = len(self.client.events("notes"))
            line = await self.strict.connected()
            kinds = [one.get("kinds") for many in line.subs.values() for one in many]
            if [1] not in kinds:
                await self.strict.req(len(self.strict.reqs()) + 1)
            await line.live(note := Author().sign(f"live {number}"))
            assert (await self.client.count("notes", before + 1))[-1] == note
            published = Author().sign(f"published {number}", kind=2)
            await self.client.publish(published)
            await self.strict.until(partial(self.has, published), "the event")
        assert len(self.strict.connected_at) == made, "it is not lost again"


def small_relay() -> ScriptedRelay:
    """One that ends the connection (1009) over a message of more than 128 KiB."""
    relay = ScriptedRelay()
    relay.max_size = 128 * KIBIBYTE
    return relay


async def test_an_event_too_big_for_a_relay(endpoint: Endpoint) -> None:
    """Another one has taken it."""
    scene = Scene(endpoint, small_relay())
    await scene.start()
    big = Author().sign("x" * 212_000, kind=2)
    assert (await scene.client.publish(big)).parts[2] is True
    await scene.quarantined()
    await scene.at_peace()
    assert len(scene.strict.connected_at) <= 3
    status = (await endpoint.relay(scene.strict.url))["status"]
    assert status["error_codes"].count("ends_connection") == 1


async def test_an_event_too_big_for_the_only_relay(endpoint: Endpoint) -> None:
    """It is in doubt, and rejected there in the end; never answered `false`."""
    scene = Scene(endpoint, small_relay())
    await endpoint.use(scene.strict)
    scene.client = await endpoint.client()
    await scene.client.subscribe("notes", {"kinds": [1]})
    big = Author().sign("x" * 212_000, kind=2)
    assert (await scene.client.publish(big)).parts[2] is True
    await scene.quarantined()
    await scene.at_peace()
    assert len(scene.client.of("OK", big["id"])) == 1


async def test_a_request_too_big_for_a_relay(endpoint: Endpoint) -> None:
    scene = Scene(endpoint, small_relay())
    await scene.start()
    await scene.client.subscribe("long", {"#t": ["x" * 150_000]})
    await scene.quarantined()
    await scene.at_peace()
    assert scene.client.of("CLOSED", "long") == [], "the good relay serves it"


async def test_a_request_that_can_be_divided(endpoint: Endpoint) -> None:
    """It goes in pieces, before the relay has said that it is too big."""
    scene = Scene(endpoint, small_relay())
    await scene.start()
    authors = {f"{number:064x}" for number in range(3_000)}
    await scene.client.subscribe("many", {"authors": sorted(authors)})
    await scene.at_peace()
    assert len(scene.strict.connected_at) == 1
    line = await scene.strict.connected()
    asked = [one for many in line.subs.values() for one in many]
    assert authors == {author for one in asked for author in one.get("authors", [])}


async def test_an_event_that_a_relay_cannot_read(endpoint: Endpoint) -> None:
    killer = Author().sign("\b\f\u007f", kind=2)

    async def on_event(line: Line, event: Event) -> None:
        if event["id"] == killer["id"]:
            line.drop()
        else:
            await accept(line, event)

    scene = Scene(endpoint, ScriptedRelay(on_event=on_event))
    await scene.start()
    assert (await scene.client.publish(killer)).parts[2] is True
    await scene.quarantined()
    await scene.at_peace()
    sent = [event for event in scene.strict.published() if event["id"] == killer["id"]]
    assert len(sent) == 2


async def test_a_relay_that_hangs_up_on_whom_it_refuses(endpoint: Endpoint) -> None:
    async def on_req(line: Line, sub: str, filters: list[Filter]) -> None:
        if any(one.get("kinds") == [4] for one in filters):
            await line.closed(sub, "auth-required: for members")
            await line.socket.close(1008)
        else:
            await eose_at_once(line, sub, filters)

    scene = Scene(endpoint, ScriptedRelay(on_req=on_req))
    await scene.start()
    await scene.client.subscribe("secret", {"kinds": [4]})
    await scene.quarantined()
    await scene.at_peace()


async def test_messages_that_are_too_long_for_us(endpoint: Endpoint) -> None:
    author = Author()
    big, small = author.sign(TWO_MEGABYTES), author.sign("beside it")

    async def on_req(line: Line, sub: str, _: list[Filter]) -> None:
        await line.event(sub, big, small)
        await line.eose(sub)
        await line.notice(TWO_MEGABYTES)
        # In parts, the first of them within the limit.
        text = json.dumps(["NOTICE", TWO_MEGABYTES])
        await line.socket.send(
            [text[:500_000], text[500_000:1_500_000], text[1_500_000:]]
        )

    relay = ScriptedRelay(on_req=on_req)
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    assert client.events("s") == [small]
    await relay.line.live(live := author.sign("live"))
    assert await client.count("s", 2) == [small, live]
    assert len(relay.connected_at) == 1
    status = (await endpoint.relay(relay.url))["status"]
    assert status["skipped"] == 3
    assert status["error_codes"].count("too_long") == 3
