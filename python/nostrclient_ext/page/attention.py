"""What needs the owner's attention: a sentence for each thing, and what mends it.

`needs_attention` depends on its arguments alone. If all is well it returns nothing, and
the page shows nothing.
"""

from collections.abc import Iterator

from ..models import Relay, RelayStatus
from ..relays.journal import UNSERVED_SECONDS
from ..words import counted, duration
from .models import Action, Attention, ConnectedClient, State

DOWN_SECONDS = 5.0  # a relay that has been away for less may be coming back
LATELY_SECONDS = 600.0  # how long a relay's mistakes are shown
WAITING_SECONDS = 600  # how long an event may wait before it is shown
MOST_RELAYS = 8  # that get a line each
MOST_CLIENTS = 5
IN_USE = ("connected", "connecting", "waiting")  # states of a relay

# Codes in a relay's log.
FORGED = "forged_event"
REFUSED_EVENT = "refused_event"
ENDS_CONNECTION = "ends_connection"
TOO_LONG = "too_long"
NO_LOGIN = {"refused_auth", "unanswered_auth", "no_challenge"}

ADD = Action(label="Add a relay", do="show", target="relays")
LOOK_AT_RELAYS = Action(label="Show the relays", do="show", target="relays")
LOOK_AT_OUTBOX = Action(label="Show the outbox", do="show", target="outbox")
RECONNECT_ALL = Action(label="Connect now", do="reconnect", target="")
RETRY_ALL = Action(label="Try again now", do="retry", target="")


def needs_attention(
    now: float,
    state: State,
    relays: list[Relay],
    clients: list[ConnectedClient],
    problem: str | None = None,
) -> list[Attention]:
    """What is wrong, serious things first. `problem`: what is wrong with the table of
    relays, which may then be incomplete here."""
    items = [
        *_server(state, problem),
        *_all_relays(now, relays, known=problem is None),
        *_outbox(state),
        *_each_relay(now, relays),
        *_clients(clients),
    ]
    return sorted(items, key=lambda item: not item.serious)


def _server(state: State, problem: str | None) -> Iterator[Attention]:
    for name, text in (
        ("version", state.warning),
        ("table", problem),
        ("outbox-table", state.outbox.problem),
    ):
        if text is not None:
            yield Attention(id=name, serious=True, text=text, actions=[])


def _all_relays(now: float, relays: list[Relay], known: bool) -> Iterator[Attention]:
    """`known`: the list is complete."""
    own = [relay for relay in relays if relay.configured]
    used = [relay for relay in own if relay.state in IN_USE]
    connected = [relay for relay in used if relay.connected]
    nothing = "nothing is sent and nothing is found"
    # What the core answers to a client that publishes now (rule 1.4).
    publication = (
        "waits (payment orders are refused)"
        if any(relay.write for relay in used)
        else "is refused"
    )
    if not own:
        if known:
            text = f"There is no relay yet: {nothing}."
            yield Attention(id="no-relay", serious=True, text=text, actions=[ADD])
    elif not used:
        text = (
            f"No relay is in use: all are switched off, paused or wrong. Now {nothing}."
        )
        yield Attention(id="all-off", serious=True, text=text, actions=[LOOK_AT_RELAYS])
    elif not connected:
        if all(_is_down(relay, now) for relay in used):
            text = (
                "No relay is connected: nothing is found, and what is published"
                f" {publication}."
            )
            if len(used) > 1:
                text += " Is this server online?"
            yield Attention(id="none", serious=True, text=text, actions=[RECONNECT_ALL])
    else:
        for name, text in (
            ("write", f"takes events (write): what is published {publication}."),
            ("read", "is listened to (read): nothing is found."),
        ):
            if not any(getattr(relay, name) for relay in connected):
                yield Attention(
                    id=f"no-{name}",
                    serious=True,
                    text=f"No connected relay {text}",
                    actions=[LOOK_AT_RELAYS],
                )


def _outbox(state: State) -> Iterator[Attention]:
    outbox = state.outbox
    waiting = outbox.queued + outbox.in_doubt
    age = outbox.oldest_age or 0
    if outbox.queued and outbox.queued >= outbox.size:
        yield Attention(
            id="outbox-full",
            serious=True,
            text=f"The outbox is full: {counted(waiting, 'event')} waiting, the oldest"
            f" for {duration(age)}. What is published now is refused.",
            actions=[RETRY_ALL, LOOK_AT_OUTBOX],
        )
    elif waiting and age > WAITING_SECONDS:
        yield Attention(
            id="outbox-old",
            serious=False,
            text=f"{counted(waiting, 'event')} waiting for a relay, the oldest for"
            f" {duration(age)}.",
            actions=[RETRY_ALL, LOOK_AT_OUTBOX],
        )
    if outbox.rejected:
        what = (
            "1 event was" if outbox.rejected == 1 else f"{outbox.rejected:,} events were"
        )
        yield Attention(
            id="rejected",
            serious=True,
            text=f"{what} refused by every relay and not sent.",
            actions=[LOOK_AT_OUTBOX],
        )


def _each_relay(now: float, relays: list[Relay]) -> Iterator[Attention]:
    found = [item for relay in relays if (item := _one_relay(now, relay)) is not None]
    yield from found[:MOST_RELAYS]
    if len(found) > MOST_RELAYS:
        text = f"{counted(len(found) - MOST_RELAYS, 'more relay')} in trouble."
        yield Attention(id="more", serious=False, text=text, actions=[LOOK_AT_RELAYS])


