"""The page's numbers for a monitoring system, in Prometheus' text format 0.0.4.

An admin may read them, or whoever has the token for them, which opens nothing else.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping

from ..crud import change_config, get_stored_config
from .models import Overview, RelayLine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Mapping[str, str], float]]


# Name, type, help and value of each metric.
_NUMBERS: tuple[tuple[str, str, str, Callable[[Overview], float]], ...] = (
    ("relays", "gauge", "Relays that are to be connected.", lambda o: o.state.relays),
    ("relays_connected", "gauge", "Those that are.", lambda o: o.state.connected),
    ("clients", "gauge", "Connected clients.", lambda o: o.state.clients),
    (
        "clients_slow",
        "gauge",
        "Clients that do not keep up.",
        lambda o: sum(client.slow for client in o.clients.clients),
    ),
    (
        "subscriptions",
        "gauge",
        "Subscriptions of all clients.",
        lambda o: o.state.subscriptions,
    ),
    (
        "events_pending",
        "gauge",
        "Published events that are not answered yet.",
        lambda o: o.state.pending_events,
    ),
    (
        "events_received_total",
        "counter",
        "Events relays sent, copies included.",
        lambda o: o.state.totals.received,
    ),
    (
        "events_delivered_total",
        "counter",
        "Events given to clients.",
        lambda o: o.state.totals.delivered,
    ),
    (
        "events_published_total",
        "counter",
        "Events clients published.",
        lambda o: o.state.totals.published,
    ),
    (
        "events_sent_total",
        "counter",
        "Events sent to relays.",
        lambda o: o.state.totals.sent,
    ),
    (
        "events_forged_total",
        "counter",
        "Events with a wrong id or signature, dropped.",
        lambda o: o.state.totals.forged,
    ),
    (
        "outbox_size",
        "gauge",
        "Events that may wait for a relay.",
        lambda o: o.state.outbox.size,
    ),
    (
        "outbox_queued",
        "gauge",
        "Events that wait for a relay.",
        lambda o: o.state.outbox.queued,
    ),
    (
        "outbox_in_doubt",
        "gauge",
        "Events that were sent and not answered.",
        lambda o: o.state.outbox.in_doubt,
    ),
    (
        "outbox_rejected",
        "gauge",
        "Events every relay has refused.",
        lambda o: o.state.outbox.rejected,
    ),
    (
        "outbox_oldest_age_seconds",
        "gauge",
        "Age of the oldest event that waits.",
        lambda o: o.state.outbox.oldest_age or 0,
    ),
    (
        "outbox_delivered_total",
        "counter",
        "Events of the outbox that a relay has taken.",
        lambda o: o.state.outbox.delivered,
    ),
    (
        "outbox_ok",
        "gauge",
        "1 if the outbox's table works.",
        lambda o: o.state.outbox.problem is None,
    ),
    (
        "needs_attention",
        "gauge",
        "Things the admin's page says need attention.",
        lambda o: len(o.attention),
    ),
)

# The same for each relay. None: the relay has no such value now.
_RELAY_NUMBERS: tuple[tuple[str, str, str, Callable[[RelayLine], float | None]], ...] = (
    (
        "connected",
        "gauge",
        "1 if the relay is connected.",
        lambda relay: relay.state == "connected",
    ),
    (
        "ping_seconds",
        "gauge",
        "Round trip of the last answered ping.",
        lambda relay: None if relay.ping is None else relay.ping / 1000,
    ),
    ("sent_total", "counter", "Events sent to it.", lambda relay: relay.sent),
    (
        "received_total",
        "counter",
        "Events it sent, copies included.",
        lambda relay: relay.received,
    ),
    (
        "duplicates_total",
        "counter",
        "Events that had come before.",
        lambda relay: relay.duplicates,
    ),
    (
        "forged_total",
        "counter",
        "Events with a wrong id or signature.",
        lambda relay: relay.forged,
    ),
    ("rejected_total", "counter", "Events it refused.", lambda relay: relay.rejected),
    (
        "dropped_total",
        "counter",
        "Events it never got although others did.",
        lambda relay: relay.dropped,
    ),
    (
        "errors_total",
        "counter",
        "Errors of the relay and its connection.",
        lambda relay: relay.errors,
    ),
)


def metrics_text(overview: Overview) -> str:
    """All numbers of an overview."""
    version = {"version": overview.state.version}
    parts = [_family("info", "gauge", "The version that runs.", [(version, 1)])]
    for name, kind, text, number in _NUMBERS:
        parts.append(_family(name, kind, text, [({}, number(overview))]))
    for name, kind, text, of_relay in _RELAY_NUMBERS:
        numbers = ((relay.url, of_relay(relay)) for relay in overview.relays)
        samples = [({"relay": url}, value) for url, value in numbers if value is not None]
        parts.append(_family(f"relay_{name}", kind, text, samples))
    return "".join(parts)


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


def _family(name: str, kind: str, text: str, samples: Samples) -> str:
    lines = [f"# HELP nostrclient_{name} {text}", f"# TYPE nostrclient_{name} {kind}"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        number = f"{float(value):.10g}" if isinstance(value, float) else int(value)
        lines.append(f"nostrclient_{name}{f'{{{pairs}}}' if pairs else ''} {number}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
