//! `search` (NIP-50, rule 3.8): whom it is asked of, and the order of what is found.

use super::*;
use crate::constants::SECOND_EOSE;
use crate::nostr::limits::RelayLimits;

const NONE: [Value; 0] = [];

/// Connected relays of which these say that they know `search`.
fn world(relays: u64, searching: &[u64]) -> World {
    let mut world = World::new(relays);
    for relay in searching {
        knows_search(&mut world, *relay);
    }
    world
}

fn knows_search(world: &mut World, relay: u64) {
    let limits = RelayLimits { searches: Some(true), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(relay), limits));
}

/// Events of which a later one is older: by date they would come in this order's opposite.
fn results(names: &[&str]) -> Vec<Value> {
    let old = (0..).map(|age| UNIX - 1_000 + age);
    names.iter().zip(old).map(|(name, date)| event(1, date, &json!([]), name)).collect()
}

fn finds(world: &mut World, relay: u64, number: &str, found: &[&Value]) {
    for event in found {
        world.relay_says(relay, &json!(["EVENT", number, event]));
    }
}

/// What the first client was given, in order, and whether its EOSE came after it.
fn given(world: &mut World) -> (Vec<String>, bool) {
    let heard = world.heard();
    let ended = heard.last().is_some_and(|last| last[0] == "EOSE");
    let events = heard.iter().filter(|message| message[0] == "EVENT");
    (events.map(|it| it[2]["content"].as_str().unwrap().to_owned()).collect(), ended)
}

#[test]
fn it_is_asked_of_the_relays_that_list_it_and_its_results_keep_their_order() {
    let mut world = world(2, &[1]);
    let filter = json!({"kinds": [1], "search": "best", "limit": 3});
    let number = world.subscribe("s", filter.clone());
    assert_eq!(world.got(0), NONE, "it would send what is newest");
    assert_eq!(world.got(1), [json!(["REQ", number, filter])]);
    let found = results(&["best", "good", "fair"]);
    finds(&mut world, 1, &number, &found.iter().collect::<Vec<_>>());
    world.relay_says(1, &json!(["EOSE", number]));
    assert_eq!(given(&mut world), (vec!["best".into(), "good".into(), "fair".into()], true));
}

#[test]
fn what_several_relays_find_comes_by_its_place_there() {
    let mut world = world(2, &[0, 1]);
    let number = world.subscribe("s", json!({"search": "x", "limit": 5}));
    let all = results(&["a", "b", "c", "d", "e", "f"]);
    let found = |at: [usize; 4]| at.map(|at| &all[at]);
    finds(&mut world, 0, &number, &found([0, 1, 2, 3]));
    // The last is the best here.
    finds(&mut world, 1, &number, &found([3, 4, 1, 5]));
    world.relay_says(1, &json!(["EOSE", number]));
    world.relay_says(0, &json!(["EOSE", number]));
    let (order, ended) = given(&mut world);
    assert!(ended);
    let mut first = order[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, ["a", "d"], "the first of each");
    let mut second = order[2..4].to_vec();
    second.sort_unstable();
    assert_eq!(second, ["b", "e"], "the second of each");
    assert_eq!(order[4..], ["c"], "nothing twice, and no more than the limit");
}

#[test]
fn a_slow_relay_keeps_its_place_in_the_order() {
    let mut world = world(2, &[0, 1]);
    let number = world.subscribe("s", json!({"search": "x"}));
    let [a, b, c] = &results(&["a", "b", "c"])[..] else { panic!() };
    finds(&mut world, 0, &number, &[a, b]);
    assert_eq!(given(&mut world), (vec![], false), "the other may have better ones");
    finds(&mut world, 1, &number, &[c]);
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EOSE", number]));
    let (order, ended) = given(&mut world);
    assert!(ended);
    assert_eq!(order[2], "b");
}

#[test]
fn where_no_connected_relay_lists_it_all_are_asked() {
    let mut world = world(2, &[]);
    world.away(2);
    knows_search(&mut world, 2);
    let number = world.subscribe("s", json!({"search": "x"}));
    for relay in [0, 1] {
        assert_eq!(world.got(relay), [json!(["REQ", number, {"search": "x"}])]);
    }
    world.up(2, 1);
    assert_eq!(world.got(2), [json!(["REQ", number, {"search": "x"}])], "and the one that comes");
}

#[test]
fn other_filters_of_the_same_req_go_to_every_relay() {
    let mut world = world(2, &[1]);
    let plain = json!({"kinds": [7], "limit": 1});
    let search = json!({"kinds": [1], "search": "x", "limit": 2});
    world.say(CLIENT, &json!(["REQ", "s", search, plain]));
    let number = world.got(1)[0][1].as_str().unwrap().to_owned();
    assert_eq!(world.got(0), [json!(["REQ", number, plain])]);
    let found = results(&["a", "b"]);
    finds(&mut world, 0, &number, &[&note("nobody has asked for it there")]);
    finds(&mut world, 1, &number, &[&found[0], &found[1]]);
    let (old, new) = (event(7, 5, &json!([]), "old"), event(7, 9, &json!([]), "new"));
    finds(&mut world, 0, &number, &[&old]);
    finds(&mut world, 1, &number, &[&new]);
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EOSE", number]));
    world.pass(SECOND_EOSE);
    assert_eq!(given(&mut world), (vec!["a".into(), "b".into(), "new".into()], true));
    // After a loss too.
    world.down(0, 1);
    world.up(0, 2);
    let asked = world.got(0).remove(0);
    assert_eq!(asked.as_array().unwrap().len(), 3);
    assert_eq!(asked[2]["kinds"], json!([7]));
}

#[test]
fn of_a_profile_only_the_newest_version_is_given_where_any_was_found_first() {
    let mut world = world(2, &[0, 1]);
    let number = world.subscribe("s", json!({"kinds": [0, 1], "search": "x"}));
    let (old, new) = (event(0, 5, &json!([]), "old"), event(0, 9, &json!([]), "new"));
    let [a, b] = &results(&["a", "b"])[..] else { panic!() };
    finds(&mut world, 1, &number, &[b, &note("c"), &new]);
    finds(&mut world, 0, &number, &[&old, a]);
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EOSE", number]));
    let (order, _) = given(&mut world);
    assert!(order[..2].contains(&"new".to_owned()), "{order:?}");
    assert!(!order.contains(&"old".to_owned()), "{order:?}");
    assert_eq!(order.len(), 4);
}

/// Its live events are what a relay that was asked for it sends, and nothing from elsewhere.
#[test]
fn what_is_published_here_is_no_result() {
    let mut world = world(1, &[0]);
    let number = world.subscribe("s", json!({"kinds": [1], "search": "x"}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.heard();
    world.say(OTHER_CLIENT, &json!(["EVENT", note("y")]));
    assert_eq!(world.heard(), NONE);
    finds(&mut world, 0, &number, &[&note("x")]);
    assert_eq!(given(&mut world).0, ["x"]);
}
