//! Many subscriptions' filters as few: what a relay is asked for where it allows fewer subscriptions
//! than there are (rule 4.3).
//!
//! Filters with the same kinds and the same other fields become one, with all their values; where
//! that is not enough, those with other kinds too. That may ask for more than each of them does, never
//! for less: every event is matched here anyway.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::nostr::event::EventId;
use crate::nostr::filter::Filter;
use crate::nostr::hex;

/// Bytes of a JSON object's frame, names included, for the estimate of its length.
pub(super) const FRAME: usize = 64;

/// Filters that are being combined, up to a number and a length.
#[derive(Debug)]
pub(super) struct Combined {
    groups: BTreeMap<Shape, Group>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    /// Filters with different kinds may become one.
    broad: bool,
}

/// What filters that become one have in common: the names of their lists, and their kinds (none of
/// them where they may differ).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    ids: bool,
    authors: bool,
    kinds: Option<Vec<u16>>,
    /// They ask for ephemeral kinds alone, which are asked for whatever the date after a loss.
    ephemeral: bool,
    tags: Vec<Box<str>>,
}

#[derive(Debug)]
struct Group {
    ids: BTreeSet<EventId>,
    authors: BTreeSet<[u8; 32]>,
    kinds: BTreeSet<u16>,
    tags: Vec<BTreeSet<Box<str>>>,
    /// The earliest of all; `None`: one has none.
    since: Option<u64>,
    /// The latest of all, the same.
    until: Option<u64>,
}

impl Combined {
    /// Takes up to so many filters of so many bytes in all. `broad`: filters with different kinds may
    /// become one.
    pub(super) const fn new(most: usize, most_bytes: usize, broad: bool) -> Self {
        Self { groups: BTreeMap::new(), bytes: 0, most, most_bytes, broad }
    }

    /// Adds all of these filters, or none: false if they have no place any more. `since` gives the
    /// date from which on each is meant; one that asks for nothing from there on is left out.
    pub(super) fn add<'a>(
        &mut self,
        filters: impl Iterator<Item = &'a Filter> + Clone,
        since: impl Fn(&Filter) -> Option<u64>,
    ) -> bool {
        let bytes: usize = filters.clone().map(|filter| filter.json.len() + FRAME).sum();
        if self.bytes + bytes > self.most_bytes {
            return false;
        }
        let shapes = filters.clone().map(|filter| self.shape(filter));
        let new: BTreeSet<Shape> =
            shapes.filter(|shape| !self.groups.contains_key(shape)).collect();
        if self.groups.len() + new.len() > self.most {
            return false;
        }
        self.bytes += bytes;
        for filter in filters {
            let since = since(filter);
            if filter.reaches(since) {
                self.merge(filter, since);
            }
        }
        true
    }

    fn merge(&mut self, filter: &Filter, since: Option<u64>) {
        let tags = sorted_tags(filter);
        let group = self.groups.entry(self.shape(filter)).or_insert_with(|| Group {
            ids: BTreeSet::new(),
            authors: BTreeSet::new(),
            kinds: BTreeSet::new(),
            tags: vec![BTreeSet::new(); tags.len()],
            since,
            until: filter.until,
        });
        group.ids.extend(filter.ids.iter().flatten());
        group.authors.extend(filter.authors.iter().flatten());
        group.kinds.extend(filter.kinds.iter().flatten());
        for (all, (_, values)) in group.tags.iter_mut().zip(&tags) {
            all.extend(values.iter().cloned());
        }
        group.since = group.since.zip(since).map(|(one, other)| one.min(other));
        group.until = group.until.zip(filter.until).map(|(one, other)| one.max(other));
    }

    fn shape(&self, filter: &Filter) -> Shape {
        let kinds = filter.kinds.as_ref();
        Shape {
            ids: filter.ids.is_some(),
            authors: filter.authors.is_some(),
            kinds: kinds.map(|kinds| if self.broad { Vec::new() } else { kinds.clone() }),
            ephemeral: filter.is_ephemeral(),
            tags: sorted_tags(filter).into_iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The combined filters, with this `limit`.
    pub(super) fn into_filters(self, limit: Option<u64>) -> Vec<Filter> {
        self.groups.into_iter().map(|(shape, group)| group.into_filter(shape, limit)).collect()
    }
}

impl Group {
    fn into_filter(self, shape: Shape, limit: Option<u64>) -> Filter {
        let mut filter = Filter {
            ids: shape.ids.then(|| self.ids.into_iter().collect()),
            authors: shape.authors.then(|| self.authors.into_iter().collect()),
            kinds: shape.kinds.map(|_| self.kinds.into_iter().collect()),
            tags: shape
                .tags
                .into_iter()
                .zip(self.tags)
                .map(|(name, values)| (name, values.into_iter().collect()))
                .collect(),
            since: self.since,
            until: self.until,
            limit,
            ..Filter::default()
        };
        filter.json = filter.to_json(limit).into();
        filter
    }
}

fn sorted_tags(filter: &Filter) -> Vec<&(Box<str>, Vec<Box<str>>)> {
    let mut tags: Vec<_> = filter.tags.iter().collect();
    tags.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    tags
}

impl Filter {
    /// The filter written anew, the same for every spelling of it, with this limit instead of its own.
    pub fn to_json(&self, limit: Option<u64>) -> String {
        let mut fields = Map::new();
        let hex = |values: &[[u8; 32]]| values.iter().map(|value| hex::encode(value)).collect();
        if let Some(ids) = &self.ids {
            fields.insert("ids".to_owned(), hex(ids));
        }
        if let Some(authors) = &self.authors {
            fields.insert("authors".to_owned(), hex(authors));
        }
        if let Some(kinds) = &self.kinds {
            fields.insert("kinds".to_owned(), kinds.iter().copied().collect());
        }
        for (name, values) in sorted_tags(self) {
            let values: Value = values.iter().map(|value| &**value).collect();
            fields.insert(format!("#{name}"), values);
        }
        let numbers = [("since", self.since), ("until", self.until), ("limit", limit)];
        for (name, value) in numbers {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value.into());
            }
        }
        if let Some(search) = &self.search {
            fields.insert("search".to_owned(), (&**search).into());
        }
        Value::Object(fields).to_string()
    }
}
