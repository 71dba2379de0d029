"""A consumer of the private WebSocket endpoint, with websocket-client in a thread.

Five filters in one REQ, an id of 44 characters, reads EVENT and nothing else, and
subscribes again whenever the socket closes. Tests ask over HTTP what it has read.
"""

import json
import os
import threading
from secrets import token_hex
from typing import Any

from fastapi import APIRouter
from lnbits.db import Database
from lnbits.helpers import encrypt_internal_message
from websocket import WebSocketApp

PAUSE = 0.2  # seconds before it connects again
MERCHANT = "4f" * 32

db = Database("ext_market")
market_ext = APIRouter(prefix="/market")
read: dict[str, Any] = {"events": [], "opened": 0, "codes": []}
closing = threading.Event()
sockets: list[WebSocketApp] = []


def market_start() -> None:
    """Trade from now on."""
    closing.clear()
    threading.Thread(target=trade, name="market", daemon=True).start()


def market_stop() -> None:
    """Trade no more."""
    closing.set()
    for socket in sockets:
        socket.close()


def trade() -> None:
    while not closing.is_set():
        endpoint = encrypt_internal_message("relay", urlsafe=True)
        url = f"ws://127.0.0.1:{os.environ['PORT']}/nostrclient/api/v1/{endpoint}"
        socket = WebSocketApp(
            url, on_open=on_open, on_message=on_message, on_close=on_close
        )
        sockets[:] = [socket]
        socket.run_forever()
        closing.wait(PAUSE)


def on_open(socket: WebSocketApp) -> None:
    read["opened"] += 1
    filters: list[dict[str, Any]] = [
        {"kinds": [4], "#p": [MERCHANT]},
        {"kinds": [4], "authors": [MERCHANT]},
        {"kinds": [30017], "#t": ["market"]},
        {"kinds": [30018], "#t": ["market"]},
        {"kinds": [1], "#t": ["market"], "since": 1},
    ]
    socket.send(json.dumps(["REQ", f"nostrmarket-{token_hex(16)}", *filters]))


def on_message(_: WebSocketApp, text: str) -> None:
    message = json.loads(text)
    if message[0] == "EVENT":
        read["events"].append(message[2]["id"])


def on_close(_: WebSocketApp, code: int | None, __: str | None) -> None:
    read["codes"].append(code)


@market_ext.get("/api/v1/read")
async def api_read() -> dict[str, Any]:
    """The ids of the events it has read, how often it was connected, and the codes it
    was closed with."""
    return read
