//! What the database has to be told: which rows of the outbox changed, one batch at a time.
//!
//! The router marks what changed; what is to be written is looked up when a batch is handed out. So
//! whatever happens while a batch is being written is in the next one, once. One batch is out at a
//! time, which is also what makes many events share one commit.

use std::collections::VecDeque;
use std::time::Duration;

use super::entry::{Entry, EntryStage};
use crate::base::hash::{Map, Set};
use crate::constants::{STORE_BATCH, STORE_BATCH_BYTES, STORE_RETRY};
use crate::ids::{BatchNumber, Position};
use crate::nostr::event::EventId;
use crate::nostr::succession;
use crate::router::terms::{Batch, Row};

/// Changes not written yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// To be written next, in this order, each once.
    fresh: VecDeque<EventId>,
    marked: Set<EventId>,
    /// Failed before; tried again at `again_at`, apart from the fresh ones.
    again: Set<EventId>,
    again_at: Option<Duration>,
    /// Ids that may have a row, and whether they have one for certain.
    rows: Map<EventId, bool>,
    /// Rows to be removed that were never promised to anybody.
    undo: Set<EventId>,
    out: Option<Out>,
}

/// A batch that the database has.
#[derive(Debug)]
pub(super) struct Out {
    number: BatchNumber,
    /// Rows being written: the position tells an entry from a later one of the same id.
    pub(super) put: Vec<(EventId, Position)>,
    /// Those of them that had a row before, and whether that was certain.
    before: Map<EventId, bool>,
    /// Rows being removed on their own account.
    pub(super) delete: Vec<EventId>,
    /// Those of them that nobody was promised.
    undo: Vec<EventId>,
    /// Rows being removed because another one is written.
    pub(super) voids: Vec<Void>,
    /// When the first who waits for a row is told that there is none.
    until: Option<Duration>,
}

/// A row being removed because another one is written.
#[derive(Debug)]
pub(super) struct Void {
    pub(super) id: EventId,
    pub(super) position: Position,
    /// The entry it gives way to, if that one still stands by then.
    pub(super) by: (EventId, Position),
    /// By its author's wish, not by a newer version.
    pub(super) withdrawn: bool,
}

impl Ledger {
    /// The row of this id is to be written, or removed if there is no entry of that id.
    pub(super) fn mark(&mut self, id: EventId) {
        if self.marked.insert(id) {
            self.fresh.push_back(id);
        }
    }

    /// The same, but not before some time has passed: it has just failed.
    pub(super) fn mark_again(&mut self, id: EventId, now: Duration) {
        self.again.insert(id);
        self.again_at = Some(now + STORE_RETRY);
    }

    /// There is a row of this id.
    pub(super) fn has_row(&mut self, id: EventId) {
        self.rows.insert(id, true);
    }

    /// The row of this id is to be removed, if there is one: who waited for it was told that there is
    /// none.
    pub(super) fn mark_undo(&mut self, id: EventId) {
        self.undo.insert(id);
        self.mark(id);
    }

    /// How many rows are outstanding.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    /// Whether the database has yet to hear of this id, or to say what became of it.
    pub(super) fn is_pending(&self, id: &EventId) -> bool {
        let out = self.out.as_ref().is_some_and(|out| {
            let put = out.put.iter().any(|(other, _)| other == id);
            put || out.delete.contains(id) || out.voids.iter().any(|void| void.id == *id)
        });
        self.marked.contains(id) || self.again.contains(id) || out
    }

    /// Whether the database has heard all of this id and has a row of it.
    pub(super) fn is_written(&self, id: &EventId) -> bool {
        self.rows.contains_key(id) && !self.is_pending(id)
    }

    /// There is no row of this id that is ours.
    pub(super) fn has_no_row(&mut self, id: &EventId) {
        self.rows.remove(id);
        self.undo.remove(id);
    }

