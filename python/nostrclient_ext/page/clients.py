"""Who uses the multiplexer now, for the owner to see and to cut off.

`api/websocket.py` notes each WebSocket here for as long as it is open. Clients inside
LNbits (`inside/`) are found where the process keeps them.
"""

import heapq
import itertools
from typing import TYPE_CHECKING, Any

from ..core.process import shared
from ..core.running import inside_clients
from .models import Clients, ConnectedClient

if TYPE_CHECKING:
    from fastapi import WebSocket

    from nostrclient_core import Client, ClientStatus

MOST = 200  # WebSockets shown
SLOW_MESSAGES = 4_096  # waiting for a client; at 32,768 it is cut off
SLOW_BYTES = 2 << 20  # of waiting messages; at 16 MiB it is cut off
ADDRESS = 64  # characters kept
AGENT = 120

CUT_OFF = "cut off by the owner of this server"


class Guest:
    """A client at the other end of a WebSocket, and what it says about itself."""

    def __init__(self, client: "Client", websocket: "WebSocket", public: bool) -> None:
        self.client = client
        self.kind = "public" if public else "private"
        self.address = websocket.client.host if websocket.client else None
        self.forwarded_for = _header(websocket, "x-forwarded-for", ADDRESS)
        self.agent = _header(websocket, "user-agent", AGENT)


_guests: dict[str, Guest] = shared("guests", dict)
_numbers: "itertools.count[int]" = shared("guest_numbers", itertools.count)


def arrived(client: "Client", websocket: "WebSocket", public: bool) -> str:
    """Note a WebSocket that has opened. Returns an id for `left`."""
    guest_id = str(next(_numbers))
    _guests[guest_id] = Guest(client, websocket, public)
    return guest_id


def left(guest_id: str) -> None:
    """Forget a WebSocket that has closed."""
    _guests.pop(guest_id, None)


def clients() -> Clients:
    """The connected clients; if there are many, the busiest."""
    everybody = [
        (guest_id, guest, guest.client.status()) for guest_id, guest in _guests.items()
    ]
    busiest = heapq.nlargest(MOST, everybody, key=lambda one: _weight(one[2]))
    inside = [_inside(*one) for one in enumerate(inside_clients())]
    shown = [_guest(*one) for one in busiest] + [one for one in inside if one is not None]
    total = len(shown) + len(everybody) - len(busiest)
    return Clients(total=total, clients=shown)


def cut_off(client_id: str) -> bool:
    """Close a client's WebSocket. It may connect again. False: no client has this id."""
    guest = _guests.get(client_id)
    if guest is None:
        return False
    guest.client.cut_off(CUT_OFF)
    return True


def _guest(guest_id: str, guest: Guest, status: "ClientStatus") -> ConnectedClient:
    return ConnectedClient.parse_obj(
        {
            **status,
            "id": guest_id,
            "kind": guest.kind,
            "address": guest.address,
            "forwarded_for": guest.forwarded_for,
            "agent": guest.agent,
            "slow": _is_slow(status),
        }
    )


def _inside(number: int, inside: Any) -> ConnectedClient | None:
    if inside.core_client is None:
        return None
    status: ClientStatus = inside.core_client.status()
    return ConnectedClient.parse_obj(
        {
            **status,
            "id": f"extension-{number}",
            "kind": "extension",
            "address": None,
            "forwarded_for": None,
            "agent": _uses(inside),
            "slow": _is_slow(status),
        }
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
