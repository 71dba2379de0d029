//! A relay that says, by a NOTICE, that too much comes at a time (rule 3.5).

use super::*;
use crate::constants::{EOSE_SILENT, PACE_REST, PACE_TRIAL};
use crate::nostr::limits::RelayLimits;

const JUST_AFTER: Duration = Duration::from_millis(10);

fn slow_down(world: &mut World) {
    world.relay_says(0, &json!(["NOTICE", "rate limited"]));
}

/// What the relay is sent by now: REQs and CLOSEs, by their verbs and numbers.
fn sent(world: &mut World) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    world.got(0).iter().map(|message| (text(&message[0]), text(&message[1]))).collect()
}

fn asks(world: &mut World, client: u64, id: &str) {
    world.say(client, &json!(["REQ", id, {"kinds": [1], "#t": [id]}]));
}

fn of(verb: &str, number: &str) -> (String, String) {
    (verb.to_owned(), number.to_owned())
}

/// A client whose subscription is live; its number at the relay.
fn live(world: &mut World, client: u64, id: &str) -> String {
    asks(world, client, id);
    let number = sent(world)[0].1.clone();
    world.relay_says(0, &json!(["EOSE", number]));
    number
}

#[test]
fn one_message_of_several_that_was_not_read_is_sent_again() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_filters: Some(2), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    let mut req = vec![json!("REQ"), json!("a")];
    req.extend((0..5).map(|number| json!({"kinds": [1], "#t": [number.to_string()]})));
    world.say(CLIENT, &Value::Array(req));
    let first = sent(&mut world);
    assert_eq!(first.len(), 3);
    slow_down(&mut world); // about the second
    world.relay_says(0, &json!(["EOSE", first[0].1]));
    world.relay_says(0, &json!(["EOSE", first[2].1]));
    let mut open = BTreeMap::new();
    for _ in 0..10 {
        world.pass_ms(500);
        for message in world.got(0) {
            let number = message[1].as_str().unwrap().to_owned();
            if message[0] == "REQ" {
                world.relay_says(0, &json!(["EOSE", number]));
                open.insert(number, message.as_array().unwrap().len() - 2);
            } else {
                open.remove(&number);
            }
        }
    }
    assert_eq!(open.values().sum::<usize>(), 5, "all filters are live");
    assert_eq!(world.heard_by(CLIENT), [json!(["EOSE", "a"])]);
}

#[test]
fn ends_that_were_not_read_are_sent_again_whatever_it_was_tried_with() {
    let mut world = World::new(1);
    let numbers: Vec<String> =
        ["a", "b", "c"].iter().map(|id| live(&mut world, CLIENT, id)).collect();
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.say(CLIENT, &json!(["CLOSE", "b"]));
    assert_eq!(sent(&mut world).len(), 2);
    slow_down(&mut world);
    slow_down(&mut world); // once for each
    world.pass_ms(500);
    world.say(CLIENT, &json!(["CLOSE", "c"]));
    assert_eq!(sent(&mut world), [], "it rests");
    world.pass(PACE_REST);
    assert_eq!(sent(&mut world), [of("CLOSE", &numbers[2])]);
    world.pass(PACE_TRIAL + JUST_AFTER);
    let again = sent(&mut world);
    assert!(numbers[..2].iter().all(|number| again.contains(&of("CLOSE", number))), "{again:?}");
}

#[test]
fn ends_that_were_not_read_are_sent_again_though_nothing_else_is_asked() {
    let mut world = World::new(1);
    let numbers: Vec<String> = ["a", "b"].iter().map(|id| live(&mut world, CLIENT, id)).collect();
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.say(CLIENT, &json!(["CLOSE", "b"]));
    for _ in sent(&mut world) {
        slow_down(&mut world);
    }
    world.pass(PACE_REST);
    assert_eq!(sent(&mut world), [of("CLOSE", &numbers[1])]);
    slow_down(&mut world); // not this time either
    world.pass(2 * PACE_REST);
    assert_eq!(sent(&mut world), [of("CLOSE", &numbers[1])]);
    world.pass(PACE_TRIAL + JUST_AFTER);
    assert_eq!(sent(&mut world), [of("CLOSE", &numbers[0])]);
}

#[test]
fn an_answer_to_what_it_was_tried_with_says_nothing_of_what_was_not_read_before() {
    let mut world = World::new(1);
    let number = live(&mut world, CLIENT, "a");
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    sent(&mut world);
    slow_down(&mut world);
    asks(&mut world, OTHER_CLIENT, "b");
    world.pass(PACE_REST);
    let trial = sent(&mut world);
    assert_eq!((trial.len(), &*trial[0].0), (1, "REQ"));
    world.relay_says(0, &json!(["EOSE", trial[0].1]));
    assert_eq!(sent(&mut world), [of("CLOSE", &number)]);
}

#[test]
fn where_nothing_is_owed_it_is_about_something_else() {
    let mut world = World::new(1);
    live(&mut world, CLIENT, "a");
    world.pass(Duration::from_secs(5));
    slow_down(&mut world); // about an event, or nobody
    asks(&mut world, OTHER_CLIENT, "b");
    assert_eq!(sent(&mut world).len(), 1);
    assert!(world.stats_of(0).errors().2.is_empty());
}

