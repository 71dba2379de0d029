//! The outbox: events that no relay has taken yet (SPEC 1.3, 1.4 and 2).
//!
//! What comes in here is answered `true` once its row is in the database, and from then on it is
//! sent until a relay has it (`flush`). The database is told in batches (`ledger`), by whoever runs
//! the core; nothing here waits for it. If it fails, what was only to be queued is answered `false`,
//! and what a relay may have is kept here without a row, and tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::constants::{MAX_REJECTED, OUTBOX_SIZE, STORE_PATIENCE};
use crate::event::{Event, EventId};
use crate::outbox::{At, Entry, EntryView, Reasons, Row, Stage, State, Stored};
use crate::publication::{Delivery, Publication, Published, more_telling};
use crate::relay::url;
use crate::succession::{self, Address};
use crate::time::Now;

use super::flush::Question;
use super::ledger::{Ledger, Out};
use super::publish::accept;
use super::{ClientId, Effects, Hub, Map, RelayId, Timer};

/// The events that wait, and what the database has to be told of them.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: Map<EventId, Entry>,
    /// Those that wait or are about to, in the order published.
    order: BTreeSet<(u64, EventId)>,
    /// The newest version here of each replaceable event.
    addresses: Map<Address, EventId>,
    /// How many there are of each [`State`].
    tally: [usize; 3],
    /// How many may be queued.
    pub(super) size: usize,
    /// The rows of earlier runs have been read.
    open: bool,
    /// Until when this node may send: after that another one may have taken its rows over.
    pub(super) lease: Option<Duration>,
    pub(super) ledger: Ledger,
    /// What relays are being asked, by our number for the subscription.
    pub(super) questions: Map<u64, Question>,
    /// When something is to be tried again.
    pub(super) due: Option<Duration>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            entries: Map::default(),
            order: BTreeSet::new(),
            addresses: Map::default(),
            tally: [0; 3],
            size: OUTBOX_SIZE,
            open: false,
            lease: None,
            ledger: Ledger::default(),
            questions: Map::default(),
            due: None,
        }
    }
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
        self.entries.values().filter(voided).map(|entry| entry.event.id).collect()
    }

    /// Whether a newer version of this event is here.
    fn has_newer(&self, event: &Event) -> bool {
        let newest = succession::address(event).and_then(|at| self.addresses.get(&at));
        newest
            .and_then(|id| self.entries.get(id))
            .is_some_and(|newest| succession::is_newer(&newest.event, event))
    }

    fn insert(&mut self, entry: Entry) {
        let id = entry.event.id;
        self.tally[entry.state() as usize] += 1;
        if entry.stage != Stage::Rejected {
            self.line_up(&entry);
        }
        self.entries.insert(id, entry);
    }

    fn line_up(&mut self, entry: &Entry) {
        self.order.insert((entry.position, entry.event.id));
        if let Some(address) = succession::address(&entry.event)
            && !self.has_newer(&entry.event)
        {
            self.addresses.insert(address, entry.event.id);
        }
    }

    /// It does not wait any more.
    fn step_out(&mut self, entry: &Entry) {
        self.order.remove(&(entry.position, entry.event.id));
        let Some(address) = succession::address(&entry.event) else { return };
        if self.addresses.get(&address) == Some(&entry.event.id) {
            self.addresses.remove(&address);
            let others = entry.voids.iter().filter_map(|id| self.entries.get(id));
            let versions = others.filter(|other| {
                succession::address(&other.event).as_ref() == Some(&address)
                    && other.stage != Stage::Rejected
            });
            if let Some(id) = versions.map(|other| other.event.id).next() {
                self.addresses.insert(address, id);
            }
        }
    }

    fn remove(&mut self, id: &EventId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.tally[entry.state() as usize] -= 1;
        self.step_out(&entry);
        Some(entry)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.questions.is_empty() && self.ledger.is_idle()
    }
}

impl Hub {
    /// No relay could be given this event: it is to wait for one.
    pub(super) fn enqueue(&mut self, published: Published, why: &str, now: Now, fx: &mut Effects) {
        if self.outbox.count(State::Queued) >= self.outbox.size {
            self.drop_expired(now, fx);
        }
        let event = &published.event;
        let voids = self.outbox.voided_by(event);
        let freed = voids.iter().filter(|id| self.outbox.entries[*id].takes_place()).count();
        let refusal = if !self.outbox.open {
            "error: the offline queue cannot be read yet"
        } else if self.outbox.has_newer(event) {
            "replaced: a newer version is queued"
        } else if self.outbox.count(State::Queued) - freed >= self.outbox.size {
            "error: offline queue full"
        } else {
            return self.store(published, why.to_owned(), false, voids, now);
        };
        self.refuse(&published.waiters, event.id, refusal, fx);
    }

