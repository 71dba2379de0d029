//! NIP-42 by clients, and the owner's list for the public endpoint.

mod protected;
mod waiting;

use super::*;
use crate::constants::{AUTH_WINDOW, MAX_CLIENT_KEYS};

const GUEST: u64 = 7;
const HOST: &str = "relay.example:8080";
const URL: &str = "ws://relay.example:8080/nostrclient/api/v1/relay";

fn keys(number: u64) -> Keys {
    Keys::from_hex(&format!("{number:064x}")).unwrap()
}

fn public(number: u64) -> [u8; 32] {
    crate::nostr::hex::decode(&keys(number).public_hex()).unwrap()
}

fn signed(number: u64, kind: u16, created_at: u64, tags: &Value) -> Value {
    let tags: Vec<Vec<String>> = serde_json::from_value(tags.clone()).unwrap();
    let event = keys(number).sign_event(created_at, kind, &tags, "").unwrap();
    serde_json::from_str(&event).unwrap()
}

/// What this key's owner signs for the challenge.
fn answer(number: u64, challenge: &str) -> Value {
    signed(number, 22_242, UNIX, &json!([["relay", URL], ["challenge", challenge]]))
}

fn protected(number: u64) -> Value {
    signed(number, 1, UNIX, &json!([["-"]]))
}

/// A world with one relay, whose public endpoint is for these keys' owners.
fn listed(allowed: &[u64]) -> World {
    let mut world = World::new(1);
    world.allow(allowed);
    world
}

impl World {
    fn allow(&mut self, allowed: &[u64]) {
        let allowed = allowed.iter().copied().map(public).collect();
        self.set(|settings| settings.public_allowed = allowed);
    }

    /// A client comes to the public endpoint.
    fn guest(&mut self, client: u64) {
        self.comes(client, Role::Public);
    }

    fn comes(&mut self, client: u64, role: Role) {
        self.input(Input::ClientJoined(ClientId(client), role, Arc::default()));
        self.input(Input::ClientReached(ClientId(client), [HOST.into()].into()));
    }

    /// The challenge, the only thing that was said.
    fn challenge_of(&mut self, client: u64) -> String {
        let heard = self.heard_by(client);
        assert_eq!((heard.len(), &heard[0][0]), (1, &json!("AUTH")), "{heard:?}");
        heard[0][1].as_str().unwrap().to_owned()
    }

    /// What AUTH with this event is answered.
    fn auth(&mut self, client: u64, event: &Value) -> Value {
        self.say(client, &json!(["AUTH", event]));
        let heard = self.heard_by(client);
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(heard[0][1], event["id"]);
        heard[0].clone()
    }

    /// A guest who has authenticated with this key.
    fn known_guest(&mut self, client: u64, number: u64) {
        self.guest(client);
        let challenge = self.challenge_of(client);
        let event = answer(number, &challenge);
        assert_eq!(self.auth(client, &event), ok(&event, true, ""));
    }

    /// The prefix of what a REQ of this client is answered; nothing: it is served.
    fn asks(&mut self, client: u64) -> String {
        self.got(0);
        self.say(client, &json!(["REQ", "s", {"kinds": [1]}]));
        self.say(client, &json!(["CLOSE", "s"]));
        let heard = self.heard_by(client);
        let asked = !self.got(0).is_empty();
        match &heard[..] {
            [] => {
                assert!(asked);
                String::new()
            }
            [closed] => {
                assert_eq!((&closed[0], &closed[1], asked), (&json!("CLOSED"), &json!("s"), false));
                prefix(&closed[2])
            }
            more => panic!("{more:?}"),
        }
    }

    /// The prefix of what an EVENT of this client is answered, once the relay has taken it.
    fn publishes(&mut self, client: u64, event: &Value) -> String {
        self.say(client, &json!(["EVENT", event]));
        self.relay_says(0, &json!(["OK", event["id"], true, "taken: yes"]));
        let heard = self.heard_by(client);
        let sent = self.got_events(0);
        assert_eq!((heard.len(), &heard[0][0], &heard[0][1]), (1, &json!("OK"), &event["id"]));
        assert_eq!(sent.len(), usize::from(heard[0][2] == json!(true)), "{heard:?}");
        prefix(&heard[0][3])
    }
}

