//! Relays that come and go (rules 3.7, 4.1).

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::constants::REPLAY_MARGIN;
use crate::nostr::limits::RelayLimits;

const NONE: [Value; 0] = [];

#[test]
fn a_relays_limits_are_kept_over_its_connections() {
    let mut world = World::new(1);
    let limits = RelayLimits { max_subscriptions: Some(3), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    world.input(Input::RelayLimits(RelayId(7), limits));
    world.down(0, 1);
    world.up(0, 2);
    assert_eq!(world.router.keepers.relays.limits(RelayId(0)), limits);
    assert!(!world.router.keepers.relays.ids().contains(&RelayId(7)), "one that is not there");
}

#[test]
fn after_a_loss_the_req_reaches_back_an_hour_without_limit() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 5, "since": 7}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.pass_ms(60_000);
    world.down(0, 1);
    let loss = world.now.unix;
    world.pass_ms(600_000);
    world.got(0);
    world.up(0, 2);
    assert_eq!(
        world.got(0),
        [json!(["REQ", number, {"kinds": [1], "since": loss - REPLAY_MARGIN}])]
    );
    world.heard();
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    assert_eq!(world.heard(), NONE, "no second EOSE");
}

#[test]
fn where_gift_wraps_match_it_reaches_back_three_days_and_never_before_its_own_since() {
    let mut world = World::new(1);
    let since = UNIX - 60;
    let number = world.subscribe("a", json!({"kinds": [1059]}));
    let recent = world.subscribe("b", json!({"since": since}));
    let past = world.subscribe("c", json!({"kinds": [1], "until": UNIX - 5_000}));
    for number in [&number, &recent, &past] {
        world.relay_says(0, &json!(["EOSE", number]));
    }
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    assert_eq!(
        world.got(0),
        [
            json!(["REQ", number, {"kinds": [1059], "since": UNIX - 3 * 24 * 60 * 60}]),
            json!(["REQ", recent, {"since": since}]),
        ],
        "what lies wholly before the gap is not asked again"
    );
}

#[test]
fn a_gap_that_was_not_closed_counts_from_its_beginning() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.down(0, 1);
    let loss = world.now.unix;
    world.pass_ms(600_000);
    world.up(0, 2);
    world.pass_ms(600_000);
    world.down(0, 2);
    world.got(0);
    world.up(0, 3);
    assert_eq!(world.got(0)[0][2]["since"], loss - REPLAY_MARGIN);
}

#[test]
fn a_first_req_that_was_cut_short_is_sent_again_in_full() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 5}));
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    let missed = json!({"kinds": [1], "since": UNIX - REPLAY_MARGIN});
    let req = json!(["REQ", number, {"kinds": [1], "limit": 5}, missed]);
    assert_eq!(world.got(0), [req], "and what it may have sent live since");
}

