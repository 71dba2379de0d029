//! The last verified events, for the copies of them that are still to come.
//!
//! A second subscription's copy of an event is answered with the event verified first, not with
//! the copy's own bytes: a claimed id is no proof, and a second verification would cost 53 µs.
//! Bounded in number and bytes, oldest out first; what has left is verified again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::hash::Map;
use crate::constants::{RECENT_BYTES, RECENT_EVENTS};
use crate::nostr::event::{Event, EventId};

/// Owned by the router.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    events: Map<EventId, Arc<Event>>,
    order: VecDeque<EventId>,
    bytes: usize,
}

impl Recent {
    /// The verified event with this id, if it is still here.
    pub(crate) fn get(&self, id: &EventId) -> Option<&Arc<Event>> {
        self.events.get(id)
    }

    /// Keeps a verified event.
    pub(crate) fn insert(&mut self, event: &Arc<Event>) {
        if self.events.insert(*event.id(), Arc::clone(event)).is_some() {
            return;
        }
        self.order.push_back(*event.id());
        self.bytes += event.json().len();
        while self.order.len() > RECENT_EVENTS || self.bytes > RECENT_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(event) = self.events.remove(&oldest) {
                self.bytes -= event.json().len();
            }
        }
    }
}
