//! Whether what is read from a client may have lain there for long (rule 1.5).
//!
//! Nobody knows when a message came to its socket. What is known: when we did not look. Whoever reads the
//! sockets has a [`Pulse`]; where that has stopped for longer than the deadline, we stood still (the
//! process or its machine did, or its event loop), and what is read first after that may be as old. So may
//! be what is read after a client was asked to wait for that long. A client's [`Reading`] is up to date
//! again when there was nothing to read for a while.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::constants::{CATCH_UP_MOST, CATCH_UP_QUIET, OK_DEADLINE};

/// Of whoever reads the sockets, all of them. Milliseconds; zero: never.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: AtomicU64,
    /// The end of the last standstill.
    stood: AtomicU64,
}

impl Pulse {
    /// It beats; several times in a deadline, while all is well.
    pub(super) fn beat(&self, now: Duration) {
        self.stood_until(now);
        self.last.store(milliseconds(now), SeqCst);
    }

    /// The end of the last standstill, if there was any. It ends when somebody looks.
    fn stood_until(&self, now: Duration) -> Option<Duration> {
        let (now, last) = (milliseconds(now), self.last.load(SeqCst));
        if last > 0 && now.saturating_sub(last) > milliseconds(OK_DEADLINE) {
            self.stood.store(now, SeqCst);
        }
        let stood = self.stood.load(SeqCst);
        (stood > 0).then(|| Duration::from_millis(stood))
    }
}

/// One client's.
#[derive(Debug)]
pub(super) struct Reading {
    /// When something was read last.
    last: Duration,
    /// The end of the last time it had to wait for long, if there was any.
    waited: Option<Duration>,
    /// Whether that may have been old.
    late: bool,
}

impl Reading {
    /// A client connects.
    pub(super) const fn new(now: Duration) -> Self {
        Self { last: now, waited: None, late: false }
    }

    /// Something is read. Whether it may be old. `resumed`: when the client was last asked to go on.
    pub(super) fn is_late(&mut self, now: Duration, resumed: Duration, pulse: &Pulse) -> bool {
        // It was asked to wait when something was read.
        if resumed.saturating_sub(self.last) > OK_DEADLINE {
            self.waited = Some(resumed);
        }
        let ended = pulse.stood_until(now).max(self.waited);
        self.late = ended.is_some_and(|ended| {
            let first = ended >= self.last;
            let since = now.saturating_sub(self.last.max(ended));
            let goes_on = first || (self.late && now.saturating_sub(ended) < CATCH_UP_MOST);
            goes_on && since < CATCH_UP_QUIET
        });
        self.last = now;
        self.late
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A pulse that has beaten twice a second from 1 s on to the first of these, and then at the others.
    fn beaten(until: u64, then: &[u64]) -> Pulse {
        let pulse = Pulse::default();
        for time in (1_000..=until).step_by(500).chain(then.iter().copied()) {
            pulse.beat(at(time));
        }
        pulse
    }

    /// Of messages read at these times by a client that came at 1 s: which may be old.
    fn late<const N: usize>(pulse: &Pulse, times: [u64; N]) -> [bool; N] {
        let mut reading = Reading::new(at(1_000));
        times.map(|time| reading.is_late(at(time), Duration::ZERO, pulse))
    }

    #[test]
    fn nothing_is_late_while_somebody_looks() {
        assert_eq!(late(&beaten(9_000, &[]), [1_000, 1_100, 5_000, 9_000]), [false; 4]);
        assert_eq!(late(&Pulse::default(), [1_000, 90_000]), [false; 2], "nobody has begun to");
        assert_eq!(late(&beaten(5_000, &[7_000]), [7_000, 9_000]), [false; 2], "just in time");
    }

    #[test]
    fn what_is_read_first_after_a_standstill_is_late() {
        // The message is read before the pulse beats again, or just after it.
        assert_eq!(late(&beaten(5_000, &[]), [5_000, 25_000]), [false, true]);
        assert_eq!(late(&beaten(5_000, &[25_000]), [25_000, 25_001, 25_400]), [true; 3]);
        assert_eq!(late(&beaten(5_000, &[25_000]), [25_499]), [true]);
        assert_eq!(late(&beaten(5_000, &[25_000]), [25_500]), [false], "there was nothing to read");
    }

    #[test]
    fn a_client_is_read_up_to_date_by_itself() {
        let pulse = beaten(5_000, &[25_000, 25_500, 26_000, 26_500]);
        // One that has nothing more to say for a while, …
        assert_eq!(late(&pulse, [25_100, 25_500, 26_000, 26_100]), [true, true, false, false]);
        // … and one that goes on and on.
        let times: [u64; 100] = std::array::from_fn(|number| 25_000 + 200 * number as u64);
        let found = times.map({
            let mut reading = Reading::new(at(1_000));
            let pulse = beaten(5_000, &[25_000]);
            move |time| {
                let late = reading.is_late(at(time), Duration::ZERO, &pulse);
                pulse.beat(at(time));
                late
            }
        });
        for (time, late) in times.into_iter().zip(found) {
            assert_eq!(late, at(time) < at(25_000) + CATCH_UP_MOST, "{time}");
        }
    }

    #[test]
    fn who_comes_after_a_standstill_is_not_late() {
        let pulse = beaten(5_000, &[25_000]);
        let mut reading = Reading::new(at(25_001));
        assert!(!reading.is_late(at(25_002), Duration::ZERO, &pulse));
    }

    #[test]
    fn what_is_read_after_a_long_wait_is_late() {
        let pulse = beaten(20_000, &[]);
        for (resumed, is_late) in [(3_000, false), (3_100, true)] {
            let mut reading = Reading::new(at(0));
            assert!(!reading.is_late(at(1_000), Duration::ZERO, &pulse));
            assert_eq!(reading.is_late(at(resumed), at(resumed), &pulse), is_late);
            assert_eq!(reading.is_late(at(resumed + 100), at(resumed), &pulse), is_late);
            assert!(!reading.is_late(at(resumed + 600), at(resumed), &pulse));
        }
        // It was not asked to wait for long, and had nothing to say.
        let mut reading = Reading::new(at(0));
        assert!(!reading.is_late(at(1_000), Duration::ZERO, &pulse));
        assert!(!reading.is_late(at(9_000), at(1_100), &pulse));
    }
}
