//! From the outbox to the relays: what waits is sent in order, asked for where it may have arrived,
//! and tried again (rule 2.4).

use std::sync::Arc;
use std::time::Duration;

use crate::constants::{
    NEVER_ANSWERED, NEVER_ANSWERED_LEAST, OUTBOX_AHEAD, OUTBOX_ASK, OUTBOX_ASK_TIMEOUT,
    OUTBOX_RETRY_MOST,
};
use crate::ids::{RelayId, RequestNumber};
use crate::nostr::event::EventId;
use crate::nostr::hex;
use crate::nostr::message;
use crate::nostr::reason::{Prefix, Reason};
use crate::router::answers::Answers;
use crate::router::relays::{Relays, Work};
use crate::router::turn::{Timer, Turn};

use super::Outbox;
use super::entry::{At, Dispatch, Entry, EntryStage};
use crate::router::terms::{Audience, Word};

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
enum Owed {
    Send,
    Ask,
}

fn owed(entry: &Entry, relay: RelayId, now: Duration) -> Option<Owed> {
    match entry.at(relay) {
        None if entry.anywhere => Some(Owed::Ask),
        None => Some(Owed::Send),
        Some(At::Later(at)) => (*at <= now).then_some(Owed::Send),
        Some(At::Sent(at) | At::Unsure(at)) => (*at <= now).then_some(Owed::Ask),
        Some(At::InQuestion | At::Refused) => None,
    }
}

impl Outbox {
    /// Every connected relay may be due something.
    pub(in crate::router) fn flush_all(&self, relays: &Relays, turn: &mut Turn<'_>) {
        if !self.entries.is_empty() {
            turn.due.flush.extend(relays.ids());
        }
    }

    /// Gives a relay what it is due, as far ahead as its line allows.
    pub(in crate::router) fn flush(
        &mut self,
        id: RelayId,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let leased = self.lease.is_none_or(|until| turn.now.mono < until);
        if self.entries.is_empty() || !leased || !relays.takes_events(id) {
            return;
        }
        let asks = relays.is_read(id);
        let ahead = OUTBOX_AHEAD.saturating_sub(relays.events_in_line(id));
        // One question at a time: relays allow few subscriptions.
        let asking = self.questions.values().any(|question| question.relay == id);
        let (mut send, mut ask, mut expired) = (Vec::new(), Vec::new(), false);
        let mut more = false;
        for entry in self.in_order().filter(|entry| entry.stage == EntryStage::Waiting) {
            if entry.event.expiration().is_some_and(|at| at <= turn.now.unix) {
                expired = true;
                continue;
            }
            match owed(entry, id, turn.now.mono) {
                Some(Owed::Ask) if asks && (asking || ask.len() == OUTBOX_ASK) => {}
                Some(Owed::Ask) if asks => ask.push(*entry.event.id()),
                Some(_) if send.len() == ahead => {
                    more = true;
                    break;
                }
                Some(_) => send.push(*entry.event.id()),
                None => {}
            }
        }
        // The line comes for more when half of this is sent.
        relays.set_more(id, more);
        if !ask.is_empty() {
            self.ask_for(id, ask, relays, turn);
        }
        for event in send {
            self.send(id, &event, relays, turn);
        }
        if expired {
            self.drop_expired(answers, relays, turn);
        }
    }

    fn send(&mut self, relay: RelayId, id: &EventId, relays: &mut Relays, turn: &mut Turn<'_>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let part = entry.part(relay);
        part.tries += 1;
        let again = turn.now.mono + part.pause();
        part.at = At::Sent(again);
        entry.sent.get_or_insert((turn.now.unix, turn.now.mono));
        turn.timers.set_by(Timer::Outbox, again);
        relays.send_event(relay, &Arc::clone(&entry.event), Audience::Owners, None, turn);
    }