#[test]
fn what_is_answered_ends_the_rest_whatever_was_said_meanwhile() {
    let mut world = World::new(1);
    asks(&mut world, CLIENT, "a");
    assert_eq!(sent(&mut world).len(), 1);
    slow_down(&mut world);
    world.pass(PACE_REST + JUST_AFTER);
    let trial = sent(&mut world);
    let [(verb, number)] = &trial[..] else { panic!("{trial:?}") };
    assert_eq!(verb, "REQ", "which tells, and not a CLOSE");
    slow_down(&mut world); // about an event
    asks(&mut world, OTHER_CLIENT, "b");
    assert_eq!(sent(&mut world), []);
    world.relay_says(0, &json!(["EOSE", number]));
    assert!(sent(&mut world).iter().any(|(verb, _)| verb == "REQ"), "the other one's");
}

#[test]
fn a_slow_relay_has_time_to_complain_of_what_it_is_tried_with() {
    let mut world = World::new(1);
    for number in 0..3 {
        asks(&mut world, CLIENT, &number.to_string());
    }
    assert_eq!(sent(&mut world).len(), 3);
    slow_down(&mut world);
    world.pass(PACE_REST + JUST_AFTER);
    assert_eq!(sent(&mut world).len(), 1);
    world.pass(EOSE_SILENT.saturating_sub(PACE_REST));
    assert_eq!(sent(&mut world), [], "no answer is none");
    slow_down(&mut world);
    world.pass(PACE_REST + JUST_AFTER);
    assert_eq!(sent(&mut world), [], "twice as long");
    world.pass(PACE_REST);
    assert_eq!(sent(&mut world).len(), 1);
}

/// Of a slow relay: what it had been asked long before is not asked again.
#[test]
fn what_was_asked_long_before_is_not_meant() {
    let mut world = World::new(1);
    asks(&mut world, CLIENT, "a");
    world.pass(Duration::from_millis(2_500));
    asks(&mut world, OTHER_CLIENT, "b");
    let asked = sent(&mut world);
    assert_eq!(asked.len(), 2);
    slow_down(&mut world);
    world.pass(PACE_REST + JUST_AFTER);
    let trial = sent(&mut world);
    assert_eq!((trial.len(), &*trial[0].0), (1, "REQ"));
    world.relay_says(0, &json!(["EOSE", trial[0].1]));
    world.relay_says(0, &json!(["EOSE", asked[0].1]));
    assert!(!sent(&mut world).contains(&of("CLOSE", &asked[0].1)));
    assert!(world.heard_by(CLIENT).contains(&json!(["EOSE", "a"])));
    assert!(world.heard_by(OTHER_CLIENT).contains(&json!(["EOSE", "b"])));
}

/// It repeats what it could not read, which is a client's own text.
#[test]
fn a_clients_words_in_a_complaint_are_not_the_relays() {
    let mut world = World::new(1);
    asks(&mut world, CLIENT, "slow down");
    sent(&mut world);
    let echo = "could not parse command: {\"kinds\":[1],\"#t\":[\"slow down\"]}";
    world.relay_says(0, &json!(["NOTICE", echo]));
    asks(&mut world, OTHER_CLIENT, "b");
    assert_eq!(sent(&mut world).len(), 1, "nobody else waits for that");
}

/// A question of the outbox's, and its CLOSE.
#[test]
fn what_the_outbox_asks_waits_too() {
    let mut world = World::new(1);
    world.say(CLIENT, &json!(["EVENT", event(1, UNIX, &json!([]), "in doubt soon")]));
    world.pass_ms(1_500);
    asks(&mut world, CLIENT, "a");
    world.got(0);
    slow_down(&mut world);
    world.pass_ms(600); // nobody has answered: it is in doubt, and the relay is to be asked
    assert_eq!(world.heard_by(CLIENT)[0][2], true);
    assert_eq!(sent(&mut world), []);
    world.pass(PACE_REST);
    let trial = sent(&mut world);
    assert_eq!((trial.len(), &*trial[0].0), (1, "REQ"));
    world.relay_says(0, &json!(["EOSE", trial[0].1]));
    world.got_question(0);
}

/// There is nothing to try it with, and somebody has waited since long before.
#[test]
fn what_was_asked_long_before_has_its_own_time() {
    let mut world = World::new(1);
    asks(&mut world, CLIENT, "a");
    sent(&mut world);
    world.pass(Duration::from_secs(3));
    slow_down(&mut world);
    let asked_again = (0..20).any(|_| {
        world.pass_ms(500);
        sent(&mut world).iter().any(|(verb, _)| verb == "REQ")
    });
    assert!(asked_again, "nobody stays deaf for that");
}

#[test]
fn what_of_several_messages_was_not_sent_yet_is_not_sent_beside_those_that_are_asked_anew() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_filters: Some(2), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    asks(&mut world, OTHER_CLIENT, "b");
    slow_down(&mut world);
    let mut req = vec![json!("REQ"), json!("a")];
    req.extend((0..5).map(|number| json!({"kinds": [1], "#t": [number.to_string()]})));
    world.say(CLIENT, &Value::Array(req));
    let mut open = BTreeMap::new();
    for round in 0..80 {
        for message in world.got(0) {
            let number = message[1].as_str().unwrap().to_owned();
            if round < 20 {
                slow_down(&mut world); // it reads nothing of it
            } else if message[0] == "REQ" {
                world.relay_says(0, &json!(["EOSE", number]));
                open.insert(number, message.as_array().unwrap().len() - 2);
            } else {
                open.remove(&number);
            }
        }
        world.pass_ms(500);
    }
    assert_eq!(open.values().sum::<usize>(), 6, "{open:?}");
}
