//! The router: every rule of `docs/rules.md`, as a state machine without sockets, clocks or threads.
//!
//! [`Router::handle`] takes one [`Input`] at a time and writes what is to be done into [`Effects`];
//! [`Router::next_deadline`] says when [`Router::tick`] is due if nothing else happens. Who moves the
//! bytes and keeps the time is [`crate::runtime`]; tests do it by hand.
//!
//! Each state has one owner, whose fields are private. From the bottom up, each may touch those before
//! it that stand in a function's parameters, and no others:
//!
//! - `relays`: their switches and connections, what is in line for those, who we are to them
//! - `clients`: who is there, and who they say they are
//! - `answers`: what may not be said of an event any more
//! - `intake`: what is being verified
//! - `subscriptions`: REQ, EOSE, CLOSED and what is delivered (rule 3), the local loop among it
//! - `outbox`: what no relay has taken yet (rule 2)
//! - `requests`: what relays are asked for subscriptions (rule 4.3), and the way back
//! - `publishing`: EVENT and OK (rule 1)
//! - `counting`: COUNT (rule 3.8)
//!
//! The router itself, in this file alone, says which input concerns whom, and in which order marks are
//! drained ([`Router::drain`]).

mod answers;
mod clients;
mod counting;
mod input;
mod intake;
mod outbox;
mod publishing;
mod relays;
mod requests;
mod subscriptions;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::secret::Secret;
use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::base::time::Now;
use crate::ids::{ClientId, LinkId, Numbers, Position, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, EventError, EventId, KIND_AUTH, is_ephemeral};
use crate::nostr::filter::Filter;
use crate::nostr::message::{self, ClientMessage, Hint, RelayNews, Reply, Resumed};
use crate::nostr::reason::{Prefix, Reason};
use crate::nostr::verify::Verdict;
use crate::stats::{CoreStats, RelayStats};

use answers::{Answers, accept};
use clients::{Clients, Hearing};
use counting::{Counting, Question};
use intake::{Intake, Purpose, RelayCopy};
use outbox::Outbox;
use publishing::{Means, Publishing, Word};
use relays::{Answered, Relays, Work};
use requests::{Arrival, Incoming, Requests};
use subscriptions::{Look, Opening, Subscription, Subscriptions};
use turn::{Due, Timer, Timers, Turn};

pub(crate) use clients::{Limits, Role};
pub(crate) use input::{Effects, Frame, Input, Outgoing};
pub(crate) use intake::Tag;
pub(crate) use outbox::{Batch, EntryView, Reasons, Row, State, Stored};
pub(crate) use relays::Switches;
pub use subscriptions::{Index, Seen};

/// The state. See the module's own page.
#[derive(Debug)]
pub(crate) struct Router {
    owners: Owners,
    due: Due,
    timers: Timers,
    numbers: Numbers,
    stats: Arc<CoreStats>,
}

/// Everything that has an owner, side by side. Only here are two known at once.
#[derive(Debug)]
struct Owners {
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
        let owners = Owners {
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
        Self { owners, due, timers, numbers, stats }
    }

    /// Takes one input and says what follows from it.
    pub(crate) fn handle(&mut self, now: Now, input: Input, effects: &mut Effects) {
        self.turn(now, effects, |owners, turn| owners.take(input, turn));
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Now, effects: &mut Effects) {
        self.turn(now, effects, |owners, turn| {
            while let Some(timer) = turn.timers.pop(now.mono) {
                owners.ring(timer, turn);
            }
        });
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        [self.timers.next(), self.owners.outbox.due()].into_iter().flatten().min()
    }

    /// What is in the outbox: what waits, in order, then what was rejected.
    pub(crate) fn outbox_view(&self) -> Vec<EntryView> {
        self.owners.outbox.view()
    }

    /// Tries an event of the outbox again, a rejected one too, at every relay. False: it is not there.
    pub(crate) fn outbox_retry(&mut self, now: Now, id: &EventId, effects: &mut Effects) -> bool {
        self.turn(now, effects, |owners, turn| owners.outbox.retry(id, &owners.relays, turn))
    }

    /// Removes an event from the outbox for good. False: it is not there, or not answered yet.
    pub(crate) fn outbox_delete(&mut self, now: Now, id: &EventId, effects: &mut Effects) -> bool {
        self.turn(now, effects, |owners, _| {
            owners.outbox.delete(id, &mut owners.answers, &mut owners.relays)
        })
    }

