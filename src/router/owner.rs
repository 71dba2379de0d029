//! What the owner of the core asks of the outbox: to take rows over and let them go, to show, retry
//! and remove them.

use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Now;
use crate::nostr::event::EventId;
use crate::router::entry::{At, Entry, EntryView, Row, Stage, State};

use super::{Effects, Router};

impl Router {
    /// The rows of earlier runs, or of another node that is gone.
    pub(super) fn adopt(&mut self, rows: Vec<Row>, now: Now, fx: &mut Effects) {
        self.outbox.open = true;
        for Row { event, state, position, queued_at, reasons } in rows {
            let id = *event.id();
            self.outbound.positions_from(position);
            // What is here already, or about to be removed, is known better here.
            if self.outbox.get(&id).is_some() || self.outbox.ledger.is_pending(&id) {
                continue;
            }
            self.outbox.ledger.has_row(id);
            let rejected = state == State::Rejected;
            if !rejected && self.outbox.has_newer_for_good(&event) {
                self.stats.outbox.superseded.add();
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
    pub(crate) fn outbox_view(&self) -> Vec<EntryView> {
        self.outbox
            .in_order()
            .chain(self.outbox.rejected())
            .map(|entry| EntryView {
                event: Arc::clone(&entry.event),
                state: entry.state(),
                queued_at: entry.queued_at,
                reasons: entry.reasons.clone(),
            })
            .collect()
    }

    /// Tries an event again, a rejected one too, at every relay. False: it is not here.
    pub(crate) fn outbox_retry(&mut self, now: Now, id: &EventId, fx: &mut Effects) -> bool {
        let Some(mut entry) = self.outbox.remove(id) else { return false };
        if entry.stage == Stage::Rejected {
            entry.stage = Stage::Waiting;
            entry.reasons.clear();
            entry.parts.clear();
            entry.sent = None;
            self.outbox.ledger.mark(*id);
        }
        for part in &mut entry.parts {
            if matches!(part.at, At::Later(_) | At::Refused) {
                part.at = At::Later(now.mono);
            }
        }
        self.outbox.insert(entry);
        self.flush_all(now, fx);
        self.follow_up(now, fx);
        true
    }

    /// Removes an event for good. False: it is not here, or not answered yet.
    pub(crate) fn outbox_delete(&mut self, now: Now, id: &EventId, fx: &mut Effects) -> bool {
        let stage = self.outbox.get(id).map(|entry| &entry.stage);
        if !matches!(stage, Some(Stage::Waiting | Stage::Rejected)) {
            return false;
        }
        self.drop_entry(id);
        self.outbound.forget(id);
        self.follow_up(now, fx);
        true
    }
}
