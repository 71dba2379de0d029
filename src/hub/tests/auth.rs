//! Relays that want to know who we are (NIP-42, SPEC 4.4).

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::constants::{AUTH_ANSWERS, JUNK_BURST};

const NONE: [Value; 0] = [];
const WHO: &str = "auth-required: who are you";
const PUBLIC: u64 = 3;
const SECRET: &str = "5555555555555555555555555555555555555555555555555555555555555555";

fn keys() -> Keys {
    Keys::from_hex(SECRET).unwrap()
}

/// The first of these relays knows us by a key, if it asks; a third client is a public one.
fn keyed(relays: u64) -> World {
    let mut world = World::new(relays);
    world.input(Input::RelayKey(0, Some(keys())));
    world.input(Input::ClientJoined(PUBLIC, Role::Public, Arc::default()));
    world.got(0);
    world
}

impl World {
    /// The relay asks, and is answered: the event, if it is.
    fn challenge(&mut self, challenge: &str) -> Option<Value> {
        self.relay_says(0, &json!(["AUTH", challenge]));
        let answer = self.sent.iter().rposition(|(to, said)| *to == 0 && said[0] == "AUTH")?;
        Some(self.sent.remove(answer).1[1].clone())
    }

    fn relay_answers(&mut self, relay: RelayId, event: &Value, accepted: bool, why: &str) {
        self.relay_says(relay, &ok(event, accepted, why));
    }

    /// The relay asks and takes us for the owner of the key.
    fn authenticate(&mut self) {
        let auth = self.challenge("a challenge").unwrap();
        self.relay_answers(0, &auth, true, "");
    }

    fn req(&mut self, client: u64, id: &str) -> String {
        self.say(client, &json!(["REQ", id, {"kinds": [1]}]));
        let number = self.hub.next_subscription - 1;
        number.to_string()
    }

    fn flags(&self) -> [bool; 3] {
        let stats = self.stats_of(0);
        [&stats.authenticated, &stats.authentication_required, &stats.auth_refused]
            .map(|flag| flag.load(Relaxed))
    }

    fn errors(&self) -> Vec<String> {
        self.stats_of(0).errors().1
    }
}

#[test]
fn a_challenge_is_answered_with_a_signed_event() {
    let mut world = keyed(1);
    let auth = world.challenge("say \"friend\"").unwrap();
    crate::verify::check(&auth.to_string()).unwrap();
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
    let input = Input::RelayKey(0, Some(keys()));
    let world = keyed(1);
    for shown in [format!("{input:?}"), format!("{:?}", world.hub)] {
        assert!(!shown.contains(SECRET) && shown.contains(&keys().public_hex()), "{shown}");
        assert!(!shown.contains("85, 85"), "not as bytes either");
    }
}

#[test]
fn what_it_ended_for_want_of_an_authentication_is_asked_for_again() {
    let mut world = keyed(1);
    let [first, live] = ["a", "b"].map(|id| world.req(CLIENT, id));
    world.relay_says(0, &json!(["EOSE", live]));
    world.heard();
    let auth = world.challenge("a").unwrap();
    world.got(0);
    for number in [&first, &live] {
        world.relay_says(0, &json!(["CLOSED", number, WHO]));
    }
    assert_eq!(world.heard(), NONE, "neither CLOSED nor EOSE: it is still open");
    world.relay_answers(0, &auth, true, "");
    let since = UNIX - 15 * 60;
    assert_eq!(
        world.got(0),
        [
            json!(["REQ", first, {"kinds": [1]}]),
            json!(["REQ", live, {"kinds": [1], "since": since}]),
        ]
    );
    for number in [&first, &live] {
        world.relay_says(0, &json!(["EOSE", number]));
    }
    assert_eq!(world.heard(), [json!(["EOSE", "a"])]);
    let event = note("for you");
    world.relay_says(0, &json!(["EVENT", live, event]));
    assert_eq!(world.heard(), [json!(["EVENT", "b", event])]);
    assert_eq!(world.errors(), [""; 0]);
}

#[test]
fn a_challenge_may_come_after_the_first_refusal() {
    let mut world = keyed(1);
    let number = world.req(CLIENT, "a");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.got(0);
    world.authenticate();
    assert_eq!(world.got(0), [json!(["REQ", number, {"kinds": [1]}])]);
}

#[test]
fn one_that_never_comes_is_not_waited_for() {
    let mut world = keyed(1);
    let number = world.req(CLIENT, "a");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.pass_ms(1_999);
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1);
    assert_eq!(world.heard(), [json!(["CLOSED", "a", WHO])]);
    assert_eq!(world.flags(), [false, true, true]);
    assert_eq!(
        world.errors(),
        [
            "wants an authentication and gives no challenge".to_owned(),
            format!("ended a subscription: {WHO}")
        ]
    );
    let number = world.req(CLIENT, "b");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    assert_eq!(world.heard(), [json!(["CLOSED", "b", WHO])], "nor is the next one");
    assert!(world.nothing_is_left());
}