fn prefix(why: &Value) -> String {
    why.as_str().unwrap().split_once(':').unwrap().0.to_owned()
}

#[test]
fn without_a_list_everybody_is_served_and_nobody_is_asked() {
    let mut world = World::new(1);
    world.guest(GUEST);
    assert_eq!(world.heard_by(GUEST), [] as [Value; 0]);
    assert_eq!(world.asks(GUEST), "");
    assert_eq!(world.publishes(GUEST, &note("hello")), "taken");
}

#[test]
fn with_a_list_a_guest_is_asked_at_once_and_served_once_it_has_answered() {
    let mut world = listed(&[1, 2]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    assert!(challenge.len() >= 32);
    assert_eq!(world.asks(GUEST), "auth-required");
    assert_eq!(world.publishes(GUEST, &note("a")), "auth-required");
    let event = answer(2, &challenge);
    assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
    assert_eq!(world.asks(GUEST), "");
    assert_eq!(world.publishes(GUEST, &note("a")), "taken");
    // Once more does no harm.
    assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
}

#[test]
fn every_connection_has_a_challenge_of_its_own() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    world.guest(GUEST + 1);
    let (one, other) = (world.challenge_of(GUEST), world.challenge_of(GUEST + 1));
    assert_ne!(one, other);
    assert_eq!(prefix(&world.auth(GUEST, &answer(1, &other))[3]), "invalid");
    assert_eq!(world.asks(GUEST), "auth-required");
}

#[test]
fn the_list_is_for_the_public_endpoint() {
    let mut world = listed(&[1]);
    assert_eq!(world.heard(), [] as [Value; 0]);
    assert_eq!(world.publish(&note("a")), None, "a client of the private endpoint");
    world.join_inside(GUEST, None);
    world.say(GUEST, &json!(["REQ", "s", {"kinds": [1]}]));
    assert_eq!(world.got(0).len(), 2);
}

#[test]
fn who_is_somebody_else_is_restricted_and_may_add_another_key() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    let event = answer(9, &challenge);
    assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
    assert_eq!(world.asks(GUEST), "restricted");
    assert_eq!(world.publishes(GUEST, &note("a")), "restricted");
    let event = answer(1, &challenge);
    assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
    assert_eq!(world.asks(GUEST), "");
}

#[test]
fn what_gets_the_same_answer_whoever_asks_still_does() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    world.challenge_of(GUEST);
    world.say(GUEST, &json!(["CLOSE", "s"]));
    world.say(GUEST, &json!(["NEG-CLOSE", "s"]));
    assert_eq!(world.heard_by(GUEST), [] as [Value; 0]);
    for (message, verb) in [
        (json!(["REQ", 5, {}]), "NOTICE"),
        (json!(["REQ", "s"]), "CLOSED"),
        (json!(["EVENT", {}]), "NOTICE"),
        (json!(["NEG-OPEN", "s", {}, ""]), "NEG-ERR"),
    ] {
        world.say(GUEST, &message);
        let heard = world.heard_by(GUEST);
        assert_eq!((heard.len(), &heard[0][0]), (1, &json!(verb)), "{message}");
    }
}

#[test]
fn a_refused_req_ends_the_subscription_of_that_id() {
    let mut world = listed(&[]);
    world.guest(GUEST);
    world.say(GUEST, &json!(["REQ", "s", {"kinds": [1]}]));
    world.allow(&[1]);
    let heard = world.heard_by(GUEST);
    assert_eq!((&heard[0][0], heard.len()), (&json!("AUTH"), 2), "{heard:?}");
    assert_eq!((&heard[1][0], &heard[1][1]), (&json!("CLOSED"), &json!("s")));
    assert_eq!(prefix(&heard[1][2]), "auth-required");
    assert_eq!(world.got(0).last().unwrap()[0], json!("CLOSE"));
    assert_eq!(world.asks(GUEST), "auth-required");
    assert!(world.nothing_is_left());
}

