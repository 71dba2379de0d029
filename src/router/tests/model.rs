//! An honest relay as a model: it stores, answers filters newest first, delivers what comes, allows
//! so many subscriptions and notes how many it had. The test moves its messages one by one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use serde_json::value::RawValue;

use super::*;
use crate::nostr::event::{Event, is_ephemeral};
use crate::nostr::filter::Filter;
use crate::nostr::keys::Keys;
use crate::nostr::succession;
use crate::nostr::verify;

/// Numbers that are the same for the same seed.
#[derive(Debug, Clone, Default)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, below: usize) -> usize {
        // SplitMix64: good from the first number on.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap()
    }

    pub(super) fn one_of(&mut self, in_all: usize) -> bool {
        self.roll(in_all) == 0
    }
}

/// An event, read and as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) event: Arc<Event>,
    pub(super) json: Value,
}

impl Made {
    pub(super) fn id(&self) -> String {
        self.json["id"].as_str().unwrap().to_owned()
    }
}

/// Events of three authors and some kinds, dates that often are the same, versions of replaceable
/// ones, orders to pay.
pub(super) static EVENTS: LazyLock<Vec<Made>> = LazyLock::new(|| {
    let mut dice = Dice(7);
    let keys: Vec<Keys> =
        ["7", "8", "9"].iter().map(|digit| Keys::from_hex(&digit.repeat(64)).unwrap()).collect();
    let kinds = [1, 1, 1, 4, 7, 10_002, 30_000, 23_194];
    (0..150)
        .map(|number: u64| {
            let kind = kinds[dice.roll(kinds.len())];
            let date = UNIX - 600 + dice.roll(60) as u64;
            let tag = |name: &str, value: usize| vec![name.to_owned(), value.to_string()];
            let tags = match kind {
                30_000 => vec![tag("d", dice.roll(3))],
                1 | 4 | 23_194 => {
                    vec![tag("t", dice.roll(5)), vec!["p".to_owned(), key(dice.roll(20))]]
                }
                _ => Vec::new(),
            };
            let author = &keys[dice.roll(3)];
            let json = author.sign_event(date, kind, &tags, &number.to_string()).unwrap();
            let event = Arc::new(verify::check(&json).unwrap());
            Made { event, json: serde_json::from_str(&json).unwrap() }
        })
        .collect()
});

/// A public key that is nobody's.
pub(super) fn key(number: usize) -> String {
    format!("{number:064x}")
}

pub(super) fn filter_of(value: &Value) -> Filter {
    Filter::parse(&RawValue::from_string(value.to_string()).unwrap()).unwrap()
}

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) store: Vec<Made>,
    pub(super) open: BTreeMap<String, Vec<Filter>>,
    /// Sent to it and not read yet.
    pub(super) inbox: VecDeque<Value>,
    /// Said by it and not delivered yet.
    pub(super) outbox: VecDeque<Value>,
    /// Subscriptions it allows; 0: any number.
    pub(super) most: usize,
    pub(super) most_open: usize,
    pub(super) refused: usize,
    /// REQs it has read.
    pub(super) reqs: usize,
    /// Answers come in an order of their own.
    pub(super) disorder: Option<Dice>,
    pub(super) dice: Dice,
    pub(super) character: Character,
    /// It has just ended the connection …
    pub(super) ended: bool,
    /// … and has done so as often.
    pub(super) ends: usize,
    /// What time it is, …
    pub(super) now: Duration,
    /// … and when the latest messages came.
    pub(super) came: VecDeque<Duration>,
    /// Complaints on their way from another thread of the relay's: they come behind what came meanwhile.
    pub(super) late: VecDeque<Value>,
}

/// What a relay does when it is asked for more than it serves, though its document says nothing of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Character {
    pub(super) past_most: Past,
    /// Each filter gets an EOSE, and the last stays (that of `LNbits`).
    pub(super) one_filter: bool,
    /// A new event goes to one of its requests only (`LNbits` again).
    pub(super) one_copy: bool,
    /// No EOSE where nothing stored is asked for (nostr-rs-relay).
    pub(super) no_eose_of_nothing: bool,
    /// A REQ with more filters is refused.
    pub(super) most_filters: Option<usize>,
    /// The most stored events for one filter.
    pub(super) cap: Option<usize>,
    /// It cannot read filters with this tag, and says so, naming no request.
    pub(super) unreadable: Option<&'static str>,
    /// It ends the connection over filters and events with this tag, without a word.
    pub(super) ends_over: Option<&'static str>,
    /// The same over a message that has more bytes.
    pub(super) most_bytes: Option<usize>,
    /// One in so many requests is refused in passing, first ones and live ones.
    pub(super) moody: Option<usize>,
    /// It reads so many messages in ten seconds, those it does not read among them (nostream).
    pub(super) rate: Option<usize>,
}