#[test]
fn what_was_asked_before_it_knew_us_is_asked_again_once() {
    let mut world = keyed(1);
    let number = world.req(CLIENT, "a");
    world.pass_ms(10);
    world.authenticate();
    world.got(0);
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    assert_eq!(world.got(0), [json!(["REQ", number, {"kinds": [1]}])]);
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    assert_eq!(world.got(0), NONE);
    assert_eq!(world.heard(), [json!(["CLOSED", "a", WHO])]);
}

#[test]
fn events_go_again_too() {
    for kind in [1, 23_194] {
        let mut world = keyed(1);
        let auth = world.challenge("a").unwrap();
        let sent = event(kind, UNIX, &json!([]), "hello");
        world.publish(&sent);
        world.got(0);
        world.relay_answers(0, &sent, false, WHO);
        assert_eq!(world.heard(), NONE);
        world.pass_ms(500);
        world.relay_answers(0, &auth, true, "");
        assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
        world.relay_answers(0, &sent, true, "welcome");
        assert_eq!(world.heard(), [ok(&sent, true, "welcome")]);
        assert!(world.nothing_is_left());
        let stats = world.stats_of(0);
        assert_eq!((stats.rejected.get(), world.errors().len()), (0, 0));
    }
}

#[test]
fn so_does_what_a_client_inside_publishes_there() {
    let mut world = keyed(2);
    world.join_inside(7, Some(&[0]));
    let auth = world.challenge("a").unwrap();
    let sent = note("hello");
    world.say(7, &json!(["EVENT", sent]));
    world.relay_answers(0, &sent, false, WHO);
    world.got(0);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
    world.relay_answers(0, &sent, true, "");
    assert_eq!(world.heard_by(7), [ok(&sent, true, "")]);
    assert!(world.nothing_is_left());
}

#[test]
fn what_another_relay_took_goes_again_as_well() {
    let mut world = keyed(2);
    let auth = world.challenge("a").unwrap();
    let sent = note("hello");
    world.publish(&sent);
    world.got(0);
    world.relay_answers(0, &sent, false, WHO);
    world.relay_answers(1, &sent, true, "");
    assert_eq!(world.heard(), [ok(&sent, true, "")]);
    assert_eq!(world.got_events(0), NONE);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got_events(0), [sent]);
}

#[test]
fn what_it_refuses_for_another_reason_or_knowing_us_is_refused() {
    let mut world = keyed(1);
    let auth = world.challenge("a").unwrap();
    let [one, other] = ["one", "other"].map(note);
    world.publish(&one);
    world.relay_answers(0, &one, false, "blocked: not you");
    assert_eq!(world.heard(), [ok(&one, false, "blocked: not you")]);
    world.relay_answers(0, &auth, true, "");
    world.publish(&other);
    world.got(0);
    world.relay_answers(0, &other, false, WHO);
    assert_eq!(world.heard(), [ok(&other, false, WHO)]);
    assert_eq!(world.got(0), NONE);
    assert_eq!(world.flags(), [true, true, true]);
}

#[test]
fn a_relay_that_does_not_want_us_refuses_what_waited() {
    let mut world = keyed(1);
    let auth = world.challenge("a").unwrap();
    let (number, sent) = (world.req(CLIENT, "a"), note("hello"));
    world.publish(&sent);
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.relay_answers(0, &sent, false, WHO);
    world.got(0);
    world.relay_answers(0, &auth, false, "restricted: members only");
    let mut heard = world.heard();
    heard.sort_by_key(|message| message[0].to_string());
    assert_eq!(heard, [json!(["CLOSED", "a", WHO]), ok(&sent, false, WHO)]);
    assert_eq!(world.flags(), [false, true, true]);
    assert_eq!(
        world.errors(),
        [
            "refused our authentication: restricted: members only".to_owned(),
            format!("ended a subscription: {WHO}"),
            format!("refused an event: {WHO}"),
        ]
    );
    assert!(world.nothing_is_left());
    let late = note("more");
    world.publish(&late);
    world.relay_answers(0, &late, false, WHO);
    assert_eq!(world.heard(), [ok(&late, false, WHO)], "nothing is waited for any more");
    assert!(world.challenge("b").is_some(), "but another challenge is answered");
}

#[test]
fn an_answer_that_is_never_answered_holds_no_ok_for_long() {
    let mut world = keyed(1);
    world.challenge("a").unwrap();
    world.pass_ms(1_500);
    let sent = event(23_194, UNIX, &json!([]), "pay");
    world.publish(&sent);
    world.relay_answers(0, &sent, false, WHO);
    world.pass_ms(500);
    assert_eq!(world.heard(), [ok(&sent, false, WHO)]);
    assert_eq!(
        world.errors(),
        ["does not answer our authentication".to_owned(), format!("refused an event: {WHO}")]
    );
    assert!(world.nothing_is_left());
}

