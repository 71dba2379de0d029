//! How long to wait before the next attempt to connect: full jitter, so that clients of a relay
//! that came back do not all return in the same second.

use std::time::Duration;

use crate::constants::{BACKOFF_FIRST, BACKOFF_MOST, BACKOFF_RESET, RETRY_AFTER_MOST};

/// Owned by one relay's task.
#[derive(Debug)]
pub(super) struct Backoff {
    most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { most: BACKOFF_FIRST }
    }
}

impl Backoff {
    /// The next wait: a random part of 1, 2, 4 … 60 seconds. `lived`: how long the connection
    /// stood; long enough, and the row begins anew. `asked`: how long the relay wants not to be
    /// tried; that is added, within a bound.
    pub(super) fn next(&mut self, lived: Duration, asked: Duration) -> Duration {
        if lived >= BACKOFF_RESET {
            self.most = BACKOFF_FIRST;
        }
        let wait = self.most.mul_f64(random_part());
        self.most = (self.most * 2).min(BACKOFF_MOST);
        wait + asked.min(RETRY_AFTER_MOST)
    }
}

/// Evenly from 0 up to 1. Where the system has no randomness to give, a half will do.
fn random_part() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_minute_and_starts_anew() {
        let mut backoff = Backoff::default();
        for bound in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = backoff.next(Duration::ZERO, Duration::ZERO);
            assert!(wait <= Duration::from_secs(bound));
        }
        assert_eq!(backoff.most, BACKOFF_MOST);
        assert!(backoff.next(BACKOFF_RESET, Duration::ZERO) <= BACKOFF_FIRST);
    }

    #[test]
    fn a_relay_is_left_alone_as_long_as_it_asks_for_within_a_bound() {
        let next = |asked| Backoff::default().next(Duration::ZERO, Duration::from_secs(asked));
        assert!((90..=91).contains(&next(90).as_secs()));
        assert!((300..=301).contains(&next(1 << 40).as_secs()));
    }
}
