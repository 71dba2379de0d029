"""The relays that an extension has named for its client, and how relays' urls are
spelled."""

from typing import TYPE_CHECKING

from loguru import logger

from ..core.library import CoreUnavailable, load
from ..core.running import UNWANTED_RELAYS, Running

if TYPE_CHECKING:
    from nostrclient_core import Client


def normalized(url: str) -> str:
    """The one spelling of a relay's url. Raises `ValueError` with a sentence. Without a
    core to ask, a text stays as it is: nothing is connected to then."""
    try:
        spelling: str = load().normalize_relay_url(url)
    except CoreUnavailable:
        return url
    return spelling


def spelled(url: str) -> str:
    """The same; a text that is no relay's url stays as it is."""
    try:
        return normalized(url)
    except ValueError:
        return url


class NamedRelays:
    """The urls as they were spelled. Owned by `InsideClient`, whose lock is held in every
    call. `own`: the client uses these and no others; else they are added to the
    owner's."""

    def __init__(self, own: bool) -> None:
        self._own = own
        self._urls: dict[str, None] = {}
        self._left: set[str] = set()
        """Relays that were the client's own before, normalized."""

    @property
    def urls(self) -> list[str]:
        return list(self._urls)

    @property
    def nowhere(self) -> bool:
        """The client could only ask relays of its own, and has none yet."""
        return self._own and not self._urls

    def change(self, add: list[str], removed: set[str], only: bool) -> bool:
        """Add relays, and leave those in `removed` (normalized); `only`: all that are not
        added. True: a relay the client had left before is its own again."""
        added = {normalized(url) for url in add}
        left = {
            url: spelled(url)
            for url in self._urls
            if spelled(url) in removed or (only and spelled(url) not in added)
        }
        for url in left:
            del self._urls[url]
        known = {spelled(url) for url in self._urls}
        for url in add:
            if normalized(url) not in known:
                self._urls[url] = None
        if not self._own:
            return False
        come_back = not self._left.isdisjoint(added)
        self._left = (self._left | set(left.values())) - added
        return come_back

    def tell(self, running: Running, client: "Client", added: set[str]) -> None:
        """Tell the core which relays are this client's own or, of the owner's, which were
        `added` (normalized)."""
        try:
            if self._own:
                running.core.use_relays(client, self._usable(running))
                return
            listed = {relay["url"] for relay in running.core.relays() if relay["listed"]}
            # What the owner has set for a relay stays.
            for url in (added & set(self._usable(running))) - listed - UNWANTED_RELAYS:
                running.core.add_relay(url)
        except running.library.CoreStopped:
            pass  # the next one is told

    def tell_all(self, running: Running, client: "Client") -> None:
        """The same, to a core that knows none of them."""
        self.tell(running, client, {spelled(url) for url in self._urls})

    def clear(self) -> None:
        """Forget them all."""
        self._urls.clear()
        self._left.clear()

    def _usable(self, running: Running) -> list[str]:
        """Those the core can connect to: while there was no core, any text was one."""
        usable: list[str] = []
        for url in self._urls:
            try:
                usable.append(running.library.normalize_relay_url(url))
            except ValueError as exc:
                logger.warning(f"nostrclient: an extension's relay is not used: {exc}")
        return usable
