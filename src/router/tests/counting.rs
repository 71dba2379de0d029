//! COUNT (NIP-45, rule 3.8).

use super::auth::{PUBLIC, keyed};
use super::*;
use crate::constants::{
    COUNT_PROBES, COUNT_UNANSWERED, MAX_SUBSCRIPTIONS, RELAY_WINDOW, REQUEST_LINGER,
};
use crate::nostr::hll::Hll;
use crate::nostr::hll::tests::author;
use crate::nostr::limits::RelayLimits;

const NONE: [Value; 0] = [];

/// Asks, and gives the number the relays know it by. Empty: none was asked.
fn ask(world: &mut World, id: &str) -> String {
    world.got(0);
    world.say(CLIENT, &json!(["COUNT", id, {"kinds": [7]}]));
    let asked = world.sent.iter().rev().find(|(_, message)| message[0] == "COUNT");
    asked.map(|(_, message)| message[1].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn sketch(authors: std::ops::Range<u64>) -> String {
    let mut hll = Hll::empty();
    authors.for_each(|number| hll.insert(&author(number), 8));
    hll.to_hex()
}

fn closed(id: &str, why: &str) -> [Value; 1] {
    [json!(["CLOSED", id, why])]
}

#[test]
fn the_one_relay_is_asked_and_its_answer_passed_on_as_it_is() {
    let mut world = World::new(1);
    let number = ask(&mut world, "a");
    assert_eq!(world.got(0), [json!(["COUNT", number, {"kinds": [7]}])]);
    let answer = json!({"count": 238, "approximate": false, "hll": sketch(0..200)});
    world.relay_says(0, &json!(["COUNT", number, answer]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", answer])]);
    assert_eq!(world.got(0), NONE, "there is nothing to end");
    assert!(world.nothing_is_left());
}

#[test]
fn of_several_the_most_and_no_certainty() {
    let mut world = World::new(3);
    let number = ask(&mut world, "a");
    for (relay, count) in [(0, 5), (1, 12)] {
        world.relay_says(relay, &json!(["COUNT", number, {"count": count}]));
        assert_eq!(world.heard(), NONE);
    }
    world.relay_says(2, &json!(["COUNT", number, {"count": 7, "hll": sketch(0..7)}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 12, "approximate": true}])]);
    assert!(world.nothing_is_left());
}

#[test]
fn sketches_are_merged() {
    let mut world = World::new(2);
    let number = ask(&mut world, "a");
    for (relay, authors) in [(0, 0..2_000), (1, 1_000..3_000)] {
        let answer = json!({"count": 2_000, "hll": sketch(authors)});
        world.relay_says(relay, &json!(["COUNT", number, answer]));
    }
    let heard = world.heard();
    let [Value::Array(parts)] = &heard[..] else { panic!("{heard:?}") };
    let answer = &parts[2];
    assert_eq!(answer["approximate"], true);
    assert_eq!(answer["hll"], sketch(0..3_000));
    let count = answer["count"].as_u64().unwrap();
    assert!((2_400..3_600).contains(&count), "{count}");
}

#[test]
fn after_the_first_answer_a_second_and_a_half_and_four_in_all() {
    let mut world = World::new(2);
    let number = ask(&mut world, "a");
    world.pass_ms(2_000);
    world.relay_says(1, &json!(["COUNT", number, {"count": 5}]));
    world.pass_ms(1_499);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5, "approximate": true}])]);
    assert_eq!(world.got(0).last(), Some(&json!(["CLOSE", number])), "it need not go on");
    // Too late, and no crime.
    world.relay_says(0, &json!(["COUNT", number, {"count": 50}]));
    assert_eq!(world.heard(), NONE);

    let number = ask(&mut world, "b");
    world.pass_ms(3_500);
    world.relay_says(1, &json!(["COUNT", number, {"count": 5}]));
    world.pass_ms(499);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), [json!(["COUNT", "b", {"count": 5, "approximate": true}])]);
    assert!(world.nothing_is_left());
}

