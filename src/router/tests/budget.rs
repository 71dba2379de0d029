//! Many subscriptions at relays that allow few (rule 4.3), against an oracle that gives every
//! subscription a connection of its own: what it is due is what matches its own filters.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Dice, EVENTS, Made, Model, answer, filter_of, key};
use super::*;
use crate::constants::{PROOF, SECOND_EOSE};
use crate::nostr::event::is_ephemeral;
use crate::nostr::filter::Filter;
use crate::nostr::limits::RelayLimits;

const NONE: [Value; 0] = [];

const ROUNDS: std::ops::Range<u64> = 0..60;

/// A subscription as the oracle knows it.
#[derive(Debug)]
struct Watch {
    client: u64,
    id: String,
    filters: Vec<Filter>,
    /// Written events it has to be given at least, and those that come.
    due: BTreeSet<String>,
    /// What it was given. It may be more: what came while nobody can tell whether it was open already.
    got: BTreeSet<String>,
    eoses: usize,
    closed: bool,
}

struct Scene {
    world: World,
    models: Vec<Model>,
    watches: BTreeMap<(u64, String), Watch>,
    ended: Vec<Watch>,
    links: Vec<u64>,
    dice: Dice,
    clients: u64,
    opened: usize,
    /// Nothing that is live at every relay may miss an order.
    calm: bool,
}

impl Scene {
    fn new(seed: u64, relays: u64, most: usize, clients: u64) -> Self {
        let mut world = World::new(relays);
        for client in 1..=clients {
            world.input(Input::ClientJoined(ClientId(client), Role::Private, Arc::default()));
        }
        for relay in 0..relays {
            let limits = RelayLimits {
                max_subscriptions: Some(most),
                max_filters: Some(24),
                ..RelayLimits::default()
            };
            world.input(Input::RelayLimits(RelayId(relay), limits));
        }
        let models = (0..relays).map(|_| Model { most, ..Model::default() }).collect();
        Self {
            world,
            models,
            watches: BTreeMap::new(),
            ended: Vec::new(),
            links: vec![1; usize::try_from(relays).unwrap()],
            dice: Dice(seed),
            clients,
            opened: 0,
            calm: true,
        }
    }

    fn filter(&mut self) -> Value {
        let mut filter = json!({});
        let dice = &mut self.dice;
        let kinds: &[&[u16]] = &[&[1], &[1, 4], &[10_002], &[23_194], &[4, 23_194, 30_000]];
        match dice.roll(8) {
            0 => {}
            1..=3 => filter["#t"] = json!([dice.roll(5).to_string()]),
            _ => filter["#p"] = json!([key(dice.roll(20))]),
        }
        if !dice.one_of(5) || filter == json!({}) {
            filter["kinds"] = json!(kinds[dice.roll(kinds.len())]);
        }
        if dice.one_of(3) {
            filter["authors"] = json!([EVENTS[dice.roll(9)].json["pubkey"]]);
        }
        if dice.one_of(10) {
            // A relay would not have the older versions.
            let made = &EVENTS[dice.roll(150)];
            if crate::nostr::succession::address(&made.event).is_none() {
                filter["ids"] = json!([made.json["id"], "0".repeat(64)]);
            }
        }
        filter
    }

    fn open(&mut self) {
        let client = 1 + self.dice.roll(usize::try_from(self.clients).unwrap()) as u64;
        let id = format!("s{}", self.dice.roll(40));
        let count = 1 + usize::from(self.dice.one_of(5));
        let filters: Vec<Value> = (0..count).map(|_| self.filter()).collect();
        self.close(client, &id);
        let mut req = vec![json!("REQ"), json!(id)];
        req.extend(filters.iter().cloned());
        let parsed: Vec<Filter> = filters.iter().map(filter_of).collect();
        let all: Vec<Made> = self.models.iter().flat_map(|model| model.store.clone()).collect();
        let due = answer(&all, &parsed).iter().map(Made::id).collect();
        let watch = Watch {
            client,
            id: id.clone(),
            filters: parsed,
            due,
            got: BTreeSet::new(),
            eoses: 0,
            closed: false,
        };
        self.watches.insert((client, id), watch);
        self.opened += 1;
        self.world.say(client, &Value::Array(req));
        self.listen();
    }

