//! Publishing by clients inside that have named their relays: to those and to no others, beside what
//! goes to the owner's.
//!
//! Such a publication has its own answers and its own fate: what a named relay says counts for nobody
//! else, and what the owner's relays say does not count here. The outbox is for the owner's relays.
//! So what no named relay could be given is refused, and the client inside tries again when one
//! connects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::time::Now;
use crate::constants::{MAX_UNANSWERED_EVENTS, OK_DEADLINE};
use crate::ids::{ClientId, Position, RelayId};
use crate::nostr::event::{Event, EventId};
use crate::nostr::message::Reply;
use crate::router::publication::{Delivery, Fate, Publication, Published};

use super::publish::accept;
use super::{Effects, Router, Timer};

/// Publications under way, by event and by client.
pub(super) type Named = BTreeMap<(EventId, ClientId), Publication>;

impl Router {
    pub(super) fn publish_named(
        &mut self,
        client: ClientId,
        event: &Arc<Event>,
        relays: &[RelayId],
        position: Position,
        now: Now,
        fx: &mut Effects,
    ) {
        let key = (event.id, client);
        if let Some(under_way) = self.named.get_mut(&key) {
            return under_way.published.waiters.push(client);
        }
        let linked = |id: &RelayId| self.relays.get(id).is_some_and(|relay| relay.link.is_some());
        let relays: Vec<RelayId> = relays.iter().copied().filter(linked).collect();
        if relays.is_empty() {
            return refuse(&[client], event.id, NO_RELAY, fx);
        }
        if self.named.len() >= MAX_UNANSWERED_EVENTS {
            return refuse(&[client], event.id, TOO_MANY, fx);
        }
        let deadline = now.mono + OK_DEADLINE;
        let (event, waiters) = (Arc::clone(event), vec![client]);
        let published = Published { event: Arc::clone(&event), position, waiters, deadline };
        self.named.insert(key, Publication::new(published, relays.iter().copied()));
        self.timers.insert((deadline, Timer::AnswerNamed(event.id, client)));
        for relay in relays {
            self.send_event(relay, &event, now, fx);
        }
        self.settle_named(key, |publication| publication.fate(), fx);
    }

    /// A relay has answered an event.
    pub(super) fn named_ok(
        &mut self,
        relay: RelayId,
        event: &EventId,
        accepted: bool,
        why: &str,
        fx: &mut Effects,
    ) {
        for key in self.named_of(event) {
            self.settle_named(key, |publication| publication.answered(relay, accepted, why), fx);
        }
    }

    /// A relay's connection is gone, with these events unsent.
    pub(super) fn lose_named(&mut self, relay: RelayId, unsent: &[EventId], fx: &mut Effects) {
        let keys: Vec<_> = self.named.keys().copied().collect();
        for key in keys {
            let unsent = unsent.contains(&key.0);
            self.settle_named(key, |publication| publication.lost(relay, unsent), fx);
        }
    }

    /// A relay's line dropped the event before it was sent.
    pub(super) fn named_not_sent(&mut self, relay: RelayId, event: &EventId, fx: &mut Effects) {
        for key in self.named_of(event) {
            self.settle_named(key, |publication| publication.lost(relay, true), fx);
        }
    }

    /// Two seconds have passed.
    pub(super) fn named_deadline(&mut self, event: EventId, client: ClientId, fx: &mut Effects) {
        self.settle_named((event, client), |publication| Some(publication.at_deadline()), fx);
    }

    /// Whether a client inside has this event on its way to this relay.
    pub(super) fn is_named(&self, relay: RelayId, event: &EventId) -> bool {
        self.named_of(event).iter().any(|key| {
            self.named.get(key).is_some_and(|sent| sent.relays.iter().any(|(id, _)| *id == relay))
        })
    }

    pub(super) fn named_of(&self, event: &EventId) -> Vec<(EventId, ClientId)> {
        let all = (*event, ClientId::FIRST)..=(*event, ClientId::LAST);
        self.named.range(all).map(|(key, _)| *key).collect()
    }

    pub(super) fn settle_named(
        &mut self,
        key: (EventId, ClientId),
        step: impl FnOnce(&mut Publication) -> Option<Fate>,
        fx: &mut Effects,
    ) {
        let Some(publication) = self.named.get_mut(&key) else { return };
        let Some(fate) = step(publication) else { return };
        let Some(Publication { published, relays }) = self.named.remove(&key) else { return };
        let Published { event, waiters, deadline, .. } = published;
        self.timers.remove(&(deadline, Timer::AnswerNamed(event.id, key.1)));
        match fate {
            Fate::Accepted(why) => return accept(&waiters, event.id, &why, fx),
            Fate::Doubt(why) => accept(&waiters, event.id, &why, fx),
            Fate::Refused(why) => refuse(&waiters, event.id, &why, fx),
            Fate::Unsent => refuse(&waiters, event.id, NO_RELAY, fx),
        }
        // What has not left by now does not leave any more, unless somebody else publishes it too.
        let owners = self.publications.get(&event.id);
        for (relay, delivery) in relays {
            let shared = owners
                .is_some_and(|other| other.relays.iter().any(|(id, _)| *id == relay))
                || self.outbox.get(&event.id).is_some()
                || self.is_named(relay, &event.id);
            if delivery == Delivery::Queued
                && !shared
                && let Some(relay) = self.relays.get_mut(&relay)
            {
                relay.line.take_back(&event.id);
            }
        }
    }
}

fn refuse(waiters: &[ClientId], id: EventId, why: &str, fx: &mut Effects) {
    for client in waiters {
        fx.to_client.push((*client, Reply::Ok { id, accepted: false, why: why.into() }));
    }
}

/// The connection takes the event.
pub(super) fn sent(named: &mut Named, relay: RelayId, event: &EventId) {
    let all = (*event, ClientId::FIRST)..=(*event, ClientId::LAST);
    for (_, publication) in named.range_mut(all) {
        publication.sent(relay);
    }
}

const NO_RELAY: &str = "mute: no relay connected";
const TOO_MANY: &str = "rate-limited: too many events are waiting for the relays' answers";
