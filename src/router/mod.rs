//! The router: every rule of `docs/rules.md`, as a state machine without sockets, clocks or threads.
//!
//! [`Router::handle`] takes one [`Input`] at a time and writes what is to be done into [`Effects`];
//! [`Router::next_deadline`] says when [`Router::tick`] is due if nothing else happens. Who moves the
//! bytes and keeps the time is [`crate::runtime`]; tests do it by hand.
//!
//! Each state has one keeper, whose fields are private. A keeper may touch those below it that its
//! function's parameters name, and no others; from the top down, those in a line know nothing of each
//! other:
//!
//! - `publishing`: EVENT and OK (rule 1)
//! - `outbox`: what no relay has taken yet (rule 2); `requests`: what relays are asked for subscriptions
//!   (rule 4.3), and the way back; `counting`: COUNT (rule 3.8)
//! - `subscriptions`: REQ, EOSE, CLOSED and what is delivered (rule 3), the local loop among it;
//!   `clients`: who is there, and who they say they are
//! - `relays`: their switches and connections, what is in line for those, who we are to them; `answers`:
//!   what may not be said of an event any more; `intake`: what is being verified
//!
//! The router itself says which input concerns whom (`from_relays`, `from_clients`, `to_relays`), and in
//! which order marks are drained ([`Keepers::drain`]).

mod answers;
mod clients;
mod counting;
mod from_clients;
mod from_relays;
mod input;
mod intake;
mod outbox;
mod publishing;
mod relays;
mod requests;
mod subscriptions;
mod terms;
#[cfg(test)]
mod tests;
mod to_relays;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::base::time::Now;
use crate::ids::Numbers;
use crate::nostr::event::EventId;
use crate::nostr::verify::Verdict;
use crate::stats::CoreStats;

use answers::Answers;
use clients::Clients;
use counting::Counting;
use intake::Intake;
use outbox::Outbox;
use publishing::{Means, Publishing};
use relays::Relays;
use requests::Requests;
use subscriptions::Subscriptions;
use turn::{Due, Timer, Timers, Turn};

pub(crate) use input::{Effects, Ending, Frame, Input, Outgoing, Said};
pub use subscriptions::{Index, Seen};
use terms::Purpose;
pub(crate) use terms::{
    Batch, EntryView, Errand, Limits, Reasons, Role, Row, Settings, State, Switches, Written,
};

/// The state. See the module's own page.
#[derive(Debug)]
pub(crate) struct Router {
    keepers: Keepers,
    due: Due,
    timers: Timers,
    numbers: Numbers,
    stats: Arc<CoreStats>,
}

/// All that is kept, side by side. Only here all of it is known at once.
#[derive(Debug)]
struct Keepers {
    relays: Relays,
    clients: Clients,
    answers: Answers,
    intake: Intake,
    subscriptions: Subscriptions,
    outbox: Outbox,
    requests: Requests,
    publishing: Publishing,
    counting: Counting,
}

impl Router {
    /// An empty one. `verify_depth`: how many events may be out for verification at a time.
    /// `secret`: of nobody else's knowledge, and never used for two routers with the same clients.
    pub(crate) fn new(
        limits: Limits,
        stats: Arc<CoreStats>,
        verify_depth: usize,
        secret: Secret,
    ) -> Self {
        let keepers = Keepers {
            relays: Relays::default(),
            clients: Clients::new(limits, secret),
            answers: Answers::default(),
            intake: Intake::new(verify_depth),
            subscriptions: Subscriptions::default(),
            outbox: Outbox::default(),
            requests: Requests::default(),
            publishing: Publishing::default(),
            counting: Counting::default(),
        };
        let (due, timers, numbers) = (Due::default(), Timers::default(), Numbers::default());
        Self { keepers, due, timers, numbers, stats }
    }

    /// Takes one input and says what follows from it.
    pub(crate) fn handle(&mut self, now: Now, input: Input, effects: &mut Effects) {
        self.turn(now, effects, |keepers, turn| keepers.take(input, turn));
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Now, effects: &mut Effects) {
        self.turn(now, effects, |keepers, turn| {
            while let Some(timer) = turn.timers.pop(now.mono) {
                keepers.ring(timer, turn);
                keepers.drain_told(turn);
            }
        });
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        [self.timers.next(), self.keepers.outbox.due()].into_iter().flatten().min()
    }