    /// The event was sent and nobody has said what became of it.
    pub(super) fn doubt(&mut self, sent: Publication, why: String, now: Now, fx: &mut Effects) {
        let Publication { mut published, relays } = sent;
        let event = Arc::clone(&published.event);
        if self.outbox.has_newer(&event) {
            // Nobody wants this version any more.
            return accept(&published.waiters, event.id, &why, fx);
        }
        // What no relay's line has taken yet is sent from here.
        self.take_back(&event.id);
        let voids = self.outbox.voided_by(&event);
        published.deadline = now.mono + STORE_PATIENCE;
        self.store(published, why, true, voids, now);
        let urls: Vec<_> = relays.iter().map(|(relay, _)| self.url_of(*relay)).collect();
        let Some(entry) = self.outbox.entries.get_mut(&event.id) else { return };
        for ((relay, delivery), url) in relays.into_iter().zip(urls) {
            match delivery {
                Delivery::Sent | Delivery::Lost => entry.part(relay).at = At::Unsure(now.mono),
                Delivery::Refused(why) => {
                    let part = entry.part(relay);
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
        why: String,
        doubt: bool,
        voids: Vec<EventId>,
        now: Now,
    ) {
        let Published { event, position, waiters, deadline: until } = published;
        let id = event.id;
        let older = voids.iter().filter_map(|id| self.outbox.entries.get(id));
        let older: Vec<EventId> = older.flat_map(|entry| entry.voids.iter().copied()).collect();
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
            voids: [voids, older].concat(),
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
                accept(&[client], *id, "duplicate: it waits for a relay already", fx);
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

    /// Those who wait for the row have waited long enough.
    pub(super) fn store_deadline(&mut self, id: &EventId, now: Now, fx: &mut Effects) {
        let why = match self.outbox.entries.get(id).map(|entry| &entry.stage) {
            Some(Stage::Storing { .. }) => "error: the database does not answer in time".to_owned(),
            Some(Stage::Undoing { why, .. }) => why.clone(),
            _ => return,
        };
        self.not_stored(id, &why, now, fx);
    }

    /// The database has answered.
    pub(super) fn stored(&mut self, number: u64, result: Stored, now: Now, fx: &mut Effects) {
        let Some(out) = self.outbox.ledger.close(number) else { return };
        match result {
            Stored::Done(elsewhere) => self.batch_done(&out, &elsewhere, now, fx),
            Stored::Failed(why) => {
                self.outbox.ledger.undo(&out);
                self.batch_failed(&out, &format!("error: {why}"), now, fx);
            }
            Stored::Unknown(why) => {
                self.batch_unknown(&out, &format!("error: {why}"));
                self.batch_failed(&out, &format!("error: {why}"), now, fx);
            }
        }
    }

    fn batch_done(&mut self, out: &Out, elsewhere: &[EventId], now: Now, fx: &mut Effects) {
        for id in &out.delete {
            self.outbox.ledger.has_no_row(id);
            let stage = self.outbox.entries.get(id).map(|entry| &entry.stage);
            if let Some(Stage::Undoing { why, .. }) = stage {
                let why = why.clone();
                self.not_stored(id, &why, now, fx);
            }
        }
        for (id, position) in &out.put {
            if elsewhere.contains(id) {
                self.outbox.ledger.has_no_row(id);
            }
            let Some(entry) = self.outbox.entries.get_mut(id) else { continue };
            if entry.position == *position {
                if let Stage::Storing { waiters, why, until } = &mut entry.stage {
                    let (waiters, why) = (std::mem::take(waiters), std::mem::take(why));
                    self.timers.remove(&(*until, Timer::Store(*id)));
                    entry.stage = Stage::Waiting;
                    self.outbound.remember(*id, false);
                    accept(&waiters, *id, &why, fx);
                }
                if elsewhere.contains(id) {
                    self.outbox.remove(id);
                }
            }
        }
        for (id, position) in &out.voids {
            self.outbox.ledger.has_no_row(id);
            if self.outbox.entries.get(id).is_some_and(|entry| entry.position == *position) {
                self.drop_void(id, fx);
            }
        }
        self.flush_all(now, fx);
    }

    /// What was to be queued is refused, unless it still has to be made sure that it is not there.
    fn batch_failed(&mut self, out: &Out, why: &str, now: Now, fx: &mut Effects) {
        for (id, position) in &out.put {
            let Some(entry) = self.outbox.entries.get(id) else { continue };
            if entry.position != *position || matches!(entry.stage, Stage::Undoing { .. }) {
                continue;
            }
            if matches!(entry.stage, Stage::Storing { .. }) {
                self.not_stored(id, why, now, fx);
            } else {
                self.outbox.ledger.mark_again(*id, now.mono);
            }
        }
        for id in &out.delete {
            self.outbox.ledger.mark_again(*id, now.mono);
        }
        self.flush_all(now, fx);
    }

    fn batch_unknown(&mut self, out: &Out, why: &str) {
        for (id, position) in &out.put {
            let Some(entry) = self.outbox.entries.get_mut(id) else { continue };
            if entry.position != *position || entry.doubt {
                continue;
            }
            if let Stage::Storing { waiters, until, .. } = &mut entry.stage {
                let (waiters, until) = (std::mem::take(waiters), *until);
                entry.stage = Stage::Undoing { waiters, why: why.to_owned(), until };
                self.outbox.ledger.mark(*id);
            }
        }
        for (id, _) in &out.voids {
            self.outbox.ledger.mark(*id); // their rows may be gone, and they are still here
        }
    }

    /// There will be no row. What may have left stays here all the same; the rest is refused.
    fn not_stored(&mut self, id: &EventId, why: &str, now: Now, fx: &mut Effects) {
        let Some(entry) = self.outbox.entries.get_mut(id) else { return };
        let stage = std::mem::replace(&mut entry.stage, Stage::Waiting);
        let (Stage::Storing { waiters, why: good, until }
        | Stage::Undoing { waiters, why: good, until }) = stage
        else {
            return;
        };
        self.timers.remove(&(until, Timer::Store(*id)));
        if entry.doubt {
            self.outbound.remember(*id, false);
            self.outbox.ledger.mark_again(*id, now.mono);
            accept(&waiters, *id, &good, fx);
        } else {
            self.drop_entry(id);
            self.refuse(&waiters, *id, why, fx);
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
    fn drop_void(&mut self, id: &EventId, fx: &mut Effects) {
        let Some(entry) = self.drop_entry(id) else { return };
        if succession::address(&entry.event).is_some() {
            self.stats.superseded.add();
        } else {
            self.stats.withdrawn.add();
        }
        self.answer_late(entry, true, "duplicate: its author has published what replaces it", fx);
    }

    /// Those who still wait for an answer get this one.
    pub(super) fn answer_late(
        &mut self,
        entry: Entry,
        accepted: bool,
        why: &str,
        fx: &mut Effects,
    ) {
        let (Stage::Storing { waiters, until, .. } | Stage::Undoing { waiters, until, .. }) =
            entry.stage
        else {
            return;
        };
        self.timers.remove(&(until, Timer::Store(entry.event.id)));
        if accepted {
            accept(&waiters, entry.event.id, why, fx);
        } else {
            self.refuse(&waiters, entry.event.id, why, fx);
        }
    }

    /// This event is in good hands: what it makes void is dropped.
    pub(super) fn drop_voided_by(&mut self, event: &Event, fx: &mut Effects) {
        if !succession::can_void(event) {
            return;
        }
        for id in self.outbox.voided_by(event) {
            self.drop_void(&id, fx);
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
            let older = entry.event.created_at <= event.created_at && entry.event.id != event.id;
            if older && entry.event.pubkey == event.pubkey {
                entry.part(relay).at = At::Refused;
                entry.reasons.insert(url.as_str().into(), "withdrawn by its author".to_owned());
                ids.push(entry.event.id);
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
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(entry) = self.outbox.remove(id) else { return };
        self.outbox.ledger.mark(*id);
        self.outbound.remember(*id, true);
        self.stats.outbox_delivered.add();
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
        if let Stage::Storing { .. } = entry.stage {
            // Nobody was told anything yet, so this is the answer.
            let most = entry.reasons.values().fold(None, |kept, why| Some(more_telling(kept, why)));
            if let Some(entry) = self.drop_entry(id) {
                self.answer_late(entry, false, &most.unwrap_or_default(), fx);
            }
            return;
        }
        self.outbound.forget(id);
        self.reject(id);
    }

    pub(super) fn judge_all(&mut self, fx: &mut Effects) {
        let ids: Vec<EventId> = self.outbox.in_order().map(|entry| entry.event.id).collect();
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
        self.stats.outbox_rejected_ever.add();
        self.take_back(id);
        if self.outbox.count(State::Rejected) > MAX_REJECTED {
            let rejected =
                self.outbox.entries.values().filter(|entry| entry.stage == Stage::Rejected);
            let oldest = rejected.min_by_key(|entry| entry.position).map(|entry| entry.event.id);
            oldest.and_then(|oldest| self.drop_entry(&oldest));
        }
    }

    // What the owner of the core asks for.

    /// The rows of earlier runs, or of another node that is gone.
    pub(super) fn adopt(&mut self, rows: Vec<Row>, now: Now, fx: &mut Effects) {
        self.outbox.open = true;
        for Row { event, state, position, queued_at, reasons } in rows {
            let id = event.id;
            self.outbound.positions_from(position);
            // What is here already, or about to be removed, is known better here.
            if self.outbox.entries.contains_key(&id) || self.outbox.ledger.is_pending(&id) {
                continue;
            }
            self.outbox.ledger.has_row(id);
            let rejected = state == State::Rejected;
            if !rejected && self.outbox.has_newer(&event) {
                self.stats.superseded.add();
                self.outbox.ledger.mark(id);
                continue;
            }
            if !rejected {
                self.drop_voided_by(&event, fx);
            }
            let doubt = state == State::Doubt;
            self.outbox.insert(Entry {
                event,
                position,
                queued_at,
                doubt,
                anywhere: doubt,
                stage: if rejected { Stage::Rejected } else { Stage::Waiting },
                parts: Vec::new(),
                reasons,
                voids: Vec::new(),
                sent: doubt.then_some((queued_at, now.mono)),
            });
        }
        self.flush_all(now, fx);
    }

    /// Another node has taken these rows over, or somebody has removed them.
    pub(super) fn let_go(&mut self, ids: &[EventId]) {
        for id in ids {
            if self.outbox.ledger.is_settled(id) {
                self.outbox.ledger.has_no_row(id);
                self.drop_entry(id);
            }
        }
    }

    /// Until when this node may send what waits; `None`: as long as it lives.
    pub(super) fn set_lease(&mut self, lease: Option<Duration>, now: Now, fx: &mut Effects) {
        self.outbox.lease = lease.map(|lease| now.mono + lease);
        self.flush_all(now, fx);
    }

    /// What is in the outbox: what waits, in order, then what was rejected.
    pub fn outbox_view(&self) -> Vec<EntryView> {
        let mut rejected: Vec<&Entry> =
            self.outbox.entries.values().filter(|entry| entry.stage == Stage::Rejected).collect();
        rejected.sort_unstable_by_key(|entry| entry.position);
        self.outbox
            .in_order()
            .chain(rejected)
            .map(|entry| EntryView {
                event: Arc::clone(&entry.event),
                state: entry.state(),
                queued_at: entry.queued_at,
                reasons: entry.reasons.clone(),
            })
            .collect()
    }

    /// Tries an event again, a rejected one too, at every relay. False: it is not here.
    pub fn outbox_retry(&mut self, now: Now, id: &EventId, fx: &mut Effects) -> bool {
        let Some(mut entry) = self.outbox.remove(id) else { return false };
        if entry.stage == Stage::Rejected {
            entry.stage = Stage::Waiting;
            entry.reasons.clear();
            entry.parts.clear();
            entry.sent = None;
            self.outbox.ledger.mark(*id);
        }
        for part in entry.parts.iter_mut().filter(|part| matches!(part.at, At::Later(_))) {
            part.at = At::Later(now.mono);
        }
        self.outbox.insert(entry);
        self.flush_all(now, fx);
        self.follow_up(now, fx);
        true
    }

    /// Removes an event for good. False: it is not here, or not answered yet.
    pub fn outbox_delete(&mut self, now: Now, id: &EventId, fx: &mut Effects) -> bool {
        let stage = self.outbox.entries.get(id).map(|entry| &entry.stage);
        if !matches!(stage, Some(Stage::Waiting | Stage::Rejected)) {
            return false;
        }
        self.drop_entry(id);
        self.follow_up(now, fx);
        true
    }

    #[cfg(test)]
    pub(super) fn outbox_is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    /// The next batch for the database, and what the page shows.
    pub(super) fn hand_out_batch(&mut self, now: Now, fx: &mut Effects) {
        let (stats, outbox) = (&self.stats, &mut self.outbox);
        if let Some(batch) =
            outbox.ledger.hand_out(&outbox.entries, || stats.batches.next(), now.mono)
        {
            fx.store = Some(batch);
        }
        stats.outbox_queued.set(outbox.count(State::Queued));
        stats.outbox_in_doubt.set(outbox.count(State::Doubt));
        stats.outbox_rejected.set(outbox.count(State::Rejected));
        let oldest = outbox.in_order().next().map_or(0, |entry| entry.queued_at);
        stats.outbox_oldest.set(usize::try_from(oldest).unwrap_or_default());
    }
}

/// What a refusal means for the next attempt.
pub(super) fn refused(why: &str, later: impl FnOnce() -> Duration) -> At {
    let patience = why.starts_with("rate-limited:") || why.starts_with("auth-required:");
    if patience { At::Later(later()) } else { At::Refused }
}
