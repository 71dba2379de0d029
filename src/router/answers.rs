//! The `OK`s: who is told what of an event, and what must not be said of it any more (the one rule).
//!
//! [`Answers`] owns the memory of what became of events of late. Whoever decides on an event's fate has
//! it answered here, so that no `false` goes out that would be a lie.

use std::collections::VecDeque;

use crate::base::hash::Map;
use crate::constants::MAX_EARLIER_EVENTS;
use crate::ids::ClientId;
use crate::nostr::event::EventId;
use crate::nostr::message::Reply;
use crate::nostr::reason::{Prefix, Reason};

use super::turn::Turn;

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Answers {
    earlier: Map<EventId, Earlier>,
    order: VecDeque<EventId>,
}

/// What became of an event that must not be answered `false` any more.
#[derive(Debug, Default, Clone, Copy)]
struct Earlier {
    /// Answered `true` because it was sent: whether a relay has it for certain.
    sent: Option<bool>,
    /// A client here has it.
    here: bool,
}

impl Answers {
    /// It was sent. `certain`: a relay has it.
    pub(super) fn remember(&mut self, id: EventId, certain: bool) {
        let earlier = self.earlier(id);
        earlier.sent = earlier.sent.max(Some(certain));
    }

    /// A client here has it.
    pub(super) fn remember_here(&mut self, id: EventId) {
        self.earlier(id).here = true;
    }

    fn earlier(&mut self, id: EventId) -> &mut Earlier {
        if !self.earlier.contains_key(&id) {
            self.order.push_back(id);
            if self.order.len() > MAX_EARLIER_EVENTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.earlier.remove(&oldest);
            }
        }
        self.earlier.entry(id).or_default()
    }

    /// Every relay has refused it since.
    pub(super) fn forget(&mut self, id: &EventId) {
        if let Some(earlier) = self.earlier.get_mut(id) {
            earlier.sent = None;
        }
    }

    /// Whether a relay has taken it before.
    pub(super) fn had(&self, id: &EventId) -> bool {
        self.earlier.get(id).and_then(|earlier| earlier.sent) == Some(true)
    }

    /// `OK false`, unless that would be a lie: some relay took the event before or may have, a client here
    /// has it, or (`waits`) it waits in the outbox.
    pub(super) fn refuse(
        &self,
        waiters: &[ClientId],
        id: EventId,
        why: &Reason,
        waits: bool,
        turn: &mut Turn<'_>,
    ) {
        let earlier = self.earlier.get(&id).copied().unwrap_or_default();
        let before = match earlier.sent {
            Some(true) => Some(had_before()),
            Some(false) => Some(Reason::new(Prefix::Duplicate, "sent before, unanswered")),
            None => waits.then(waits_already),
        };
        if let Some(why) = before {
            accept(waiters, id, &why, turn);
        } else {
            self.refuse_unless_here(waiters, id, why, turn);
        }
    }

    /// The same for those to whom what relays and the outbox know of the event does not count.
    pub(super) fn refuse_unless_here(
        &self,
        waiters: &[ClientId],
        id: EventId,
        why: &Reason,
        turn: &mut Turn<'_>,
    ) {
        if self.earlier.get(&id).is_some_and(|earlier| earlier.here) {
            let has_it = format_args!("a client of this server has it; {why}");
            accept(waiters, id, &Reason::new(Prefix::Local, has_it), turn);
        } else {
            refuse_plainly(waiters, id, why, turn);
        }
    }
}

/// `OK true`.
pub(super) fn accept(waiters: &[ClientId], id: EventId, why: &Reason, turn: &mut Turn<'_>) {
    answer(waiters, id, true, why, turn);
}

/// `OK false`, whatever the owner's relays or the outbox know of the event: for those to whom they do not
/// count.
pub(super) fn refuse_plainly(waiters: &[ClientId], id: EventId, why: &Reason, turn: &mut Turn<'_>) {
    answer(waiters, id, false, why, turn);
}

fn answer(waiters: &[ClientId], id: EventId, accepted: bool, why: &Reason, turn: &mut Turn<'_>) {
    for client in waiters {
        turn.tell(*client, Reply::Ok { id, accepted, why: why.clone() });
    }
}

pub(super) fn had_before() -> Reason {
    Reason::new(Prefix::Duplicate, "a relay has accepted it before")
}

pub(super) fn waits_already() -> Reason {
    Reason::new(Prefix::Duplicate, "it waits for a relay already")
}