    /// What is in the outbox: what waits, in order, then what was rejected.
    pub(crate) fn outbox_view(&self) -> Vec<EntryView> {
        self.keepers.outbox.view()
    }

    /// Tries an event of the outbox again, a rejected one too, at every relay. False: it is not there.
    pub(crate) fn outbox_retry(&mut self, now: Now, id: &EventId, effects: &mut Effects) -> bool {
        self.turn(now, effects, |keepers, turn| {
            keepers.relays.forgive(id);
            keepers.outbox.retry(id, &keepers.relays, turn)
        })
    }

    /// Removes an event from the outbox for good. False: it is not there, or not answered yet.
    pub(crate) fn outbox_delete(&mut self, now: Now, id: &EventId, effects: &mut Effects) -> bool {
        self.turn(now, effects, |keepers, _| {
            keepers.outbox.delete(id, &mut keepers.answers, &mut keepers.relays)
        })
    }

    /// One turn: something is done, what it has marked is looked at, and what is waiting outside gets
    /// its next piece of work.
    fn turn<R>(
        &mut self,
        now: Now,
        effects: &mut Effects,
        what: impl FnOnce(&mut Keepers, &mut Turn<'_>) -> R,
    ) -> R {
        let Self { keepers, due, timers, numbers, stats } = self;
        let mut turn = Turn { now, effects, due, timers, numbers, stats };
        let result = what(keepers, &mut turn);
        keepers.drain(&mut turn);
        keepers.intake.hand_out(&mut turn);
        keepers.outbox.hand_out_batch(&mut turn);
        stats.clients.set(keepers.clients.len());
        stats.subscriptions.set(keepers.subscriptions.len());
        stats.pending_events.set(keepers.publishing.unanswered());
        result
    }
}

impl Keepers {
    /// Looks at all that was marked, until nothing is left. After each step it begins again with the
    /// first that is marked:
    ///
    /// 1. [`Self::shut_out`]: who is to be shut out is, before anything is sent or delivered
    /// 2. [`Self::tell_relays`]: what has been decided leaves for the relays; a REQ has gone out before
    ///    anybody asks whether its EOSE is due
    /// 3. [`Self::tell_clients`]: events, then EOSE
    /// 4. events that wait for a place among the unanswered ones get what has become free by now
    fn drain(&mut self, turn: &mut Turn<'_>) {
        while self.shut_out(turn)
            || self.tell_relays(turn)
            || self.tell_clients(turn)
            || self.admit_next(turn)
        {}
    }

    /// The same between two things that a relay says, for what they lead to at the clients: each finds
    /// done what the one before it has led to. What they lead to at relays follows from all of them.
    fn drain_told(&mut self, turn: &mut Turn<'_>) {
        while self.shut_out(turn) || self.tell_clients(turn) {}
    }

    /// One step, if one is marked:
    ///
    /// 1. `cut`: of a connection that is to end nothing more is taken
    /// 2. `readers`: public clients have no part in what is for the owner
    fn shut_out(&mut self, turn: &mut Turn<'_>) -> bool {
        if let Some((relay, (kind, why))) = turn.due.cut.pop_first() {
            self.cut(relay, kind, why, turn);
        } else if let Some(relay) = turn.due.readers.pop_first() {
            self.readers_changed(relay, turn);
        } else {
            return false;
        }
        true
    }