    fn close(&mut self, client: u64, id: &str) {
        self.listen();
        if let Some(mut watch) = self.watches.remove(&(client, id.to_owned())) {
            watch.closed = true;
            self.ended.push(watch);
            self.world.say(client, &json!(["CLOSE", id]));
        }
    }

    fn close_any(&mut self) {
        let at = self.dice.roll(self.watches.len().max(1));
        if let Some((client, id)) = self.watches.keys().nth(at).cloned() {
            self.close(client, &id);
        }
    }

    /// Somebody publishes at some of the relays.
    fn publish(&mut self) {
        let made = EVENTS[self.dice.roll(EVENTS.len())].clone();
        let mut new = false;
        for at in 0..self.models.len() {
            if self.dice.one_of(2) && !self.models[at].store.iter().any(|it| it.id() == made.id()) {
                self.models[at].publish(&made);
                new = true;
            }
        }
        // An ephemeral event is due only where the subscription was live at every relay.
        let ephemeral = is_ephemeral(made.event.kind());
        if new && (self.calm || !ephemeral) {
            for watch in self.watches.values_mut().filter(|it| !ephemeral || it.eoses == 1) {
                if watch.filters.iter().any(|filter| filter.matches(&made.event)) {
                    watch.due.insert(made.id());
                }
            }
        }
    }

    /// A step of one relay: it reads a message, or one of its own is delivered.
    fn step(&mut self) -> bool {
        let busy: Vec<usize> = (0..self.models.len())
            .filter(|at| {
                let model = &self.models[*at];
                !model.inbox.is_empty() || !model.outbox.is_empty()
            })
            .collect();
        let Some(at) = busy.get(self.dice.roll(busy.len().max(1))).copied() else { return false };
        let model = &mut self.models[at];
        let reads = self.dice.one_of(2) || model.outbox.is_empty();
        if !(reads && model.read())
            && let Some(message) = model.outbox.pop_front()
        {
            self.world.relay_says_over(at as u64, self.links[at], &message);
        }
        self.listen();
        true
    }

    fn lose(&mut self) {
        let at = self.dice.roll(self.models.len());
        self.listen(); // what was sent over it is lost with it
        self.models[at].lose_connection();
        self.world.down(at as u64, self.links[at]);
        self.links[at] += 1;
        self.world.up(at as u64, self.links[at]);
        self.listen();
    }

    /// A relay's document comes to say something else.
    fn change(&mut self) {
        let at = self.dice.roll(self.models.len());
        let most = 5 + self.dice.roll(self.models[at].most - 4);
        let limits = RelayLimits {
            max_subscriptions: Some(most),
            max_filters: Some(24),
            ..RelayLimits::default()
        };
        self.world.input(Input::RelayLimits(RelayId(at as u64), limits));
        self.listen();
    }

