//! The stored events of all relays as one answer: exact limits, newest first (rule 3.4), against a
//! sort over the union, for random relays, orders, limits and delays.

use super::model::{Dice, EVENTS, Made, Model, answer, filter_of};
use super::*;

const NONE: [Value; 0] = [];

const ROUNDS: std::ops::Range<u64> = 0..300;

/// Subscribes and lets every relay answer, in small steps in any order. What the client was told.
fn told(dice: &mut Dice, relays: &mut [Model], filters: &[Value]) -> Vec<Value> {
    let mut world = World::new(relays.len() as u64);
    let mut req = vec![json!("REQ"), json!("s")];
    req.extend(filters.iter().cloned());
    world.say(CLIENT, &Value::Array(req));
    let mut heard = Vec::new();
    loop {
        for (relay, model) in (0..).zip(&mut *relays) {
            model.inbox.extend(world.got(relay));
        }
        let busy: Vec<usize> = (0..relays.len())
            .filter(|at| !relays[*at].inbox.is_empty() || !relays[*at].outbox.is_empty())
            .collect();
        if busy.is_empty() && world.held.is_empty() {
            break;
        }
        world.hold = dice.one_of(2);
        if !world.hold {
            world.release();
        }
        if let Some(at) = busy.get(dice.roll(busy.len().max(1))) {
            let model = &mut relays[*at];
            if !model.read() {
                for _ in 0..=dice.roll(5) {
                    let Some(message) = model.outbox.pop_front() else { break };
                    world.relay_says(*at as u64, &message);
                }
            }
        }
        world.pass_ms(dice.roll(3) as u64);
        heard.extend(world.heard());
    }
    world.hold = false;
    world.pass_ms(60_000);
    heard.extend(world.heard());
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.input(Input::ClientLeft(ClientId(OTHER_CLIENT)));
    world.pass_ms(60_000);
    assert!(world.nothing_is_left());
    heard
}

fn random_relays(dice: &mut Dice) -> Vec<Model> {
    let stored = |made: &&Made| !crate::nostr::event::is_ephemeral(made.event.kind());
    (0..=dice.roll(4))
        .map(|_| {
            let share = 1 + dice.roll(8);
            let store: Vec<Made> =
                EVENTS.iter().filter(stored).filter(|_| dice.one_of(share)).cloned().collect();
            // A relay keeps the newest version of what it has.
            Model { store: answer(&store, &[filter_of(&json!({}))]), ..Model::default() }
        })
        .collect()
}

