"""Rules 1.1, 1.2, 1.3: one true answer for every EVENT."""

import asyncio
import json

import pytest

from support.endpoint import Endpoint, relay_url
from support.events import Author, Event, now
from support.scripted_relay import Line, ScriptedRelay, answer, silent
from support.wire_client import Message, WireClient

pytestmark = pytest.mark.asyncio

DEADLINE = 2.0


async def ask(endpoint: Endpoint, event: Event, *relays: ScriptedRelay) -> Message:
    """Publish through these relays; the answer, once it is sure to be the only one.

    What stays unanswered the relays are asked for. They do not answer that either, so
    that it is not sent again meanwhile.
    """
    for relay in relays:
        relay.on_req = silent
    await endpoint.use(*relays)
    client = await endpoint.client()
    reply = await client.publish(event)
    left = DEADLINE + 0.5 - client.after(event["id"], reply)
    await client.quiet(max(0.3, left))
    for relay in relays:
        assert relay.published() == [event]
    return Message(client.after(event["id"], reply), reply.parts)


def at_once(reply: Message) -> bool:
    return reply.at < 1.0


def at_deadline(reply: Message) -> bool:
    return DEADLINE - 0.1 <= reply.at < DEADLINE + 0.5


async def accept_slowly(line: Line, event: Event) -> None:
    await asyncio.sleep(0.5)
    await line.ok(event["id"], True, "taken slowly")


async def test_real_relays_get_it(endpoint: Endpoint) -> None:
    note = Author().sign("stored")
    readers: list[WireClient] = []
    for _ in range(2):
        relay = await endpoint.honest()
        readers.append(await endpoint.client(await relay_url(relay)))
        await readers[-1].subscribe("s", {"ids": [note["id"]]})
    client = await endpoint.client()
    reply = await client.publish(note)
    assert reply.parts[:3] == ["OK", note["id"], True]
    for reader in readers:
        assert await reader.count("s", 1) == [note]
    await client.quiet()


async def test_true_comes_with_the_relays_message(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_event=answer(True, "thank you"))
    note = Author().sign("hello")
    reply = await ask(endpoint, note, relay)
    assert reply.parts == ["OK", note["id"], True, "thank you"]
    assert at_once(reply)


async def test_the_first_true_wins_over_an_earlier_false(endpoint: Endpoint) -> None:
    note = Author().sign()
    reply = await ask(
        endpoint,
        note,
        ScriptedRelay(on_event=answer(False, "blocked: not here")),
        ScriptedRelay(on_event=accept_slowly),
    )
    assert reply.parts == ["OK", note["id"], True, "taken slowly"]
    assert 0.4 < reply.at < 1.5


async def test_the_first_true_is_not_held_up(endpoint: Endpoint) -> None:
    note = Author().sign()
    reply = await ask(
        endpoint,
        note,
        ScriptedRelay(on_event=silent),
        ScriptedRelay(on_event=answer(True, "here")),
        ScriptedRelay(on_event=answer(False, "blocked: no")),
    )
    assert reply.parts == ["OK", note["id"], True, "here"]
    assert at_once(reply)


async def test_false_once_every_relay_has_said_false(endpoint: Endpoint) -> None:
    note = Author().sign()
    reply = await ask(
        endpoint,
        note,
        ScriptedRelay(on_event=answer(False, "blocked: you are banned")),
        ScriptedRelay(on_event=answer(False, "")),
    )
    assert reply.parts == ["OK", note["id"], False, "blocked: you are banned"]
    assert at_once(reply)


async def test_duplicate_counts_as_accepted(endpoint: Endpoint) -> None:
    note = Author().sign()
    reply = await ask(
        endpoint, note, ScriptedRelay(on_event=answer(False, "duplicate: have it"))
    )
    assert reply.parts == ["OK", note["id"], True, "duplicate: have it"]
    assert at_once(reply)


async def test_silence_is_true_at_the_deadline(endpoint: Endpoint) -> None:
    async def too_late(line: Line, event: Event) -> None:
        await asyncio.sleep(2.25)
        await line.ok(event["id"], False, "blocked: too late to matter")

    note = Author().sign()
    reply = await ask(
        endpoint,
        note,
        ScriptedRelay(on_event=silent),
        ScriptedRelay(on_event=too_late),
    )
    assert reply.parts == ["OK", note["id"], True, "sent to 2 relays, unanswered"]
    assert at_deadline(reply)


