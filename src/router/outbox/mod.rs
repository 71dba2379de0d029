//! The outbox: events that no relay has taken yet (rules 1.3, 1.4 and 2).
//!
//! What comes in here is answered `true` once its row is in the database, and from then on it is
//! sent until a relay has it (`flush`). The database is told in batches (`ledger`), by whoever runs
//! the core; nothing here waits for it (`written`: what it says). If it fails, what was only to be queued
//! is answered `false`, and what a relay may have is kept here without a row, and tried again. `owner`
//! is what the owner may ask, `stored` what a REQ gets from here.
//!
//! [`Outbox`] owns the entries, their rows and the questions to relays about them. It is for the
//! owner's relays only.

mod entry;
mod flush;
mod ledger;
mod owner;
mod stored;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::hash::Map;
use crate::constants::{LEDGER_MOST, MAX_REJECTED, OUTBOX_BYTES, OUTBOX_SIZE, STORE_PATIENCE};
use crate::ids::{ClientId, Position, RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId};
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::nostr::succession::{self, Address};
use crate::nostr::url;

use super::answers::{Answers, accept, waits_already};
use super::relays::Relays;
use super::terms::{Delivery, Publication, Published, Reasons, State};
use super::turn::{Timer, Turn};

use entry::{At, Entry, EntryStage};
use flush::Question;
use ledger::Ledger;

/// See the module's own page.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: Map<EventId, Entry>,
    /// Those that wait or are about to, in the order published.
    order: BTreeSet<(Position, EventId)>,
    /// The newest version here of each replaceable event.
    addresses: Map<Address, EventId>,
    /// How many there are of each [`State`].
    tally: [usize; 3],
    /// Bytes of all events.
    bytes: usize,
    /// How many may be queued.
    size: usize,
    /// The rows of earlier runs have been read.
    open: bool,
    /// Until when this node may send: after that another one may have taken its rows over.
    lease: Option<Duration>,
    ledger: Ledger,
    /// What relays are being asked, by our number for it.
    questions: Map<RequestNumber, Question>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            entries: Map::default(),
            order: BTreeSet::new(),
            addresses: Map::default(),
            tally: [0; 3],
            bytes: 0,
            size: OUTBOX_SIZE,
            open: false,
            lease: None,
            ledger: Ledger::default(),
            questions: Map::default(),
        }
    }
}

impl Outbox {
    // --- To be looked at ------------------------------------------------------------------

    pub(super) fn get(&self, id: &EventId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Whether an event of this id is here.
    pub(super) fn contains(&self, id: &EventId) -> bool {
        self.entries.contains_key(id)
    }

    /// Whether it waits for a relay, and its publisher has been answered `true`.
    pub(super) fn waits(&self, id: &EventId) -> bool {
        self.get(id).is_some_and(|entry| entry.stage == EntryStage::Waiting)
    }

    /// Bytes of all events.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries are in this state.
    pub(super) const fn how_many(&self, state: State) -> usize {
        self.tally[state as usize]
    }

    /// How many may be queued.
    pub(super) const fn set_size(&mut self, size: usize) {
        self.size = size;
    }

    /// When the database is to be told something again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.ledger.due()
    }

