//! Which subscriptions an event matches, found without testing it against each of them.
//!
//! Each filter is filed under the values of one of its fields, and an event is tested only against
//! what is filed under its own values. A field is the better the fewer values it has and the fewer
//! other filters are there already: so a thousand wallets that wait for the same service are not
//! filed under that service. Values stand together with the filter's kinds where these are few.
//!
//! Values are kept as 64-bit keyed fingerprints. Two that fall together cost a test and nothing
//! else, since every filter found is asked itself. Memory goes with the number of values, and
//! what is removed leaves nothing behind. Owned by the router.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::hash_map::Entry;

use crate::base::hash::{Keyed, Map};
use crate::ids::SubscriptionKey;
use crate::nostr::event::{Event, EventId};
use crate::nostr::filter::Filter;

/// A filter with more kinds than this is filed without them: every value takes memory for each.
const KINDS_PAIRED: usize = 2;
/// A map that is filled to less than one part in this gives memory back.
const SPARSE: usize = 8;

/// Subscriptions by what their filters ask for.
#[derive(Debug, Default)]
pub struct Index {
    filed: Map<SubscriptionKey, Filed>,
    /// By the fingerprint of a [`Mark`].
    shelves: Map<u64, Shelf>,
    fingerprint: Keyed,
    /// For its memory, the shelves that were looked at last.
    looked_at: Vec<u64>,
}

/// One subscription.
#[derive(Debug)]
struct Filed {
    filters: Arc<[Filter]>,
    /// Where each of them is filed.
    places: Box<[Place]>,
}

/// The field a filter is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing can match it.
    Nowhere,
    Ids,
    /// By its position in [`Filter::tags`].
    Tag(usize),
    Authors,
    Kinds,
    /// It has only dates, or nothing.
    Anything,
}

/// What a filter asks for and an event has: a value, and the kind where the filter's kinds are few.
type Mark<'a> = (Value<'a>, Option<u16>);

