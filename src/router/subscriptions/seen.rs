//! What one subscription has been given already, so that nothing is given twice (rule 3.3).
//!
//! Of each event its date and a keyed fingerprint of its id are remembered. When there are too many,
//! the oldest dates are forgotten, one by one, and the newest of those is noted: what is dated up to
//! there and is not known cannot be told from a repeat, and is dropped. Everything newer can be told,
//! however its author's clock goes.
//!
//! Events dated ahead of our clock would push all others out, so they have half of the room at most,
//! and further ones are not given. That clock is taken for the latest it has ever said: where it is
//! set back, what was of the past stays so.

use std::collections::{BTreeMap, VecDeque};

use crate::base::hash::Fingerprint;
use crate::constants::{SEEN_RUN, SEEN_SHED};
use crate::nostr::event::EventId;

/// The memory of one subscription. Owned by it, gone with it.
#[derive(Debug, Default)]
pub struct Seen {
    given: Dated,
    /// The newest date among the forgotten.
    forgotten: Option<u64>,
    /// The latest that the clock has said, in unix seconds.
    present: u64,
    /// How many of `given` are dated after that.
    ahead: usize,
    fingerprint: Fingerprint,
}

impl Seen {
    /// Whether the event was given already, and that is remembered. What a copy claims to be will do:
    /// the answer only ever leads to a drop.
    pub fn contains(&self, id: &EventId, created_at: u64) -> bool {
        !self.is_empty() && self.given.contains((created_at, self.fingerprint.of(id)))
    }

    /// Notes that an event is given. False: it was before, or may have been; do not give it.
    /// `now` in unix seconds; `most` is how many to remember at present.
    pub fn insert(&mut self, id: &EventId, created_at: u64, now: u64, most: usize) -> bool {
        self.pass_to(now);
        if self.forgotten.is_some_and(|newest| created_at <= newest) {
            return false;
        }
        let ahead = created_at > self.present;
        let has_room = !ahead || self.ahead < most / 2;
        if !has_room || !self.given.insert((created_at, self.fingerprint.of(id))) {
            return false;
        }
        self.ahead += usize::from(ahead);
        for _ in 0..SEEN_SHED {
            let past = self.given.len - self.ahead;
            if self.given.len <= most || past <= most / 2 {
                break;
            }
            self.forgotten = self.given.pop_first().map(|(date, _)| date);
        }
        true
    }

    /// The clock goes on; what lay ahead of it does so no longer.
    fn pass_to(&mut self, now: u64) {
        if now > self.present {
            self.ahead -= self.given.between(self.present, now);
            self.present = now;
        }
    }

    /// How many are remembered.
    pub const fn len(&self) -> usize {
        self.given.len
    }

    /// Whether nothing was given yet.
    pub const fn is_empty(&self) -> bool {
        self.given.len == 0
    }
}

/// A date and a fingerprint.
type Entry = (u64, u64);

/// Entries in their order, in runs of up to [`SEEN_RUN`]: a million of them are taken up and let go
/// without a pause.
#[derive(Debug, Default)]
struct Dated {
    /// By what they begin with, or would.
    runs: BTreeMap<Entry, VecDeque<Entry>>,
    len: usize,
}

impl Dated {
    /// Where the run begins that this has its place in.
    fn start(&self, entry: Entry) -> Entry {
        self.runs.range(..=entry).next_back().map_or((0, 0), |(start, _)| *start)
    }

    fn contains(&self, entry: Entry) -> bool {
        let run = self.runs.range(..=entry).next_back();
        run.is_some_and(|(_, run)| run.binary_search(&entry).is_ok())
    }

    /// False: it is there.
    fn insert(&mut self, entry: Entry) -> bool {
        let mut start = self.start(entry);
        let run = self.runs.entry(start).or_default();
        let Err(mut place) = run.binary_search(&entry) else { return false };
        if run.len() >= SEEN_RUN {
            // Most come in the order of their dates, and are to leave full runs behind.
            let half = if place == run.len() { place } else { run.len() / 2 };
            let upper = run.split_off(half);
            let begins = upper.front().copied().unwrap_or(entry);
            if entry >= begins {
                (start, place) = (begins, place - half);
            }
            self.runs.insert(begins, upper);
        }
        self.runs.entry(start).or_default().insert(place, entry);
        self.len += 1;
        true
    }

    fn pop_first(&mut self) -> Option<Entry> {
        let mut run = self.runs.first_entry()?;
        let first = run.get_mut().pop_front();
        if run.get().is_empty() {
            run.remove();
        }
        self.len -= usize::from(first.is_some());
        first
    }