#[test]
fn nor_does_one_that_is_never_sent() {
    let mut world = keyed(2);
    let sent = note("hello");
    world.publish(&sent);
    world.pass_ms(1_000);
    world.relay_answers(0, &sent, false, WHO);
    world.relay_answers(1, &sent, false, "error: full");
    assert_eq!(world.heard(), NONE);
    world.pass_ms(1_000);
    assert_eq!(world.heard(), [ok(&sent, false, WHO)]);
    world.got(0);
    world.authenticate();
    assert_eq!(world.got_events(0), NONE, "what was answered false shows up nowhere");
    assert!(world.nothing_is_left());
}

#[test]
fn one_that_takes_us_late_is_asked_again_all_the_same() {
    let mut world = keyed(2);
    let auth = world.challenge("a").unwrap();
    let number = world.req(CLIENT, "a");
    world.relay_says(0, &json!(["CLOSED", number, WHO]));
    world.pass_ms(3_000);
    world.got(0);
    world.relay_answers(0, &auth, true, "");
    assert_eq!(world.got(0), [json!(["REQ", number, {"kinds": [1]}])]);
    assert_eq!(world.flags(), [true, false, false]);
}

#[test]
fn what_waits_in_the_outbox_is_tried_at_once() {
    let mut world = offline();
    world.input(Input::RelayKey(0, Some(keys())));
    let sent = note("hello");
    assert_eq!(world.publish(&sent), Some(ok(&sent, true, "queued: no relay connected")));
    world.up(0, 1);
    assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
    world.relay_answers(0, &sent, false, WHO);
    world.pass_ms(100);
    assert_eq!(world.got_events(0), NONE);
    world.authenticate();
    assert_eq!(world.got_events(0), std::slice::from_ref(&sent));
    world.relay_answers(0, &sent, true, "");
    assert!(world.nothing_is_left());
}

#[test]
fn a_connection_lost_meanwhile_leaves_the_event_to_the_outbox() {
    let mut world = keyed(1);
    world.challenge("a").unwrap();
    let sent = note("hello");
    world.publish(&sent);
    world.relay_answers(0, &sent, false, WHO);
    world.down(0, 1);
    assert_eq!(world.heard(), [ok(&sent, true, "queued: no relay connected")]);
    world.got(0);
    world.up(0, 2);
    assert_eq!(world.got_events(0), [sent]);
}

#[test]
fn another_key_or_none_needs_another_connection_once_it_has_asked() {
    let other = || Some(Keys::from_hex(&"6".repeat(64)).unwrap());
    let mut world = keyed(1);
    world.input(Input::RelayKey(0, other()));
    assert_eq!(world.cut, [0; 0], "it has not asked yet");
    let auth = world.challenge("a").unwrap();
    assert_eq!(auth["pubkey"], other().unwrap().public_hex());
    world.input(Input::RelayKey(0, other()));
    assert_eq!(world.cut, [0; 0], "the same again");
    world.input(Input::RelayKey(0, None));
    assert_eq!(world.cut, [0]);
    world.up(0, 1);
    assert_eq!(world.challenge("b"), None);
    world.input(Input::RelayKey(0, Some(keys())));
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
    let before = note("before");
    world.hold = true;
    world.relay_says(0, &json!(["EVENT", public, before]));
    world.got(0);
    let auth = world.challenge("a").unwrap();
    assert_eq!(world.got(0), [json!(["CLOSE", public])]);
    let secret = note("for the owner");
    for number in [&public, &private] {
        world.relay_says(0, &json!(["EVENT", number, secret]));
    }
    world.release();
    assert_eq!(world.heard_by(PUBLIC), [json!(["EVENT", "p", before])]);
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
    world.input(Input::PublicReads(true));
    let number = world.req(PUBLIC, "p");
    world.got(0);
    world.authenticate();
    assert_eq!(world.got(0), NONE);
    let event = note("for all");
    world.relay_says(0, &json!(["EVENT", number, event]));
    assert_eq!(world.heard_by(PUBLIC), [json!(["EVENT", "p", event])]);
    world.input(Input::PublicReads(false));
    assert_eq!(world.got(0), [json!(["CLOSE", number])]);
    world.input(Input::PublicReads(true));
    assert_eq!(world.got(0)[0][1], number);
}

#[test]
fn nothing_is_left_of_a_relay_that_is_removed_while_it_is_waited_for() {
    let mut world = keyed(2);
    world.challenge("a").unwrap();
    world.req(PUBLIC, "p");
    world.input(Input::RelayRemoved(0));
    world.input(Input::ClientLeft(PUBLIC));
    assert!(world.nothing_is_left());
}
