//! Relays that serve less than they say, refuse after they have promised, and forget (rules 3.5 and 4.3).
//!
//! The property: whoever is open and was not told CLOSED gets every event that any relay would have given
//! a client connected to it directly and honestly, and one EOSE. What it costs in time is bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Character, Dice, EVENTS, Made, Model, Past, answer, filter_of, key};
use super::*;
use crate::nostr::event::is_ephemeral;
use crate::nostr::filter::Filter;
use crate::nostr::keys::Keys;
use crate::nostr::limits::RelayLimits;

const ROUNDS: std::ops::Range<u64> = 0..40;

/// A subscription as the oracle knows it.
#[derive(Debug)]
pub(super) struct Watch {
    filters: Vec<Filter>,
    due: BTreeSet<String>,
    got: BTreeSet<String>,
    in_order: Vec<String>,
    eoses: usize,
    closed: Option<String>,
}

impl Watch {
    /// Whether it was given this event.
    pub(super) fn has(&self, id: &str) -> bool {
        self.got.contains(id)
    }
}

/// Many clients with one subscription each, at relays of some character.
pub(super) struct Zoo {
    pub(super) world: World,
    pub(super) models: Vec<Model>,
    pub(super) watches: BTreeMap<(u64, String), Watch>,
    /// What became of events that clients have published, and the relay's words.
    pub(super) oks: BTreeMap<String, (bool, String)>,
    /// `NOTICE`s that clients were sent.
    notices: Vec<Value>,
    dice: Dice,
    links: Vec<u64>,
}

impl Zoo {
    pub(super) fn new(seed: u64, relays: &[(usize, Character)]) -> Self {
        let world = World::new(relays.len() as u64);
        let model = |(most, character): &(usize, Character)| Model {
            most: *most,
            character: *character,
            dice: Dice(seed),
            ..Model::default()
        };
        Self {
            world,
            models: relays.iter().map(model).collect(),
            watches: BTreeMap::new(),
            oks: BTreeMap::new(),
            notices: Vec::new(),
            dice: Dice(seed),
            links: vec![1; relays.len()],
        }
    }

    pub(super) fn says(&mut self, relay: u64, limits: RelayLimits) {
        self.world.input(Input::RelayLimits(RelayId(relay), limits));
    }

    pub(super) fn open(&mut self, client: u64, id: &str, filters: &[Value]) {
        self.world.input(Input::ClientJoined(ClientId(client), Role::Private, Arc::default()));
        let parsed: Vec<Filter> = filters.iter().map(filter_of).collect();
        let stored = self.models.iter().flat_map(|model| &model.store);
        let due = stored
            .filter(|made| parsed.iter().any(|filter| filter.matches(&made.event)))
            .map(Made::id)
            .collect();
        let watch = Watch {
            filters: parsed,
            due,
            got: BTreeSet::new(),
            in_order: Vec::new(),
            eoses: 0,
            closed: None,
        };
        self.watches.insert((client, id.to_owned()), watch);
        let mut req = vec![json!("REQ"), json!(id)];
        req.extend(filters.iter().cloned());
        self.world.say(client, &Value::Array(req));
        self.listen();
    }

    /// Somebody publishes at one of the relays.
    pub(super) fn publish(&mut self, made: &Made, at: usize) {
        if self.models.iter().any(|model| model.store.iter().any(|it| it.id() == made.id())) {
            return;
        }
        self.models[at].publish(made);
        self.is_due(made);
    }

    /// Somebody has published it where it is found when a relay is asked.
    pub(super) fn is_due(&mut self, made: &Made) {
        for watch in self.watches.values_mut() {
            if watch.filters.iter().any(|filter| filter.matches(&made.event)) {
                watch.due.insert(made.id());
            }
        }
    }

    pub(super) fn is_not_due(&mut self, made: &Made) {
        self.watches.values_mut().for_each(|watch| _ = watch.due.remove(&made.id()));
    }

    /// Nothing is due but what comes from now on.
    pub(super) fn forget_due(&mut self) {
        self.watches.values_mut().for_each(|watch| watch.due = watch.got.clone());
    }

