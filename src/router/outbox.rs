//! The outbox: events that no relay has taken yet (SPEC 1.3, 1.4 and 2).
//!
//! What comes in here is answered `true` once its row is in the database, and from then on it is
//! sent until a relay has it (`flush`). The database is told in batches (`ledger`), by whoever runs
//! the core; nothing here waits for it. If it fails, what was only to be queued is answered `false`,
//! and what a relay may have is kept here without a row, and tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::time::Now;
use crate::constants::{LEDGER_MOST, MAX_REJECTED, OUTBOX_BYTES, STORE_PATIENCE};
use crate::ids::{BatchNumber, ClientId, Position, RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId};
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::nostr::succession::{self, Address};
use crate::nostr::url;
use crate::router::entry::{At, Batch, Entry, Reasons, Stage, State};
use crate::router::publication::{Delivery, Publication, Published};

use super::flush::Question;
use super::ledger::Ledger;
use super::publish::{accept, waits_already};
use super::{Effects, Router, Timer};

/// The events that wait, and what the database has to be told of them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: Map<EventId, Entry>,
    /// Those that wait or are about to, in the order published.
    order: BTreeSet<(Position, EventId)>,
    /// The newest version here of each replaceable event.
    addresses: Map<Address, EventId>,
    /// How many there are of each [`State`].
    tally: [usize; 3],
    /// Bytes of all events.
    pub(super) bytes: usize,
    /// The rows of earlier runs have been read.
    pub(super) open: bool,
    /// Until when this node may send: after that another one may have taken its rows over.
    pub(super) lease: Option<Duration>,
    pub(super) ledger: Ledger,
    /// What relays are being asked, by our number for the subscription.
    pub(super) questions: Map<RequestNumber, Question>,
    /// When something is to be tried again.
    pub(super) due: Option<Duration>,
}

impl Outbox {
    pub(super) fn get(&self, id: &EventId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &EventId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// How many entries are in this state.
    pub(super) fn count(&self, state: State) -> usize {
        self.tally[state as usize]
    }

    /// Those that wait or are about to, in the order published.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|(_, id)| self.entries.get(id))
    }

