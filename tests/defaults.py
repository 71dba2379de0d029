"""The settings as they are before anybody has changed one."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "private_ws": True,
    "public_ws": False,
    "outbox_size": 100,
    "address": "",
    "proxy": "",
    "proxy_for_all": False,
}