    /// Whether everybody has had an EOSE or a CLOSED.
    pub(super) fn is_answered(&self) -> bool {
        self.watches.values().all(|watch| watch.eoses > 0 || watch.closed.is_some())
    }

    /// Whether everybody who was not told CLOSED has got what is due.
    pub(super) fn is_whole(&self) -> bool {
        let mut open = self.watches.values().filter(|watch| watch.closed.is_none());
        open.all(|watch| watch.due.is_subset(&watch.got))
    }

    /// One message is read by a relay, or delivered. False: nothing is under way.
    pub(super) fn step(&mut self) -> bool {
        let busy: Vec<usize> = (0..self.models.len())
            .filter(|at| {
                let model = &self.models[*at];
                !(model.inbox.is_empty() && model.outbox.is_empty() && model.late.is_empty())
            })
            .collect();
        let Some(at) = busy.get(self.dice.roll(busy.len().max(1))).copied() else { return false };
        let model = &mut self.models[at];
        model.now = self.world.now.mono;
        if self.dice.one_of(2) {
            model.read();
            if std::mem::take(&mut model.ended) {
                self.end_for(at, Ending::Broken, |_| ());
            }
        } else {
            let late = model.outbox.is_empty() || self.dice.one_of(3);
            let message = late.then(|| model.late.pop_front()).flatten();
            if let Some(message) = message.or_else(|| model.outbox.pop_front()) {
                self.world.relay_says_over(at as u64, self.links[at], &message);
            }
        }
        self.listen();
        true
    }

    fn lose(&mut self, at: usize) {
        self.lose_for(at, |_| ());
    }

    /// The connection is lost, and something happens before it comes back.
    pub(super) fn lose_for(&mut self, at: usize, what: impl FnOnce(&mut Model)) {
        self.end_for(at, Ending::Innocent, what);
    }

    pub(super) fn end_for(&mut self, at: usize, how: Ending, what: impl FnOnce(&mut Model)) {
        self.listen();
        self.models[at].lose_connection();
        self.world.ended(at as u64, self.links[at], how);
        what(&mut self.models[at]);
        self.links[at] += 1;
        self.world.up(at as u64, self.links[at]);
        self.listen();
    }

    pub(super) fn listen(&mut self) {
        for (relay, model) in (0..).zip(&mut self.models) {
            model.inbox.extend(self.world.got(relay));
        }
        for (client, message) in std::mem::take(&mut self.world.told) {
            let id = message[1].as_str().unwrap_or_default().to_owned();
            match message[0].as_str().unwrap() {
                "NOTICE" => self.notices.push(message.clone()),
                "OK" => {
                    let why = message[3].as_str().unwrap().to_owned();
                    self.oks.insert(id, (message[2].as_bool().unwrap(), why));
                    continue;
                }
                _ => {}
            }
            let Some(watch) = self.watches.get_mut(&(client, id)) else { continue };
            match message[0].as_str().unwrap() {
                "EVENT" => {
                    assert_eq!(watch.closed, None, "an event after CLOSED");
                    let event = message[2]["id"].as_str().unwrap().to_owned();
                    watch.in_order.push(event.clone());
                    assert!(watch.got.insert(event), "given twice");
                }
                "EOSE" => watch.eoses += 1,
                "CLOSED" => watch.closed = Some(message[2].to_string()),
                _ => panic!("{message}"),
            }
        }
    }

    /// Everything is said. What our own client is told is not looked at.
    pub(super) fn hear_all(&mut self) {
        loop {
            self.world.told.clear();
            self.listen();
            if !self.step() {
                return;
            }
        }
    }