#[test]
fn a_changed_list_counts_for_those_who_are_connected() {
    let mut world = listed(&[1, 2]);
    world.known_guest(GUEST, 1);
    world.known_guest(GUEST + 1, 2);
    world.say(GUEST, &json!(["REQ", "s", {"kinds": [1]}]));
    world.say(GUEST + 1, &json!(["REQ", "s", {"kinds": [1]}]));
    world.got(0);
    world.allow(&[2]);
    let heard = world.heard_by(GUEST);
    assert_eq!((heard.len(), prefix(&heard[0][2])), (1, "restricted".to_owned()), "{heard:?}");
    assert_eq!(world.heard_by(GUEST + 1), [] as [Value; 0]);
    assert_eq!(world.asks(GUEST), "restricted");
    world.allow(&[1, 2]);
    assert_eq!(world.asks(GUEST), "");
    world.allow(&[]);
    world.guest(GUEST + 2);
    assert_eq!(world.asks(GUEST + 2), "");
}

/// What is under way, or was taken before, is not denied to whoever sends it again.
#[test]
fn an_event_that_is_in_good_hands_is_not_answered_false() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    world.challenge_of(GUEST);
    let event = note("paid");
    assert_eq!(world.publish(&event), None);
    world.say(GUEST, &json!(["EVENT", event]));
    assert_eq!(world.heard_by(GUEST), [] as [Value; 0]);
    world.relay_says(0, &json!(["OK", event["id"], true, ""]));
    assert_eq!(world.heard_by(GUEST), [ok(&event, true, "")]);
    assert_eq!(world.heard(), [ok(&event, true, "")]);
    world.say(GUEST, &json!(["EVENT", event]));
    let why = "duplicate: a relay has accepted it before";
    assert_eq!(world.heard_by(GUEST), [ok(&event, true, why)]);
    // Not even where it was sent for an AUTH.
    assert_eq!(world.auth(GUEST, &event), ok(&event, true, why));
    assert_eq!(world.asks(GUEST), "auth-required");
}

#[test]
fn an_authentication_that_proves_nothing() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    let tags = json!([["relay", URL], ["challenge", challenge]]);
    let mut forged = answer(1, &challenge);
    forged["pubkey"] = json!(keys(2).public_hex());
    let wrong = [
        signed(1, 1, UNIX, &tags),
        signed(1, 22_242, UNIX - AUTH_WINDOW - 1, &tags),
        signed(1, 22_242, UNIX + AUTH_WINDOW + 1, &tags),
        signed(1, 22_242, 0, &tags),
        signed(1, 22_242, u64::MAX, &tags),
        signed(1, 22_242, UNIX, &json!([])),
        signed(1, 22_242, UNIX, &json!([["challenge"], ["relay"]])),
        signed(1, 22_242, UNIX, &json!([["relay", URL], ["challenge", ""]])),
        signed(1, 22_242, UNIX, &json!([["relay", URL], ["challenge", &challenge[1..]]])),
        signed(
            1,
            22_242,
            UNIX,
            &json!([["relay", "ws://other.example"], ["challenge", challenge]]),
        ),
        signed(1, 22_242, UNIX, &json!([["challenge", challenge]])),
        forged,
    ];
    for event in &wrong {
        let said = world.auth(GUEST, event);
        assert_eq!((&said[0], &said[2]), (&json!("OK"), &json!(false)), "{event}");
        assert_eq!(prefix(&said[3]), "invalid", "{event}");
    }
    assert_eq!(world.asks(GUEST), "auth-required");
    for late in [UNIX - AUTH_WINDOW, UNIX + AUTH_WINDOW] {
        let event = signed(1, 22_242, late, &tags);
        assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
    }
    assert_eq!(world.asks(GUEST), "");
}

#[test]
fn an_authentication_event_is_not_published() {
    let mut world = listed(&[1]);
    world.known_guest(GUEST, 1);
    assert_eq!(world.publishes(GUEST, &answer(1, "x")), "invalid");
}

#[test]
fn an_authentication_event_of_a_relay_is_passed_on_to_nobody() {
    let mut world = World::new(1);
    let number = world.subscribe("s", json!({}));
    let proof = signed(1, 22_242, UNIX, &json!([["relay", "wss://elsewhere.example"]]));
    world.relay_says(0, &json!(["EVENT", number, proof]));
    let event = note("a");
    world.relay_says(0, &json!(["EVENT", number, event]));
    assert_eq!(world.heard(), [json!(["EVENT", "s", event])]);
}

