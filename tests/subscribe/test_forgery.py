"""Rule 6.1: a forged event is never delivered and never hides the true one."""

import asyncio

import pytest

from support.endpoint import Endpoint
from support.events import (
    Author,
    Event,
    event_id,
    forged_author,
    forged_content,
    forged_signature,
    ids,
)
from support.scripted_relay import ScriptedRelay, stored
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

NOTES = {"kinds": [1]}


def copies(event: Event) -> list[Event]:
    """Every way to lie about `event` while claiming its id."""
    other = Author()
    return [
        forged_signature(event),
        forged_content(event),
        {**event, "sig": "0" * 128},
        {**event, "sig": "f" * 128},
        {**event, "sig": other.sign()["sig"]},
        {**event, "pubkey": other.pubkey},
        {**event, "pubkey": "0" * 64},
        {**event, "pubkey": "f" * 64},
        {**event, "created_at": event["created_at"] - 1},
        {**event, "tags": [*event["tags"], ["t", "added"]]},
        {**event, "kind": 1, "content": event["content"] + " "},
    ]


async def subscribed(endpoint: Endpoint, *relays: ScriptedRelay) -> WireClient:
    await endpoint.use(*relays)
    client = await endpoint.client()
    await client.subscribe("s", NOTES)
    return client


async def test_forged_first_true_second(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    note = Author().sign("true")
    await relay.line.live(*copies(note), note)
    assert await client.count("s", 1) == [note]
    await client.quiet(0.5)
    status = (await endpoint.relay(relay.url))["status"]
    assert status["forged"] == len(copies(note))


async def test_true_first_forged_second(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    note = Author().sign("true")
    await relay.line.live(note, *copies(note))
    assert await client.count("s", 1) == [note]
    await client.quiet(0.5)


async def test_forged_by_one_relay_and_true_from_another(endpoint: Endpoint) -> None:
    """Whoever comes first, also while the first copy is still being verified."""
    notes = Author().notes(300)
    liar = ScriptedRelay(on_req=stored(*(forged_signature(note) for note in notes)))
    honest = ScriptedRelay(on_req=stored(*notes))
    client = await subscribed(endpoint, liar, honest)
    assert sorted(ids(client.events("s"))) == sorted(ids(notes))
    live = Author().notes(300)
    await asyncio.gather(
        liar.line.live(*(forged_content(note) for note in live)),
        honest.line.live(*live),
    )
    await client.count("s", 600)
    await client.quiet(0.5)
    by_id = {note["id"]: note for note in notes + live}
    assert all(event == by_id[event["id"]] for event in client.events("s"))
    assert (await endpoint.relay(honest.url))["status"]["forged"] == 0


async def test_many_lies_around_one_truth(endpoint: Endpoint) -> None:
    note = Author().sign("true")
    relays = [
        ScriptedRelay(on_req=stored(*copies(note) * 20, note, *copies(note) * 20))
        for _ in range(3)
    ]
    client = await subscribed(endpoint, *relays)
    assert client.events("s") == [note]
    await client.quiet(0.5)


async def test_a_consistent_event_of_the_wrong_signer(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    note, fence = Author().notes(2)
    stranger = forged_author(note)
    assert stranger["id"] == event_id(stranger)
    await relay.line.live(stranger, note, fence)
    await client.count("s", 2)
    await client.quiet(0.5)
    assert sorted(ids(client.events("s"))) == sorted(ids([note, fence]))


async def test_a_known_id_is_no_pass(endpoint: Endpoint) -> None:
    """The id has been verified for one subscription; a lie under it must not reach
    another one, and the truth still must."""
    relay = ScriptedRelay()
    first = await subscribed(endpoint, relay)
    note = Author().sign("true", tags=[["t", "x"]])
    await relay.line.live(note)
    await first.count("s", 1)

    relay.on_req = stored(*copies(note), note, *copies(note))
    second = await endpoint.client()
    await second.subscribe("s", NOTES)
    assert await second.count("s", 1) == [note]
    # Lies alone give nobody anything, not even the truth.
    relay.on_req = stored(*copies(note))
    third = await endpoint.client()
    await third.subscribe("s", NOTES)
    assert third.events("s") == []
    # A lie that matches a filter which the true event does not match.
    lie = {**note, "tags": [["t", "y"]]}
    relay.on_req = stored(lie)
    await second.subscribe("t", {"#t": ["y"]})
    lie = {**note, "kind": 7}
    relay.on_req = stored(lie)
    await second.subscribe("u", {"kinds": [7]})
    await second.quiet(0.5)
    assert second.events("t") == second.events("u") == []
    await first.quiet()


async def test_a_known_id_is_no_pass_for_publishing(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    note = Author().sign("true")
    lies = copies(note)
    expected = [False] * len(lies) + [True, False]
    answers = [await client.publish(event) for event in (*lies, note, lies[0])]
    assert [answer.parts[2] for answer in answers] == expected
    for answer in answers:
        assert answer.parts[2] or answer.parts[3].startswith("invalid:")
    assert relay.published() == [note]


async def test_a_forgery_published_here_hides_nothing(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    note = Author().sign("true")
    for lie in copies(note):
        await client.send("EVENT", lie)
    await relay.line.live(note)
    assert await client.count("s", 1) == [note]


async def test_forged_stored_events_do_not_hold_up_eose(endpoint: Endpoint) -> None:
    notes = Author().notes(500)
    relay = ScriptedRelay(on_req=stored(*(forged_signature(note) for note in notes)))
    client = await subscribed(endpoint, relay)
    assert client.events("s") == []
    await client.quiet(0.5)
    assert (await endpoint.relay(relay.url))["status"]["forged"] == 500
