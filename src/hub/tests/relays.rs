//! Relays that come and go (SPEC 3.7, 4.1).

use super::*;

const NONE: [Value; 0] = [];
const QUARTER: u64 = 15 * 60;

#[test]
fn after_a_loss_the_req_reaches_back_a_quarter_of_an_hour_without_limit() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 5, "since": 7}));
    world.relay_says(0, &json!(["EOSE", number]));
    world.pass_ms(60_000);
    world.down(0, 1);
    let loss = world.now.unix;
    world.pass_ms(600_000);
    world.got(0);
    world.up(0, 2);
    assert_eq!(world.got(0), [json!(["REQ", number, {"kinds": [1], "since": loss - QUARTER}])]);
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
    assert_eq!(world.got(0)[0][2]["since"], loss - QUARTER);
}

#[test]
fn a_first_req_that_was_cut_short_is_sent_again_in_full() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 5}));
    world.down(0, 1);
    world.got(0);
    world.up(0, 2);
    assert_eq!(world.got(0), [json!(["REQ", number, {"kinds": [1], "limit": 5}])]);
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
    let order = event(23_194, UNIX, &json!([]), "pay");
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
fn a_new_relay_gets_the_living_subscriptions_and_a_removed_one_loses_them() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.add_relay(1, true, true);
    world.up(1, 1);
    assert_eq!(world.got(1), [json!(["REQ", number, {"kinds": [1]}])]);
    world.switch(1, Switches { read: false, write: true });
    assert_eq!(world.got(1), [json!(["CLOSE", number])]);
    world.switch(1, Switches { read: true, write: true });
    assert_eq!(world.got(1), [json!(["REQ", number, {"kinds": [1]}])]);
    world.input(Input::RelayRemoved(1));
    world.relay_says(1, &json!(["EVENT", number, note("from the grave")]));
    world.relay_says(0, &json!(["EOSE", number]));
    assert_eq!(world.heard(), [json!(["EOSE", "a"])]);
}

#[test]
fn what_is_closed_before_its_turn_is_never_sent() {
    let mut world = World::new(1);
    world.stalled = true;
    for number in 0..200 {
        world.subscribe(&number.to_string(), json!({}));
    }
    let window = crate::constants::RELAY_WINDOW;
    assert_eq!(world.got(0).len(), window);
    world.input(Input::ClientLeft(CLIENT));
    world.stalled = false;
    world.input(Input::LinkWrote(0, 1, window));
    let rest = world.got(0);
    assert_eq!(rest.len(), window, "one CLOSE for each REQ that went out, and no REQ");
    assert!(rest.iter().all(|message| message[0] == "CLOSE"));
}

#[test]
fn a_relay_that_does_not_read_is_cut_off() {
    let mut world = World::new(1);
    world.stalled = true;
    let window = crate::constants::RELAY_WINDOW;
    for number in 0..=crate::constants::RELAY_BACKLOG + window + 1 {
        world.subscribe("a", json!({"kinds": [number % 10]}));
    }
    assert_eq!(world.cut, [0]);
}
