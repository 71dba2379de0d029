//! What happened in the last minutes, second by second, for the chart on the owner's page.
//!
//! Nothing is counted here, and no event comes by. The core's counters ([`crate::stats::CoreStats`])
//! only grow, and what they have grown by since a second began is what happened in it. The router
//! says when one begins ([`History::turn`]); whoever reads adds the one that has not ended. So there
//! is no timer, and one short lock in a second in which the router has something to do.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::constants::HISTORY_SECONDS;

/// How many events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Relays have sent, copies included.
    pub received: u64,
    /// Clients were given.
    pub delivered: u64,
    /// Clients have published.
    pub published: u64,
}

impl Counts {
    fn since(self, earlier: Self) -> Self {
        Self {
            received: self.received.saturating_sub(earlier.received),
            delivered: self.delivered.saturating_sub(earlier.delivered),
            published: self.published.saturating_sub(earlier.published),
        }
    }
}

/// A second in which something happened: when (unix seconds) and how much.
pub(crate) type Second = (u64, Counts);

/// Written by the router, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Seconds>);

#[derive(Debug, Default)]
struct Seconds {
    /// Those that have ended, oldest first, no two of the same date.
    ended: VecDeque<Second>,
    /// The one that has not …
    current: u64,
    /// … and the counters when it began.
    before: Counts,
}

impl Seconds {
    fn unfinished(&self, totals: Counts) -> Option<Second> {
        let grown = totals.since(self.before);
        (grown != Counts::default()).then_some((self.current, grown))
    }
}

impl History {
    /// From here on it is another second. `totals`: the counters now.
    pub(crate) fn turn(&self, second: u64, totals: Counts) {
        let mut seconds = self.lock();
        let ended = seconds.unfinished(totals);
        seconds.ended.extend(ended);
        (seconds.current, seconds.before) = (second, totals);
        // Where the clock was set back, what has a later date by now would stand in the future.
        while seconds.ended.back().is_some_and(|(at, _)| *at >= second) {
            seconds.ended.pop_back();
        }
        while seconds.ended.front().is_some_and(|(at, _)| is_over(*at, second)) {
            seconds.ended.pop_front();
        }
    }

    /// The seconds in which something happened, of the last [`HISTORY_SECONDS`], oldest first.
    pub(crate) fn list(&self, now: u64, totals: Counts) -> Vec<Second> {
        let seconds = self.lock();
        let all = seconds.ended.iter().copied().chain(seconds.unfinished(totals));
        all.filter(|(at, _)| *at <= now && !is_over(*at, now)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seconds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn is_over(at: u64, now: u64) -> bool {
    at.saturating_add(HISTORY_SECONDS) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    const fn received(received: u64) -> Counts {
        Counts { received, delivered: 0, published: 0 }
    }

    #[test]
    fn each_second_has_its_own_and_quiet_ones_are_left_out() {
        let history = History::default();
        history.turn(START, received(0));
        assert_eq!(history.list(START, received(0)), []);
        assert_eq!(history.list(START, received(2)), [(START, received(2))], "not ended yet");
        history.turn(START + 1, received(3));
        history.turn(START + 7, received(3));
        let all = Counts { received: 4, delivered: 1, published: 1 };
        let last = Counts { received: 1, delivered: 1, published: 1 };
        let expected = [(START, received(3)), (START + 7, last)];
        assert_eq!(history.list(START + 8, all), expected);
        history.turn(START + 8, all);
        assert_eq!(history.list(START + 8, all), expected);
        assert_eq!(history.list(START + 8, received(0)), expected, "read a moment ago");
    }

    #[test]
    fn what_is_too_old_is_neither_told_nor_kept() {
        let history = History::default();
        for passed in 0..1_000 {
            history.turn(START + passed, received(passed));
        }
        let now = START + 999;
        let told = history.list(now, received(1_000));
        assert_eq!(told.len() as u64, HISTORY_SECONDS);
        assert_eq!(told[0].0, now - HISTORY_SECONDS + 1);
        assert!(told.is_sorted_by_key(|(at, _)| *at));
        assert!(history.lock().ended.len() as u64 <= HISTORY_SECONDS);
        // The router has slept since.
        assert_eq!(history.list(now + HISTORY_SECONDS, received(1_000)), []);
    }

    #[test]
    fn a_clock_that_is_set_back_or_forward_breaks_nothing() {
        let history = History::default();
        history.turn(START, received(0));
        history.turn(START + 100, received(1));
        // Back, and nobody has told the router yet.
        assert_eq!(history.list(START + 50, received(2)), [(START, received(1))]);
        history.turn(START + 50, received(2));
        let back = [(START, received(1)), (START + 50, received(1))];
        assert_eq!(history.list(START + 50, received(3)), back);
        history.turn(START - 1_000, received(3));
        assert_eq!(history.list(START - 1_000, received(4)), [(START - 1_000, received(1))]);
        history.turn(START + 1_000_000, received(4));
        assert_eq!(history.list(START + 1_000_000, received(4)), []);
        history.turn(0, received(5));
        assert_eq!(history.list(0, received(6)), [(0, received(1))]);
    }
}
