//! Tells true events from forged ones: id and BIP-340 signature (NIP-01), on all cores.
//!
//! [`check`] is the rule. [`Verifier`] owns the threads that apply it; the router hands them jobs
//! (never more than [`Verifier::depth`] at a time, so nobody blocks) and gets a verdict for each.
//! The threads end when the `Verifier` is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::constants::VERIFY_DEPTH;
use crate::nostr::event::{Event, EventError, EventId, Unverified};

/// Parses an event and checks everything NIP-01 asks of it.
///
/// # Errors
/// The first [`EventError`] found.
pub fn check(text: &str) -> Result<Event, EventError> {
    Unverified::parse(text)?.verify()
}

/// An event to be checked, and `tag`, the router's own note of what it is for.
#[derive(Debug)]
pub(crate) struct Job<T> {
    /// Comes back with the verdict.
    pub tag: T,
    /// The id the text was announced with; the event must have this one.
    pub claimed: Option<EventId>,
    /// The event as JSON text.
    pub text: Box<str>,
}

/// What became of a [`Job`].
#[derive(Debug)]
pub(crate) struct Verdict<T> {
    /// The job's tag.
    pub tag: T,
    /// The event, now known to be true, or why it is not.
    pub result: Result<Arc<Event>, EventError>,
}

impl<T> Job<T> {
    /// Checks it here and now.
    pub(crate) fn run(self) -> Verdict<T> {
        let Self { tag, claimed, text } = self;
        // A panic here would be a bug; it may cost the event, never the process.
        let result = catch_unwind(AssertUnwindSafe(|| check(&text)))
            .unwrap_or_else(|_| Err(EventError::Shape("it could not be read".into())))
            .and_then(|event| match claimed {
                Some(id) if id != *event.id() => Err(EventError::Id),
                _ => Ok(Arc::new(event)),
            });
        Verdict { tag, result }
    }
}

/// The verifying threads.
#[derive(Debug)]
pub(crate) struct Verifier<T> {
    jobs: Sender<Job<T>>,
    depth: usize,
}

impl<T: Send + 'static> Verifier<T> {
    /// Starts `threads` threads that pass their verdicts to `deliver`, which must not block.
    /// Fewer run where the system refuses more; with none, `submit` checks on the spot.
    pub(crate) fn start(
        threads: usize,
        deliver: impl Fn(Verdict<T>) + Clone + Send + 'static,
    ) -> Self {
        let depth = threads.max(1) * VERIFY_DEPTH;
        let (jobs, inbox) = bounded::<Job<T>>(depth);
        for number in 0..threads {
            let inbox: Receiver<Job<T>> = inbox.clone();
            let deliver = deliver.clone();
            let started =
                thread::Builder::new().name(format!("nostr-verify-{number}")).spawn(move || {
                    while let Ok(job) = inbox.recv() {
                        deliver(job.run());
                    }
                });
            if let Err(error) = started {
                log::error!("nostrclient: a verifying thread did not start: {error}");
            }
        }
        Self { jobs, depth }
    }

    /// How many jobs may be out at a time.
    pub(crate) const fn depth(&self) -> usize {
        self.depth
    }

    /// Hands over a job. Gives the verdict back at once only if no thread can take it.
    pub(crate) fn submit(&self, job: Job<T>) -> Option<Verdict<T>> {
        match self.jobs.try_send(job) {
            Ok(()) => None,
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job.run()),
        }
    }
}

#[cfg(test)]
mod tests;
