//! Publishing: an EVENT is verified, sent to every connected relay that takes writes, and answered
//! with exactly one OK (SPEC 1). What cannot be sent goes on into the `outbox`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::base::fair::FairQueue;
use crate::base::hash::Map;
use crate::base::ticket::Ticket;
use crate::base::time::Now;
use crate::constants::{
    MAX_EARLIER_EVENTS, MAX_IN_DOUBT, MAX_UNANSWERED_EVENTS, MAX_WAITING_BYTES, MAX_WAITING_EVENTS,
    OK_DEADLINE, OUTBOX_BYTES, SEND_LEAST, STORE_PATIENCE,
};
use crate::ids::{ClientId, Position, RelayId};
use crate::nostr::event::{Event, EventError, EventId, KIND_AUTH, is_ephemeral};
use crate::nostr::message::Reply;
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::router::entry::{Stage, State};
use crate::router::publication::{Delivery, Fate, Publication, Published};
use crate::stats::Trouble;

use super::intake::{Source, Tag};
use super::relays::Relay;
use super::{Effects, Router, Timer};

/// Events that wait for a place among the unanswered ones, and what became of earlier ones.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Whose turn it is next: ephemeral events (orders to pay are among them), then the others. May
    /// name events that are gone from `waiting`.
    turns: [FairQueue<ClientId, EventId>; 2],
    waiting: Map<EventId, Published>,
    waiting_bytes: usize,
    /// What became of those of late.
    earlier: Map<EventId, Earlier>,
    earlier_order: VecDeque<EventId>,
    last_position: Position,
}

/// What became of an event that must not be answered `false` any more.
#[derive(Debug, Default, Clone, Copy)]
struct Earlier {
    /// Answered `true` because it was sent: whether a relay has it for certain.
    sent: Option<bool>,
    /// A client here has it.
    here: bool,
}

impl Outbound {
    /// Events that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, id: &EventId) -> Option<Published> {
        let waiting = self.waiting.remove(id)?;
        self.waiting_bytes -= waiting.event.json().len();
        Some(waiting)
    }

    pub(super) fn remember(&mut self, id: EventId, certain: bool) {
        let earlier = self.earlier(id);
        earlier.sent = earlier.sent.max(Some(certain));
    }

    fn remember_here(&mut self, id: EventId) {
        self.earlier(id).here = true;
    }

    fn earlier(&mut self, id: EventId) -> &mut Earlier {
        if !self.earlier.contains_key(&id) {
            self.earlier_order.push_back(id);
            if self.earlier_order.len() > MAX_EARLIER_EVENTS
                && let Some(oldest) = self.earlier_order.pop_front()
            {
                self.earlier.remove(&oldest);
            }
        }
        self.earlier.entry(id).or_default()
    }

    /// The place of one more event among all that is published: by the clock, so that the events of
    /// several nodes and runs stay in order; never back, as clocks may be set.
    fn next_position(&mut self, now: Now) -> Position {
        self.last_position = Position((self.last_position.0 + 1).max(now.unix * 1_000_000));
        self.last_position
    }

    /// Events of earlier runs have places up to this one.
    pub(super) fn positions_from(&mut self, last: Position) {
        self.last_position = self.last_position.max(last);
    }

    /// Every relay has refused it since.
    pub(super) fn forget(&mut self, id: &EventId) {
        if let Some(earlier) = self.earlier.get_mut(id) {
            earlier.sent = None;
        }
    }
}

impl Router {
    /// An EVENT has come in: have it verified.
    pub(super) fn check_published(
        &mut self,
        client: ClientId,
        id: Option<EventId>,
        json: Box<str>,
        ticket: Ticket,
        now: Now,
    ) {
        let tag = Tag::published(client, id, self.outbound.next_position(now), ticket);
        self.intake.check(Source::Client(client), tag, None, json);
    }

