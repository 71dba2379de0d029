//! Publishing: an EVENT is verified, sent to every connected relay that takes writes, and answered
//! with exactly one OK (SPEC 1.1 to 1.3).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::constants::{
    MAX_EARLIER_EVENTS, MAX_UNANSWERED_EVENTS, MAX_WAITING_BYTES, MAX_WAITING_EVENTS, OK_DEADLINE,
    SEND_LEAST,
};
use crate::event::{Event, EventError, EventId, KIND_AUTH};
use crate::fair::FairQueue;
use crate::message::Reply;
use crate::publication::{Answer, Publication};
use crate::time::Now;

use super::intake::{Source, Tag};
use super::relays::Relay;
use super::{ClientId, Effects, Hub, Map, RelayId, Ticket, Timer};

/// Events that wait for a place among the unanswered ones, and what became of earlier ones.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Whose turn it is next. May name events that are gone from `waiting`.
    turns: FairQueue<ClientId, EventId>,
    waiting: Map<EventId, Waiting>,
    waiting_bytes: usize,
    /// Answered `true` lately: whether a relay has it for certain.
    earlier: Map<EventId, bool>,
    earlier_order: VecDeque<EventId>,
}

/// An event that waits unsent.
#[derive(Debug)]
struct Waiting {
    event: Arc<Event>,
    waiters: Vec<ClientId>,
    until: Duration,
}

impl Outbound {
    /// Events that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, id: &EventId) -> Option<Waiting> {
        let waiting = self.waiting.remove(id)?;
        self.waiting_bytes -= waiting.event.json.len();
        Some(waiting)
    }

    fn remember(&mut self, id: EventId, certain: bool) {
        if let Some(known) = self.earlier.get_mut(&id) {
            *known |= certain;
            return;
        }
        self.earlier.insert(id, certain);
        self.earlier_order.push_back(id);
        if self.earlier_order.len() > MAX_EARLIER_EVENTS
            && let Some(oldest) = self.earlier_order.pop_front()
        {
            self.earlier.remove(&oldest);
        }
    }

    /// `false` would be a lie for an event that some relay took, or may have taken, before.
    fn in_view_of_earlier(&self, id: &EventId, answer: Answer) -> Answer {
        match self.earlier.get(id) {
            Some(certain) if !answer.accepted => {
                let why = if *certain {
                    "duplicate: a relay has accepted it before"
                } else {
                    "duplicate: sent before, unanswered"
                };
                Answer { accepted: true, why: why.to_owned() }
            }
            _ => answer,
        }
    }
}

impl Hub {
    /// An EVENT has come in: have it verified.
    pub(super) fn check_published(
        &mut self,
        client: ClientId,
        id: Option<EventId>,
        json: Box<str>,
        ticket: Ticket,
    ) {
        self.intake.check(Source::Client(client), Tag::published(client, id, ticket), None, json);
    }

    /// The verdict on a client's EVENT.
    pub(super) fn published(
        &mut self,
        client: ClientId,
        id: Option<EventId>,
        result: Result<Arc<Event>, EventError>,
        now: Now,
        fx: &mut Effects,
    ) {
        let event = match result {
            Ok(event) => event,
            Err(error) => {
                let why = format!("invalid: {error}");
                let reply = match id {
                    Some(id) => Reply::Ok { id, accepted: false, why: why.into() },
                    None => Reply::Notice(why),
                };
                fx.to_client.push((client, reply));
                return;
            }
        };
        let refusal = if event.kind == KIND_AUTH {
            Some("invalid: kind 22242 is for authentication and never published")
        } else if event.expiration().is_some_and(|at| at <= now.unix) {
            Some("invalid: expired")
        } else if event.is_protected() {
            Some("restricted: a protected event (NIP-70) needs an authentication not offered here")
        } else if self.join(client, &event.id) {
            None
        } else if !self.relays.values().any(|relay| relay.write) {
            Some("error: no relay configured")
        } else if !self.relays.values().any(Relay::takes_events) {
            Some("error: no relay connected")
        } else if self.publications.len() < MAX_UNANSWERED_EVENTS {
            return self.publish(&event, vec![client], now.mono + OK_DEADLINE, now, fx);
        } else if self.outbound.waiting() >= MAX_WAITING_EVENTS
            || self.outbound.waiting_bytes + event.json.len() > MAX_WAITING_BYTES
        {
            Some(TOO_MANY)
        } else {
            return self.wait(client, event, now);
        };
        if let Some(why) = refusal {
            let answer = Answer { accepted: false, why: why.to_owned() };
            let answer = self.outbound.in_view_of_earlier(&event.id, answer);
            tell(&[client], event.id, &answer, fx);
        }
    }

    /// The same event is on its way or waits already: one fate, one answer each. False: it is not.
    fn join(&mut self, client: ClientId, id: &EventId) -> bool {
        if let Some(publication) = self.publications.get_mut(id) {
            publication.waiters.push(client);
        } else if let Some(waiting) = self.outbound.waiting.get_mut(id) {
            waiting.waiters.push(client);
        } else {
            return false;
        }
        true
    }

    /// An EVENT that is not even looked at. The event of that id may be in good hands all the same.
    pub(super) fn refuse_unread(
        &mut self,
        client: ClientId,
        id: EventId,
        why: String,
        fx: &mut Effects,
    ) {
        if !self.join(client, &id) {
            let answer = Answer { accepted: false, why };
            tell(&[client], id, &self.outbound.in_view_of_earlier(&id, answer), fx);
        }
    }

