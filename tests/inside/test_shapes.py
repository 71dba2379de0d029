"""The core's dictionaries have just the keys that `shapes.py` says."""

import json
import time
from typing import Any, is_typeddict

import pytest

from nostrclient_core import Core, generate_key, shapes, sign_event


def given() -> dict[str, Any]:
    """One of each, by the name of its shape."""
    core = Core()
    try:
        core.add_relay("ws://127.0.0.1:1")
        about: shapes.About = {"address": "a", "forwarded_for": "b", "agent": "c"}
        client = core.connect(about=about)
        core.outbox_adopt([])
        keys = generate_key()
        event = sign_event(keys["private_key"], int(time.time()), 1, [], "hello")
        client.feed(json.dumps(["EVENT", json.loads(event)]))
        end = time.monotonic() + 10
        task = core.store_task()
        while task is None or not task["insert"]:
            assert time.monotonic() < end
            time.sleep(0.01)
            task = core.store_task()
        return {
            "Limits": core.limits,
            "RelayStatus": core.relays()[0],
            "RelayLimits": core.relays()[0]["limits"],
            "ClientStatus": client.status(),
            "OutsideClient": (outside := core.clients()[0]),
            "About": {
                key: value for key, value in outside.items() if value in about.values()
            },
            "Stats": core.stats(),
            "OutboxStats": core.stats()["outbox"],
            "StoreTask": task,
            "OutboxRow": task["insert"][0],
            "OutboxEntry": core.outbox()[0],
            "KeyPair": keys,
        }
    finally:
        core.stop()


NAMES = [name for name, shape in vars(shapes).items() if is_typeddict(shape)]


@pytest.fixture(scope="module", name="dictionaries")
def _dictionaries() -> dict[str, Any]:
    return given()


@pytest.mark.parametrize("name", NAMES)
def test_the_keys(dictionaries: dict[str, Any], name: str) -> None:
    assert set(dictionaries[name]) == set(vars(shapes)[name].__annotations__)