async def test_one_false_and_one_silence_is_true_at_the_deadline(
    endpoint: Endpoint,
) -> None:
    note = Author().sign()
    reply = await ask(
        endpoint,
        note,
        ScriptedRelay(on_event=answer(False, "blocked: no")),
        ScriptedRelay(on_event=silent),
    )
    assert reply.parts == ["OK", note["id"], True, "sent to 2 relays, unanswered"]
    assert at_deadline(reply)


async def test_a_relay_that_drops_has_not_said_false(endpoint: Endpoint) -> None:
    async def drop(line: Line, _: Event) -> None:
        dropping.refuse_with = 503  # or it would be sent it again
        line.drop()

    dropping, note = ScriptedRelay(on_event=drop), Author().sign()
    reply = await ask(
        endpoint,
        note,
        ScriptedRelay(on_event=answer(False, "blocked: no")),
        dropping,
    )
    assert reply.parts == ["OK", note["id"], True, "sent to 2 relays, unanswered"]
    assert at_deadline(reply)


async def test_repeated_and_contradicting_answers_count_once(
    endpoint: Endpoint,
) -> None:
    async def chatter(line: Line, event: Event) -> None:
        for accepted in (False, True, False, True):
            await line.ok(event["id"], accepted, "blocked: " if not accepted else "")

    # One relay's two `false` must not stand for two relays.
    note = Author().sign()
    other = ScriptedRelay(on_event=accept_slowly)

    async def false_twice(line: Line, event: Event) -> None:
        await line.ok(event["id"], False, "blocked: once")
        await line.ok(event["id"], False, "blocked: twice")

    reply = await ask(endpoint, note, ScriptedRelay(on_event=false_twice), other)
    assert reply.parts == ["OK", note["id"], True, "taken slowly"]

    await endpoint.reset()
    note = Author().sign()
    reply = await ask(endpoint, note, ScriptedRelay(on_event=chatter))
    assert reply.parts[:3] == ["OK", note["id"], False]


async def test_only_relays_it_was_sent_to_may_answer(endpoint: Endpoint) -> None:
    note = Author().sign()

    async def claim(line: Line) -> None:
        await line.ok(note["id"], True, "I have never seen it")

    asked = ScriptedRelay(on_event=silent)
    stranger = ScriptedRelay(on_connect=claim)
    await endpoint.use(asked)
    client = await endpoint.client()
    await client.send("EVENT", note)
    await asked.until(lambda: asked.published() == [note], "the event")
    await endpoint.use(stranger)
    reply = await client.ok(note["id"])
    assert reply.parts[:3] == ["OK", note["id"], True]
    assert reply.parts[3].startswith("sent to 1 relay")
    # From now on the stranger may be sent it, too: it waits for a relay.
    assert client.after(note["id"], reply) > DEADLINE - 0.1


async def test_no_relay_configured(endpoint: Endpoint) -> None:
    client, note = await endpoint.client(), Author().sign()
    reply = await client.publish(note, seconds=1)
    assert reply.parts == ["OK", note["id"], False, "error: no relay configured"]
    await client.quiet(DEADLINE + 0.3)


async def test_no_relay_connected(endpoint: Endpoint) -> None:
    """Rules 1.4 and 1.5: kept and sent later, or refused and never sent."""
    relay, author = ScriptedRelay(), Author()
    await endpoint.use(relay)
    await relay.stop()
    await endpoint.until_relay(relay.url, connected=False)
    client = await endpoint.client()
    answers: dict[int, list[object]] = {
        1: [True, "queued: no relay connected"],
        19_999: [True, "queued: no relay connected"],
        20_000: [False, "mute: no relay connected"],
        29_999: [False, "mute: no relay connected"],
        30_000: [True, "queued: no relay connected"],
    }
    events = [author.sign(kind=kind) for kind in answers]
    for event, answer_to_it in zip(events, answers.values(), strict=True):
        reply = await client.publish(event, seconds=1)
        assert reply.parts == ["OK", event["id"], *answer_to_it]
    await client.quiet(DEADLINE + 0.3)
    await relay.start()
    await endpoint.until_relay(relay.url, connected=True)
    await relay.until(lambda: len(relay.published()) >= 3, "what was kept")
    fence = author.sign("fence")
    assert (await client.publish(fence)).parts[2] is True
    assert relay.published() == [events[0], events[1], events[4], fence]


