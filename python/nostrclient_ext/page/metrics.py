"""The page's numbers for a monitoring system, in Prometheus' text format 0.0.4.

An admin may read them, or whoever has the token for them, which opens nothing else.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter

from ..crud import change_config, get_stored_config
from .models import Overview, RelayLine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = list[tuple[Mapping[str, str], float]]
"""Labels and a value, each."""

# What is counted for all relays together, and for each: the fields of `Totals`,
# `OutboxNumbers` and `RelayLine` that are a metric as they are.
_EVENTS = {
    "received": "Events relays sent, copies included.",
    "delivered": "Events given to clients.",
    "published": "Events clients published.",
    "sent": "Events sent to relays.",
    "forged": "Events with a wrong id or signature, dropped.",
}
_OUTBOX = {
    "size": "Events that may wait for a relay.",
    "queued": "Events that wait for a relay.",
    "in_doubt": "Events that were sent and not answered.",
    "rejected": "Events every relay has refused.",
}
_RELAY_NOW = {
    "quarantined": "Events and subscriptions it is not sent: it ends the connection over"
    " them.",
    "subscriptions_served": "Subscriptions it serves.",
    "subscriptions_refused": "Subscriptions it has refused, or not answered.",
    "subscriptions_waiting": "Subscriptions it could not be asked for yet.",
}
_RELAY = {
    "sent": "Events sent to it.",
    "received": "Events it sent, copies included.",
    "duplicates": "Events that had come before.",
    "forged": "Events with a wrong id or signature.",
    "rejected": "Events it refused.",
    "dropped": "Events it never got although others did.",
    "skipped": "Messages it sent that were too long.",
    "errors": "Errors of the relay and its connection.",
}


def metrics_text(overview: Overview) -> str:
    """All numbers of an overview."""
    families = [*_of_the_server(overview), *_of_each_relay(overview.relays)]
    return "".join(_family(*family) for family in families)


def _of_the_server(overview: Overview) -> Iterator[tuple[str, str, Samples]]:
    state, outbox = overview.state, overview.state.outbox
    slow = sum(client.slow for client in overview.clients.clients)

    def one(value: float) -> Samples:
        return [({}, value)]

    yield "info", "The version that runs.", [({"version": state.version}, 1)]
    yield "relays", "Relays that are to be connected.", one(state.relays)
    yield "relays_connected", "Those that are.", one(state.connected)
    yield "clients", "Connected clients.", one(state.clients)
    yield "clients_slow", "Clients that do not keep up.", one(slow)
    yield "subscriptions", "Subscriptions of all clients.", one(state.subscriptions)
    text = "Published events that are not answered yet."
    yield "events_pending", text, one(state.pending_events)
    for name, text in _EVENTS.items():
        yield f"events_{name}_total", text, one(getattr(state.totals, name))
    for name, text in _OUTBOX.items():
        yield f"outbox_{name}", text, one(getattr(outbox, name))
    text = "Age of the oldest event that waits."
    yield "outbox_oldest_age_seconds", text, one(outbox.oldest_age or 0)
    text = "Events of the outbox that a relay has taken."
    yield "outbox_delivered_total", text, one(outbox.delivered)
    yield "outbox_ok", "1 if the outbox's table works.", one(outbox.problem is None)
    text = "Things the admin's page says need attention."
    yield "needs_attention", text, one(len(overview.attention))


def _of_each_relay(relays: list[RelayLine]) -> Iterator[tuple[str, str, Samples]]:
    def each(value: Callable[[RelayLine], float]) -> Samples:
        return [({"relay": relay.url}, value(relay)) for relay in relays]

    text = "1 if the relay is connected."
    yield "relay_connected", text, each(lambda relay: relay.state == "connected")
    text = "Round trip of the last answered ping."
    pings = [({"relay": r.url}, r.ping / 1000) for r in relays if r.ping is not None]
    yield "relay_ping_seconds", text, [*pings]
    for name, text in _RELAY_NOW.items():
        yield f"relay_{name}", text, each(attrgetter(name))
    for name, text in _RELAY.items():
        yield f"relay_{name}_total", text, each(attrgetter(name))


async def make_token() -> str:
    """Make a new token, and make the old one invalid. Only a hash is stored."""
    token = secrets.token_urlsafe(32)
    await change_config({"metrics_token_hash": _hash(token)})
    return token


async def drop_token() -> None:
    """Make the token invalid: only admins read the metrics then."""
    await change_config({"metrics_token_hash": None})


async def has_token() -> bool:
    """Whether there is a token."""
    return (await get_stored_config()).metrics_token_hash is not None


async def is_token(text: str) -> bool:
    """Whether this is the token."""
    stored = (await get_stored_config()).metrics_token_hash
    return stored is not None and hmac.compare_digest(stored, _hash(text))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _family(name: str, text: str, samples: Samples) -> str:
    """One metric as Prometheus reads it, which has counters end in `_total`."""
    kind = "counter" if name.endswith("_total") else "gauge"
    lines = [f"# HELP nostrclient_{name} {text}", f"# TYPE nostrclient_{name} {kind}"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        number = f"{float(value):.10g}" if isinstance(value, float) else int(value)
        lines.append(f"nostrclient_{name}{f'{{{pairs}}}' if pairs else ''} {number}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
