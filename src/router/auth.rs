//! Who we are to a relay that asks (NIP-42, SPEC 4.4).
//!
//! A relay's challenge is answered at once where the owner has set a key for that relay. What it
//! refuses meanwhile waits for the outcome (`deferred`).
//!
//! From the moment the answer goes out until the connection ends or the relay has refused it, public
//! clients have no part in that connection, unless the owner says so: what the relay shows to him
//! alone is not theirs to read. They publish through it, as through any relay that takes events.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::base::time::Now;
use crate::constants::{AUTH_ANSWERS, AUTH_PATIENCE};
use crate::ids::{RelayId, SubscriptionKey};
use crate::nostr::event::{EventId, KIND_AUTH, event_id};
use crate::nostr::keys::{KeyError, Keys};
use crate::nostr::message;
use crate::nostr::reason::Reason;
use crate::router::subscription::Subscription;
use crate::stats::Trouble;

use super::relays::Relay;
use super::{Effects, Role, Router, Timer};

/// One relay's part in it. All but the key is of its present connection.
#[derive(Debug, Default)]
pub(super) struct Auth {
    pub(super) key: Option<Keys>,
    /// The last one.
    challenge: Option<String>,
    /// Our answers, by the ids of their events.
    answers: Vec<EventId>,
    /// The last of them, while the relay has not said what it thinks of it.
    under_way: Option<EventId>,
    /// What is refused before this waits; set while there is a timer for it.
    until: Option<Duration>,
    /// Since when it takes us for the owner of the key.
    pub(super) since: Option<Duration>,
    /// It has refused our answer, or let us wait too long for something to answer.
    hopeless: bool,
    /// Subscriptions it has ended for want of an authentication, and its words.
    pub(super) ended: BTreeMap<SubscriptionKey, Reason>,
}

impl Auth {
    /// Whether the relay knows us, or may by now.
    const fn may_be_known(&self) -> bool {
        self.under_way.is_some() || self.since.is_some()
    }
}

impl Router {
    /// Whether a public client's subscription has no part at this relay.
    pub(super) fn bars_public(&self, id: RelayId) -> bool {
        let known = |relay: &Relay| relay.auth.may_be_known();
        !self.settings.public_reads && self.relays.get(&id).is_some_and(known)
    }

    /// The owner has said otherwise, or does no more.
    pub(super) fn change_public_reads(&mut self, now: Now, fx: &mut Effects) {
        let known = self.relays.iter().filter(|(_, relay)| relay.auth.may_be_known());
        let known: Vec<RelayId> = known.map(|(id, _)| *id).collect();
        for id in known {
            if self.settings.public_reads {
                self.let_public_in(id, now, fx);
            } else {
                self.leave(id, is_public, now, fx);
            }
        }
    }

    fn let_public_in(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(read) = self.relays.get(&id).map(|relay| relay.read) else { return };
        self.each_subscription(now, fx, |subscription| {
            if is_public(subscription) && subscription.wants(id, read) && !subscription.is_over() {
                subscription.add_relay(id);
            }
        });
        self.want_all(id, now, fx);
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
            let why = "connects anew, because its key was changed";
            self.cut(id, Trouble::ConnectsAnew, why, now, fx);
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
            Some(key) if auth.answers.len() < AUTH_ANSWERS => {
                let secret = self.secret.bytes_for("signature", id.0);
                answer(key, url, &challenge, &secret, now)
            }
            _ => {
                auth.challenge = Some(challenge);
                return self.relay_junk(id, now, fx);
            }
        };
        auth.challenge = Some(challenge);
        let (event, json) = match answer {
            Ok(answer) => answer,
            Err(why) => {
                return stats.error(
                    now.precisely(),
                    Trouble::UnsignedAuth,
                    &format!("could not be answered who we are: {why}"),
                );
            }
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
        why: &Reason,
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
            stats.error(
                now.precisely(),
                Trouble::RefusedAuth,
                &format!("refused our authentication: {why}"),
            );
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
        let Some(Relay { auth, stats, .. }) = self.relays.get_mut(&id) else { return };
        auth.since = Some(now.mono);
        auth.hopeless = false;
        stats.authenticated.store(true, Relaxed);
        stats.authentication_required.store(false, Relaxed);
        stats.auth_refused.store(false, Relaxed);
        if self.bars_public(id) {
            // They are there if it had refused our answer before.
            self.leave(id, is_public, now, fx);
        }
        self.ask_deferred(id, now, fx);
        self.send_deferred(id, now, fx);
        self.flush_deferred(id, now, fx);
    }

    /// What waits has waited long enough.
    pub(super) fn auth_deadline(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(Relay { auth, stats, .. }) = self.relays.get(&id) else { return };
        let (kind, text) = if auth.under_way.is_some() {
            (Trouble::UnansweredAuth, "does not answer our authentication")
        } else {
            (Trouble::NoChallenge, "wants an authentication and gives no challenge")
        };
        stats.error(now.precisely(), kind, text);
        self.give_up_auth(id, auth.since.is_none(), now, fx);
    }

    /// What the relay has refused for want of an authentication is refused. `unknown`: it does not
    /// know us at all.
    fn give_up_auth(&mut self, id: RelayId, unknown: bool, now: Now, fx: &mut Effects) {
        self.stop_waiting(id);
        let Some(Relay { auth, stats, .. }) = self.relays.get_mut(&id) else { return };
        auth.hopeless = true;
        if unknown {
            stats.authentication_required.store(true, Relaxed);
            stats.auth_refused.store(true, Relaxed);
        }
        self.refuse_deferred(id, now, fx);
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

    /// Whether there is an authentication to wait for.
    pub(super) fn may_authenticate(&mut self, id: RelayId, now: Now) -> bool {
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
fn answer(
    key: &Keys,
    url: &str,
    challenge: &str,
    secret: &[u8; 32],
    now: Now,
) -> Result<(EventId, String), KeyError> {
    let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let tags = [tag("relay", url), tag("challenge", challenge)];
    let id = event_id(&key.public_hex(), now.unix, KIND_AUTH, &tags, "");
    let json = key.sign_event_with(now.unix, KIND_AUTH, &tags, "", secret)?;
    Ok((id.map_err(|_| KeyError::Event)?, json))
}

fn is_public(subscription: &Subscription) -> bool {
    subscription.role == Role::Public
}
