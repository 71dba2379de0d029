//! Relays that want to know who we are (NIP-42, rule 4.4).

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::constants::{AUTH_ANSWERS, JUNK_BURST};

const NONE: [Value; 0] = [];
pub(super) const WHO: &str = "auth-required: who are you";
pub(super) const PUBLIC: u64 = 3;
const SECRET: &str = "5555555555555555555555555555555555555555555555555555555555555555";

pub(super) fn keys() -> Keys {
    Keys::from_hex(SECRET).unwrap()
}

/// The first of these relays knows us by a key, if it asks; a third client is a public one.
pub(super) fn keyed(relays: u64) -> World {
    let mut world = World::new(relays);
    world.input(Input::RelayKey(RelayId(0), Some(keys())));
    world.input(Input::ClientJoined(ClientId(PUBLIC), Role::Public, Arc::default()));
    world.got(0);
    world
}

impl World {
    /// The relay asks, and is answered: the event, if it is.
    pub(super) fn challenge(&mut self, challenge: &str) -> Option<Value> {
        self.relay_says(0, &json!(["AUTH", challenge]));
        let answer = self.sent.iter().rposition(|(to, said)| *to == 0 && said[0] == "AUTH")?;
        Some(self.sent.remove(answer).1[1].clone())
    }

    pub(super) fn relay_answers(&mut self, relay: u64, event: &Value, accepted: bool, why: &str) {
        self.relay_says(relay, &ok(event, accepted, why));
    }

    /// The relay asks and takes us for the owner of the key.
    pub(super) fn authenticate(&mut self) {
        let auth = self.challenge("a challenge").unwrap();
        self.relay_answers(0, &auth, true, "");
    }

    pub(super) fn req(&mut self, client: u64, id: &str) -> String {
        self.say(client, &json!(["REQ", id, {"kinds": [1]}]));
        self.router.numbers.last().to_string()
    }

    pub(super) fn flags(&self) -> [bool; 3] {
        let stats = self.stats_of(0);
        [&stats.authenticated, &stats.authentication_required, &stats.auth_refused]
            .map(|flag| flag.load(Relaxed))
    }

    pub(super) fn errors(&self) -> Vec<String> {
        self.stats_of(0).errors().1
    }
}

#[test]
fn a_challenge_is_answered_with_a_signed_event() {
    let mut world = keyed(1);
    let auth = world.challenge("say \"friend\"").unwrap();
    crate::nostr::verify::check(&auth.to_string()).unwrap();
    assert_eq!(auth["kind"], 22_242);
    assert_eq!(auth["pubkey"], keys().public_hex());
    assert_eq!(auth["created_at"], UNIX);
    assert_eq!(auth["tags"], json!([["relay", "ws://relay0"], ["challenge", "say \"friend\""]]));
    assert_eq!(world.flags(), [false; 3]);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.flags(), [true, false, false]);
    assert_eq!(world.heard(), NONE, "its OK is nobody's");
    assert!(world.nothing_is_left());
    world.down(0, 1);
    assert_eq!(world.flags(), [false; 3], "a session is of its connection");
}

#[test]
fn without_a_key_nobody_is_named() {
    let mut world = World::new(1);
    assert_eq!(world.challenge("a"), None);
    assert_eq!(world.flags(), [false, true, false]);
    let number = world.subscribe("a", json!({"kinds": [1]}));
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    assert_eq!(world.heard(), [json!(["CLOSED", "a", WHO])]);
    let sent = note("hello");
    world.publish(&sent);
    world.relay_answers(0, &sent, false, WHO);
    assert_eq!(world.heard(), [ok(&sent, false, WHO)]);
    assert!(world.nothing_is_left());
}

#[test]
fn a_key_is_never_shown() {
    let input = Input::RelayKey(RelayId(0), Some(keys()));
    let world = keyed(1);
    for shown in [format!("{input:?}"), format!("{:?}", world.router)] {
        assert!(!shown.contains(SECRET) && shown.contains(&keys().public_hex()), "{shown}");
        assert!(!shown.contains("85, 85"), "not as bytes either");
    }
}

#[test]
fn another_key_or_none_needs_another_connection_once_it_has_asked() {
    let other = || Some(Keys::from_hex(&"6".repeat(64)).unwrap());
    let mut world = keyed(1);
    world.input(Input::RelayKey(RelayId(0), other()));
    assert_eq!(world.cut, [0; 0], "it has not asked yet");
    let auth = world.challenge("a").unwrap();
    assert_eq!(auth["pubkey"], other().unwrap().public_hex());
    world.input(Input::RelayKey(RelayId(0), other()));
    assert_eq!(world.cut, [0; 0], "the same again");
    world.input(Input::RelayKey(RelayId(0), None));
    assert_eq!(world.cut, [0]);
    world.up(0, 1);
    assert_eq!(world.challenge("b"), None);
    world.input(Input::RelayKey(RelayId(0), Some(keys())));
    assert_eq!(world.cut, [0, 0], "it has asked before there was a key");
    world.up(0, 1);
    assert!(world.challenge("b").is_some());
    world.down(0, 1);
    assert!(world.nothing_is_left());
}

#[test]
fn challenges_without_end_cost_only_the_relay_that_sends_them() {
    let mut world = keyed(2);
    for _ in 0..3 {
        world.relay_says(0, &json!(["AUTH", "the same"]));
    }
    let answers =
        |world: &mut World| world.got(0).iter().filter(|message| message[0] == "AUTH").count();
    assert_eq!(answers(&mut world), 1, "answered once");
    for number in 0..100 {
        world.relay_says(0, &json!(["AUTH", format!("challenge {number}")]));
    }
    assert_eq!(answers(&mut world), AUTH_ANSWERS - 1);
    for number in 0..=JUNK_BURST {
        world.relay_says(0, &json!(["AUTH", format!("more {number}")]));
    }
    assert_eq!(world.cut, [0]);
    assert!(world.nothing_is_left());
}