def _one_relay(now: float, relay: Relay) -> Attention | None:
    url = relay.url or ""
    status = relay.status or RelayStatus()
    last = status.error_list[-1] if status.error_list else ""
    reconnect = Action(label="Connect now", do="reconnect", target=url)
    pause = Action(label="Pause for an hour", do="pause", target=url)
    remove = Action(label="Remove", do="remove", target=url)

    def item(text: str, *actions: Action) -> Attention:
        actions = actions if relay.configured else actions[:0]
        return Attention(
            id=f"relay {url}", serious=False, text=f"{url} {text}", actions=list(actions)
        )

    if (why_not := _no_relay(relay, last)) is not None:
        return item(why_not, remove)
    if _is_down(relay, now):
        since = duration(now - (relay.disconnected_since or now))
        if relay.refused:
            return item(
                f"has turned us away for {since}: {last}.", reconnect, pause, remove
            )
        why = f": {last}" if last else ""
        return item(f"has been away for {since}{why}.", reconnect, pause)
    if not relay.connected:
        return None
    if relay.auth_refused:
        text, label = _asks_who_we_are(relay, status)
        key = Action(label=label, do="key", target=url)
        return item(text, key, pause, *([remove] if relay.key is None else []))
    if (unserved := _unserved(status, now)) is not None:
        ask = Action(label="Ask again now", do="reconnect", target=url)
        return item(unserved, ADD, ask, pause)
    if status.quarantined:
        again = Action(label="Try again", do="reconnect", target=url)
        return item(_does_not_bear(status), again, pause)
    code, text = _misdeed(status, now)
    if code == FORGED:
        return item(text, pause, remove)
    return item(text, pause) if code else None


def _asks_who_we_are(relay: Relay, status: RelayStatus) -> tuple[str, str]:
    """What is to be said of a relay that refuses us for that, and what mends it."""
    if relay.key is None:
        return "answers only to those who log in (NIP-42).", "Set a key"
    told = [text for _, code, text in _log(status) if code in NO_LOGIN]
    why = f": it {told[-1]}" if told and not relay.authenticated else ""
    text = f"wants another key than the one that is set for it{why}."
    return text, "Set another key"


def _unserved(status: RelayStatus, now: float) -> str | None:
    """What is to be said of subscriptions that a relay does not serve, if it is time."""
    refused, waiting = status.subscriptions_refused, status.subscriptions_waiting
    since, why = status.unserved_since, status.unserved_reason or ""
    if since is None or now - since < UNSERVED_SECONDS:
        return None
    return (
        f"has not served {refused + waiting:,} of"
        f" {counted(status.subscriptions_served + refused + waiting, 'subscription')} for"
        f" {duration(now - since)} ({refused:,} refused, {waiting:,} waiting):"
        f" {why.rstrip('.')}. They are asked for again. Another relay may serve them; if"
        " this one is yours, see what it allows."
    )


def _does_not_bear(status: RelayStatus) -> str:
    over = [text for _, code, text in _log(status) if code == ENDS_CONNECTION]
    why = f": it {over[-1]}" if over else ""
    things = counted(status.quarantined, "thing")
    return f"is not sent {things} that it does not bear{why}."


def _misdeed(status: RelayStatus, now: float) -> tuple[str, str]:
    """The worst a relay has done lately: its code, and a sentence. Empty: nothing."""
    lately = dict(_lately(status, now))  # the last of each
    if FORGED in lately:
        times = counted(status.forged, "forged event")
        return FORGED, f"has sent {times}. They were dropped."
    found = (code for code in (TOO_LONG, REFUSED_EVENT) if code in lately)
    code = next(found, "")
    return code, lately.get(code, "")


def _no_relay(relay: Relay, last: str) -> str | None:
    """Why it will never be one, if so."""
    if relay.state == "invalid":
        return f"is not used: {last}"
    if relay.itself:
        return "is this server itself, and no relay. It is not used."
    return None


def _is_down(relay: Relay, now: float) -> bool:
    if relay.state not in ("connecting", "waiting"):
        return False
    since = relay.disconnected_since
    return since is not None and now - since > DOWN_SECONDS


def _log(status: RelayStatus) -> Iterator[tuple[float, str, str]]:
    """When, code and text of each entry. A core of version 2.0.0 gives no codes."""
    return zip(status.error_times, status.error_codes, status.error_list, strict=False)


def _lately(status: RelayStatus, now: float) -> list[tuple[str, str]]:
    return [(code, text) for at, code, text in _log(status) if now - at < LATELY_SECONDS]


def _clients(clients: list[ConnectedClient]) -> Iterator[Attention]:
    slow = [client for client in clients if client.slow]
    for client in slow[:MOST_CLIENTS]:
        where = client.forwarded_for or client.address or client.agent
        cut = Action(label="Cut off", do="cut", target=client.id)
        yield Attention(
            id=f"client {client.id}",
            serious=False,
            text=f"The client at {where} does not keep up:"
            f" {counted(client.waiting, 'message')} waiting for it.",
            actions=[] if client.kind == "extension" else [cut],
        )
    if len(slow) > MOST_CLIENTS:
        text = f"{counted(len(slow) - MOST_CLIENTS, 'more client')} not keeping up."
        action = Action(label="Show who it is", do="show", target="clients")
        yield Attention(id="slow", serious=False, text=text, actions=[action])
