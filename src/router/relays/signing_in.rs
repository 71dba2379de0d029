//! Who we are to a relay that asks (NIP-42, rule 4.4).
//!
//! A relay's challenge is answered at once where the owner has set a key for that relay. What it
//! refuses meanwhile waits for the outcome; whoever has been refused asks [`Relays::hope`] whether there
//! is one to wait for.
//!
//! From the moment the answer goes out until the connection ends or the relay has refused it, public
//! clients have no part in that connection, unless the owner says so: what the relay shows to him
//! alone is not theirs to read. They publish through it, as through any relay that takes events.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::base::time::Now;
use crate::constants::{AUTH_ANSWERS, AUTH_PATIENCE};
use crate::ids::RelayId;
use crate::nostr::event::{EventId, KIND_AUTH, event_id};
use crate::nostr::keys::{KeyError, Keys};
use crate::nostr::message;
use crate::nostr::reason::Reason;
use crate::router::turn::{Timer, Turn};
use crate::stats::Trouble;

use super::{Relay, Relays};

/// One relay's part in it. All but the key is of its present connection.
#[derive(Debug, Default)]
pub(super) struct SigningIn {
    key: Option<Keys>,
    /// The last one.
    challenge: Option<String>,
    /// Our answers, by the ids of their events.
    answers: Vec<EventId>,
    /// The last of them, while the relay has not said what it thinks of it.
    under_way: Option<EventId>,
    /// Since when it takes us for the owner of the key.
    since: Option<Duration>,
    /// It has refused our answer, or let us wait too long for something to answer.
    hopeless: bool,
}

impl SigningIn {
    /// Whether the relay knows us, or may by now.
    const fn may_be_known(&self) -> bool {
        self.under_way.is_some() || self.since.is_some()
    }
}

/// What a relay's word on an event means if that event was our answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) enum Answered {
    /// It was none.
    OtherEvent,
    /// It changes nothing.
    Nothing,
    /// It knows who we are from now on.
    Known,
    /// It does not want us, and what waits for that waits no longer.
    Refused,
}

/// What may become of something that a relay has refused because it does not know who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) struct Hope {
    /// There is a key, so it may know us one day.
    pub(in crate::router) has_key: bool,
    /// There is an authentication to wait for.
    pub(in crate::router) waits: bool,
    /// It did not know us when this was asked for, and does now.
    pub(in crate::router) asked_before: bool,
}

impl Relays {
    /// Whether a public client has no part at this relay, which may know us.
    pub(in crate::router) fn bars_public(&self, id: RelayId) -> bool {
        let known = |relay: &Relay| relay.signing_in.may_be_known();
        !self.public_reads && self.all.get(&id).is_some_and(known)
    }

    /// Whether public clients read through connections that are authenticated as the owner.
    pub(in crate::router) fn set_public_reads(&mut self, on: bool, turn: &mut Turn<'_>) {
        if std::mem::replace(&mut self.public_reads, on) == on {
            return;
        }
        let known = self.all.iter().filter(|(_, relay)| relay.signing_in.may_be_known());
        turn.due.readers.extend(known.map(|(id, _)| *id));
    }

    /// The owner has set another key, or none. A relay that has asked already connects anew: nobody
    /// can take back who he has said he is.
    pub(in crate::router) fn set_key(
        &mut self,
        id: RelayId,
        key: Option<Keys>,
        turn: &mut Turn<'_>,
    ) {
        let Some(relay) = self.all.get_mut(&id) else { return };
        if relay.signing_in.key == key {
            return;
        }
        relay.signing_in.key = key;
        // What it does not bear of a stranger it may of whom it knows.
        relay.blame.forgive_all();
        relay.show_quarantine();
        let waits = turn.timers.is_set(Timer::SignIn(id));
        let asked = relay.signing_in.challenge.is_some() || waits;
        if asked || relay.stats.auth_refused.load(Relaxed) {
            turn.cut(id, Trouble::ConnectsAnew, "connects anew, because its key was changed");
        }
    }

    /// The relay has sent a challenge.
    pub(in crate::router) fn challenged(
        &mut self,
        id: RelayId,
        challenge: String,
        turn: &mut Turn<'_>,
    ) {
        let Some(relay) = self.all.get_mut(&id) else { return };
        let Relay { signing_in, stats, url, line, .. } = relay;
        if signing_in.key.is_none() {
            stats.authentication_required.store(true, Relaxed);
        }
        let known = signing_in.challenge.as_ref() == Some(&challenge);
        let answer = match signing_in.key.as_ref().filter(|_| !known) {
            Some(key) if signing_in.answers.len() < AUTH_ANSWERS => {
                answer(key, url, &challenge, turn.now)
            }
            _ => {
                signing_in.challenge = Some(challenge);
                return self.junk(id, turn);
            }
        };
        signing_in.challenge = Some(challenge);
        let (event, json) = match answer {
            Ok(answer) => answer,
            Err(why) => {
                let what = format!("could not be answered who we are: {why}");
                return stats.error(turn.now.precisely(), Trouble::UnsignedAuth, &what);
            }
        };
        signing_in.answers.push(event);
        signing_in.under_way = Some(event);
        signing_in.hopeless = false;
        line.push_first(message::auth(&json));
        turn.timers.set(Timer::SignIn(id), turn.now.mono + AUTH_PATIENCE);
        turn.due.send.insert(id);
        if self.bars_public(id) {
            turn.due.readers.insert(id);
        }
    }