#[test]
fn nobody_answers() {
    let mut world = World::new(2);
    ask(&mut world, "a");
    world.pass_ms(3_999);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), closed("a", "error: no relay has counted in time"));
    assert!(world.nothing_is_left());
}

#[test]
fn refusals_stay_inside_while_one_counts() {
    let mut world = World::new(3);
    let number = ask(&mut world, "a");
    world.relay_says(0, &json!(["CLOSED", number, "unsupported: no"]));
    world.down(1, 1);
    world.relay_says(2, &json!(["COUNT", number, {"count": 5}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5, "approximate": true}])]);
    // The first has said that it does not count, the second is away: one is asked.
    let number = ask(&mut world, "b");
    assert_eq!(world.got(0), NONE);
    world.relay_says(2, &json!(["COUNT", number, {"count": 5}]));
    assert_eq!(world.heard(), [json!(["COUNT", "b", {"count": 5}])]);
    assert!(world.nothing_is_left());
}

#[test]
fn all_refuse() {
    let mut world = World::new(2);
    let number = ask(&mut world, "a");
    world.relay_says(0, &json!(["CLOSED", number, "unsupported: no"]));
    world.relay_says(1, &json!(["CLOSED", number, "restricted: not that"]));
    assert_eq!(world.heard(), closed("a", "restricted: not that"));
    let number = ask(&mut world, "b");
    world.relay_says(1, &json!(["CLOSED", number]));
    assert_eq!(world.heard(), closed("b", "unsupported: no relay counts"));
    assert_eq!(world.stats_of(1).errors().1, ["refused to count: restricted: not that"]);
    assert!(world.nothing_is_left());
}

#[test]
fn there_is_nobody_to_ask() {
    let mut world = World::new(0);
    ask(&mut world, "a");
    assert_eq!(world.heard(), closed("a", "error: no relay configured"));
    world.away(0);
    ask(&mut world, "a");
    assert_eq!(world.heard(), closed("a", "error: no relay connected"));
    world.up(0, 1);
    let limits = RelayLimits { counts: Some(false), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    ask(&mut world, "a");
    assert_eq!(world.heard(), closed("a", "unsupported: no relay counts"));
    world.switch(0, Switches { read: false, write: true });
    ask(&mut world, "a");
    assert_eq!(world.heard(), closed("a", "error: no relay configured"));
    assert_eq!(world.got(0), NONE);
    assert!(world.nothing_is_left());
}

#[test]
fn a_question_longer_than_a_relay_takes_is_not_sent_to_it() {
    let mut world = World::new(2);
    let filters = |count| vec![json!({"kinds": [7]}); count];
    let few = RelayLimits { max_filters: Some(2), ..RelayLimits::default() };
    let short = RelayLimits { max_message_length: Some(100), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), few));
    world.input(Input::RelayLimits(RelayId(1), short));
    for (count, asked) in [(2, vec![0, 1]), (3, vec![1]), (10, vec![])] {
        world.sent.clear();
        let message: Vec<Value> =
            [json!("COUNT"), json!("a")].into_iter().chain(filters(count)).collect();
        world.say(CLIENT, &json!(message));
        let counts = world.sent.iter().filter(|(_, message)| message[0] == "COUNT");
        assert_eq!(counts.map(|(relay, _)| *relay).collect::<Vec<_>>(), asked, "{count}");
    }
    assert_eq!(world.heard(), closed("a", "unsupported: no relay counts"));
}

#[test]
fn what_nothing_can_match_is_none() {
    let mut world = World::new(1);
    world.say(CLIENT, &json!(["COUNT", "a", {"ids": []}, {"since": 2, "until": 1}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 0}])]);
    world.say(CLIENT, &json!(["COUNT", "a", {"ids": []}, {"kinds": [1]}]));
    let asked = world.got(0).pop().unwrap();
    assert_eq!(asked.as_array().unwrap()[2..], [json!({"kinds": [1]})]);
}