    /// Those that wait or are about to, in the order published.
    fn in_order(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|(_, id)| self.entries.get(id))
    }

    /// Those that no relay wants, the oldest first.
    fn rejected(&self) -> Vec<&Entry> {
        let mut rejected: Vec<&Entry> =
            self.entries.values().filter(|entry| entry.stage == EntryStage::Rejected).collect();
        rejected.sort_unstable_by_key(|entry| entry.position);
        rejected
    }

    /// The entries that are of no use once this event is in good hands.
    fn voided_by(&self, event: &Event) -> Vec<EventId> {
        if self.entries.is_empty() || !succession::can_void(event) {
            return Vec::new();
        }
        let voided = |entry: &&Entry| {
            entry.stage != EntryStage::Rejected && succession::voids(event, &entry.event)
        };
        self.entries.values().filter(voided).map(|entry| *entry.event.id()).collect()
    }

    /// The newest version of this event that is here, if it is newer.
    fn newer(&self, event: &Event) -> Option<&Entry> {
        let newest = self.entries.get(self.addresses.get(&succession::address(event)?)?)?;
        succession::is_newer(&newest.event, event).then_some(newest)
    }

    /// Whether a newer version of this event is here to stay.
    fn has_newer_for_good(&self, event: &Event) -> bool {
        self.newer(event).is_some_and(|newest| newest.stage == EntryStage::Waiting)
    }

    // --- Entries in and out ---------------------------------------------------------------

    fn insert(&mut self, entry: Entry) {
        let id = *entry.event.id();
        self.remove(&id); // its row may have come in while it was being published
        self.bytes += entry.event.json().len();
        self.tally[entry.state() as usize] += 1;
        if entry.stage != EntryStage::Rejected {
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
                    && other.stage != EntryStage::Rejected
            });
            let newest = versions.reduce(|one, other| {
                if succession::is_newer(&one.event, &other.event) { one } else { other }
            });
            if let Some(id) = newest.map(|newest| *newest.event.id()) {
                self.addresses.insert(address, id);
            }
        }
    }

    fn remove(&mut self, id: &EventId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.bytes -= entry.event.json().len();
        self.tally[entry.state() as usize] -= 1;
        self.step_out(&entry);
        Some(entry)
    }

    /// Takes an entry out, with its row and wherever it waits to be sent.
    fn drop_entry(&mut self, id: &EventId, relays: &mut Relays) -> Option<Entry> {
        let entry = self.remove(id)?;
        self.ledger.mark(*id);
        relays.take_back(id);
        Some(entry)
    }

    // --- What is to wait here -------------------------------------------------------------

    /// No relay could be given this event: it is to wait for one.
    pub(super) fn enqueue(
        &mut self,
        published: Published,
        why: Reason,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if self.how_many(State::Queued) >= self.size {
            self.drop_expired(answers, relays, turn);
        }
        let event = &published.event;
        let voids = self.voided_by(event);
        let there = voids.iter().filter_map(|id| self.entries.get(id));
        // One that is not written yet itself gives no place away.
        let freed = there
            .filter(|entry| entry.state() == State::Queued && entry.stage == EntryStage::Waiting)
            .count();
        let refusal = if !self.open {
            Reason::new(Prefix::Error, "the offline queue cannot be read yet")
                .about(Cause::OutboxClosed)
        } else if self.newer(event).is_some() {
            Reason::new(Prefix::Replaced, "a newer version is queued")
        } else if self.how_many(State::Queued) - freed >= self.size
            || self.bytes + event.json().len() > OUTBOX_BYTES
        {
            Reason::new(Prefix::Error, "offline queue full").about(Cause::OutboxFull)
        } else if self.ledger.len() >= LEDGER_MOST {
            Reason::new(Prefix::Error, "the database does not keep up").about(Cause::Database)
        } else {
            return self.write(published, why, false, voids, turn);
        };
        answers.refuse(&published.waiters, *event.id(), &refusal, self.waits(event.id()), turn);
    }

    /// The event was sent and nobody has said what became of it.
    pub(super) fn doubt(
        &mut self,
        sent: Publication,
        why: Reason,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Publication { mut published, relays: to } = sent;
        let event = Arc::clone(&published.event);
        if self.has_newer_for_good(&event) {
            answers.remember(*event.id(), false);
            // Nobody wants this version any more.
            return accept(&published.waiters, *event.id(), &why, turn);
        }
        // What no relay's line has taken yet is sent from here.
        relays.take_back(event.id());
        let voids = self.voided_by(&event);
        let now = turn.now.mono;
        published.deadline = now + STORE_PATIENCE;
        self.write(published, why, true, voids, turn);
        turn.timers.set_by(Timer::Outbox, now + STORE_PATIENCE);
        let Some(entry) = self.entries.get_mut(event.id()) else { return };
        for (relay, delivery) in to {
            match delivery {
                Delivery::Sent | Delivery::Lost => entry.part(relay).at = At::Unsure(now),
                Delivery::Refused(why) | Delivery::Deferred(why) => {
                    let part = entry.part(relay);
                    part.tries = 1;
                    part.refused(&why, now);
                    entry.reasons.insert(relays.url(relay), why);
                }
                Delivery::Queued | Delivery::Unsent | Delivery::Accepted => {}
            }
        }
    }

    fn write(
        &mut self,
        published: Published,
        why: Reason,
        doubt: bool,
        voids: Vec<EventId>,
        turn: &mut Turn<'_>,
    ) {
        let Published { event, position, waiters, deadline: until } = published;
        let id = *event.id();
        turn.timers.set(Timer::Write(id), until);
        self.insert(Entry {
            event,
            position,
            queued_at: turn.now.unix,
            doubt,
            anywhere: false,
            stage: EntryStage::Writing { waiters, why, until },
            parts: Vec::new(),
            reasons: Reasons::new(),
            voids,
            sent: doubt.then_some((turn.now.unix, turn.now.mono)),
        });
        self.ledger.mark(id);
    }

    /// The same EVENT once more. False: it does not wait here.
    pub(super) fn join(&mut self, client: ClientId, id: &EventId, turn: &mut Turn<'_>) -> bool {
        match self.entries.get_mut(id).map(|entry| &mut entry.stage) {
            Some(EntryStage::Writing { waiters, .. } | EntryStage::Undoing { waiters, .. }) => {
                waiters.push(client);
            }
            Some(EntryStage::Waiting) => accept(&[client], *id, &waits_already(), turn),
            Some(EntryStage::Rejected) | None => return false,
        }
        true
    }

    /// Published again after every relay refused it: it starts anew.
    pub(super) fn forget_rejected(&mut self, id: &EventId) {
        if self.entries.get(id).is_some_and(|entry| entry.stage == EntryStage::Rejected) {
            self.remove(id);
            self.ledger.mark(*id);
        }
    }

    // --- What ends its waiting ------------------------------------------------------------

    /// Its author has published something that makes it void.
    fn drop_void(
        &mut self,
        id: &EventId,
        withdrawn: bool,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.drop_entry(id, relays) else { return };
        if withdrawn {
            turn.stats.outbox.withdrawn.add();
        } else {
            turn.stats.outbox.superseded.add();
        }
        let may_have_left = entry.doubt;
        let why = Reason::new(Prefix::Replaced, "its author has published what makes it void");
        self.answer_late(entry, may_have_left, &why, answers, turn);
    }

    /// Those who still wait for an answer about an entry that was dropped get this one.
    fn answer_late(
        &mut self,
        entry: Entry,
        accepted: bool,
        why: &Reason,
        answers: &Answers,
        turn: &mut Turn<'_>,
    ) {
        let (EntryStage::Writing { waiters, .. } | EntryStage::Undoing { waiters, .. }) =
            entry.stage
        else {
            return;
        };
        let id = *entry.event.id();
        turn.timers.stop(Timer::Write(id));
        if accepted {
            accept(&waiters, id, why, turn);
        } else {
            self.ledger.mark_undo(id);
            answers.refuse(&waiters, id, why, self.waits(&id), turn);
        }
    }

    /// This event is in good hands: what it makes void is dropped.
    pub(super) fn drop_voided_by(
        &mut self,
        event: &Event,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if !succession::can_void(event) {
            return;
        }
        for id in self.voided_by(event) {
            self.drop_void(&id, succession::withdraws(event), answers, relays, turn);
        }
        for url in succession::vanishes_from(event) {
            self.withhold(event, url, answers, relays, turn);
        }
        relays.drop_voided_by(event);
    }

    /// A request to vanish from one relay (NIP-62): what its author wrote before is not sent there.
    fn withhold(
        &mut self,
        event: &Event,
        url: &str,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let url = url::normalize(url).unwrap_or_default();
        let Some(relay) = relays.by_url(&url) else { return };
        let mut ids = Vec::new();
        for entry in self.entries.values_mut() {
            let older =
                entry.event.created_at() <= event.created_at() && *entry.event.id() != *event.id();
            if older && entry.event.pubkey() == event.pubkey() {
                entry.part(relay).at = At::Refused;
                entry.reasons.insert(url.as_str().into(), Reason::read("withdrawn by its author"));
                ids.push(*entry.event.id());
            }
        }
        for id in ids {
            self.judge(&id, answers, relays, turn);
        }
    }

    /// A relay has it: it leaves.
    fn delivered(
        &mut self,
        relay: RelayId,
        id: &EventId,
        why: &Reason,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.remove(id) else { return };
        self.ledger.mark(*id);
        answers.remember(*id, true);
        turn.stats.outbox.delivered.add();
        self.drop_voided_by(&entry.event, answers, relays, turn);
        let mut others = relays.ids();
        others.retain(|other| {
            *other != relay && !matches!(entry.at(*other), Some(At::Sent(_) | At::Refused))
        });
        let event = Arc::clone(&entry.event);
        self.answer_late(entry, true, why, answers, turn);
        relays.spread(&event, &others, turn);
    }

    /// Where every relay that takes events has refused it, it is rejected.
    fn judge(
        &mut self,
        id: &EventId,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.entries.get(id) else { return };
        let writable = relays.writable(false);
        let refused = |relay: &RelayId| entry.at(*relay) == Some(&At::Refused);
        if writable.is_empty()
            || !writable.iter().all(refused)
            || entry.stage == EntryStage::Rejected
        {
            return;
        }
        if let EntryStage::Writing { .. } | EntryStage::Undoing { .. } = entry.stage {
            // Nobody was told anything yet, so this is the answer.
            let most = entry
                .reasons
                .values()
                .fold(None, |kept, why| Some(Reason::more_telling(kept, why)));
            if let Some(entry) = self.drop_entry(id, relays) {
                self.answer_late(entry, false, &most.unwrap_or_default(), answers, turn);
            }
            return;
        }
        answers.forget(id);
        self.reject(id, relays, turn);
    }

    /// The same for all, when there are more or fewer relays.
    pub(super) fn judge_all(
        &mut self,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let ids: Vec<EventId> = self.in_order().map(|entry| *entry.event.id()).collect();
        for id in ids {
            self.judge(&id, answers, relays, turn);
        }
    }

    /// It is kept for the owner to see, and sent no more.
    fn reject(&mut self, id: &EventId, relays: &mut Relays, turn: &Turn<'_>) {
        let Some(mut entry) = self.remove(id) else { return };
        entry.stage = EntryStage::Rejected;
        self.insert(entry);
        self.ledger.mark(*id);
        turn.stats.outbox.rejected_ever.add();
        relays.take_back(id);
        if self.how_many(State::Rejected) > MAX_REJECTED {
            let oldest = self.rejected().first().map(|entry| *entry.event.id());
            oldest.and_then(|oldest| self.drop_entry(&oldest, relays));
        }
    }

    /// Rows that the database has yet to hear of.
    #[cfg(test)]
    pub(super) fn unwritten(&self) -> usize {
        self.ledger.len()
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.questions.is_empty() && self.ledger.is_idle()
    }
}
