//! What waits for a relay's connection, and goes out in order.
//!
//! What the connection has not taken yet stays here, where it can still be taken back: a REQ whose
//! client has gone, an event that was refused in the meantime. [`RELAY_WINDOW`] messages at most are
//! with the connection and out of reach; an ephemeral event is not, while the connection has anything else to
//! write. A relay that reads too slowly for the events it is to take
//! loses the oldest of them (others have had them), a stalled one its connection; no client can do
//! either to a relay by what it subscribes to.
//!
//! [`RELAY_WINDOW`]: crate::constants::RELAY_WINDOW

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::constants::{OUTBOX_AHEAD, RELAY_DEAD_ASKS, RELAY_EVENT_BYTES, RELAY_EVENTS};
use crate::ids::{ClientId, RequestNumber};
use crate::nostr::event::{Event, EventId, is_ephemeral};
use crate::router::terms::Audience;

/// Something to be sent to a relay. The text is made when its turn comes.
#[derive(Debug)]
pub(in crate::router) enum Work {
    /// A request's REQ.
    Ask(RequestNumber),
    /// A question of the outbox's, a REQ.
    Question(String),
    /// An AUTH.
    Auth(String),
    /// A COUNT.
    Count(RequestNumber),
    /// The CLOSE of a REQ or of a COUNT, by its number.
    Close(RequestNumber),
    /// An EVENT.
    Publish {
        /// What it publishes.
        event: Arc<Event>,
        /// For whom.
        audience: Audience,
        /// Who publishes it, if that is just now.
        by: Option<ClientId>,
        /// An ephemeral event is not sent after this (rule 1.5).
        until: Duration,
    },
}

/// Everything that is to be sent to one relay, in order.
#[derive(Debug, Default)]
pub(super) struct Line {
    work: VecDeque<Work>,
    /// Events in `work`, and their bytes.
    events: usize,
    event_bytes: usize,
    /// REQs and COUNTs in `work` that have ended.
    dead: usize,
    /// The outbox has more for it than was let in line.
    pub(super) more: bool,
}

impl Line {
    /// Events in line.
    pub(super) const fn events(&self) -> usize {
        self.events
    }

    /// Whether the outbox has more, and there is room for it.
    pub(super) const fn wants_more(&self) -> bool {
        self.more && self.events < OUTBOX_AHEAD / 2
    }

    pub(super) fn push(&mut self, work: Work) {
        if let Work::Publish { event, .. } = &work {
            self.events += 1;
            self.event_bytes += event.json().len();
        }
        self.work.push_back(work);
    }

    /// A message that goes before all that waits.
    pub(super) fn push_first(&mut self, text: String) {
        self.work.push_front(Work::Auth(text));
    }

    /// The place of the first that may go.
    pub(super) fn first(&self, may: impl Fn(&Work) -> bool) -> Option<usize> {
        self.work.iter().position(may)
    }

    /// Whether this one is an ephemeral event.
    pub(super) fn is_order(&self, at: usize) -> bool {
        let work = self.work.get(at);
        matches!(work, Some(Work::Publish { event, .. }) if is_ephemeral(event.kind()))
    }

    /// Takes this one out.
    pub(super) fn take(&mut self, at: usize) -> Option<Work> {
        let work = self.work.remove(at)?;
        if let Work::Publish { event, .. } = &work {
            self.forget(event.json().len());
        }
        Some(work)
    }

    const fn forget(&mut self, bytes: usize) {
        self.events -= 1;
        self.event_bytes -= bytes;
    }

    /// Empties it; the events that were in line, in order, and for whom.
    pub(super) fn take_events(&mut self) -> Vec<(Arc<Event>, Audience)> {
        let line = std::mem::take(self);
        let events = line.work.into_iter().filter_map(|work| match work {
            Work::Publish { event, audience, .. } => Some((event, audience)),
            Work::Ask(_) | Work::Question(_) | Work::Auth(_) | Work::Count(_) | Work::Close(_) => {
                None
            }
        });
        events.collect()
    }

    /// Takes the events out of the line that are not for named relays.
    pub(super) fn drop_events(&mut self) -> Vec<EventId> {
        let mut dropped = Vec::new();
        self.drop_if(|event, audience| {
            let drop = !matches!(audience, Audience::Named(_));
            dropped.extend(drop.then_some(*event.id()));
            drop
        });
        self.more = false;
        dropped
    }

    /// Takes one event out of the line.
    pub(super) fn take_back(&mut self, id: &EventId, from: Audience) {
        if self.events > 0 {
            self.drop_if(|event, audience| *event.id() == *id && audience == from);
        }
    }

    fn drop_if(&mut self, mut drop: impl FnMut(&Event, Audience) -> bool) {
        let Self { work, events, event_bytes, .. } = self;
        work.retain(|work| match work {
            Work::Publish { event, audience, .. } if drop(event, *audience) => {
                *events -= 1;
                *event_bytes -= event.json().len();
                false
            }
            _ => true,
        });
    }

    /// Takes the oldest event out of the line, if there are too many.
    pub(super) fn drop_oldest(&mut self) -> Option<(EventId, Audience)> {
        if self.events <= RELAY_EVENTS && self.event_bytes <= RELAY_EVENT_BYTES {
            return None;
        }
        let at = self.work.iter().position(|work| matches!(work, Work::Publish { .. }))?;
        let Some(Work::Publish { event, audience, .. }) = self.work.remove(at) else { return None };
        self.forget(event.json().len());
        Some((*event.id(), audience))
    }

    /// One more has ended before its turn. True: there are so many that it is time to sweep.
    pub(super) const fn has_dead(&mut self) -> bool {
        self.dead += 1;
        self.dead > RELAY_DEAD_ASKS
    }

    /// Takes out what has ended.
    pub(super) fn sweep(&mut self, lives: impl Fn(&Work) -> bool) {
        self.dead = 0;
        self.work.retain(lives);
    }

    /// One that had ended was skipped.
    pub(super) const fn skipped(&mut self) {
        self.dead = self.dead.saturating_sub(1);
    }
}