    /// Everything is said, and so much time passes, in small steps.
    pub(super) fn settle(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            while self.step() {}
            self.world.pass_ms(250);
            self.listen();
        }
        while self.step() {}
    }

    pub(super) fn check(&self, what: &str) {
        for ((client, id), watch) in self.watches.iter().filter(|(_, it)| it.closed.is_none()) {
            assert_eq!(watch.eoses, 1, "{what}: EOSE of {client} {id}");
            let lost: Vec<_> = watch.due.difference(&watch.got).collect();
            assert!(lost.is_empty(), "{what}: {client} {id} lost {lost:?}");
        }
    }

    pub(super) fn closed(&self) -> usize {
        self.watches.values().filter(|watch| watch.closed.is_some()).count()
    }

    /// Why subscriptions were ended.
    pub(super) fn told(&self) -> Vec<&str> {
        self.watches.values().filter_map(|watch| watch.closed.as_deref()).collect()
    }

    /// What comes now comes to all, orders to pay included.
    fn all_hear(&mut self, what: &str) {
        let fresh: Vec<Made> = EVENTS[75..].to_vec();
        for made in &fresh {
            let at = self.dice.roll(self.models.len());
            self.publish(made, at);
        }
        while self.step() {}
        self.check(what);
    }
}

fn wallet(number: usize) -> Value {
    json!({"kinds": [23_194], "#p": [key(number)]})
}

fn notes(number: usize) -> Value {
    json!({"kinds": [1, 4, 23_194], "#p": [key(number % 20)]})
}

pub(super) const PASTS: [Past; 6] = [
    Past::Closed,
    Past::EoseAndClosed,
    Past::EoseThenClosed,
    Past::EoseThenNotice,
    Past::Notice,
    Past::Silence,
];

/// As many wallets as were seen, at a relay that serves 20 and says nothing of it.
#[test]
fn however_a_relay_refuses_what_is_too_many_nobody_is_deaf() {
    for past in PASTS {
        for most in [5, 10, 20] {
            for clients in [1, 25, 37, 200] {
                let what = format!("{past:?} {most} {clients}");
                let character = Character { past_most: past, ..Character::default() };
                let mut zoo = Zoo::new(7, &[(most, character)]);
                for client in 0..clients {
                    zoo.open(client, "orders", &[wallet(usize::try_from(client).unwrap() % 20)]);
                    if client % 3 == 0 {
                        while zoo.step() {}
                    }
                }
                zoo.settle(20);
                zoo.check(&what);
                zoo.all_hear(&what);
                assert_eq!(zoo.closed(), 0, "{what}");
                assert!(zoo.models[0].open.len() <= most, "{what}");
            }
        }
    }
}

/// A relay that reads forty messages in ten seconds, loses the others without a name, CLOSEs too, and counts
/// those as well: whoever goes on asking is never heard.
#[test]
fn a_relay_that_says_that_too_much_comes_at_a_time_is_given_rest() {
    for seed in seeds(0..10) {
        for clients in [1, 37, 200] {
            let what = format!("{seed} {clients}");
            let character =
                Character { past_most: Past::Notice, rate: Some(40), ..Character::default() };
            let mut zoo = Zoo::new(seed, &[(10, character)]);
            zoo.says(0, RelayLimits { max_subscriptions: Some(10), ..RelayLimits::default() });
            let began = zoo.world.now.mono;
            for client in 0..clients {
                zoo.open(client, "orders", &[of_several_shapes(usize::try_from(client).unwrap())]);
                for _ in 0..zoo.dice.roll(4) {
                    zoo.step();
                }
            }
            while !zoo.is_answered() {
                zoo.settle(1);
            }
            let took = zoo.world.now.mono.saturating_sub(began);
            assert!(took <= Duration::from_secs(30), "{what}: {took:?}");
            zoo.settle(60);
            zoo.all_hear(&what);
            assert_eq!(zoo.closed(), 0, "{what}");
            // Nothing that was lost stays open there.
            for client in 0..clients {
                zoo.world.say(client, &json!(["CLOSE", "orders"]));
            }
            zoo.settle(60);
            assert_eq!(zoo.models[0].open.len(), 0, "{what}");
        }
    }
}

