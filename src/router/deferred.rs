//! What a relay has refused for want of an authentication (SPEC 4.4): while there may be one, it
//! waits.
//!
//! Subscriptions are asked for and events sent again when the relay takes us for the owner of the key
//! (`auth`), and count as refused if it does not, or has said nothing for [`AUTH_PATIENCE`]. If it
//! does so later, subscriptions that are left are asked for again.
//!
//! [`AUTH_PATIENCE`]: crate::constants::AUTH_PATIENCE

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::ids::{Position, RelayId, SubscriptionKey};
use crate::nostr::event::{Event, EventId};
use crate::nostr::reason::Reason;
use crate::router::entry::At;
use crate::router::part::{Part, Stage};
use crate::router::publication::{Delivery, Publication};
use crate::stats::Trouble;

use crate::base::time::Now;

use super::relays::Relay;
use super::{Effects, Router};

impl Router {
    /// The relay has ended a subscription that it was asked for at this time, or that was live. True:
    /// for want of an authentication that may still be, so that it is asked again.
    pub(super) fn defer_subscription(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        asked: Option<Duration>,
        why: &Reason,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        if !why.wants_auth() {
            return false;
        }
        let hope = self.may_authenticate(id, now);
        let Some(Relay { auth, .. }) = self.relays.get_mut(&id) else { return false };
        let asked_before = asked.zip(auth.since).is_some_and(|(asked, since)| asked < since);
        if auth.key.is_some() {
            auth.ended.insert(key, why.clone());
            if auth.ended.len() > 2 * self.subscriptions.len() + 64 {
                auth.ended.retain(|key, _| self.subscriptions.contains_key(key));
            }
        }
        if !hope && !asked_before {
            return false;
        }
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return false };
        subscription.ask_again(id, now);
        if asked_before {
            // It did not know us when it was asked, and does now.
            self.want(id, key);
        }
        self.look_at_eose(key, now, fx);
        true
    }

    /// The relay has refused an event. True: the same.
    pub(super) fn defer_event(
        &mut self,
        id: RelayId,
        event: &EventId,
        why: &Reason,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        if !why.wants_auth() || !self.may_authenticate(id, now) {
            return false;
        }
        let named = self.named_of(event);
        for key in &named {
            if let Some(publication) = self.named.get_mut(key) {
                publication.deferred(id, why);
            }
        }
        if let Some(publication) = self.publications.get_mut(event) {
            publication.deferred(id, why);
        }
        let Some(Relay { in_flight, backlog, write, stats, .. }) = self.relays.get_mut(&id) else {
            return false;
        };
        let whole = in_flight.get(event).cloned();
        in_flight.remove(event);
        if self.outbox.get(event).is_some() {
            self.answered_waiting(id, event, false, why, now, fx);
        } else if let Some(whole) = whole.filter(|_| *write && named.is_empty()) {
            // Should another relay take it meanwhile, this one is to have it all the same.
            stats.backlog_dropped.add_all(backlog.push(whole));
        }
        true
    }

    /// The relay knows who we are: its subscriptions are asked for again.
    pub(super) fn ask_deferred(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(Relay { auth, .. }) = self.relays.get_mut(&id) else { return };
        for key in std::mem::take(&mut auth.ended).into_keys() {
            let part = self.subscriptions.get_mut(&key).and_then(|found| found.part(id));
            if let Some(part) = part.filter(|part| part.stage == Stage::Refused) {
                part.stage = Stage::Unasked;
            }
            self.want(id, key);
        }
        self.plan(id, now, fx);
    }

    /// Publications under way first, then what others have had already.
    pub(super) fn send_deferred(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let backlog = relay.backlog.take();
        let under_way = self.publications.values_mut().chain(self.named.values_mut());
        let mut again: Vec<(Position, Arc<Event>)> = under_way
            .filter_map(|publication| {
                let Publication { published, .. } = publication;
                let (position, event) = (published.position, Arc::clone(&published.event));
                publication.again(id).then_some((position, event))
            })
            .collect();
        again.sort_unstable_by_key(|(position, _)| *position);
        let mut sent = BTreeSet::new();
        for event in again.into_iter().map(|(_, event)| event).chain(backlog) {
            let elsewhere = self.outbox.get(event.id()).is_some();
            let expired = event.expiration().is_some_and(|at| at <= now.unix);
            if !elsewhere && !expired && sent.insert(*event.id()) {
                self.send_event(id, &event, now, fx);
            }
        }
    }

    /// What waits in the outbox and was refused for that reason alone.
    pub(super) fn flush_deferred(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let url = self.url_of(id);
        for entry in self.outbox.entries_mut() {
            let wants_auth = entry.reasons.get(&url).is_some_and(Reason::wants_auth);
            if wants_auth && matches!(entry.at(id), Some(At::Later(_))) {
                let part = entry.part(id);
                (part.at, part.tries) = (At::Later(now.mono), 0);
            }
        }
        self.flush(id, now, fx);
    }

    /// The relay does not know who we are: what waits is refused.
    pub(super) fn refuse_deferred(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(Relay { auth, stats, .. }) = self.relays.get(&id) else { return };
        let stats = Arc::clone(stats);
        // They stay known: the relay may change its mind.
        let ended: Vec<(SubscriptionKey, Reason)> = auth.ended.clone().into_iter().collect();
        for (key, why) in ended {
            let Some(subscription) = self.subscriptions.get_mut(&key) else { continue };
            let waits = |part: &&mut Part| part.stage == Stage::Unasked && !part.turn.waits;
            let part = subscription.part(id).filter(waits);
            let Some(part) = part.filter(|part| part.request.is_none()) else { continue };
            (part.stage, part.holds) = (Stage::Refused, false);
            subscription.refusal = Some(Reason::more_telling(subscription.refusal.take(), &why));
            stats.error(
                now.precisely(),
                Trouble::EndedSubscription,
                &format!("ended a subscription: {why}"),
            );
            stats.auth_refused.store(true, Relaxed);
            self.look_at_eose(key, now, fx);
        }
        let why = |publication: &Publication| {
            let mut parts = publication.relays.iter().filter(|(relay, _)| *relay == id);
            parts.find_map(|(_, delivery)| match delivery {
                Delivery::Deferred(why) => Some(why.clone()),
                _ => None,
            })
        };
        let owners = self.publications.iter().filter_map(|(id, sent)| Some((*id, why(sent)?)));
        let owners: BTreeMap<EventId, Reason> = owners.collect();
        let named = self.named.iter().filter_map(|(key, sent)| Some((*key, why(sent)?)));
        let named: BTreeMap<_, Reason> = named.collect();
        for why in owners.values().chain(named.values()) {
            stats.rejected.add();
            stats.error(
                now.precisely(),
                Trouble::RefusedEvent,
                &format!("refused an event: {why}"),
            );
            stats.auth_refused.store(true, Relaxed);
        }
        for event in owners.into_keys() {
            // What was refused counts for the answer, so this relay must not have it later.
            if let Some(relay) = self.relays.get_mut(&id) {
                relay.backlog.remove(&event);
            }
            self.settle(&event, |publication| publication.refused_after_all(id), now, fx);
        }
        for key in named.into_keys() {
            self.settle_named(key, |publication| publication.refused_after_all(id), fx);
        }
    }
}
