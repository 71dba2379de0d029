//! What the owner is shown of each relay: how many subscriptions it serves, does not serve, and has not
//! been asked for, why, and since when (rule 4.2).

use super::*;
use crate::constants::{
    CENSUS, EOSE_SILENT, REFUSED_FIRST, REFUSED_FOR_GOOD, RELAY_SUBSCRIPTIONS_LEAST,
};
use crate::nostr::limits::RelayLimits;
use crate::stats::Counter;

/// At relay 0: served, refused, waiting.
fn census(world: &World) -> (u64, u64, u64) {
    let stats = world.stats_of(0);
    let all =
        [&stats.subscriptions_served, &stats.subscriptions_refused, &stats.subscriptions_waiting];
    let [served, refused, waiting] = all.map(Counter::get);
    (served, refused, waiting)
}

/// Why relay 0 does not serve all.
fn why(world: &World) -> Option<String> {
    Some(world.stats_of(0).unserved()?.1)
}

/// Since when it does not.
fn since(world: &World) -> Option<f64> {
    Some(world.stats_of(0).unserved()?.0)
}

/// Asks for this kind. What the last of the relays was sent it under.
fn asks(world: &mut World, kind: u16) -> String {
    world.subscribe(&kind.to_string(), json!({ "kinds": [kind] }))
}

fn says(world: &mut World, relay: u64, kind: &str, number: &str, why: &[&str]) {
    let mut message = vec![json!(kind), json!(number)];
    message.extend(why.iter().map(|why| json!(why)));
    world.relay_says(relay, &Value::Array(message));
}

/// Two relays, and a subscription that the other one serves.
fn refusing(why: &str) -> World {
    let mut world = World::new(2);
    let number = asks(&mut world, 1);
    says(&mut world, 1, "EOSE", &number, &[]);
    says(&mut world, 0, "CLOSED", &number, &[why]);
    world.got(0);
    world.pass(CENSUS);
    world
}

fn asked_again(world: &mut World) -> Option<String> {
    let mut reqs = world.got(0).into_iter().filter(|message| message[0] == "REQ");
    reqs.next_back().map(|message| message[1].as_str().unwrap().to_owned())
}

#[test]
fn what_it_serves_is_counted_a_second_after_a_change() {
    let mut world = World::new(1);
    let number = asks(&mut world, 1);
    assert_eq!(census(&world), (0, 0, 0));
    world.pass(CENSUS);
    assert_eq!(census(&world), (1, 0, 0), "asked, and nothing speaks against it");
    says(&mut world, 0, "EOSE", &number, &[]);
    asks(&mut world, 2);
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((2, 0, 0), None));
    world.say(CLIENT, &json!(["CLOSE", "1"]));
    world.pass(CENSUS);
    assert_eq!(census(&world), (1, 0, 0));
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.pass(CENSUS);
    assert_eq!(census(&world), (0, 0, 0));
}

#[test]
fn events_change_nothing_and_are_not_counted() {
    let mut world = World::new(1);
    let number = asks(&mut world, 1);
    says(&mut world, 0, "EOSE", &number, &[]);
    world.relay_says(0, &json!(["EVENT", number, note("first")]));
    world.pass(Duration::from_secs(5));
    let before = world.router.next_deadline();
    for content in 0..3 {
        let note = note(&content.to_string());
        world.relay_says(0, &json!(["EVENT", number, note]));
    }
    assert_eq!(world.router.next_deadline(), before);
}

#[test]
fn a_refusal_counts_until_it_is_served() {
    let mut world = refusing("error: database is locked");
    let words = Some("error: database is locked".to_owned());
    assert_eq!((census(&world), why(&world)), ((0, 1, 0), words.clone()));
    let since_then = since(&world);
    // It is asked for again, which changes nothing by itself.
    world.pass(REFUSED_FIRST);
    let number = asked_again(&mut world).unwrap();
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((0, 1, 0), words));
    assert_eq!(since(&world), since_then);
    says(&mut world, 0, "EOSE", &number, &[]);
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((1, 0, 0), None));
}

#[test]
fn what_is_refused_for_good_does_not_come_and_go() {
    let mut world = refusing("blocked: no");
    let since_then = since(&world);
    world.pass(REFUSED_FOR_GOOD);
    let number = asked_again(&mut world).unwrap();
    world.pass(CENSUS);
    assert_eq!(census(&world), (0, 1, 0), "it is asked, and has not answered");
    says(&mut world, 0, "CLOSED", &number, &["blocked: still"]);
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((0, 1, 0), Some("blocked: still".to_owned())));
    assert_eq!(since(&world), since_then, "it has been so all the time");
}

#[test]
fn what_is_not_answered_counts_as_refused() {
    let mut world = World::new(2);
    let number = asks(&mut world, 1);
    says(&mut world, 1, "EOSE", &number, &[]);
    world.pass(EOSE_SILENT + CENSUS);
    let silent = Some("it does not answer".to_owned());
    assert_eq!((census(&world), why(&world)), ((0, 1, 0), silent));
    // One that streams, and has no EOSE for it, serves it.
    let number = asked_again(&mut world).unwrap();
    world.relay_says(0, &json!(["EVENT", number, note("a")]));
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((1, 0, 0), None));
}

#[test]
fn what_has_no_place_waits() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_subscriptions: Some(4), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    let most = u16::try_from(RELAY_SUBSCRIPTIONS_LEAST).unwrap();
    for kind in 1..=2 * most {
        asks(&mut world, kind);
    }
    world.pass(CENSUS);
    let (served, refused, waiting) = census(&world);
    assert_eq!((served + waiting, refused), (u64::from(2 * most), 0));
    assert!(waiting > 0);
    assert_eq!(why(&world), Some("it takes 4 at a time".to_owned()));
    for _ in 0..3 {
        for message in world.got(0).iter().filter(|message| message[0] == "REQ") {
            says(&mut world, 0, "EOSE", message[1].as_str().unwrap(), &[]);
        }
        world.pass(CENSUS);
    }
    assert_eq!((census(&world), why(&world)), ((u64::from(2 * most), 0, 0), None));
}

#[test]
fn nothing_is_served_without_a_connection() {
    let mut world = refusing("blocked: no");
    world.down(0, 1);
    assert_eq!((census(&world), why(&world)), ((0, 0, 0), None));
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((0, 0, 0), None));
    world.up(0, 2);
    world.pass(CENSUS);
    assert_eq!((census(&world), why(&world)), ((1, 0, 0), None), "it is asked anew");
}
