//! Who we are to a relay that asks (NIP-42, SPEC 4.4).
//!
//! A relay's challenge is answered at once where the owner has set a key for that relay. What the
//! relay refuses for want of an authentication waits for the outcome, for [`AUTH_PATIENCE`] at most:
//! subscriptions are asked for and events sent again if it takes us for the owner of the key, and
//! count as refused if not. A relay that takes us for him after that time is asked again too.
//!
//! From the moment the answer goes out until the connection ends or the relay has refused it, public
//! clients have no part in that connection, unless the owner says so: what the relay shows to him
//! alone is not theirs to read. They publish through it, as through any relay that takes events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::constants::{AUTH_ANSWERS, AUTH_PATIENCE};
use crate::event::{Event, EventId, KIND_AUTH, event_id};
use crate::keys::{KeyError, Keys};
use crate::message;
use crate::outbox::At;
use crate::publication::{Delivery, Publication, more_telling};
use crate::subscription::{Stage, Subscription};
use crate::time::Now;

use super::relays::Relay;
use super::{Effects, Hub, RelayId, Role, Timer};

/// One relay's part in it. All but the key is of its present connection.
#[derive(Debug, Default)]
pub(super) struct Auth {
    key: Option<Keys>,
    /// The last one.
    challenge: Option<String>,
    /// Our answers, by the ids of their events.
    answers: Vec<EventId>,
    /// The last of them, while the relay has not said what it thinks of it.
    under_way: Option<EventId>,
    /// What is refused before this waits; set while there is a timer for it.
    until: Option<Duration>,
    /// Since when it takes us for the owner of the key.
    since: Option<Duration>,
    /// It has refused our answer, or let us wait too long for something to answer.
    hopeless: bool,
    /// Subscriptions it has ended for want of an authentication, and its words.
    ended: BTreeMap<u64, String>,
}

impl Auth {
    /// Whether the relay knows us, or may by now.
    const fn may_be_known(&self) -> bool {
        self.under_way.is_some() || self.since.is_some()
    }
}

impl Hub {
    /// Whether a public client's subscription has no part at this relay.
    pub(super) fn bars_public(&self, id: RelayId) -> bool {
        let known = |relay: &Relay| relay.auth.may_be_known();
        !self.public_reads && self.relays.get(&id).is_some_and(known)
    }

    /// The owner has said otherwise, or does no more.
    pub(super) fn change_public_reads(&mut self, on: bool, now: Now, fx: &mut Effects) {
        self.public_reads = on;
        let known = self.relays.iter().filter(|(_, relay)| relay.auth.may_be_known());
        let known: Vec<RelayId> = known.map(|(id, _)| *id).collect();
        for id in known {
            if on {
                self.let_public_in(id, now, fx);
            } else {
                self.leave(id, is_public, now, fx);
            }
        }
    }

    fn let_public_in(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(read) = self.relays.get(&id).map(|relay| relay.read) else { return };
        self.each_subscription(now, fx, |subscription| {
            if is_public(subscription) && subscription.wants(id, read) {
                subscription.add_relay(id);
            }
        });
        self.ask_all(id, now, fx);
    }

