//! From the outbox to the relays: what waits is sent in order, asked for where it may have arrived,
//! and tried again (SPEC 2.4).

use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Now;
use crate::constants::{
    NEVER_ANSWERED, NEVER_ANSWERED_LEAST, OUTBOX_AHEAD, OUTBOX_ASK, OUTBOX_ASK_TIMEOUT,
    OUTBOX_RETRY_MOST,
};
use crate::ids::{RelayId, RequestNumber};
use crate::nostr::event::EventId;
use crate::nostr::hex;
use crate::nostr::message;
use crate::nostr::reason::{Prefix, Reason};
use crate::router::entry::{At, Entry, Part, Stage};

use super::outbox::refused;
use super::publish::EXPIRED;
use super::relays::Relay;
use super::{Effects, Router};

/// A relay is being asked which of these events it has.
#[derive(Debug)]
pub(super) struct Question {
    relay: RelayId,
    ids: Vec<EventId>,
    /// When it is waited for no longer.
    until: Duration,
}

/// What one relay is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Send,
    Ask,
}

fn due(entry: &Entry, relay: RelayId, now: Now) -> Option<Due> {
    match entry.at(relay) {
        None if entry.anywhere => Some(Due::Ask),
        None => Some(Due::Send),
        Some(At::Later(at)) => (*at <= now.mono).then_some(Due::Send),
        Some(At::Sent(at) | At::Unsure(at)) => (*at <= now.mono).then_some(Due::Ask),
        Some(At::Asked | At::Refused) => None,
    }
}

impl Router {
    /// Gives every connected relay what it is due.
    pub(super) fn flush_all(&mut self, now: Now, fx: &mut Effects) {
        if self.outbox.is_empty() {
            return;
        }
        let mut relays: Vec<RelayId> = self.relays.keys().copied().collect();
        relays.sort_unstable();
        for relay in relays {
            self.flush(relay, now, fx);
        }
    }

    /// Gives a relay what it is due, as far ahead as its line is let.
    pub(super) fn flush(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        while self.flush_some(id, now, fx) {}
    }

