//! What one client or one relay could do to others, and what relays do that left somebody deaf in silence.

use super::*;
use crate::constants::{JUNK_BURST, RELAY_SUBSCRIPTIONS};
use crate::nostr::limits::RelayLimits;

/// The REQs a relay was sent since last asked: number and filters of each.
fn reqs(world: &mut World, relay: u64) -> Vec<(String, Vec<Value>)> {
    let asked = world.got(relay).into_iter().filter(|message| message[0] == "REQ");
    asked
        .map(|message| {
            let number = message[1].as_str().unwrap().to_owned();
            (number, message.as_array().unwrap()[2..].to_vec())
        })
        .collect()
}

fn says(world: &mut World, relay: u64, kind: &str, number: &str, why: &[&str]) {
    let mut message = vec![json!(kind), json!(number)];
    message.extend(why.iter().map(|why| json!(why)));
    world.relay_says(relay, &Value::Array(message));
}

fn answer(world: &mut World, relay: u64) {
    for (number, _) in reqs(world, relay) {
        says(world, relay, "EOSE", &number, &[]);
    }
}

// --- Idle subscriptions -------------------------------------------------------------------

/// A relay that ends what was idle for a minute, all day long.
#[test]
fn a_relay_that_ends_what_is_idle_is_asked_again_soon_every_time() {
    let mut world = World::new(1);
    let mut number = world.subscribe("a", json!({"kinds": [23_194]}));
    world.got(0);
    says(&mut world, 0, "EOSE", &number, &[]);
    for round in 0..60 {
        world.pass(Duration::from_mins(1));
        world.got(0);
        says(&mut world, 0, "CLOSED", &number, &["error: shutting down idle subscription"]);
        world.pass(Duration::from_secs(2));
        let again = reqs(&mut world, 0);
        assert_eq!(again.len(), 1, "round {round}: it is not asked again soon");
        number = again[0].0.clone();
        says(&mut world, 0, "EOSE", &number, &[]);
    }
}

// --- What was missed, and pages -----------------------------------------------------------

/// It gives fewer at once than it says (NIP-11 has `default_limit` for filters without a limit).
#[test]
fn a_relay_gives_shorter_pages_than_it_says() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_limit: Some(500), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    let number = world.subscribe("a", json!({"kinds": [1]}));
    says(&mut world, 0, "EOSE", &number, &[]);
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    let (number, _) = reqs(&mut world, 0).remove(0);
    for age in 0..100 {
        let note = event(1, UNIX - age, &json!([]), "missed");
        world.relay_says_over(0, 2, &json!(["EVENT", number, note]));
    }
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    let next = reqs(&mut world, 0);
    assert_eq!(next.len(), 1, "no further page");
    assert_eq!(next[0].1[0]["until"], json!(UNIX - 99));
}

/// As many subscriptions as there are places, each of which has missed more than a page.
#[test]
fn a_page_has_its_turn_where_places_are_short() {
    let mut world = World::new(1);
    let many = RELAY_SUBSCRIPTIONS - 4;
    for kind in 0..many {
        world.subscribe(&kind.to_string(), json!({"kinds": [kind + 1]}));
    }
    answer(&mut world, 0);
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    let mut paged = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let asked = reqs(&mut world, 0);
        // All EOSEs come behind one another, before a page is read.
        for (number, filters) in asked {
            if let Some(until) = filters[0].get("until") {
                assert_eq!(*until, json!(UNIX - 9));
                paged.insert(filters[0]["kinds"][0].as_u64().unwrap());
            } else {
                for age in 0..10 {
                    let kind = u16::try_from(filters[0]["kinds"][0].as_u64().unwrap()).unwrap();
                    let note = event(kind, UNIX - age, &json!([]), "missed");
                    world.relay_says_over(0, 2, &json!(["EVENT", number, note]));
                }
            }
            world.relay_says_over(0, 2, &json!(["EOSE", number]));
        }
        world.pass_ms(100);
    }
    assert_eq!(paged.len(), many, "paged: {paged:?}");
}

