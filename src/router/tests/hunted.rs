//! Rare meetings of things that are harmless each by itself: a loss within a request's afterlife, a
//! refusal with events under way, a relay that changes its mind. Each of these once cost an event, an
//! EOSE or the router.

use super::*;
use crate::constants::PROOF;
use crate::nostr::limits::RelayLimits;

const NONE: [Value; 0] = [];

fn order(content: &str) -> Value {
    event(23_194, UNIX, &json!([]), content)
}

fn allows(world: &mut World, relay: u64, subscriptions: usize) {
    let limits = RelayLimits { max_subscriptions: Some(subscriptions), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(relay), limits));
}

/// The numbers of the REQs that a relay was sent since last asked.
fn asked(world: &mut World, relay: u64) -> Vec<String> {
    let reqs = world.got(relay).into_iter().filter(|message| message[0] == "REQ");
    reqs.map(|message| message[1].as_str().unwrap().to_owned()).collect()
}

fn events_of(heard: &[Value]) -> Vec<Value> {
    heard.iter().filter(|it| it[0] == "EVENT").map(|it| it[2].clone()).collect()
}

/// A subscription whose own request was closed because another one brings the same.
fn moved() -> World {
    let mut world = World::new(1);
    for (client, id) in [(CLIENT, "a"), (OTHER_CLIENT, "b")] {
        world.say(client, &json!(["REQ", id, {"kinds": [23_194]}]));
        let number = asked(&mut world, 0).remove(0);
        world.relay_says(0, &json!(["EOSE", number]));
    }
    world.told.clear();
    world
}

#[test]
fn a_request_is_not_forgotten_for_an_earlier_one_of_its_number() {
    let mut world = moved();
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.got(0);
    world.down(0, 1);
    world.up(0, 2);
    let number = asked(&mut world, 0).pop().unwrap();
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    world.pass_ms(20_000);
    let order = order("after the linger");
    world.relay_says_over(0, 2, &json!(["EVENT", number, order]));
    assert_eq!(events_of(&world.heard_by(OTHER_CLIENT)), [order]);
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.input(Input::ClientLeft(ClientId(OTHER_CLIENT)));
    world.pass_ms(20_000);
    assert!(world.nothing_is_left());
}

#[test]
fn verdicts_on_copies_of_a_lost_connection_do_not_touch_the_next() {
    let mut world = World::new(1);
    let number = world.subscribe("s", json!({"kinds": [1, 23_194]}));
    world.hold = true;
    let before = note("before the loss");
    world.relay_says(0, &json!(["EVENT", number, before]));
    world.down(0, 1);
    world.up(0, 2);
    let again = asked(&mut world, 0).pop().unwrap();
    world.release();
    world.relay_says_over(0, 2, &json!(["EOSE", again]));
    assert_eq!(events_of(&world.heard()), [before]);
    world.pass_ms(20_000);
    let order = order("long after");
    world.relay_says_over(0, 2, &json!(["EVENT", again, order]));
    assert_eq!(events_of(&world.heard()), [order]);
}

#[test]
fn subscriptions_of_too_many_filters_go_on_after_a_loss() {
    let mut world = World::new(1);
    for client in [CLIENT, OTHER_CLIENT] {
        for id in 0..30 {
            let mut req = vec![json!("REQ"), json!(id.to_string())];
            req.extend((0..12).map(|kind| json!({"kinds": [kind], "#t": [id.to_string()]})));
            world.say(client, &Value::Array(req));
            for number in asked(&mut world, 0) {
                world.relay_says(0, &json!(["EOSE", number]));
            }
        }
    }
    world.down(0, 1);
    world.up(0, 2);
    assert!(!asked(&mut world, 0).is_empty());
}

/// The relay answers every REQ, while no more than so many are open.
fn serve(world: &mut World, link: u64, open: &mut Vec<(String, Value)>, most: usize) {
    for _ in 0..200 {
        let sent = world.got(0);
        if sent.is_empty() {
            world.pass_ms(1_000);
        }
        for message in sent {
            let number = message[1].as_str().unwrap().to_owned();
            match message[0].as_str().unwrap() {
                "REQ" if open.len() >= most => {
                    let why = "rate-limited: too many subscriptions";
                    world.relay_says_over(0, link, &json!(["CLOSED", number, why]));
                }
                "REQ" => {
                    open.push((number.clone(), message));
                    world.relay_says_over(0, link, &json!(["EOSE", number]));
                }
                "CLOSE" => open.retain(|(other, _)| *other != number),
                _ => {}
            }
        }
    }
}

