//! What one subscription has been given already, so that nothing is given twice (rule 3.3).
//!
//! The newest ids are kept in full. When there are too many they are folded into 64-bit keyed
//! fingerprints, and when there are too many of those the oldest generation is forgotten and
//! `floor` rises to the newest date in it: an event dated at or below the floor that is not known
//! cannot be told from a repeat, and is dropped. Forgetting can so cost an event, never repeat one.
//! Dates in the far future would lift the floor over everything, so those ids are kept apart.

use crate::base::hash::{Fingerprint, Map, Set};
use crate::constants::{SEEN_EXACT, SEEN_FOLDS, SEEN_FUTURE, SEEN_FUTURE_MAX};
use crate::nostr::event::EventId;

/// The memory of one subscription. Owned by it, gone with it.
#[derive(Debug, Default)]
pub struct Seen {
    exact: Set<EventId>,
    /// Fingerprints, the generation being filled and the one before it.
    folded: [Set<u64>; 2],
    /// Newest date among `exact` and among each generation of `folded`.
    exact_newest: u64,
    folded_newest: [u64; 2],
    /// Dated in the future when they came, with their dates.
    future: Map<EventId, u64>,
    floor: Option<u64>,
    fingerprint: Fingerprint,
}

impl Seen {
    /// Whether this id was certainly or possibly given already. A claimed id will do: the answer
    /// only ever leads to a drop.
    pub fn contains(&self, id: &EventId) -> bool {
        if self.exact.contains(id) || self.future.contains_key(id) {
            return true;
        }
        if self.folded[0].is_empty() && self.folded[1].is_empty() {
            return false;
        }
        let fingerprint = self.fingerprint.of(id);
        self.folded.iter().any(|generation| generation.contains(&fingerprint))
    }

    /// Notes that an event is given. False: it was before, or may have been; do not give it.
    /// `now` in unix seconds; `exact_max` is how many full ids to keep at present.
    pub fn insert(&mut self, id: &EventId, created_at: u64, now: u64, exact_max: usize) -> bool {
        if self.contains(id) || self.floor.is_some_and(|floor| created_at <= floor) {
            return false;
        }
        let present = now.saturating_add(SEEN_FUTURE);
        if created_at <= present {
            self.keep(*id, created_at, exact_max);
            return true;
        }
        if self.future.len() >= SEEN_FUTURE_MAX {
            // The time of some may have come.
            let arrived: Vec<_> = self.future.extract_if(|_, date| *date <= present).collect();
            for (id, created_at) in arrived {
                self.keep(id, created_at, exact_max);
            }
        }
        self.future.len() < SEEN_FUTURE_MAX && self.future.insert(*id, created_at).is_none()
    }

    fn keep(&mut self, id: EventId, created_at: u64, exact_max: usize) {
        if self.exact.len() >= exact_max.min(SEEN_EXACT) {
            self.fold(exact_max);
        }
        self.exact_newest = self.exact_newest.max(created_at);
        self.exact.insert(id);
    }

    fn fold(&mut self, exact_max: usize) {
        let generation = exact_max.min(SEEN_EXACT).saturating_mul(SEEN_FOLDS);
        if self.folded[0].len() + self.exact.len() > generation {
            if !self.folded[1].is_empty() {
                self.floor = self.floor.max(Some(self.folded_newest[1]));
            }
            self.folded.swap(0, 1);
            self.folded_newest.swap(0, 1);
            self.folded[0] = Set::default();
            self.folded_newest[0] = 0;
        }
        let fingerprints = self.exact.drain().map(|id| self.fingerprint.of(id));
        self.folded[0].extend(fingerprints);
        self.folded_newest[0] = self.folded_newest[0].max(self.exact_newest);
        self.exact_newest = 0;
    }

    /// Ids remembered, in full and as fingerprints.
    pub fn len(&self) -> usize {
        self.exact.len() + self.future.len() + self.folded[0].len() + self.folded[1].len()
    }

    /// Whether nothing was given yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet as Oracle;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn id(number: u64) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    proptest! {
        /// Against a set that forgets nothing: never twice, and as long as no generation was
        /// forgotten, never a loss.
        #[test]
        fn never_twice(events in prop::collection::vec(0u64..600, 1..2_000)) {
            let (mut seen, mut oracle) = (Seen::default(), Oracle::new());
            for number in events {
                let given = seen.insert(&id(number), NOW - number * 7 % 40, NOW, 8);
                prop_assert!(!(given && oracle.contains(&number)), "{number} was given twice");
                if given {
                    prop_assert!(seen.contains(&id(number)));
                    oracle.insert(number);
                } else if seen.floor.is_none() {
                    prop_assert!(oracle.contains(&number), "{number} was lost");
                }
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_new_events_pass() {
        let mut seen = Seen::default();
        let exact = 64;
        for number in 0..100_000 {
            assert!(seen.insert(&id(number), NOW + number, NOW + number, exact));
            assert!(seen.len() <= exact * (2 * SEEN_FOLDS + 1));
        }
        assert!(!seen.insert(&id(1), NOW + 1, NOW + 100_000, exact), "forgotten, so dropped");
    }

    #[test]
    fn a_date_in_the_far_future_does_not_silence_the_rest() {
        let mut seen = Seen::default();
        assert!(seen.insert(&id(1), u64::MAX, NOW, 4));
        for number in 2..1_000 {
            assert!(seen.insert(&id(number), NOW + number, NOW + number, 4));
        }
        assert!(!seen.insert(&id(1), u64::MAX, NOW, 4));
    }
}
