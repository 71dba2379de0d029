//! The router's task: takes what arrives, lets the state machine decide, and carries it out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hashbrown::hash_map::Entry;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};

use crate::base::hash::Map;
use crate::base::time::Now;
use crate::constants::{BACKOFF_FIRST, ROUTER_BATCH, ROUTER_QUEUE, VERIFIED_HERE, VERIFY_DEPTH};
use crate::ids::{ClientId, LinkId, RelayId};
use crate::nostr::event::EventId;
use crate::nostr::verify::{Verdict, Verifier};
use crate::relay::{Dial, ToLink};
use crate::router::{Effects, Errand, Input, Router};
use crate::runtime::mailbox::{CLOSE_TRY_LATER, Mailbox};

use super::{OutboxCall, Shared, ToRouter, lock};

/// Runs a router until `stop` has no sender any more. A router that panics, which would be a bug,
/// takes its clients along (they are closed and come again) and is replaced by a new one with the
/// same relays.
pub(super) async fn supervise<D: Dial>(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<ToRouter>,
    mut stop: watch::Receiver<()>,
    threads: usize,
    dial: Arc<D>,
) {
    loop {
        let driver = Driver::new(&shared, threads);
        let ended = AssertUnwindSafe(driver.run(queue, &mut stop)).catch_unwind().await;
        if ended.is_ok() {
            return;
        }
        log::error!("nostrclient: an internal error; clients and relays connect anew");
        // Should it happen again at once, it does not happen all the time.
        sleep(BACKOFF_FIRST).await;
        let (sender, receiver) = mpsc::channel(ROUTER_QUEUE);
        queue = receiver;
        let relays = lock(&shared.relays);
        *lock(&shared.router) = sender.clone();
        for (url, entry) in &*relays {
            entry.introduce(url, &sender);
            tokio::spawn(entry.task(url, &shared.stats, sender.clone(), &dial));
        }
    }
}

struct Driver {
    shared: Arc<Shared>,
    router: Router,
    verifier: Verifier<Errand>,
    verdicts: mpsc::Receiver<Verdict<Errand>>,
    mailboxes: Map<ClientId, Mailbox>,
    lines: Map<RelayId, LinkEnd>,
    /// The unix second it is.
    second: u64,
    /// Jobs that are with the verifying threads.
    out: usize,
    /// Nothing else has arrived by now.
    idle: bool,
    /// Kept for its memory.
    effects: Effects,
}

/// A relay's connection as the router reaches it.
struct LinkEnd {
    link: LinkId,
    line: ToLink,
    /// Events it could not be given any more.
    unsent: Vec<Option<EventId>>,
}

impl Driver {
    fn new(shared: &Arc<Shared>, threads: usize) -> Self {
        let (deliver, verdicts) = mpsc::channel(threads.max(1) * VERIFY_DEPTH);
        let verifier = Verifier::start(threads, move |verdict| {
            // Never full: the state machine has no more jobs out than fit.
            let _ = deliver.try_send(verdict);
        });
        let (stats, secret) = (Arc::clone(&shared.stats), shared.secret.clone());
        let router = Router::new(shared.limits, stats, verifier.depth(), secret);
        let settings = Input::Settings(lock(&shared.settings).clone());
        // What an earlier router or an earlier run had in the outbox is in the database.
        shared.desk.load();
        let mut driver = Self {
            shared: Arc::clone(shared),
            router,
            verifier,
            verdicts,
            mailboxes: Map::default(),
            lines: Map::default(),
            second: 0,
            out: 0,
            idle: false,
            effects: Effects::default(),
        };
        driver.router.handle(driver.now(), settings, &mut driver.effects);
        driver
    }

    async fn run(mut self, mut queue: mpsc::Receiver<ToRouter>, stop: &mut watch::Receiver<()>) {
        let timer = sleep_until(self.shared.clock.instant(Duration::ZERO));
        tokio::pin!(timer);
        loop {
            let deadline = self.router.next_deadline();
            if let Some(due) = deadline.map(|deadline| self.shared.clock.instant(deadline))
                && timer.deadline() != due
            {
                timer.as_mut().reset(due);
            }
            let first = tokio::select! {
                biased;
                // The mailboxes close as they are dropped.
                _ = stop.changed() => return,
                Some(verdict) = self.verdicts.recv() => Some(Step::Verdict(verdict)),
                Some(arrival) = queue.recv() => Some(Step::ToRouter(arrival)),
                () = &mut timer, if deadline.is_some() => None,
            };
            let now = self.now();
            if now.unix != self.second {
                self.second = now.unix;
                self.shared.stats.turn(now.unix);
            }
            if let Some(first) = first {
                self.take(now, first);
            }
            // What else is there already is handled before anything is handed out.
            self.idle = false;
            for _ in 1..ROUTER_BATCH {
                if let Ok(verdict) = self.verdicts.try_recv() {
                    self.take(now, Step::Verdict(verdict));
                } else if let Ok(arrival) = queue.try_recv() {
                    self.take(now, Step::ToRouter(arrival));
                } else {
                    self.idle = true;
                    break;
                }
            }
            self.router.tick(now, &mut self.effects);
            self.carry_out(now);
        }
    }

    fn now(&self) -> Now {
        self.shared.clock.now()
    }