    /// How many are dated after the first of these dates and up to the second.
    fn between(&self, after: u64, to: u64) -> usize {
        let (after, to) = ((after, u64::MAX), (to, u64::MAX));
        let up_to = |run: &VecDeque<Entry>, last| run.partition_point(|entry| *entry <= last);
        let runs = self.runs.range(self.start(after)..=to);
        runs.map(|(_, run)| up_to(run, to) - up_to(run, after)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn id(number: u64) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    /// An event comes, maybe once more: which, by how much its author's clock and ours are wrong, and
    /// how much there is room for.
    type Coming = (u64, i64, i64, usize);

    fn coming() -> impl Strategy<Value = Coming> {
        let wrong = prop_oneof![-20i64..20, -4_000i64..4_000, Just(0)];
        let clock = prop_oneof![4 => Just(0), 1 => -5_000i64..5_000];
        let room = prop_oneof![9 => Just(24usize), 1 => 8usize..32];
        (0u64..150, wrong, clock, room)
    }

    proptest! {
        /// Against the standard library's set.
        #[test]
        fn entries_are_kept_in_order(
            does in prop::collection::vec((0u64..2_000, 0u64..3, 0u8..8), 1..4_000),
            rising: bool,
        ) {
            let (mut dated, mut oracle) = (Dated::default(), BTreeSet::new());
            for (at, (date, print, what)) in (0..).zip(does) {
                let entry = (if rising { at } else { date }, print);
                if what == 0 {
                    prop_assert_eq!(dated.pop_first(), oracle.pop_first());
                } else {
                    prop_assert_eq!(dated.insert(entry), oracle.insert(entry));
                }
                prop_assert_eq!(dated.contains((date, 1)), oracle.contains(&(date, 1)));
                prop_assert_eq!(dated.len, oracle.len());
            }
            for (after, to) in [(0, 5), (3, 3), (100, 1_500), (1_999, u64::MAX)] {
                let between = oracle.iter().filter(|entry| entry.0 > after && entry.0 <= to);
                prop_assert_eq!(dated.between(after, to), between.count());
            }
            prop_assert!(dated.runs.values().all(|run| (1..=SEEN_RUN).contains(&run.len())));
        }

        /// Against a memory that forgets nothing: never twice; and nothing is dropped but what is not
        /// newer than something that there was no room for any more, or lies ahead of a clock where half
        /// of the room is taken by such.
        #[test]
        fn never_twice_and_nothing_dropped_that_can_be_told(
            events in prop::collection::vec(coming(), 1..300),
        ) {
            let mut seen = Seen::default();
            let (mut dates, mut given) = (BTreeMap::new(), HashSet::new());
            let mut latest = 0;
            for (second, (number, wrong, clock, room)) in (NOW..).zip(events) {
                let now = second.saturating_add_signed(clock);
                latest = now.max(latest);
                // An event has its date once and for all.
                let date = *dates.entry(number).or_insert(second.saturating_add_signed(wrong));
                let forgotten: Vec<u64> = given
                    .iter()
                    .filter(|other| !seen.contains(&id(**other), dates[*other]))
                    .map(|other| dates[other])
                    .collect();
                let is_ahead = |other: &&u64| dates[*other] > latest;
                let ahead = given.iter().filter(is_ahead).count();
                let passes = seen.insert(&id(number), date, now, room);
                prop_assert!(!passes || given.insert(number), "{number} was given twice");
                if !passes && !given.contains(&number) {
                    let may_be_one = forgotten.iter().any(|other| date <= *other);
                    let crowded = date > latest && ahead >= room / 2;
                    prop_assert!(may_be_one || crowded, "{number} was dropped for nothing");
                }
                prop_assert!(forgotten.iter().all(|date| *date <= latest), "what is ahead is kept");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_new_events_pass() {
        let mut seen = Seen::default();
        let most = 1_000;
        for number in 0..100_000 {
            assert!(seen.insert(&id(number), NOW + number, NOW + number, most));
            assert!(seen.len() <= most);
        }
        assert!(!seen.insert(&id(1), NOW + 1, NOW + 100_000, most), "forgotten, so dropped");
    }

    #[test]
    fn where_room_becomes_scarce_the_oldest_go_a_few_at_a_time() {
        let mut seen = Seen::default();
        for number in 0..2_000 {
            assert!(seen.insert(&id(number), NOW + number, NOW + 2_000, 2_000));
        }
        for number in 2_000..2_100 {
            let before = seen.len();
            assert!(seen.insert(&id(number), NOW + number, NOW + 2_100, 500));
            assert!(before - seen.len().min(before) <= SEEN_SHED);
        }
        assert_eq!(seen.len(), 500);
        assert!(seen.contains(&id(2_099), NOW + 2_099) && !seen.contains(&id(0), NOW));
    }

    #[test]
    fn what_comes_by_a_clock_an_hour_behind_is_given() {
        let (mut seen, most) = (Seen::default(), 4_096);
        for number in 0..100_000 {
            // Every other one is on time.
            let behind = if number % 2 == 0 { 60 * 60 } else { 0 };
            let second = NOW + number * 4;
            assert!(seen.insert(&id(number), second - behind, second, most), "{number}");
        }
    }

    #[test]
    fn a_clock_of_ours_that_is_an_hour_behind_costs_nothing() {
        let (mut seen, most) = (Seen::default(), 4_096);
        for number in 0..100_000 {
            let second = NOW + number * 4;
            assert!(seen.insert(&id(number), second, second - 60 * 60, most), "{number}");
        }
    }

    #[test]
    fn events_of_the_future_do_not_silence_the_others() {
        let (mut seen, most) = (Seen::default(), 4_096);
        let mut passed = 0;
        for number in 0..100_000 {
            passed += usize::from(seen.insert(&id(number), u64::MAX - number, NOW, most));
        }
        assert_eq!(passed, most / 2);
        for number in 0..100_000 {
            let second = NOW + number / 10;
            assert!(seen.insert(&id(200_000 + number), second, second, most), "{number}");
            assert!(seen.len() <= most);
        }
        assert!(!seen.insert(&id(1), u64::MAX - 1, NOW, most), "they are remembered");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_of_the_past_future() {
        let (mut seen, most) = (Seen::default(), 4_096);
        for number in 0..10_000 {
            let second = NOW + number * 4;
            let clock = if number < 5_000 { second } else { second - 24 * 60 * 60 };
            // What is new since is ahead of that clock until it is right again.
            let passes = seen.insert(&id(number), second, clock, most);
            assert!(passes || number >= 5_000 + 2_048, "{number}");
        }
    }
}