    /// Asks a relay which of these it has.
    fn ask_for(
        &mut self,
        relay: RelayId,
        ids: Vec<EventId>,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let number = turn.numbers.request();
        for id in &ids {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.part(relay).at = At::InQuestion;
            }
        }
        let names: Vec<String> = ids.iter().map(|id| format!("\"{}\"", hex::encode(id))).collect();
        let filter = format!("{{\"ids\":[{}]}}", names.join(","));
        let until = turn.now.mono + OUTBOX_ASK_TIMEOUT;
        self.questions.insert(number, Question { relay, ids, until });
        turn.timers.set_by(Timer::Outbox, until);
        let text = message::req(number, std::iter::once(filter.as_str()));
        relays.push(relay, Work::Question(text), turn);
    }

    /// A relay has sent an event that is for no subscription: perhaps for a question.
    pub(in crate::router) fn found(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        id: &EventId,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let question = self.questions.get(&number);
        // The claim is as good as an OK: it is the relay's own word in both.
        if question.is_some_and(|question| question.relay == relay && question.ids.contains(id)) {
            let why = Reason::new(Prefix::Duplicate, "the relay has it");
            self.delivered(relay, id, &why, answers, relays, turn);
        }
    }

    /// The relay has told all it has: the rest is sent again. False: there is no such question.
    pub(in crate::router) fn question_answered(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(question) = self.questions.get(&number) else { return false };
        if question.relay != relay {
            return true;
        }
        let Some(Question { ids, .. }) = self.questions.remove(&number) else { return true };
        for id in ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let part = entry.part(relay);
            if part.at == At::InQuestion {
                part.at = At::Later(turn.now.mono);
            }
        }
        turn.due.flush.insert(relay);
        true
    }

    /// A relay's answer to an event that waits here.
    pub(in crate::router) fn answered(
        &mut self,
        relay: RelayId,
        id: &EventId,
        word: Word<'_>,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let there = self.entries.get_mut(id).filter(|entry| entry.at(relay).is_some());
        let Some(entry) = there else { return };
        if word.has_it() {
            return self.delivered(relay, id, word.why, answers, relays, turn);
        }
        if entry.stage == EntryStage::Rejected {
            return;
        }
        entry.reasons.insert(relays.url(relay), word.why.clone());
        let again = entry.part(relay).refused(word.why, turn.now.mono);
        let open =
            |part: &Dispatch| matches!(part.at, At::Sent(_) | At::Unsure(_) | At::InQuestion);
        if !entry.parts.iter().any(open) {
            entry.sent = None; // everybody who was sent it has answered
        }
        if let Some(at) = again {
            turn.timers.set_by(Timer::Outbox, at);
        }
        self.judge(id, answers, relays, turn);
    }

    /// A relay ends the connection over it: it is not sent there any more. False: it does not wait here.
    pub(in crate::router) fn quarantined(
        &mut self,
        relay: RelayId,
        id: &EventId,
        why: &Reason,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> bool {
        let waits = |entry: &&mut Entry| entry.stage == EntryStage::Waiting;
        let Some(entry) = self.entries.get_mut(id).filter(waits) else { return false };
        entry.part(relay).at = At::Refused;
        entry.reasons.insert(relays.url(relay), why.clone());
        self.judge(id, answers, relays, turn);
        true
    }

    /// A relay knows who we are: what it has refused for want of that alone is sent again.
    pub(in crate::router) fn retry_deferred(
        &mut self,
        relay: RelayId,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        let url = relays.url(relay);
        for entry in self.entries.values_mut() {
            let wants_auth = entry.reasons.get(&url).is_some_and(Reason::wants_auth);
            if wants_auth && matches!(entry.at(relay), Some(At::Later(_))) {
                let part = entry.part(relay);
                (part.at, part.tries) = (At::Later(turn.now.mono), 0);
            }
        }
        turn.due.flush.insert(relay);
    }

    /// A relay's connection is gone. `unsent`: what it never took.
    pub(in crate::router) fn relay_lost(
        &mut self,
        relay: RelayId,
        unsent: &[EventId],
        turn: &Turn<'_>,
    ) {
        self.questions.retain(|_, question| question.relay != relay);
        for entry in self.entries.values_mut() {
            let id = *entry.event.id();
            if matches!(entry.at(relay), Some(At::Sent(_) | At::InQuestion)) {
                let part = entry.part(relay);
                let left = part.at == At::InQuestion || !unsent.contains(&id);
                let now = turn.now.mono;
                part.at = if left { At::Unsure(now) } else { At::Later(now) };
            }
        }
    }

    /// A relay's line has dropped it unsent. False: it is not here.
    pub(in crate::router) fn dropped(
        &mut self,
        relay: RelayId,
        id: &EventId,
        turn: &Turn<'_>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        if let Some(At::Sent(at)) = entry.at(relay).cloned() {
            entry.part(relay).at = At::Later(at.max(turn.now.mono));
        }
        true
    }

    /// Something is to be tried again, or given up.
    pub(in crate::router) fn look(
        &mut self,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let late = self.questions.iter().filter(|(_, question)| question.until <= turn.now.mono);
        let late: Vec<(RequestNumber, RelayId)> =
            late.map(|(number, question)| (*number, question.relay)).collect();
        for (number, relay) in late {
            relays.push(relay, Work::Close(number), turn);
            self.question_answered(relay, number, turn);
        }
        self.give_up(answers, relays, turn);
        for relay in relays.ids() {
            self.flush(relay, answers, relays, turn);
        }
        self.set_timer(relays, turn);
    }

    /// When to look again.
    fn set_timer(&self, relays: &Relays, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let waiting = |entry: &Entry| {
            let parts = entry.parts.iter().filter(|part| relays.takes_events(part.relay));
            let at = parts.filter_map(|part| match part.at {
                At::Sent(at) | At::Unsure(at) | At::Later(at) => Some(at),
                At::InQuestion | At::Refused => None,
            });
            let given_up = entry.sent.map(|_| now + OUTBOX_RETRY_MOST);
            // What is due by now waits for its relay's line, or for the lease.
            at.filter(|at| *at > now).chain(given_up).min()
        };
        let questions = self.questions.values().map(|question| question.until);
        match self.in_order().filter_map(waiting).chain(questions).min() {
            Some(at) => turn.timers.set(Timer::Outbox, at),
            None => turn.timers.stop(Timer::Outbox),
        }
    }

    /// A day without any answer is enough.
    fn give_up(&mut self, answers: &mut Answers, relays: &mut Relays, turn: &mut Turn<'_>) {
        self.drop_expired(answers, relays, turn);
        let writable = relays.writable(false);
        let now = turn.now;
        let never_answered = |entry: &&Entry| {
            entry.stage == EntryStage::Waiting
                && entry.sent.is_some_and(|(unix, mono)| {
                    now.unix.saturating_sub(unix) >= NEVER_ANSWERED
                        && now.mono.saturating_sub(mono) >= NEVER_ANSWERED_LEAST
                })
        };
        let over: Vec<EventId> =
            self.in_order().filter(never_answered).map(|entry| *entry.event.id()).collect();
        for id in over {
            if let Some(entry) = self.entries.get_mut(&id) {
                for relay in &writable {
                    let url = relays.url(*relay);
                    if entry.at(*relay).is_some() && !entry.reasons.contains_key(&url) {
                        entry.reasons.insert(url, Reason::read("never answered"));
                    }
                }
            }
            self.reject(&id, relays, turn);
        }
    }

    /// Events whose time has passed are not sent any more (NIP-40).
    pub(super) fn drop_expired(
        &mut self,
        answers: &Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let has_expired =
            |entry: &&Entry| entry.event.expiration().is_some_and(|at| at <= turn.now.unix);
        let expired: Vec<EventId> =
            self.in_order().filter(has_expired).map(|entry| *entry.event.id()).collect();
        for id in expired {
            let Some(entry) = self.drop_entry(&id, relays) else { continue };
            turn.stats.outbox.expired.add();
            let doubt = entry.doubt;
            self.answer_late(entry, doubt, &Reason::new(Prefix::Invalid, "expired"), answers, turn);
        }
    }
}
