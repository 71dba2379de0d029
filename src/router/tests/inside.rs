//! Clients inside this process: relays of their own, subscriptions that go on with earlier ones, and
//! what they are told about relays.

use super::*;
use crate::constants::{MAX_INSIDE_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS, REPLAY_MARGIN};
use crate::nostr::message::{RelayNews, Reply, Resumed};

const INSIDE: u64 = 3;
const OFF: Switches = Switches { read: false, write: false };

/// Relay 0 is the owner's, relay 1 is there for the client inside only.
fn own_relay() -> World {
    let mut world = World::new(1);
    world.add_relay(1, false, false);
    world.up(1, 1);
    world.join_inside(INSIDE, Some(&[1]));
    world
}

/// The number of the last REQ.
fn asked(world: &mut World, relay: u64) -> Option<String> {
    let mut reqs = world.got(relay).into_iter().filter(|message| message[0] == "REQ");
    reqs.next_back().map(|message| message[1].as_str().unwrap().to_owned())
}

fn resumed(world: &mut World, id: &str, filter: &Value, since: u64) {
    let text = json!(["REQ", id, filter]).to_string();
    let mut message = ClientMessage::parse(&text, 100);
    let ClientMessage::Req { resumed, .. } = &mut message else { panic!("{text}") };
    *resumed = Some(Resumed { since, whole: true });
    world.says(INSIDE, message);
}

#[test]
fn it_subscribes_at_its_own_relays_only() {
    let mut world = own_relay();
    world.say(INSIDE, &json!(["REQ", "a", {"kinds": [1]}]));
    world.say(CLIENT, &json!(["REQ", "a", {"kinds": [1]}]));
    let (its, others) = (asked(&mut world, 1).unwrap(), asked(&mut world, 0).unwrap());
    assert_ne!(its, others);
    let (here, there) = (note("here"), note("there"));
    world.relay_says(0, &json!(["EVENT", others, here]));
    world.relay_says(1, &json!(["EVENT", its, there]));
    world.relay_says(0, &json!(["EOSE", others]));
    assert_eq!(world.heard(), [json!(["EVENT", "a", here]), json!(["EOSE", "a"])]);
    assert_eq!(world.heard_by(INSIDE), [json!(["EVENT", "a", there])]);
    world.relay_says(1, &json!(["EOSE", its]));
    assert_eq!(world.heard_by(INSIDE), [json!(["WHOLE", "a"]), json!(["EOSE", "a"])]);
}

#[test]
fn the_owners_switches_leave_it_alone() {
    let mut world = own_relay();
    world.say(INSIDE, &json!(["REQ", "a", {"kinds": [1]}]));
    world.say(CLIENT, &json!(["REQ", "b", {"kinds": [2]}]));
    let its = asked(&mut world, 1).unwrap();
    // The owner takes the relay up: numbers used on the line force a new one.
    world.switch(1, Switches { read: true, write: true });
    assert_eq!(world.cut, [1]);
    world.up(1, 2);
    assert_eq!(world.got(1).iter().filter(|message| message[0] == "REQ").count(), 2);
    // And lets it go again: only the client inside stays.
    world.switch(1, OFF);
    let closes = world.got(1);
    assert_eq!(closes.len(), 1, "{closes:?}");
    assert_ne!(closes[0], json!(["CLOSE", its]));
    let live = note("live");
    world.relay_says_over(1, 2, &json!(["EVENT", its, live]));
    assert!(world.heard_by(INSIDE).contains(&json!(["EVENT", "a", live])));
}

#[test]
fn a_relay_that_comes_later_is_asked_too() {
    let mut world = World::new(1);
    world.join_inside(INSIDE, Some(&[7]));
    world.say(INSIDE, &json!(["REQ", "a", {"kinds": [1]}]));
    let told = world.heard_by(INSIDE);
    assert_eq!(told.last(), Some(&json!(["EOSE", "a"])), "there is nobody to ask yet");
    world.stats.resize_with(8, Arc::default);
    world.switch(7, OFF);
    world.up(7, 1);
    assert!(asked(&mut world, 7).is_some());
    assert_eq!(asked(&mut world, 0), None);
    world.input(Input::RelayRemoved(RelayId(7)));
    world.say(INSIDE, &json!(["CLOSE", "a"]));
    assert!(world.nothing_is_left());
}

#[test]
fn it_publishes_to_its_own_relays_only() {
    let mut world = own_relay();
    let event = note("mine");
    world.say(INSIDE, &json!(["EVENT", event]));
    assert_eq!(world.got_events(1), std::slice::from_ref(&event));
    assert!(world.got_events(0).is_empty());
    world.relay_says(1, &ok(&event, true, ""));
    assert_eq!(world.heard_by(INSIDE), [ok(&event, true, "")]);
    assert!(world.got_events(0).is_empty(), "nor when it was taken");
}

