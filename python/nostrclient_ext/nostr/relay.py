"""Relays as other extensions see them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..core.library import CoreUnavailable
from ..core.running import running
from ..inside.urls import spelled

if TYPE_CHECKING:
    from nostrclient_core import RelayStatus


class Relay:
    """One relay. Attributes have their current values; without a running core they are
    those of a relay that is not connected."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def connected(self) -> bool:
        status = self._status()
        return status is not None and status["state"] == "connected"

    @property
    def ping(self) -> int:
        """Round trip of the last ping in milliseconds; 0: none yet."""
        status = self._status()
        return status["ping"] or 0 if status else 0

    @property
    def num_sent_events(self) -> int:
        status = self._status()
        return status["sent"] if status else 0

    @property
    def num_received_events(self) -> int:
        status = self._status()
        return status["received"] if status else 0

    @property
    def error_counter(self) -> int:
        status = self._status()
        return status["error_count"] if status else 0

    @property
    def error_list(self) -> list[str]:
        """The last 50, newest first."""
        status = self._status()
        return status["errors"][::-1] if status else []

    @property
    def notice_list(self) -> list[str]:
        """The last 50, newest first."""
        status = self._status()
        return status["notices"][::-1] if status else []

    def __repr__(self) -> str:
        return f"Relay({self.url!r})"

    def _status(self) -> "RelayStatus | None":
        try:
            return running().core.relay(self.url)
        except CoreUnavailable:
            return None


class Relays(dict[str, Relay]):
    """Url to relay. A relay is found by any spelling of its url."""

    def __init__(self, urls: Iterable[str]) -> None:
        super().__init__({url: Relay(url) for url in urls})
        self._spelled = {spelled(url): url for url in self}

    def __missing__(self, url: str) -> Relay:
        return super().__getitem__(self._spelled[spelled(url)])

    def __contains__(self, url: object) -> bool:
        if super().__contains__(url):
            return True
        return isinstance(url, str) and spelled(url) in self._spelled

    def get(self, url: str, default: Any = None) -> Any:
        return self[url] if url in self else default