#[test]
fn an_ok_repeated_without_end_is_junk() {
    let mut world = keyed(1);
    let auth = world.challenge("a").unwrap();
    for _ in 0..=JUNK_BURST + 1 {
        world.relay_answers(0, &auth, true, "");
    }
    assert_eq!(world.cut, [0]);
}

#[test]
fn public_clients_do_not_read_what_is_shown_to_the_owner() {
    let mut world = keyed(2);
    let (public, private) = (world.req(PUBLIC, "p"), world.req(CLIENT, "a"));
    for number in [&public, &private] {
        world.relay_says(1, &json!(["EOSE", number]));
    }
    let before = note("before");
    world.relay_says(0, &json!(["EVENT", public, before]));
    world.got(0);
    let auth = world.challenge("a").unwrap();
    assert_eq!(world.got(0), [json!(["CLOSE", public])]);
    let secret = note("for the owner");
    for number in [&public, &private] {
        world.relay_says(0, &json!(["EVENT", number, secret]));
    }
    // The EOSE no longer waits for the one that is not read.
    assert_eq!(world.heard_by(PUBLIC), [json!(["EVENT", "p", before]), json!(["EOSE", "p"])]);
    assert_eq!(world.heard(), [json!(["EVENT", "a", secret])]);
    world.relay_answers(0, &auth, true, "");
    // One that comes later, and one that comes from a relay that knows nobody.
    let later = world.req(PUBLIC, "q");
    assert_eq!(world.got(0), NONE);
    let open = note("for all");
    world.relay_says(1, &json!(["EVENT", later, open]));
    assert_eq!(world.heard_by(PUBLIC), [json!(["EVENT", "q", open])]);
    world.relay_says(0, &json!(["EVENT", later, secret]));
    assert_eq!(world.heard_by(PUBLIC), NONE);
    // Reading switched off and on again changes nothing.
    world.switch(0, Switches { read: false, write: true });
    world.switch(0, Switches { read: true, write: true });
    world.up(0, 1);
    let asked = world.got(0).iter().filter(|message| message[0] == "REQ").count();
    assert_eq!(asked, 3, "a new connection knows nobody");
    world.authenticate();
    world.switch(0, Switches { read: true, write: true });
    world.relay_says(0, &json!(["EVENT", later, secret]));
    assert_eq!(world.heard_by(PUBLIC), NONE);
}

#[test]
fn a_public_client_is_not_kept_waiting_by_a_relay_it_does_not_read() {
    let mut world = keyed(1);
    world.authenticate();
    world.req(PUBLIC, "p");
    assert_eq!(world.heard_by(PUBLIC), [json!(["EOSE", "p"])]);
}

#[test]
fn public_clients_publish_there_all_the_same() {
    let mut world = keyed(1);
    world.authenticate();
    world.got(0);
    let sent = note("hello");
    world.say(PUBLIC, &json!(["EVENT", sent]));
    assert_eq!(world.got_events(0), [sent]);
}

#[test]
fn they_come_back_where_the_relay_does_not_know_us() {
    let mut world = keyed(1);
    let number = world.req(PUBLIC, "p");
    let auth = world.challenge("a").unwrap();
    world.got(0);
    world.relay_answers(0, &auth, false, "restricted: no");
    assert_eq!(world.got(0)[0][1], number);
    let auth = world.challenge("b").unwrap();
    world.relay_answers(0, &auth, true, "");
    world.down(0, 1);
    world.got(0);
    world.up(0, 1);
    assert_eq!(world.got(0)[0][1], number, "until it asks again");
}

#[test]
fn public_clients_read_there_if_the_owner_says_so() {
    let mut world = keyed(1);
    world.set(|settings| settings.public_reads = true);
    let number = world.req(PUBLIC, "p");
    world.got(0);
    world.authenticate();
    assert_eq!(world.got(0), NONE);
    let event = note("for all");
    world.relay_says(0, &json!(["EVENT", number, event]));
    assert_eq!(world.heard_by(PUBLIC), [json!(["EVENT", "p", event])]);
    world.set(|settings| settings.public_reads = false);
    assert_eq!(world.got(0), [json!(["CLOSE", number])]);
    world.set(|settings| settings.public_reads = true);
    assert_eq!(world.got(0)[0][1], number);
}

#[test]
fn nothing_is_left_of_a_relay_that_is_removed_while_it_is_waited_for() {
    let mut world = keyed(2);
    world.challenge("a").unwrap();
    world.req(PUBLIC, "p");
    world.input(Input::RelayRemoved(RelayId(0)));
    world.input(Input::ClientLeft(ClientId(PUBLIC)));
    assert!(world.nothing_is_left());
}

#[test]
fn one_that_changes_its_mind_about_us_is_read_by_the_owner_alone() {
    let mut world = keyed(1);
    let number = world.req(PUBLIC, "p");
    let auth = world.challenge("a").unwrap();
    world.relay_answers(0, &auth, false, "error: try again");
    world.got(0);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got(0), [json!(["CLOSE", number])]);
    assert_eq!(world.flags(), [true, false, false]);
}

#[test]
fn what_a_relay_wanted_of_us_is_forgotten_with_its_next_connection_and_not_before() {
    let mut world = World::new(1);
    world.relay_says(0, &json!(["AUTH", "who are you"]));
    assert_eq!(world.flags(), [false, true, false]);
    world.down(0, 1);
    assert_eq!(world.flags(), [false, true, false], "the owner sees what it was away with");
    world.up(0, 2);
    assert_eq!(world.flags(), [false; 3]);
}