#[test]
fn who_is_answered_by_others_does_not_wait_for_a_relay_that_rests() {
    for seed in seeds(0..10) {
        let tired = Character { past_most: Past::Notice, rate: Some(5), ..Character::default() };
        let mut zoo = Zoo::new(seed, &[(0, Character::default()), (10, tired)]);
        for client in 0..60 {
            zoo.open(client, "orders", &[of_several_shapes(usize::try_from(client).unwrap())]);
        }
        while zoo.step() {}
        for client in 60..70 {
            zoo.open(client, "orders", &[of_several_shapes(usize::try_from(client).unwrap())]);
        }
        let began = zoo.world.now.mono;
        while !zoo.is_answered() {
            zoo.settle(1);
        }
        let took = zoo.world.now.mono.saturating_sub(began);
        assert!(took <= Duration::from_secs(4), "seed {seed}: {took:?}");
    }
}

/// A relay that keeps to what it says, and a machine that has other work: answers come one by one, with
/// time between them.
#[test]
fn a_thousand_clients_have_their_places_in_a_few_seconds() {
    for seed in seeds(0..6) {
        let mut zoo = Zoo::new(seed, &[(20, Character::default())]);
        zoo.says(0, RelayLimits { max_subscriptions: Some(20), ..RelayLimits::default() });
        let began = zoo.world.now.mono;
        for client in 0..2_000 {
            let number = usize::try_from(client).unwrap();
            let filters = [
                ("mentions", json!({"kinds": [1], "#p": [key(number)]})),
                ("orders", json!({"kinds": [23_194], "#p": [key(number)]})),
                ("star", json!({"authors": [key(7)], "since": 2_000 - client})),
            ];
            for (id, filter) in filters {
                zoo.open(client, id, &[filter]);
            }
        }
        while zoo.watches.values().any(|watch| watch.eoses == 0) {
            for _ in 0..=zoo.dice.roll(20) {
                zoo.step();
            }
            let busy = if zoo.dice.one_of(30) { 400 } else { 10 };
            zoo.world.pass_ms(1 + zoo.dice.roll(busy) as u64);
            zoo.listen();
        }
        let took = zoo.world.now.mono.saturating_sub(began);
        eprintln!("seed {seed}: {took:?}");
        assert!(took < Duration::from_secs(10), "seed {seed}: {took:?}");
        assert_eq!(zoo.models[0].refused, 0);
    }
}

#[test]
fn a_relay_that_serves_one_filter_of_a_request_serves_all_the_same() {
    for clients in [1, 40, 100] {
        let character = Character { one_filter: true, ..Character::default() };
        let mut zoo = Zoo::new(3, &[(20, character)]);
        for client in 0..clients {
            let number = usize::try_from(client).unwrap();
            zoo.open(client, "two", &[wallet(number % 20), notes(number)]);
        }
        zoo.settle(20);
        zoo.all_hear(&format!("{clients} clients"));
        assert_eq!(zoo.closed(), 0);
    }
}

/// A wallet that wants nothing stored (`limit` 0), at a relay that has no EOSE for that.
#[test]
fn who_wants_nothing_stored_is_served_and_not_told_otherwise() {
    for max_filters in [None, Some(1)] {
        let character = Character { no_eose_of_nothing: true, ..Character::default() };
        let mut zoo = Zoo::new(3, &[(20, character)]);
        zoo.says(0, RelayLimits { max_filters, ..RelayLimits::default() });
        for client in 0..25 {
            let mut filter = wallet(usize::try_from(client).unwrap() % 20);
            filter["limit"] = json!(0);
            zoo.open(client, "orders", &[filter]);
        }
        zoo.settle(12);
        let reqs = zoo.models[0].reqs;
        zoo.settle(200);
        zoo.all_hear("who wants nothing stored");
        assert_eq!((zoo.closed(), &zoo.notices), (0, &Vec::new()));
        assert_eq!(zoo.models[0].reqs, reqs, "it is not asked over and over");
    }
}

#[test]
fn one_filter_that_a_relay_cannot_read_costs_nobody_else() {
    let character = Character { unreadable: Some("x"), ..Character::default() };
    let mut zoo = Zoo::new(3, &[(10, character)]);
    for client in 0..40 {
        let filter = if client == 7 {
            json!({"#x": ["1"]})
        } else {
            wallet(usize::try_from(client).unwrap() % 20)
        };
        zoo.open(client, "orders", &[filter]);
    }
    zoo.settle(40);
    zoo.all_hear("with one unreadable");
    let told = zoo.watches[&(7, "orders".to_owned())].closed.clone();
    assert_eq!((zoo.closed(), told.is_some()), (1, true), "whose filter it is");
}

