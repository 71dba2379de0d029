//! The router's task: takes what arrives, lets the state machine decide, and carries it out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use futures_util::FutureExt;
use hashbrown::HashMap;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::constants::{ROUTER_BATCH, ROUTER_QUEUE, VERIFY_DEPTH};
use crate::event::EventId;
use crate::hub::{ClientId, Effects, Hub, Input, LinkId, RelayId, Tag};
use crate::mailbox::{CLOSE_TRY_LATER, Mailbox};
use crate::relay::{Dial, Line};
use crate::time::Now;
use crate::verify::{Verdict, Verifier};

use super::{Arrival, Shared, lock};

/// Runs a router until `stop` has no sender any more. A router that panics, which would be a bug,
/// takes its clients along (they are closed and come again) and is replaced by a new one with the
/// same relays.
pub(super) async fn supervise<D: Dial>(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Arrival>,
    mut stop: watch::Receiver<()>,
    threads: usize,
    dial: Arc<D>,
) {
    loop {
        let router = Router::new(&shared, threads);
        let ended = AssertUnwindSafe(router.run(queue, &mut stop)).catch_unwind().await;
        if ended.is_ok() {
            return;
        }
        log::error!("nostrclient: an internal error; clients and relays connect anew");
        let (sender, receiver) = mpsc::channel(ROUTER_QUEUE);
        queue = receiver;
        *lock(&shared.router) = sender.clone();
        for (url, entry) in &*lock(&shared.relays) {
            tokio::spawn(entry.task(url, sender.clone(), &dial));
        }
    }
}

struct Router {
    hub: Hub,
    verifier: Verifier<Tag>,
    verdicts: mpsc::Receiver<Verdict<Tag>>,
    mailboxes: HashMap<ClientId, Mailbox, RandomState>,
    lines: HashMap<RelayId, Standing, RandomState>,
    started: Instant,
    /// Kept for its memory.
    effects: Effects,
}

/// A relay's connection as the router reaches it.
struct Standing {
    link: LinkId,
    line: Line,
    /// Events it could not be given any more.
    unsent: Vec<EventId>,
}

impl Router {
    fn new(shared: &Shared, threads: usize) -> Self {
        let (deliver, verdicts) = mpsc::channel(threads.max(1) * VERIFY_DEPTH);
        let verifier = Verifier::start(threads, move |verdict| {
            // Never full: the state machine has no more jobs out than fit.
            let _ = deliver.try_send(verdict);
        });
        Self {
            hub: Hub::new(shared.limits, Arc::clone(&shared.stats), verifier.depth()),
            verifier,
            verdicts,
            mailboxes: HashMap::default(),
            lines: HashMap::default(),
            started: Instant::now(),
            effects: Effects::default(),
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Arrival>, stop: &mut watch::Receiver<()>) {
        let far = Duration::from_secs(24 * 60 * 60);
        let timer = sleep_until(self.started + far);
        tokio::pin!(timer);
        loop {
            let due = self.started + self.hub.next_deadline().unwrap_or(far);
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            let first = tokio::select! {
                biased;
                // The mailboxes close as they are dropped.
                _ = stop.changed() => return,
                Some(verdict) = self.verdicts.recv() => Some(Step::Verdict(verdict)),
                Some(arrival) = queue.recv() => Some(Step::Arrival(arrival)),
                () = &mut timer => None,
            };
            let now = self.now();
            if let Some(first) = first {
                self.take(now, first);
            }
            // What else is there already is handled before anything is handed out.
            for _ in 1..ROUTER_BATCH {
                if let Ok(verdict) = self.verdicts.try_recv() {
                    self.take(now, Step::Verdict(verdict));
                } else if let Ok(arrival) = queue.try_recv() {
                    self.take(now, Step::Arrival(arrival));
                } else {
                    break;
                }
            }
            self.hub.tick(now, &mut self.effects);
            self.carry_out(now);
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.started.elapsed(),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }

    fn take(&mut self, now: Now, step: Step) {
        let mut input = match step {
            Step::Verdict(verdict) => Input::Verified(verdict),
            Step::Arrival(Arrival::Input(input)) => input,
            Step::Arrival(Arrival::LinkUp(relay, link, line)) => {
                self.lines.insert(relay, Standing { link, line, unsent: Vec::new() });
                Input::LinkUp(relay, link)
            }
            Step::Arrival(Arrival::Joined(client, mailbox)) => {
                self.mailboxes.insert(client, mailbox);
                Input::ClientJoined(client)
            }
            #[cfg(test)]
            #[expect(clippy::panic, reason = "the bug the test is about")]
            Step::Arrival(Arrival::Bug) => panic!("a bug"),
        };
        match &mut input {
            Input::LinkDown(relay, link, unsent) => {
                if self.lines.get(relay).is_some_and(|standing| standing.link == *link) {
                    let standing = self.lines.remove(relay);
                    unsent.extend(standing.map(|standing| standing.unsent).unwrap_or_default());
                }
            }
            Input::ClientLeft(client) => {
                self.mailboxes.remove(client);
            }
            _ => {}
        }
        self.hub.handle(now, input, &mut self.effects);
    }

    /// Does what the state machine has said, and what follows from doing it.
    fn carry_out(&mut self, now: Now) {
        let mut doing = std::mem::take(&mut self.effects);
        loop {
            for (relay, link, outgoing) in doing.to_relay.drain(..) {
                let Some(standing) = self.lines.get_mut(&relay) else { continue };
                if standing.link == link {
                    // Never full: the state machine keeps to the window. Closed: about to be down.
                    if let Err(refused) = standing.line.try_send(outgoing) {
                        standing.unsent.extend(refused.into_inner().event);
                    }
                }
            }
            for (relay, link) in doing.cut.drain(..) {
                if self.lines.get(&relay).is_some_and(|standing| standing.link == link) {
                    self.lines.remove(&relay);
                }
            }
            for (client, reply) in doing.to_client.drain(..) {
                let Some(mailbox) = self.mailboxes.get(&client) else { continue };
                if !mailbox.post(reply) {
                    mailbox.close(CLOSE_TRY_LATER, "too slow: too much is waiting to be read");
                    self.mailboxes.remove(&client);
                    self.hub.handle(now, Input::ClientLeft(client), &mut self.effects);
                }
            }
            for job in doing.verify.drain(..) {
                if let Some(verdict) = self.verifier.submit(job) {
                    self.hub.handle(now, Input::Verified(verdict), &mut self.effects);
                }
            }
            std::mem::swap(&mut doing, &mut self.effects);
            if doing.is_empty() {
                self.effects = doing;
                return;
            }
        }
    }
}

/// One thing that has come in.
enum Step {
    Verdict(Verdict<Tag>),
    Arrival(Arrival),
}