    /// Takes what was said, on both sides.
    fn listen(&mut self) {
        for (relay, model) in (0..).zip(&mut self.models) {
            model.inbox.extend(self.world.got(relay));
        }
        for (client, message) in std::mem::take(&mut self.world.told) {
            let id = message[1].as_str().unwrap_or_default().to_owned();
            let Some(watch) = self.watches.get_mut(&(client, id)) else {
                panic!("a message for nothing: {message}")
            };
            match message[0].as_str().unwrap() {
                "EVENT" => {
                    let event = message[2]["id"].as_str().unwrap().to_owned();
                    let made = EVENTS.iter().find(|made| made.id() == event).unwrap();
                    let matches = watch.filters.iter().any(|it| it.matches(&made.event));
                    assert!(matches, "what was not asked for");
                    assert!(watch.got.insert(event), "given twice");
                }
                "EOSE" => watch.eoses += 1,
                _ => panic!("{message}"),
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            while self.step() {}
            self.world.pass_ms(2_000);
            self.listen();
        }
    }

    fn check(&self, seed: u64) {
        for model in &self.models {
            assert_eq!(model.refused, 0, "seed {seed}");
            assert!(model.most_open <= model.most, "seed {seed}: {} open", model.most_open);
        }
        for watch in self.watches.values() {
            assert_eq!(watch.eoses, 1, "seed {seed}: EOSE of {watch:?}");
            for id in watch.due.difference(&watch.got) {
                let made = EVENTS.iter().find(|made| made.id() == *id).unwrap();
                // An older version may be left out for a newer one.
                let newer = |id: &String| {
                    let other = EVENTS.iter().find(|made| made.id() == *id).unwrap();
                    crate::nostr::succession::voids(&other.event, &made.event)
                };
                assert!(
                    watch.got.iter().any(newer),
                    "seed {seed}: {} of client {} lost {}",
                    watch.id,
                    watch.client,
                    made.json
                );
            }
        }
    }
}

#[test]
fn opening_closing_and_combining_lose_and_repeat_nothing() {
    for seed in seeds(ROUNDS) {
        let relays = 1 + seed % 3;
        let mut scene = Scene::new(seed, relays, 5 + usize::try_from(seed).unwrap() % 16, 6);
        let (losses, changes) = (seed % 2 == 1, seed % 5 == 4);
        scene.calm = !losses && !changes;
        if seed % 3 == 1 {
            for model in &mut scene.models {
                model.disorder = Some(Dice(seed));
            }
        }
        for _ in 0..600 {
            match scene.dice.roll(20) {
                0..=4 => scene.open(),
                5 => scene.close_any(),
                6 | 7 => scene.publish(),
                8 if losses && scene.dice.one_of(10) => scene.lose(),
                9 => scene.world.pass_ms(5),
                10 if changes && scene.dice.one_of(20) => scene.change(),
                _ => drop(scene.step()),
            }
        }
        scene.settle();
        scene.check(seed);
        // And what comes now comes to all.
        for _ in 0..40 {
            scene.publish();
            scene.step();
        }
        scene.settle();
        scene.check(seed);
        let clients = scene.clients;
        for client in 1..=clients {
            scene.world.input(Input::ClientLeft(ClientId(client)));
        }
        scene.watches.clear();
        scene.settle();
        assert!(scene.world.nothing_is_left(), "seed {seed}");
        assert!(scene.models.iter().all(|model| model.open.is_empty()), "seed {seed}");
    }
}

#[test]
fn three_thousand_subscriptions_at_a_relay_that_allows_twenty() {
    let mut scene = Scene::new(1, 1, 20, 1_000);
    for made in &EVENTS[..20] {
        scene.models[0].publish(made);
    }
    for client in 1..=1_000 {
        for (id, filter) in [
            ("a", json!({"kinds": [23_194], "#p": [key(1_000 + client)]})),
            ("b", json!({"kinds": [1], "authors": [key(client)]})),
            ("c", json!({"kinds": [1, 4], "#p": [key(client % 20)], "limit": 2})),
        ] {
            scene.world.say(client as u64, &json!(["REQ", id, filter]));
        }
        for (relay, model) in (0..).zip(&mut scene.models) {
            model.inbox.extend(scene.world.got(relay));
        }
    }
    let mut eoses = BTreeMap::new();
    let mut steps = 0;
    while scene.models[0].read() || !scene.models[0].outbox.is_empty() {
        steps += 1;
        for message in std::mem::take(&mut scene.models[0].outbox) {
            scene.world.relay_says(0, &message);
        }
        if scene.models[0].inbox.is_empty() {
            scene.world.pass(PROOF);
        }
        let sent = scene.world.got(0);
        scene.models[0].inbox.extend(sent);
        for (client, message) in std::mem::take(&mut scene.world.told) {
            if message[0] == "EOSE" {
                *eoses.entry((client, message[1].to_string())).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(eoses.len(), 3_000, "after {steps} steps");
    assert!(eoses.values().all(|count| *count == 1));
    assert_eq!(scene.models[0].refused, 0);
    assert!(scene.models[0].open.len() <= 20);
    // Every subscription gets what is new.
    let live: Vec<&Made> = EVENTS[20..].iter().filter(|it| it.event.kind() == 1).take(5).collect();
    for made in &live {
        scene.models[0].publish(made);
        for message in std::mem::take(&mut scene.models[0].outbox) {
            scene.world.relay_says(0, &message);
        }
        let told = std::mem::take(&mut scene.world.told);
        let p =
            made.event.tags().iter().find(|tag| &*tag.name == "p").unwrap().value.clone().unwrap();
        assert_eq!(told.len(), 50, "the fifty with p {p}");
        assert!(told.iter().all(|(_, message)| message[1] == "c"));
    }
}

#[test]
fn identical_filters_share_one_subscription_and_latecomers_get_what_is_stored() {
    let mut world = World::new(1);
    let stored = note("stored");
    let mut numbers = Vec::new();
    for (client, id) in [(CLIENT, "a"), (OTHER_CLIENT, "b"), (CLIENT, "c")] {
        world.say(client, &json!(["REQ", id, {"kinds": [1], "limit": 5}]));
        let req = world.got(0).pop().unwrap();
        assert_eq!(req[0], "REQ");
        let number = req[1].as_str().unwrap().to_owned();
        world.relay_says(0, &json!(["EVENT", number, stored]));
        world.relay_says(0, &json!(["EOSE", number]));
        assert_eq!(
            world.heard_by(client),
            [json!(["EVENT", id, stored]), json!(["EOSE", id])],
            "its own stored events"
        );
        let closed = world.got(0);
        if numbers.is_empty() {
            assert_eq!(closed, NONE);
        } else {
            assert_eq!(closed, [json!(["CLOSE", number])], "the first one serves it from now on");
        }
        numbers.push(number);
    }
    let live = note("live");
    world.relay_says(0, &json!(["EVENT", numbers[0], live]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", live]), json!(["EVENT", "c", live])]);
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "b", live])]);
    // What was on its way over the one that was closed, and over it alone, is not lost.
    let late = note("a moment before");
    world.relay_says(0, &json!(["EVENT", numbers[1], late]));
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "b", late])]);
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.say(CLIENT, &json!(["CLOSE", "c"]));
    assert_eq!(world.got(0), NONE, "the other client still needs it");
    world.say(OTHER_CLIENT, &json!(["CLOSE", "b"]));
    assert_eq!(world.got(0), [json!(["CLOSE", numbers[0]])]);
    world.pass_ms(20_000);
    assert!(world.nothing_is_left());
}

