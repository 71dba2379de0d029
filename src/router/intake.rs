//! What relays send, from the first look to the delivery (SPEC 3.3, 6).
//!
//! A copy of something the subscription already has is dropped at once, by the id it claims. Of the
//! others the first copy is verified; further copies wait for that verdict. If it was forged, the
//! next copy is verified, so a forged copy that comes first cannot suppress the true event. What is
//! true goes its way by the request it came over (`upstream`) to the subscriptions it matches.

use std::sync::Arc;

use crate::base::fair::FairQueue;
use crate::base::hash::Map;
use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::base::time::Now;
use crate::constants::{SEEN_ALL, SEEN_EXACT, SEEN_EXACT_LEAST, SEEN_FOLDS};
use crate::ids::{ClientId, Origin, Position, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, EventError, EventId, KIND_AUTH};
use crate::nostr::message::{self, Reply};
use crate::nostr::reason::Reason;
use crate::nostr::verify::{Job, Verdict};
use crate::router::merge;
use crate::router::part::Came;
use crate::router::recent::Recent;
use crate::router::subscription::Taken;
use crate::stats::Trouble;

use super::arrivals::Arrival;
use super::upstream::Expected;
use super::{Effects, Router};

/// Who sent an event that is to be verified. Sources take turns.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Relay(RelayId),
    Client(ClientId),
}

/// What a verification is for.
#[derive(Debug)]
pub(crate) struct Tag(Purpose);

#[derive(Debug)]
enum Purpose {
    /// A relay sent it for a subscription.
    Incoming(EventId, Copy),
    /// A client publishes it. The id is the one to answer for, the number its place among all that
    /// is published.
    Published(ClientId, Option<EventId>, Position, Ticket),
    /// A client says who it is. The id is the one to answer for.
    Auth(ClientId, EventId, Ticket),
}

impl Tag {
    pub(super) const fn published(
        client: ClientId,
        id: Option<EventId>,
        position: Position,
        ticket: Ticket,
    ) -> Self {
        Self(Purpose::Published(client, id, position, ticket))
    }

    pub(super) const fn auth(client: ClientId, id: EventId, ticket: Ticket) -> Self {
        Self(Purpose::Auth(client, id, ticket))
    }
}

/// One relay's copy of an event, over one request.
#[derive(Debug)]
struct Copy {
    relay: RelayId,
    request: RequestNumber,
    /// Where its verdict belongs.
    expected: Expected,
    /// Released when the copy is settled.
    _ticket: Ticket,
}

/// What became of an event that was offered to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offered {
    /// It has no place there.
    Dropped,
    /// It was given before.
    Seen,
    /// It is given, or held to be.
    Given,
}

/// Events on their way through verification.
#[derive(Debug)]
pub(super) struct Intake {
    /// By claimed id: the copies that wait for the verdict on another one, with their texts.
    pending: Map<EventId, Vec<(Copy, Box<str>)>>,
    /// Verified lately.
    recent: Recent,
    /// Waiting for a verifying thread: relays' events and clients' events, taking turns, so that
    /// neither many clients nor many relays can push the other side aside.
    relays: FairQueue<RelayId, Job<Tag>>,
    clients: FairQueue<ClientId, Job<Tag>>,
    clients_turn: bool,
    /// With the verifying threads.
    out: usize,
    depth: usize,
}

impl Intake {
    pub(super) fn new(depth: usize) -> Self {
        Self {
            pending: Map::default(),
            recent: Recent::default(),
            relays: FairQueue::default(),
            clients: FairQueue::default(),
            clients_turn: false,
            out: 0,
            depth,
        }
    }

    /// Puts an event in line for verification.
    pub(super) fn check(
        &mut self,
        source: Source,
        tag: Tag,
        claimed: Option<EventId>,
        text: Box<str>,
    ) {
        let job = Job { tag, claimed, text };
        match source {
            Source::Relay(relay) => self.relays.push(relay, job),
            Source::Client(client) => self.clients.push(client, job),
        }
    }

    fn next_job(&mut self) -> Option<Job<Tag>> {
        self.clients_turn = !self.clients_turn;
        let Self { relays, clients, .. } = self;
        if self.clients_turn {
            clients.pop().or_else(|| relays.pop())
        } else {
            relays.pop().or_else(|| clients.pop())
        }
    }