fn random_filter(dice: &mut Dice, limits: bool) -> Value {
    let mut filter = json!({});
    let kinds: &[&[u16]] = &[&[1], &[1, 4], &[10_002], &[30_000], &[1, 7, 10_002, 30_000]];
    if !dice.one_of(4) {
        filter["kinds"] = json!(kinds[dice.roll(kinds.len())]);
    }
    if dice.one_of(3) {
        filter["authors"] = json!([EVENTS[dice.roll(9)].json["pubkey"]]);
    }
    if limits && !dice.one_of(4) {
        filter["limit"] = json!([0, 1, 2, 5, 20, 1_000][dice.roll(6)]);
    }
    filter
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn split(heard: &[Value]) -> Vec<Value> {
    let (end, events) = heard.split_last().expect("an EOSE");
    assert_eq!(*end, json!(["EOSE", "s"]), "the EOSE comes last, and once");
    assert!(events.iter().all(|message| message[0] == "EVENT"));
    events.iter().map(|message| message[2].clone()).collect()
}

#[test]
fn the_answer_is_that_of_one_relay_that_has_all() {
    for seed in seeds(ROUNDS) {
        let mut dice = Dice(seed);
        let mut relays = random_relays(&mut dice);
        let filters: Vec<Value> =
            (0..=dice.roll(2)).map(|_| random_filter(&mut dice, true)).collect();
        let union: Vec<Made> = relays.iter().flat_map(|relay| relay.store.clone()).collect();
        let parsed: Vec<_> = filters.iter().map(filter_of).collect();
        let expected: Vec<String> = answer(&union, &parsed).iter().map(Made::id).collect();
        let heard = told(&mut dice, &mut relays, &filters);
        assert_eq!(ids(&split(&heard)), expected, "seed {seed}, {filters:?}");
    }
}

#[test]
fn without_a_limit_relays_without_order_give_all_the_same() {
    for seed in seeds(0..100) {
        let mut dice = Dice(seed);
        let mut relays = random_relays(&mut dice);
        for relay in &mut relays {
            relay.disorder = dice.one_of(2).then(|| dice.clone());
        }
        let filters = [random_filter(&mut dice, false)];
        let union: Vec<Made> = relays.iter().flat_map(|relay| relay.store.clone()).collect();
        let expected = answer(&union, &[filter_of(&filters[0])]);
        let heard = told(&mut dice, &mut relays, &filters);
        let given = ids(&split(&heard));
        let unique: std::collections::BTreeSet<&String> = given.iter().collect();
        assert_eq!(unique.len(), given.len(), "seed {seed}: none twice");
        for made in &expected {
            assert!(given.contains(&made.id()), "seed {seed}: {}", made.json);
        }
        // Older versions may have gone out before the newer one came, never after it.
        for (at, id) in given.iter().enumerate() {
            let made = union.iter().find(|made| made.id() == *id).unwrap();
            let before =
                given[..at].iter().map(|id| union.iter().find(|it| it.id() == *id).unwrap());
            let address = crate::nostr::succession::address(&made.event);
            for earlier in before.filter(|_| address.is_some()) {
                let same = crate::nostr::succession::address(&earlier.event) == address;
                assert!(!same || crate::nostr::succession::is_newer(&made.event, &earlier.event));
            }
        }
    }
}

#[test]
fn with_a_limit_relays_without_order_give_no_more() {
    for seed in seeds(0..100) {
        let mut dice = Dice(seed);
        let mut relays = random_relays(&mut dice);
        for relay in &mut relays {
            relay.disorder = Some(dice.clone());
        }
        let mut filter = random_filter(&mut dice, false);
        filter["limit"] = json!(1 + dice.roll(9));
        let union: Vec<Made> = relays.iter().flat_map(|relay| relay.store.clone()).collect();
        let expected = answer(&union, &[filter_of(&filter)]).len();
        let heard = told(&mut dice, &mut relays, &[filter]);
        assert_eq!(split(&heard).len(), expected, "seed {seed}");
    }
}

fn stored(kind: u16, created_at: u64, content: &str) -> Value {
    event(kind, created_at, &json!([]), content)
}

/// Two relays, a subscription with this filter, and its number there.
fn two_relays(filter: Value) -> (World, String) {
    let mut world = World::new(2);
    let number = world.subscribe("s", filter);
    world.got(0);
    world.got(1);
    (world, number)
}

fn given(world: &mut World) -> Vec<Value> {
    world.heard().into_iter().filter(|it| it[0] == "EVENT").map(|it| it[2].clone()).collect()
}

#[test]
fn an_event_goes_out_as_soon_as_no_relay_can_send_a_newer_one() {
    let (mut world, number) = two_relays(json!({"kinds": [1]}));
    let [newest, middle, oldest] = [30, 20, 10].map(|date| stored(1, UNIX - 100 + date, "e"));
    world.relay_says(0, &json!(["EVENT", number, newest]));
    assert_eq!(given(&mut world), NONE, "the other may have a newer one");
    world.relay_says(1, &json!(["EVENT", number, middle]));
    assert_eq!(given(&mut world), [newest]);
    world.relay_says(0, &json!(["EVENT", number, oldest]));
    assert_eq!(given(&mut world), [middle]);
    world.relay_says(1, &json!(["EOSE", number]));
    assert_eq!(given(&mut world), [oldest]);
}

#[test]
fn a_slow_relay_holds_the_events_for_the_grace_at_most() {
    let (mut world, number) = two_relays(json!({"kinds": [1], "limit": 2}));
    let event = stored(1, UNIX - 50, "e");
    world.relay_says(0, &json!(["EVENT", number, event]));
    world.relay_says(0, &json!(["EOSE", number]));
    world.pass_ms(1_499);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), [json!(["EVENT", "s", event]), json!(["EOSE", "s"])]);
    // What comes late has a place while there is one.
    let [older, newer] = [1, 99].map(|date| stored(1, UNIX - 100 + date, "late"));
    world.relay_says(1, &json!(["EVENT", number, newer]));
    world.relay_says(1, &json!(["EVENT", number, older]));
    world.relay_says(1, &json!(["EOSE", number]));
    assert_eq!(given(&mut world), [newer]);
}