    /// One step, if one is marked:
    ///
    /// 1. `unsent`: what a line has dropped is decided on before more is put in line
    /// 2. `plan`, then `flush`: REQs go before what the outbox has for the same connection
    /// 3. `taken`: what a relay has taken is to come back
    /// 4. `sweep`, then `send`: what leaves leaves when all of it is in line, and may still be taken back
    ///    until then
    fn tell_relays(&mut self, turn: &mut Turn<'_>) -> bool {
        if let Some((relay, event, audience)) = turn.due.unsent.pop_front() {
            self.not_sent(relay, &event, audience, turn);
        } else if let Some(relay) = turn.due.plan.pop_first() {
            self.requests.plan(relay, &mut self.subscriptions, &mut self.relays, turn);
        } else if let Some(relay) = turn.due.flush.pop_first() {
            self.outbox.flush(relay, &mut self.answers, &mut self.relays, turn);
        } else if let Some((relay, event)) = turn.due.taken.pop_front() {
            self.requests.expect_echo(relay, &event, &mut self.subscriptions, turn);
        } else if let Some(relay) = turn.due.sweep.pop_first() {
            self.sweep(relay);
        } else if let Some(relay) = turn.due.send.pop_first() {
            self.send(relay, turn);
        } else {
            return false;
        }
        true
    }

    /// One step, if one is marked:
    ///
    /// 1. `arrivals`: events are delivered, or held, in the order a relay has sent them …
    /// 2. `release`: … and what is held goes before the EOSE …
    /// 3. `eose`: … which is looked at when nothing can come before it any more; so is a CLOSED
    /// 4. `counts`: the same for the answer to a COUNT
    fn tell_clients(&mut self, turn: &mut Turn<'_>) -> bool {
        let Self { requests, subscriptions, relays, .. } = self;
        if let Some((relay, number)) = turn.due.arrivals.pop_first() {
            requests.look_at_arrivals(relay, number, subscriptions, relays, turn);
        } else if let Some(key) = turn.due.release.pop_first() {
            subscriptions.release(key, turn);
        } else if let Some(key) = turn.due.eose.pop_first() {
            self.look_at_eose(key, turn);
        } else if let Some(number) = turn.due.counts.pop_first() {
            let ended = self.counting.look(number, &mut self.relays, turn);
            self.count_ended(ended, turn);
        } else {
            return false;
        }
        true
    }

    fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        match input {
            Input::RelaySet { relay, url, read, write, stats } => {
                self.set_relay(relay, &url, Switches { read, write }, stats, turn);
            }
            Input::RelayKey(relay, key) => self.relays.set_key(relay, key, turn),
            Input::RelayLimits(relay, limits) => self.set_limits(relay, limits, turn),
            Input::RelaySibling(relay, sibling) => self.set_sibling(relay, sibling, turn),
            Input::RelayRemoved(relay) => self.remove_relay(relay, turn),
            Input::LinkUp(relay, link) => self.link_up(relay, link, turn),
            Input::LinkWrote(relay, link, count) => {
                self.relays.link_wrote(relay, link, count, turn);
            }
            Input::LinkDown { relay, link, unsent, heard, how } => {
                self.link_down(relay, link, &unsent, heard, how, turn);
            }
            Input::LinkFailed(relay) => {
                self.relays.link_failed(relay);
                self.subscriptions.relay_away(relay, turn);
            }
            Input::RelaySaid(relay, link, frames) => {
                for frame in frames {
                    if self.relays.link(relay) != Some(link) {
                        return;
                    }
                    self.relay_said(relay, frame, turn);
                    self.drain_told(turn);
                }
            }
            Input::ClientJoined(client, role, stats) => {
                self.clients.join(client, role, stats, turn);
            }
            Input::ClientReached(client, hosts) => self.clients.reached(client, &hosts),
            Input::ClientRelays(client, relays) => self.name_relays(client, &relays, turn),
            Input::ClientSaid(client, said) => self.client_said(client, said, turn),
            Input::ClientLeft(client) => self.client_left(client, turn),
            Input::Verified(verdict) => self.verified(verdict, turn),
            Input::Settings(Settings { outbox_size, public_reads, public_allowed }) => {
                self.outbox.set_size(outbox_size);
                self.relays.set_public_reads(public_reads, turn);
                self.allow(public_allowed, turn);
            }
            Input::OutboxLease(lease) => self.outbox.set_lease(lease, &self.relays, turn),
            Input::OutboxRows(rows) => {
                for row in &rows {
                    self.publishing.positions_from(row.position);
                }
                self.outbox.adopt(rows, &mut self.answers, &mut self.relays, turn);
            }
            Input::OutboxGone(ids) => self.outbox.let_go(&ids, &mut self.relays),
            Input::OutboxWritten(number, result) => {
                self.outbox.batch_written(
                    number,
                    result,
                    &mut self.answers,
                    &mut self.relays,
                    turn,
                );
            }
        }
    }

