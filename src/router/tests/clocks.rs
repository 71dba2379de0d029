//! Clocks that are wrong, wallets' and ours, and ours while it is set (rules 3.3, 3.7).

use super::*;
use crate::constants::REPLAY_MARGIN;

const NONE: [Value; 0] = [];
const HOUR: u64 = 60 * 60;

/// A third client.
const NEWCOMER: u64 = 3;

fn eose(number: &str) -> Value {
    json!(["EOSE", number])
}

fn order(created_at: u64, content: &str) -> Value {
    event(23_194, created_at, &json!([]), content)
}

impl World {
    /// The clock is set by so many seconds.
    fn set_clock(&mut self, by: i64) {
        self.now.unix = self.now.unix.saturating_add_signed(by);
    }

    /// The REQs that relay 0 was sent since last asked: number and `since` of the first filter.
    fn asked(&mut self) -> Vec<(String, Option<u64>)> {
        let reqs = self.got(0).into_iter().filter(|message| message[0] == "REQ");
        reqs.map(|req| (req[1].as_str().unwrap().to_owned(), req[2]["since"].as_u64())).collect()
    }

    /// The first client's subscription `a` with this filter has its EOSE, the connection is lost and
    /// comes back after a minute, when the clock has been set by so much. The number and the `since`
    /// of the REQ.
    fn lost_and_back(&mut self, filter: Value, set: i64) -> (String, Option<u64>) {
        let number = self.subscribe("a", filter);
        self.relay_says(0, &eose(&number));
        self.heard();
        self.pass_ms(HOUR * 1_000);
        self.down(0, 1);
        self.pass_ms(60_000);
        self.set_clock(set);
        self.got(0);
        self.up(0, 2);
        self.asked().pop().unwrap()
    }
}

#[test]
fn a_clock_that_is_set_around_a_loss_leaves_no_gap_and_asks_for_no_future() {
    let loss = UNIX + HOUR;
    for (set, since) in [
        (0, loss - REPLAY_MARGIN),
        (-24 * 3_600, loss - 24 * HOUR - REPLAY_MARGIN),
        (24 * 3_600, loss - REPLAY_MARGIN),
    ] {
        let mut world = World::new(1);
        let (_, asked) = world.lost_and_back(json!({"kinds": [1]}), set);
        assert_eq!(asked, Some(since), "set by {set} s");
        assert!(since <= world.now.unix);
    }
}