#[test]
fn a_full_limit_ends_early_and_what_is_older_stays_away() {
    let (mut world, number) = two_relays(json!({"kinds": [1], "limit": 1}));
    let [newest, old, older] = [30, 20, 10].map(|date| stored(1, UNIX - 100 + date, "e"));
    world.relay_says(0, &json!(["EVENT", number, newest]));
    world.relay_says(1, &json!(["EVENT", number, old]));
    assert_eq!(world.heard(), NONE, "there may be one of the same date");
    world.relay_says(0, &json!(["EVENT", number, older]));
    assert_eq!(world.heard(), [json!(["EVENT", "s", newest]), json!(["EOSE", "s"])]);
    for late in [&older, &stored(1, UNIX - 65, "out of order")] {
        world.relay_says(1, &json!(["EVENT", number, late]));
    }
    assert_eq!(world.heard(), NONE);
    for relay in 0..2 {
        world.relay_says(relay, &json!(["EOSE", number]));
    }
    let live = [stored(1, UNIX - 999, "set back"), stored(1, UNIX, "live")];
    for event in &live {
        world.relay_says(1, &json!(["EVENT", number, event]));
    }
    assert_eq!(given(&mut world), live, "live events whatever the limit");
}

#[test]
fn ids_end_as_soon_as_all_are_found_and_are_asked_for_no_more() {
    let events = [stored(1, UNIX - 5, "1"), stored(1, UNIX - 9, "2")];
    let ids = json!([events[0]["id"], events[1]["id"]]);
    let (mut world, number) = two_relays(json!({"ids": ids}));
    world.relay_says(0, &json!(["EVENT", number, events[0]]));
    world.relay_says(0, &json!(["EVENT", number, events[1]]));
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EVENT", number, events[1]]));
    let told = events.iter().map(|event| json!(["EVENT", "s", event]));
    assert_eq!(world.heard(), told.chain([json!(["EOSE", "s"])]).collect::<Vec<_>>());
    for relay in 0..2 {
        assert_eq!(world.got(relay), [json!(["CLOSE", number])]);
    }
    world.say(CLIENT, &json!(["CLOSE", "s"]));
    world.pass_ms(20_000);
    assert!(world.nothing_is_left());
}

#[test]
fn a_limit_of_zero_ends_at_once_and_brings_what_is_new() {
    let (mut world, number) = two_relays(json!({"kinds": [1, 23_194], "limit": 0}));
    assert_eq!(world.heard(), [json!(["EOSE", "s"])]);
    // A relay that does not know the rule.
    world.relay_says(0, &json!(["EVENT", number, stored(1, UNIX - 60, "stored")]));
    assert_eq!(world.heard(), NONE);
    let order = stored(23_194, UNIX - 3, "by a clock that is slow");
    world.relay_says(0, &json!(["EVENT", number, order]));
    assert_eq!(given(&mut world), [order]);
    world.relay_says(0, &json!(["EOSE", number]));
    let live = stored(1, UNIX - 60, "live");
    world.relay_says(0, &json!(["EVENT", number, live]));
    assert_eq!(given(&mut world), [live]);
}

