//! Other servers of this extension, as relays and as clients (rule 4.6): what one asks another or publishes
//! there goes no further to a third, which may be the first again.

use super::*;
use crate::nostr::limits::RelayLimits;

const SIBLING: u64 = 3;
const RELAY: u64 = 0;
const ITS_RELAY: u64 = 1;
const NONE: [Value; 0] = [];

/// Relay 0 is an ordinary one, relay 1 a sibling, and a third client is a sibling, perhaps the same one.
fn siblings() -> World {
    let mut world = World::new(1);
    world.add_relay(ITS_RELAY, true, true);
    world.input(Input::RelaySibling(RelayId(ITS_RELAY), true));
    world.up(ITS_RELAY, 1);
    world.sibling_comes();
    world
}

impl World {
    fn sibling_comes(&mut self) {
        let role = Role::Sibling { public: true };
        self.input(Input::ClientJoined(ClientId(SIBLING), role, Arc::default()));
    }

    fn sibling_publishes(&mut self, event: &Value) -> Vec<Value> {
        self.say(SIBLING, &json!(["EVENT", event]));
        self.heard_by(SIBLING)
    }
}

#[test]
fn what_a_sibling_asks_is_not_asked_of_a_sibling() {
    let mut world = siblings();
    world.say(SIBLING, &json!(["REQ", "s", {"kinds": [1]}]));
    assert_eq!(world.got(ITS_RELAY), NONE);
    let number = world.got(RELAY)[0][1].clone();
    world.relay_says(RELAY, &json!(["EOSE", number]));
    assert_eq!(world.heard_by(SIBLING), [json!(["EOSE", "s"])]);
    world.say(SIBLING, &json!(["COUNT", "c", {"kinds": [1]}]));
    assert_eq!(world.got(ITS_RELAY), NONE);
    // Any other client reads from both.
    world.say(CLIENT, &json!(["REQ", "s", {"kinds": [2]}]));
    assert_eq!(world.got(ITS_RELAY).len(), 1);
}

/// A circle of three is none either, for the second asks the third nothing.
#[test]
fn a_relay_that_turns_out_to_be_a_sibling_is_asked_no_more() {
    let by_connection = |sibling| Input::RelaySibling(RelayId(ITS_RELAY), sibling);
    let by_document = |sibling| {
        let limits = RelayLimits { sibling, ..RelayLimits::default() };
        Input::RelayLimits(RelayId(ITS_RELAY), limits)
    };
    for shows in [&by_connection as &dyn Fn(bool) -> Input, &by_document] {
        let mut world = World::new(2);
        world.sibling_comes();
        world.say(SIBLING, &json!(["REQ", "s", {"kinds": [1]}]));
        assert_eq!(world.got(ITS_RELAY)[0][0], "REQ");
        world.input(shows(true));
        assert_eq!(world.got(ITS_RELAY)[0][0], "CLOSE");
        world.down(ITS_RELAY, 1);
        world.up(ITS_RELAY, 2);
        assert_eq!(world.got(ITS_RELAY), NONE);
        // It leads to another server now.
        world.input(shows(false));
        assert_eq!(world.got(ITS_RELAY)[0][0], "REQ");
    }
}

#[test]
fn what_a_sibling_publishes_is_not_sent_to_a_sibling() {
    let mut world = siblings();
    let event = note("round");
    assert_eq!(world.sibling_publishes(&event), NONE);
    assert_eq!(world.got_events(ITS_RELAY), NONE);
    assert_eq!(world.got_events(RELAY), std::slice::from_ref(&event));
    world.relay_says(RELAY, &ok(&event, true, "thanks"));
    assert_eq!(world.heard_by(SIBLING), [ok(&event, true, "thanks")]);
    world.pass_ms(60_000);
    assert_eq!(world.got_events(ITS_RELAY), NONE);
}

/// A client of this server and one of the other's publish the same event, as wallets with both for relays do:
/// neither server waits for what the other says, which waits for the first.
#[test]
fn two_servers_do_not_wait_for_each_other() {
    let mut world = siblings();
    let event = note("both");
    world.say(CLIENT, &json!(["EVENT", event]));
    assert_eq!(world.got_events(ITS_RELAY), std::slice::from_ref(&event));
    world.sibling_publishes(&event);
    world.relay_says(RELAY, &ok(&event, false, "blocked: not here"));
    assert_eq!(world.heard_by(SIBLING), [ok(&event, false, "blocked: not here")]);
    assert_eq!(world.heard(), NONE);
    world.relay_says(ITS_RELAY, &ok(&event, false, "blocked: not here"));
    assert_eq!(world.heard(), [ok(&event, false, "blocked: not here")]);
}

/// Two that hold an event for each other would both let go of it.
#[test]
fn nothing_is_kept_for_a_sibling_and_nothing_answered_from_memory() {
    let mut world = siblings();
    world.down(RELAY, 1);
    let later = "rate-limited: no relay connected, try again later";
    let event = note("kept nowhere");
    assert_eq!(world.sibling_publishes(&event), [ok(&event, false, later)]);
    assert!(world.rows.is_empty());
    let order = super::event(23194, UNIX, &json!([]), "pay");
    assert_eq!(world.sibling_publishes(&order), [ok(&order, false, "mute: no relay connected")]);
    // What waits here waits for the sibling to take it, and not for its own word to come back.
    let waits = note("waits here");
    world.say(CLIENT, &json!(["EVENT", waits]));
    world.pass_ms(2_000);
    assert_eq!(world.rows.len(), 1);
    assert_eq!(world.sibling_publishes(&waits), [ok(&waits, false, later)]);
}

#[test]
fn clients_here_have_what_a_sibling_publishes() {
    let mut world = siblings();
    world.down(RELAY, 1);
    world.say(CLIENT, &json!(["REQ", "s", {"kinds": [23194]}]));
    let order = super::event(23194, UNIX, &json!([]), "pay");
    let told = world.sibling_publishes(&order);
    assert_eq!(told[0][2], true);
    assert!(told[0][3].as_str().unwrap().starts_with("local: "), "{told:?}");
    assert!(world.heard().contains(&json!(["EVENT", "s", order])));
}

/// It counts as a public client where that matters.
#[test]
fn a_sibling_by_the_public_endpoint_is_a_public_client() {
    let mut world = siblings();
    world.set(|settings| settings.public_allowed = vec![[1; 32]]);
    world.heard_by(SIBLING);
    world.say(SIBLING, &json!(["REQ", "s", {"kinds": [1]}]));
    let told = world.heard_by(SIBLING);
    assert!(told.iter().any(|message| message[0] == "CLOSED"), "{told:?}");
}
