//! The clock. The state machine never reads it: it is handed in with every input ([`Now`]). All
//! others read the wall clock here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since the core started; never goes back. All deadlines are counted on it.
    pub mono: Duration,
    /// Unix seconds, for what events and filters say. May jump.
    pub unix: u64,
}

/// Unix seconds with their fraction, for the page.
pub(crate) fn unix_now() -> f64 {
    unix_time().as_secs_f64()
}

/// Unix seconds.
pub(crate) fn unix_seconds() -> u64 {
    unix_time().as_secs()
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
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
