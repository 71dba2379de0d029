//! What the owner of the core asks of the outbox: to take rows over and let them go, to show, retry
//! and remove them.

use std::time::Duration;

use crate::nostr::event::EventId;
use crate::router::answers::Answers;
use crate::router::relays::Relays;
use crate::router::turn::Turn;

use super::Outbox;
use super::entry::{At, Entry, Stage};
use crate::router::terms::{EntryView, Row, State};

impl Outbox {
    /// The rows of earlier runs, or of another node that is gone.
    pub(in crate::router) fn adopt(
        &mut self,
        rows: Vec<Row>,
        answers: &mut Answers,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        self.open = true;
        for Row { event, state, position, queued_at, reasons } in rows {
            let id = *event.id();
            // What is here already, or about to be removed, is known better here.
            if self.contains(&id) || self.ledger.is_pending(&id) {
                continue;
            }
            self.ledger.has_row(id);
            let rejected = state == State::Rejected;
            if !rejected && self.has_newer_for_good(&event) {
                turn.stats.outbox.superseded.add();
                self.ledger.mark(id);
                continue;
            }
            if !rejected {
                self.drop_voided_by(&event, answers, relays, turn);
            }
            let doubt = state == State::Doubt;
            self.insert(Entry {
                event,
                position,
                queued_at,
                doubt,
                anywhere: doubt,
                stage: if rejected { Stage::Rejected } else { Stage::Waiting },
                parts: Vec::new(),
                reasons,
                voids: Vec::new(),
                sent: doubt.then_some((queued_at, turn.now.mono)),
            });
        }
        self.flush_all(relays, turn);
    }

    /// Another node has taken these rows over, or somebody has removed them.
    pub(in crate::router) fn let_go(&mut self, ids: &[EventId], relays: &mut Relays) {
        for id in ids {
            if self.ledger.is_settled(id) {
                self.ledger.has_no_row(id);
                self.drop_entry(id, relays);
            }
        }
    }

    /// How long from now this node may send what waits; `None`: as long as it lives.
    pub(in crate::router) fn set_lease(
        &mut self,
        lease: Option<Duration>,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        self.lease = lease.map(|lease| turn.now.mono + lease);
        self.flush_all(relays, turn);
    }

    /// What is here: what waits, in order, then what was rejected.
    pub(in crate::router) fn view(&self) -> Vec<EntryView> {
        self.in_order().chain(self.rejected()).map(Entry::view).collect()
    }

    /// Tries an event again, a rejected one too, at every relay. False: it is not here.
    pub(in crate::router) fn retry(
        &mut self,
        id: &EventId,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(mut entry) = self.remove(id) else { return false };
        if entry.stage == Stage::Rejected {
            entry.stage = Stage::Waiting;
            entry.reasons.clear();
            entry.parts.clear();
            entry.sent = None;
            self.ledger.mark(*id);
        }
        for part in &mut entry.parts {
            if matches!(part.at, At::Later(_) | At::Refused) {
                part.at = At::Later(turn.now.mono);
            }
        }
        self.insert(entry);
        self.flush_all(relays, turn);
        true
    }

    /// Removes an event for good. False: it is not here, or not answered yet.
    pub(in crate::router) fn delete(
        &mut self,
        id: &EventId,
        answers: &mut Answers,
        relays: &mut Relays,
    ) -> bool {
        let stage = self.get(id).map(|entry| &entry.stage);
        if !matches!(stage, Some(Stage::Waiting | Stage::Rejected)) {
            return false;
        }
        self.drop_entry(id, relays);
        answers.forget(id);
        true
    }
}
