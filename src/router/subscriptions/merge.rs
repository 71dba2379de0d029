//! The stored events of one subscription on their way to the client: those of all relays together,
//! newest first, no more than each filter's `limit` (rule 3.4).
//!
//! Owned by the subscription. A true event is held here until no relay that still streams can send
//! one that comes before it; whose turn it is decides [`Merge::next`], by the bar the subscription
//! hands in. The rank of an event is its date and, among those of one date, its id.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::base::hash::{Fingerprint, Map};
use crate::constants::{HELD_BYTES, HELD_EVENT_COST, VERSIONS};
use crate::ids::Origin;
use crate::nostr::event::{Event, EventId};
use crate::nostr::filter::Filter;
use crate::nostr::succession;

/// Where an event stands among the stored ones: what is greater comes first.
pub(crate) type Rank = (u64, Reverse<EventId>);

/// Before everything.
pub(crate) const FIRST: Rank = (u64::MAX, Reverse([0; 32]));

/// The rank of an event.
pub(crate) const fn rank(created_at: u64, id: EventId) -> Rank {
    (created_at, Reverse(id))
}

/// What the relays that still stream may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bar {
    /// Nothing more.
    Down,
    /// Nothing that comes before this rank …
    At(Rank),
    /// … or of another date than earlier ones.
    Before(u64),
}

impl Bar {
    fn lets(self, held: Rank) -> bool {
        match self {
            Self::Down => true,
            Self::At(rank) => held >= rank,
            Self::Before(date) => held.0 > date,
        }
    }
}

/// See the module's own page.
#[derive(Debug)]
pub(crate) struct Merge {
    held: BinaryHeap<Held>,
    bytes: usize,
    /// For each filter.
    quotas: Box<[Quota]>,
    /// Something was left out for want of a place.
    pub left_out: bool,
    versions: Versions,
}

/// How many stored events a filter may still have.
#[derive(Debug)]
struct Quota {
    /// `None`: any number.
    left: Option<u64>,
    /// The date of the last one it had.
    oldest: Option<u64>,
    /// Of its ids, if it has any, how many were not found yet.
    missing: Option<usize>,
}

#[derive(Debug)]
struct Held {
    rank: Rank,
    event: Arc<Event>,
    from: Origin,
}

impl Merge {
    /// For a subscription with these filters.
    pub(crate) fn new(filters: &[Filter]) -> Self {
        let quota = |filter: &Filter| Quota {
            left: filter.most(),
            oldest: None,
            missing: filter.ids.as_ref().map(Vec::len),
        };
        Self {
            held: BinaryHeap::new(),
            bytes: 0,
            quotas: filters.iter().map(quota).collect(),
            left_out: false,
            versions: Versions::default(),
        }
    }

    /// Bytes held.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether any filter has a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.quotas.iter().any(|quota| quota.left.is_some())
    }

    /// Whether every filter has had all the stored events it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.quotas.iter().all(|quota| quota.left == Some(0))
    }

    /// Whether everything that can match was found: every filter names ids.
    pub(crate) fn has_all(&self) -> bool {
        self.quotas.iter().all(|quota| quota.missing == Some(0))
    }

    /// Takes a true stored event, which matches.
    pub(crate) fn hold(&mut self, filters: &[Filter], event: &Arc<Event>, from: Origin) {
        for (filter, quota) in filters.iter().zip(&mut self.quotas) {
            if let Some(missing) = quota.missing.as_mut().filter(|_| filter.matches(event)) {
                *missing = missing.saturating_sub(1);
            }
        }
        let rank = rank(event.created_at(), *event.id());
        self.bytes += size(event);
        self.held.push(Held { rank, event: Arc::clone(event), from });
    }

    /// The next event that is to be given at this time (unix seconds), and where it came from. Where too
    /// much is held, the next one goes whatever may still come before it. What has expired meanwhile
    /// takes no place.
    pub(crate) fn next(
        &mut self,
        filters: &[Filter],
        bar: Bar,
        now: u64,
    ) -> Option<(Arc<Event>, Origin)> {
        loop {
            let first = self.held.peek()?;
            if !bar.lets(first.rank) && self.bytes <= HELD_BYTES {
                return None;
            }
            let Held { event, from, .. } = self.held.pop()?;
            self.bytes -= size(&event);
            let expired = event.expiration().is_some_and(|at| at <= now);
            if !expired && !self.versions.is_superseded(&event) && self.takes(filters, &event) {
                return Some((event, from));
            }
        }
    }

    fn takes(&mut self, filters: &[Filter], event: &Event) -> bool {
        let mut taken = false;
        let matching = filters.iter().zip(&mut self.quotas);
        for (_, quota) in matching.filter(|(filter, _)| filter.matches(event)) {
            match &mut quota.left {
                Some(0) => {}
                Some(left) => {
                    *left -= 1;
                    quota.oldest = Some(event.created_at());
                    taken = true;
                }
                None => taken = true,
            }
        }
        self.left_out |= !taken;
        if taken {
            self.versions.note(event);
        }
        taken
    }

    /// Whether a stored event that comes after the client's EOSE would have had a place before it:
    /// relays that are slow are not to add to a limit.
    pub(crate) fn had_place(&self, filters: &[Filter], event: &Event) -> bool {
        filters.iter().zip(&self.quotas).any(|(filter, quota)| {
            let full = quota.left == Some(0);
            let place = !full || quota.oldest.is_some_and(|oldest| event.created_at() > oldest);
            place && filter.matches(event)
        })
    }

    /// Such an event is given.
    pub(crate) fn note_late(&mut self, filters: &[Filter], event: &Event) {
        for (filter, quota) in filters.iter().zip(&mut self.quotas) {
            if let Some(left) =
                quota.left.as_mut().filter(|left| **left > 0 && filter.matches(event))
            {
                *left -= 1;
                let oldest = quota.oldest.unwrap_or(u64::MAX);
                quota.oldest = Some(oldest.min(event.created_at()));
            }
        }
    }

    /// Whether the event is older than a version of it that was given; else it is noted as the one
    /// that is given now.
    pub(crate) fn is_superseded(&mut self, event: &Event) -> bool {
        let superseded = self.versions.is_superseded(event);
        if !superseded {
            self.versions.note(event);
        }
        superseded
    }
}

fn size(event: &Event) -> usize {
    event.json().len() + HELD_EVENT_COST
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// The newest version of each replaceable event that was given: the last [`VERSIONS`] addresses.
#[derive(Debug, Default)]
struct Versions {
    /// By the fingerprint of the address.
    newest: Map<u64, (u64, EventId)>,
    order: VecDeque<u64>,
    fingerprint: Fingerprint,
}

impl Versions {
    fn is_superseded(&self, event: &Event) -> bool {
        if self.newest.is_empty() {
            return false;
        }
        let Some(address) = succession::address(event) else { return false };
        let newest = self.newest.get(&self.fingerprint.of(address));
        newest
            .is_some_and(|(created_at, id)| (*created_at, *event.id()) > (event.created_at(), *id))
    }

    fn note(&mut self, event: &Event) {
        let Some(address) = succession::address(event) else { return };
        let address = self.fingerprint.of(address);
        if self.newest.insert(address, (event.created_at(), *event.id())).is_some() {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > VERSIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.newest.remove(&oldest);
        }
    }
}
