//! REQ, EOSE, CLOSE and CLOSED (rules 3.1, 3.2, 3.5, 3.6, 3.9).

use super::*;

const NONE: [Value; 0] = [];

fn eose(id: &str) -> Value {
    json!(["EOSE", id])
}

#[test]
fn eose_once_when_all_have_answered() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    world.relay_says(0, &eose(&number));
    assert_eq!(world.heard(), NONE);
    world.relay_says(1, &eose(&number));
    world.relay_says(1, &eose(&number));
    world.pass_ms(60_000);
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn eose_after_a_second_and_a_half_of_quiet() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.pass_ms(100);
    world.relay_says(0, &eose(&number));
    world.pass_ms(1_400);
    // The other relay still streams: the quiet begins anew.
    world.relay_says(1, &json!(["EVENT", number, note("stored")]));
    world.pass_ms(1_499);
    assert_eq!(world.heard().len(), 1);
    world.pass_ms(1);
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn forged_and_unasked_events_hold_nothing_up() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    for half_second in 0..3 {
        let note = note(&half_second.to_string());
        world.relay_says(1, &json!(["EVENT", number, forged(&note)]));
        world.relay_says(1, &json!(["EVENT", number, event(2, UNIX, &json!([]), "other kind")]));
        world.pass_ms(500);
    }
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn a_streaming_relay_is_waited_for_thirty_seconds_at_most() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    for second in 0..29 {
        world.relay_says(0, &json!(["EVENT", number, note(&second.to_string())]));
        world.pass_ms(1_000);
    }
    assert!(!world.heard().contains(&eose("a")));
    world.pass_ms(1_000);
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn silent_relays_are_waited_for_four_seconds() {
    let mut world = World::new(1);
    world.add_relay(1, true, true);
    world.subscribe("a", json!({"kinds": [1]}));
    world.pass_ms(3_999);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn a_streaming_relay_outlasts_the_silent_one() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(1, &json!(["EVENT", number, note("stored")]));
    world.pass_ms(10_000);
    world.heard();
    world.relay_says(1, &eose(&number));
    // First EOSE now, and the other has been silent for more than 4 s.
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn no_relay_configured_means_at_once_none_connected_means_four_seconds() {
    let mut world = World::new(0);
    world.subscribe("a", json!({"kinds": [1]}));
    assert_eq!(world.heard(), [eose("a")]);
    world.add_relay(0, true, true);
    world.subscribe("b", json!({"kinds": [1]}));
    assert_eq!(world.heard(), NONE);
    world.pass_ms(4_000);
    assert_eq!(world.heard(), [eose("b")]);
}

#[test]
fn a_relay_that_is_gone_has_answered() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    world.down(1, 1);
    assert_eq!(world.heard(), [eose("a")]);
    let number = world.subscribe("b", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    world.input(Input::RelayRemoved(RelayId(1)));
    assert_eq!(world.heard(), [eose("b")]);
}

#[test]
fn a_relay_that_is_away_slows_nobody() {
    let mut world = World::new(2);
    world.down(1, 1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    world.pass_ms(1_000);
    assert_eq!(world.heard(), NONE, "it is about to connect again");
    world.input(Input::LinkFailed(RelayId(1)));
    assert_eq!(world.heard(), [eose("a")]);
    let number = world.subscribe("b", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    assert_eq!(world.heard(), [eose("b")]);
    world.up(1, 2);
    world.down(1, 2);
    let number = world.subscribe("c", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    assert_eq!(world.heard(), NONE, "the first attempt after another loss");
}

#[test]
fn with_every_relay_gone_there_is_nothing_to_wait_for() {
    let mut world = offline();
    world.say(CLIENT, &json!(["REQ", "a", {"kinds": [1]}]));
    world.pass_ms(3_000);
    assert_eq!(world.heard(), NONE, "its first attempt is under way");
    world.input(Input::LinkFailed(RelayId(0)));
    assert_eq!(world.heard(), [eose("a")]);
    world.say(CLIENT, &json!(["REQ", "b", {"kinds": [1]}]));
    assert_eq!(world.heard(), [eose("b")]);
    world.up(0, 1);
    assert_eq!(world.got(0).len(), 2, "both are asked for when it comes");
}

/// A NIP-47 service pays at the EOSE whatever looks unanswered.
#[test]
fn a_relay_that_comes_back_while_others_are_collected_is_waited_for_again() {
    let mut world = World::new(2);
    world.down(1, 1);
    world.input(Input::LinkFailed(RelayId(1)));
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.up(1, 2);
    assert_eq!(world.got(1), [json!(["REQ", number, {"kinds": [1]}])], "as at first");
    world.relay_says(0, &eose(&number));
    assert_eq!(world.heard(), NONE);
    let stored = note("the answer");
    world.relay_says_over(1, 2, &json!(["EVENT", number, stored]));
    world.pass_ms(1_400);
    world.relay_says_over(1, 2, &eose(&number));
    assert_eq!(world.heard(), [json!(["EVENT", "a", stored]), eose("a")]);
}

#[test]
fn a_relay_that_connects_in_time_is_waited_for() {
    let mut world = World::new(1);
    world.add_relay(1, true, true);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 3}));
    world.pass_ms(500);
    world.up(1, 1);
    assert_eq!(world.got(1), [json!(["REQ", number, {"kinds": [1], "limit": 3}])]);
    world.relay_says(0, &eose(&number));
    assert_eq!(world.heard(), NONE);
    world.relay_says(1, &eose(&number));
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn eose_comes_after_every_event_that_came_before_it() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", number, note("1")]));
    world.relay_says(0, &json!(["EVENT", number, note("2")]));
    world.relay_says(0, &eose(&number));
    assert_eq!(world.heard(), NONE);
    world.release();
    let heard = world.heard();
    assert_eq!(heard.len(), 3);
    assert_eq!(heard[2], eose("a"));
}

#[test]
fn ids_are_rewritten_and_each_client_has_its_own() {
    let mut world = World::new(1);
    let long = "x".repeat(64);
    world.say(CLIENT, &json!(["REQ", long, {"kinds": [1]}]));
    world.say(OTHER_CLIENT, &json!(["REQ", long, {"kinds": [1]}]));
    let numbers: Vec<Value> = world.got(0).into_iter().map(|req| req[1].clone()).collect();
    assert_ne!(numbers[0], numbers[1]);
    assert!(numbers.iter().all(|number| number.as_str().unwrap().len() < 20));
    let note = note("hello");
    world.relay_says(0, &json!(["EVENT", numbers[0], note]));
    assert_eq!(world.heard(), [json!(["EVENT", long, note])]);
    assert_eq!(world.heard_by(OTHER_CLIENT), NONE);
    // The copy for the other client needs no second verification.
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", numbers[1], note]));
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", long, note])]);
}

#[test]
fn the_same_id_again_replaces_the_subscription() {
    let mut world = World::new(1);
    let first = world.subscribe("a", json!({"kinds": [1]}));
    let second = world.subscribe("a", json!({"kinds": [2]}));
    assert_eq!(
        world.got(0),
        [
            json!(["REQ", first, {"kinds": [1]}]),
            json!(["CLOSE", first]),
            json!(["REQ", second, {"kinds": [2]}]),
        ]
    );
    world.relay_says(0, &json!(["EVENT", first, note("late")]));
    world.relay_says(0, &eose(&first));
    assert_eq!(world.heard(), NONE);
    world.relay_says(0, &eose(&second));
    assert_eq!(world.heard(), [eose("a")]);
}

#[test]
fn close_is_silent_and_leaves_nothing() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.say(CLIENT, &json!(["CLOSE", "never opened"]));
    assert_eq!(world.got(0).last(), Some(&json!(["CLOSE", number])));
    world.pass_ms(60_000);
    assert_eq!(world.heard(), NONE);
    assert!(world.nothing_is_left());
}