#[test]
fn malformed_ones() {
    let mut world = World::new(1);
    world.say(CLIENT, &json!(["COUNT"]));
    assert_eq!(
        world.heard(),
        [json!(["NOTICE", "invalid: COUNT carries a subscription id, a string"])]
    );
    world.say(CLIENT, &json!(["COUNT", "a"]));
    assert_eq!(world.heard(), closed("a", "invalid: COUNT carries one filter or more"));
    world.say(CLIENT, &json!(["COUNT", "a", {"kinds": "x"}]));
    let why = "invalid: kinds must be a list of whole numbers from 0 to 65535";
    assert_eq!(world.heard(), closed("a", why));
    world.say(CLIENT, &json!(["COUNT", "", {}]));
    let why = "invalid: a subscription id has 1 to 64 characters";
    assert_eq!(world.heard(), closed("", why));
    assert!(world.nothing_is_left());
}

#[test]
fn close_ends_it() {
    let mut world = World::new(1);
    let number = ask(&mut world, "a");
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    assert_eq!(world.got(0).last(), Some(&json!(["CLOSE", number])));
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    world.pass_ms(10_000);
    assert_eq!(world.heard(), NONE);
    assert!(world.nothing_is_left());
}

#[test]
fn another_one_of_the_same_id_takes_its_place() {
    let mut world = World::new(1);
    let first = ask(&mut world, "a");
    let second = ask(&mut world, "a");
    world.relay_says(0, &json!(["COUNT", first, {"count": 5}]));
    assert_eq!(world.heard(), NONE);
    world.relay_says(0, &json!(["COUNT", second, {"count": 6}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 6}])]);
    assert!(world.nothing_is_left());
}

/// They are apart, but for a CLOSE and for a CLOSED, which names no more than an id.
#[test]
fn a_subscription_of_the_same_id_goes_on() {
    let mut world = World::new(1);
    let req = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["EOSE", req]));
    let count = ask(&mut world, "a");
    world.relay_says(0, &json!(["COUNT", count, {"count": 5}]));
    let live = note("live");
    world.relay_says(0, &json!(["EVENT", req, live]));
    let heard =
        [json!(["EOSE", "a"]), json!(["COUNT", "a", {"count": 5}]), json!(["EVENT", "a", live])];
    assert_eq!(world.heard(), heard);
    let count = ask(&mut world, "a");
    world.relay_says(0, &json!(["CLOSED", count, "error: busy"]));
    assert_eq!(world.heard(), closed("a", "error: busy"));
    assert!(world.nothing_is_left(), "the client holds both for ended");
    world.got(0);

    let req = world.subscribe("a", json!({"kinds": [1]}));
    let count = ask(&mut world, "a");
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    let closed = world.got(0);
    assert!(closed.contains(&json!(["CLOSE", req])) && closed.contains(&json!(["CLOSE", count])));
    assert!(world.nothing_is_left());
}

#[test]
fn they_count_against_the_limit_of_subscriptions() {
    let mut world = World::new(1);
    for number in 0..MAX_SUBSCRIPTIONS / 2 {
        world.subscribe(&format!("r{number}"), json!({"kinds": [1]}));
    }
    // Proven, it takes any number.
    let first = ask(&mut world, "c0");
    world.relay_says(0, &json!(["COUNT", first, {"count": 5}]));
    for number in 0..MAX_SUBSCRIPTIONS / 2 {
        assert_ne!(ask(&mut world, &format!("c{number}")), "");
    }
    world.heard();
    let why = format!("restricted: at most {MAX_SUBSCRIPTIONS} subscriptions");
    ask(&mut world, "more");
    assert_eq!(world.heard(), closed("more", &why));
    world.subscribe("more", json!({"kinds": [1]}));
    assert_eq!(world.heard(), closed("more", &why));
    world.pass_ms(4_000);
    world.heard();
    world.subscribe("more", json!({"kinds": [1]}));
    assert_eq!(world.heard(), NONE, "there is room again");
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.pass(REQUEST_LINGER);
    assert!(world.nothing_is_left());
}

