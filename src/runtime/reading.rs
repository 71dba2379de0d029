//! Whether what is read from a client may have lain there for long (rule 1.5).
//!
//! Nobody knows when a message came to its socket. What is known: when we did not look. Whoever reads the
//! sockets has a [`Pulse`]; where that has stopped for longer than the deadline, we stood still (the
//! process or its machine did, or its event loop), and what is read first after that may be as old. So may
//! be what is read after a client was asked to wait for that long. A client's [`Reading`] is up to date
//! again when there was nothing to read for a while.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::constants::{CATCH_UP_BEATS, CATCH_UP_MOST, CATCH_UP_QUIET, OK_DEADLINE};

/// Of whoever reads the sockets, all of them. Times are milliseconds; zero: never.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: AtomicU64,
    /// The end of the last standstill, …
    stood: AtomicU64,
    /// … and how often it had beaten by then.
    stood_at: AtomicU64,
    beats: AtomicU64,
}

impl Pulse {
    /// It beats; several times in a deadline, while all is well.
    pub(super) fn beat(&self, now: Duration) {
        self.beats.fetch_add(1, SeqCst);
        self.stood_until(now);
        self.last.store(milliseconds(now), SeqCst);
    }

    /// The end of the last standstill, if there was any. It ends when somebody looks.
    fn stood_until(&self, now: Duration) -> Option<Duration> {
        let (now, last) = (milliseconds(now), self.last.load(SeqCst));
        if last > 0 && now.saturating_sub(last) > milliseconds(OK_DEADLINE) {
            self.stood.store(now, SeqCst);
            self.stood_at.store(self.beats.load(SeqCst), SeqCst);
        }
        let stood = self.stood.load(SeqCst);
        (stood > 0).then(|| Duration::from_millis(stood))
    }

    /// How often it has beaten since this beat, and since the last standstill.
    fn beats_since(&self, beat: u64) -> u64 {
        self.beats.load(SeqCst).saturating_sub(beat.max(self.stood_at.load(SeqCst)))
    }
}

/// One client's.
#[derive(Debug)]
pub(super) struct Reading {
    /// When something was read last, …
    last: Duration,
    /// … and how often the pulse had beaten by then.
    beats: u64,
    /// The end of the last time it had to wait for long, if there was any.
    waited: Option<Duration>,
    /// Whether that may have been old.
    late: bool,
}

impl Reading {
    /// A client connects.
    pub(super) const fn new(now: Duration) -> Self {
        Self { last: now, beats: 0, waited: None, late: false }
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
            // Where the machine is busy, time passes in which nobody looks.
            let nothing_came =
                since >= CATCH_UP_QUIET && pulse.beats_since(self.beats) >= CATCH_UP_BEATS;
            goes_on && !nothing_came
        });
        (self.last, self.beats) = (now, pulse.beats.load(SeqCst));
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

    /// When a pulse beats: four times a second from 1 s on to the first of these, and then at the others.
    fn beaten(until: u64, then: &[u64]) -> Vec<u64> {
        (1_000..=until).step_by(250).chain(then.iter().copied()).collect()
    }

    /// Of messages read at these times by a client that came at 1 s: which may be old.
    fn late<const N: usize>(beats: &[u64], times: [u64; N]) -> [bool; N] {
        let pulse = Pulse::default();
        let mut reading = Reading::new(at(1_000));
        let mut beats = beats.iter().peekable();
        times.map(|time| {
            while let Some(beat) = beats.next_if(|beat| **beat <= time) {
                pulse.beat(at(*beat));
            }
            reading.is_late(at(time), Duration::ZERO, &pulse)
        })
    }

    #[test]
    fn nothing_is_late_while_somebody_looks() {
        assert_eq!(late(&beaten(9_000, &[]), [1_000, 1_100, 5_000, 9_000]), [false; 4]);
        assert_eq!(late(&[], [1_000, 90_000]), [false; 2], "nobody has begun to");
        assert_eq!(late(&beaten(5_000, &[7_000]), [7_000, 9_000]), [false; 2], "just in time");
    }

    #[test]
    fn what_is_read_first_after_a_standstill_is_late() {
        // The message is read before the pulse beats again, or just after it.
        assert_eq!(late(&beaten(5_000, &[]), [5_000, 25_000]), [false, true]);
        assert_eq!(late(&beaten(5_000, &[25_000]), [25_000, 25_001, 25_200]), [true; 3]);
        let goes_on = beaten(5_000, &[25_000, 25_250, 25_500]);
        assert_eq!(late(&goes_on, [25_499]), [true]);
        assert_eq!(late(&goes_on, [25_500]), [false], "there was nothing to read");
    }

    /// Time has passed, and nobody has looked more than once since the standstill.
    #[test]
    fn what_is_read_late_by_a_busy_machine_is_late() {
        assert_eq!(late(&beaten(5_000, &[25_000]), [26_900]), [true]);
        assert_eq!(late(&beaten(5_000, &[25_000, 26_800]), [26_900]), [true]);
        assert_eq!(late(&beaten(5_000, &[25_000, 26_800, 26_850]), [26_900]), [false]);
        let goes_on = beaten(5_000, &[25_000, 25_250, 27_000, 27_250, 27_500]);
        assert_eq!(late(&goes_on, [25_100, 26_900, 27_600]), [true, true, false]);
    }

    #[test]
    fn a_client_is_read_up_to_date_by_itself() {
        let then: Vec<u64> = (25_000..26_500).step_by(250).collect();
        let beats = beaten(5_000, &then);
        // One that has nothing more to say for a while, …
        assert_eq!(late(&beats, [25_100, 25_500, 26_000, 26_100]), [true, true, false, false]);
        // … and one that goes on and on.
        let times: [u64; 100] = std::array::from_fn(|number| 25_000 + 200 * number as u64);
        for (time, late) in times.into_iter().zip(late(&beaten(5_000, &times), times)) {
            assert_eq!(late, at(time) < at(25_000) + CATCH_UP_MOST, "{time}");
        }
    }

    #[test]
    fn who_comes_after_a_standstill_is_not_late() {
        let pulse = Pulse::default();
        for beat in beaten(5_000, &[25_000]) {
            pulse.beat(at(beat));
        }
        let mut reading = Reading::new(at(25_001));
        assert!(!reading.is_late(at(25_002), Duration::ZERO, &pulse));
    }

    #[test]
    fn what_is_read_after_a_long_wait_is_late() {
        for (resumed, is_late) in [(3_000, false), (3_100, true)] {
            let pulse = Pulse::default();
            let mut reading = Reading::new(at(0));
            let mut read = |time, resumed| {
                while pulse.last.load(SeqCst) + 250 <= time {
                    pulse.beat(at(pulse.last.load(SeqCst) + 250));
                }
                reading.is_late(at(time), at(resumed), &pulse)
            };
            assert!(!read(1_000, 0));
            assert_eq!(read(resumed, resumed), is_late);
            assert_eq!(read(resumed + 100, resumed), is_late);
            assert!(!read(resumed + 600, resumed));
        }
        // It was not asked to wait for long, and had nothing to say.
        let mut reading = Reading::new(at(0));
        assert!(!reading.is_late(at(1_000), Duration::ZERO, &Pulse::default()));
        assert!(!reading.is_late(at(9_000), at(1_100), &Pulse::default()));
    }
}
