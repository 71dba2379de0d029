"""Who uses the multiplexer now, for the owner to see and to cut off.

The core has the clients outside. Those inside LNbits (`inside/`) are found where the
process keeps them.
"""

import heapq
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.running import Running, inside_clients
from .models import Clients, ConnectedClient

if TYPE_CHECKING:
    from fastapi import WebSocket

    from nostrclient_core import About, ClientStatus, OutsideClient

MOST = 200  # WebSockets shown
SLOW_MESSAGES = 4_096  # waiting for a client; at 32,768 it is cut off
SLOW_BYTES = 2 << 20  # of waiting messages; at 16 MiB it is cut off
ADDRESS = 64  # characters kept
AGENT = 120

CUT_OFF = "cut off by the owner of this server"


def about(websocket: "WebSocket") -> "About":
    """What is known of who is at the other end of a WebSocket."""
    return {
        "address": websocket.client.host if websocket.client else None,
        "forwarded_for": _header(websocket, "x-forwarded-for", ADDRESS),
        "agent": _header(websocket, "user-agent", AGENT),
    }


def clients(running: Running) -> Clients:
    """The connected clients; if there are many, the busiest."""
    everybody = running.core.clients()
    busiest = heapq.nlargest(MOST, everybody, key=lambda one: _weight(one["status"]))
    inside = [_inside(*one) for one in enumerate(inside_clients())]
    shown = [_outside(one) for one in busiest] + [
        one for one in inside if one is not None
    ]
    total = len(shown) + len(everybody) - len(busiest)
    return Clients(total=total, clients=shown)


def cut_off(running: Running, client_id: str) -> bool:
    """Close a client's WebSocket. It may connect again. False: no client has this id."""
    return client_id.isdecimal() and running.core.cut_off(int(client_id[:19]), CUT_OFF)


def _outside(client: "OutsideClient") -> ConnectedClient:
    return _shown(
        client["status"],
        {
            "id": str(client["token"]),
            "kind": "public" if client["public"] else "private",
            "address": client["address"],
            "forwarded_for": client["forwarded_for"],
            "agent": client["agent"],
        },
    )


def _shown(status: "ClientStatus", known: Mapping[str, str | None]) -> ConnectedClient:
    return ConnectedClient.parse_obj({**status, **known, "slow": _is_slow(status)})


def _inside(number: int, inside: Any) -> ConnectedClient | None:
    if inside.core_client is None:
        return None
    status: ClientStatus = inside.core_client.status()
    return _shown(
        status,
        {
            "id": f"extension-{number}",
            "kind": "extension",
            "address": None,
            "forwarded_for": None,
            "agent": _uses(inside),
        },
    )


def _is_slow(status: "ClientStatus") -> bool:
    return status["waiting"] > SLOW_MESSAGES or status["waiting_bytes"] > SLOW_BYTES


def _weight(status: "ClientStatus") -> tuple[bool, int, int]:
    events = status["published"] + status["delivered"]
    return _is_slow(status), status["subscriptions"], events


def _uses(inside: Any) -> str:
    """A client inside LNbits in words. Which extension it belongs to is not known."""
    if not inside.own_relays:
        return "what all extensions share"
    relays = ", ".join(inside.relays) or "no relay yet"
    return f"an extension with relays of its own: {relays}"[:AGENT]


def _header(websocket: "WebSocket", name: str, most: int) -> str | None:
    """One line of text, cut to length: a client may send anything."""
    value = websocket.headers.get(name, "")[:most]
    return "".join(char if char.isprintable() else " " for char in value).strip() or None