#[test]
fn a_client_that_leaves_ends_all_its_subscriptions() {
    let mut world = World::new(1);
    let numbers = [world.subscribe("a", json!({})), world.subscribe("b", json!({}))];
    world.got(0);
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    let closed: Vec<Value> = world.got(0);
    assert_eq!(closed.len(), 2);
    assert!(numbers.iter().all(|number| closed.contains(&json!(["CLOSE", number]))));
    assert!(world.nothing_is_left());
}

#[test]
fn closed_is_passed_on_when_every_relay_has_refused_for_good() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["CLOSED", number, "error: shutting down"]));
    assert_eq!(world.heard(), NONE);
    assert!(!world.stats_of(0).errors().1.is_empty(), "it is shown in the relay's status");
    world.relay_says(1, &json!(["EVENT", number, note("from the other")]));
    world.relay_says(1, &eose(&number));
    assert_eq!(world.heard().len(), 2);
    world.relay_says(1, &json!(["CLOSED", number, "restricted: no more"]));
    assert_eq!(world.heard(), NONE, "what was live is asked for again");
    drop([world.got(0), world.got(1)]);
    world.pass_ms(1_000);
    for relay in 0..2 {
        let again = world.got(relay)[0][1].clone();
        world.relay_says(relay, &json!(["CLOSED", again, "restricted: no more"]));
    }
    assert_eq!(world.heard(), [json!(["CLOSED", "a", "restricted: no more"])]);
    assert!(world.nothing_is_left());
}