    /// The verdict on a client's EVENT.
    pub(super) fn published(
        &mut self,
        client: ClientId,
        id: Option<EventId>,
        position: Position,
        result: Result<Arc<Event>, EventError>,
        now: Now,
        fx: &mut Effects,
    ) {
        let event = match result {
            Ok(event) => event,
            Err(error) => {
                let why = Reason::new(Prefix::Invalid, error);
                let reply = match id {
                    Some(id) => Reply::Ok { id, accepted: false, why },
                    None => Reply::Notice(why.to_string()),
                };
                fx.to_client.push((client, reply));
                return;
            }
        };
        self.stats.published.add();
        if let Some(publisher) = self.clients.get(&client) {
            publisher.stats.published.add();
        }
        let refusal = if event.kind() == KIND_AUTH {
            "kind 22242 is for authentication and never published"
        } else if event.expiration().is_some_and(|at| at <= now.unix) {
            EXPIRED
        } else if let Some(why) = self.not_its_author(client, &event, fx) {
            return self.refuse_unread(client, *event.id(), &why, fx);
        } else if let Some(relays) = self.named_by(client) {
            return self.publish_named(client, &event, &relays, position, now, fx);
        } else {
            if self.hand_over(client, &event, now, fx) {
                self.outbound.remember_here(*event.id());
            }
            return self.take_in(client, event, position, now, fx);
        };
        self.refuse(&[client], *event.id(), &Reason::new(Prefix::Invalid, refusal), fx);
    }

    /// An event that is to be published at the owner's relays.
    fn take_in(
        &mut self,
        client: ClientId,
        event: Arc<Event>,
        position: Position,
        now: Now,
        fx: &mut Effects,
    ) {
        let (waiters, deadline) = (vec![client], now.mono + OK_DEADLINE);
        let refusal = if self.join(client, event.id(), fx) {
            return;
        } else if !self.relays.values().any(|relay| relay.write) {
            Reason::new(Prefix::Error, "no relay configured").about(Cause::NoRelay)
        } else if !self.relays.values().any(Relay::takes_events) {
            let published = Published { event, position, waiters, deadline };
            return self.unsent(published, queued(), now, fx);
        } else if self.has_place(is_ephemeral(event.kind())) {
            return self.publish(Published { event, position, waiters, deadline }, now, fx);
        } else if self.outbound.waiting() >= MAX_WAITING_EVENTS
            || self.outbound.waiting_bytes + event.json().len() > MAX_WAITING_BYTES
        {
            too_many()
        } else {
            return self.wait(client, Published { event, position, waiters, deadline });
        };
        self.refuse(&[client], *event.id(), &refusal, fx);
    }

    /// Whether one more event may be unanswered. Those in doubt are; only what the outbox would keep
    /// has to find a place there.
    fn has_place(&self, ephemeral: bool) -> bool {
        let out = self.publications.len();
        let in_doubt = if ephemeral { 0 } else { self.outbox.count(State::Doubt) };
        let room = ephemeral || self.outbox.bytes < OUTBOX_BYTES;
        out < MAX_UNANSWERED_EVENTS && out + in_doubt < MAX_IN_DOUBT && room
    }

    /// The same event is on its way or waits already: one fate, one answer each. False: it is not.
    fn join(&mut self, client: ClientId, id: &EventId, fx: &mut Effects) -> bool {
        if let Some(publication) = self.publications.get_mut(id) {
            publication.published.waiters.push(client);
        } else if let Some(waiting) = self.outbound.waiting.get_mut(id) {
            waiting.waiters.push(client);
        } else {
            return self.join_stored(client, id, fx);
        }
        true
    }

    /// An EVENT that is refused for who sent it, or not even looked at. The event of that id may be in good hands all the same.
    pub(super) fn refuse_unread(
        &mut self,
        client: ClientId,
        id: EventId,
        why: &Reason,
        fx: &mut Effects,
    ) {
        if !self.join(client, &id, fx) {
            self.refuse(&[client], id, why, fx);
        }
    }