    /// When [`Self::hand_out`] has something to try again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.again_at.filter(|_| self.out.is_none())
    }

    /// The next batch, if the database has none and there is something to write.
    pub(super) fn hand_out(
        &mut self,
        entries: &Map<EventId, Entry>,
        number: impl FnOnce() -> BatchNumber,
        now: Duration,
    ) -> Option<Batch> {
        if self.out.is_some() {
            return None;
        }
        let mut out = loop {
            let out = self.collect(entries, now)?;
            if !(out.put.is_empty() && out.delete.is_empty()) {
                break out;
            }
        };
        out.number = number();
        let rows = out.put.iter().filter_map(|(id, _)| entries.get(id)).map(Entry::row);
        let (update, insert): (Vec<Row>, Vec<Row>) =
            rows.partition(|row| out.before.get(row.event.id()) == Some(&true));
        let voided = out.voids.iter().map(|void| void.id);
        let undo = out.undo.clone();
        let gone = out.delete.iter().copied().filter(|id| !undo.contains(id));
        let delete = gone.chain(voided).collect();
        let within = out.until.map(|until| until.saturating_sub(now));
        let batch = Batch { number: out.number, insert, update, delete, undo, within };
        self.out = Some(out);
        Some(batch)
    }

    /// What changed in the ids whose turn it is, which may be nothing. `None`: it is nobody's turn.
    fn collect(&mut self, entries: &Map<EventId, Entry>, now: Duration) -> Option<Out> {
        let ids = self.next_ids(entries, now)?;
        let (mut put, mut delete, mut voids) = (Vec::new(), Vec::new(), Vec::new());
        let (mut until, mut undo) = (None, Vec::new());
        let mut before = Map::default();
        for id in ids {
            match entries.get(&id) {
                Some(entry) if !matches!(entry.stage, EntryStage::Undoing { .. }) => {
                    put.push((id, entry.position));
                    self.undo.remove(&id);
                    before.extend(self.rows.insert(id, false).map(|sure| (id, sure)));
                    let withdrawn = succession::withdraws(&entry.event);
                    let by = (id, entry.position);
                    let there = entry.voids.iter().filter_map(|void| entries.get(void));
                    // What was published again since then is not meant.
                    let older = there.filter(|void| void.position < entry.position);
                    voids.extend(older.map(|void| {
                        let (id, position) = (*void.event.id(), void.position);
                        Void { id, position, by, withdrawn }
                    }));
                    if let EntryStage::Writing { until: at, .. } = &entry.stage
                        && !entry.doubt
                    {
                        until = Some(until.map_or(*at, |until: Duration| until.min(*at)));
                    }
                }
                _ if self.rows.contains_key(&id) => {
                    delete.push(id);
                    undo.extend(self.undo.contains(&id).then_some(id));
                }
                _ => _ = self.undo.remove(&id),
            }
        }
        Some(Out { number: BatchNumber::default(), put, before, delete, undo, voids, until })
    }

    /// As many as fit into one batch. Those that failed before go first, once in a while and alone.
    fn next_ids(&mut self, entries: &Map<EventId, Entry>, now: Duration) -> Option<Vec<EventId>> {
        let mut bytes = 0;
        let mut fits = |id: &EventId| {
            bytes += entries.get(id).map_or(0, |entry| entry.event.json().len());
            bytes <= STORE_BATCH_BYTES
        };
        if self.again_at.take_if(|at| *at <= now).is_some() {
            let mut ids: Vec<EventId> = self.again.iter().copied().take(STORE_BATCH).collect();
            let most = ids.iter().position(|id| !fits(id)).unwrap_or(ids.len()).max(1);
            ids.truncate(most);
            for id in &ids {
                self.again.remove(id);
            }
            if !self.again.is_empty() {
                self.again_at = Some(now);
            }
            return Some(ids);
        }
        let mut ids = Vec::new();
        while ids.len() < STORE_BATCH
            && let Some(id) = self.fresh.front()
            && (fits(id) || ids.is_empty())
            && let Some(id) = self.fresh.pop_front()
        {
            self.marked.remove(&id);
            ids.push(id);
        }
        (!ids.is_empty()).then_some(ids)
    }

    /// The database has answered. `None`: not to the batch that is out.
    pub(super) fn close(&mut self, number: BatchNumber) -> Option<Out> {
        self.out.take_if(|out| out.number == number)
    }

    /// Nothing of this batch was written.
    pub(super) fn undo(&mut self, out: &Out) {
        for (id, _) in &out.put {
            match out.before.get(id) {
                Some(sure) => self.rows.insert(*id, *sure),
                None => self.rows.remove(id),
            };
        }
    }

    /// Nobody knows what of this batch was written.
    pub(super) fn doubt(&mut self, out: &Out) {
        for id in out.voids.iter().map(|void| &void.id).chain(&out.delete) {
            self.rows.insert(*id, false);
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.fresh.is_empty() && self.again.is_empty() && self.out.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_while_others_wait_is_not_tried_without_a_pause() {
        let mut ledger = Ledger::default();
        let ids: Vec<EventId> = (0..=STORE_BATCH)
            .map(|number| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&number.to_be_bytes());
                id
            })
            .collect();
        for id in &ids {
            ledger.has_row(*id);
            ledger.mark_again(*id, Duration::ZERO);
        }
        let batch = ledger.hand_out(&Map::default(), || BatchNumber(1), STORE_RETRY).unwrap();
        assert_eq!(batch.delete.len(), STORE_BATCH);
        assert_eq!(ledger.again_at, Some(STORE_RETRY), "the last one is next");
        let out = ledger.close(BatchNumber(1)).unwrap();
        ledger.undo(&out);
        for id in &out.delete {
            ledger.mark_again(*id, STORE_RETRY);
        }
        assert_eq!(ledger.due(), Some(2 * STORE_RETRY));
    }
}
