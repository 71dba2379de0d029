//! Numbers for the page and the API. Each has one writer (the router, or the relay's own task) and
//! any number of readers, which is why they are atomics and nobody has to be asked. The one total
//! that all relays' tasks add to says so.

pub(crate) mod history;
mod trouble;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::clock::{unix_now, unix_seconds};
use crate::constants::{RELAY_LOG, RELAY_LOG_TEXT};
use crate::stats::history::{Counts, History, Second};

pub(crate) use trouble::Trouble;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// This many more.
    pub(crate) fn add_all(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }

    /// One more, and which it is.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed) + 1
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets it, for numbers that go up and down.
    pub(crate) fn set(&self, value: usize) {
        self.0.store(value as u64, Relaxed);
    }
}

/// Where a relay's connection stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RelayState {
    /// An attempt is under way.
    Connecting,
    /// Connected since this unix time (seconds).
    Connected(f64),
    /// The next attempt is at this unix time (seconds).
    Waiting(f64),
}

impl RelayState {
    const fn is_connected(self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

/// One relay's numbers. Lives as long as the relay is configured, over all its connections.
#[derive(Debug)]
pub(crate) struct RelayStats {
    /// Events written to the relay.
    pub sent: Counter,
    /// Events the relay sent, copies included.
    pub received: Counter,
    /// Events that had come before.
    pub duplicates: Counter,
    /// Events with a wrong id or signature.
    pub forged: Counter,
    /// Events the relay answered `OK false`.
    pub rejected: Counter,
    /// Events it never got although others did: too many while it was away, or too fast for it.
    pub backlog_dropped: Counter,
    /// Events for no subscription, or that match no filter of theirs.
    pub unasked: Counter,
    /// All that ever went into `errors`.
    pub error_count: Counter,
    /// Round trip of the last answered ping in microseconds; 0: none yet.
    pub ping_micros: AtomicU64,
    /// The relay wants an authentication that we do not have (NIP-42).
    pub authentication_required: AtomicBool,
    /// It has refused a subscription or an event on this connection for want of one.
    pub auth_refused: AtomicBool,
    /// It has taken this connection for the owner of the key that is set for it.
    pub authenticated: AtomicBool,
    /// The last attempt ended with an HTTP status instead of a connection.
    pub refused: AtomicBool,
    errors: Mutex<VecDeque<Line<Trouble>>>,
    notices: Mutex<VecDeque<Line<()>>>,
    standing: Mutex<Standing>,
}

/// Something that was said, and when (unix seconds); the kind of it, where there are several.
type Line<K> = (f64, String, K);

#[derive(Debug, Clone, Copy)]
struct Standing {
    state: RelayState,
    /// Unix seconds of the loss of the last connection, or of the beginning.
    lost: f64,
}

impl Default for RelayStats {
    fn default() -> Self {
        Self {
            sent: Counter::default(),
            received: Counter::default(),
            duplicates: Counter::default(),
            forged: Counter::default(),
            rejected: Counter::default(),
            backlog_dropped: Counter::default(),
            unasked: Counter::default(),
            error_count: Counter::default(),
            ping_micros: AtomicU64::default(),
            authentication_required: AtomicBool::default(),
            auth_refused: AtomicBool::default(),
            authenticated: AtomicBool::default(),
            refused: AtomicBool::default(),
            errors: Mutex::default(),
            notices: Mutex::default(),
            standing: Mutex::new(Standing { state: RelayState::Connecting, lost: unix_now() }),
        }
    }
}

impl RelayStats {
    /// Notes an error, cut to a length fit for a page. `at`: unix seconds.
    pub(crate) fn error(&self, at: f64, kind: Trouble, text: &str) {
        self.error_count.add();
        note(&self.errors, at, text, kind);
    }

    /// Notes a NOTICE of the relay, likewise.
    pub(crate) fn notice(&self, at: f64, text: &str) {
        note(&self.notices, at, text, ());
    }

    /// The last errors, newest last: when they were noted (unix seconds), their texts and kinds.
    pub(crate) fn errors(&self) -> (Vec<f64>, Vec<String>, Vec<Trouble>) {
        lock(&self.errors).iter().cloned().collect()
    }

    /// The last notices, likewise.
    pub(crate) fn notices(&self) -> (Vec<f64>, Vec<String>) {
        lock(&self.notices).iter().map(|(at, text, ())| (*at, text.clone())).unzip()
    }

    /// Where the connection stands, and unless it does, since when there is none (unix seconds).
    pub(crate) fn state(&self) -> (RelayState, Option<f64>) {
        let Standing { state, lost } = *lock(&self.standing);
        (state, (!state.is_connected()).then_some(lost))
    }

    /// Set by the relay's own task.
    pub(crate) fn set_state(&self, state: RelayState) {
        let mut standing = lock(&self.standing);
        if standing.state.is_connected() && !state.is_connected() {
            standing.lost = unix_now();
        }
        standing.state = state;
    }
}

/// Numbers over the whole core, written by the router.
#[derive(Debug, Default)]
pub(crate) struct CoreStats {
    /// Connected clients, now.
    pub clients: Counter,
    /// Subscriptions, now.
    pub subscriptions: Counter,
    /// EVENTs not answered yet, now.
    pub unanswered: Counter,
    /// Events relays have sent, copies included.
    pub received: Counter,
    /// Events written to relays. Each relay's task adds its own.
    pub sent: Counter,
    /// Events clients have published that were found true.
    pub published: Counter,
    /// Events found true.
    pub verified: Counter,
    /// Events found forged.
    pub forged: Counter,
    /// Events given to clients.
    pub delivered: Counter,
    /// Events of the outbox no relay has had, now.
    pub outbox_queued: Counter,
    /// Events of the outbox that were sent and not answered, now.
    pub outbox_in_doubt: Counter,
    /// Rejected events kept, now.
    pub outbox_rejected: Counter,
    /// Unix seconds since when the oldest of those that wait has been there; 0: none waits.
    pub outbox_oldest: Counter,
    /// Events of the outbox that a relay has taken.
    pub outbox_delivered: Counter,
    /// Events of the outbox given up because no relay wanted them.
    pub outbox_rejected_ever: Counter,
    /// Events of the outbox dropped because their time had passed (NIP-40) …
    pub expired: Counter,
    /// … their author withdrew them (NIP-09, NIP-62) …
    pub withdrawn: Counter,
    /// … or published a newer version.
    pub superseded: Counter,
    /// Batches given to the database: their numbers.
    pub batches: Counter,
    history: History,
}

impl CoreStats {
    /// Another second has begun; called by the router before it counts anything in it.
    pub(crate) fn turn(&self, second: u64) {
        self.history.turn(second, self.counts());
    }

    /// What happened in each of the last seconds.
    pub(crate) fn history(&self) -> Vec<Second> {
        self.history.list(unix_seconds(), self.counts())
    }

    fn counts(&self) -> Counts {
        Counts {
            received: self.received.get(),
            delivered: self.delivered.get(),
            published: self.published.get(),
        }
    }
}

/// One client's numbers, written by the router. What it was given and what waits for it is its
/// mailbox's to know.
#[derive(Debug, Default)]
pub(crate) struct ClientStats {
    /// Subscriptions, now.
    pub subscriptions: Counter,
    /// Events it has published that were found true.
    pub published: Counter,
}

fn note<K>(log: &Mutex<VecDeque<Line<K>>>, at: f64, text: &str, kind: K) {
    let text = text.chars().take(RELAY_LOG_TEXT).collect();
    let mut log = lock(log);
    if log.len() == RELAY_LOG {
        log.pop_front();
    }
    log.push_back((at, text, kind));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