    /// True: there is more, and the line takes it.
    fn flush_some(&mut self, id: RelayId, now: Now, fx: &mut Effects) -> bool {
        if self.outbox.is_empty() || self.outbox.lease.is_some_and(|until| now.mono >= until) {
            return false;
        }
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.takes_events()) else {
            return false;
        };
        relay.line.more = false;
        let (asks, ahead) = (relay.read, OUTBOX_AHEAD.saturating_sub(relay.line.events()));
        // One question at a time: relays allow few subscriptions.
        let asking = self.outbox.questions.values().any(|question| question.relay == id);
        let (mut send, mut ask, mut expired) = (Vec::new(), Vec::new(), false);
        let mut more = false;
        for entry in self.outbox.in_order().filter(|entry| entry.stage == Stage::Waiting) {
            if entry.event.expiration().is_some_and(|at| at <= now.unix) {
                expired = true;
                continue;
            }
            match due(entry, id, now) {
                Some(Due::Ask) if asks && (asking || ask.len() == OUTBOX_ASK) => {}
                Some(Due::Ask) if asks => ask.push(*entry.event.id()),
                Some(_) if send.len() == ahead => {
                    more = true;
                    break;
                }
                Some(_) => send.push(*entry.event.id()),
                None => {}
            }
        }
        if !ask.is_empty() {
            self.ask_for(id, &ask, now, fx);
        }
        for event in send {
            self.send_waiting(id, &event, now, fx);
        }
        if expired {
            self.drop_expired(now, fx);
        }
        // Only now, or the line would come for more while this is being sent.
        self.relays.get_mut(&id).is_some_and(|relay| {
            relay.line.more = more;
            more && relay.line.events() < OUTBOX_AHEAD / 2
        })
    }

    fn send_waiting(&mut self, relay: RelayId, id: &EventId, now: Now, fx: &mut Effects) {
        let Some(entry) = self.outbox.get_mut(id) else { return };
        let part = entry.part(relay);
        part.tries += 1;
        let again = now.mono + part.pause();
        part.at = At::Sent(again);
        entry.sent.get_or_insert((now.unix, now.mono));
        let event = Arc::clone(&entry.event);
        self.outbox.look_again(again);
        self.send_event(relay, &event, now, fx);
    }

    /// Asks a relay which of these it has.
    fn ask_for(&mut self, relay: RelayId, ids: &[EventId], now: Now, fx: &mut Effects) {
        let number = self.numbers.request();
        for id in ids {
            if let Some(entry) = self.outbox.get_mut(id) {
                entry.part(relay).at = At::Asked;
            }
        }
        let names: Vec<String> = ids.iter().map(|id| format!("\"{}\"", hex::encode(id))).collect();
        let filter = format!("{{\"ids\":[{}]}}", names.join(","));
        let until = now.mono + OUTBOX_ASK_TIMEOUT;
        self.outbox.questions.insert(number, Question { relay, ids: ids.to_vec(), until });
        self.outbox.look_again(until);
        let text = message::req(number, std::iter::once(filter.as_str()));
        self.ask_once(relay, text, now, fx);
    }

    /// A relay has sent an event that is for no subscription: perhaps for a question.
    pub(super) fn found(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        id: &EventId,
        now: Now,
        fx: &mut Effects,
    ) {
        let question = self.outbox.questions.get(&number);
        // The claim is as good as an OK: it is the relay's own word in both.
        if question.is_some_and(|question| question.relay == relay && question.ids.contains(id)) {
            let why = Reason::new(Prefix::Duplicate, "the relay has it");
            self.delivered(relay, id, &why, now, fx);
        }
    }

    /// The relay has told all it has: the rest is sent again. False: there is no such question.
    pub(super) fn asked(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let Some(question) = self.outbox.questions.get(&number) else { return false };
        if question.relay != relay {
            return true;
        }
        let Some(Question { ids, .. }) = self.outbox.questions.remove(&number) else { return true };
        for id in ids {
            let Some(entry) = self.outbox.get_mut(&id) else { continue };
            let part = entry.part(relay);
            if part.at == At::Asked {
                part.at = At::Later(now.mono);
            }
        }
        self.flush(relay, now, fx);
        true
    }

    /// A relay's answer to an event that waits here.
    pub(super) fn answered_waiting(
        &mut self,
        relay: RelayId,
        id: &EventId,
        accepted: bool,
        why: &Reason,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(entry) = self.outbox.get(id).filter(|entry| entry.at(relay).is_some()) else {
            return;
        };
        if why.has_it(accepted) {
            return self.delivered(relay, id, why, now, fx);
        }
        if entry.stage == Stage::Rejected {
            return;
        }
        let url = self.url_of(relay);
        let Some(entry) = self.outbox.get_mut(id) else { return };
        entry.reasons.insert(url, why.clone());
        let part = entry.part(relay);
        part.at = refused(why, || now.mono + part.pause());
        let again = if let At::Later(at) = part.at { Some(at) } else { None };
        let open = |part: &Part| matches!(part.at, At::Sent(_) | At::Unsure(_) | At::Asked);
        if !entry.parts.iter().any(open) {
            entry.sent = None; // everybody who was sent it has answered
        }
        if let Some(at) = again {
            self.outbox.look_again(at);
        }
        self.judge(id, fx);
    }

    /// A relay's connection is gone. `unsent`: what it never took.
    pub(super) fn lose_waiting(&mut self, relay: RelayId, unsent: &[EventId], now: Now) {
        self.outbox.questions.retain(|_, question| question.relay != relay);
        for entry in self.outbox.entries_mut() {
            let id = *entry.event.id();
            if matches!(entry.at(relay), Some(At::Sent(_) | At::Asked)) {
                let part = entry.part(relay);
                let left = part.at == At::Asked || !unsent.contains(&id);
                part.at = if left { At::Unsure(now.mono) } else { At::Later(now.mono) };
            }
        }
    }

    /// A relay's line has dropped it unsent.
    pub(super) fn not_sent_waiting(&mut self, relay: RelayId, id: &EventId, now: Now) -> bool {
        let Some(entry) = self.outbox.get_mut(id) else { return false };
        if let Some(At::Sent(at)) = entry.at(relay).cloned() {
            entry.part(relay).at = At::Later(at.max(now.mono));
        }
        true
    }

    /// Something is to be tried again, or given up.
    pub(super) fn look_at_outbox(&mut self, now: Now, fx: &mut Effects) {
        self.outbox.due = None;
        let late: Vec<(RequestNumber, RelayId)> = self
            .outbox
            .questions
            .iter()
            .filter(|(_, question)| question.until <= now.mono)
            .map(|(number, question)| (*number, question.relay))
            .collect();
        for (number, relay) in late {
            self.close_upstream(relay, number, now, fx);
            self.asked(relay, number, now, fx);
        }
        self.give_up(now, fx);
        self.flush_all(now, fx);
        let waiting = |entry: &Entry| {
            let connected = |relay| self.relays.get(relay).is_some_and(Relay::takes_events);
            let parts = entry.parts.iter().filter(|part| connected(&part.relay));
            let at = parts.filter_map(|part| match part.at {
                At::Sent(at) | At::Unsure(at) | At::Later(at) => Some(at),
                At::Asked | At::Refused => None,
            });
            let given_up = entry.sent.map(|_| now.mono + OUTBOX_RETRY_MOST);
            // What is due by now waits for its relay's line, or for the lease.
            at.filter(|at| *at > now.mono).chain(given_up).min()
        };
        let questions = self.outbox.questions.values().map(|question| question.until);
        self.outbox.due = self.outbox.in_order().filter_map(waiting).chain(questions).min();
    }

    /// A day without any answer is enough.
    fn give_up(&mut self, now: Now, fx: &mut Effects) {
        self.drop_expired(now, fx);
        let urls: Vec<(RelayId, Arc<str>)> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.write)
            .map(|(id, relay)| (*id, Arc::clone(&relay.url)))
            .collect();
        let over: Vec<EventId> = self
            .outbox
            .in_order()
            .filter(|entry| entry.stage == Stage::Waiting)
            .filter(|entry| {
                entry.sent.is_some_and(|(unix, mono)| {
                    now.unix.saturating_sub(unix) >= NEVER_ANSWERED
                        && now.mono.saturating_sub(mono) >= NEVER_ANSWERED_LEAST
                })
            })
            .map(|entry| *entry.event.id())
            .collect();
        for id in over {
            if let Some(entry) = self.outbox.get_mut(&id) {
                for (relay, url) in &urls {
                    if entry.at(*relay).is_some() && !entry.reasons.contains_key(url) {
                        entry.reasons.insert(Arc::clone(url), Reason::read("never answered"));
                    }
                }
            }
            self.reject(&id);
        }
    }

    /// Events whose time has passed are not sent any more (NIP-40).
    pub(super) fn drop_expired(&mut self, now: Now, fx: &mut Effects) {
        let expired: Vec<EventId> = self
            .outbox
            .in_order()
            .filter(|entry| entry.event.expiration().is_some_and(|at| at <= now.unix))
            .map(|entry| *entry.event.id())
            .collect();
        for id in expired {
            let Some(entry) = self.drop_entry(&id) else { continue };
            self.stats.outbox.expired.add();
            let doubt = entry.doubt;
            self.answer_late(entry, doubt, &Reason::new(Prefix::Invalid, EXPIRED), fx);
        }
    }
}
