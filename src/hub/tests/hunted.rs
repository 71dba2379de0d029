//! Rare meetings of things that are harmless each by itself: a loss within a request's afterlife, a
//! refusal with events under way, a relay that changes its mind. Each of these once cost an event, an
//! EOSE or the router.

use super::*;

const NONE: [Value; 0] = [];

fn order(content: &str) -> Value {
    event(23_194, UNIX, &json!([]), content)
}

/// The numbers of the REQs that a relay was sent since last asked.
fn asked(world: &mut World, relay: RelayId) -> Vec<String> {
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
    world.input(Input::ClientLeft(CLIENT));
    world.input(Input::ClientLeft(OTHER_CLIENT));
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
    world.input(Input::ClientRelays(7, [1].into()));
    world.input(Input::ClientRelays(7, [0].into()));
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
    let closed = json!(["CLOSED", "s", "error: shutting down"]);
    assert_eq!(world.heard(), [json!(["EVENT", "s", order]), closed]);
    assert!(world.nothing_is_left());
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
            world.input(Input::RelayRemoved(1));
        } else {
            world.switch(1, Switches { read: false, write: true });
        }
        world.release();
        world.pass_ms(60_000);
        let eoses = world.heard().into_iter().filter(|it| it[0] == "EOSE").count();
        assert_eq!(eoses, 1, "removed: {removed}");
    }
}