    /// One turn: something is done, what it has marked is looked at, and what is waiting outside gets
    /// its next piece of work.
    fn turn<R>(
        &mut self,
        now: Now,
        effects: &mut Effects,
        what: impl FnOnce(&mut Owners, &mut Turn<'_>) -> R,
    ) -> R {
        let Self { owners, due, timers, numbers, stats } = self;
        let mut turn = Turn { now, effects, due, timers, numbers, stats };
        let result = what(owners, &mut turn);
        owners.drain(&mut turn);
        owners.intake.hand_out(&mut turn);
        owners.outbox.hand_out_batch(&mut turn);
        stats.clients.set(owners.clients.len());
        stats.subscriptions.set(owners.subscriptions.len());
        stats.unanswered.set(owners.publishing.unanswered());
        result
    }
}

impl Owners {
    // --- The order ------------------------------------------------------------------------

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
        if let Some((relay, why)) = turn.due.cut.pop() {
            self.cut(relay, why, turn);
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
    /// 3. `sweep`, then `send`: what leaves leaves when all of it is in line, and may still be taken back
    ///    until then
    fn tell_relays(&mut self, turn: &mut Turn<'_>) -> bool {
        if let Some((relay, event)) = turn.due.unsent.pop() {
            self.not_sent(relay, &event, turn);
        } else if let Some(relay) = turn.due.plan.pop_first() {
            self.requests.plan(relay, &mut self.subscriptions, &mut self.relays, turn);
        } else if let Some(relay) = turn.due.flush.pop_first() {
            self.outbox.flush(relay, &mut self.answers, &mut self.relays, turn);
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

    // --- What comes in --------------------------------------------------------------------

    fn take(&mut self, input: Input, turn: &mut Turn<'_>) {
        match input {
            Input::RelaySet { relay, url, read, write, stats } => {
                self.set_relay(relay, &url, Switches { read, write }, stats, turn);
            }
            Input::RelayKey(relay, key) => self.relays.set_key(relay, key, turn),
            Input::RelayLimits(relay, limits) => {
                if self.relays.set_limits(relay, limits) {
                    turn.due.plan.insert(relay); // there may be more places at it, or fewer
                }
            }
            Input::RelayRemoved(relay) => self.remove_relay(relay, turn),
            Input::LinkUp(relay, link) => self.link_up(relay, link, turn),
            Input::LinkWrote(relay, link, count) => {
                self.relays.link_wrote(relay, link, count, turn);
            }
            Input::LinkDown { relay, link, unsent, heard } => {
                self.link_down(relay, link, unsent, heard, turn);
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
            Input::PublicAllowed(keys) => self.allow(keys, turn),
            Input::ClientRelays(client, relays) => self.name_relays(client, &relays, turn),
            Input::ClientSaid(client, message, ticket) => {
                self.client_said(client, message, ticket, turn);
            }
            Input::ClientLeft(client) => self.client_left(client, turn),
            Input::Verified(verdict) => self.verified(verdict, turn),
            Input::OutboxSize(size) => self.outbox.set_size(size),
            Input::PublicReads(on) => self.relays.set_public_reads(on, turn),
            Input::OutboxLease(lease) => self.outbox.set_lease(lease, &self.relays, turn),
            Input::OutboxRows(rows) => {
                for row in &rows {
                    self.publishing.positions_from(row.position);
                }
                self.outbox.adopt(rows, &mut self.answers, &mut self.relays, turn);
            }
            Input::OutboxGone(ids) => self.outbox.let_go(&ids, &mut self.relays),
            Input::OutboxStored(number, result) => {
                self.outbox.stored(number, result, &mut self.answers, &mut self.relays, turn);
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
            Timer::Store(id) => {
                self.outbox.store_deadline(&id, &mut self.answers, &mut self.relays, turn);
            }
            Timer::Outbox => self.outbox.look(&mut self.answers, &mut self.relays, turn),
            Timer::Plan(relay) => self.requests.plan_due(relay, &mut self.subscriptions, turn),
            Timer::Retired(relay, number) => self.requests.drop_retired(relay, number, turn),
            Timer::SignIn(relay) => {
                self.relays.sign_in_deadline(relay, turn);
                self.refuse_deferred(relay, turn);
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

    // --- Relays ---------------------------------------------------------------------------

    fn set_relay(
        &mut self,
        id: RelayId,
        url: &Arc<str>,
        switches: Switches,
        stats: Arc<RelayStats>,
        turn: &mut Turn<'_>,
    ) {
        let changed = self.relays.set(id, url, switches, stats, turn);
        if changed.write {
            self.outbox.judge_all(&mut self.answers, &mut self.relays, turn);
            turn.due.flush.insert(id);
        }
        if changed.read {
            self.add_readers(id, |_| true, turn);
            self.drop_parts(id, |subscription| !subscription.wants(id, switches.read), turn);
        }
    }

    fn remove_relay(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.publish(turn, |publishing, means| publishing.relay_lost(id, &[], means));
        self.outbox.relay_lost(id, &[], turn);
        self.requests.lose(id, &self.subscriptions, turn);
        self.relays.end_sign_in(id, turn);
        self.relays.remove(id);
        self.counting.relay_lost(id, turn);
        self.counting.forget(id);
        self.drop_parts(id, |_| true, turn);
        self.outbox.judge_all(&mut self.answers, &mut self.relays, turn);
    }

    fn link_up(&mut self, id: RelayId, link: LinkId, turn: &mut Turn<'_>) {
        let Some(missed) = self.relays.link_up(id, link) else { return };
        self.requests.link_up(id, turn);
        self.requests.want_all(id, &mut self.subscriptions, turn);
        for event in missed {
            if event.expiration().is_none_or(|at| at > turn.now.unix) {
                self.relays.send_event(id, &event, publishing::Audience::Owners, turn);
            }
        }
        turn.due.flush.insert(id);
        self.clients.tell_inside(id, &RelayNews::Connected, &self.relays, turn);
    }

    fn link_down(
        &mut self,
        id: RelayId,
        link: LinkId,
        mut unsent: Vec<EventId>,
        heard: u64,
        turn: &mut Turn<'_>,
    ) {
        let Some(lost) = self.relays.link_down(id, link) else { return };
        unsent.extend(lost.unsent);
        let mut missed = lost.missed;
        // What is still open is decided below, and by the outbox.
        missed.retain(|event| {
            !self.publishing.is_open(event.id()) && !self.outbox.contains(event.id())
        });
        self.publish(turn, |publishing, means| publishing.relay_lost(id, &unsent, means));
        self.outbox.relay_lost(id, &unsent, turn);
        for event in missed {
            self.relays.spread(&event, &[id], turn);
        }
        self.requests.lose(id, &self.subscriptions, turn);
        self.subscriptions.relay_lost(id, heard, turn);
        self.relays.end_sign_in(id, turn);
        self.counting.relay_lost(id, turn);
    }

    fn cut(&mut self, id: RelayId, why: &str, turn: &mut Turn<'_>) {
        let Some(link) = self.relays.link(id) else { return };
        self.relays.note(id, why, turn);
        turn.effects.cut.push((id, link));
        self.link_down(id, link, Vec::new(), turn.now.unix, turn);
    }

    /// Subscriptions that want this relay, and may see it, have a part in it from now on.
    fn add_readers(
        &mut self,
        id: RelayId,
        which: impl Fn(&Subscription) -> bool,
        turn: &mut Turn<'_>,
    ) {
        let (read, barred) = (self.relays.is_read(id), self.relays.bars_public(id));
        let wants = |subscription: &Subscription| {
            let barred = barred && subscription.role() == Role::Public;
            which(subscription) && subscription.wants(id, read) && !barred
        };
        self.subscriptions.add_relay(id, wants, turn);
        self.requests.want_all(id, &mut self.subscriptions, turn);
    }

    /// The relay serves these subscriptions no more, by the owner's will.
    fn drop_parts(
        &mut self,
        id: RelayId,
        which: impl Fn(&Subscription) -> bool,
        turn: &mut Turn<'_>,
    ) {
        let Self { requests, subscriptions, relays, .. } = self;
        for (key, part) in subscriptions.leave(id, which, turn) {
            requests.leave(key, &part, subscriptions, relays, turn);
        }
    }

    /// Public clients may read from this relay no more, or again.
    fn readers_changed(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        let is_public = |subscription: &Subscription| subscription.role() == Role::Public;
        if self.relays.bars_public(id) {
            self.drop_parts(id, is_public, turn);
        } else {
            self.add_readers(id, is_public, turn);
        }
    }

    /// The relay does not know who we are: what waited for that is refused.
    fn refuse_deferred(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.requests.refuse_deferred(id, &mut self.subscriptions, &self.relays, turn);
        self.publish(turn, |publishing, means| publishing.refuse_deferred(id, means));
    }

    /// The relay knows who we are: all that it has refused for want of that goes again.
    fn send_deferred(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.requests.ask_deferred(id, &mut self.subscriptions, turn);
        self.publishing.send_deferred(id, &self.outbox, &mut self.relays, turn);
        self.outbox.retry_deferred(id, &self.relays, turn);
    }

    /// Gives the connection what it takes.
    fn send(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        while let Some(work) = self.relays.next_work(id) {
            let outgoing = match work {
                Work::Ask(number) => self.req(id, number, turn),
                Work::Count(number) => self.count_text(id, number),
                Work::AskOnce(text) => Some(Outgoing { text, event: None }),
                Work::Close(number) => Some(Outgoing { text: message::close(number), event: None }),
                Work::Publish { event, until, .. } => self.event(id, event, until, turn),
            };
            if let Some(outgoing) = outgoing {
                self.relays.send(id, outgoing, turn);
            }
        }
        if self.relays.wants_more(id) {
            turn.due.flush.insert(id);
        }
    }

    fn req(&mut self, id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) -> Option<Outgoing> {
        if !self.requests.contains(id, number) {
            self.relays.skipped(id);
        }
        match self.requests.text(id, number, &mut self.subscriptions, &self.relays, turn) {
            Ok(text) => text.map(|text| Outgoing { text, event: None }),
            Err(too_long) => {
                self.requests.not_sent(id, number, too_long, turn);
                None
            }
        }
    }

    fn count_text(&mut self, id: RelayId, number: RequestNumber) -> Option<Outgoing> {
        if !self.counting.contains(number) {
            self.relays.skipped(id);
        }
        let text = self.counting.text(id, number, &self.relays)?;
        Some(Outgoing { text, event: None })
    }

    fn event(
        &mut self,
        id: RelayId,
        event: Arc<Event>,
        until: Duration,
        turn: &mut Turn<'_>,
    ) -> Option<Outgoing> {
        if is_ephemeral(event.kind()) && turn.now.mono > until {
            turn.due.unsent.push((id, *event.id()));
            return None;
        }
        self.publishing.sent(id, event.id());
        let text = message::publish(&event);
        let most = self.relays.limits(id).max_message_length;
        if most.is_some_and(|most| text.len() > most) {
            // What it would only refuse is not sent: its own document says so.
            let why = Reason::new(Prefix::Restricted, "longer than the relay takes");
            let word = Word { accepted: false, why: &why };
            self.publish(turn, |publishing, means| {
                publishing.relay_ok(id, event.id(), word, means);
            });
            return None;
        }
        let sent = Some(*event.id());
        self.relays.in_flight(id, event);
        Some(Outgoing { text, event: sent })
    }

    fn sweep(&mut self, id: RelayId) {
        let Self { relays, requests, counting, .. } = self;
        relays.sweep(id, |work| match work {
            Work::Ask(number) => requests.contains(id, *number),
            Work::Count(number) => counting.contains(*number),
            _ => true,
        });
    }

    /// A relay's line has dropped an event before it was sent.
    fn not_sent(&mut self, id: RelayId, event: &EventId, turn: &mut Turn<'_>) {
        let open = self.publish(turn, |publishing, means| publishing.dropped(id, event, means));
        if !open && !self.outbox.dropped(id, event, turn) {
            self.relays.count(id, |stats| &stats.backlog_dropped);
        }
    }

    // --- What relays say ------------------------------------------------------------------

    fn relay_said(&mut self, id: RelayId, frame: Frame, turn: &mut Turn<'_>) {
        match frame {
            Frame::Event { number, id: event, json, ticket } => {
                self.relay_event(id, number, event, &json, ticket, turn);
            }
            Frame::Eose(Some(number), hint) => {
                if self.outbox.question_answered(id, number, turn) {
                    self.relays.push(id, Work::Close(number), turn);
                } else {
                    self.requests.arrived(id, number, Arrival::Eose(hint), turn);
                }
            }
            Frame::Count(number, counted) => {
                self.counting.answered(id, number, counted, &mut self.relays, turn);
            }
            Frame::Closed(Some(number), why) if self.counting.contains(number) => {
                self.counting.closed(id, number, &why, &self.relays, turn);
            }
            Frame::Closed(Some(number), why) => {
                if !self.outbox.question_answered(id, number, turn) {
                    self.requests.arrived(id, number, Arrival::Closed(why), turn);
                }
            }
            Frame::Ok(event, accepted, why) => self.relay_ok(id, &event, accepted, &why, turn),
            Frame::Auth(challenge) => self.relays.challenged(id, challenge, turn),
            Frame::Notice(text) => {
                self.requests.notice_of_crowd(id, &text, turn);
                self.clients.tell_inside(id, &RelayNews::Notice(text.into()), &self.relays, turn);
                self.relays.junk(id, turn);
            }
            Frame::Eose(None, _) | Frame::Closed(None, _) | Frame::Junk => {
                self.relays.junk(id, turn);
            }
        }
    }

    fn relay_ok(
        &mut self,
        id: RelayId,
        event: &EventId,
        accepted: bool,
        why: &Reason,
        turn: &mut Turn<'_>,
    ) {
        match self.relays.auth_answered(id, event, accepted, why, turn) {
            Answered::OtherEvent => self.publish(turn, |publishing, means| {
                publishing.relay_ok(id, event, Word { accepted, why }, means);
            }),
            Answered::Nothing => {}
            Answered::Known => self.send_deferred(id, turn),
            Answered::Refused => self.refuse_deferred(id, turn),
        }
    }

    fn relay_event(
        &mut self,
        id: RelayId,
        number: Option<RequestNumber>,
        event: EventId,
        json: &Text,
        ticket: Ticket,
        turn: &mut Turn<'_>,
    ) {
        if self.publishing.concerns(id, &event) {
            // What it passes on it has, whatever it may say later: a claimed id is its word, as an
            // OK is.
            let word = Word { accepted: true, why: &Reason::none() };
            self.publish(turn, |publishing, means| publishing.relay_ok(id, &event, word, means));
        }
        self.relays.count(id, |stats| &stats.received);
        turn.stats.received.add();
        // A number given out before may be of a request just closed, with events under way.
        let Some(number) = number.filter(|number| turn.numbers.gave(*number)) else {
            self.relays.count(id, |stats| &stats.unasked);
            return self.relays.junk(id, turn);
        };
        let Self { requests, subscriptions, relays, .. } = self;
        let expected = match requests.incoming(id, number, &event, json, subscriptions, turn) {
            Incoming::NoRequest => {
                return self.outbox.found(id, number, &event, &mut self.answers, relays, turn);
            }
            Incoming::Unasked => return relays.count(id, |stats| &stats.unasked),
            Incoming::Copy => return relays.count(id, |stats| &stats.duplicates),
            Incoming::Expected(expected) => expected,
        };
        let copy = RelayCopy { relay: id, expected, _ticket: ticket };
        if let Some((copy, event)) = self.intake.take_copy(event, copy, json) {
            requests.verdict(id, copy.expected, Some(&event), subscriptions, relays, turn);
        }
    }

    // --- Verdicts -------------------------------------------------------------------------

    fn verified(&mut self, verdict: Verdict<Tag>, turn: &mut Turn<'_>) {
        self.intake.came_back();
        let Verdict { tag: Tag(purpose), result } = verdict;
        match &result {
            Ok(_) => turn.stats.verified.add(),
            Err(_) => turn.stats.forged.add(),
        }
        match (purpose, result) {
            (Purpose::Published(client, id, position, _ticket), result) => {
                self.published(client, id, position, result, turn);
            }
            (Purpose::Auth(client, id, _ticket), result) => {
                self.signed_in(client, id, &result, turn);
            }
            (Purpose::Incoming(_, copy), Ok(event)) => self.came_true(&copy, &event, turn),
            (Purpose::Incoming(id, copy), Err(error)) => {
                let Self { intake, requests, subscriptions, relays, .. } = self;
                relays.forged(copy.relay, &error, turn);
                requests.verdict(copy.relay, copy.expected, None, subscriptions, relays, turn);
                intake
                    .found_forged(id, |copy| requests.contains(copy.relay, copy.expected.number()));
            }
        }
    }

    /// A relay's copy of an event was found true.
    fn came_true(&mut self, copy: &RelayCopy, event: &Arc<Event>, turn: &mut Turn<'_>) {
        let Self { relays, answers, intake, subscriptions, outbox, requests, .. } = self;
        outbox.drop_voided_by(event, answers, relays, turn);
        requests.verdict(copy.relay, copy.expected, Some(event), subscriptions, relays, turn);
        // Who has it by this needs no other copy verified.
        let number = copy.expected.number();
        requests.look_at_arrivals(copy.relay, number, subscriptions, relays, turn);
        let same = intake.found_true(event, |copy| {
            requests.lacks(copy.relay, copy.expected.number(), event.id(), subscriptions)
        });
        for copy in same {
            requests.verdict(copy.relay, copy.expected, Some(event), subscriptions, relays, turn);
        }
    }

    /// The verdict on a client's EVENT.
    fn published(
        &mut self,
        client: ClientId,
        id: Option<EventId>,
        position: Position,
        result: Result<Arc<Event>, EventError>,
        turn: &mut Turn<'_>,
    ) {
        let event = match result {
            Ok(event) => event,
            Err(error) => {
                let why = Reason::new(Prefix::Invalid, error);
                let reply = match id {
                    Some(id) => Reply::Ok { id, accepted: false, why },
                    None => Reply::Notice(why.to_string()),
                };
                return turn.tell(client, reply);
            }
        };
        turn.stats.published.add();
        self.clients.published(client);
        let refusal = if event.kind() == KIND_AUTH {
            "kind 22242 is for authentication and never published"
        } else if event.expiration().is_some_and(|at| at <= turn.now.unix) {
            "expired"
        } else if let Some(why) = self.clients.not_its_author(client, &event, turn) {
            return self.refuse_unread(client, *event.id(), &why, turn);
        } else {
            return self.publish_true(client, event, position, turn);
        };
        let refusal = Reason::new(Prefix::Invalid, refusal);
        self.publish(turn, |_, means| means.refuse(&[client], *event.id(), &refusal));
    }

    /// A true event that its client may publish.
    fn publish_true(
        &mut self,
        client: ClientId,
        event: Arc<Event>,
        position: Position,
        turn: &mut Turn<'_>,
    ) {
        let publisher = self.clients.get(client);
        if let Some(named) = publisher.and_then(|publisher| publisher.relays()) {
            let relays = &mut self.relays;
            return self.publishing.publish_named(client, &event, named, position, relays, turn);
        }
        self.intake.note(&event);
        // One inside stands for any number of extensions, which pay each other too.
        let many = publisher.is_some_and(|publisher| publisher.role() == Role::Inside);
        if self.subscriptions.hand_over(client, many, &event, turn) {
            self.answers.remember_here(*event.id());
        }
        self.publish(turn, |publishing, means| {
            publishing.take_in(client, event, position, means);
        });
    }

    /// An EVENT that is refused for who sent it, or not even looked at. The event of that id may be in
    /// good hands all the same.
    fn refuse_unread(&mut self, client: ClientId, id: EventId, why: &Reason, turn: &mut Turn<'_>) {
        self.publish(turn, |publishing, means| {
            if !publishing.join(client, &id, means.outbox, means.turn) {
                means.refuse(&[client], id, why);
            }
        });
    }

    /// The verdict on a client's AUTH.
    fn signed_in(
        &mut self,
        client: ClientId,
        id: EventId,
        result: &Result<Arc<Event>, EventError>,
        turn: &mut Turn<'_>,
    ) {
        let Some((judged, was_last)) = self.clients.signed_in(client, result, turn.now) else {
            return;
        };
        match judged {
            Ok(()) => accept(&[client], id, &Reason::none(), turn),
            // Some other event may have been sent by mistake, and be in good hands.
            Err(why) => self.refuse_unread(client, id, &why, turn),
        }
        if was_last {
            self.hear_out(client, turn);
        }
    }

    // --- Clients --------------------------------------------------------------------------

    /// The owner has changed his list. Who is not on it any more loses its subscriptions.
    fn allow(&mut self, keys: Vec<[u8; 32]>, turn: &mut Turn<'_>) {
        self.clients.set_allowed(keys);
        for (client, why) in self.clients.all_barred(turn) {
            for id in self.clients.subscriptions(client) {
                self.unsubscribe(client, &id, turn);
                turn.tell(client, Reply::Closed { id, why: why.clone() });
            }
        }
    }

    /// A client inside names its relays: its subscriptions leave the others, and go on at those.
    fn name_relays(&mut self, client: ClientId, named: &[RelayId], turn: &mut Turn<'_>) {
        let Some(before) = self.clients.name_relays(client, named) else { return };
        self.subscriptions.name_relays(client, named, turn);
        for relay in before.iter().filter(|relay| !named.contains(relay)) {
            self.drop_parts(*relay, |subscription| subscription.client() == client, turn);
        }
        for relay in named.iter().filter(|relay| !before.contains(relay)) {
            self.requests.want_all(*relay, &mut self.subscriptions, turn);
        }
    }

    fn client_left(&mut self, client: ClientId, turn: &mut Turn<'_>) {
        self.hear_out(client, turn);
        let Some((subscriptions, counts)) = self.clients.leave(client) else { return };
        for key in subscriptions {
            self.end_subscription(key, turn);
        }
        for number in counts {
            self.counting.close(number, &mut self.relays, turn);
        }
    }

    fn client_said(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        ticket: Ticket,
        turn: &mut Turn<'_>,
    ) {
        if self.clients.get(client).is_none() {
            return;
        }
        if !self.clients.takes(client, &message, turn.now) {
            return self.hear_too_fast(client, message, turn);
        }
        let (message, ticket) = match self.clients.hold(client, message, ticket) {
            Hearing::Later => return,
            Hearing::Now(message, ticket) => (message, ticket),
            Hearing::AfterTheOthers(message, ticket) => {
                self.hear_out(client, turn);
                (message, ticket)
            }
        };
        self.hear(client, message, ticket, turn);
    }

    /// What waited for a verdict on who the client is waits no more.
    fn hear_out(&mut self, client: ClientId, turn: &mut Turn<'_>) {
        for (message, ticket) in self.clients.take_held(client) {
            if self.clients.takes(client, &message, turn.now) {
                self.hear(client, message, ticket, turn);
            } else {
                self.hear_too_fast(client, message, turn);
            }
        }
    }

    fn hear(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        ticket: Ticket,
        turn: &mut Turn<'_>,
    ) {
        // What gets the same answer whoever asks.
        let open = matches!(
            message,
            ClientMessage::Auth { .. }
                | ClientMessage::Close { .. }
                | ClientMessage::NegClose
                | ClientMessage::Refused(_)
        );
        // Asked for of all, since it may send a challenge.
        if let Some(why) = self.clients.barred(client, turn).filter(|_| !open) {
            return self.hear_refused(client, message, &why, turn);
        }
        match message {
            ClientMessage::Event { id, json } => {
                let position = self.publishing.next_position(turn.now);
                let purpose = Purpose::Published(client, id, position, ticket);
                self.intake.take_from_client(client, purpose, json);
            }
            ClientMessage::Req { id, filters, resumed } => {
                self.subscribe(client, &id, filters, resumed, turn);
            }
            ClientMessage::Count { id, filters } => self.count(client, &id, filters, turn),
            ClientMessage::Close { id } => self.close(client, &id, turn),
            ClientMessage::Auth { id, json } => {
                self.clients.signs_in(client);
                let purpose = Purpose::Auth(client, id, ticket);
                self.intake.take_from_client(client, purpose, json);
            }
            ClientMessage::NegClose => {}
            ClientMessage::Refused(reply) => self.pass_on(client, reply, turn),
        }
    }

    /// What was refused before it came here, for its length or its shape.
    fn pass_on(&mut self, client: ClientId, reply: Reply, turn: &mut Turn<'_>) {
        match reply {
            Reply::Ok { id, why, .. } => self.refuse_unread(client, id, &why, turn),
            Reply::Closed { id, why } => self.close_with(client, id, why, turn),
            reply => turn.tell(client, reply),
        }
    }

    /// It has said more in a second than it may.
    fn hear_too_fast(&mut self, client: ClientId, message: ClientMessage, turn: &mut Turn<'_>) {
        match message {
            ClientMessage::NegClose | ClientMessage::Close { .. } => {}
            ClientMessage::Refused(reply) => self.pass_on(client, reply, turn),
            _ => {
                let why = self.clients.too_fast();
                self.hear_refused(client, message, &why, turn);
            }
        }
    }

    /// What it asks for is refused, whatever it is.
    fn hear_refused(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        why: &Reason,
        turn: &mut Turn<'_>,
    ) {
        match message {
            ClientMessage::Event { id: Some(id), .. } | ClientMessage::Auth { id, .. } => {
                self.refuse_unread(client, id, why, turn);
            }
            ClientMessage::Req { id, .. } | ClientMessage::Count { id, .. } => {
                self.close_with(client, id, why.clone(), turn);
            }
            _ => turn.tell(client, Reply::Notice(why.to_string())),
        }
    }

    // --- Subscriptions and counts ---------------------------------------------------------

    fn subscribe(
        &mut self,
        client: ClientId,
        id: &str,
        filters: Vec<Filter>,
        resumed: Option<Resumed>,
        turn: &mut Turn<'_>,
    ) {
        self.unsubscribe(client, id, turn);
        let bytes = filters.iter().map(|filter| filter.json.len()).sum();
        if let Some(why) = self.clients.exceeds(client, bytes) {
            return turn.tell(client, Reply::Closed { id: id.into(), why });
        }
        let Some(subscriber) = self.clients.get(client) else { return };
        let filters: Arc<[Filter]> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.iter().all(Filter::is_ping) {
            if resumed.is_none() {
                turn.tell(client, Reply::Eose { id: id.into(), hint: Hint::None });
            }
            return;
        }
        let (only, role) = (subscriber.relays().map(Box::from), subscriber.role());
        let relays = self.relays.readable(only.as_deref(), role);
        let readable = relays.clone();
        let bytes = filters.iter().map(|filter| filter.json.len()).sum();
        let key = turn.numbers.subscription();
        self.clients.opened(client, id, key, bytes);
        let id = id.into();
        let opening = Opening { client, role, id, filters, only, relays, resumed };
        self.subscriptions.open(key, opening, turn);
        for relay in readable {
            self.requests.want(relay, key, &mut self.subscriptions, turn);
            turn.due.plan.insert(relay);
        }
    }

    fn unsubscribe(&mut self, client: ClientId, id: &str, turn: &mut Turn<'_>) {
        if let Some(key) = self.clients.subscription(client, id) {
            self.end_subscription(key, turn);
        }
    }

    /// Forgets a subscription and ends it at every relay that was asked.
    fn end_subscription(&mut self, key: SubscriptionKey, turn: &mut Turn<'_>) {
        let Some(ended) = self.subscriptions.close(key, turn) else { return };
        self.clients.closed(ended.client(), ended.id(), ended.filter_bytes());
        self.requests.owe_nothing(key);
        let Self { requests, subscriptions, relays, .. } = self;
        for part in ended.into_parts() {
            requests.leave(key, &part, subscriptions, relays, turn);
        }
    }

    /// Sends EOSE or CLOSED where it is due, and else sets the time to look again.
    fn look_at_eose(&mut self, key: SubscriptionKey, turn: &mut Turn<'_>) {
        let Self { requests, subscriptions, relays, .. } = self;
        loop {
            match subscriptions.look(key, requests.owes(key), turn) {
                Look::Waits => return,
                Look::Settles(brought) => requests.owe(key, &brought),
                Look::Fills => requests.owe_nothing(key),
                Look::Over(parts) => {
                    for part in parts {
                        requests.leave(key, &part, subscriptions, relays, turn);
                    }
                    return;
                }
                Look::Refused(why) => {
                    let Some(ended) = subscriptions.get(key) else { return };
                    let (client, id) = (ended.client(), ended.id().as_ref().into());
                    self.end_subscription(key, turn);
                    return turn.tell(client, Reply::Closed { id, why });
                }
            }
        }
    }

    fn count(&mut self, client: ClientId, id: &str, filters: Vec<Filter>, turn: &mut Turn<'_>) {
        self.end_count(client, id, turn);
        let bytes = filters.iter().map(|filter| filter.json.len()).sum();
        if let Some(why) = self.clients.exceeds(client, bytes) {
            return self.close_with(client, id.into(), why, turn);
        }
        let Some(asker) = self.clients.get(client) else { return };
        let filters: Vec<Filter> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.is_empty() {
            let counted = crate::nostr::count::Counted::exactly(0);
            return turn.tell(client, Reply::Count { id: id.into(), counted });
        }
        let readable = self.relays.readable(asker.relays(), asker.role());
        let question = Question { client, role: asker.role(), id: id.into(), filters };
        let bytes = question.bytes();
        match self.counting.open(question, &readable, &mut self.relays, turn) {
            Ok(number) => self.clients.counts(client, id, number, bytes),
            Err(why) => self.close_with(client, id.into(), why, turn),
        }
    }

    /// A COUNT has ended by itself.
    fn count_ended(&mut self, ended: Option<counting::Ended>, turn: &mut Turn<'_>) {
        let Some(counting::Ended { question, answer }) = ended else { return };
        let (client, id): (_, Box<str>) = (question.client, question.id.as_ref().into());
        self.clients.counted(client, &id, question.bytes());
        match answer {
            Ok(counted) => turn.tell(client, Reply::Count { id, counted }),
            Err(why) => self.close_with(client, id, why, turn),
        }
    }

    /// A client's COUNT of this id is wanted no more.
    fn end_count(&mut self, client: ClientId, id: &str, turn: &mut Turn<'_>) {
        let Some(number) = self.clients.count(client, id) else { return };
        if let Some(question) = self.counting.close(number, &mut self.relays, turn) {
            self.clients.counted(client, id, question.bytes());
        }
    }

    /// A client's CLOSE ends what it has under this id.
    fn close(&mut self, client: ClientId, id: &str, turn: &mut Turn<'_>) {
        self.end_count(client, id, turn);
        self.unsubscribe(client, id, turn);
    }

    /// The client is told CLOSED, which to it ends whatever it has under this id.
    fn close_with(&mut self, client: ClientId, id: Box<str>, why: Reason, turn: &mut Turn<'_>) {
        self.close(client, &id, turn);
        turn.tell(client, Reply::Closed { id, why });
    }
}