/// A relay that needs a while for each page after its own restart.
#[test]
fn a_page_that_comes_late_is_waited_for_where_no_eose_waits() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    says(&mut world, 0, "EOSE", &number, &[]);
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    let (number, _) = reqs(&mut world, 0).remove(0);
    for age in 0..10 {
        let note = event(1, UNIX - age, &json!([]), "missed");
        world.relay_says_over(0, 2, &json!(["EVENT", number, note]));
    }
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    let (page, _) = reqs(&mut world, 0).remove(0);
    world.pass(Duration::from_secs(6));
    let closed: Vec<Value> =
        world.got(0).into_iter().filter(|message| message[0] == "CLOSE").collect();
    let old = event(1, UNIX - 20, &json!([]), "missed");
    world.heard();
    if closed.is_empty() {
        world.relay_says_over(0, 2, &json!(["EVENT", page, old]));
        world.relay_says_over(0, 2, &json!(["EOSE", page]));
    } else {
        // It may be asked again instead.
        world.pass(Duration::from_mins(2));
        let again = reqs(&mut world, 0);
        assert_eq!(again.len(), 1, "the rest of what was missed is given up: {closed:?}");
        world.relay_says_over(0, 2, &json!(["EVENT", again[0].0, old]));
    }
    assert_eq!(world.heard(), [json!(["EVENT", "a", old])]);
}

/// The same, where the relay is asked too fast for its taste.
#[test]
fn a_page_that_is_refused_in_passing_is_asked_for_again() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    says(&mut world, 0, "EOSE", &number, &[]);
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    let (number, _) = reqs(&mut world, 0).remove(0);
    for age in 0..10 {
        let note = event(1, UNIX - age, &json!([]), "missed");
        world.relay_says_over(0, 2, &json!(["EVENT", number, note]));
    }
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    let (page, _) = reqs(&mut world, 0).remove(0);
    world.relay_says_over(0, 2, &json!(["CLOSED", page, "rate-limited: slow down"]));
    world.pass(Duration::from_mins(2));
    let again = reqs(&mut world, 0);
    assert!(!again.is_empty(), "the rest of what was missed is given up");
}

// --- What a client makes relays send ------------------------------------------------------

/// A relay that has a NOTICE for each message of one client.
#[test]
fn a_client_whose_messages_are_complained_of_ends_nobodys_connection() {
    let mut world = World::new(1);
    world.subscribe("a", json!({"kinds": [1]}));
    answer(&mut world, 0);
    for count in 0..3 * JUNK_BURST {
        world.say(OTHER_CLIENT, &json!(["REQ", "x", {"#x": [count.to_string()]}]));
        for _ in reqs(&mut world, 0) {
            world.relay_says(0, &json!(["NOTICE", "ERROR: bad req"]));
        }
        world.say(OTHER_CLIENT, &json!(["CLOSE", "x"]));
        if count % 100 == 0 {
            world.pass_ms(100);
        }
    }
    assert!(world.cut.is_empty(), "everybody loses the relay");
}

/// A relay that does not know tags by that name, and sends what the rest of the filter asks for.
#[test]
fn a_filter_that_a_relay_reads_in_part_ends_nobodys_connection() {
    let mut world = World::new(1);
    world.subscribe("a", json!({"kinds": [7]}));
    answer(&mut world, 0);
    world.say(OTHER_CLIENT, &json!(["REQ", "x", {"kinds": [1], "#x": ["y"]}]));
    let (number, _) = reqs(&mut world, 0).remove(0);
    for count in 0..=JUNK_BURST {
        world.relay_says(0, &json!(["EVENT", number, note(&count.to_string())]));
    }
    assert!(world.cut.is_empty(), "everybody loses the relay");
}

/// Three questions that a relay cannot answer, though it counts.
#[test]
fn a_question_that_a_relay_does_not_answer_takes_counting_from_nobody_else() {
    let mut world = World::new(1);
    let asks = |world: &mut World, client: u64, id: &str, filter: Value| {
        world.say(client, &json!(["COUNT", id, filter]));
        world.got(0).into_iter().rfind(|message| message[0] == "COUNT").unwrap()[1].clone()
    };
    let number = asks(&mut world, CLIENT, "a", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["COUNT", number, {"count": 5}]));
    for id in ["x", "y", "z"] {
        asks(&mut world, OTHER_CLIENT, id, json!({"#x": [id]}));
    }
    world.pass(Duration::from_secs(5));
    world.heard();
    let number = asks(&mut world, CLIENT, "b", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["COUNT", number, {"count": 6}]));
    assert_eq!(world.heard(), [json!(["COUNT", "b", {"count": 6}])]);
    let number = asks(&mut world, OTHER_CLIENT, "x", json!({"#x": ["1"]}));
    says(&mut world, 0, "CLOSED", number.as_str().unwrap(), &["unsupported: not such a filter"]);
    let number = asks(&mut world, CLIENT, "c", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["COUNT", number, {"count": 7}]));
    assert_eq!(world.heard(), [json!(["COUNT", "c", {"count": 7}])]);
}

