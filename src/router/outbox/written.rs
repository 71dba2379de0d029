//! What the database says of the outbox's rows, and what follows for those who wait (rules 1.4, 2.3).

use crate::ids::BatchNumber;
use crate::nostr::event::EventId;
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::router::answers::{Answers, accept};
use crate::router::relays::Relays;
use crate::router::turn::{Timer, Turn};

use super::Outbox;
use super::entry::EntryStage;
use super::ledger::{Out, Void};
use crate::router::terms::{State, Written};

impl Outbox {
    /// The next batch for the database, and what the page shows.
    pub(in crate::router) fn hand_out_batch(&mut self, turn: &mut Turn<'_>) {
        let stats = turn.stats;
        if self.entries.is_empty() && self.questions.is_empty() {
            turn.timers.stop(Timer::Outbox);
        }
        let batch = self.ledger.hand_out(
            &self.entries,
            || BatchNumber(stats.batches.next()),
            turn.now.mono,
        );
        if let Some(batch) = batch {
            turn.effects.write = Some(batch);
        }
        stats.outbox.queued.set(self.how_many(State::Queued));
        stats.outbox.in_doubt.set(self.how_many(State::Doubt));
        stats.outbox.rejected.set(self.how_many(State::Rejected));
        let oldest = self.in_order().next().map_or(0, |entry| entry.queued_at);
        stats.outbox.oldest.set(usize::try_from(oldest).unwrap_or_default());
    }

    /// Those who wait for the row have waited long enough.
    pub(in crate::router) fn write_deadline(
        &mut self,
        id: &EventId,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let why = match self.get(id).map(|entry| &entry.stage) {
            Some(EntryStage::Writing { .. }) => {
                Reason::new(Prefix::Error, "the database does not answer in time")
                    .about(Cause::Database)
            }
            Some(EntryStage::Undoing { why, .. }) => why.clone(),
            _ => return,
        };
        self.not_written(id, &why, answers, relays, turn);
    }

    /// The database has answered to the batch of this number.
    pub(in crate::router) fn batch_written(
        &mut self,
        number: BatchNumber,
        result: Written,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(out) = self.ledger.close(number) else { return };
        match result {
            Written::Done(elsewhere) => self.batch_done(&out, &elsewhere, answers, relays, turn),
            Written::Failed(why) => {
                self.ledger.undo(&out);
                let why = Reason::new(Prefix::Error, why).about(Cause::Database);
                self.batch_failed(&out, &why, answers, relays, turn);
            }
            Written::Unknown(why) => {
                let why = Reason::new(Prefix::Error, why).about(Cause::Database);
                self.ledger.doubt(&out);
                self.batch_unknown(&out, &why);
                self.batch_failed(&out, &why, answers, relays, turn);
            }
        }
        self.flush_all(relays, turn);
    }

    fn batch_done(
        &mut self,
        out: &Out,
        elsewhere: &[EventId],
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        for id in &out.delete {
            self.ledger.has_no_row(id);
            let stage = self.get(id).map(|entry| &entry.stage);
            if let Some(EntryStage::Undoing { why, .. }) = stage {
                let why = why.clone();
                self.not_written(id, &why, answers, relays, turn);
            }
        }
        for (id, position) in &out.put {
            if elsewhere.contains(id) {
                self.ledger.has_no_row(id);
            } else {
                self.ledger.has_row(*id);
            }
            let Some(entry) = self.entries.get_mut(id) else { continue };
            if entry.position == *position {
                if let EntryStage::Writing { waiters, why, .. } = &mut entry.stage {
                    let (waiters, why) = (std::mem::take(waiters), std::mem::take(why));
                    turn.timers.stop(Timer::Write(*id));
                    entry.stage = EntryStage::Waiting;
                    answers.remember(*id, false);
                    accept(&waiters, *id, &why, turn);
                }
                if elsewhere.contains(id) {
                    self.remove(id);
                }
            }
        }
        for Void { id, position, by: (by, place), withdrawn } in &out.voids {
            self.ledger.has_no_row(id);
            let stands = self.get(by).is_some_and(|entry| entry.position == *place);
            if !stands && !elsewhere.contains(by) {
                // Refused in the meantime: what it was to replace stays, and gets its row back.
                self.ledger.mark(*id);
            } else if self.get(id).is_some_and(|entry| entry.position == *position) {
                self.drop_void(id, *withdrawn, answers, relays, turn);
            }
        }
    }

    /// What was to be queued is refused, unless it still has to be made sure that it is not there.
    fn batch_failed(
        &mut self,
        out: &Out,
        why: &Reason,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        for (id, position) in &out.put {
            let Some(entry) = self.get(id) else { continue };
            if entry.position != *position || matches!(entry.stage, EntryStage::Undoing { .. }) {
                continue;
            }
            if matches!(entry.stage, EntryStage::Writing { .. }) {
                self.not_written(id, why, answers, relays, turn);
            } else {
                self.ledger.mark_again(*id, turn.now.mono);
            }
        }
        for id in &out.delete {
            self.ledger.mark_again(*id, turn.now.mono);
        }
    }

    fn batch_unknown(&mut self, out: &Out, why: &Reason) {
        for (id, position) in &out.put {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            if entry.position != *position || entry.doubt {
                continue;
            }
            if let EntryStage::Writing { waiters, until, .. } = &mut entry.stage {
                let (waiters, until) = (std::mem::take(waiters), *until);
                entry.stage = EntryStage::Undoing { waiters, why: why.clone(), until };
                self.ledger.mark_undo(*id);
            }
        }
        for Void { id, .. } in &out.voids {
            self.ledger.mark(*id); // their rows may be gone, and they are still here
        }
    }

    /// There will be no row. What may have left stays here all the same; the rest is refused.
    fn not_written(
        &mut self,
        id: &EventId,
        why: &Reason,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let stage = std::mem::replace(&mut entry.stage, EntryStage::Waiting);
        let (EntryStage::Writing { waiters, why: good, .. }
        | EntryStage::Undoing { waiters, why: good, .. }) = stage
        else {
            return;
        };
        turn.timers.stop(Timer::Write(*id));
        if entry.doubt {
            answers.remember(*id, false);
            self.ledger.mark_again(*id, turn.now.mono);
            accept(&waiters, *id, &good, turn);
            self.flush_all(relays, turn);
        } else {
            self.drop_entry(id, relays);
            self.ledger.mark_undo(*id);
            answers.refuse(&waiters, *id, why, false, turn);
        }
    }
}