#[test]
fn all_closed_before_eose_is_one_closed_after_what_came_before() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", number, note("last words")]));
    world.relay_says(0, &json!(["CLOSED", number, "auth-required: who are you"]));
    assert_eq!(world.heard(), NONE);
    world.release();
    let heard = world.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1], json!(["CLOSED", "a", "auth-required: who are you"]));
}

#[test]
fn a_connection_that_is_down_may_serve_again_so_it_is_no_refusal() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.down(1, 1);
    world.relay_says(0, &json!(["CLOSED", number, "error: no"]));
    assert_eq!(world.heard(), NONE, "an EOSE would say that there is nothing");
    world.up(1, 2);
    world.relay_says_over(1, 2, &json!(["EVENT", number, note("back")]));
    assert_eq!(world.heard().len(), 1);
}

#[test]
fn pings_and_hopeless_filters_are_answered_here() {
    let mut world = World::new(1);
    let ping = "a".repeat(64);
    for filter in [
        json!({"ids": [ping], "limit": 1}),
        json!({"ids": ["0".repeat(64)], "limit": 0}),
        json!({"authors": []}),
        json!({"since": 5, "until": 4}),
    ] {
        world.say(CLIENT, &json!(["REQ", "p", filter]));
        assert_eq!(world.heard(), [eose("p")], "{filter}");
    }
    assert_eq!(world.got(0), NONE);
    assert!(world.nothing_is_left());
}

#[test]
fn a_refused_req_ends_the_subscription_of_that_id() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.say(CLIENT, &json!(["REQ", "a", {"kinds": "one"}]));
    assert_eq!(world.heard()[0][0], "CLOSED");
    assert_eq!(world.got(0).last(), Some(&json!(["CLOSE", number])));
}

#[test]
fn too_many_subscriptions_are_refused() {
    let mut world = World::new(1);
    let max = Limits::default().max_subscriptions;
    for number in 0..=max {
        world.say(CLIENT, &json!(["REQ", number.to_string(), {"kinds": [1]}]));
    }
    let heard = world.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((&heard[0][0], &heard[0][1]), (&json!("CLOSED"), &json!(max.to_string())));
    world.subscribe("0", json!({"kinds": [2]}));
    assert_eq!(world.heard(), NONE, "replacing one is no more than before");
}

#[test]
fn too_many_messages_are_refused_but_a_close_is_heard() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({}));
    let burst = Limits::default().max_messages_per_second * 10;
    for _ in 0..burst {
        world.say(CLIENT, &json!(["CLOSE", "nothing"]));
    }
    world.say(CLIENT, &json!(["REQ", "b", {}]));
    let note = note("too fast");
    world.say(CLIENT, &json!(["EVENT", note]));
    let heard = world.heard();
    assert_eq!((&heard[0][0], &heard[0][1]), (&json!("CLOSED"), &json!("b")));
    assert_eq!((&heard[1][1], &heard[1][2]), (&note["id"], &json!(false)));
    assert!(heard[1][3].as_str().unwrap().starts_with("rate-limited:"));
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    assert_eq!(world.got(0).last(), Some(&json!(["CLOSE", number])));
}

/// A relay brings a new event once for each request that it matches.
#[test]
fn what_everybody_has_is_a_copy_until_somebody_else_asks() {
    let mut world = World::new(1);
    let first = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&first));
    world.heard();
    let live = note("live");
    world.relay_says(0, &json!(["EVENT", first, live]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", live])]);
    world.say(OTHER_CLIENT, &json!(["REQ", "b", {"kinds": [1, 2]}]));
    let reqs = world.got(0);
    let second = reqs.iter().rfind(|message| message[0] == "REQ").unwrap()[1].clone();
    world.relay_says(0, &json!(["EOSE", second]));
    world.heard_by(OTHER_CLIENT);
    for _ in 0..3 {
        world.relay_says(0, &json!(["EVENT", second, live]));
        world.relay_says(0, &json!(["EVENT", first, live]));
    }
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "b", live])]);
    assert_eq!(world.heard(), NONE);
    assert_eq!(world.stats_of(0).duplicates.get(), 5);
    assert_eq!(world.stats_of(0).unasked.get(), 0);
}