/// What happens to a REQ past the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Past {
    /// It says so at once, by name.
    #[default]
    Closed,
    /// It sends what it stores and the EOSE, and at once says so by name.
    EoseAndClosed,
    /// The same after a while.
    EoseThenClosed,
    /// The same, naming none (strfry's monitor).
    EoseThenNotice,
    /// It says so, naming none, and sends nothing (strfry's queue).
    Notice,
    /// Nothing at all.
    Silence,
}

impl Model {
    /// Reads one message.
    pub(super) fn read(&mut self) -> bool {
        let Some(message) = self.inbox.pop_front() else { return false };
        if self.ends_over(&message) {
            self.ended = true;
            self.ends += 1;
            return true;
        }
        if self.is_too_fast() {
            self.outbox.push_back(json!(["NOTICE", "rate limited"]));
            return true;
        }
        let id = message[1].as_str().unwrap_or_default().to_owned();
        match message[0].as_str().unwrap() {
            "REQ" => {
                self.reqs += 1;
                let replaces = self.open.contains_key(&id);
                let Character {
                    past_most, one_filter, most_filters, cap, unreadable, moody, ..
                } = self.character;
                let past = self.most > 0 && self.open.len() >= self.most && !replaces;
                self.refused += usize::from(past);
                let notice = json!(["NOTICE", "ERROR: too many concurrent REQs"]);
                match past_most {
                    Past::Closed if past => {
                        let why = "error: too many subscriptions";
                        self.outbox.push_back(json!(["CLOSED", id, why]));
                        return true;
                    }
                    Past::Notice if past => {
                        self.outbox.push_back(notice);
                        return true;
                    }
                    Past::Silence if past => return true,
                    _ => {}
                }
                let mut filters: Vec<Filter> =
                    message.as_array().unwrap()[2..].iter().map(filter_of).collect();
                if most_filters.is_some_and(|most| filters.len() > most) {
                    self.outbox.push_back(json!(["CLOSED", id, "error: too many filters"]));
                    return true;
                }
                let is_bad = |filter: &Filter| {
                    filter.tags.iter().any(|(name, _)| Some(&**name) == unreadable)
                };
                if filters.iter().any(is_bad) {
                    self.outbox.push_back(json!(["NOTICE", "ERROR: bad req: unrecognised filter"]));
                    return true;
                }
                if moody.is_some_and(|one_of| self.dice.one_of(one_of)) {
                    let why = ["error: database is locked", "rate-limited: slow down"];
                    self.outbox.push_back(json!(["CLOSED", id, why[self.dice.roll(2)]]));
                    return true;
                }
                let mut found = match cap {
                    None => answer(&self.store, &filters),
                    Some(cap) => {
                        let capped = |filter: &Filter| {
                            let limit = filter.limit.unwrap_or(u64::MAX).min(cap as u64);
                            Filter { limit: Some(limit), ..filter.clone() }
                        };
                        let filters: Vec<Filter> = filters.iter().map(capped).collect();
                        answer(&self.store, &filters)
                    }
                };
                self.shuffle(&mut found);
                self.outbox.extend(found.iter().map(|made| json!(["EVENT", id, made.json])));
                let nothing = filters.iter().all(|filter| filter.limit == Some(0));
                let eoses = match self.character {
                    Character { no_eose_of_nothing: true, .. } if nothing => 0,
                    _ if one_filter => filters.len(),
                    _ => 1,
                };
                self.outbox.extend((0..eoses).map(|_| json!(["EOSE", id])));
                if past {
                    if past_most == Past::EoseAndClosed {
                        self.outbox.push_back(json!(["CLOSED", id, "rate-limited: too many REQs"]));
                    } else if past_most == Past::EoseThenClosed {
                        self.late.push_back(json!(["CLOSED", id, "error: too many subscriptions"]));
                    } else {
                        self.late.push_back(notice);
                    }
                    return true;
                }
                if one_filter {
                    filters.drain(..filters.len() - 1);
                }
                self.open.insert(id, filters);
                self.most_open = self.most_open.max(self.open.len());
            }
            "CLOSE" => drop(self.open.remove(&id)),
            "EVENT" => {
                let json = message[1].to_string();
                let event = Arc::new(verify::check(&json).unwrap());
                self.outbox.push_back(json!(["OK", message[1]["id"], true, ""]));
                self.publish(&Made { event, json: message[1].clone() });
            }
            other => panic!("{other}"),
        }
        true
    }