#[test]
fn more_filters_than_a_relay_takes_go_in_several_requests() {
    let character = Character { most_filters: Some(10), ..Character::default() };
    let mut zoo = Zoo::new(3, &[(20, character)]);
    let filters: Vec<Value> =
        (0..50).map(|number| json!({"#p": [key(number % 20)], "since": number})).collect();
    zoo.open(1, "fifty", &filters);
    zoo.settle(6);
    zoo.all_hear("fifty filters");
    assert_eq!(zoo.closed(), 0);
    assert_eq!(zoo.models[0].open.len(), 5);
    zoo.world.say(1, &json!(["CLOSE", "fifty"]));
    zoo.listen();
    while zoo.step() {}
    assert!(zoo.models[0].open.is_empty(), "nothing is left upstream");
}

/// A relay that gives ten events at a time: unsaid, and what it says with a limit.
#[test]
fn what_does_not_fit_into_one_page_is_asked_for_in_several() {
    let character = Character { cap: Some(10), ..Character::default() };
    let stored: Vec<Made> = EVENTS.iter().filter(|it| it.event.kind() == 1).cloned().collect();
    assert!(stored.len() > 40);
    let mut zoo = Zoo::new(3, &[(20, character)]);
    zoo.open(5, "notes", &[json!({"kinds": [1]})]);
    zoo.settle(3);
    zoo.lose_for(0, |model| model.store.extend(stored[..40].iter().cloned()));
    for made in &stored[..40] {
        zoo.watches.values_mut().for_each(|watch| _ = watch.due.insert(made.id()));
    }
    zoo.settle(10);
    zoo.check("a gap of four pages");
    assert_eq!(zoo.models[0].open.len(), 1, "pages are closed when they are read");

    let mut zoo = Zoo::new(3, &[(20, character)]);
    zoo.says(0, RelayLimits { max_limit: Some(10), ..RelayLimits::default() });
    zoo.models[0].store.extend(stored.iter().cloned());
    zoo.open(5, "notes", &[json!({"kinds": [1], "limit": 25})]);
    let mut newest: Vec<&Made> = stored.iter().collect();
    newest.sort_by_key(|it| (std::cmp::Reverse(it.event.created_at()), *it.event.id()));
    let due = newest[..25].iter().map(|made| made.id()).collect();
    zoo.watches.values_mut().next().unwrap().due = due;
    zoo.settle(5);
    zoo.check("a limit of three pages");
    assert_eq!(zoo.watches.values().next().unwrap().got.len(), 25);
}

/// A relay that has forgotten a live request, and says nothing.
#[test]
fn what_a_relay_forgets_is_asked_again_in_the_hour_and_brings_what_was_missed() {
    let mut zoo = Zoo::new(3, &[(20, Character::default())]);
    for client in 0..30 {
        zoo.open(client, "orders", &[notes(usize::try_from(client).unwrap())]);
    }
    zoo.settle(3);
    zoo.models[0].open.clear();
    for made in &EVENTS[..40] {
        if !is_ephemeral(made.event.kind()) {
            zoo.publish(made, 0);
        }
    }
    for _ in 0..90 * 30 {
        zoo.world.pass(Duration::from_secs(2));
        zoo.listen();
        while zoo.step() {}
    }
    zoo.check("after the hour");
    zoo.all_hear("from then on");
    let (reads, relays) = (zoo.models[0].reqs, zoo.models[0].open.len());
    zoo.world.pass(Duration::from_secs(30));
    zoo.listen();
    while zoo.step() {}
    assert!(zoo.models[0].reqs - reads < 3, "and not over and over");
    assert!(relays <= 20);
}

