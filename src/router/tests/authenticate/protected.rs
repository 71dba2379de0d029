//! NIP-70: events that only their author publishes.

use super::*;

#[test]
fn a_protected_event_is_taken_from_its_author() {
    for role in [Role::Private, Role::Public] {
        let mut world = World::new(1);
        world.comes(GUEST, role);
        world.say(GUEST, &json!(["EVENT", protected(1)]));
        let heard = world.heard_by(GUEST);
        assert_eq!((heard.len(), &heard[0][0], &heard[1][2]), (2, &json!("AUTH"), &json!(false)));
        assert_eq!(prefix(&heard[1][3]), "auth-required");
        let challenge = heard[0][1].as_str().unwrap().to_owned();
        // The challenge is sent once.
        assert_eq!(world.publishes(GUEST, &protected(2)), "auth-required");
        let event = answer(1, &challenge);
        assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
        assert_eq!(world.publishes(GUEST, &protected(1)), "taken");
        assert_eq!(world.publishes(GUEST, &protected(2)), "restricted");
        let event = answer(2, &challenge);
        assert_eq!(world.auth(GUEST, &event), ok(&event, true, ""));
        assert_eq!(world.publishes(GUEST, &protected(2)), "taken");
    }
}

#[test]
fn a_protected_event_of_somebody_who_is_on_the_list_is_still_his_own() {
    let mut world = listed(&[1]);
    world.known_guest(GUEST, 1);
    assert_eq!(world.publishes(GUEST, &protected(2)), "restricted");
    assert_eq!(world.publishes(GUEST, &protected(1)), "taken");
}

#[test]
fn a_protected_event_under_way_is_not_answered_false() {
    let mut world = listed(&[1]);
    world.known_guest(GUEST, 1);
    let event = protected(1);
    world.say(GUEST, &json!(["EVENT", event]));
    world.say(CLIENT, &json!(["EVENT", event]));
    let heard = world.heard();
    assert_eq!((heard.len(), &heard[0][0]), (1, &json!("AUTH")), "{heard:?}");
    world.relay_says(0, &json!(["OK", event["id"], false, "blocked: no"]));
    assert_eq!(world.heard_by(GUEST), [ok(&event, false, "blocked: no")]);
    assert_eq!(world.heard(), [ok(&event, false, "blocked: no")]);
}

#[test]
fn extensions_of_this_server_publish_nothing_protected() {
    let mut world = World::new(1);
    for (client, relays) in [(GUEST, None), (GUEST + 1, Some(&[0][..]))] {
        world.join_inside(client, relays);
        assert_eq!(world.publishes(client, &protected(1)), "restricted");
    }
}

/// While its relays are away it waits like any other.
#[test]
fn a_protected_event_is_queued() {
    let mut world = offline();
    world.allow(&[1]);
    world.known_guest(GUEST, 1);
    let event = protected(1);
    world.say(GUEST, &json!(["EVENT", event]));
    assert_eq!(world.heard_by(GUEST), [ok(&event, true, "queued: no relay connected")]);
    world.say(CLIENT, &json!(["EVENT", event]));
    let heard = world.heard();
    assert_eq!(heard.last().unwrap()[2], json!(true), "{heard:?}");
}

/// Whoever has the event could publish it all the same, in a wrapping of his own.
#[test]
fn a_repost_of_a_protected_event_is_for_its_author_too() {
    let repost = |number: u64, kind: u16, carried: &Value| -> Value {
        let event = keys(number).sign_event(UNIX, kind, &[], &carried.to_string()).unwrap();
        serde_json::from_str(&event).unwrap()
    };
    for kind in [6, 16] {
        let mut world = World::new(1);
        world.comes(GUEST, Role::Public);
        assert_eq!(
            world.publishes(GUEST, &repost(2, kind, &signed(1, 1, UNIX, &json!([])))),
            "taken"
        );
        world.say(GUEST, &json!(["EVENT", repost(2, kind, &protected(1))]));
        let heard = world.heard_by(GUEST);
        assert_eq!(
            (&heard[0][0], prefix(&heard[1][3])),
            (&json!("AUTH"), "auth-required".to_owned())
        );
        let challenge = heard[0][1].as_str().unwrap();
        world.auth(GUEST, &answer(2, challenge));
        assert_eq!(world.publishes(GUEST, &repost(2, kind, &protected(1))), "restricted");
        world.auth(GUEST, &answer(1, challenge));
        assert_eq!(world.publishes(GUEST, &repost(2, kind, &protected(1))), "taken");
    }
}