/// Which of so many services' orders come to the first client.
fn served(world: &mut World, link: u64, open: &[(String, Value)], services: u64) -> Vec<u64> {
    world.told.clear();
    let mut served = Vec::new();
    for service in 0..services {
        let order = event(23_194, world.now.unix, &json!([["t", service.to_string()]]), "pay");
        let made = crate::nostr::verify::check(&order.to_string()).unwrap();
        for (number, req) in open {
            let filters = &req.as_array().unwrap()[2..];
            if filters.iter().any(|it| super::model::filter_of(it).matches(&made)) {
                world.relay_says_over(0, link, &json!(["EVENT", number, order]));
            }
        }
        if !events_of(&world.heard()).is_empty() {
            served.push(service);
        }
    }
    served
}

/// The first client subscribes to the orders to each of these services.
fn subscribe_services(world: &mut World, services: std::ops::Range<u64>) {
    for service in services {
        let filter = json!({"kinds": [23_194], "#t": [service.to_string()]});
        world.say(CLIENT, &json!(["REQ", service.to_string(), filter]));
    }
}

#[test]
fn a_relay_that_refuses_more_than_it_said_serves_all_in_the_end() {
    let mut world = World::new(1);
    let mut open = Vec::new();
    subscribe_services(&mut world, 0..40);
    serve(&mut world, 1, &mut open, 10);
    assert!(open.len() <= 10);
    let all: Vec<u64> = (0..40).collect();
    assert_eq!(served(&mut world, 1, &open, 40), all);
}

#[test]
fn a_relay_that_allows_fewer_from_now_on_serves_all_in_the_end() {
    let mut world = World::new(1);
    let mut open = Vec::new();
    subscribe_services(&mut world, 0..30);
    serve(&mut world, 1, &mut open, 50);
    allows(&mut world, 0, 10);
    subscribe_services(&mut world, 30..60);
    serve(&mut world, 1, &mut open, 50);
    let all: Vec<u64> = (0..60).collect();
    assert_eq!(served(&mut world, 1, &open, 60), all);
    assert!(open.len() <= 10, "{}", open.len());
}

#[test]
fn a_client_that_comes_back_to_a_relay_takes_nothing_from_those_that_share_its_request() {
    let mut world = World::new(2);
    world.join_inside(7, Some(&[0]));
    world.join_inside(8, Some(&[0]));
    for client in [7, 8] {
        world.say(client, &json!(["REQ", "s", {"kinds": [23_194]}]));
        for number in asked(&mut world, 0) {
            world.relay_says(0, &json!(["EOSE", number]));
        }
    }
    world.input(Input::ClientRelays(ClientId(7), [RelayId(1)].into()));
    world.input(Input::ClientRelays(ClientId(7), [RelayId(0)].into()));
    let mut numbers = asked(&mut world, 0);
    numbers.push("1".to_owned());
    for number in &numbers {
        world.relay_says(0, &json!(["EOSE", number]));
    }
    world.pass_ms(20_000);
    let order = order("for both");
    for number in &numbers {
        world.relay_says(0, &json!(["EVENT", number, order]));
    }
    assert_eq!(events_of(&world.heard_by(7)), std::slice::from_ref(&order));
    assert_eq!(events_of(&world.heard_by(8)), [order]);
}