    /// The relay's word on an event, which may have been our answer.
    pub(in crate::router) fn auth_answered(
        &mut self,
        id: RelayId,
        event: &EventId,
        accepted: bool,
        why: &Reason,
        turn: &mut Turn<'_>,
    ) -> Answered {
        let Some(Relay { signing_in, stats, .. }) = self.all.get_mut(&id) else {
            return Answered::OtherEvent;
        };
        if !signing_in.answers.contains(event) {
            return Answered::OtherEvent;
        }
        let last = signing_in.under_way.take_if(|under_way| under_way == event).is_some();
        if accepted && (last || signing_in.since.is_none()) {
            turn.timers.stop(Timer::SignIn(id));
            signing_in.since = Some(turn.now.mono);
            signing_in.hopeless = false;
            stats.authenticated.store(true, Relaxed);
            stats.authentication_required.store(false, Relaxed);
            stats.auth_refused.store(false, Relaxed);
            if self.bars_public(id) {
                // Public clients are there if it had refused our answer before.
                turn.due.readers.insert(id);
            }
            Answered::Known
        } else if last {
            stats.error(
                turn.now.precisely(),
                Trouble::RefusedAuth,
                &format!("refused our authentication: {why}"),
            );
            if signing_in.since.is_none() {
                turn.due.readers.insert(id);
            }
            self.give_up(id, turn);
            Answered::Refused
        } else {
            self.junk(id, turn);
            Answered::Nothing
        }
    }

    /// What waits for the relay to know us has waited long enough.
    pub(in crate::router) fn sign_in_deadline(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        let Some(Relay { signing_in, stats, .. }) = self.all.get(&id) else { return };
        let (kind, what) = if signing_in.under_way.is_some() {
            (Trouble::UnansweredAuth, "does not answer our authentication")
        } else {
            (Trouble::NoChallenge, "wants an authentication and gives no challenge")
        };
        stats.error(turn.now.precisely(), kind, what);
        self.give_up(id, turn);
    }

    fn give_up(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        turn.timers.stop(Timer::SignIn(id));
        let Some(Relay { signing_in, .. }) = self.all.get_mut(&id) else { return };
        signing_in.hopeless = true;
        if signing_in.since.is_none() {
            self.wants_auth(id, true);
        }
    }

    /// The connection is gone, and with it who we were.
    pub(in crate::router) fn end_sign_in(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        turn.timers.stop(Timer::SignIn(id));
        let barred = self.bars_public(id);
        let Some(Relay { signing_in, stats, .. }) = self.all.get_mut(&id) else { return };
        *signing_in = SigningIn { key: signing_in.key.take(), ..SigningIn::default() };
        stats.authenticated.store(false, Relaxed);
        if barred {
            turn.due.readers.insert(id);
        }
    }

    /// The relay has refused something, that it was asked for at this time, because it does not know
    /// who we are: whether it may be asked again.
    pub(in crate::router) fn hope(
        &mut self,
        id: RelayId,
        asked: Option<Duration>,
        turn: &mut Turn<'_>,
    ) -> Hope {
        let Some(Relay { signing_in, .. }) = self.all.get(&id) else { return Hope::NONE };
        let has_key = signing_in.key.is_some();
        let asked_before = asked.zip(signing_in.since).is_some_and(|(asked, since)| asked < since);
        let mut waits = has_key && !signing_in.hopeless;
        if waits && !turn.timers.is_set(Timer::SignIn(id)) {
            // Some send their challenge after the first refusal.
            waits = signing_in.since.is_none() && signing_in.challenge.is_none();
            if waits {
                turn.timers.set(Timer::SignIn(id), turn.now.mono + AUTH_PATIENCE);
            }
        }
        Hope { has_key, waits, asked_before }
    }

    /// The relay wants to know who we are, and the owner is shown that. `refused`: it has refused a
    /// subscription or an event for want of it.
    pub(in crate::router) fn wants_auth(&self, id: RelayId, refused: bool) {
        let Some(Relay { stats, .. }) = self.all.get(&id) else { return };
        stats.authentication_required.store(true, Relaxed);
        stats.auth_refused.fetch_or(refused, Relaxed);
    }
}

impl Hope {
    const NONE: Self = Self { has_key: false, waits: false, asked_before: false };

    /// Whether what was refused is asked for again.
    pub(in crate::router) const fn is_any(self) -> bool {
        self.waits || self.asked_before
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