    fn publish(&mut self, published: Published, now: Now, fx: &mut Effects) {
        let mut relays: Vec<RelayId> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.takes_events())
            .map(|(id, _)| *id)
            .collect();
        relays.sort_unstable();
        let (event, deadline) = (Arc::clone(&published.event), published.deadline);
        self.forget_rejected(event.id());
        let publication = Publication::new(published, relays.iter().copied());
        self.publications.insert(*event.id(), publication);
        self.timers.insert((deadline, Timer::Answer(*event.id())));
        for relay in relays {
            self.send_event(relay, &event, now, fx);
        }
        // Where no relay was left to take it, nothing would settle it before its deadline.
        self.settle(event.id(), |publication| publication.fate(), now, fx);
    }

    /// A relay's answer to an event.
    pub(super) fn relay_ok(
        &mut self,
        relay: RelayId,
        event: &EventId,
        accepted: bool,
        why: &Reason,
        now: Now,
        fx: &mut Effects,
    ) {
        if !accepted && self.defer_event(relay, event, why, now, fx) {
            return;
        }
        let Some(Relay { stats, in_flight, .. }) = self.relays.get_mut(&relay) else { return };
        in_flight.remove(event);
        if !why.has_it(accepted) {
            stats.rejected.add();
            stats.error(
                now.precisely(),
                Trouble::RefusedEvent,
                &format!("refused an event: {why}"),
            );
        }
        if !accepted && why.wants_auth() {
            stats.authentication_required.store(true, Relaxed);
            stats.auth_refused.store(true, Relaxed);
        }
        self.named_ok(relay, event, accepted, why, fx);
        if self.publications.contains_key(event) {
            self.settle(event, |publication| publication.answered(relay, accepted, why), now, fx);
        } else {
            self.answered_waiting(relay, event, accepted, why, now, fx);
        }
    }

    /// A relay's connection is gone, or the relay itself (`unsent` is `None`).
    pub(super) fn lose_publications(
        &mut self,
        relay: RelayId,
        unsent: Option<&[EventId]>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.lose_named(relay, unsent.unwrap_or_default(), fx);
        let ids: Vec<EventId> = self.publications.keys().copied().collect();
        for id in ids {
            let unsent = unsent.is_some_and(|unsent| unsent.contains(&id));
            self.settle(&id, |publication| publication.lost(relay, unsent), now, fx);
        }
    }

    /// A relay's line dropped the event before it was sent.
    pub(super) fn not_sent(&mut self, relay: RelayId, id: &EventId, now: Now, fx: &mut Effects) {
        self.named_not_sent(relay, id, fx);
        if self.publications.contains_key(id) {
            self.settle(id, |publication| publication.lost(relay, true), now, fx);
        } else if !self.not_sent_waiting(relay, id, now)
            && let Some(relay) = self.relays.get(&relay)
        {
            relay.stats.backlog_dropped.add();
        }
    }

    /// Two seconds have passed: the clients get their answer, whatever is open.
    pub(super) fn answer_deadline(&mut self, id: &EventId, now: Now, fx: &mut Effects) {
        self.settle(id, |publication| Some(publication.at_deadline()), now, fx);
    }

    /// Lets something happen to a publication, and ends it if that decides its fate.
    pub(super) fn settle(
        &mut self,
        id: &EventId,
        step: impl FnOnce(&mut Publication) -> Option<Fate>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(publication) = self.publications.get_mut(id) else { return };
        let Some(fate) = step(publication) else { return };
        let Some(publication) = self.publications.remove(id) else { return };
        let Publication { mut published, relays } = publication;
        let event = Arc::clone(&published.event);
        self.timers.remove(&(published.deadline, Timer::Answer(*id)));
        match fate {
            Fate::Accepted(why) => {
                self.outbound.remember(*id, true);
                accept(&published.waiters, *id, &why, fx);
                self.drop_voided_by(&event, fx);
                self.spread(&event, &missing(&relays, self.relays.keys()), now, fx);
            }
            Fate::Refused(why) => {
                // What was answered false must never show up later.
                self.take_back(id);
                self.refuse(&published.waiters, *id, &why, fx);
            }
            Fate::Unsent => {
                self.take_back(id);
                published.deadline = published.deadline.max(now.mono + STORE_PATIENCE);
                let linked = self.relays.values().any(Relay::takes_events);
                self.unsent(published, if linked { queued_late() } else { queued() }, now, fx);
            }
            Fate::Doubt(why) if is_ephemeral(event.kind()) => {
                self.outbound.remember(*id, false);
                accept(&published.waiters, *id, &why, fx);
            }
            Fate::Doubt(why) => self.doubt(Publication { published, relays }, why, now, fx),
        }
    }

    /// No relay could be given the event, and none will be on its own.
    fn unsent(&mut self, published: Published, why: Reason, now: Now, fx: &mut Effects) {
        let Published { event, waiters, .. } = &published;
        if is_ephemeral(event.kind()) {
            // Never kept: an order to pay that comes minutes late pays what was paid otherwise.
            self.refuse(waiters, *event.id(), &no_relay(), fx);
        } else if self.outbound.earlier.get(event.id()).and_then(|it| it.sent) == Some(true) {
            accept(waiters, *event.id(), &had_before(), fx);
        } else {
            self.forget_rejected(event.id());
            self.enqueue(published, why, now, fx);
        }
    }

    /// Sends an event that some relay has to those that may not have it, now or when they connect.
    pub(super) fn spread(
        &mut self,
        event: &Arc<Event>,
        relays: &[RelayId],
        now: Now,
        fx: &mut Effects,
    ) {
        if is_ephemeral(event.kind()) {
            return;
        }
        for id in relays {
            let Some(relay) = self.relays.get_mut(id).filter(|relay| relay.write) else { continue };
            if relay.link.is_some() {
                self.send_event(*id, event, now, fx);
            } else {
                let dropped = relay.backlog.push(Arc::clone(event));
                relay.stats.backlog_dropped.add_all(dropped);
            }
        }
    }

    fn wait(&mut self, client: ClientId, published: Published) {
        let Published { event, deadline, .. } = &published;
        let (id, ephemeral) = (*event.id(), is_ephemeral(event.kind()));
        self.outbound.waiting_bytes += event.json().len();
        self.outbound.turns[usize::from(!ephemeral)].push(client, id);
        self.timers.insert((*deadline, Timer::Waiting(id)));
        self.outbound.waiting.insert(id, published);
    }

    /// Where places have become free, the clients that wait take turns. What is sent keeps its
    /// deadline: it counts from when the EVENT came, not from when it got its place.
    pub(super) fn admit_waiting(&mut self, now: Now, fx: &mut Effects) {
        loop {
            let [ephemeral, others] = [self.has_place(true), self.has_place(false)];
            let [first, second] = &mut self.outbound.turns;
            let next = ephemeral.then(|| first.pop()).flatten();
            let Some(id) = next.or_else(|| others.then(|| second.pop()).flatten()) else { break };
            let waiting = self.outbound.waiting.get(&id);
            if waiting.is_some_and(|waiting| waiting.deadline < now.mono + SEND_LEAST) {
                continue; // refused when its time comes
            }
            if let Some(published) = self.outbound.take(&id) {
                self.timers.remove(&(published.deadline, Timer::Waiting(id)));
                self.publish(published, now, fx);
            }
        }
    }

    /// It got no place in time. It was never sent.
    pub(super) fn refuse_waiting(&mut self, id: &EventId, fx: &mut Effects) {
        if let Some(Published { waiters, .. }) = self.outbound.take(id) {
            self.refuse(&waiters, *id, &too_many(), fx);
        }
    }

    /// `OK false`, unless that would be a lie: some relay took the event before or may have, or it
    /// waits in the outbox.
    pub(super) fn refuse(&self, waiters: &[ClientId], id: EventId, why: &Reason, fx: &mut Effects) {
        let waits = self.outbox.get(&id).is_some_and(|entry| entry.stage == Stage::Waiting);
        let earlier = self.outbound.earlier.get(&id).copied().unwrap_or_default();
        let before = match earlier.sent {
            Some(true) => Some(had_before()),
            Some(false) => Some(Reason::new(Prefix::Duplicate, "sent before, unanswered")),
            None => waits.then(waits_already),
        };
        if let Some(why) = before {
            return accept(waiters, id, &why, fx);
        }
        if earlier.here {
            let has_it = format_args!("a client of this server has it; {why}");
            return accept(waiters, id, &Reason::new(Prefix::Local, has_it), fx);
        }
        for client in waiters {
            fx.to_client.push((*client, Reply::Ok { id, accepted: false, why: why.clone() }));
        }
    }
}