#[test]
fn a_relay_that_allows_fewer_than_it_said_is_asked_for_fewer() {
    let mut scene = Scene::new(3, 1, 30, 3);
    scene.models[0].most = 10;
    for client in 1..=3 {
        for number in 0..20 {
            let filter = json!({"kinds": [1], "#p": [key(100 * client + number)]});
            scene.world.say(client as u64, &json!(["REQ", number.to_string(), filter]));
        }
    }
    let told = std::mem::take(&mut scene.world.told);
    assert_eq!(told, []);
    let mut eoses = 0;
    for _ in 0..2_000 {
        let sent = scene.world.got(0);
        scene.models[0].inbox.extend(sent);
        scene.models[0].read();
        if let Some(message) = scene.models[0].outbox.pop_front() {
            scene.world.relay_says(0, &message);
        } else {
            scene.world.pass_ms(100);
        }
        for (_, message) in std::mem::take(&mut scene.world.told) {
            assert_eq!(message[0], "EOSE");
            eoses += 1;
        }
    }
    assert_eq!(eoses, 60);
    assert!(scene.models[0].refused < 30, "{}", scene.models[0].refused);
}

#[test]
fn a_search_is_asked_for_alone() {
    let mut scene = Scene::new(4, 1, 6, 1);
    for number in 0..30 {
        let filter = json!({"kinds": [1], "search": format!("word {}", number % 15)});
        scene.world.say(1, &json!(["REQ", number.to_string(), filter]));
    }
    for _ in 0..3_000 {
        for message in scene.world.got(0) {
            let filters = message.as_array().unwrap().len() - 2;
            assert!(message[0] != "REQ" || filters == 1, "{message}");
            scene.models[0].inbox.push_back(message);
        }
        scene.models[0].read();
        match scene.models[0].outbox.pop_front() {
            Some(message) => scene.world.relay_says(0, &message),
            None => scene.world.pass_ms(10),
        }
    }
    // Four of different words have the places; others with these words share them. The rest is
    // refused, and the client is told.
    assert_eq!(scene.models[0].refused, 0);
    let told = std::mem::take(&mut scene.world.told);
    let closed = told.iter().filter(|(_, message)| message[0] == "CLOSED").count();
    let eoses = told.iter().filter(|(_, message)| message[0] == "EOSE").count();
    assert_eq!(closed + eoses, 30, "{told:?}");
    assert!(eoses >= 4 && closed > 0);
}