#[test]
fn the_outbox_is_not_for_its_relays() {
    let mut world = own_relay();
    world.down(1, 1);
    world.heard_by(INSIDE);
    let event = note("mine");
    world.say(INSIDE, &json!(["EVENT", event]));
    assert_eq!(world.heard_by(INSIDE), [ok(&event, false, "mute: no relay connected")]);
    world.up(1, 2);
    let unanswered = note("no answer");
    world.say(INSIDE, &json!(["EVENT", unanswered]));
    world.pass_ms(2_000);
    let told = world.heard_by(INSIDE);
    assert!(told.contains(&ok(&unanswered, true, "sent to 1 relays, unanswered")), "{told:?}");
    assert!(world.got_events(0).is_empty());
    assert!(world.nothing_is_left());
}

#[test]
fn two_who_publish_the_same_for_different_relays() {
    // Whoever comes first: each relay gets it, and each client hears what its own relay says.
    for first in [INSIDE, CLIENT] {
        let mut world = own_relay();
        let second = INSIDE + CLIENT - first;
        let event = note("both");
        world.say(first, &json!(["EVENT", event]));
        world.say(second, &json!(["EVENT", event]));
        assert_eq!(world.got_events(0), std::slice::from_ref(&event));
        assert_eq!(world.got_events(1), std::slice::from_ref(&event));
        world.relay_says(0, &ok(&event, false, "blocked: no"));
        assert_eq!(world.heard(), [ok(&event, false, "blocked: no")]);
        assert!(world.heard_by(INSIDE).is_empty());
        world.relay_says(1, &ok(&event, true, ""));
        assert_eq!(world.heard_by(INSIDE), [ok(&event, true, "")]);
        assert!(world.nothing_is_left());
    }
}

#[test]
fn what_is_refused_or_too_late_for_one_is_not_taken_back_from_the_other() {
    let mut world = own_relay();
    world.stalled = true;
    for number in 0..crate::constants::RELAY_WINDOW {
        world.say(INSIDE, &json!(["EVENT", note(&number.to_string())]));
    }
    world.got(1);
    // It waits in the named relay's line while the owner's relay refuses it.
    let event = note("both");
    world.say(INSIDE, &json!(["EVENT", event]));
    world.say(CLIENT, &json!(["EVENT", event]));
    world.relay_says(0, &ok(&event, false, "blocked: no"));
    assert_eq!(world.heard(), [ok(&event, false, "blocked: no")]);
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), 1));
    assert_eq!(world.got_events(1), std::slice::from_ref(&event));
    // What has not left by its deadline is refused, and does not leave.
    let late = note("late");
    world.say(INSIDE, &json!(["EVENT", late]));
    world.pass_ms(2_000);
    let told = world.heard_by(INSIDE);
    assert!(told.contains(&ok(&late, false, "mute: no relay connected")), "{told:?}");
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), 64));
    assert!(world.got_events(1).is_empty());
}

#[test]
fn relays_named_later_and_no_more() {
    let mut world = own_relay();
    world.say(INSIDE, &json!(["REQ", "a", {"kinds": [1, 21_000], "limit": 3}]));
    let number = asked(&mut world, 1).unwrap();
    world.relay_says(1, &json!(["EOSE", number]));
    world.heard_by(INSIDE);
    // One more: it is asked for what it has, and the one there is left alone.
    world.input(Input::ClientRelays(ClientId(INSIDE), [RelayId(0), RelayId(1)].into()));
    assert_eq!(asked(&mut world, 1), None);
    assert_eq!(asked(&mut world, 0), Some(number.clone()));
    assert_eq!(world.heard_by(INSIDE), [json!(["BEHIND", "a"])]);
    let stale = event(21_000, UNIX - 1, &json!([]), "an order");
    let stored = note("stored");
    world.relay_says(0, &json!(["EVENT", number, stale]));
    world.relay_says(0, &json!(["EVENT", number, stored]));
    world.relay_says(0, &json!(["EOSE", number]));
    let told = world.heard_by(INSIDE);
    assert_eq!(told, [json!(["EVENT", "a", stored]), json!(["WHOLE", "a"])], "no second EOSE");
    world.input(Input::ClientRelays(ClientId(INSIDE), [RelayId(0)].into()));
    assert_eq!(world.got(1), [json!(["CLOSE", number])]);
    assert!(world.got(0).is_empty());
}