/// An event of ours that a relay has taken and does not bring back, as it did with others.
#[test]
fn a_missing_echo_is_a_reason_to_ask_again_at_once() {
    let mut zoo = Zoo::new(3, &[(20, Character::default())]);
    zoo.open(5, "notes", &[json!({"kinds": [1]})]);
    zoo.settle(3);
    let mine: Vec<Value> =
        (0..4).map(|number| event(1, UNIX, &json!([]), &number.to_string())).collect();
    zoo.world.say(CLIENT, &json!(["EVENT", mine[0]]));
    zoo.hear_all();
    zoo.world.pass(Duration::from_secs(6));
    zoo.hear_all();
    assert_eq!(zoo.models[0].reqs, 1, "it came back");
    zoo.models[0].open.clear();
    zoo.world.say(CLIENT, &json!(["EVENT", mine[1]]));
    zoo.hear_all();
    assert_eq!(zoo.models[0].reqs, 1);
    zoo.world.pass(Duration::from_secs(6));
    zoo.hear_all();
    assert_eq!((zoo.models[0].reqs, zoo.models[0].open.len()), (2, 1));
    // A relay that never sends us our own is asked no more often for that.
    zoo.models[0].open.clear();
    zoo.world.say(CLIENT, &json!(["EVENT", mine[2]]));
    zoo.hear_all();
    zoo.world.pass(Duration::from_secs(6));
    zoo.hear_all();
    assert_eq!(zoo.models[0].reqs, 2);
}

#[test]
fn what_is_refused_in_passing_is_served_in_the_end() {
    for seed in seeds(ROUNDS) {
        let mut dice = Dice(seed);
        // One that keeps one filter and says nothing past its limit is not known to exist.
        let character = |dice: &mut Dice| Character {
            past_most: PASTS[dice.roll(PASTS.len())],
            most_filters: dice.one_of(3).then_some(10),
            moody: dice.one_of(2).then(|| 2 + dice.roll(4)),
            ..Character::default()
        };
        // Where every filter takes a place, four of them are too few for filters that differ.
        let least = |character: &Character| if character.one_filter { 12 } else { 4 };
        let mut relays: Vec<(usize, Character)> = Vec::new();
        for _ in 0..=dice.roll(3) {
            let mut character = character(&mut dice);
            character.one_filter = character.past_most != Past::Silence && dice.one_of(4);
            relays.push((least(&character) + dice.roll(20), character));
        }
        let what = format!("seed {seed}: {relays:?}");
        let mut zoo = Zoo::new(seed, &relays);
        let clients = 1 + dice.roll(60);
        for client in 0..clients {
            let filters: Vec<Value> = (0..=dice.roll(3))
                .map(|_| if dice.one_of(2) { wallet(dice.roll(20)) } else { notes(dice.roll(20)) })
                .collect();
            zoo.open(client as u64, "a", &filters);
            for _ in 0..dice.roll(8) {
                zoo.step();
            }
            match dice.roll(12) {
                0 => zoo.publish(&EVENTS[dice.roll(70)], 0),
                1 => zoo.world.pass_ms(300),
                2 => zoo.models[0].tire(),
                3 if dice.one_of(4) => zoo.lose(0),
                _ => {}
            }
        }
        // What is asked again is asked within the bound, and then everybody is served.
        for model in &mut zoo.models {
            model.character.moody = None;
        }
        zoo.settle(30);
        zoo.forget_due();
        zoo.settle(330);
        zoo.all_hear(&what);
    }
}

/// Clients that cannot all be asked for in one filter.
fn of_several_shapes(number: usize) -> Value {
    let mut filter = notes(number);
    match number % 4 {
        0 | 2 => filter["#t"] = json!([(number % 5).to_string()]),
        1 => filter["since"] = json!(UNIX - 5_000 - number as u64),
        _ => filter["limit"] = json!(200 + number),
    }
    filter
}