#[test]
fn identical_filters_that_waited_for_a_place_share_one_too() {
    let mut scene = Scene::new(5, 1, 6, 1);
    for number in 0..40 {
        let filter = json!({"kinds": [1], "#t": ["the same"]});
        scene.world.say(1, &json!(["REQ", number.to_string(), filter]));
    }
    for _ in 0..2_000 {
        let sent = scene.world.got(0);
        scene.models[0].inbox.extend(sent);
        scene.models[0].read();
        match scene.models[0].outbox.pop_front() {
            Some(message) => scene.world.relay_says(0, &message),
            None => scene.world.pass_ms(10),
        }
    }
    let told = std::mem::take(&mut scene.world.told);
    assert_eq!(told.iter().filter(|(_, message)| message[0] == "EOSE").count(), 40);
    assert_eq!(scene.world.router.keepers.requests.len(), 1);
}

#[test]
fn a_document_that_comes_late_is_kept_to() {
    let mut scene = Scene::new(6, 1, 50, 1);
    for number in 0..40 {
        let filter = json!({"kinds": [1], "#t": [number.to_string()]});
        scene.world.say(1, &json!(["REQ", number.to_string(), filter]));
    }
    let settle = |scene: &mut Scene| {
        for _ in 0..2_000 {
            let sent = scene.world.got(0);
            scene.models[0].inbox.extend(sent);
            scene.models[0].read();
            match scene.models[0].outbox.pop_front() {
                Some(message) => scene.world.relay_says(0, &message),
                None => scene.world.pass_ms(10),
            }
        }
    };
    settle(&mut scene);
    let limits = RelayLimits { max_subscriptions: Some(8), ..RelayLimits::default() };
    scene.world.input(Input::RelayLimits(RelayId(0), limits));
    settle(&mut scene);
    assert!(scene.models[0].open.len() < 8, "{}", scene.models[0].open.len());
    scene.world.told.clear();
    for made in EVENTS.iter().filter(|made| made.event.kind() == 1).take(9) {
        scene.models[0].publish(made);
        settle(&mut scene);
        assert_eq!(std::mem::take(&mut scene.world.told).len(), 1, "{}", made.json);
    }
}

#[test]
fn a_relay_is_not_sent_what_it_takes_not() {
    let mut world = World::new(2);
    let limits = RelayLimits {
        max_filters: Some(2),
        max_message_length: Some(600),
        ..RelayLimits::default()
    };
    world.input(Input::RelayLimits(RelayId(0), limits));
    let filter = json!({"kinds": [1]});
    let number = {
        world.say(CLIENT, &json!(["REQ", "many", filter, filter, {"kinds": [2]}, {"kinds": [3]}]));
        world.got(1)[0][1].as_str().unwrap().to_owned()
    };
    world.say(CLIENT, &json!(["REQ", "long", {"#t": ["x".repeat(600)]}]));
    let sent = world.got(0);
    assert_eq!(sent.len(), 2, "the first in two parts, the second not at all: {sent:?}");
    let errors = world.stats_of(0).errors().1;
    assert_eq!(errors.len(), 1, "{errors:?}");
    for part in sent {
        assert_eq!(world.heard(), NONE, "not before the last part's");
        world.relay_says(0, &json!(["EOSE", part[1]]));
    }
    world.relay_says(1, &json!(["EOSE", number]));
    world.pass(SECOND_EOSE);
    assert_eq!(world.heard(), [json!(["EOSE", "many"])], "the other relay serves it");
    // Nor an event that is too long: as if it had refused it.
    let long = note(&"x".repeat(600));
    world.say(CLIENT, &json!(["EVENT", long]));
    assert!(world.got_events(0).is_empty());
    world.relay_says(1, &ok(&long, false, "blocked: no"));
    assert_eq!(world.heard().pop(), Some(ok(&long, false, "blocked: no")));
}

/// A relay that takes ten filters in all and says so in a NOTICE serves what is live when it complains, however
/// short a time that has lived.
#[test]
fn a_complaint_about_filters_in_all_tells_how_many_are_served() {
    let mut world = World::new(1);
    for kind in 0..16 {
        world.say(
            CLIENT,
            &json!(["REQ", kind.to_string(), {"kinds": [1], "#t": [kind.to_string()]}]),
        );
    }
    let (mut open, mut refused, mut heard) = (BTreeSet::new(), 0, Vec::new());
    for _ in 0..30 {
        for message in world.got(0) {
            let number = message[1].to_string();
            if message[0] == "CLOSE" {
                open.remove(&number);
            } else if open.len() < 10 {
                open.insert(number);
                world.relay_says(0, &json!(["EOSE", message[1]]));
            } else {
                refused += 1;
                world.relay_says(0, &json!(["NOTICE", "Maximum number of filters (10) exceeded."]));
            }
        }
        heard.extend(world.heard());
        world.pass_ms(100);
    }
    assert!(refused <= 8, "{refused}: the first ones, and one to see whether it was their number");
    let eoses = heard.iter().filter(|message| message[0] == "EOSE").count();
    assert_eq!((eoses, heard.len()), (16, 16), "{heard:?}");
}