#[test]
fn an_older_version_never_follows_a_newer_one() {
    let (mut world, number) = two_relays(json!({"kinds": [13_194]}));
    let [old, new, newest] = [10, 20, 30].map(|date| stored(13_194, UNIX - 100 + date, "info"));
    world.relay_says(0, &json!(["EVENT", number, old]));
    world.relay_says(1, &json!(["EVENT", number, new]));
    for relay in 0..2 {
        world.relay_says(relay, &json!(["EOSE", number]));
    }
    assert_eq!(given(&mut world), [new]);
    world.relay_says(0, &json!(["EVENT", number, newest]));
    world.relay_says(1, &json!(["EVENT", number, stored(13_194, UNIX - 75, "between")]));
    assert_eq!(given(&mut world), [newest]);
}

#[test]
fn payment_orders_wait_for_nobody() {
    let (mut world, number) = two_relays(json!({"kinds": [23_194]}));
    let order = stored(23_194, UNIX, "pay");
    world.relay_says(0, &json!(["EVENT", number, order]));
    assert_eq!(given(&mut world), [order]);
}

#[test]
fn too_much_is_not_held() {
    let (mut world, number) = two_relays(json!({"kinds": [1]}));
    let long = "x".repeat(200_000);
    let mut count = 0;
    for date in 0..40 {
        world.relay_says(0, &json!(["EVENT", number, stored(1, UNIX - date, &long)]));
        count += given(&mut world).len();
    }
    let held = world.router.keepers.subscriptions.held();
    assert!(held <= crate::constants::HELD_BYTES + 300_000, "{held}");
    assert!(count > 10, "{count}");
}

#[test]
fn the_eose_says_that_it_is_all_where_every_relay_says_so() {
    let eose = |hints: [Value; 2], limit: u64, other: &Value| {
        let (mut world, number) = two_relays(json!({"kinds": [1], "limit": limit}));
        world.relay_says(0, &json!(["EVENT", number, stored(1, UNIX - 5, "newest")]));
        for (relay, hint) in (0..).zip(hints) {
            if relay == 1 {
                world.relay_says(1, &json!(["EVENT", number, other]));
            }
            let mut message = json!(["EOSE", number]);
            if !hint.is_null() {
                message.as_array_mut().unwrap().push(hint);
            }
            world.relay_says(relay, &message);
        }
        world.heard().into_iter().rfind(|message| message[0] == "EOSE").unwrap()
    };
    let (finish, more, none) = (json!(["finish"]), json!(["more"]), Value::Null);
    let old = stored(1, UNIX - 9, "older");
    assert_eq!(eose([finish.clone(), finish.clone()], 9, &old), json!(["EOSE", "s", ["finish"]]));
    assert_eq!(eose([finish.clone(), more], 9, &old), json!(["EOSE", "s", ["more"]]));
    assert_eq!(eose([finish.clone(), none], 9, &old), json!(["EOSE", "s"]));
    // Nobody knows whether there is more than the limit let through.
    assert_eq!(eose([finish.clone(), finish], 1, &old), json!(["EOSE", "s"]));
}

/// What is given at once, as orders are, takes places too. Whatever comes after it, there is nothing to
/// wait for.
#[test]
fn an_order_that_takes_the_last_place_ends_the_stored_events() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"limit": 1}));
    let order = event(23_194, UNIX, &json!([]), "pay");
    let older = event(1, UNIX - 10, &json!([]), "older");
    world.relay_says(0, &json!(["EVENT", number, order]));
    world.relay_says(0, &json!(["EVENT", number, older]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", order]), json!(["EOSE", "a"])]);
}

#[test]
fn what_expires_while_it_is_held_is_not_given() {
    let (mut world, number) = two_relays(json!({"kinds": [1], "limit": 1}));
    let expires = json!([["expiration", (UNIX + 1).to_string()]]);
    let brief = event(1, UNIX, &expires, "brief");
    let older = stored(1, 5, "older");
    for event in [&brief, &older] {
        world.relay_says(0, &json!(["EVENT", number, event]));
    }
    assert_eq!(given(&mut world), NONE, "the other relay may have a newer one");
    world.pass_ms(1_000);
    for relay in 0..2 {
        world.relay_says(relay, &json!(["EOSE", number]));
    }
    assert_eq!(given(&mut world), [older], "it takes nobody's place either");
}
