"""Events of an extension that are on their way: not answered yet, or not handed over.

Outlives cores: each is kept until some core has answered it. Owned by `InsideClient`,
whose lock is held in every call.
"""

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from nostrclient_core import Client

EPHEMERAL_SECONDS = 2.0  # how long an ephemeral event may wait here for a relay
MAX_PUBLICATIONS = 1_000  # not answered yet
MAX_PUBLICATION_BYTES = 16 << 20  # of those, in all
ANSWER_SECONDS = 60.0  # after which nobody waits for the answer about an event
REPORT_SECONDS = 10.0  # between two lines in the log about events that got lost

# Codes of refusals: no relay was there, and the outbox did not take the event.
NO_RELAY = {"mute", "no_relay", "outbox_closed", "outbox_full", "database"}


class _Publication:
    """An event on its way, as text."""

    __slots__ = ("ephemeral", "no_relay", "since", "text", "told")

    def __init__(self, text: str, ephemeral: bool) -> None:
        self.text = text
        self.ephemeral = ephemeral
        self.since = time.monotonic()
        self.told = False  # a core has had it
        self.no_relay = False  # and had no relay for it

    @property
    def late(self) -> bool:
        """It is too old to be of use."""
        return self.ephemeral and time.monotonic() - self.since > EPHEMERAL_SECONDS

    @property
    def old(self) -> bool:
        """It will not be answered any more."""
        asked = self.told and not self.no_relay
        return asked and time.monotonic() - self.since > ANSWER_SECONDS


class Publications:
    """By the event's id, in the order they were published."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, _Publication] = OrderedDict()
        self._bytes = 0
        self._unsent: OrderedDict[str, None] = OrderedDict()  # to be handed over
        self._lost = 0  # since the last line in the log
        self._reported = 0.0

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, event_id: str, text: str, ephemeral: bool) -> None:
        """Add an event, in place of any with the same id. Without room for it, it is
        lost."""
        self._drop(event_id)
        if not self._has_room(text):
            self._drop_those_nobody_waits_for()
        if not self._has_room(text):
            self._report_lost("too many wait for an answer")
            return
        self._by_id[event_id] = _Publication(text, ephemeral)
        self._bytes += len(text)
        self._unsent[event_id] = None

    def answered(self, event_id: str) -> None:
        """Forget an event: the core has taken it."""
        self._drop(event_id)

    def refused(self, event_id: str, code: str, why: str) -> None:
        """The core has not taken an event. If it only lacked a relay, keep it until one
        connects."""
        publication = self._by_id.get(event_id)
        if publication is None:
            return
        if code in NO_RELAY and not publication.late:
            publication.no_relay = True
            return
        self._drop(event_id)
        self._report_lost(why)

    def tell(self, client: "Client") -> None:
        """Hand over as much as the core takes."""
        while self._unsent and client.writable:
            event_id, _ = self._unsent.popitem(last=False)
            publication = self._by_id[event_id]
            if publication.late:
                self._drop(event_id)
                self._report_lost("no relay was there in time")
            else:
                publication.told, publication.no_relay = True, False
                client.feed(publication.text)

    def tell_again(self) -> None:
        """Hand over once more what had no relay: one is there now."""
        for event_id, publication in self._by_id.items():
            if publication.no_relay:
                self._unsent[event_id] = None

    def tell_all_again(self) -> None:
        """Hand over everything to a new core."""
        self._unsent.clear()
        for event_id, publication in list(self._by_id.items()):
            if publication.ephemeral and publication.told and not publication.no_relay:
                # A relay may have it, and it is never sent again.
                self._drop(event_id)
                self._report_lost("the core was stopped before it was answered")
            else:
                self._unsent[event_id] = None

    def clear(self) -> None:
        """Forget them all."""
        self._by_id.clear()
        self._bytes = 0
        self._unsent.clear()

    def _has_room(self, text: str) -> bool:
        enough = self._bytes + len(text) <= MAX_PUBLICATION_BYTES
        return enough and len(self._by_id) < MAX_PUBLICATIONS

    def _drop_those_nobody_waits_for(self) -> None:
        for event_id, sent in list(self._by_id.items()):
            if sent.late or sent.old:
                self._drop(event_id)

    def _drop(self, event_id: str) -> None:
        self._unsent.pop(event_id, None)
        publication = self._by_id.pop(event_id, None)
        if publication is not None:
            self._bytes -= len(publication.text)

    def _report_lost(self, why: str) -> None:
        """One line now and then: nobody else is told."""
        self._lost += 1
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            logger.warning(
                f"nostrclient: {self._lost} events of extensions were not published:"
                f" {why}"
            )
            self._lost, self._reported = 0, now
