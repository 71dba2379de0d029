//! The same event published by clients inside and outside, for different relays: what one relay says
//! counts for those who publish to it, and for nobody else.

use super::*;
use crate::nostr::message::Resumed;

const INSIDE: u64 = 3;
const OFF: Switches = Switches { read: false, write: false };

/// Relay 0 is the owner's and connected, relay 1 is named by the client inside only.
fn named_relay() -> World {
    let mut world = World::new(1);
    world.add_relay(1, false, false);
    world.up(1, 1);
    world.join_inside(INSIDE, Some(&[1]));
    world
}

/// The one from outside is told `true` for an event that no relay of the owner's has or will get,
/// because a relay that only some extension has named took it before.
#[test]
fn what_a_named_relay_took_is_still_queued_for_the_owners() {
    let mut world = named_relay();
    world.down(0, 1);
    let event = note("both");
    world.say(INSIDE, &json!(["EVENT", event]));
    world.relay_says(1, &ok(&event, true, ""));
    let told = world.publish(&event).unwrap();
    assert_eq!(told, ok(&event, true, "queued: no relay connected"));
    world.up(0, 2);
    assert_eq!(world.got_events(0), std::slice::from_ref(&event));
}

/// The same, while the named relay has not answered yet: the copy for the owner's relay is in memory
/// only, though the client was promised a relay or the outbox.
#[test]
fn what_is_joined_while_no_relay_of_the_owners_is_there_is_queued() {
    let mut world = named_relay();
    world.down(0, 1);
    let event = note("both");
    world.say(INSIDE, &json!(["EVENT", event]));
    world.say(CLIENT, &json!(["EVENT", event]));
    world.relay_says(1, &ok(&event, false, "blocked: not for you"));
    let told = world.heard().pop().unwrap();
    assert_eq!(told, ok(&event, true, "queued: no relay connected"));
}

/// The extension's own relay is away, and a relay of the owner's took the event: the extension is told
/// `true` and lets it go, its relay never gets it.
#[test]
fn what_the_owners_relay_took_before_still_waits_for_the_named_one() {
    let mut world = named_relay();
    let event = note("both");
    world.publish(&event);
    world.relay_says(0, &ok(&event, true, ""));
    world.down(1, 1);
    world.say(INSIDE, &json!(["EVENT", event]));
    let told = world.heard_by(INSIDE).pop().unwrap();
    assert_eq!(told, ok(&event, false, "mute: no relay connected"), "it is told to try again");
}

/// The same while the owner's relay has not answered yet.
#[test]
fn what_is_joined_while_the_named_relay_is_away_waits_for_it() {
    let mut world = named_relay();
    world.down(1, 1);
    world.heard_by(INSIDE);
    let event = note("both");
    world.say(CLIENT, &json!(["EVENT", event]));
    world.say(INSIDE, &json!(["EVENT", event]));
    world.relay_says(0, &ok(&event, true, ""));
    let told = world.heard_by(INSIDE).pop().unwrap();
    assert_eq!(told, ok(&event, false, "mute: no relay connected"), "it is told to try again");
}

/// And while it waits in the outbox for the owner's.
#[test]
fn what_the_outbox_has_still_waits_for_the_named_relay() {
    let mut world = named_relay();
    world.down(0, 1);
    world.down(1, 1);
    world.heard_by(INSIDE);
    let event = note("both");
    world.publish(&event);
    world.say(INSIDE, &json!(["EVENT", event]));
    let told = world.heard_by(INSIDE).pop().unwrap();
    assert_eq!(told, ok(&event, false, "mute: no relay connected"), "it is told to try again");
}

/// Two inside with different relays, and one from outside, wait for a place: the named relay is
/// forgotten.
#[test]
fn what_waits_for_a_place_for_all_keeps_the_named_relay() {
    let mut world = named_relay();
    world.stalled = true;
    for number in 0..crate::constants::MAX_UNANSWERED_EVENTS {
        world.say(CLIENT, &json!(["EVENT", note(&number.to_string())]));
    }
    let both = note("both");
    world.say(INSIDE, &json!(["EVENT", both]));
    world.say(OTHER_CLIENT, &json!(["EVENT", both]));
    for number in 0..5 {
        world.relay_says(0, &ok(&note(&number.to_string()), true, ""));
    }
    assert_eq!(world.got_events(1), std::slice::from_ref(&both));
}