#[derive(Debug, Clone, Copy, Hash)]
enum Value<'a> {
    Id(&'a EventId),
    /// Name and value.
    Tag(&'a str, &'a str),
    Author(&'a [u8; 32]),
    /// Only the kind counts, if anything.
    Any,
}

/// A filter, by its subscription's key and its position there.
type Card = (SubscriptionKey, usize);

/// The filters under one fingerprint. Most are alone there.
#[derive(Debug)]
enum Shelf {
    One(Card),
    /// Ordered, so that one of many is taken out without a look at the others.
    Many(BTreeSet<Card>),
}

impl Index {
    /// Files a subscription. One that is there under the same key is replaced.
    pub fn insert(&mut self, key: SubscriptionKey, filters: Arc<[Filter]>) {
        self.remove(key);
        let mut places = Vec::with_capacity(filters.len());
        for (position, filter) in filters.iter().enumerate() {
            let place = self.best_place(filter);
            each_mark(filter, place, |mark| {
                match self.shelves.entry(self.fingerprint.hash_one(mark)) {
                    Entry::Vacant(free) => _ = free.insert(Shelf::One((key, position))),
                    Entry::Occupied(mut shelf) => shelf.get_mut().add((key, position)),
                }
            });
            places.push(place);
        }
        self.filed.insert(key, Filed { filters, places: places.into() });
    }

    /// Takes a subscription out, if it is there.
    pub fn remove(&mut self, key: SubscriptionKey) {
        let Some(Filed { filters, places }) = self.filed.remove(&key) else { return };
        for (position, (filter, place)) in filters.iter().zip(places).enumerate() {
            each_mark(filter, place, |mark| {
                if let Entry::Occupied(mut shelf) =
                    self.shelves.entry(self.fingerprint.hash_one(mark))
                    && shelf.get_mut().take(&(key, position))
                {
                    shelf.remove();
                }
            });
        }
        give_back(&mut self.filed);
        give_back(&mut self.shelves);
    }

    /// Fills `keys` with the key of every subscription that has a filter the event matches, each
    /// once, ascending. What was in `keys` is gone.
    pub fn matching(&mut self, event: &Event, keys: &mut Vec<SubscriptionKey>) {
        keys.clear();
        // First the shelves to look at, each once however often a tag is repeated.
        let mut shelves = std::mem::take(&mut self.looked_at);
        shelves.clear();
        self.each_shelf_of(event, |fingerprint| shelves.push(fingerprint));
        shelves.sort_unstable();
        shelves.dedup();
        for fingerprint in &shelves {
            match self.shelves.get(fingerprint) {
                Some(Shelf::One(card)) => self.test(*card, event, keys),
                Some(Shelf::Many(cards)) => {
                    for card in cards {
                        self.test(*card, event, keys);
                    }
                }
                None => {}
            }
        }
        self.looked_at = shelves;
        keys.sort_unstable();
        keys.dedup();
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.filed.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.filed.is_empty()
    }

    fn test(&self, (key, position): Card, event: &Event, keys: &mut Vec<SubscriptionKey>) {
        let filter = self.filed.get(&key).and_then(|filed| filed.filters.get(position));
        if filter.is_some_and(|filter| filter.matches(event)) {
            keys.push(key);
        }
    }

    /// Where the filter costs least: the fewest values, with the fewest others under them.
    fn best_place(&self, filter: &Filter) -> Place {
        if filter.matches_nothing() {
            return Place::Nowhere;
        }
        if filter.ids.is_some() {
            return Place::Ids;
        }
        let tags = (0..filter.tags.len()).map(Place::Tag);
        let authors = filter.authors.as_ref().map(|_| Place::Authors);
        let kinds = filter.kinds.as_ref().map(|_| Place::Kinds);
        let among = tags.chain(authors);
        let best = among.min_by_key(|place| {
            let mut cost = 0;
            each_mark(filter, *place, |mark| {
                let shelf = self.shelves.get(&self.fingerprint.hash_one(mark));
                cost += 1 + shelf.map_or(0, Shelf::len);
            });
            cost
        });
        best.or(kinds).unwrap_or(Place::Anything)
    }

    /// The shelves that a filter the event matches may lie on, as far as they exist.
    fn each_shelf_of(&self, event: &Event, mut found: impl FnMut(u64)) {
        let mut look = |mark: Mark| {
            let fingerprint = self.fingerprint.hash_one(mark);
            if self.shelves.contains_key(&fingerprint) {
                found(fingerprint);
            }
        };
        look((Value::Id(event.id()), None));
        for kind in [None, Some(event.kind())] {
            look((Value::Any, kind));
            look((Value::Author(event.pubkey()), kind));
            // Filters know tags of one letter only.
            for tag in event.tags().iter().filter(|tag| tag.name.len() == 1) {
                if let Some(value) = &tag.value {
                    look((Value::Tag(&tag.name, value), kind));
                }
            }
        }
    }
}

impl Shelf {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(cards) => cards.len(),
        }
    }

    fn add(&mut self, card: Card) {
        match self {
            Self::One(other) => *self = Self::Many(BTreeSet::from([*other, card])),
            Self::Many(cards) => _ = cards.insert(card),
        }
    }

    /// True: nothing is left.
    fn take(&mut self, card: &Card) -> bool {
        match self {
            Self::One(other) => other == card,
            Self::Many(cards) => {
                cards.remove(card);
                cards.is_empty()
            }
        }
    }
}

fn each_mark(filter: &Filter, place: Place, mut found: impl FnMut(Mark)) {
    let kinds = filter.kinds.as_deref().unwrap_or_default();
    let mut with_kinds = |value: Value| match kinds.len() {
        1..=KINDS_PAIRED => kinds.iter().for_each(|kind| found((value, Some(*kind)))),
        _ => found((value, None)),
    };
    match place {
        Place::Nowhere => {}
        Place::Ids => {
            for id in filter.ids.iter().flatten() {
                found((Value::Id(id), None));
            }
        }
        Place::Tag(position) => {
            for (name, values) in filter.tags.iter().skip(position).take(1) {
                for value in values {
                    with_kinds(Value::Tag(name, value));
                }
            }
        }
        Place::Authors => {
            for author in filter.authors.iter().flatten() {
                with_kinds(Value::Author(author));
            }
        }
        Place::Kinds => {
            for kind in kinds {
                found((Value::Any, Some(*kind)));
            }
        }
        Place::Anything => found((Value::Any, None)),
    }
}

fn give_back<K: Eq + Hash, V>(map: &mut Map<K, V>) {
    if map.len() < map.capacity() / SPARSE {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
