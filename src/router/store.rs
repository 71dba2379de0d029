//! What the database says of the outbox's rows, and what follows for those who wait (SPEC 1.4, 2.3).

use crate::base::time::Now;
use crate::ids::BatchNumber;
use crate::nostr::event::EventId;
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::router::entry::{Stage, State, Stored};

use super::ledger::{Out, Void};
use super::publish::accept;
use super::{Effects, Router, Timer};

impl Router {
    /// The next batch for the database, and what the page shows.
    pub(super) fn hand_out_batch(&mut self, now: Now, fx: &mut Effects) {
        let (stats, outbox) = (&self.stats, &mut self.outbox);
        if let Some(batch) = outbox.next_batch(|| BatchNumber(stats.batches.next()), now) {
            fx.store = Some(batch);
        }
        stats.outbox.queued.set(outbox.count(State::Queued));
        stats.outbox.in_doubt.set(outbox.count(State::Doubt));
        stats.outbox.rejected.set(outbox.count(State::Rejected));
        let oldest = outbox.in_order().next().map_or(0, |entry| entry.queued_at);
        stats.outbox.oldest.set(usize::try_from(oldest).unwrap_or_default());
    }

    /// Those who wait for the row have waited long enough.
    pub(super) fn store_deadline(&mut self, id: &EventId, now: Now, fx: &mut Effects) {
        let why = match self.outbox.get(id).map(|entry| &entry.stage) {
            Some(Stage::Storing { .. }) => {
                Reason::new(Prefix::Error, "the database does not answer in time")
                    .about(Cause::Database)
            }
            Some(Stage::Undoing { why, .. }) => why.clone(),
            _ => return,
        };
        self.not_stored(id, &why, now, fx);
    }

    /// The database has answered.
    pub(super) fn stored(
        &mut self,
        number: BatchNumber,
        result: Stored,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(out) = self.outbox.ledger.close(number) else { return };
        match result {
            Stored::Done(elsewhere) => self.batch_done(&out, &elsewhere, now, fx),
            Stored::Failed(why) => {
                self.outbox.ledger.undo(&out);
                let why = Reason::new(Prefix::Error, why).about(Cause::Database);
                self.batch_failed(&out, &why, now, fx);
            }
            Stored::Unknown(why) => {
                self.outbox.ledger.doubt(&out);
                let why = Reason::new(Prefix::Error, why).about(Cause::Database);
                self.batch_unknown(&out, &why);
                self.batch_failed(&out, &why, now, fx);
            }
        }
    }

    fn batch_done(&mut self, out: &Out, elsewhere: &[EventId], now: Now, fx: &mut Effects) {
        for id in &out.delete {
            self.outbox.ledger.has_no_row(id);
            let stage = self.outbox.get(id).map(|entry| &entry.stage);
            if let Some(Stage::Undoing { why, .. }) = stage {
                let why = why.clone();
                self.not_stored(id, &why, now, fx);
            }
        }
        for (id, position) in &out.put {
            if elsewhere.contains(id) {
                self.outbox.ledger.has_no_row(id);
            } else {
                self.outbox.ledger.has_row(*id);
            }
            let Some(entry) = self.outbox.get_mut(id) else { continue };
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
        for Void { id, position, by: (by, place), withdrawn } in &out.voids {
            self.outbox.ledger.has_no_row(id);
            let stands = self.outbox.get(by).is_some_and(|entry| entry.position == *place);
            if !stands && !elsewhere.contains(by) {
                // Refused in the meantime: what it was to replace stays, and gets its row back.
                self.outbox.ledger.mark(*id);
            } else if self.outbox.get(id).is_some_and(|entry| entry.position == *position) {
                self.drop_void(id, *withdrawn, fx);
            }
        }
        self.flush_all(now, fx);
    }

    /// What was to be queued is refused, unless it still has to be made sure that it is not there.
    fn batch_failed(&mut self, out: &Out, why: &Reason, now: Now, fx: &mut Effects) {
        for (id, position) in &out.put {
            let Some(entry) = self.outbox.get(id) else { continue };
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

    fn batch_unknown(&mut self, out: &Out, why: &Reason) {
        for (id, position) in &out.put {
            let Some(entry) = self.outbox.get_mut(id) else { continue };
            if entry.position != *position || entry.doubt {
                continue;
            }
            if let Stage::Storing { waiters, until, .. } = &mut entry.stage {
                let (waiters, until) = (std::mem::take(waiters), *until);
                entry.stage = Stage::Undoing { waiters, why: why.clone(), until };
                self.outbox.ledger.mark_undo(*id);
            }
        }
        for Void { id, .. } in &out.voids {
            self.outbox.ledger.mark(*id); // their rows may be gone, and they are still here
        }
    }

    /// There will be no row. What may have left stays here all the same; the rest is refused.
    fn not_stored(&mut self, id: &EventId, why: &Reason, now: Now, fx: &mut Effects) {
        let Some(entry) = self.outbox.get_mut(id) else { return };
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
            self.outbox.ledger.mark_undo(*id);
            self.refuse(&waiters, *id, why, fx);
        }
    }
}