/// It says EOSE for each filter of a request and keeps the last alone. Who is told EOSE by the first of them is
/// deaf until he is asked for anew, so nobody is.
#[test]
fn an_eose_for_one_filter_of_two_is_none() {
    let mut world = World::new(1);
    world.say(CLIENT, &json!(["REQ", "s", {"kinds": [1]}, {"kinds": [7]}]));
    let both = world.got(0)[0][1].clone();
    world.relay_says(0, &json!(["EOSE", both]));
    world.pass(SECOND_EOSE / 2);
    assert_eq!(world.heard(), NONE, "there may be another");
    world.relay_says(0, &json!(["EOSE", both]));
    world.pass(SECOND_EOSE * 2);
    let asked = world.got(0);
    assert_eq!(asked[0], json!(["CLOSE", both]));
    assert_eq!(asked.len(), 3, "each filter by itself: {asked:?}");
    assert_eq!(world.heard(), NONE);
    for part in &asked[1..] {
        world.relay_says(0, &json!(["EOSE", part[1]]));
    }
    assert_eq!(world.heard(), [json!(["EOSE", "s"])]);

    // It is known now.
    world.say(CLIENT, &json!(["REQ", "t", {"kinds": [2]}, {"kinds": [8]}]));
    for part in world.got(0) {
        world.relay_says(0, &json!(["EOSE", part[1]]));
    }
    assert_eq!(world.heard(), [json!(["EOSE", "t"])]);
}

/// The relay has said EOSE, and what is new from then on has no limit, whether ours is held or not.
#[test]
fn what_is_new_while_an_eose_is_held_comes_whatever_the_limit() {
    let mut world = World::new(1);
    let limited = json!({"kinds": [1], "limit": 1});
    world.say(CLIENT, &json!(["REQ", "s", limited, {"kinds": [7], "limit": 0}]));
    let number = world.got(0)[0][1].clone();
    let event = |kind: u16, at: u64| event(kind, at, &json!([]), "");
    let all = [event(1, UNIX - 1_000), event(1, UNIX), event(7, UNIX), event(1, UNIX - 3)];
    world.relay_says(0, &json!(["EVENT", number, all[0]]));
    world.relay_says(0, &json!(["EOSE", number]));
    for new in &all[1..] {
        world.relay_says(0, &json!(["EVENT", number, new]));
    }
    world.pass(SECOND_EOSE);
    let heard = world.heard();
    let given = heard.iter().filter(|message| message[0] == "EVENT").count();
    assert_eq!((given, heard.len()), (4, 5), "{heard:?}");
}

/// An EOSE is held for others only until one request of several filters has lived.
#[test]
fn where_several_filters_are_served_no_eose_is_held() {
    let mut world = World::new(1);
    for (sub, held) in [("first", true), ("second", false)] {
        world.say(CLIENT, &json!(["REQ", sub, {"kinds": [1]}, {"kinds": [7], "#t": [sub]}]));
        let number = world.got(0)[0][1].clone();
        world.relay_says(0, &json!(["EOSE", number]));
        assert_eq!(world.heard().is_empty(), held, "{sub}");
        world.pass(SECOND_EOSE);
        assert_eq!(!world.heard().is_empty(), held, "{sub}");
        world.pass(PROOF);
    }
}

/// A REQ that turns out to have nothing to ask for gives its place to the next in line at once.
#[test]
fn a_request_that_asks_for_nothing_keeps_no_place() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_subscriptions: Some(4), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    for id in ["a", "b"] {
        let number = world.subscribe(id, json!({"kinds": [1], "until": UNIX - 100_000}));
        world.relay_says(0, &json!(["EOSE", number]));
    }
    world.down(0, 1);
    world.say(CLIENT, &json!(["REQ", "c", {"kinds": [7]}]));
    world.got(0);
    world.up(0, 2);
    let asked: Vec<Value> = world.got(0).iter().map(|message| message[2].clone()).collect();
    assert_eq!(asked, [json!({"kinds": [7]})]);
}