#[test]
fn orders_are_asked_for_whatever_their_date_after_a_loss() {
    let mut world = World::new(1);
    let (number, since) = world.lost_and_back(json!({"kinds": [23_194], "limit": 1}), 0);
    assert_eq!(since, None);
    world.relay_says_over(0, 2, &eose(&number));
    let slow = order(world.now.unix - 5 * HOUR, "by a clock hours behind");
    world.relay_says_over(0, 2, &json!(["EVENT", number, slow]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", slow])]);
}

#[test]
fn a_newcomer_is_not_moved_to_a_request_that_asks_for_less() {
    for set in [0, -24 * 3_600] {
        let mut world = World::new(1);
        let (repeated, _) = world.lost_and_back(json!({"kinds": [1]}), set);
        world.relay_says_over(0, 2, &eose(&repeated));
        world.say(OTHER_CLIENT, &json!(["REQ", "b", {"kinds": [1]}]));
        let (first, since) = world.asked().pop().unwrap();
        assert_eq!(since, None, "as it asked");
        world.relay_says_over(0, 2, &eose(&first));
        assert_eq!(world.got(0), NONE);
        // Whoever comes then is moved there.
        world.input(Input::ClientJoined(ClientId(NEWCOMER), Role::Private, Arc::default()));
        world.say(NEWCOMER, &json!(["REQ", "c", {"kinds": [1]}]));
        let (second, _) = world.asked().pop().unwrap();
        world.relay_says_over(0, 2, &eose(&second));
        assert_eq!(world.got(0), [json!(["CLOSE", second])]);
        world.told.clear();
        let slow = event(1, world.now.unix - 2 * HOUR, &json!([]), "by a clock that is behind");
        world.relay_says_over(0, 2, &json!(["EVENT", first, slow]));
        for (client, id) in [(OTHER_CLIENT, "b"), (NEWCOMER, "c")] {
            assert_eq!(world.heard_by(client), [json!(["EVENT", id, slow])], "set by {set} s");
        }
    }
}

#[test]
fn what_is_repeated_after_one_loss_is_still_shared() {
    let mut world = World::new(1);
    for id in ["a", "b"] {
        let number = world.subscribe(id, json!({"kinds": [1]}));
        world.relay_says(0, &eose(&number));
    }
    world.down(0, 1);
    world.up(0, 2);
    world.got(0);
    world.pass_ms(1_000);
    world.down(0, 2);
    world.up(0, 3);
    let asked = world.asked();
    assert_eq!(asked.len(), 2);
    for (number, _) in &asked {
        world.relay_says_over(0, 3, &eose(number));
    }
    assert_eq!(world.got(0), [json!(["CLOSE", asked[1].0])]);
}

#[test]
fn a_fresh_order_passes_before_the_eose_of_a_repeated_request() {
    let mut world = World::new(1);
    let (number, _) = world.lost_and_back(json!({"kinds": [23_194]}), 0);
    let old = order(world.now.unix - 1, "given up");
    world.relay_says_over(0, 2, &json!(["EVENT", number, old]));
    world.pass_ms(2_000);
    let fresh = order(world.now.unix - 1, "new");
    world.relay_says_over(0, 2, &json!(["EVENT", number, fresh]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", fresh])]);
    // What it may be replaying has ended.
    world.relay_says_over(0, 2, &eose(&number));
    let slow = order(UNIX, "by a clock that is behind");
    world.relay_says_over(0, 2, &json!(["EVENT", number, slow]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", slow])]);
}

#[test]
fn no_clock_that_is_set_makes_an_old_order_new() {
    for set in [-24 * 3_600, 24 * 3_600] {
        let mut world = World::new(1);
        let (number, _) = world.lost_and_back(json!({"kinds": [23_194]}), 0);
        let sent = world.now.unix;
        world.pass_ms(1_000);
        world.set_clock(set);
        let at = if set > 0 { sent.saturating_add_signed(set) } else { sent };
        world.relay_says_over(0, 2, &json!(["EVENT", number, order(at - 1, "given up")]));
        assert_eq!(world.heard(), NONE, "set by {set} s");
        let fresh = order(at + 1, "new");
        world.relay_says_over(0, 2, &json!(["EVENT", number, fresh]));
        assert_eq!(world.heard(), [json!(["EVENT", "a", fresh])], "set by {set} s");
    }
}

#[test]
fn a_clock_of_ours_an_hour_behind_drops_nothing() {
    let mut world = World::new(1);
    world.set_clock(-3_600);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    world.heard();
    for at in 0..1_100 {
        let live = event(1, UNIX + at / 10, &json!([]), &at.to_string());
        world.relay_says(0, &json!(["EVENT", number, live]));
    }
    assert_eq!(world.heard().len(), 1_100);
}

#[test]
fn events_dated_ahead_do_not_silence_a_fast_clock() {
    let mut world = World::new(1);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &eose(&number));
    for at in 0..1_100 {
        let ahead = event(1, UNIX + 365 * 24 * HOUR, &json!([]), &at.to_string());
        world.relay_says(0, &json!(["EVENT", number, ahead]));
    }
    world.heard();
    let fast = event(1, UNIX + 90, &json!([]), "by a clock 90 s ahead");
    world.relay_says(0, &json!(["EVENT", number, fast]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", fast])]);
}

#[test]
fn a_clock_set_back_makes_nothing_new_of_a_slow_relay_look_old() {
    let mut world = World::new(2);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 1}));
    let newest = event(1, UNIX - 5, &json!([]), "stored");
    world.relay_says(0, &json!(["EVENT", number, newest]));
    world.relay_says(0, &eose(&number));
    world.pass_ms(4_000);
    assert_eq!(world.heard(), [json!(["EVENT", "a", newest]), json!(["EOSE", "a"])]);
    // Our clock was an hour ahead of everybody's, and is right from now on.
    world.set_clock(-3_600);
    let live = event(1, world.now.unix, &json!([]), "live, before the relay's EOSE");
    world.relay_says(1, &json!(["EVENT", number, live]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", live])]);
}