    /// A time has come.
    fn ring(&mut self, timer: Timer, turn: &mut Turn<'_>) {
        match timer {
            Timer::Eose(key) => _ = turn.due.eose.insert(key),
            Timer::Count(number) => {
                let ended = self.counting.deadline(number, &mut self.relays, turn);
                self.count_ended(ended, turn);
            }
            Timer::Answer(id, audience) => self.publish(turn, |publishing, means| {
                publishing.answer_deadline(&id, audience, means);
            }),
            Timer::Unsent(id) => self.publish(turn, |publishing, means| {
                publishing.unsent_deadline(&id, means);
            }),
            Timer::Write(id) => {
                self.outbox.write_deadline(&id, &mut self.answers, &mut self.relays, turn);
            }
            Timer::Outbox => self.outbox.look(&mut self.answers, &mut self.relays, turn),
            Timer::Plan(relay) => self.requests.plan_due(relay, &mut self.subscriptions, turn),
            Timer::Request(relay, number) => {
                let Self { requests, subscriptions, relays, .. } = self;
                requests.look_at_request(relay, number, subscriptions, relays, turn);
            }
            Timer::Echo(relay, number) => {
                self.requests.echo_due(relay, number, turn);
            }
            Timer::Refused(relay, key) => {
                self.requests.ask_refused(relay, key, &mut self.subscriptions, turn);
            }
            Timer::Crowd(relay) => {
                let Self { requests, subscriptions, relays, .. } = self;
                requests.crowd_settles(relay, subscriptions, relays, turn);
            }
            Timer::Pace(relay) => {
                let Self { requests, subscriptions, relays, .. } = self;
                requests.pace_due(relay, subscriptions, relays, turn);
            }
            Timer::Census(relay) => {
                self.requests.count(relay, &self.subscriptions, &self.relays, turn);
            }
            Timer::Retired(relay, number) => self.requests.drop_retired(relay, number, turn),
            Timer::Suspect(relay) => self.relays.try_suspect(relay, turn),
            Timer::SignIn(relay) => {
                self.relays.sign_in_deadline(relay, turn);
                self.refuse_deferred(relay, turn);
            }
        }
    }

    fn verified(&mut self, verdict: Verdict<Errand>, turn: &mut Turn<'_>) {
        self.intake.came_back();
        let Verdict { tag: Errand(purpose), result } = verdict;
        match &result {
            Ok(_) => turn.stats.verified.add(),
            Err(_) => turn.stats.forged.add(),
        }
        match (purpose, result) {
            (Purpose::Published { client, id, position, read, ticket: _ticket }, result) => {
                self.published(client, id, position, read, result, turn);
            }
            (Purpose::Auth(client, id, _ticket), result) => {
                self.signed_in(client, id, &result, turn);
            }
            (Purpose::Incoming(_, copy), Ok(event)) => self.came_true(&copy, &event, turn),
            (Purpose::Incoming(id, copy), Err(error)) => {
                let Self { intake, requests, subscriptions, relays, .. } = self;
                relays.forged(copy.relay, &error, turn);
                requests.verdict(copy.relay, copy.expected, None, subscriptions, relays, turn);
                intake.found_forged(id, |copy| requests.contains(copy.relay, copy.expected.number));
            }
        }
    }

    /// Something happens to what is published.
    fn publish<R>(
        &mut self,
        turn: &mut Turn<'_>,
        what: impl FnOnce(&mut Publishing, &mut Means<'_, '_>) -> R,
    ) -> R {
        let Self { publishing, answers, outbox, relays, .. } = self;
        what(publishing, &mut Means { answers, outbox, relays, turn })
    }

    fn admit_next(&mut self, turn: &mut Turn<'_>) -> bool {
        self.publish(turn, Publishing::admit_next)
    }
}