#[test]
fn what_came_before_a_relay_ended_a_live_subscription_is_delivered() {
    let mut world = World::new(1);
    let number = world.subscribe("s", json!({"kinds": [23_194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.heard();
    world.hold = true;
    let order = order("the last one");
    world.relay_says(0, &json!(["EVENT", number, order]));
    world.relay_says(0, &json!(["CLOSED", number, "error: shutting down"]));
    world.release();
    assert_eq!(world.heard(), [json!(["EVENT", "s", order])]);
}

#[test]
fn a_relay_taken_away_while_its_events_are_verified_leaves_the_eose() {
    for removed in [false, true] {
        let mut world = World::new(2);
        let number = world.subscribe("s", json!({"kinds": [1]}));
        world.relay_says(0, &json!(["EOSE", number]));
        world.hold = true;
        world.relay_says(1, &json!(["EVENT", number, note("under way")]));
        world.pass_ms(2_000);
        assert_eq!(world.heard(), NONE, "its event is being verified");
        if removed {
            world.input(Input::RelayRemoved(RelayId(1)));
        } else {
            world.switch(1, Switches { read: false, write: true });
        }
        world.release();
        world.pass_ms(60_000);
        let eoses = world.heard().into_iter().filter(|it| it[0] == "EOSE").count();
        assert_eq!(eoses, 1, "removed: {removed}");
    }
}

#[test]
fn a_relay_that_answers_nothing_holds_up_nobody_whose_turn_it_is_not() {
    let mut world = World::new(2);
    allows(&mut world, 0, 10);
    for service in 0..40 {
        let filter = json!({"kinds": [23_194], "#t": [service.to_string()]});
        world.say(CLIENT, &json!(["REQ", service.to_string(), filter]));
        for number in asked(&mut world, 1) {
            world.relay_says(1, &json!(["EOSE", number]));
        }
    }
    world.pass_ms(10_000);
    let eoses = world.heard().into_iter().filter(|it| it[0] == "EOSE").count();
    assert_eq!(eoses, 40, "relay 0 has answered nothing for ten seconds");
}

#[test]
fn who_is_asked_for_anew_while_others_are_gathered_is_not_left_out() {
    let mut world = World::new(1);
    allows(&mut world, 0, 6);
    let mut numbers = Vec::new();
    for (client, to) in [(CLIENT, "a"), (OTHER_CLIENT, "a"), (CLIENT, "b"), (CLIENT, "c")] {
        world.say(client, &json!(["REQ", to, {"kinds": [1], "#t": [to]}]));
        numbers.push(asked(&mut world, 0).remove(0));
        world.relay_says(0, &json!(["EOSE", numbers.last()]));
    }
    world.say(CLIENT, &json!(["REQ", "d", {"kinds": [1], "#t": ["d"]}]));
    let sent = world.got(0);
    let gathering = sent.iter().find(|it| it[2]["limit"] == 1).expect("places are short").clone();
    world.relay_says(0, &json!(["CLOSED", numbers[0], "error: too old"]));
    world.relay_says(0, &json!(["EOSE", gathering[1]]));
    world.pass_ms(2_000);
    let again: Vec<Value> =
        world.got(0).into_iter().filter(|it| it[2]["#t"] == json!(["a"])).collect();
    assert!(!again.is_empty(), "what it missed since then");
    world.told.clear();
    for req in &again {
        world.relay_says(0, &json!(["EOSE", req[1]]));
    }
    world.pass_ms(2_000);
    let made = event(1, UNIX, &json!([["t", "a"]]), "to both");
    for number in again.iter().map(|req| req[1].clone()) {
        world.relay_says(0, &json!(["EVENT", number, made]));
    }
    for client in [CLIENT, OTHER_CLIENT] {
        assert_eq!(events_of(&world.heard_by(client)).len(), 1);
    }
}

#[test]
fn the_eose_of_many_that_are_asked_for_anew_does_not_stay_away() {
    let mut world = World::new(2);
    allows(&mut world, 0, 5);
    for service in 0..12 {
        let filter = json!({"kinds": [1], "#t": [service.to_string()]});
        world.say(CLIENT, &json!(["REQ", service.to_string(), filter]));
    }
    let mut together = json!([]);
    while together == json!([]) {
        let sent = world.got(0);
        if sent.is_empty() {
            world.pass(PROOF);
        }
        for req in sent.into_iter().filter(|it| it[0] == "REQ") {
            if req.as_array().unwrap().len() > 4 && req[2]["limit"].is_null() {
                together = req;
            } else {
                world.relay_says(0, &json!(["EOSE", req[1]]));
            }
        }
    }
    for number in asked(&mut world, 1) {
        world.relay_says(1, &json!(["EOSE", number]));
    }
    world.hold = true;
    let made = event(1, UNIX - 9, &json!([["t", together[2]["#t"][0]]]), "under way");
    world.relay_says(0, &json!(["EVENT", together[1], made]));
    world.pass_ms(3_000);
    world.relay_says(0, &json!(["CLOSED", together[1], "error: not like that"]));
    world.release();
    world.pass_ms(40_000);
    let eoses = world.heard().into_iter().filter(|it| it[0] == "EOSE").count();
    assert_eq!(eoses, 12);
}

#[test]
fn who_wants_no_stored_events_has_the_eose_when_it_is_asked_for_and_not_before() {
    let mut world = World::new(1);
    allows(&mut world, 0, 4);
    subscribe_services(&mut world, 0..2);
    let numbers = asked(&mut world, 0);
    world.say(OTHER_CLIENT, &json!(["REQ", "answer", {"kinds": [23_195], "limit": 0}]));
    assert_eq!(world.heard_by(OTHER_CLIENT), NONE, "an answer would be missed by now");
    for number in numbers {
        world.relay_says(0, &json!(["EOSE", number]));
    }
    let gathering = asked(&mut world, 0).remove(0);
    world.relay_says(0, &json!(["EOSE", gathering]));
    world.pass(PROOF);
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EOSE", "answer"])]);
    let number = asked(&mut world, 0).remove(0);
    let answer = event(23_195, UNIX, &json!([]), "paid");
    world.relay_says(0, &json!(["EVENT", number, answer]));
    assert_eq!(events_of(&world.heard_by(OTHER_CLIENT)), [answer]);
}
