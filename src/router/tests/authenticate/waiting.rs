//! What a client says before the verdict on its AUTH is there.

use super::*;
use crate::constants::{AUTH_HELD_BYTES, AUTH_HELD_MESSAGES};

/// NIP-42 has clients wait for the OK; those that do not are not punished for it.
#[test]
fn what_comes_right_after_an_auth_waits_for_its_verdict() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    let (proof, event, own) = (answer(1, &challenge), note("a"), protected(1));
    world.hold = true;
    world.say(GUEST, &json!(["REQ", "early", {"kinds": [1]}]));
    world.say(GUEST, &json!(["AUTH", proof]));
    world.say(GUEST, &json!(["REQ", "ended", {"kinds": [2]}]));
    world.say(GUEST, &json!(["REQ", "s", {"kinds": [3]}]));
    world.say(GUEST, &json!(["CLOSE", "ended"]));
    world.say(GUEST, &json!(["EVENT", event]));
    world.say(GUEST, &json!(["EVENT", own]));
    let heard = world.heard_by(GUEST);
    assert_eq!((heard.len(), &heard[0][1]), (1, &json!("early")), "{heard:?}");
    world.release();
    assert_eq!(world.heard_by(GUEST), [ok(&proof, true, "")]);
    let got = world.got(0);
    assert_eq!(got.len(), 3, "{got:?}");
    assert_eq!((&got[0][0], &got[0][2]["kinds"]), (&json!("REQ"), &json!([3])));
    assert_eq!([&got[1][1]["id"], &got[2][1]["id"]], [&event["id"], &own["id"]]);
}

#[test]
fn it_waits_in_vain_if_the_auth_is_wrong() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    world.challenge_of(GUEST);
    world.hold = true;
    world.say(GUEST, &json!(["AUTH", answer(1, "guessed")]));
    world.say(GUEST, &json!(["REQ", "s", {}]));
    world.say(GUEST, &json!(["EVENT", note("a")]));
    assert_eq!(world.heard_by(GUEST), [] as [Value; 0]);
    world.release();
    let heard = world.heard_by(GUEST);
    let prefixes: Vec<String> =
        heard.iter().map(|message| prefix(message.as_array().unwrap().last().unwrap())).collect();
    assert_eq!(prefixes, ["invalid", "auth-required", "auth-required"]);
}

#[test]
fn not_much_waits() {
    let mut world = listed(&[1]);
    world.guest(GUEST);
    let challenge = world.challenge_of(GUEST);
    let filter = json!({"search": "x".repeat(AUTH_HELD_BYTES / 3)});
    for (count, filter) in [(AUTH_HELD_MESSAGES, json!({})), (2, filter)] {
        world.hold = true;
        world.say(GUEST, &json!(["AUTH", answer(9, &challenge)]));
        for number in 0..count {
            world.say(GUEST, &json!(["REQ", number.to_string(), filter]));
        }
        assert_eq!(world.heard_by(GUEST), [] as [Value; 0]);
        world.say(GUEST, &json!(["REQ", "more", filter]));
        assert_eq!(world.heard_by(GUEST).len(), count + 1, "in their order, at once");
        world.release();
        assert_eq!(world.heard_by(GUEST)[0][2], json!(true));
    }
}

#[test]
fn what_a_client_said_before_it_left_counts() {
    let mut world = World::new(1);
    let event = note("a");
    world.hold = true;
    world.say(CLIENT, &json!(["AUTH", answer(1, "x")]));
    world.say(CLIENT, &json!(["REQ", "s", {}]));
    world.say(CLIENT, &json!(["EVENT", event]));
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.release();
    assert_eq!(world.got_events(0), [event]);
    assert!(world.router.keepers.subscriptions.is_empty());
}