/// What ends the connection over one client's filter or event costs the others nothing that they notice.
#[test]
fn what_ends_the_connection_costs_nobody_but_its_client() {
    let keys = Keys::from_hex(&"6".repeat(64)).unwrap();
    let killer = keys.sign_event(UNIX, 1, &[vec!["x".to_owned(), "y".to_owned()]], "").unwrap();
    let messages = [
        json!(["REQ", "bad", {"kinds": [1], "#x": ["what"]}]),
        json!(["EVENT", serde_json::from_str::<Value>(&killer).unwrap()]),
    ];
    for seed in seeds(0..10) {
        for most_filters in [None, Some(1)] {
            for (clients, message) in
                [3, 30, 60].iter().flat_map(|it| messages.iter().map(move |m| (*it, m)))
            {
                let what = format!("{seed} {most_filters:?} {clients} {}", message[0]);
                let character =
                    Character { ends_over: Some("x"), most_filters, ..Character::default() };
                let mut zoo = Zoo::new(seed, &[(20, character)]);
                let when = zoo.dice.roll(clients);
                for client in 0..clients {
                    zoo.open(client as u64, "notes", &[of_several_shapes(client)]);
                    if client == when {
                        zoo.world.input(Input::ClientJoined(
                            ClientId(999),
                            Role::Private,
                            Arc::default(),
                        ));
                        zoo.world.say(999, message);
                    }
                    for _ in 0..zoo.dice.roll(4) {
                        zoo.step();
                    }
                }
                zoo.settle(30);
                assert!(
                    (1..=5).contains(&zoo.models[0].ends),
                    "{what}: {} ends",
                    zoo.models[0].ends
                );
                assert_eq!(zoo.world.stats_of(0).quarantined.get(), 1, "{what}");
                zoo.check(&what);
                zoo.all_hear(&what);
                assert_eq!(zoo.closed(), 0, "{what}");
            }
        }
    }
}

/// Whether a relay says how long a message may be, or ends the connection over one that is longer.
#[test]
fn a_filter_that_is_too_long_goes_in_pieces_and_is_answered_as_one() {
    let authors: BTreeSet<String> =
        EVENTS.iter().map(|made| made.json["pubkey"].as_str().unwrap().to_owned()).collect();
    for seed in seeds(0..20) {
        for (says, ends_over) in [(Some(9_000), 9_000), (None, 65_536)] {
            for limit in [None, Some(7)] {
                let what = format!("{seed} {says:?} {limit:?}");
                let character = Character { most_bytes: Some(ends_over), ..Character::default() };
                let mut zoo = Zoo::new(seed, &[(20, character)]);
                zoo.says(0, RelayLimits { max_message_length: says, ..RelayLimits::default() });
                for made in &EVENTS[..75] {
                    zoo.publish(made, 0);
                }
                let mut many: Vec<String> = (0..ends_over / 30).map(key).collect();
                for author in &authors {
                    many.insert(zoo.dice.roll(many.len()), author.clone());
                }
                let mut filter = json!({"authors": many, "kinds": [1, 4, 7, 23_194]});
                if let Some(limit) = limit {
                    filter["limit"] = json!(limit);
                }
                zoo.open(1, "long", std::slice::from_ref(&filter));
                zoo.settle(3);
                let due: Vec<String> = answer(&zoo.models[0].store, &[filter_of(&filter)])
                    .iter()
                    .map(Made::id)
                    .collect();
                let watch = zoo.watches.get_mut(&(1, "long".to_owned())).unwrap();
                assert_eq!((watch.eoses, &watch.closed), (1, &None), "{what}");
                if limit.is_some() {
                    assert_eq!(watch.in_order, due, "{what}: the newest of all pieces, in order");
                }
                assert_eq!(watch.got, due.into_iter().collect(), "{what}");
                watch.due = watch.got.clone();
                assert!(zoo.models[0].open.len() > 1, "{what}");
                zoo.all_hear(&what);
                // The same after a loss, from which it goes on with all of its pieces.
                zoo.lose(0);
                zoo.settle(3);
                zoo.check(&what);
                assert_eq!(zoo.models[0].ends, 0, "{what}");
                zoo.world.say(1, &json!(["CLOSE", "long"]));
                zoo.settle(1);
                assert_eq!(zoo.models[0].open.len(), 0, "{what}: nothing is left open");
            }
        }
    }
}
