"""Rules 3.1, 3.3, 3.5, 3.6: subscriptions, from REQ to CLOSE."""

import asyncio

import pytest

from support.endpoint import Endpoint, relay_url
from support.events import Author, ids, now
from support.scripted_relay import Filter, Line, ScriptedRelay, refused, silent, stored
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio


async def subscribed(
    endpoint: Endpoint, *relays: ScriptedRelay, filters: list[Filter] | None = None
) -> WireClient:
    """A client with a live subscription `s` through these relays."""
    await endpoint.use(*relays)
    client = await endpoint.client()
    await client.subscribe("s", *(filters or [{"kinds": [1]}]))
    for relay in relays:
        await relay.req()
    return client


async def test_stored_and_live_events_of_real_relays(endpoint: Endpoint) -> None:
    author = Author()
    old, both, new = author.notes(3)
    publishers: list[WireClient] = []
    for notes in ([old, both], [both]):
        relay = await endpoint.honest()
        publishers.append(await endpoint.client(await relay_url(relay)))
        for note in notes:
            assert (await publishers[-1].publish(note)).parts[2] is True
    client = await endpoint.client()
    await client.subscribe("s", {"authors": [author.pubkey]})
    assert sorted(ids(client.events("s"))) == sorted([old["id"], both["id"]])
    for publisher in publishers:
        await publisher.publish(new)
    await client.count("s", 3)
    await client.quiet(0.5)
    assert client.events("s")[2] == new
    verbs = [message.verb for message in client.messages]
    assert verbs == ["EVENT", "EVENT", "EOSE", "EVENT"]


async def test_relays_get_the_filters_as_they_were(endpoint: Endpoint) -> None:
    author = Author()
    filters: list[Filter] = [
        {"ids": [author.sign()["id"]]},
        {"authors": [author.pubkey], "kinds": [0, 30023], "limit": 7},
        {"#e": ["f" * 64], "#P": ["x", "y"], "since": 1, "until": now() + 100},
        {"search": "words", "kinds": [1]},
        {},
    ]
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay, filters=filters)
    upstream = await relay.req()

    def plain(one: Filter) -> Filter:
        return {
            name: sorted(value) if isinstance(value, list) else value
            for name, value in one.items()
        }

    assert [plain(one) for one in upstream.filters] == [plain(one) for one in filters]
    await client.quiet(0.3)