/// `OK true`.
pub(super) fn accept(waiters: &[ClientId], id: EventId, why: &Reason, fx: &mut Effects) {
    for client in waiters {
        fx.to_client.push((*client, Reply::Ok { id, accepted: true, why: why.clone() }));
    }
}

/// The relays that took no part in a publication, or whose connection died.
fn missing<'a>(
    relays: &[(RelayId, Delivery)],
    all: impl Iterator<Item = &'a RelayId>,
) -> Vec<RelayId> {
    let had = |id: &RelayId| {
        relays.iter().any(|(relay, delivery)| {
            relay == id && !matches!(delivery, Delivery::Lost | Delivery::Unsent)
        })
    };
    all.copied().filter(|id| !had(id)).collect()
}

/// An event whose time has passed (NIP-40).
pub(super) const EXPIRED: &str = "expired";

fn queued() -> Reason {
    Reason::new(Prefix::Queued, "no relay connected")
}

fn queued_late() -> Reason {
    Reason::new(Prefix::Queued, "no relay took it in time")
}

fn had_before() -> Reason {
    Reason::new(Prefix::Duplicate, "a relay has accepted it before")
}

pub(super) fn waits_already() -> Reason {
    Reason::new(Prefix::Duplicate, "it waits for a relay already")
}

pub(super) fn no_relay() -> Reason {
    Reason::new(Prefix::Mute, "no relay connected")
}

pub(super) fn too_many() -> Reason {
    Reason::new(Prefix::RateLimited, "too many events are waiting for the relays' answers")
}
