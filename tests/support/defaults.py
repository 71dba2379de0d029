"""The settings as they are before anybody has changed one."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "private_ws": True,
    "public_ws": False,
    "public_reads_with_keys": False,
    "outbox_size": 100,
    "address": "",
    "public_allowed": [],
    "proxy": "",
    "proxy_for_all": False,
}