async def test_ids_of_any_length_are_rewritten(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    await endpoint.use(relay)
    names = ["x" * 64, "é" * 64, "\U0001f980" * 64, "1", '"', "nostrmarket-" + "0" * 32]
    clients = [await endpoint.client(), await endpoint.client()]
    for number, client in enumerate(clients):
        for name in names:
            note = Author().sign(f"{number}{name}")
            await client.subscribe(name, {"ids": [note["id"]]})
            upstream = await relay.req(len(relay.reqs()))
            assert 1 <= len(upstream.sub.encode()) <= 64
            await upstream.event(note)
            assert await client.count(name, 1) == [note]
    subs = [upstream.sub for upstream in relay.reqs()]
    assert len(set(subs)) == 2 * len(names)
    assert not set(subs) & set(names)


async def test_two_clients_with_the_same_id_are_apart(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    one = await subscribed(endpoint, relay, filters=[{"kinds": [1]}])
    two = await endpoint.client()
    await two.subscribe("s", {"kinds": [2]})
    first, second = Author().sign(kind=1), Author().sign(kind=2)
    for upstream in (await relay.req(1), await relay.req(2)):
        await upstream.event(second, first)
    assert await one.count("s", 1) == [first]
    assert await two.count("s", 1) == [second]
    await one.send("CLOSE", "s")
    await relay.until(lambda: len(relay.closes()) == 1, "one CLOSE")
    third = Author().sign(kind=2)
    await relay.line.live(third)
    assert (await two.count("s", 2))[1] == third
    await one.quiet()


async def test_the_same_id_again_replaces(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay, filters=[{"kinds": [1]}])
    old = await relay.req(1)
    await client.subscribe("s", {"kinds": [2]})
    new = await relay.req(2)
    await relay.until(lambda: relay.closes() == [old.sub], "CLOSE of the old one")
    assert list(relay.open_subs()) == [new.sub]
    one, two = Author().sign(kind=1), Author().sign(kind=2)
    await old.event(one, two)
    await new.event(one, two)
    assert await client.count("s", 1) == [two]
    await client.quiet()
    assert len(client.of("EOSE", "s")) == 2


async def test_one_event_for_two_subscriptions(endpoint: Endpoint) -> None:
    relays = [ScriptedRelay(), ScriptedRelay()]
    client = await subscribed(endpoint, *relays)
    await client.subscribe("t", {"authors": [(author := Author()).pubkey]})
    note = author.sign()
    for relay in relays:
        await relay.req(2)
        await relay.line.live(note)
    await client.count("s", 1)
    await client.count("t", 1)
    await client.quiet(0.5)
    assert client.events("s") == client.events("t") == [note]


async def test_copies_are_delivered_once_ever(endpoint: Endpoint) -> None:
    notes = Author().notes(50)
    relays = [ScriptedRelay(on_req=stored(*notes, *notes)) for _ in range(3)]
    client = await subscribed(endpoint, *relays)
    for relay in relays:
        await relay.line.live(*notes)
    live = Author().sign("live")
    for relay in relays:
        await relay.line.live(live, live)
    await client.count("s", 51)
    await client.quiet(0.5)
    assert sorted(ids(client.events("s"))) == sorted(ids([*notes, live]))


async def test_only_what_was_asked_for_comes_through(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    author, moment = Author(), now()
    filters: list[Filter] = [
        {
            "authors": [author.pubkey],
            "kinds": [1, 7],
            "#t": ["a", "b"],
            "#e": ["f" * 64],
            "since": moment - 100,
            "until": moment + 100,
        },
        {"kinds": [4], "#p": [author.pubkey]},
    ]
    client = await subscribed(endpoint, relay, filters=filters)
    tags = [["e", "f" * 64], ["t", "b", "more"]]
    wanted = [
        author.sign(tags=tags),
        author.sign(kind=7, tags=[["t", "x"], *tags], created_at=moment - 100),
        author.sign(tags=tags, created_at=moment + 100),
        Author().sign(kind=4, tags=[["p", author.pubkey]]),
    ]
    unwanted = [
        Author().sign(tags=tags),
        author.sign(kind=2, tags=tags),
        author.sign(tags=tags[1:]),
        author.sign(tags=[tags[0], ["t", "A"]]),
        author.sign(tags=[tags[0], ["tt", "b"], ["x", "b"], ["t"]]),
        author.sign(tags=tags, created_at=moment - 101),
        author.sign(tags=tags, created_at=moment + 101),
        Author().sign(kind=4, tags=[["e", author.pubkey]]),
        Author().sign(kind=1, tags=[["p", author.pubkey]]),
    ]
    await relay.line.live(*unwanted, *wanted, *unwanted)
    await client.count("s", len(wanted))
    await client.quiet(0.5)
    assert sorted(ids(client.events("s"))) == sorted(ids(wanted))
    status = (await endpoint.relay(relay.url))["status"]
    assert status["num_received_events"] == len(wanted) + 2 * len(unwanted)


async def test_what_nobody_asked_for_goes_nowhere(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    note, fence = Author().notes(2)
    upstream = await relay.req()
    for sub in ("s", "", "0", "x" * 64, upstream.sub + "0", upstream.sub.upper() + " "):
        await relay.line.event(sub, note)
    await upstream.event(fence)
    assert await client.count("s", 1) == [fence]
    await client.quiet(0.5)
    # Unasked is not seen: the event itself still comes when it is asked for.
    await upstream.event(note)
    assert (await client.count("s", 2))[1] == note


async def test_expired_events_stay_behind(endpoint: Endpoint) -> None:
    def expiring(seconds: int) -> list[list[str]]:
        return [["expiration", str(now() + seconds)]]

    expired, lasting = Author().sign(tags=expiring(-1)), Author().sign(tags=expiring(60))
    relay = ScriptedRelay(on_req=stored(expired))
    client = await subscribed(endpoint, relay)
    assert client.events("s") == []
    await relay.line.live(expired, lasting)
    assert await client.count("s", 1) == [lasting]
    await client.quiet()


async def test_one_relays_refusal_stays_inside(endpoint: Endpoint) -> None:
    refusing = ScriptedRelay(on_req=refused("blocked: go away"))
    serving = ScriptedRelay()
    client = await subscribed(endpoint, refusing, serving)
    note = Author().sign()
    await serving.line.live(note)
    assert await client.count("s", 1) == [note]
    assert [message.verb for message in client.messages] == ["EOSE", "EVENT"]
    relay = await endpoint.relay(refusing.url)
    assert any("blocked: go away" in error for error in relay["status"]["error_list"])


async def test_closed_when_no_relay_serves_it(endpoint: Endpoint) -> None:
    relays = [ScriptedRelay(on_req=refused(f"blocked: {n}")) for n in range(2)]
    await endpoint.use(*relays)
    client = await endpoint.client()
    await client.send("REQ", "s", {"kinds": [1]})
    closed = await client.closed("s", seconds=1)
    assert closed.parts[2].startswith("blocked: ")
    await client.quiet(4.5)
    # It has ended here as well: closing it is silent, and the name is free again.
    await client.send("CLOSE", "s")
    for relay in relays:
        relay.on_req = stored()
    await client.subscribe("s", {"kinds": [1]})


async def test_closed_one_after_the_other(endpoint: Endpoint) -> None:
    """What was live is asked for again after a second. Then they refuse for good."""
    relays = [ScriptedRelay(), ScriptedRelay()]
    client = await subscribed(endpoint, *relays)
    await (await relays[0].req()).closed("error: shutting down")
    note = Author().sign()
    await relays[1].line.live(note)
    await client.count("s", 1)
    await (await relays[1].req()).closed("error: me too")
    await client.quiet(0.5)
    for relay in relays:
        relay.on_req = refused("blocked: no more")
    assert (await client.closed("s", 10)).parts[2] == "blocked: no more"
    await client.quiet(0.5)
    assert [message.verb for message in client.messages] == ["EOSE", "EVENT", "CLOSED"]


async def test_close_is_silent_and_ends_it_everywhere(endpoint: Endpoint) -> None:
    async def confirm(line: Line, sub: str) -> None:
        await line.closed(sub, "")

    relays = [ScriptedRelay(on_close=confirm), ScriptedRelay()]
    client = await subscribed(endpoint, *relays)
    upstream = [await relay.req() for relay in relays]
    await client.send("CLOSE", "s")
    for relay, one in zip(relays, upstream, strict=True):
        await relay.close_of(one.sub)
        assert relay.closes() == [one.sub]
        assert relay.open_subs() == {}
    for one in upstream:
        await one.event(Author().sign("too late"))
        await one.eose()
    before = len(client.messages)
    await client.fence()
    await client.quiet(0.5)
    assert len(client.messages) == before


async def test_closing_what_is_not_there_is_silent(endpoint: Endpoint) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    before = list(client.messages)
    for name in ("unknown", "", "x" * 65, "S"):
        await client.send("CLOSE", name)
    await client.fence()
    assert client.messages == before
    assert relay.closes() == []


async def test_close_before_eose(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_req=silent)
    await endpoint.use(relay)
    client = await endpoint.client()
    await client.send("REQ", "s", {"kinds": [1]})
    upstream = await relay.req()
    await client.send("CLOSE", "s")
    await relay.until(lambda: relay.closes() == [upstream.sub], "CLOSE")
    await client.quiet(4.5)


@pytest.mark.parametrize("polite", [True, False])
async def test_a_client_that_leaves_ends_its_subscriptions(
    endpoint: Endpoint, polite: bool
) -> None:
    relay = ScriptedRelay()
    client = await subscribed(endpoint, relay)
    other = await endpoint.client()
    await other.subscribe("s", {"kinds": [2]})
    await client.subscribe("t", {"kinds": [3]})
    kept = await relay.req(2)
    await (client.close() if polite else client.vanish())
    await relay.until(lambda: list(relay.open_subs()) == [kept.sub], "both CLOSEs")
    assert len(relay.closes()) == 2
    note = Author().sign(kind=2)
    await kept.event(note)
    assert await other.count("s", 1) == [note]


async def test_a_relay_added_later_gets_it(endpoint: Endpoint) -> None:
    client = await endpoint.client()
    await client.subscribe("s", {"kinds": [1]})
    note = Author().sign()
    late = ScriptedRelay(on_req=stored(note))
    await endpoint.use(late)
    upstream = await late.req()
    assert upstream.filters[0]["kinds"] == [1]
    assert await client.count("s", 1) == [note]
    await client.quiet(0.5)
    assert len(client.of("EOSE", "s")) == 1


async def test_a_relay_removed_is_hung_up_on(endpoint: Endpoint) -> None:
    going, staying = ScriptedRelay(), ScriptedRelay()
    client = await subscribed(endpoint, going, staying)
    assert (await endpoint.remove(going.url)).status_code == 200
    await going.until(lambda: not going.lines, "the end of the connection")
    note = Author().sign()
    await staying.line.live(note)
    assert await client.count("s", 1) == [note]
    await going.inbox.changes_within(2.0)
    assert len(going.connected_at) == 1


async def test_one_connection_for_any_number_of_clients(endpoint: Endpoint) -> None:
    """Rule 4.1."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    clients = await asyncio.gather(*(endpoint.client() for _ in range(50)))
    for client in clients:
        await client.subscribe("s", {"kinds": [1]})
    notes = Author().notes(20)
    for note in notes:
        await relay.line.live(note)
    for client in clients:
        assert sorted(ids(await client.count("s", 20))) == sorted(ids(notes))
        await client.publish(Author().sign(kind=2))
    assert len(relay.connected_at) == 1