    /// Those that no relay wants, the oldest first.
    pub(super) fn rejected(&self) -> Vec<&Entry> {
        let mut rejected: Vec<&Entry> =
            self.entries.values().filter(|entry| entry.stage == Stage::Rejected).collect();
        rejected.sort_unstable_by_key(|entry| entry.position);
        rejected
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Something is to be looked at then.
    pub(super) fn look_again(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The entries that are of no use once this event is in good hands.
    pub(super) fn voided_by(&self, event: &Event) -> Vec<EventId> {
        if self.is_empty() || !succession::can_void(event) {
            return Vec::new();
        }
        let voided = |entry: &&Entry| {
            entry.stage != Stage::Rejected && succession::voids(event, &entry.event)
        };
        self.entries.values().filter(voided).map(|entry| *entry.event.id()).collect()
    }

    /// The newest version of this event that is here, if it is newer.
    fn newer(&self, event: &Event) -> Option<&Entry> {
        let newest = self.entries.get(self.addresses.get(&succession::address(event)?)?)?;
        succession::is_newer(&newest.event, event).then_some(newest)
    }

    /// Whether a newer version of this event is here to stay.
    pub(super) fn has_newer_for_good(&self, event: &Event) -> bool {
        self.newer(event).is_some_and(|newest| newest.stage == Stage::Waiting)
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let id = *entry.event.id();
        self.remove(&id); // its row may have come in while it was being published
        self.bytes += entry.event.json().len();
        self.tally[entry.state() as usize] += 1;
        if entry.stage != Stage::Rejected {
            self.line_up(&entry);
        }
        self.entries.insert(id, entry);
    }

    fn line_up(&mut self, entry: &Entry) {
        self.order.insert((entry.position, *entry.event.id()));
        if let Some(address) = succession::address(&entry.event)
            && self.newer(&entry.event).is_none()
        {
            self.addresses.insert(address, *entry.event.id());
        }
    }

    /// It does not wait any more.
    fn step_out(&mut self, entry: &Entry) {
        self.order.remove(&(entry.position, *entry.event.id()));
        let Some(address) = succession::address(&entry.event) else { return };
        if self.addresses.get(&address) == Some(entry.event.id()) {
            self.addresses.remove(&address);
            let others = entry.voids.iter().filter_map(|id| self.entries.get(id));
            let versions = others.filter(|other| {
                succession::address(&other.event).as_ref() == Some(&address)
                    && other.stage != Stage::Rejected
            });
            let newest = versions.reduce(|one, other| {
                if succession::is_newer(&one.event, &other.event) { one } else { other }
            });
            if let Some(id) = newest.map(|newest| *newest.event.id()) {
                self.addresses.insert(address, id);
            }
        }
    }

    pub(super) fn remove(&mut self, id: &EventId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.bytes -= entry.event.json().len();
        self.tally[entry.state() as usize] -= 1;
        self.step_out(&entry);
        Some(entry)
    }

    /// What the database is to be told next.
    pub(super) fn next_batch(
        &mut self,
        number: impl FnOnce() -> BatchNumber,
        now: Now,
    ) -> Option<Batch> {
        self.ledger.hand_out(&self.entries, number, now.mono)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.questions.is_empty() && self.ledger.is_idle()
    }
}

impl Router {
    /// No relay could be given this event: it is to wait for one.
    pub(super) fn enqueue(
        &mut self,
        published: Published,
        why: Reason,
        now: Now,
        fx: &mut Effects,
    ) {
        if self.outbox.count(State::Queued) >= self.settings.outbox_size {
            self.drop_expired(now, fx);
        }
        let event = &published.event;
        let voids = self.outbox.voided_by(event);
        let there = voids.iter().filter_map(|id| self.outbox.entries.get(id));
        // One that is not written yet itself gives no place away.
        let freed = there
            .filter(|entry| entry.state() == State::Queued && entry.stage == Stage::Waiting)
            .count();
        let refusal = if !self.outbox.open {
            Reason::new(Prefix::Error, "the offline queue cannot be read yet")
                .about(Cause::OutboxClosed)
        } else if self.outbox.newer(event).is_some() {
            Reason::new(Prefix::Replaced, "a newer version is queued")
        } else if self.outbox.count(State::Queued) - freed >= self.settings.outbox_size
            || self.outbox.bytes + event.json().len() > OUTBOX_BYTES
        {
            Reason::new(Prefix::Error, "offline queue full").about(Cause::OutboxFull)
        } else if self.outbox.ledger.len() >= LEDGER_MOST {
            Reason::new(Prefix::Error, "the database does not keep up").about(Cause::Database)
        } else {
            return self.store(published, why, false, voids, now);
        };
        self.refuse(&published.waiters, *event.id(), &refusal, fx);
    }

    /// The event was sent and nobody has said what became of it.
    pub(super) fn doubt(&mut self, sent: Publication, why: Reason, now: Now, fx: &mut Effects) {
        let Publication { mut published, relays } = sent;
        let event = Arc::clone(&published.event);
        if self.outbox.has_newer_for_good(&event) {
            self.outbound.remember(*event.id(), false);
            // Nobody wants this version any more.
            return accept(&published.waiters, *event.id(), &why, fx);
        }
        // What no relay's line has taken yet is sent from here.
        self.take_back(event.id());
        let voids = self.outbox.voided_by(&event);
        published.deadline = now.mono + STORE_PATIENCE;
        self.store(published, why, true, voids, now);
        self.outbox.look_again(now.mono + STORE_PATIENCE);
        let urls: Vec<_> = relays.iter().map(|(relay, _)| self.url_of(*relay)).collect();
        let Some(entry) = self.outbox.entries.get_mut(event.id()) else { return };
        for ((relay, delivery), url) in relays.into_iter().zip(urls) {
            match delivery {
                Delivery::Sent | Delivery::Lost => entry.part(relay).at = At::Unsure(now.mono),
                Delivery::Refused(why) | Delivery::Deferred(why) => {
                    let part = entry.part(relay);
                    part.tries = 1;
                    part.at = refused(&why, || now.mono + part.pause());
                    entry.reasons.insert(url, why);
                }
                Delivery::Queued | Delivery::Unsent | Delivery::Accepted => {}
            }
        }
    }

    fn store(
        &mut self,
        published: Published,
        why: Reason,
        doubt: bool,
        voids: Vec<EventId>,
        now: Now,
    ) {
        let Published { event, position, waiters, deadline: until } = published;
        let id = *event.id();
        self.timers.insert((until, Timer::Store(id)));
        self.outbox.insert(Entry {
            event,
            position,
            queued_at: now.unix,
            doubt,
            anywhere: false,
            stage: Stage::Storing { waiters, why, until },
            parts: Vec::new(),
            reasons: Reasons::new(),
            voids,
            sent: doubt.then_some((now.unix, now.mono)),
        });
        self.outbox.ledger.mark(id);
    }

    /// The same EVENT once more. False: it does not wait here.
    pub(super) fn join_stored(&mut self, client: ClientId, id: &EventId, fx: &mut Effects) -> bool {
        match self.outbox.entries.get_mut(id).map(|entry| &mut entry.stage) {
            Some(Stage::Storing { waiters, .. } | Stage::Undoing { waiters, .. }) => {
                waiters.push(client);
            }
            Some(Stage::Waiting) => {
                accept(&[client], *id, &waits_already(), fx);
            }
            Some(Stage::Rejected) | None => return false,
        }
        true
    }

    /// Published again after every relay refused it: it starts anew.
    pub(super) fn forget_rejected(&mut self, id: &EventId) {
        if self.outbox.entries.get(id).is_some_and(|entry| entry.stage == Stage::Rejected) {
            self.outbox.remove(id);
            self.outbox.ledger.mark(*id);
        }
    }

    /// Takes an entry out, with its row and wherever it waits to be sent.
    pub(super) fn drop_entry(&mut self, id: &EventId) -> Option<Entry> {
        let entry = self.outbox.remove(id)?;
        self.outbox.ledger.mark(*id);
        self.take_back(id);
        Some(entry)
    }

    /// Its author has published something that makes it void.
    pub(super) fn drop_void(&mut self, id: &EventId, withdrawn: bool, fx: &mut Effects) {
        let Some(entry) = self.drop_entry(id) else { return };
        if withdrawn {
            self.stats.outbox.withdrawn.add();
        } else {
            self.stats.outbox.superseded.add();
        }
        let left = entry.doubt;
        let why = Reason::new(Prefix::Replaced, "its author has published what makes it void");
        self.answer_late(entry, left, &why, fx);
    }

    /// Those who still wait for an answer about an entry that was dropped get this one.
    pub(super) fn answer_late(
        &mut self,
        entry: Entry,
        accepted: bool,
        why: &Reason,
        fx: &mut Effects,
    ) {
        let (Stage::Storing { waiters, until, .. } | Stage::Undoing { waiters, until, .. }) =
            entry.stage
        else {
            return;
        };
        self.timers.remove(&(until, Timer::Store(*entry.event.id())));
        if accepted {
            accept(&waiters, *entry.event.id(), why, fx);
        } else {
            self.outbox.ledger.mark_undo(*entry.event.id());
            self.refuse(&waiters, *entry.event.id(), why, fx);
        }
    }

    /// This event is in good hands: what it makes void is dropped.
    pub(super) fn drop_voided_by(&mut self, event: &Event, fx: &mut Effects) {
        if !succession::can_void(event) {
            return;
        }
        for id in self.outbox.voided_by(event) {
            self.drop_void(&id, succession::withdraws(event), fx);
        }
        for url in succession::vanishes_from(event) {
            self.withhold(event, url, fx);
        }
        for relay in self.relays.values_mut().filter(|relay| !relay.backlog.is_empty()) {
            relay.backlog.retain(|other| !succession::voids(event, other));
        }
    }

    /// A request to vanish from one relay (NIP-62): what its author wrote before is not sent there.
    fn withhold(&mut self, event: &Event, url: &str, fx: &mut Effects) {
        let url = url::normalize(url).unwrap_or_default();
        let Some((relay, _)) = self.relays.iter().find(|(_, relay)| *relay.url == *url) else {
            return;
        };
        let relay = *relay;
        let mut ids = Vec::new();
        for entry in self.outbox.entries.values_mut() {
            let older =
                entry.event.created_at() <= event.created_at() && *entry.event.id() != *event.id();
            if older && *entry.event.pubkey() == *event.pubkey() {
                entry.part(relay).at = At::Refused;
                entry.reasons.insert(url.as_str().into(), Reason::read("withdrawn by its author"));
                ids.push(*entry.event.id());
            }
        }
        for id in ids {
            self.judge(&id, fx);
        }
    }

    /// A relay has it: it leaves.
    pub(super) fn delivered(
        &mut self,
        relay: RelayId,
        id: &EventId,
        why: &Reason,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(entry) = self.outbox.remove(id) else { return };
        self.outbox.ledger.mark(*id);
        self.outbound.remember(*id, true);
        self.stats.outbox.delivered.add();
        self.drop_voided_by(&entry.event, fx);
        let others: Vec<RelayId> = self
            .relays
            .keys()
            .copied()
            .filter(|other| *other != relay)
            .filter(|other| !matches!(entry.at(*other), Some(At::Sent(_) | At::Refused)))
            .collect();
        let event = Arc::clone(&entry.event);
        self.answer_late(entry, true, why, fx);
        self.spread(&event, &others, now, fx);
    }

    /// Where every relay that takes events has refused it, it is rejected.
    pub(super) fn judge(&mut self, id: &EventId, fx: &mut Effects) {
        let Some(entry) = self.outbox.entries.get(id) else { return };
        let mut writable = self.relays.iter().filter(|(_, relay)| relay.write).peekable();
        let refused = writable.peek().is_some()
            && writable.all(|(relay, _)| entry.at(*relay) == Some(&At::Refused));
        if !refused || entry.stage == Stage::Rejected {
            return;
        }
        if let Stage::Storing { .. } | Stage::Undoing { .. } = entry.stage {
            // Nobody was told anything yet, so this is the answer.
            let most = entry
                .reasons
                .values()
                .fold(None, |kept, why| Some(Reason::more_telling(kept, why)));
            if let Some(entry) = self.drop_entry(id) {
                self.answer_late(entry, false, &most.unwrap_or_default(), fx);
            }
            return;
        }
        self.outbound.forget(id);
        self.reject(id);
    }

    pub(super) fn judge_all(&mut self, fx: &mut Effects) {
        let ids: Vec<EventId> = self.outbox.in_order().map(|entry| *entry.event.id()).collect();
        for id in ids {
            self.judge(&id, fx);
        }
    }

    /// It is kept for the owner to see, and sent no more.
    pub(super) fn reject(&mut self, id: &EventId) {
        let Some(mut entry) = self.outbox.remove(id) else { return };
        entry.stage = Stage::Rejected;
        self.outbox.insert(entry);
        self.outbox.ledger.mark(*id);
        self.stats.outbox.rejected_ever.add();
        self.take_back(id);
        if self.outbox.count(State::Rejected) > MAX_REJECTED {
            let oldest = self.outbox.rejected().first().map(|entry| *entry.event.id());
            oldest.and_then(|oldest| self.drop_entry(&oldest));
        }
    }

    #[cfg(test)]
    pub(super) fn outbox_is_idle(&self) -> bool {
        self.outbox.is_idle()
    }
}

/// What a refusal means for the next attempt.
pub(super) fn refused(why: &Reason, later: impl FnOnce() -> Duration) -> At {
    if why.passes() { At::Later(later()) } else { At::Refused }
}
