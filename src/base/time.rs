//! Time as it is handed in with every input ([`Now`]), and what is measured by it.

use std::time::Duration;

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since the core started; never goes back. All deadlines are counted on it.
    pub mono: Duration,
    /// Unix seconds, for what events and filters say. May jump either way.
    pub unix: u64,
    /// And how far that second is, in nanoseconds: for the page.
    pub nanos: u32,
}

impl Now {
    /// So long after the start, at this unix time.
    pub(crate) const fn new(mono: Duration, wall: Duration) -> Self {
        Self { mono, unix: wall.as_secs(), nanos: wall.subsec_nanos() }
    }

    /// Unix seconds with their fraction.
    pub(crate) fn precisely(self) -> f64 {
        Duration::new(self.unix, self.nanos).as_secs_f64()
    }

    /// The earliest date (unix seconds) that this moment, which is past, may have: the clock may have
    /// been set since. Never later than now.
    pub(crate) fn earliest(self, now: Self) -> u64 {
        self.unix.min(self.by_the_clock_of(now))
    }

    /// And the latest.
    pub(crate) fn latest(self, now: Self) -> u64 {
        self.unix.max(self.by_the_clock_of(now))
    }

    /// Its date as the clock goes at another time.
    fn by_the_clock_of(self, now: Self) -> u64 {
        let passed = now.mono.saturating_sub(self.mono);
        Duration::new(now.unix, now.nanos).saturating_sub(passed).as_secs()
    }
}

/// Lets through `per_second` on average and `burst` at once.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    tokens: f64,
    burst: f64,
    per_second: f64,
    filled: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            tokens: f64::from(burst),
            burst: f64::from(burst),
            per_second: f64::from(per_second),
            filled: Duration::ZERO,
        }
    }

    /// Takes one token; false if there is none.
    pub(crate) fn take(&mut self, mono: Duration) -> bool {
        let passed = mono.saturating_sub(self.filled).as_secs_f64();
        self.filled = mono;
        self.tokens = passed.mul_add(self.per_second, self.tokens).min(self.burst);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_two_dates_where_the_clock_was_set_since() {
        let at = |mono, wall| Now::new(Duration::from_millis(mono), Duration::from_millis(wall));
        let then = at(1_950, 99_950);
        let dates = |now| (then.earliest(now), then.latest(now));
        assert_eq!(dates(at(2_900, 100_900)), (99, 99), "not set");
        assert_eq!(dates(at(2_900, 40_900)), (39, 99), "set back");
        assert_eq!(dates(at(2_900, 160_900)), (99, 159), "set forward");
        assert_eq!(dates(at(9_000, 3_000)), (0, 99), "to before the beginning");
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(2, 3);
        let taken = |bucket: &mut TokenBucket, at| {
            (0..10).filter(|_| bucket.take(Duration::from_secs(at))).count()
        };
        assert_eq!(taken(&mut bucket, 1), 3);
        assert_eq!(taken(&mut bucket, 2), 2);
        assert_eq!(taken(&mut bucket, 100), 3);
    }
}