    fn take(&mut self, now: Now, step: Step) {
        let mut input = match step {
            Step::Verdict(verdict) => {
                self.out = self.out.saturating_sub(1);
                Input::Verified(verdict)
            }
            Step::ToRouter(ToRouter::Input(input)) => input,
            Step::ToRouter(ToRouter::Outbox(call)) => return self.owner_calls(now, call),
            Step::ToRouter(ToRouter::LinkUp(relay, link, line)) => {
                self.lines.insert(relay, LinkEnd { link, line, unsent: Vec::new() });
                Input::LinkUp(relay, link)
            }
            Step::ToRouter(ToRouter::Joined(client, role, stats, mailbox)) => {
                self.mailboxes.insert(client, mailbox);
                Input::ClientJoined(client, role, stats)
            }
            #[cfg(test)]
            Step::ToRouter(ToRouter::Bug) => panic!("a bug"),
        };
        match &mut input {
            Input::LinkDown { relay, link, unsent, .. } => {
                unsent.extend(self.hang_up(*relay, *link));
                // What was to be handed over in this very round stays here too.
                let late = self
                    .effects
                    .to_relay
                    .extract_if(.., |(to, over, _)| *to == *relay && *over == *link);
                unsent.extend(late.map(|(_, _, outgoing)| outgoing.event));
            }
            Input::ClientLeft(client) => {
                self.mailboxes.remove(client);
            }
            _ => {}
        }
        self.router.handle(now, input, &mut self.effects);
    }

    fn owner_calls(&mut self, now: Now, call: OutboxCall) {
        let (router, fx) = (&mut self.router, &mut self.effects);
        // Whoever asked may have gone.
        let _ = match call {
            OutboxCall::View(reply) => reply.send(router.outbox_view()).is_ok(),
            OutboxCall::Retry(id, reply) => reply.send(router.outbox_retry(now, &id, fx)).is_ok(),
            OutboxCall::Delete(id, reply) => reply.send(router.outbox_delete(now, &id, fx)).is_ok(),
        };
    }

    /// Ends a connection if it still stands; gives, for each message that it could not be given, its event.
    fn hang_up(&mut self, relay: RelayId, link: LinkId) -> Vec<Option<EventId>> {
        match self.lines.entry(relay) {
            Entry::Occupied(entry) if entry.get().link == link => entry.remove().unsent,
            _ => Vec::new(),
        }
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
                        standing.unsent.push(refused.into_inner().event);
                    }
                }
            }
            for (relay, link) in doing.cut.drain(..) {
                self.hang_up(relay, link);
            }
            for (client, reply) in doing.to_client.drain(..) {
                let Some(mailbox) = self.mailboxes.get(&client) else { continue };
                if !mailbox.post(reply) {
                    mailbox.close(CLOSE_TRY_LATER, "too slow: too much is waiting to be read");
                    self.mailboxes.remove(&client);
                    self.router.handle(now, Input::ClientLeft(client), &mut self.effects);
                }
            }
            let alone = self.idle && self.out == 0 && doing.verify.len() == 1;
            for job in doing.verify.drain(..) {
                // One that nobody stands behind is done sooner here than another thread wakes up.
                let here = alone && job.text.len() <= VERIFIED_HERE;
                let done = if here { Some(job.run()) } else { self.verifier.submit(job) };
                if let Some(verdict) = done {
                    self.router.handle(now, Input::Verified(verdict), &mut self.effects);
                } else {
                    self.out += 1;
                }
            }
            if let Some(batch) = doing.write.take() {
                self.shared.desk.write(batch);
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
    Verdict(Verdict<Errand>),
    ToRouter(ToRouter),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ticket::Ticket;
    use crate::nostr::keys::Keys;
    use crate::nostr::message::{ClientMessage, Reply};
    use crate::router::{Ending, Limits, Role, Said};

    /// The event is decided on and the connection is lost in the same round.
    #[tokio::test]
    async fn what_was_not_even_handed_over_did_not_leave() {
        let (shared, _queue) = Shared::new(Limits::default()).unwrap();
        let mut driver = Driver::new(&shared, 0);
        let now = driver.now();
        let take = |driver: &mut Driver, input| driver.take(now, Step::ToRouter(input));
        let stats = Arc::default();
        let set = Input::RelaySet {
            relay: RelayId(1),
            url: "ws://a".into(),
            read: true,
            write: true,
            stats,
        };
        take(&mut driver, ToRouter::Input(set));
        let (line, mut outgoing) = mpsc::channel(8);
        take(&mut driver, ToRouter::LinkUp(RelayId(1), LinkId(1), line));
        take(
            &mut driver,
            ToRouter::Input(Input::ClientJoined(ClientId(2), Role::Private, Arc::default())),
        );
        let keys = Keys::generate().unwrap();
        let event = keys.sign_event(now.unix, 1, &[], "hello").unwrap();
        let message = ClientMessage::parse(&format!("[\"EVENT\",{event}]"), 1);
        let said = Said { message, read: Some(now.mono), ticket: Ticket::default() };
        take(&mut driver, ToRouter::Input(Input::ClientSaid(ClientId(2), said)));
        let job = driver.effects.verify.pop().unwrap();
        driver.take(now, Step::Verdict(job.run()));
        let down = Input::LinkDown {
            relay: RelayId(1),
            link: LinkId(1),
            unsent: Vec::new(),
            heard: now.unix,
            how: Ending::Broken,
        };
        take(&mut driver, ToRouter::Input(down));
        assert!(matches!(
            driver.effects.to_client[..],
            [(ClientId(2), Reply::Ok { accepted: false, .. })]
        ));
        driver.carry_out(now);
        assert!(outgoing.try_recv().is_err());
    }
}
