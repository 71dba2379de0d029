//! Events that wait for a place among the unanswered ones: not sent yet, and refused if they get none
//! in time (rule 1.3). Clients take turns.

use crate::base::fair::FairQueue;
use crate::base::hash::Map;
use crate::base::time::Now;
use crate::constants::{MAX_WAITING_BYTES, MAX_WAITING_EVENTS, SEND_LEAST};
use crate::ids::ClientId;
use crate::nostr::event::{Event, EventId, is_ephemeral};

use super::Published;

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Whose turn it is next: ephemeral events (orders to pay are among them), then the others. May
    /// name events that are gone from `all`.
    turns: [FairQueue<ClientId, EventId>; 2],
    all: Map<EventId, Published>,
    bytes: usize,
}

impl Unsent {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    #[cfg(test)]
    pub(super) fn named_in_turns(&self) -> usize {
        self.turns.iter().map(FairQueue::len).sum()
    }

    pub(super) fn get_mut(&mut self, id: &EventId) -> Option<&mut Published> {
        self.all.get_mut(id)
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self, event: &Event) -> bool {
        self.all.len() < MAX_WAITING_EVENTS && self.bytes + event.json().len() <= MAX_WAITING_BYTES
    }

    pub(super) fn push(&mut self, client: ClientId, published: Published) {
        let event = &published.event;
        if self.all.is_empty() {
            self.turns = Default::default(); // all that is named there is gone
        }
        self.bytes += event.json().len();
        self.turns[usize::from(!is_ephemeral(event.kind()))].push(client, *event.id());
        self.all.insert(*event.id(), published);
    }

    pub(super) fn take(&mut self, id: &EventId) -> Option<Published> {
        let published = self.all.remove(id)?;
        self.bytes -= published.event.json().len();
        for turns in self.turns.iter_mut().filter(|turns| turns.len() > 2 * self.all.len() + 64) {
            turns.retain(|id| self.all.contains_key(id));
        }
        Some(published)
    }

    /// The next one, if there is a place for its like, and time for a relay to answer it. What has no time
    /// left is refused when its deadline comes.
    pub(super) fn next(&mut self, place: [bool; 2], now: Now) -> Option<Published> {
        loop {
            let [first, second] = &mut self.turns;
            let next = place[0].then(|| first.pop()).flatten();
            let id = next.or_else(|| place[1].then(|| second.pop()).flatten())?;
            let waiting = self.all.get(&id);
            if waiting.is_some_and(|waiting| waiting.deadline >= now.mono + SEND_LEAST) {
                return self.take(&id);
            }
        }
    }
}
