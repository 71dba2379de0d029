//! The stored events of one subscription on their way to the client: those of all relays together,
//! newest first, no more than each filter's `limit` (rule 3.4).
//!
//! What a search has found (NIP-50) keeps the relays' order instead: the first of each relay, then the
//! second of each, and so on (rule 3.8).
//!
//! Owned by the subscription. A true event is held here until no relay that still streams can send
//! one that comes before it; whose turn it is decides [`Merge::next`], by the bar the subscription
//! hands in. The rank of an event is its date and, among those of one date, its id; where it was found by a
//! search, a number that falls from one result of a relay to the next stands for the date.

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

/// The rank of what a relay has found by a search, after so many others. It comes before what has a date.
pub(crate) const fn found_rank(before: u64, id: EventId) -> Rank {
    (u64::MAX - 1 - before, Reverse(id))
}

/// Whether an event is of what this filter asks for. `searched`: it comes from a relay that was asked for
/// what the filter searches, which alone can tell.
pub(crate) fn fits(filter: &Filter, event: &Event, searched: bool) -> bool {
    (searched || filter.search.is_none()) && filter.matches(event)
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
    /// A search has found it.
    found: bool,
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

    /// Takes a true stored event, which matches. `found_rank`: a search has found it.
    pub(crate) fn hold(
        &mut self,
        filters: &[Filter],
        event: &Arc<Event>,
        from: Origin,
        found_rank: Option<Rank>,
    ) {
        let found = found_rank.is_some();
        for (filter, quota) in filters.iter().zip(&mut self.quotas) {
            if let Some(missing) = quota.missing.as_mut().filter(|_| fits(filter, event, found)) {
                *missing = missing.saturating_sub(1);
            }
        }
        let rank = found_rank.unwrap_or_else(|| rank(event.created_at(), *event.id()));
        let mut new = Held { rank, found, event: Arc::clone(event), from };
        if let Some(other) = self.take_version(&new) {
            // The newest version goes where any of them was found first.
            let best = new.rank.max(other.rank);
            if succession::is_newer(&other.event, event) {
                new = other;
            }
            new.rank = best;
        }
        self.bytes += size(&new.event);
        self.held.push(new);
    }

    /// Another version of what a search has found, if it is held.
    fn take_version(&mut self, new: &Held) -> Option<Held> {
        let address = succession::address(&new.event).filter(|_| new.found)?;
        let is_version =
            |held: &Held| held.found && succession::address(&held.event).as_ref() == Some(&address);
        let at = self.held.iter().position(is_version)?;
        let mut held = std::mem::take(&mut self.held).into_vec();
        let other = held.swap_remove(at);
        self.held = held.into();
        self.bytes -= size(&other.event);
        Some(other)
    }

    /// Whether this is held, and a search has found it.
    pub(crate) fn has_found(&self, id: &EventId) -> bool {
        self.held.iter().any(|held| held.found && held.event.id() == id)
    }

    /// Another relay has found this one earlier than the one it came from.
    pub(crate) fn raise(&mut self, rank: Rank) {
        let is_lower = |held: &Held| held.found && held.rank.1 == rank.1 && held.rank < rank;
        if self.held.iter().any(is_lower) {
            let mut held = std::mem::take(&mut self.held).into_vec();
            for held in held.iter_mut().filter(|held| is_lower(held)) {
                held.rank = rank;
            }
            self.held = held.into();
        }
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
            let Held { event, found, from, .. } = self.held.pop()?;
            self.bytes -= size(&event);
            let expired = event.expiration().is_some_and(|at| at <= now);
            let superseded = self.versions.is_superseded(&event);
            if !expired && !superseded && self.takes(filters, &event, found) {
                return Some((event, from));
            }
        }
    }

    fn takes(&mut self, filters: &[Filter], event: &Event, found: bool) -> bool {
        let mut taken = false;
        let matching = filters.iter().zip(&mut self.quotas);
        for (_, quota) in matching.filter(|(filter, _)| fits(filter, event, found)) {
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
    /// relays that are slow are not to add to a limit. A search knows no newer ones.
    pub(crate) fn had_place(&self, filters: &[Filter], event: &Event, searched: bool) -> bool {
        filters.iter().zip(&self.quotas).any(|(filter, quota)| {
            let full = quota.left == Some(0);
            let oldest = quota.oldest.filter(|_| filter.search.is_none());
            let place = !full || oldest.is_some_and(|oldest| event.created_at() > oldest);
            place && fits(filter, event, searched)
        })
    }

    /// Such an event is given.
    pub(crate) fn note_late(&mut self, filters: &[Filter], event: &Event, searched: bool) {
        for (filter, quota) in filters.iter().zip(&mut self.quotas) {
            if let Some(left) =
                quota.left.as_mut().filter(|left| **left > 0 && fits(filter, event, searched))
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
