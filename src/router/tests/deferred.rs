//! What relays refuse until they know who we are (rule 4.4).

use super::auth::{WHO, keyed, keys};
use super::*;
use crate::constants::REPLAY_MARGIN;

const NONE: [Value; 0] = [];

#[test]
fn what_it_ended_for_want_of_an_authentication_is_asked_for_again() {
    let mut world = keyed(1);
    let [first, live] = ["a", "b"].map(|id| world.req(CLIENT, id));
    world.relay_says(0, &json!(["EOSE", live]));
    world.heard();
    let auth = world.challenge("a").unwrap();
    world.got(0);
    for number in [&first, &live] {
        world.relay_says(0, &json!(["CLOSED", number, WHO]));
    }
    assert_eq!(world.heard(), NONE, "neither CLOSED nor EOSE: it is still open");
    world.relay_answers(0, &auth, true, "");
    let since = UNIX - REPLAY_MARGIN;
    assert_eq!(
        world.got(0),
        [json!(["REQ", "3", {"kinds": [1]}]), json!(["REQ", "4", {"kinds": [1], "since": since}]),],
        "no number is used twice on one connection"
    );
    for number in ["3", "4"] {
        world.relay_says(0, &json!(["EOSE", number]));
    }
    assert_eq!(world.heard(), [json!(["EOSE", "a"])]);
    let event = note("for you");
    world.relay_says(0, &json!(["EVENT", "4", event]));
    // Not every relay sends it for each request.
    let both = ["a", "b"].map(|id| json!(["EVENT", id, event]));
    assert_eq!(world.heard(), both);
    assert_eq!(world.errors(), [""; 0]);
}

#[test]
fn a_challenge_may_come_after_the_first_refusal() {
    let mut world = keyed(1);
    let number = world.req(CLIENT, "a");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.got(0);
    world.authenticate();
    assert_eq!(world.got(0), [json!(["REQ", "2", {"kinds": [1]}])]);
}

#[test]
fn one_that_never_comes_is_not_waited_for() {
    let mut world = keyed(1);
    let number = world.req(CLIENT, "a");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.pass_ms(1_999);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), [json!(["CLOSED", "a", WHO])]);
    assert_eq!(world.flags(), [false, true, true]);
    assert_eq!(
        world.errors(),
        [
            "wants an authentication and gives no challenge".to_owned(),
            format!("ended a subscription: {WHO}")
        ]
    );
    let number = world.req(CLIENT, "b");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    assert_eq!(world.heard(), [json!(["CLOSED", "b", WHO])], "nor is the next one");
    assert!(world.nothing_is_left());
}

#[test]
fn what_was_asked_before_it_knew_us_is_asked_again_once() {
    let mut world = keyed(1);
    let number = world.req(CLIENT, "a");
    world.pass_ms(10);
    world.authenticate();
    world.got(0);
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    assert_eq!(world.got(0), [json!(["REQ", "2", {"kinds": [1]}])]);
    world.relay_says(0, &json!(["CLOSED", "2", WHO]));
    assert_eq!(world.got(0), NONE);
    assert_eq!(world.heard(), [json!(["CLOSED", "a", WHO])]);
}

#[test]
fn events_go_again_too() {
    for kind in [1, 23_194] {
        let mut world = keyed(1);
        let auth = world.challenge("a").unwrap();
        let sent = event(kind, UNIX, &json!([]), "hello");
        world.publish(&sent);
        world.got(0);
        world.relay_answers(0, &sent, false, WHO);
        assert_eq!(world.heard(), NONE);
        world.pass_ms(500);
        world.relay_answers(0, &auth, true, "");
        assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
        world.relay_answers(0, &sent, true, "welcome");
        assert_eq!(world.heard(), [ok(&sent, true, "welcome")]);
        assert!(world.nothing_is_left());
        let stats = world.stats_of(0);
        assert_eq!((stats.rejected.get(), world.errors().len()), (0, 0));
    }
}

