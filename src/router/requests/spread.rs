//! New events that whoever asks for them has. A relay sends one once for every request of ours that it
//! matches, and so does each other relay; what comes after that changes nothing.

use std::collections::VecDeque;

use crate::base::hash::Set;
use crate::constants::SPREAD_EVENTS;
use crate::ids::RelayId;
use crate::nostr::event::EventId;

/// Which they are, by the relay that has brought them. Only the last ones: all others are looked at anew.
#[derive(Debug, Default)]
pub(super) struct Spread {
    known: Set<(RelayId, EventId)>,
    order: VecDeque<(RelayId, EventId)>,
    /// How many subscriptions there had been: one that comes later may lack them.
    openings: u64,
}

impl Spread {
    /// Whether everybody has it, and somebody was given it as this relay's. `openings`: how many
    /// subscriptions there have been so far.
    pub(super) fn has(&self, relay: RelayId, event: &EventId, openings: u64) -> bool {
        self.openings == openings && self.known.contains(&(relay, *event))
    }

    /// So it is.
    pub(super) fn note(&mut self, relay: RelayId, event: &EventId, openings: u64) {
        if self.openings != openings {
            *self = Self { openings, ..Self::default() };
        }
        if !self.known.insert((relay, *event)) {
            return;
        }
        self.order.push_back((relay, *event));
        if self.order.len() > SPREAD_EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_some_events_is_nothing_to_a_new_subscription() {
        let mut spread = Spread::default();
        let id = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            id
        };
        for number in 0..=SPREAD_EVENTS {
            spread.note(RelayId(1), &id(number), 5);
            spread.note(RelayId(1), &id(number), 5);
        }
        assert!(spread.has(RelayId(1), &id(SPREAD_EVENTS), 5));
        assert!(!spread.has(RelayId(2), &id(SPREAD_EVENTS), 5), "it has not brought it");
        assert!(!spread.has(RelayId(1), &id(0), 5), "the oldest one has gone");
        assert!(!spread.has(RelayId(1), &id(1), 6));
        spread.note(RelayId(1), &id(7), 6);
        assert!(!spread.has(RelayId(1), &id(1), 6) && spread.has(RelayId(1), &id(7), 6));
        assert_eq!((spread.known.len(), spread.order.len()), (1, 1));
    }
}