#[test]
fn ephemeral_events_that_a_repeated_req_replays_are_dropped() {
    let mut world = World::new(2);
    let number = world.subscribe("pay", json!({"kinds": [1, 23194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EOSE", number]));
    world.heard();
    world.down(0, 1);
    world.pass_ms(120_000);
    world.up(0, 2);
    let stale = event(23_194, world.now.unix - 60, &json!([]), "pay");
    let stored = note("missed");
    world.relay_says_over(0, 2, &json!(["EVENT", number, stale]));
    world.relay_says_over(0, 2, &json!(["EVENT", number, stored]));
    assert_eq!(world.heard(), [json!(["EVENT", "pay", stored])]);
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    let live = event(23_194, world.now.unix, &json!([]), "pay now");
    world.relay_says_over(0, 2, &json!(["EVENT", number, live]));
    assert_eq!(world.heard(), [json!(["EVENT", "pay", live])]);
}

#[test]
fn a_replayed_order_stays_dropped_while_a_live_copy_of_it_passes() {
    let mut world = World::new(2);
    let number = world.subscribe("pay", json!({"kinds": [23194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EOSE", number]));
    world.heard();
    world.down(0, 1);
    world.up(0, 2);
    let order = event(23_194, UNIX - 1, &json!([]), "pay");
    world.hold = true;
    world.relay_says_over(0, 2, &json!(["EVENT", number, order]));
    world.relay_says(1, &json!(["EVENT", number, order]));
    world.release();
    assert_eq!(world.heard(), [json!(["EVENT", "pay", order])]);
}

#[test]
fn a_relay_that_never_ends_its_replay_is_not_silenced_for_ever() {
    let mut world = World::new(1);
    let number = world.subscribe("pay", json!({"kinds": [23194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.heard();
    world.down(0, 1);
    world.up(0, 2);
    world.pass_ms(30_000);
    let number = world.got(0).into_iter().rfind(|message| message[0] == "REQ").unwrap()[1].clone();
    let order = event(23_194, world.now.unix, &json!([]), "pay");
    world.relay_says_over(0, 2, &json!(["EVENT", number, order]));
    assert_eq!(world.heard(), [json!(["EVENT", "pay", order])]);
}

#[test]
fn a_relay_that_first_connects_after_eose_replays_no_orders_either() {
    let mut world = World::new(1);
    world.add_relay(1, true, true);
    let number = world.subscribe("pay", json!({"kinds": [1, 23194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.pass_ms(60_000);
    world.heard();
    world.up(1, 1);
    let order = event(23_194, UNIX, &json!([]), "pay");
    let stored = note("history");
    world.relay_says(1, &json!(["EVENT", number, order]));
    world.relay_says(1, &json!(["EVENT", number, stored]));
    assert_eq!(world.heard(), [json!(["EVENT", "pay", stored])]);
}

#[test]
fn a_slow_relay_brings_no_old_orders_after_eose_but_live_ones() {
    let mut world = World::new(2);
    let number = world.subscribe("pay", json!({"kinds": [23194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    let early = event(23_194, UNIX - 10, &json!([]), "stored, and in time");
    world.relay_says(1, &json!(["EVENT", number, early]));
    world.pass_ms(5_000);
    assert_eq!(world.heard(), [json!(["EVENT", "pay", early]), json!(["EOSE", "pay"])]);
    let old = event(23_194, UNIX - 20, &json!([]), "stored, and too late");
    world.relay_says(1, &json!(["EVENT", number, old]));
    assert_eq!(world.heard(), NONE);
    let live = event(23_194, UNIX + 5, &json!([]), "live");
    world.relay_says(1, &json!(["EVENT", number, live]));
    assert_eq!(world.heard(), [json!(["EVENT", "pay", live])]);
}

#[test]
fn a_new_relay_gets_the_living_subscriptions_and_a_removed_one_loses_them() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.add_relay(1, true, true);
    world.up(1, 1);
    assert_eq!(world.got(1), [json!(["REQ", number, {"kinds": [1]}])]);
    world.switch(1, Switches { read: false, write: true });
    assert_eq!(world.got(1), [json!(["CLOSE", number])]);
    world.switch(1, Switches { read: true, write: true });
    assert_eq!(world.got(1), NONE, "no number is used twice on one connection");
    assert_eq!(world.cut, [1]);
    world.up(1, 2);
    assert_eq!(world.got(1), [json!(["REQ", number, {"kinds": [1]}])]);
    world.input(Input::RelayRemoved(RelayId(1)));
    world.relay_says(1, &json!(["EVENT", number, note("from the grave")]));
    world.relay_says(0, &json!(["EOSE", number]));
    assert_eq!(world.heard(), [json!(["EOSE", "a"])]);
}

#[test]
fn what_is_closed_before_its_turn_is_never_sent() {
    let mut world = World::new(1);
    world.stalled = true;
    let limits = RelayLimits { max_subscriptions: Some(1_000), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(0), limits));
    for number in 0..200 {
        world.subscribe(&number.to_string(), json!({}));
    }
    let window = crate::constants::RELAY_WINDOW;
    assert_eq!(world.got(0).len(), window);
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.stalled = false;
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), window));
    let rest = world.got(0);
    assert_eq!(rest.len(), window, "one CLOSE for each REQ that went out, and no REQ");
    assert!(rest.iter().all(|message| message[0] == "CLOSE"));
}

#[test]
fn no_client_gets_a_relay_cut_off_by_what_it_subscribes_to() {
    let mut world = World::new(1);
    world.stalled = true;
    for number in 0..30_000 {
        world.subscribe("a", json!({"kinds": [number % 10]}));
    }
    assert_eq!(world.cut, [] as [u64; 0]);
    world.got(0);
    let window = crate::constants::RELAY_WINDOW;
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), 2 * window));
    let rest = world.got(0);
    assert_eq!(rest.len(), 1, "of all that waited, only the last is still wanted: {rest:?}");
    assert_eq!(rest[0][0], "REQ");
}

#[test]
fn an_ephemeral_event_is_not_sent_late_and_a_stored_one_is() {
    let mut world = World::new(2);
    let order = event(23_194, UNIX, &json!([]), "pay");
    let stored = note("stored");
    // The second relay takes nothing for a while.
    world.stalled = true;
    for number in 0..crate::constants::RELAY_WINDOW {
        world.say(CLIENT, &json!(["EVENT", note(&number.to_string())]));
    }
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), 100));
    world.say(CLIENT, &json!(["EVENT", order]));
    world.say(CLIENT, &json!(["EVENT", stored]));
    world.relay_says(0, &ok(&order, true, ""));
    world.got(1);
    world.pass_ms(3_000);
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), 100));
    assert_eq!(world.got_events(1), [stored]);
}

#[test]
fn a_slow_relay_loses_the_oldest_events_not_its_connection() {
    let mut world = World::new(2);
    world.stalled = true;
    for number in 0..4_000 {
        let note = note(&number.to_string());
        world.say(CLIENT, &json!(["EVENT", note]));
        world.input(Input::LinkWrote(RelayId(0), LinkId(1), 1));
        world.relay_says(0, &ok(&note, true, ""));
    }
    assert_eq!(world.heard().len(), 4_000);
    assert_eq!(world.cut, [] as [u64; 0]);
    world.got(1);
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), 10_000));
    let late = world.got(1);
    assert_eq!(late.len(), crate::constants::RELAY_EVENTS);
    assert_eq!(late.last().unwrap()[1]["content"], "3999");
}

#[test]
fn stale_orders_stay_dropped_however_long_the_replay_takes() {
    let mut world = World::new(1);
    let number = world.subscribe("pay", json!({"kinds": [23194]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.heard();
    world.down(0, 1);
    world.pass_ms(60_000);
    let stale = event(23_194, world.now.unix - 30, &json!([]), "pay");
    world.up(0, 2);
    world.pass_ms(40_000);
    world.relay_says_over(0, 2, &json!(["EVENT", number, stale]));
    assert_eq!(world.heard(), NONE);
}

#[test]
fn a_connection_that_was_long_dead_is_asked_for_all_that_time() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.pass_ms(8 * 60 * 60 * 1_000);
    world.input(Input::LinkDown {
        relay: RelayId(0),
        link: LinkId(1),
        unsent: Vec::new(),
        heard: UNIX,
        how: Ending::Innocent,
    });
    world.got(0);
    world.up(0, 2);
    assert_eq!(world.got(0)[0][2]["since"], UNIX - REPLAY_MARGIN);
}

#[test]
fn what_a_relay_refuses_for_want_of_an_authentication_is_shown_until_it_connects_anew() {
    let mut world = World::new(3);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    let sent = note("an event");
    world.publish(&sent);
    let refused =
        |world: &World| [0, 1, 2].map(|relay| world.stats_of(relay).auth_refused.load(Relaxed));
    world.relay_says(2, &json!(["CLOSED", number, "restricted: not for you"]));
    world.relay_says(2, &json!(["AUTH", "challenge"]));
    assert_eq!(refused(&world), [false; 3]);
    world.relay_says(0, &json!(["CLOSED", number, "auth-required: who are you"]));
    world.relay_says(1, &json!(["OK", sent["id"], false, "auth-required: who are you"]));
    assert_eq!(refused(&world), [true, true, false]);
    world.down(1, 1);
    world.up(1, 2);
    assert_eq!(refused(&world), [true, false, false]);
}

/// Whoever is deaf since the loss is asked for first; what the relay has missed can wait.
#[test]
fn a_relay_that_is_back_is_asked_before_it_is_given_what_it_missed() {
    let mut world = World::new(2);
    world.subscribe("a", json!({"kinds": [7]}));
    world.down(0, 1);
    let missed = note("missed");
    world.publish(&missed);
    world.relay_says(1, &ok(&missed, true, ""));
    world.got(0);
    world.up(0, 2);
    let sent: Vec<Value> = world.got(0).iter().map(|message| message[0].clone()).collect();
    assert_eq!(sent, [json!("REQ"), json!("EVENT")]);
}