    /// The verified event this text is, to the letter. Its id alone would prove nothing.
    fn known(&self, id: &EventId, json: &Text) -> Option<Arc<Event>> {
        self.recent.get(id).filter(|event| event.json().as_bytes() == json.as_bytes()).cloned()
    }

    /// A true event whose copies may come.
    pub(super) fn note(&mut self, event: &Arc<Event>) {
        self.recent.insert(event);
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.pending.is_empty()
            && self.relays.is_empty()
            && self.clients.is_empty()
            && self.out == 0
    }

    fn check_copy(&mut self, id: EventId, copy: Copy, text: Box<str>) {
        let source = Source::Relay(copy.relay);
        self.check(source, Tag(Purpose::Incoming(id, copy)), Some(id), text);
    }
}

#[cfg(test)]
impl Router {
    pub(super) fn intake_is_empty(&self) -> bool {
        self.intake.is_empty()
    }
}

impl Router {
    /// A relay has sent an event.
    #[expect(clippy::too_many_arguments, reason = "the parts of one frame")]
    pub(super) fn relay_event(
        &mut self,
        relay: RelayId,
        number: Option<RequestNumber>,
        id: EventId,
        json: &Text,
        ticket: Ticket,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.publications.contains_key(&id) || self.is_named(relay, &id) {
            // What it passes on it has, whatever it may say later: a claimed id is its word, as an
            // OK is.
            self.relay_ok(relay, &id, true, &Reason::none(), now, fx);
        }
        let Some(stats) = self.relays.get(&relay).map(|relay| &relay.stats) else { return };
        stats.received.add();
        self.stats.received.add();
        // A number given out before may be of a request just closed, with events under way.
        let Some(number) = number.filter(|number| self.numbers.gave(*number)) else {
            stats.unasked.add();
            return self.relay_junk(relay, now, fx);
        };
        let Some(request) = self.requests.get(&(relay, number)) else {
            return self.found(relay, number, &id, now, fx);
        };
        if !request.is_out() || request.ending.is_some() {
            stats.unasked.add();
            return;
        }
        let mut members = request.members.iter();
        let only = members.next().filter(|_| members.next().is_none());
        let given = only.and_then(|key| self.subscriptions.get(key));
        if given.is_some_and(|member| member.seen.contains(&id)) {
            stats.duplicates.add();
            if !request.is_live() {
                self.hear_noise(relay, number);
                let date = message::scan_date(json.as_bytes()).unwrap_or_default();
                let copy = Arrival::Copy(merge::place(date, id));
                self.arrived(relay, number, copy, now, fx);
            }
            return;
        }
        self.hear_noise(relay, number);
        let Some(request) = self.requests.get_mut(&(relay, number)) else { return };
        let expected = request.expect();
        let copy = Copy { relay, request: number, expected, _ticket: ticket };
        if let Some(waiting) = self.intake.pending.get_mut(&id) {
            waiting.push((copy, json.copied()));
        } else if let Some(event) = self.intake.known(&id, json) {
            self.settled(relay, number, expected, Some(&event), now, fx);
        } else {
            self.intake.pending.insert(id, Vec::new());
            self.intake.check_copy(id, copy, json.copied());
        }
    }

    /// Hands out as many verifications as the threads take.
    pub(super) fn hand_out_jobs(&mut self, fx: &mut Effects) {
        while self.intake.out < self.intake.depth {
            let Some(job) = self.intake.next_job() else { break };
            self.intake.out += 1;
            fx.verify.push(job);
        }
    }