    fn shuffle(&mut self, found: &mut [Made]) {
        if let Some(dice) = &mut self.disorder {
            for at in (1..found.len()).rev() {
                found.swap(at, dice.roll(at + 1));
            }
        }
    }

    fn is_too_fast(&mut self) -> bool {
        while self.came.front().is_some_and(|at| *at + Duration::from_secs(10) < self.now) {
            self.came.pop_front();
        }
        self.came.push_back(self.now);
        self.character.rate.is_some_and(|rate| self.came.len() > rate)
    }

    fn ends_over(&self, message: &Value) -> bool {
        if self.character.most_bytes.is_some_and(|most| message.to_string().len() > most) {
            return true;
        }
        let Some(tag) = self.character.ends_over else { return false };
        let parts = message.as_array().unwrap();
        match parts[0].as_str() {
            Some("REQ") => parts[2..].iter().any(|filter| filter.get(format!("#{tag}")).is_some()),
            Some("EVENT") => parts[1]["tags"].as_array().unwrap().iter().any(|it| it[0] == tag),
            _ => false,
        }
    }

    /// Somebody has published an event here.
    pub(super) fn publish(&mut self, made: &Made) {
        if self.store.iter().any(|other| *other.event.id() == *made.event.id()) {
            return;
        }
        for (id, filters) in &self.open {
            if filters.iter().any(|filter| filter.matches(&made.event)) {
                self.outbox.push_back(json!(["EVENT", id, made.json]));
                if self.character.one_copy {
                    break;
                }
            }
        }
        if !is_ephemeral(made.event.kind()) {
            self.store.push(made.clone());
        }
    }

    /// It ends a live subscription, for no reason that lasts.
    pub(super) fn tire(&mut self) {
        let at = self.dice.roll(self.open.len().max(1));
        if let Some(id) = self.open.keys().nth(at).cloned() {
            self.open.remove(&id);
            let why = "error: shutting down idle subscription";
            self.outbox.push_back(json!(["CLOSED", id, why]));
        }
    }

    pub(super) fn lose_connection(&mut self) {
        self.late.clear();
        self.open.clear();
        self.inbox.clear();
        self.outbox.clear();
    }
}

/// What a client is due of these: of each filter the newest that its limit allows, each once, only
/// the newest version of a replaceable one, newest first, of one date the lowest id first.
pub(super) fn answer(store: &[Made], filters: &[Filter]) -> Vec<Made> {
    let matching = |made: &&Made| filters.iter().any(|filter| filter.matches(&made.event));
    let mut found: Vec<&Made> = store.iter().filter(matching).collect();
    found.sort_by_key(|made| (std::cmp::Reverse(made.event.created_at()), *made.event.id()));
    found.dedup_by_key(|made| *made.event.id());
    let newest: Vec<&Made> = found
        .iter()
        .copied()
        .filter(|made| !found.iter().any(|other| voided(&other.event, &made.event)))
        .collect();
    let mut left: Vec<u64> = filters.iter().map(|it| it.limit.unwrap_or(u64::MAX)).collect();
    let mut due = Vec::new();
    for made in newest {
        let mut taken = false;
        for (filter, left) in filters.iter().zip(&mut left) {
            if filter.matches(&made.event) && *left > 0 {
                *left -= 1;
                taken = true;
            }
        }
        if taken {
            due.push(made.clone());
        }
    }
    due
}

fn voided(newer: &Event, older: &Event) -> bool {
    let address = succession::address(newer);
    address.is_some()
        && address == succession::address(older)
        && *newer.id() != *older.id()
        && succession::is_newer(newer, older)
}