/// The owner's switches are not for what a client inside publishes to a relay it has named.
#[test]
fn switching_writing_off_drops_nothing_of_a_client_inside() {
    let mut world = named_relay();
    world.switch(1, Switches { read: false, write: true });
    world.stalled = true;
    let events: Vec<Value> =
        (0..=crate::constants::RELAY_WINDOW).map(|number| note(&number.to_string())).collect();
    for event in &events {
        world.say(INSIDE, &json!(["EVENT", event]));
    }
    world.heard_by(INSIDE);
    world.switch(1, OFF);
    assert_eq!(world.heard_by(INSIDE), [] as [Value; 0], "its relay is connected all the same");
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), 64));
    assert!(world.got_events(1).contains(events.last().unwrap()));
}

/// A subscription that goes on has had its EOSE, whatever it asks for.
#[test]
fn no_second_eose_for_filters_that_match_nothing() {
    let mut world = World::new(1);
    world.join_inside(INSIDE, None);
    let text = json!(["REQ", "a", {"kinds": []}]).to_string();
    let mut message = ClientMessage::parse(&text, 100);
    let ClientMessage::Req { resumed, .. } = &mut message else { panic!("{text}") };
    *resumed = Some(Resumed { since: UNIX, whole: true });
    world.says(INSIDE, message);
    assert_eq!(world.heard_by(INSIDE), [] as [Value; 0]);
}

/// The owner takes up a relay that is in use by a client inside: what that one has published to it
/// and was answered for is none of the owner's relays' business, and the other way round.
#[test]
fn an_event_in_doubt_at_a_named_relay_is_not_promised_to_others() {
    let mut world = named_relay();
    let event = note("both");
    world.say(INSIDE, &json!(["EVENT", event]));
    world.pass_ms(2_000); // no answer: told `true`, and kept nowhere
    world.heard_by(INSIDE);
    world.say(CLIENT, &json!(["EVENT", event]));
    world.relay_says(0, &ok(&event, false, "blocked: no"));
    // Nobody is known to have it, nobody will send it.
    assert_eq!(world.heard(), [ok(&event, false, "blocked: no")]);
}

/// The named relay is one of the owner's too, whose backlog is not for what an extension was told
/// `false` about.
#[test]
fn what_was_answered_false_is_not_in_the_backlog_of_a_relay_that_is_the_owners_too() {
    for sent in [false, true] {
        let mut world = World::new(1);
        world.join_inside(INSIDE, Some(&[0]));
        world.stalled = !sent;
        if !sent {
            // What fills the connection, so that nothing more leaves.
            for number in 0..crate::constants::RELAY_WINDOW {
                world.say(
                    CLIENT,
                    &json!(["EVENT", event(20_001, UNIX, &json!([]), &number.to_string())]),
                );
            }
        }
        let event = note("for the named relay");
        world.say(INSIDE, &json!(["EVENT", event]));
        assert_eq!(world.got_events(0).contains(&event), sent);
        world.down(0, 1);
        world.pass_ms(2_000);
        let told = world.heard_by(INSIDE).pop().unwrap();
        let expected =
            if sent { "sent to 1 relays, unanswered" } else { "mute: no relay connected" };
        assert_eq!(told, ok(&event, sent, expected));
        world.stalled = false;
        world.up(0, 2);
        world.pass_ms(60_000);
        assert_eq!(world.got_events(0), [] as [Value; 0], "nobody keeps it for the named relay");
    }
}

/// A line drops the copy for the owner's relays. That for the named one is still in it, and nobody may
/// be told otherwise.
#[test]
fn a_copy_that_a_line_drops_is_not_the_other_one() {
    let mut world = World::new(1);
    world.join_inside(INSIDE, Some(&[0]));
    world.stalled = true;
    for number in 0..crate::constants::RELAY_WINDOW {
        world.say(CLIENT, &json!(["EVENT", note(&number.to_string())]));
    }
    let both = note("both");
    world.say(CLIENT, &json!(["EVENT", both]));
    world.say(INSIDE, &json!(["EVENT", both]));
    world.heard_by(INSIDE);
    world.switch(0, OFF); // takes the owner's out of the line
    assert_eq!(world.heard_by(INSIDE), [] as [Value; 0]);
    world.stalled = false;
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), 64));
    assert_eq!(world.got_events(0).last(), Some(&both));
    world.relay_says(0, &ok(&both, true, ""));
    assert_eq!(world.heard_by(INSIDE), [ok(&both, true, "")]);
}
