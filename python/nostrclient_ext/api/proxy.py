"""The proxy through which relays are reached: what is kept of what the owner writes.

He is shown it without its password, and may give that back as it is.
"""

from typing import Any

from ..core.running import running
from ..models import StoredConfig


def proxy_changes(text: str, stored: StoredConfig) -> dict[str, Any]:
    """The settings that follow from what the owner has written for the proxy. Nothing
    means none. Raises `ValueError` with a sentence, which never quotes what was given,
    and `CoreUnavailable`: only the core can read it."""
    if not text.strip():
        return {"proxy": "", "proxy_password": None}
    shown, password = running().library.read_proxy_url(text)
    if password is None and "@" in shown:
        if shown != stored.proxy:
            raise ValueError(
                "The proxy's user name needs its password again:"
                " socks5://user:password@host:port"
            )
        password = stored.proxy_password
    return {"proxy": shown, "proxy_password": password}