async def test_everyone_who_publishes_gets_an_answer(endpoint: Endpoint) -> None:
    relay = ScriptedRelay(on_event=accept_slowly)
    await endpoint.use(relay)
    note = Author().sign("the same")
    first, second = await endpoint.client(), await endpoint.client()
    for client in (first, first, second):
        await client.send("EVENT", note)
    replies = await first.oks(note["id"], 2) + await second.oks(note["id"], 1)
    await first.quiet(DEADLINE)
    assert [reply.parts[2] for reply in replies] == [True, True, True]


async def test_publishing_again_asks_again(endpoint: Endpoint) -> None:
    """A `false` must not stick: the relay may have changed its mind."""
    replies = iter([(False, "rate-limited: later"), (True, "now")])

    async def reconsider(line: Line, event: Event) -> None:
        await line.ok(event["id"], *next(replies))

    relay = ScriptedRelay(on_event=reconsider)
    await endpoint.use(relay)
    client, note = await endpoint.client(), Author().sign()
    assert (await client.publish(note)).parts[2:] == [False, "rate-limited: later"]
    assert (await client.publish(note)).parts[2:] == [True, "now"]
    assert relay.published() == [note, note]


async def test_any_spelling_of_a_true_event_is_taken(endpoint: Endpoint) -> None:
    """The id is computed over the values, not over the bytes the client sent."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    author = Author()
    contents = [
        'quotes " and backslashes \\ and / slashes',
        "\n\r\t\b\f",
        "\u2028\u2029\u007f\u00a0",
        "\U0001f980 e\u0301 \u5b57",
        '{["EVENT","looks like one"]}',
    ]
    for content in contents:
        note = author.sign(content, tags=[["t", content], ["x"], ["e", "", content]])
        fields = dict(reversed(list(note.items())))
        spellings = [
            json.dumps(["EVENT", note]),  # everything beyond ASCII as \uXXXX
            json.dumps(["EVENT", fields], ensure_ascii=False).replace("/", "\\/"),
            " \n" + json.dumps(["EVENT", note], indent=2) + "\t ",
        ]
        for spelling in spellings:
            await client.send_text(spelling)
        replies = await client.oks(note["id"], len(spellings))
        assert [reply.parts[2] for reply in replies] == [True, True, True], note
        assert relay.published()[-1] == note


async def refused_event(endpoint: Endpoint, event: Event) -> str:
    """Publish an event that must be refused here; the reason given."""
    relay = ScriptedRelay()
    await endpoint.use(relay)
    client = await endpoint.client()
    reply = await client.publish(event, seconds=1)
    assert reply.parts[:3] == ["OK", event["id"], False]
    fence = Author().sign("fence")
    assert (await client.publish(fence)).parts[2] is True
    assert relay.published() == [fence]
    return str(reply.parts[3])


async def test_authentication_events_are_refused(endpoint: Endpoint) -> None:
    event = Author().sign(kind=22242, tags=[["challenge", "x"], ["relay", "ws://x"]])
    assert (await refused_event(endpoint, event)).startswith("invalid:")


async def test_expired_events_are_refused(endpoint: Endpoint) -> None:
    event = Author().sign(tags=[["expiration", str(now() - 5)]])
    assert (await refused_event(endpoint, event)).startswith("invalid: expired")


async def test_protected_events_are_refused(endpoint: Endpoint) -> None:
    reason = await refused_event(endpoint, Author().sign(tags=[["-"]]))
    assert reason.startswith(("auth-required:", "restricted:"))


async def test_events_that_expire_later_are_taken(endpoint: Endpoint) -> None:
    await endpoint.use(ScriptedRelay())
    client = await endpoint.client()
    note = Author().sign(tags=[["expiration", str(now() + 3600)]])
    assert (await client.publish(note)).parts[2] is True
