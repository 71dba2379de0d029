//! The local loop (rule 1.6): clients of this server reach each other with relays up, down and none.

use super::*;

const NONE: [Value; 0] = [];

fn order() -> Value {
    event(23_194, UNIX, &json!([]), "pay")
}

/// The second client subscribes to everything.
fn listener(world: &mut World) {
    world.say(OTHER_CLIENT, &json!(["REQ", "all", {}]));
    world.heard_by(OTHER_CLIENT);
    world.sent.clear();
}

#[test]
fn an_event_is_handed_over_before_any_relay_has_it_and_its_echo_is_a_copy() {
    let mut world = World::new(1);
    world.say(OTHER_CLIENT, &json!(["REQ", "all", {}]));
    let number = world.got(0)[0][1].as_str().unwrap().to_owned();
    let note = note("hello");
    assert_eq!(world.publish(&note), None, "the relay has not answered");
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "all", note])]);
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", number, note]));
    assert!(world.held.is_empty(), "a copy is not verified");
    assert_eq!(world.heard_by(OTHER_CLIENT), NONE);
    assert_eq!(world.heard(), [ok(&note, true, "")]);
}

#[test]
fn an_order_to_a_service_here_is_answered_true_with_every_relay_down() {
    let mut world = offline();
    assert_eq!(world.publish(&order()).unwrap()[2], false);
    listener(&mut world);
    let other = event(23_194, UNIX + 1, &json!([]), "pay");
    let answer = world.publish(&other).unwrap();
    assert_eq!(answer[2], true, "{answer}");
    assert!(answer[3].as_str().unwrap().starts_with("local: "), "{answer}");
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "all", other])]);
}

#[test]
fn without_any_relay_too() {
    let mut world = World::new(0);
    listener(&mut world);
    for made in [order(), note("kept by nobody")] {
        assert_eq!(world.publish(&made).unwrap()[2], true);
        assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "all", made])]);
        // Once more, and never twice.
        assert_eq!(world.publish(&made).unwrap()[2], true);
        assert_eq!(world.heard_by(OTHER_CLIENT), NONE);
    }
}

#[test]
fn what_a_client_here_has_is_not_answered_false_when_every_relay_refuses_it() {
    let mut world = World::new(2);
    listener(&mut world);
    let order = order();
    world.publish(&order);
    for relay in 0..2 {
        world.relay_says(relay, &ok(&order, false, "blocked: no"));
    }
    let answers = world.heard();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][2], true, "{answers:?}");
    assert!(answers[0][3].as_str().unwrap().ends_with("blocked: no"));
}

#[test]
fn its_own_subscription_is_nobody_else() {
    let mut world = offline();
    world.say(CLIENT, &json!(["REQ", "mine", {}]));
    let order = order();
    world.say(CLIENT, &json!(["EVENT", order]));
    let heard = world.heard();
    assert_eq!(heard[0], json!(["EVENT", "mine", order]));
    assert_eq!(heard[1], ok(&order, false, "mute: no relay connected"));
}

#[test]
fn what_is_refused_is_handed_to_nobody() {
    let mut world = World::new(0);
    listener(&mut world);
    let expired = event(1, UNIX - 9, &json!([["expiration", UNIX.to_string()]]), "");
    let protected = event(1, UNIX, &json!([["-"]]), "");
    let proof = event(22_242, UNIX, &json!([]), "");
    for made in [expired, protected, proof, forged(&note("x"))] {
        assert_eq!(world.publish(&made).unwrap()[2], false);
        assert_eq!(world.heard_by(OTHER_CLIENT), NONE);
    }
}

#[test]
fn a_search_is_a_relays_to_answer() {
    let mut world = World::new(0);
    world.say(OTHER_CLIENT, &json!(["REQ", "s", {"search": "word"}]));
    world.heard_by(OTHER_CLIENT);
    assert_eq!(world.publish(&note("another word")).unwrap()[2], false);
    assert_eq!(world.heard_by(OTHER_CLIENT), NONE);
}

#[test]
fn before_the_eose_it_is_given_at_once_and_does_not_count() {
    let mut world = World::new(1);
    world.say(OTHER_CLIENT, &json!(["REQ", "s", {"kinds": [1], "limit": 1}]));
    let number = world.got(0)[0][1].as_str().unwrap().to_owned();
    let live = note("live");
    world.publish(&live);
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "s", live])]);
    let stored = event(1, UNIX - 60, &json!([]), "stored");
    world.relay_says(0, &json!(["EVENT", number, stored]));
    world.relay_says(0, &json!(["EOSE", number]));
    let heard = world.heard_by(OTHER_CLIENT);
    assert_eq!(heard, [json!(["EVENT", "s", stored]), json!(["EOSE", "s"])]);
}

#[test]
fn those_who_have_named_their_relays_stay_by_themselves() {
    let mut world = World::new(1);
    world.join_inside(7, Some(&[0]));
    world.say(7, &json!(["REQ", "s", {}]));
    listener(&mut world);
    world.publish(&note("hello"));
    assert!(world.heard_by(7).iter().all(|message| message[0] != "EVENT"));
    world.heard_by(OTHER_CLIENT);
    world.say(7, &json!(["EVENT", note("named")]));
    assert_eq!(world.heard_by(OTHER_CLIENT), NONE);
}

#[test]
fn extensions_that_share_a_client_are_somebody_else_to_each_other() {
    let mut world = offline();
    world.join_inside(7, None);
    world.say(7, &json!(["REQ", "service", {"kinds": [23_194]}]));
    let order = order();
    world.say(7, &json!(["EVENT", order]));
    let heard = world.heard_by(7);
    assert_eq!(heard[0], json!(["EVENT", "service", order]));
    assert_eq!(heard[1][2], true, "{heard:?}");
}
