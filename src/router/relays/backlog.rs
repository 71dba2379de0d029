//! Events that one relay should have and may not: sent and not answered, or missed while it was away.
//!
//! In memory only, and bounded: other relays have these events, so this is for redundancy
//! (rule 2.5). What no relay has is in the outbox.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::hash::Map;
use crate::nostr::event::{Event, EventId};
use crate::nostr::succession;

/// A bounded list of events in the order they were added. The oldest give way.
#[derive(Debug)]
pub(super) struct Backlog {
    events: Map<EventId, Arc<Event>>,
    /// May name events that are gone.
    order: VecDeque<EventId>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl Backlog {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { events: Map::default(), order: VecDeque::new(), bytes: 0, most, most_bytes }
    }

    /// Adds an event, in place of any older version of it. How many had to give way.
    pub(super) fn push(&mut self, event: Arc<Event>) -> usize {
        if succession::can_void(&event) {
            self.retain(|other| !succession::voids(&event, other));
        }
        self.append(event)
    }

    /// The same without a look at what is there already.
    pub(super) fn append(&mut self, event: Arc<Event>) -> usize {
        let (id, size) = (*event.id(), event.json().len());
        if self.events.insert(id, event).is_none() {
            self.order.push_back(id);
            self.bytes += size;
        }
        let mut dropped = 0;
        while self.events.len() > self.most || self.bytes > self.most_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            dropped += usize::from(self.remove(&oldest).is_some());
        }
        if self.order.len() > 2 * self.events.len() + 64 {
            self.order.retain(|id| self.events.contains_key(id));
        }
        dropped
    }

    /// Takes it out, if it is there.
    pub(super) fn remove(&mut self, id: &EventId) -> Option<Arc<Event>> {
        let event = self.events.remove(id)?;
        self.bytes -= event.json().len();
        Some(event)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Event) -> bool) {
        self.events.retain(|_, event| keep(event));
        self.bytes = self.events.values().map(|event| event.json().len()).sum();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Everything, in order.
    pub(super) fn take(&mut self) -> Vec<Arc<Event>> {
        self.bytes = 0;
        let order = std::mem::take(&mut self.order);
        order.iter().filter_map(|id| self.events.remove(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u8, kind: u16) -> Arc<Event> {
        let (pubkey, json) = ([1; 32], "x".repeat(10));
        let created_at = id.into();
        let tags = Vec::new();
        Arc::new(Event::unverified_for_tests([id; 32], pubkey, created_at, kind, tags, &json))
    }

    fn ids(backlog: &mut Backlog) -> Vec<u8> {
        backlog.take().iter().map(|event| event.id()[0]).collect()
    }

    #[test]
    fn the_oldest_give_way_by_number_and_by_size() {
        let mut backlog = Backlog::new(3, 1_000);
        let dropped: Vec<usize> = (1..=5).map(|id| backlog.push(event(id, 1))).collect();
        assert_eq!(dropped, [0, 0, 0, 1, 1]);
        assert_eq!(ids(&mut backlog), [3, 4, 5]);
        let mut backlog = Backlog::new(100, 25);
        let dropped: usize = (1..=5).map(|id| backlog.push(event(id, 1))).sum();
        assert_eq!((dropped, ids(&mut backlog)), (3, vec![4, 5]));
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_removed_leaves_no_trace() {
        let mut backlog = Backlog::new(10, 1_000);
        for round in 0..1_000_u32 {
            let id = u8::try_from(round % 200).unwrap();
            backlog.append(event(id, 1));
            assert!(backlog.remove(&[id; 32]).is_some());
        }
        assert!(backlog.remove(&[1; 32]).is_none());
        assert!(backlog.order.len() <= 65);
        backlog.push(event(7, 1));
        backlog.push(event(7, 1));
        assert_eq!((backlog.bytes, ids(&mut backlog)), (10, vec![7]));
    }

    #[test]
    fn a_newer_version_takes_the_place_of_the_older_one() {
        let mut backlog = Backlog::new(10, 1_000);
        for id in 1..=5 {
            assert_eq!(backlog.push(event(id, 13_194)), 0);
        }
        assert_eq!(ids(&mut backlog), [5]);
    }
}