    /// The owner has set another key, or none. A relay that has asked already connects anew: nobody
    /// can take back who he has said he is.
    pub(super) fn set_key(&mut self, id: RelayId, key: Option<Keys>, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.auth.key != key) else {
            return;
        };
        relay.auth.key = key;
        let asked = relay.auth.challenge.is_some() || relay.auth.until.is_some();
        if asked || relay.stats.auth_refused.load(Relaxed) {
            self.cut(id, "connects anew, because its key was changed", now, fx);
        }
    }

    /// The relay has sent a challenge.
    pub(super) fn challenged(
        &mut self,
        id: RelayId,
        challenge: String,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(Relay { auth, stats, url, .. }) = self.relays.get_mut(&id) else { return };
        if auth.key.is_none() {
            stats.authentication_required.store(true, Relaxed);
        }
        let known = auth.challenge.as_ref() == Some(&challenge);
        let answer = match auth.key.as_ref().filter(|_| !known) {
            Some(key) if auth.answers.len() < AUTH_ANSWERS => answer(key, url, &challenge, now),
            _ => {
                auth.challenge = Some(challenge);
                return self.relay_junk(id, now, fx);
            }
        };
        auth.challenge = Some(challenge);
        let (event, json) = match answer {
            Ok(answer) => answer,
            Err(why) => return stats.error(&format!("could not be answered who we are: {why}")),
        };
        auth.answers.push(event);
        auth.under_way = Some(event);
        auth.hopeless = false;
        self.wait_for_auth(id, now);
        if self.bars_public(id) {
            self.leave(id, is_public, now, fx);
        }
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.line.first(message::auth(&json));
        }
        self.pump(id, now, fx);
    }

    /// What the relay thinks of our answer. False: this is about another event.
    pub(super) fn auth_answered(
        &mut self,
        id: RelayId,
        event: &EventId,
        accepted: bool,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let Some(Relay { auth, stats, .. }) = self.relays.get_mut(&id) else { return false };
        if !auth.answers.contains(event) {
            return false;
        }
        let last = auth.under_way.take_if(|under_way| under_way == event).is_some();
        if accepted && (last || auth.since.is_none()) {
            self.authenticated(id, now, fx);
        } else if last {
            stats.error(&format!("refused our authentication: {why}"));
            let unknown = auth.since.is_none();
            self.give_up_auth(id, unknown, now, fx);
            if unknown {
                self.let_public_in(id, now, fx);
            }
        } else {
            self.relay_junk(id, now, fx);
        }
        true
    }

    /// The relay knows who we are: all that it has refused for want of that goes again.
    fn authenticated(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        self.stop_waiting(id);
        let Some(Relay { auth, stats, line, .. }) = self.relays.get_mut(&id) else { return };
        auth.since = Some(now.mono);
        auth.hopeless = false;
        stats.authenticated.store(true, Relaxed);
        stats.authentication_required.store(false, Relaxed);
        stats.auth_refused.store(false, Relaxed);
        let ended = std::mem::take(&mut auth.ended);
        let subscriptions = &mut self.subscriptions;
        line.ask_all(ended.into_keys().filter(|key| {
            let part = subscriptions.get_mut(key).and_then(|subscription| subscription.part(id));
            part.is_some_and(|part| {
                if part.stage == Stage::Refused {
                    part.stage = Stage::Unasked;
                }
                part.stage == Stage::Unasked
            })
        }));
        self.pump(id, now, fx);
        self.send_deferred(id, now, fx);
        self.flush_deferred(id, now, fx);
    }

    /// Publications under way first, then what others have had already.
    fn send_deferred(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let backlog = relay.backlog.take();
        let under_way = self.publications.values_mut().chain(self.named.values_mut());
        let mut again: Vec<(u64, Arc<Event>)> = under_way
            .filter_map(|publication| {
                let Publication { published, .. } = publication;
                let (position, event) = (published.position, Arc::clone(&published.event));
                publication.again(id).then_some((position, event))
            })
            .collect();
        again.sort_unstable_by_key(|(position, _)| *position);
        let mut sent = BTreeSet::new();
        for event in again.into_iter().map(|(_, event)| event).chain(backlog) {
            let elsewhere = self.outbox.get(&event.id).is_some();
            let expired = event.expiration().is_some_and(|at| at <= now.unix);
            if !elsewhere && !expired && sent.insert(event.id) {
                self.send_event(id, &event, now, fx);
            }
        }
    }

    /// What waits in the outbox and was refused for that reason alone.
    fn flush_deferred(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let url = self.url_of(id);
        for entry in self.outbox.entries_mut() {
            let wants_auth = entry.reasons.get(&url).is_some_and(|why| is_auth_required(why));
            if wants_auth && matches!(entry.at(id), Some(At::Later(_))) {
                let part = entry.part(id);
                (part.at, part.tries) = (At::Later(now.mono), 0);
            }
        }
        self.flush(id, now, fx);
    }

    /// What waits has waited long enough.
    pub(super) fn auth_deadline(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(Relay { auth, stats, .. }) = self.relays.get(&id) else { return };
        stats.error(if auth.under_way.is_some() {
            "does not answer our authentication"
        } else {
            "wants an authentication and gives no challenge"
        });
        self.give_up_auth(id, auth.since.is_none(), now, fx);
    }

    /// What the relay has refused for want of an authentication is refused. `unknown`: it does not
    /// know us at all.
    fn give_up_auth(&mut self, id: RelayId, unknown: bool, now: Now, fx: &mut Effects) {
        self.stop_waiting(id);
        let Some(Relay { auth, stats, .. }) = self.relays.get_mut(&id) else { return };
        auth.hopeless = true;
        let stats = Arc::clone(stats);
        if unknown {
            stats.authentication_required.store(true, Relaxed);
            stats.auth_refused.store(true, Relaxed);
        }
        // They stay known: the relay may change its mind.
        let ended: Vec<(u64, String)> = auth.ended.clone().into_iter().collect();
        for (key, why) in ended {
            let Some(subscription) = self.subscriptions.get_mut(&key) else { continue };
            let Some(part) = subscription.part(id).filter(|part| part.stage == Stage::Unasked)
            else {
                continue;
            };
            (part.stage, part.holds) = (Stage::Refused, false);
            subscription.refusal = Some(more_telling(subscription.refusal.take(), &why));
            stats.error(&format!("ended a subscription: {why}"));
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
        let owners: BTreeMap<EventId, String> = owners.collect();
        let named = self.named.iter().filter_map(|(key, sent)| Some((*key, why(sent)?)));
        let named: BTreeMap<_, String> = named.collect();
        for why in owners.values().chain(named.values()) {
            stats.rejected.add();
            stats.error(&format!("refused an event: {why}"));
            stats.auth_refused.store(true, Relaxed);
        }
        for event in owners.into_keys() {
            self.settle(&event, |publication| publication.refused_after_all(id), now, fx);
        }
        for key in named.into_keys() {
            self.settle_named(key, |publication| publication.refused_after_all(id), fx);
        }
    }

    /// The connection is gone, and with it who we were.
    pub(super) fn end_auth(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        self.stop_waiting(id);
        let barred = self.bars_public(id);
        let Some(Relay { auth, stats, .. }) = self.relays.get_mut(&id) else { return };
        *auth = Auth { key: auth.key.take(), ..Auth::default() };
        stats.authenticated.store(false, Relaxed);
        if barred {
            self.let_public_in(id, now, fx);
        }
    }

    /// The relay has ended a subscription. True: for want of an authentication that may still be, so
    /// that it is asked again.
    pub(super) fn defer_subscription(
        &mut self,
        id: RelayId,
        key: u64,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        if !is_auth_required(why) {
            return false;
        }
        let hope = self.may_authenticate(id, now);
        let living = &mut self.subscriptions;
        let Some(part) = living.get_mut(&key).and_then(|subscription| subscription.part(id)) else {
            return false;
        };
        let Some(Relay { auth, .. }) = self.relays.get_mut(&id) else { return false };
        let asked_before = match part.stage {
            Stage::Asked { at, .. } => auth.since.is_some_and(|since| at.mono < since),
            Stage::Live => false,
            Stage::Unasked | Stage::Refused => return false,
        };
        if auth.key.is_some() {
            auth.ended.insert(key, why.to_owned());
            if auth.ended.len() > 2 * self.subscriptions.len() + 64 {
                auth.ended.retain(|key, _| self.subscriptions.contains_key(key));
            }
        }
        if !hope && !asked_before {
            return false;
        }
        if let Some(part) = self.subscriptions.get_mut(&key).and_then(|found| found.part(id)) {
            if part.stage == Stage::Live {
                part.gap = part.gap.or(Some(now.unix));
            }
            part.stage = Stage::Unasked;
        }
        if asked_before {
            // It did not know us when it was asked, and does now.
            self.ask(id, key, now, fx);
        }
        self.look_at_eose(key, now, fx);
        true
    }

    /// The relay has refused an event. True: the same.
    pub(super) fn defer_event(
        &mut self,
        id: RelayId,
        event: &EventId,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        if !is_auth_required(why) || !self.may_authenticate(id, now) {
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

    /// Whether there is an authentication to wait for.
    fn may_authenticate(&mut self, id: RelayId, now: Now) -> bool {
        let Some(Relay { auth, .. }) = self.relays.get(&id) else { return false };
        if auth.key.is_none() || auth.hopeless || auth.until.is_some() {
            return auth.key.is_some() && !auth.hopeless;
        }
        if auth.since.is_some() || auth.challenge.is_some() {
            return false;
        }
        // Some send their challenge after the first refusal.
        self.wait_for_auth(id, now);
        true
    }

    fn wait_for_auth(&mut self, id: RelayId, now: Now) {
        self.stop_waiting(id);
        let until = now.mono + AUTH_PATIENCE;
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.auth.until = Some(until);
            self.timers.insert((until, Timer::Auth(id)));
        }
    }

    fn stop_waiting(&mut self, id: RelayId) {
        let until = self.relays.get_mut(&id).and_then(|relay| relay.auth.until.take());
        if let Some(until) = until {
            self.timers.remove(&(until, Timer::Auth(id)));
        }
    }
}

/// The signed event that answers a challenge, and its id.
fn answer(key: &Keys, url: &str, challenge: &str, now: Now) -> Result<(EventId, String), KeyError> {
    let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let tags = [tag("relay", url), tag("challenge", challenge)];
    let id = event_id(&key.public_hex(), now.unix, KIND_AUTH, &tags, "");
    let json = key.sign_event(now.unix, KIND_AUTH, &tags, "")?;
    Ok((id.map_err(|_| KeyError::Event)?, json))
}

fn is_public(subscription: &Subscription) -> bool {
    subscription.role == Role::Public
}

fn is_auth_required(why: &str) -> bool {
    why.starts_with("auth-required:")
}