// --- Orders -------------------------------------------------------------------------------

/// What the connection has not written may be written whenever the relay likes.
#[test]
fn an_order_is_not_given_to_a_connection_that_has_something_to_write() {
    let mut world = World::new(1);
    world.stalled = true;
    let (before, behind) = (note("before"), note("behind"));
    world.publish(&before);
    world.pass_ms(10);
    let order = event(23_194, UNIX, &json!([]), "pay");
    world.publish(&order);
    world.publish(&behind);
    assert_eq!(world.got_events(0), [before]);
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), 1));
    assert_eq!(world.got_events(0), [order, behind], "both at once");
    world.pass_ms(10);
    let late = event(23_194, UNIX, &json!([]), "pay again");
    world.publish(&late);
    world.pass_ms(2_000);
    assert!(world.heard().contains(&ok(&late, false, "mute: no relay connected")));
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), 2));
    assert_eq!(world.got_events(0), [] as [Value; 0], "it was taken back");
}

// --- Silence that passes for health -------------------------------------------------------

/// Some relays never have an EOSE for `limit` 0; others have not read the REQ at all.
#[test]
fn a_req_for_nothing_stored_that_is_not_answered_is_asked_again() {
    let mut world = World::new(1);
    world.subscribe("a", json!({"kinds": [23_194], "limit": 0}));
    world.got(0);
    world.pass(Duration::from_secs(20));
    assert!(!reqs(&mut world, 0).is_empty(), "it is not asked again");
    world.pass(Duration::from_mins(2));
    let heard = world.heard();
    assert!(
        heard.iter().any(|message| message[0] == "NOTICE"),
        "its client is not told: {heard:?}"
    );
    assert_eq!(world.stats_of(0).subscriptions_served.get(), 0, "the page says that it is served");
}

/// It waits for a place that does not come.
#[test]
fn who_waits_for_a_place_for_a_minute_is_told() {
    let mut world = World::new(1);
    // Searches share no place.
    for count in 0..RELAY_SUBSCRIPTIONS {
        world.say(OTHER_CLIENT, &json!(["REQ", count.to_string(), {"search": count.to_string()}]));
        answer(&mut world, 0);
    }
    let limits = RelayLimits { max_subscriptions: Some(5), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    world.subscribe("a", json!({"kinds": [23_194]}));
    for _ in 0..100 {
        answer(&mut world, 0);
        world.pass(Duration::from_secs(1));
    }
    let heard = world.heard();
    assert!(
        heard.iter().any(|message| message[0] == "NOTICE" || message[0] == "CLOSED"),
        "its client is not told: {heard:?}"
    );
}

/// A connection breaks while several are asked for in one REQ: all of them are suspect, and each is asked
/// for alone (rule 2.7).
#[test]
fn whoever_is_suspect_together_with_others_is_asked_for_all_the_same() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_subscriptions: Some(4), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    for kind in 1..=12 {
        world.subscribe(&kind.to_string(), json!({"kinds": [kind], "#t": [kind.to_string()]}));
    }
    answer(&mut world, 0);
    for _ in 0..4 {
        answer(&mut world, 0);
        world.pass_ms(500);
    }
    // What was asked last is not answered.
    world.got(0);
    for kind in 1..=12 {
        let id = kind.to_string();
        world.say(OTHER_CLIENT, &json!(["REQ", id, {"kinds": [kind], "#l": [id]}]));
    }
    world.ended(0, 1, Ending::Broken);
    world.got(0);
    world.up(0, 2);
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..100 {
        for (number, filters) in reqs(&mut world, 0) {
            for filter in filters {
                let of_other = filter.get("#l").is_some();
                let kinds = filter["kinds"].as_array().unwrap().clone();
                asked.extend(kinds.iter().map(|kind| (of_other, kind.as_u64().unwrap())));
            }
            world.relay_says_over(0, 2, &json!(["EOSE", number]));
        }
        world.pass_ms(500);
    }
    assert_eq!(asked.len(), 24, "asked for: {asked:?}");
}