    fn publish(
        &mut self,
        event: &Arc<Event>,
        waiters: Vec<ClientId>,
        deadline: Duration,
        now: Now,
        fx: &mut Effects,
    ) {
        let mut relays: Vec<RelayId> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.takes_events())
            .map(|(id, _)| *id)
            .collect();
        relays.sort_unstable();
        let publication =
            Publication::new(Arc::clone(event), waiters, deadline, relays.iter().copied());
        self.publications.insert(event.id, publication);
        self.timers.insert((deadline, Timer::Answer(event.id)));
        for relay in relays {
            self.send_event(relay, event, now, fx);
        }
        // Where no relay was left to take it, nothing would settle it before its deadline.
        self.settle(&event.id, |publication| publication.verdict(), fx);
    }

    /// A relay's answer to an event.
    pub(super) fn relay_ok(
        &mut self,
        relay: RelayId,
        event: &EventId,
        accepted: bool,
        why: &str,
        fx: &mut Effects,
    ) {
        if let Some(relay) = self.relays.get(&relay).filter(|_| !accepted) {
            if !why.starts_with("duplicate:") {
                relay.stats.rejected.add();
                relay.stats.error(&format!("refused an event: {why}"));
            }
            if why.starts_with("auth-required:") {
                relay.stats.authentication_required.store(true, Relaxed);
            }
        }
        self.settle(event, |publication| publication.answered(relay, accepted, why), fx);
    }

    /// A relay's connection is gone, or the relay itself (`unsent` is `None`).
    pub(super) fn lose_publications(
        &mut self,
        relay: RelayId,
        unsent: Option<&[EventId]>,
        fx: &mut Effects,
    ) {
        let ids: Vec<EventId> = self.publications.keys().copied().collect();
        for id in ids {
            let unsent = unsent.is_some_and(|unsent| unsent.contains(&id));
            self.settle(&id, |publication| publication.lost(relay, unsent), fx);
        }
    }

    /// A relay's line dropped the event before it was sent.
    pub(super) fn not_sent(&mut self, relay: RelayId, id: &EventId, fx: &mut Effects) {
        self.settle(id, |publication| publication.lost(relay, true), fx);
    }

    /// Two seconds have passed: the clients get their answer, whatever is open.
    pub(super) fn answer_deadline(&mut self, id: &EventId, fx: &mut Effects) {
        self.settle(id, |publication| Some(publication.deadline()), fx);
    }

    /// Lets something happen to a publication, and answers it if that decides it.
    fn settle(
        &mut self,
        id: &EventId,
        step: impl FnOnce(&mut Publication) -> Option<Answer>,
        fx: &mut Effects,
    ) {
        let Some(publication) = self.publications.get_mut(id) else { return };
        let Some(answer) = step(publication) else { return };
        let Some(publication) = self.publications.remove(id) else { return };
        self.timers.remove(&(publication.deadline, Timer::Answer(*id)));
        if answer.accepted {
            self.outbound.remember(*id, publication.is_accepted());
        }
        let answer = self.outbound.in_view_of_earlier(id, answer);
        if !answer.accepted {
            // What was answered false must never show up later.
            self.take_back(id);
        }
        tell(&publication.waiters, *id, &answer, fx);
    }

    fn wait(&mut self, client: ClientId, event: Arc<Event>, now: Now) {
        let until = now.mono + OK_DEADLINE;
        let id = event.id;
        self.outbound.waiting_bytes += event.json.len();
        self.outbound.waiting.insert(id, Waiting { event, waiters: vec![client], until });
        self.outbound.turns.push(client, id);
        self.timers.insert((until, Timer::Waiting(id)));
    }

    /// Where places have become free, the clients that wait take turns. What is sent keeps its
    /// deadline: it counts from when the EVENT came, not from when it got its place.
    pub(super) fn admit_waiting(&mut self, now: Now, fx: &mut Effects) {
        while self.publications.len() < MAX_UNANSWERED_EVENTS {
            let Some(id) = self.outbound.turns.pop() else { break };
            let waiting = self.outbound.waiting.get(&id);
            if waiting.is_some_and(|waiting| waiting.until < now.mono + SEND_LEAST) {
                continue; // refused when its time comes
            }
            if let Some(Waiting { event, waiters, until }) = self.outbound.take(&id) {
                self.timers.remove(&(until, Timer::Waiting(id)));
                self.publish(&event, waiters, until, now, fx);
            }
        }
    }

    /// It got no place in time. It was never sent.
    pub(super) fn refuse_waiting(&mut self, id: &EventId, fx: &mut Effects) {
        if let Some(Waiting { waiters, .. }) = self.outbound.take(id) {
            let answer = Answer { accepted: false, why: TOO_MANY.to_owned() };
            let answer = self.outbound.in_view_of_earlier(id, answer);
            tell(&waiters, *id, &answer, fx);
        }
    }
}

const TOO_MANY: &str = "rate-limited: too many events are waiting for the relays' answers";

fn tell(waiters: &[ClientId], id: EventId, answer: &Answer, fx: &mut Effects) {
    for client in waiters {
        let Answer { accepted, why } = answer;
        let reply = Reply::Ok { id, accepted: *accepted, why: why.as_str().into() };
        fx.to_client.push((*client, reply));
    }
}
