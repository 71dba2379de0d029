//! The core's clock, which counts the time the machine sleeps (rule 1.5).

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::base::clock::unix_time;
use crate::base::time::Now;

/// Counts on while the machine sleeps.
#[cfg(target_os = "linux")]
const SLEEPLESS: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SLEEPLESS: ClockId = ClockId::Monotonic;

/// What the two clocks may differ by without a sleep between them: they are not read at once.
const SLEPT_LEAST: Duration = Duration::from_millis(100);

/// The time since it was started, sleep included. The timers of the runtime do not count that, and so
/// come late after it; what is decided by the time is decided rightly all the same.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    awake: std::time::Instant,
    sleepless: Duration,
    /// Milliseconds the machine has slept since.
    slept: AtomicU64,
}

impl Clock {
    /// Starts at zero.
    pub(super) fn start() -> Self {
        let (started, awake) = (Instant::now(), std::time::Instant::now());
        Self { started, awake, sleepless: sleepless(), slept: AtomicU64::new(0) }
    }

    /// Never goes back.
    pub(super) fn elapsed(&self) -> Duration {
        let awake = self.started.elapsed();
        awake + self.slept()
    }

    /// The same with the time of day.
    pub(super) fn now(&self) -> Now {
        Now::new(self.elapsed(), unix_time())
    }

    /// When the runtime's clock shows this time, if the machine sleeps no more until then.
    pub(super) fn instant(&self, elapsed: Duration) -> Instant {
        self.started + elapsed.saturating_sub(self.slept())
    }

    fn slept(&self) -> Duration {
        // In this order: if the process is stopped between the two, it has not slept.
        let all = sleepless().saturating_sub(self.sleepless);
        let slept = all.saturating_sub(self.awake.elapsed());
        if slept >= SLEPT_LEAST {
            let slept = u64::try_from(slept.as_millis()).unwrap_or(u64::MAX);
            self.slept.fetch_max(slept, SeqCst);
        }
        Duration::from_millis(self.slept.load(SeqCst))
    }
}

fn sleepless() -> Duration {
    clock_gettime(SLEEPLESS).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_with_the_runtimes_clock_and_counts_sleep() {
        let mut clock = Clock::start();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(5));
        assert_eq!(clock.instant(Duration::from_secs(7)), Instant::now() + Duration::from_secs(2));
        // As if the machine had slept since the start.
        clock.sleepless -= Duration::from_secs(20);
        let elapsed = clock.elapsed();
        assert!((24.9..25.1).contains(&elapsed.as_secs_f64()), "{elapsed:?}");
        let due = clock.instant(Duration::from_secs(30)) - Instant::now();
        assert!((4.9..5.2).contains(&due.as_secs_f64()), "{due:?}");
        clock.sleepless += Duration::from_secs(20);
        assert!(clock.elapsed() >= elapsed, "it never goes back");
    }
}