#[test]
fn so_does_what_a_client_inside_publishes_there() {
    let mut world = keyed(2);
    world.join_inside(7, Some(&[0]));
    let auth = world.challenge("a").unwrap();
    let sent = note("hello");
    world.say(7, &json!(["EVENT", sent]));
    world.relay_answers(0, &sent, false, WHO);
    world.got(0);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
    world.relay_answers(0, &sent, true, "");
    assert_eq!(world.heard_by(7), [ok(&sent, true, "")]);
    assert!(world.nothing_is_left());
}

#[test]
fn what_another_relay_took_goes_again_as_well() {
    let mut world = keyed(2);
    let auth = world.challenge("a").unwrap();
    let sent = note("hello");
    world.publish(&sent);
    world.got(0);
    world.relay_answers(0, &sent, false, WHO);
    world.relay_answers(1, &sent, true, "");
    assert_eq!(world.heard(), [ok(&sent, true, "")]);
    assert_eq!(world.got_events(0), NONE);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got_events(0), [sent]);
}

#[test]
fn what_it_refuses_for_another_reason_or_knowing_us_is_refused() {
    let mut world = keyed(1);
    let auth = world.challenge("a").unwrap();
    let [one, other] = ["one", "other"].map(note);
    world.publish(&one);
    world.relay_answers(0, &one, false, "blocked: not you");
    assert_eq!(world.heard(), [ok(&one, false, "blocked: not you")]);
    world.relay_answers(0, &auth, true, "");
    world.publish(&other);
    world.got(0);
    world.relay_answers(0, &other, false, WHO);
    assert_eq!(world.heard(), [ok(&other, false, WHO)]);
    assert_eq!(world.got(0), NONE);
    assert_eq!(world.flags(), [true, true, true]);
}

#[test]
fn a_relay_that_does_not_want_us_refuses_what_waited() {
    let mut world = keyed(1);
    let auth = world.challenge("a").unwrap();
    let (number, sent) = (world.req(CLIENT, "a"), note("hello"));
    world.publish(&sent);
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.relay_answers(0, &sent, false, WHO);
    world.got(0);
    world.relay_answers(0, &auth, false, "restricted: members only");
    let mut heard = world.heard();
    heard.sort_by_key(|message| message[0].to_string());
    assert_eq!(heard, [json!(["CLOSED", "a", WHO]), ok(&sent, false, WHO)]);
    assert_eq!(world.flags(), [false, true, true]);
    assert_eq!(
        world.errors(),
        [
            "refused our authentication: restricted: members only".to_owned(),
            format!("ended a subscription: {WHO}"),
            format!("refused an event: {WHO}"),
        ]
    );
    assert!(world.nothing_is_left());
    let late = note("more");
    world.publish(&late);
    world.relay_answers(0, &late, false, WHO);
    assert_eq!(world.heard(), [ok(&late, false, WHO)], "nothing is waited for any more");
    assert!(world.challenge("b").is_some(), "but another challenge is answered");
}

#[test]
fn an_answer_that_is_never_answered_holds_no_ok_for_long() {
    let mut world = keyed(1);
    world.challenge("a").unwrap();
    world.pass_ms(1_500);
    let sent = event(23_194, UNIX, &json!([]), "pay");
    world.publish(&sent);
    world.relay_answers(0, &sent, false, WHO);
    world.pass_ms(500);
    assert_eq!(world.heard(), [ok(&sent, false, WHO)]);
    assert_eq!(
        world.errors(),
        ["does not answer our authentication".to_owned(), format!("refused an event: {WHO}")]
    );
    assert!(world.nothing_is_left());
}

#[test]
fn nor_does_one_that_is_never_sent() {
    let mut world = keyed(2);
    let sent = note("hello");
    world.publish(&sent);
    world.pass_ms(1_000);
    world.relay_answers(0, &sent, false, WHO);
    world.relay_answers(1, &sent, false, "error: full");
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1_000);
    assert_eq!(world.heard(), [ok(&sent, false, WHO)]);
    world.got(0);
    world.authenticate();
    assert_eq!(world.got_events(0), NONE, "what was answered false shows up nowhere");
    assert!(world.nothing_is_left());
}