#[test]
fn the_bytes_of_its_filters_count_while_it_is_open() {
    let mut world = World::new(1);
    let large = json!({"#t": ["x".repeat(600_000)]});
    world.say(CLIENT, &json!(["COUNT", "a", large]));
    world.say(CLIENT, &json!(["COUNT", "b", large]));
    let why = "restricted: filters of more than 1048576 bytes in all";
    assert_eq!(world.heard(), closed("b", why));
    world.say(CLIENT, &json!(["CLOSE", "a"]));
    world.say(CLIENT, &json!(["COUNT", "b", large]));
    assert_eq!(world.heard(), NONE);
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    assert!(world.nothing_is_left());
}

#[test]
fn a_client_inside_asks_its_own_relays() {
    let mut world = World::new(2);
    world.join_inside(7, Some(&[1]));
    world.say(7, &json!(["COUNT", "a", {"kinds": [7]}]));
    assert_eq!(world.got(0), NONE);
    let number = world.got(1).pop().unwrap()[1].clone();
    world.relay_says(1, &json!(["COUNT", number, {"count": 5}]));
    assert_eq!(world.heard_by(7).pop(), Some(json!(["COUNT", "a", {"count": 5}])));
}

#[test]
fn answers_that_are_none_cost_a_relay_its_part() {
    let mut world = World::new(2);
    for wrong in [
        json!({"count": -1}),
        json!({"count": 1e30}),
        json!({"count": 1u64 << 53}),
        json!({"count": "5"}),
        json!({}),
        json!(5),
        json!(null),
    ] {
        let number = ask(&mut world, "a");
        world.relay_says(0, &json!(["COUNT", number, wrong]));
        world.relay_says(1, &json!(["COUNT", number, {"count": 5}]));
        let answer = json!(["COUNT", "a", {"count": 5, "approximate": true}]);
        assert_eq!(world.heard(), [answer], "{wrong}");
    }
    let number = ask(&mut world, "a");
    world.relay_says(0, &json!(["COUNT", number]));
    world.relay_says(1, &json!(["COUNT", number, {"count": 5, "hll": "00ff", "approximate": 1}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5, "approximate": true}])]);
    assert!(world.nothing_is_left());
}

/// Twice, for numbers never given out, for no number: never an answer, and in the end never again.
#[test]
fn answers_nobody_asked_for() {
    let mut world = World::new(2);
    let number = ask(&mut world, "a");
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    world.relay_says(0, &json!(["COUNT", number, {"count": 500}]));
    world.relay_says(1, &json!(["COUNT", number, {"count": 4}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5, "approximate": true}])]);
    for id in [json!("99999"), json!("x"), json!(7), json!(null)] {
        world.relay_says(0, &json!(["COUNT", id, {"count": 5}]));
    }
    assert_eq!(world.heard(), NONE);
    for _ in 0..2_100 {
        world.relay_says(0, &json!(["COUNT", "99999", {"count": 5}]));
    }
    assert_eq!(world.cut, [0]);
}

/// It takes COUNT for gibberish, and says so each time.
#[test]
fn no_client_has_a_relay_cut_off_that_complains() {
    let mut world = World::new(1);
    let mut asked = 0;
    for second in 0..20 {
        for count in 0..100 {
            world.say(CLIENT, &json!(["COUNT", format!("{second}/{count}"), {"kinds": [1]}]));
            world.say(CLIENT, &json!(["CLOSE", format!("{second}/{count}")]));
        }
        for _ in world.got(0).iter().filter(|message| message[0] == "COUNT") {
            asked += 1;
            world.relay_says(0, &json!(["NOTICE", "unknown command"]));
        }
        world.heard();
        world.pass_ms(1_000);
    }
    assert!((COUNT_PROBES..200).contains(&asked), "{asked}");
    assert!(world.cut.is_empty());
    ask(&mut world, "a");
    ask(&mut world, "b");
    for _ in 0..10 {
        ask(&mut world, "many");
    }
    assert!(world.heard().contains(&closed("many", "rate-limited: too many counts at a time")[0]));
}