/// Several are asked for in one request, and the relay brings what is new over that alone before it has sent its
/// EOSE (some bring an event over one request only).
#[test]
fn what_is_new_comes_over_a_request_that_is_to_take_over_for_others() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_subscriptions: Some(6), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    let mut gathering = None;
    for number in 0..5 {
        world.subscribe(
            &number.to_string(),
            json!({"kinds": [1, 23_194], "#t": [number.to_string()]}),
        );
        for (request, filters) in reqs(&mut world, 0) {
            if filters[0]["limit"] == 1 {
                gathering = Some(request);
            } else {
                says(&mut world, 0, "EOSE", &request, &[]);
            }
        }
    }
    let request = gathering.expect("none is gathered");
    world.heard();
    let tags = json!([["t", "0"]]);
    let stored = event(1, UNIX - 1_000, &tags, "stored: there was no place for it");
    let order = event(23_194, UNIX, &tags, "pay");
    for event in [&stored, &order] {
        world.relay_says(0, &json!(["EVENT", request, event]));
    }
    assert_eq!(world.heard(), [json!(["EVENT", "0", order])]);
}

// --- Forgetting ---------------------------------------------------------------------------

/// More filters than go in one message, of which no two can be put together.
#[test]
fn a_request_in_several_messages_is_renewed_too() {
    let mut world = World::new(1);
    let filter =
        |kind: u64| json!({"kinds": [kind], "since": UNIX - 10 * kind, "#t": [kind.to_string()]});
    let filters: Vec<Value> = (1..=25).map(filter).collect();
    let mut req = vec![json!("REQ"), json!("a")];
    req.extend(filters);
    world.say(CLIENT, &Value::Array(req));
    answer(&mut world, 0);
    let mut asked = 0;
    for _ in 0..100 {
        world.pass(Duration::from_mins(1));
        asked += reqs(&mut world, 0).len();
    }
    assert!(asked > 0, "never asked again");
}

/// A relay that never gives a second page.
#[test]
fn a_relay_that_never_gives_the_next_page_is_not_asked_on_and_on() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    says(&mut world, 0, "EOSE", &number, &[]);
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    let mut begins = Vec::new();
    for second in 0..1_800 {
        for (number, filters) in reqs(&mut world, 0) {
            if filters[0].get("until").is_some() {
                world.relay_says_over(0, 2, &json!(["CLOSED", number, "rate-limited: slow down"]));
                continue;
            }
            begins.push((second, filters[0]["since"].clone()));
            for age in 0..10 {
                let note = event(1, UNIX - age, &json!([]), "missed");
                world.relay_says_over(0, 2, &json!(["EVENT", number, note]));
            }
            world.relay_says_over(0, 2, &json!(["EOSE", number]));
        }
        world.pass(Duration::from_secs(1));
    }
    assert!(begins.len() < 20, "{begins:?}");
    assert!(begins.iter().all(|(_, since)| *since == begins[0].1), "{begins:?}");
}

// --- Who is told ---------------------------------------------------------------------------

/// A relay that is slow, and has a notice for what somebody else has asked for meanwhile.
#[test]
fn what_a_relay_says_of_one_clients_request_is_not_told_another() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.got(0);
    for count in 0..9 {
        world.say(OTHER_CLIENT, &json!(["REQ", "x", {"#x": [count.to_string()]}]));
        world.got(0);
        world.relay_says(0, &json!(["NOTICE", "ERROR: bad req"]));
        world.say(OTHER_CLIENT, &json!(["CLOSE", "x"]));
        world.pass_ms(500);
        let told = world.heard();
        let early = count < 7 && !told.is_empty();
        assert!(!early && !told.iter().any(|told| told[0] == "CLOSED"), "{number} {told:?}");
    }
}