#[test]
fn one_that_takes_us_late_is_asked_again_all_the_same() {
    let mut world = keyed(2);
    let auth = world.challenge("a").unwrap();
    let number = world.req(CLIENT, "a");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.pass_ms(3_000);
    world.got(0);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got(0), [json!(["REQ", "2", {"kinds": [1]}])]);
    assert_eq!(world.flags(), [true, false, false]);
}

#[test]
fn what_waits_in_the_outbox_is_tried_at_once() {
    let mut world = offline();
    world.input(Input::RelayKey(RelayId(0), Some(keys())));
    let sent = note("hello");
    assert_eq!(world.publish(&sent), Some(ok(&sent, true, "queued: no relay connected")));
    world.up(0, 1);
    assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
    world.relay_answers(0, &sent, false, WHO);
    world.pass_ms(100);
    assert_eq!(world.got_events(0), NONE);
    world.authenticate();
    assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
    world.relay_answers(0, &sent, true, "");
    assert!(world.nothing_is_left());
}

#[test]
fn a_connection_lost_meanwhile_leaves_the_event_to_the_outbox() {
    let mut world = keyed(1);
    world.challenge("a").unwrap();
    let sent = note("hello");
    world.publish(&sent);
    world.relay_answers(0, &sent, false, WHO);
    world.down(0, 1);
    assert_eq!(world.heard(), [ok(&sent, true, "queued: no relay connected")]);
    world.got(0);
    world.up(0, 2);
    assert_eq!(world.got_events(0), [sent]);
}

#[test]
fn what_was_refused_while_others_still_think_is_not_sent_there_late() {
    let mut world = keyed(2);
    let auth = world.challenge("a").unwrap();
    world.pass_ms(1_000);
    let sent = note("hello");
    world.publish(&sent);
    world.relay_answers(0, &sent, false, WHO);
    world.pass_ms(1_000);
    world.got(0);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got_events(0), NONE, "its refusal counts by now");
    world.relay_answers(1, &sent, false, "blocked: no");
    assert_eq!(world.heard(), [ok(&sent, false, "blocked: no")]);
    assert!(world.nothing_is_left());
}

#[test]
fn what_a_relay_never_showed_us_is_missing_from_all_there_is_even_when_the_relay_is_gone() {
    let eose = |why: &str| {
        let mut world = keyed(3);
        let number = world.req(CLIENT, "a");
        world.relay_says(0, &json!(["CLOSED", number, why]));
        world.pass_ms(2_000); // it gives no challenge
        world.input(Input::RelayRemoved(RelayId(0)));
        for relay in 1..3 {
            world.relay_says(relay, &json!(["EOSE", number, ["finish"]]));
        }
        world.heard()
    };
    assert_eq!(eose("blocked: no"), [json!(["EOSE", "a"])]);
    assert_eq!(eose(WHO), eose("blocked: no"));
}

/// Another relay took it, so it is published anew and in line; what was owed to this one is the same.
#[test]
fn what_is_published_again_meanwhile_is_sent_twice_and_not_three_times() {
    let mut world = keyed(2);
    let event = note("again");
    let auth = world.challenge("a").unwrap();
    for round in 0..2 {
        world.publish(&event);
        assert_eq!(world.got_events(0), std::slice::from_ref(&event));
        if round == 0 {
            world.relay_answers(0, &event, false, WHO);
        }
        world.relay_answers(1, &event, true, "");
    }
    world.relay_answers(0, &auth, true, "");
    world.relay_answers(0, &event, true, "");
    assert_eq!(world.got_events(0), NONE);
}

/// The relay refuses the first copy, comes to know us, and takes the second one.
#[test]
fn an_order_that_was_published_again_is_not_sent_for_its_first_copy() {
    let mut world = keyed(2);
    let order = event(23_194, UNIX, &json!([]), "pay");
    let auth = world.challenge("a").unwrap();
    world.publish(&order);
    world.relay_answers(1, &order, true, "");
    world.publish(&order);
    assert_eq!(world.got_events(0), [order.clone(), order.clone()]);
    world.relay_answers(0, &order, false, WHO);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got_events(0), NONE, "what it says of the second copy is still to come");
    world.relay_answers(0, &order, true, "");
    assert_eq!(world.got_events(0), NONE);
}