#[test]
fn a_relay_that_never_counts_is_left_alone_for_a_while() {
    let mut world = World::new(2);
    for _ in 0..COUNT_UNANSWERED {
        let number = ask(&mut world, "a");
        assert_eq!(world.got(0).len(), 1);
        world.relay_says(1, &json!(["COUNT", number, {"count": 5}]));
        world.pass_ms(1_500);
        assert_eq!(world.heard().len(), 1);
    }
    let number = ask(&mut world, "a");
    assert_eq!(world.got(0), NONE);
    world.relay_says(1, &json!(["COUNT", number, {"count": 5}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5}])]);
    world.pass_ms(5 * 60 * 1_000);
    ask(&mut world, "a");
    assert_eq!(world.got(0).len(), 1, "it may have learned it");
}

/// What waits for a relay that reads nothing is not piled up.
#[test]
fn a_stalled_relay_keeps_no_questions() {
    let mut world = World::new(1);
    let number = ask(&mut world, "a");
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    world.got(0);
    world.heard();
    world.stalled = true;
    for _ in 0..5_000 {
        world.say(CLIENT, &json!(["COUNT", "a", {"kinds": [1]}]));
        world.say(CLIENT, &json!(["CLOSE", "a"]));
    }
    assert_eq!(world.got(0).len(), RELAY_WINDOW, "no more than the connection takes");
    assert!(world.nothing_is_left());
    world.stalled = false;
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), RELAY_WINDOW));
    assert!(world.got(0).iter().all(|message| message[0] == "CLOSE"));
}

#[test]
fn a_relay_that_is_removed_is_left_out() {
    let mut world = World::new(2);
    let number = ask(&mut world, "a");
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    world.input(Input::RelayRemoved(RelayId(1)));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5, "approximate": true}])]);
    assert!(world.nothing_is_left());
}

/// It may show the owner what is not for everybody (rule 4.4).
#[test]
fn a_relay_that_knows_us_counts_for_no_public_client() {
    let mut world = keyed(1);
    let count = json!(["COUNT", "a", {"kinds": [7]}]);
    world.say(PUBLIC, &count);
    let number = world.got(0).pop().unwrap()[1].clone();
    world.authenticate();
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    assert_eq!(world.heard_by(PUBLIC), closed("a", "error: no relay has counted in time"));
    world.say(PUBLIC, &count);
    assert_eq!(world.heard_by(PUBLIC)[0][0], "CLOSED");
    world.got(0);
    world.say(CLIENT, &count);
    let number = world.got(0).pop().unwrap()[1].clone();
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    assert_eq!(world.heard(), [json!(["COUNT", "a", {"count": 5}])]);
}

#[test]
fn what_waits_in_line_when_a_relay_comes_to_know_us_is_not_sent() {
    let mut world = keyed(1);
    let number = ask(&mut world, "proof");
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    world.stalled = true;
    for number in 0..RELAY_WINDOW {
        ask(&mut world, &number.to_string());
    }
    world.say(PUBLIC, &json!(["COUNT", "public", {"kinds": [6]}]));
    ask(&mut world, "private");
    world.got(0);
    assert_eq!(world.challenge("a challenge"), None, "its line is full");
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), RELAY_WINDOW));
    let sent = world.got(0);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(sent[0][0], "AUTH");
    assert_eq!(sent[1][2], json!({"kinds": [7]}));
    world.pass_ms(4_000);
    let why = "error: no relay has counted in time";
    assert_eq!(world.heard_by(PUBLIC), closed("public", why));
}