#[test]
fn a_subscription_goes_on_with_an_earlier_one() {
    let mut world = World::new(2);
    world.join_inside(INSIDE, None);
    let filter = json!({"kinds": [1, 21_000], "limit": 5, "since": 100});
    resumed(&mut world, "a", &filter, UNIX - 60);
    assert!(world.heard_by(INSIDE).is_empty(), "no second EOSE");
    let req = world.got(0).pop().unwrap();
    assert_eq!(req[2], json!({"kinds": [1, 21_000], "since": UNIX - 60 - REPLAY_MARGIN}));
    let number = &req[1];
    let stale = event(21_000, UNIX - 1, &json!([]), "an order");
    let missed = note("missed");
    world.relay_says(0, &json!(["EVENT", number, stale]));
    world.relay_says(0, &json!(["EVENT", number, missed]));
    world.relay_says(0, &json!(["EOSE", number]));
    world.relay_says(1, &json!(["EOSE", number]));
    let fresh = event(21_000, UNIX, &json!([]), "another order");
    world.relay_says(0, &json!(["EVENT", number, fresh]));
    assert_eq!(
        world.heard_by(INSIDE),
        [json!(["EVENT", "a", missed]), json!(["WHOLE", "a"]), json!(["EVENT", "a", fresh])]
    );
}

#[test]
fn it_hears_of_its_relays() {
    let mut world = World::new(1);
    world.add_relay(1, false, false);
    world.join_inside(INSIDE, Some(&[1]));
    world.join_inside(4, None);
    let mut fx = Effects::default();
    world.router.handle(world.now, Input::LinkUp(RelayId(1), LinkId(1)), &mut fx);
    let text = Frame::Notice("hello".to_owned());
    world.router.handle(world.now, Input::RelaySaid(RelayId(1), LinkId(1), vec![text]), &mut fx);
    let said = Frame::Notice("to all".to_owned());
    world.router.handle(world.now, Input::RelaySaid(RelayId(0), LinkId(1), vec![said]), &mut fx);
    let told = |client, relay, news| (ClientId(client), Reply::Relay { relay, news });
    assert_eq!(
        fx.to_client,
        [
            told(INSIDE, RelayId(1), RelayNews::Connected),
            told(INSIDE, RelayId(1), RelayNews::Notice("hello".into())),
            told(4, RelayId(0), RelayNews::Notice("to all".into())),
        ]
    );
}

#[test]
fn limits_are_for_those_outside() {
    let mut world = World::new(1);
    world.join_inside(INSIDE, None);
    for number in 0..MAX_INSIDE_SUBSCRIPTIONS {
        world.say(INSIDE, &json!(["REQ", number.to_string(), {"kinds": [1]}]));
    }
    assert!(world.heard_by(INSIDE).is_empty());
    world.say(INSIDE, &json!(["REQ", "more", {"kinds": [1]}]));
    assert_eq!(world.heard_by(INSIDE)[0][0], "CLOSED");
    for number in 0..=MAX_SUBSCRIPTIONS {
        world.say(CLIENT, &json!(["REQ", number.to_string(), {"kinds": [1]}]));
    }
    assert_eq!(world.heard().len(), 1);
}

/// When the core stops it forgets its relays one after the other: the ones that go first may be those
/// that owe something.
#[test]
fn a_relay_that_is_removed_makes_nothing_whole() {
    let mut world = World::new(2);
    world.join_inside(INSIDE, None);
    world.say(INSIDE, &json!(["REQ", "a", {"kinds": [1]}]));
    let number = asked(&mut world, 0).unwrap();
    for relay in 0..2 {
        world.relay_says(relay, &json!(["EOSE", number]));
    }
    assert_eq!(world.heard_by(INSIDE), [json!(["WHOLE", "a"]), json!(["EOSE", "a"])]);
    world.down(1, 1);
    assert_eq!(world.heard_by(INSIDE), [json!(["BEHIND", "a"])]);
    world.input(Input::RelayRemoved(RelayId(1)));
    world.input(Input::RelayRemoved(RelayId(0)));
    assert!(world.heard_by(INSIDE).is_empty());
}

#[test]
fn a_relays_refusal_is_told_from_one_of_the_core() {
    let mut world = own_relay();
    world.say(INSIDE, &json!(["REQ", "a", {"kinds": [1]}]));
    let number = asked(&mut world, 1).unwrap();
    let refused = Frame::Closed(
        Some(crate::ids::RequestNumber(number.parse().unwrap())),
        Reason::read("restricted: for members"),
    );
    let mut fx = Effects::default();
    world.router.handle(world.now, Input::RelaySaid(RelayId(1), LinkId(1), vec![refused]), &mut fx);
    let [(ClientId(INSIDE), Reply::Closed { id, why })] = &fx.to_client[..] else {
        panic!("{:?}", fx.to_client)
    };
    assert_eq!((&**id, why.as_str()), ("a", "restricted: for members"));
    assert_eq!(why.code(), "not_served");
}