    /// A verdict is in.
    pub(super) fn verified(&mut self, verdict: Verdict<Tag>, now: Now, fx: &mut Effects) {
        self.intake.out = self.intake.out.saturating_sub(1);
        let Verdict { tag: Tag(purpose), result } = verdict;
        match &result {
            Ok(_) => self.stats.verified.add(),
            Err(_) => self.stats.forged.add(),
        }
        match (purpose, result) {
            (Purpose::Published(client, id, position, _ticket), result) => {
                self.published(client, id, position, result, now, fx);
            }
            (Purpose::Auth(client, id, _ticket), result) => {
                self.authenticate(client, id, &result, now, fx);
            }
            (Purpose::Incoming(id, copy), Ok(event)) => {
                self.intake.recent.insert(&event);
                self.drop_voided_by(&event, fx);
                let waiting = self.intake.pending.remove(&id).unwrap_or_default();
                self.settled(copy.relay, copy.request, copy.expected, Some(&event), now, fx);
                for (copy, text) in waiting {
                    self.copy_of_true_event(copy, text, &event, now, fx);
                }
            }
            (Purpose::Incoming(id, copy), Err(error)) => {
                self.forged(&copy, &error, now, fx);
                self.check_next_copy(id);
            }
        }
    }

    /// A copy that waited for the verdict on another one, which is true.
    fn copy_of_true_event(
        &mut self,
        copy: Copy,
        text: Box<str>,
        event: &Arc<Event>,
        now: Now,
        fx: &mut Effects,
    ) {
        let has = |key: &SubscriptionKey| {
            self.subscriptions.get(key).is_none_or(|member| member.seen.contains(event.id()))
        };
        let request = self.requests.get(&(copy.relay, copy.request));
        if *text == *event.json() || request.is_none_or(|request| request.members.iter().all(has)) {
            self.settled(copy.relay, copy.request, copy.expected, Some(event), now, fx);
        } else if let Some(waiting) = self.intake.pending.get_mut(event.id()) {
            waiting.push((copy, text));
        } else {
            // Another spelling, or a forgery under the same id.
            self.intake.pending.insert(*event.id(), Vec::new());
            self.intake.check_copy(*event.id(), copy, text);
        }
    }

    /// The first copy was forged: on to the next one that somebody still waits for.
    fn check_next_copy(&mut self, id: EventId) {
        let Some(waiting) = self.intake.pending.get_mut(&id) else { return };
        waiting.retain(|(copy, _)| self.requests.contains_key(&(copy.relay, copy.request)));
        if waiting.is_empty() {
            self.intake.pending.remove(&id);
        } else {
            let (copy, text) = waiting.remove(0);
            self.intake.check_copy(id, copy, text);
        }
    }

    fn forged(&mut self, copy: &Copy, error: &EventError, now: Now, fx: &mut Effects) {
        if let Some(relay) = self.relays.get(&copy.relay) {
            relay.stats.forged.add();
            relay.stats.error(
                now.precisely(),
                Trouble::ForgedEvent,
                &format!("sent a forged event: {error}"),
            );
        }
        self.settled(copy.relay, copy.request, copy.expected, None, now, fx);
        self.relay_junk(copy.relay, now, fx);
    }

    /// Gives a true event that matches to a subscription, or holds it for its turn, unless something
    /// speaks against it.
    pub(super) fn offer(
        &mut self,
        key: SubscriptionKey,
        event: &Arc<Event>,
        from: Origin,
        came: Came,
        now: Now,
        fx: &mut Effects,
    ) -> Offered {
        let shared = self.remembered < SEEN_ALL;
        let even = SEEN_ALL / (SEEN_FOLDS * 2 + 1) / self.subscriptions.len().max(1);
        let exact_max = if shared { SEEN_EXACT } else { even.max(SEEN_EXACT_LEAST) };
        let Some(target) = self.subscriptions.get_mut(&key) else { return Offered::Dropped };
        if target.seen.contains(event.id()) {
            return Offered::Seen;
        }
        // Proofs of who somebody is are passed on to nobody (NIP-42).
        if event.kind() == KIND_AUTH || !target.admits(event, from, came) {
            return Offered::Dropped;
        }
        let before = target.seen.len();
        let new = target.seen.insert(event.id(), event.created_at(), now.unix, exact_max);
        self.remembered = self.remembered + target.seen.len() - before;
        if !new {
            return Offered::Seen;
        }
        let held = target.merge.bytes();
        let taken = target.take(event, from, came);
        if taken == Taken::Now {
            let (id, event) = (Arc::clone(&target.id), Arc::clone(event));
            fx.to_client.push((target.client, Reply::Event { id, event, from }));
            self.stats.delivered.add();
        }
        self.held += target.merge.bytes() - held;
        if taken == Taken::Superseded { Offered::Dropped } else { Offered::Given }
    }
}
