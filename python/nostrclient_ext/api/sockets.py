"""A client's socket, as LNbits' web server has it, for the core to take over.

uvicorn has answered nothing yet when it asks an application whether it takes a WebSocket.
So the core can: it gets a duplicate of the socket's descriptor and what was read of it,
answers the request, and from there on nothing of that client passes through Python. This
knows uvicorn's usual implementation, over TCP and without TLS of its own. With anything
else the clients go through the web server, as any application's.
"""

import asyncio
import base64
import hashlib
import logging
import socket
from typing import Any

from fastapi import WebSocket

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

QUEUE = 2  # messages
GOING_AWAY = 1001  # close code

_SANS_IO = "uvicorn.protocols.websockets.websockets_sansio_impl"
_SILENT = logging.Logger("nostrclient.taken", logging.CRITICAL)

# Why sockets cannot be had, as sentences for the owner.
OTHER_SERVER = "LNbits runs on a web server that nostrclient does not know."
OTHER_IMPLEMENTATION = (
    "uvicorn runs with another WebSocket implementation than LNbits' own."
)
TLS = "LNbits itself speaks TLS."
NO_TCP = "The connection is not over TCP."


class NotToBeHad(Exception):
    """The socket stays with the web server. The text says why."""


class Socket:
    """A client's socket before its request is answered. The web server does not read it
    while this is looked at; `leave` has it go on, `taken` ends its part."""

    def __init__(self, websocket: WebSocket) -> None:
        """Raises `NotToBeHad`."""
        self._protocol = protocol = _protocol(websocket)
        self._transport = transport = protocol.transport
        if transport.get_extra_info("sslcontext") is not None:
            raise NotToBeHad(TLS)
        found = transport.get_extra_info("socket")
        if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
            raise NotToBeHad(NO_TCP)
        if transport.is_closing() or transport.get_write_buffer_size():
            raise NotToBeHad(NO_TCP)
        transport.pause_reading()
        self.descriptor: int = found.fileno()
        self.read = bytes(protocol.reader._buffer)

    def leave(self) -> None:
        """The web server has it again."""
        self._transport.resume_reading()

    def taken(self) -> None:
        """The core has it. The web server closes its own descriptor, about which nothing
        is said on the line, and forgets the connection."""
        from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

        self._transport.close()
        protocol = self._protocol
        # The line that it logs for every WebSocket, and not those for one that is closed.
        protocol.logger.info(
            '%s - "WebSocket %s" [accepted]',
            get_client_addr(protocol.scope),
            get_path_with_query_string(protocol.scope),
        )
        protocol.logger = _SILENT
        protocol.initial_response = (403, [], b"")  # to be written to nowhere
        protocol.handshake_started_event.set()
        protocol.closed_event.set()


def answer(websocket: WebSocket, headers: dict[str, str]) -> bytes:
    """The answer to a WebSocket's request that the web server found valid: it is taken,
    without any extension."""
    key = websocket.headers["sec-websocket-key"].strip()
    accepted = hashlib.sha1(f"{key}{_GUID}".encode()).digest()
    lines = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(accepted).decode(),
        **headers,
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{text}\r\n".encode()


def bound(websocket: WebSocket, most: int) -> None:
    """Have the web server take no messages longer than `most` bytes from this client,
    none that are compressed, and only a few before they are fetched, and have it wait for
    a client that does not read, and say goodbye as we do when LNbits ends; as far as it
    lets us. To be called before it is accepted."""
    try:
        protocol = _protocol(websocket)
        protocol.max_size = most
        protocol.max_queue = QUEUE
        # The list itself: it was handed over already.
        (protocol.available_extensions or []).clear()
        _go_away(protocol, protocol, "fail_connection")
    except NotToBeHad:
        other: Any = getattr(websocket._receive, "__self__", None)
        if type(other).__module__ == _SANS_IO:
            other.conn.max_size = most
            other.conn.extensions = []
            other.response.headers.pop("Sec-WebSocket-Extensions", None)
            # Its `send` waits for this event, which nothing of its own ever clears.
            other.pause_writing = other.writable.clear
            other.resume_writing = other.writable.set
            _go_away(other, other.conn, "send_close")


def _go_away(protocol: Any, closing: Any, name: str) -> None:
    """Have uvicorn close this connection with `GOING_AWAY` when it ends, not with the
    code of a service that starts again. `name`: what it calls with that code."""
    end = protocol.shutdown

    def shutdown() -> None:
        close = getattr(closing, name)
        setattr(closing, name, lambda _: close(GOING_AWAY))
        end()

    protocol.shutdown = shutdown


def _protocol(websocket: WebSocket) -> Any:
    """What uvicorn serves this connection with."""
    try:
        from uvicorn.protocols.websockets.websockets_impl import WebSocketProtocol
    except ImportError:
        raise NotToBeHad(OTHER_SERVER) from None
    found = getattr(websocket._receive, "__self__", None)
    if type(found) is WebSocketProtocol and isinstance(
        getattr(found, "reader", None), asyncio.StreamReader
    ):
        return found
    known = type(found).__module__.startswith("uvicorn.")
    raise NotToBeHad(OTHER_IMPLEMENTATION if known else OTHER_SERVER)
