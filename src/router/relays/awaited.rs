//! Events that a connection was given and has not answered yet: how many copies of each.
//!
//! An `OK` for any other event is one that nobody has asked for. Of a relay that is too far behind the
//! oldest are forgotten.

use std::collections::BTreeMap;

use crate::base::hash::Map;
use crate::constants::AWAITED_OKS;
use crate::nostr::event::EventId;

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    all: Map<EventId, Copies>,
    /// By the time the first copy was given.
    order: BTreeMap<u64, EventId>,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Copies {
    place: u64,
    count: usize,
}

impl Awaited {
    /// One more copy is given to the connection.
    pub(super) fn sent(&mut self, id: EventId) {
        let Self { all, order, next } = self;
        let copies = all.entry(id).or_insert_with(|| {
            *next += 1;
            order.insert(*next, id);
            Copies { place: *next, count: 0 }
        });
        copies.count += 1;
        if order.len() > AWAITED_OKS
            && let Some((_, oldest)) = order.pop_first()
        {
            all.remove(&oldest);
        }
    }

    /// One copy is answered, or was never written. How many are left; `None`: there was none.
    pub(super) fn done(&mut self, id: &EventId) -> Option<usize> {
        let copies = self.all.get_mut(id)?;
        copies.count -= 1;
        let Copies { place, count } = *copies;
        if count == 0 {
            self.all.remove(id);
            self.order.remove(&place);
        }
        Some(count)
    }

    /// Whether any copy is not answered.
    pub(super) fn has(&self, id: &EventId) -> bool {
        self.all.contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn copies_are_counted() {
        let mut awaited = Awaited::default();
        awaited.sent(id(1));
        awaited.sent(id(2));
        awaited.sent(id(1));
        assert_eq!(
            [1, 1, 1, 2, 3].map(|n| awaited.done(&id(n))),
            [Some(1), Some(0), None, Some(0), None]
        );
        assert!(awaited.all.is_empty() && awaited.order.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut awaited = Awaited::default();
        for number in 0..=AWAITED_OKS {
            awaited.sent(id(number));
        }
        assert!(!awaited.has(&id(0)) && awaited.has(&id(1)) && awaited.has(&id(AWAITED_OKS)));
        assert_eq!((awaited.all.len(), awaited.order.len()), (AWAITED_OKS, AWAITED_OKS));
    }
}
