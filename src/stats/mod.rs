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

/// A struct of counters and flags whose names stand here and nowhere else: whoever shows all of them
/// goes through [`counts`](RelayStats::counts) and [`flags`](RelayStats::flags).
macro_rules! numbers {
    (
        $(#[$about:meta])*
        $name:ident {
            counts { $($(#[$what:meta])* $count:ident,)* }
            $(flags { $($(#[$when:meta])* $flag:ident,)* })?
            others { $($others:tt)* }
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $($(#[$what])* pub $count: Counter,)*
            $($($(#[$when])* pub $flag: AtomicBool,)*)?
            $($others)*
        }

        impl $name {
            /// What is counted, by name.
            pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($count), self.$count.get())),*]
            }

            $(
                /// What is so or not, by name.
                pub(crate) fn flags(&self) -> Vec<(&'static str, bool)> {
                    vec![$((stringify!($flag), self.$flag.load(Relaxed))),*]
                }
            )?
        }
    };
}

numbers! {
    /// One relay's numbers. Lives as long as the relay is configured, over all its connections.
    RelayStats {
        counts {
            /// Events written to the relay.
            sent,
            /// Events the relay sent, copies included.
            received,
            /// Events that had come before.
            duplicates,
            /// Events with a wrong id or signature.
            forged,
            /// Events the relay answered `OK false`.
            rejected,
            /// Events it never got although others did: too many while it was away, or too fast for
            /// it.
            backlog_dropped,
            /// Events for no subscription, or that match no filter of theirs.
            unasked,
            /// Messages that were too long, and skipped.
            skipped,
            /// Events and subscriptions, now, that are not sent to it because it ends the connection
            /// over them.
            quarantined,
            /// Subscriptions, now, that it serves or was asked for …
            subscriptions_served,
            /// … that it has refused or left without an answer …
            subscriptions_refused,
            /// … and that it could not be asked for yet.
            subscriptions_waiting,
            /// All that ever went into `errors`.
            error_count,
        }
        flags {
            /// The relay wants an authentication that we do not have (NIP-42).
            authentication_required,
            /// It has refused a subscription or an event on this connection for want of one.
            auth_refused,
            /// It has taken this connection for the owner of the key that is set for it.
            authenticated,
            /// The last attempt ended with an HTTP status instead of a connection.
            refused,
            /// The last attempt ended at this server itself.
            itself,
        }
        others {
            /// Round trip of the last answered ping in microseconds; 0: none yet.
            pub ping_micros: AtomicU64,
            errors: Mutex<VecDeque<LogLine<Trouble>>>,
            notices: Mutex<VecDeque<LogLine<()>>>,
            standing: Mutex<Standing>,
            unserved: Mutex<Option<(f64, String)>>,
        }
    }
}

/// Something that was said, and when (unix seconds); the kind of it, where there are several.
type LogLine<K> = (f64, String, K);

#[derive(Debug, Clone, Copy)]
struct Standing {
    state: RelayState,
    /// Unix seconds of the loss of the last connection, or of the beginning.
    lost: f64,
}

impl Default for Standing {
    fn default() -> Self {
        Self { state: RelayState::Connecting, lost: unix_now() }
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

    /// Notes that it does not serve all subscriptions, and why, cut likewise; or that it does. What it has
    /// not served before it does not since then (unix seconds).
    pub(crate) fn set_unserved(&self, now: Option<(f64, &str)>) {
        let mut unserved = lock(&self.unserved);
        let since = unserved.as_ref().map(|(since, _)| *since);
        *unserved = now.map(|(at, why)| (since.unwrap_or(at), cut(why)));
    }

    /// Since when it does not serve all subscriptions (unix seconds), and why. `None`: it does.
    pub(crate) fn unserved(&self) -> Option<(f64, String)> {
        lock(&self.unserved).clone()
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

numbers! {
    /// Numbers over the whole core, written by the router.
    CoreStats {
        counts {
            /// Connected clients, now.
            clients,
            /// Subscriptions, now.
            subscriptions,
            /// EVENTs not answered yet, now.
            pending_events,
            /// Events relays have sent, copies included.
            received,
            /// Events written to relays. Each relay's task adds its own.
            sent,
            /// Events clients have published that were found true.
            published,
            /// Events found true.
            verified,
            /// Events found forged.
            forged,
            /// Events given to clients.
            delivered,
        }
        others {
            /// Of the outbox.
            pub outbox: OutboxStats,
            /// Batches given to the database: their numbers.
            pub batches: Counter,
            history: History,
        }
    }
}

numbers! {
    /// The outbox's numbers, written by the router.
    OutboxStats {
        counts {
            /// Events no relay has had, now.
            queued,
            /// Events that were sent and not answered, now.
            in_doubt,
            /// Rejected events kept, now.
            rejected,
            /// Events a relay has taken.
            delivered,
            /// Events given up because no relay wanted them.
            rejected_ever,
            /// Events dropped because their time had passed (NIP-40) …
            expired,
            /// … their author withdrew them (NIP-09, NIP-62) …
            withdrawn,
            /// … or published a newer version.
            superseded,
        }
        others {
            /// Unix seconds since when the oldest of those that wait has been there; 0: none waits.
            pub oldest: Counter,
        }
    }
}

impl CoreStats {
    /// Another second has begun; called by the router before it counts anything in it.
    pub(crate) fn turn(&self, second: u64) {
        self.history.turn(second, self.totals());
    }

    /// What happened in each of the last seconds.
    pub(crate) fn history(&self) -> Vec<Second> {
        self.history.list(unix_seconds(), self.totals())
    }

    fn totals(&self) -> Counts {
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

fn note<K>(log: &Mutex<VecDeque<LogLine<K>>>, at: f64, text: &str, kind: K) {
    let text = cut(text);
    let mut log = lock(log);
    if log.len() == RELAY_LOG {
        log.pop_front();
    }
    log.push_back((at, text, kind));
}

/// A length fit for a page.
fn cut(text: &str) -> String {
    text.chars().take(RELAY_LOG_TEXT).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