#[test]
fn the_relay_tag_names_this_server_in_any_spelling() {
    let cases = [
        ("relay.example:8080", "ws://relay.example:8080", true),
        ("Relay.EXAMPLE", "wss://relay.example/", true),
        ("relay.example:8080", "wss://relay.example/nostrclient/api/v1/relay", true),
        ("relay.example", "wss://relay.example:443/any/path?a=b", true),
        ("wss://relay.example/prefix", "wss://RELAY.example./x", true),
        ("127.0.0.1:5000", "ws://127.0.0.1:5000/", true),
        ("[::1]:5000", "ws://[::1]:5000/", true),
        ("bücher.example", "wss://xn--bcher-kva.example", true),
        ("relay.example:8080", "ws://relay.example:8081", false),
        ("relay.example", "wss://relay.example.evil", false),
        ("relay.example", "wss://evil/relay.example", false),
        ("relay.example", "wss://relay.example@evil", false),
        ("relay.example", "wss://sub.relay.example", false),
        ("relay.example", "", false),
        ("relay.example", "relay", false),
        ("relay.example", "://", false),
        ("", "ws://", false),
        ("a b", "ws://a b", false),
    ];
    for (host, named, is_us) in cases {
        let mut world = listed(&[1]);
        world.input(Input::ClientJoined(ClientId(GUEST), Role::Public, Arc::default()));
        let hosts = ["other.example".into(), host.into()];
        world.input(Input::ClientReached(ClientId(GUEST), hosts.into()));
        let challenge = world.challenge_of(GUEST);
        let tags = json!([["relay", named], ["challenge", challenge]]);
        let said = world.auth(GUEST, &signed(1, 22_242, UNIX, &tags));
        assert_eq!(said[2], json!(is_us), "{host} {named}: {said}");
    }
}

#[test]
fn nobody_knows_who_we_are_where_no_host_was_told() {
    let mut world = listed(&[1]);
    world.input(Input::ClientJoined(ClientId(GUEST), Role::Public, Arc::default()));
    let challenge = world.challenge_of(GUEST);
    assert_eq!(prefix(&world.auth(GUEST, &answer(1, &challenge))[3]), "invalid");
}

#[test]
fn an_answer_that_nobody_asked_for_is_restricted() {
    let mut world = World::new(1);
    world.guest(GUEST);
    assert_eq!(prefix(&world.auth(GUEST, &answer(1, ""))[3]), "restricted");
    world.join_inside(GUEST + 1, None);
    assert_eq!(prefix(&world.auth(GUEST + 1, &answer(1, ""))[3]), "restricted");
}

#[test]
fn the_keys_of_one_connection_are_bounded() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    for number in (1..).take(MAX_CLIENT_KEYS) {
        let event = answer(number, &challenge);
        assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
    }
    assert_eq!(prefix(&world.auth(GUEST, &answer(1_000, &challenge))[3]), "restricted");
    let event = answer(1, &challenge);
    assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
}

#[test]
fn auth_counts_as_a_message_and_is_answered_when_there_are_too_many() {
    let mut world = World::new(1);
    let message = json!(["AUTH", answer(1, "x")]);
    let most = Limits::default().max_messages_per_second * 10;
    world.hold = true;
    for _ in 0..=most {
        world.say(CLIENT, &message);
    }
    let heard = world.heard();
    assert_eq!((heard.len(), prefix(&heard[0][3])), (1, "rate-limited".to_owned()));
}

#[test]
fn a_client_that_has_gone_is_nobody() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    world.hold = true;
    world.say(GUEST, &json!(["AUTH", answer(1, &challenge)]));
    world.say(CLIENT, &json!(["EVENT", protected(1)]));
    world.input(Input::ClientLeft(ClientId(GUEST)));
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.release();
    assert_eq!(world.heard_by(GUEST), [] as [Value; 0]);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
    assert!(world.router.keepers.intake.is_empty() && world.nothing_is_left());
}
