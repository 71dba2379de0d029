//! What relays send: verified, matched, delivered once (rules 3.3, 6.1).

use super::*;

const NONE: [Value; 0] = [];

#[test]
fn four_copies_are_delivered_once() {
    let mut world = World::new(4);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    let note = note("hello");
    for relay in 0..4 {
        world.relay_says(relay, &json!(["EVENT", number, note]));
    }
    assert_eq!(world.heard(), [json!(["EVENT", "a", note])]);
    let duplicates: u64 = (0..4).map(|relay| world.stats_of(relay).duplicates.get()).sum();
    assert_eq!(duplicates, 3);
}

#[test]
fn copies_wait_for_the_first_ones_verdict() {
    let mut world = World::new(3);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.hold = true;
    let note = note("hello");
    for relay in 0..3 {
        world.relay_says(relay, &json!(["EVENT", number, note]));
    }
    assert_eq!(world.held.len(), 1, "one verification for three copies");
    world.release();
    assert_eq!(world.heard(), [json!(["EVENT", "a", note])]);
}

#[test]
fn a_forged_copy_that_comes_first_does_not_suppress_the_true_one() {
    let mut world = World::new(3);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    let note = note("hello");
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", number, forged(&note)]));
    world.relay_says(1, &json!(["EVENT", number, forged(&note)]));
    world.relay_says(2, &json!(["EVENT", number, note]));
    world.release();
    for relay in 0..2 {
        world.relay_says(relay, &json!(["EOSE", number]));
    }
    assert_eq!(world.heard(), [json!(["EVENT", "a", note])]);
    let counts: Vec<u64> = (0..3).map(|relay| world.stats_of(relay).forged.get()).collect();
    assert_eq!(counts, [1, 1, 0]);
    assert!(world.router.keepers.intake.is_empty());
}

#[test]
fn a_forged_copy_after_the_true_one_is_dropped_unread() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    let note = note("hello");
    world.relay_says(0, &json!(["EVENT", number, note]));
    world.relay_says(1, &json!(["EVENT", number, forged(&note)]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", note])]);
}

#[test]
fn a_claimed_id_alone_delivers_nothing() {
    let mut world = World::new(1);
    let first = world.subscribe("a", json!({"kinds": [1]}));
    let second = world.subscribe("b", json!({"kinds": [1]}));
    let note = note("hello");
    world.relay_says(0, &json!(["EVENT", first, note]));
    world.relay_says(0, &json!(["EVENT", second, forged(&note)]));
    world.relay_says(0, &json!(["EVENT", second, {"id": note["id"]}]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", note])]);
    world.relay_says(0, &json!(["EVENT", second, note]));
    assert_eq!(world.heard(), [json!(["EVENT", "b", note])]);
    assert!(world.router.keepers.intake.is_empty());
}

#[test]
fn a_copy_that_waited_is_judged_by_its_own_text() {
    let mut world = World::new(1);
    let first = world.subscribe("a", json!({"kinds": [1]}));
    let second = world.subscribe("b", json!({"kinds": [1]}));
    let note = note("hello");
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", first, note]));
    world.relay_says(0, &json!(["EVENT", second, forged(&note)]));
    world.relay_says(0, &json!(["EVENT", second, note]));
    world.release();
    assert_eq!(world.heard(), [json!(["EVENT", "a", note]), json!(["EVENT", "b", note])]);
    assert_eq!(world.stats_of(0).forged.get(), 1);
    assert!(world.router.keepers.intake.is_empty());
}

#[test]
fn nothing_that_does_not_match_or_was_not_asked_for() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1], "#t": ["x"]}));
    world.relay_says(0, &json!(["EVENT", number, note("no tag")]));
    world.relay_says(0, &json!(["EVENT", "12345", note("no subscription")]));
    world.relay_says(0, &json!(["EVENT", "not a number", note("no subscription")]));
    assert_eq!(world.heard(), NONE);
    assert_eq!(world.stats_of(0).unasked.get(), 3);
    let tagged = event(1, UNIX, &json!([["t", "y"], ["t", "x", "z"]]), "");
    world.relay_says(0, &json!(["EVENT", number, tagged]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", tagged])]);
}

#[test]
fn nothing_that_is_expired() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({}));
    let expired = event(1, UNIX - 9, &json!([["expiration", UNIX.to_string()]]), "");
    world.relay_says(0, &json!(["EVENT", number, expired]));
    assert_eq!(world.heard(), NONE);
}

#[test]
fn a_relay_that_floods_with_junk_is_cut_off_and_costs_only_itself() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    for count in 0..=crate::constants::JUNK_BURST {
        world.relay_says(0, &json!(["EVENT", "99999", note(&count.to_string())]));
    }
    assert_eq!(world.cut, [0]);
    world.relay_says(1, &json!(["EVENT", number, note("well")]));
    assert_eq!(world.heard().len(), 1);
}

#[test]
fn sources_take_turns_at_verification() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({}));
    world.hold = true;
    for count in 0..100 {
        world.relay_says(0, &json!(["EVENT", number, note(&count.to_string())]));
    }
    world.relay_says(1, &json!(["EVENT", number, note("the other relay's")]));
    world.say(OTHER_CLIENT, &json!(["EVENT", note("a client's")]));
    // Four are out; of the next three, one is of each source.
    let mut seen = Vec::new();
    for _ in 0..7 {
        let job = world.held.remove(0);
        seen.push(job.text.clone());
        world.input(Input::Verified(job.run()));
    }
    assert!(seen[4..].iter().any(|text| text.contains("the other relay's")));
    assert!(seen[4..].iter().any(|text| text.contains("a client's")));
}

#[test]
fn extra_fields_are_not_passed_on() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({}));
    let note = note("hello");
    let mut extended = note.clone();
    extended["paid"] = json!(true);
    world.relay_says(0, &json!(["EVENT", number, extended]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", note])]);
}
