//! What ends a relay's connection, and is not sent there again (rule 2.7); messages that are too long
//! (rule 4.3).

use super::*;
use crate::constants::{BLAME_WINDOW, QUARANTINE, SUSPECT_PAUSE};
use crate::ids::RequestNumber;
use crate::nostr::limits::RelayLimits;
use crate::router::State;

/// The verbs of what a relay was sent.
fn verbs(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message[0].as_str().unwrap()).collect()
}

fn quarantined(world: &World, relay: u64) -> u64 {
    world.stats_of(relay).quarantined.get()
}

/// What is logged of that.
fn told_of(world: &World, relay: u64) -> Vec<String> {
    let (_, texts, _) = world.stats_of(relay).errors();
    texts.into_iter().filter(|text| text.contains("ends the connection over")).collect()
}

#[test]
fn an_event_that_ends_the_connection_twice_is_not_sent_there_again() {
    let mut world = World::new(2);
    let killer = note("unreadable to one relay");
    world.publish(&killer);
    world.relay_says(0, &ok(&killer, true, ""));
    assert_eq!(world.heard(), [ok(&killer, true, "")]);
    world.ended(1, 1, Ending::Broken);
    let innocent = note("published meanwhile");
    world.publish(&innocent);
    world.relay_says(0, &ok(&innocent, true, ""));
    world.got(1);
    world.up(1, 2);
    assert_eq!(world.got_events(1), std::slice::from_ref(&innocent), "what is suspect waits");
    world.relay_says_over(1, 2, &ok(&innocent, true, ""));
    world.pass(SUSPECT_PAUSE);
    assert_eq!(world.got_events(1), std::slice::from_ref(&killer));
    world.ended(1, 2, Ending::Broken);
    assert_eq!(quarantined(&world, 1), 1);
    let id = killer["id"].as_str().unwrap();
    assert!(matches!(&told_of(&world, 1)[..], [one] if one.contains(id)));
    for link in 3..6 {
        world.up(1, link);
        world.pass(BLAME_WINDOW);
        assert_eq!(world.got_events(1), [] as [Value; 0]);
        world.ended(1, link, Ending::Broken);
    }
    assert_eq!(told_of(&world, 1).len(), 1, "it is said once");
}

#[test]
fn a_relay_that_says_that_a_message_was_too_big_is_believed_at_once() {
    let mut world = World::new(2);
    let (small, big) = (note("small"), note(&"big".repeat(70_000)));
    let number = world.subscribe("open", json!({"kinds": [4]}));
    for event in [&small, &big] {
        world.publish(event);
        world.relay_says(0, &ok(event, true, ""));
    }
    world.ended(1, 1, Ending::TooBig);
    assert_eq!(quarantined(&world, 1), 1);
    world.got(1);
    world.up(1, 2);
    let got = world.got(1);
    assert_eq!(verbs(&got), ["REQ", "EVENT"], "nobody else is suspect");
    assert_eq!((&got[0][1], &got[1][1]), (&json!(number), &small));
}

#[test]
fn the_culprit_among_many_is_found_and_everybody_else_is_served() {
    let mut world = World::new(1);
    let filters: Vec<Value> = (0..8).map(|kind| json!({"kinds": [kind]})).collect();
    for (number, filter) in filters.iter().enumerate() {
        world.subscribe(&number.to_string(), filter.clone());
    }
    let killer = filters[5].clone();
    // The relay takes REQs in order, answers none of them at once, and ends the connection at one.
    let mut link = 1;
    let mut lost = 0;
    let mut served = Vec::new();
    for _ in 0..40 {
        let asked = world.got(0).into_iter().filter(|message| message[0] == "REQ");
        for req in asked.collect::<Vec<Value>>() {
            if req[2] == killer || req.as_array().unwrap()[2..].contains(&killer) {
                lost += 1;
                world.ended(0, link, Ending::Broken);
                link += 1;
                world.up(0, link);
                served.clear();
                break;
            } else if link > 1 {
                world.relay_says_over(0, link, &json!(["EOSE", req[1]]));
                served.push(req[2].clone());
            }
        }
        world.pass_ms(500);
    }
    assert_eq!((lost, quarantined(&world, 0)), (2, 1), "once with the others, once alone");
    assert_eq!(served.len(), 7, "{served:?}");
    let told = world.heard();
    let closed: Vec<&Value> = told.iter().filter(|told| told[0] == "CLOSED").collect();
    let why = "error: the relay ends the connection over it";
    assert_eq!(closed, [&json!(["CLOSED", "5", why])]);
    // The same asked for anew.
    world.subscribe("again", killer);
    assert_eq!(world.got(0), [] as [Value; 0]);
    assert_eq!(world.heard().last(), Some(&json!(["CLOSED", "again", why])));
}

#[test]
fn a_relay_that_comes_and_goes_has_nobody_quarantined() {
    for how in [Ending::Innocent, Ending::Broken] {
        let mut world = World::new(1);
        world.subscribe("open", json!({"kinds": [1]}));
        for link in 1..20 {
            if how == Ending::Broken {
                // It ends shortly after it stands, before it is sent what is suspect.
                world.pass_ms(900);
            } else {
                world.pass(BLAME_WINDOW / 2);
            }
            world.ended(0, link, how);
            world.up(0, link + 1);
        }
        assert_eq!(quarantined(&world, 0), 0, "{how:?}");
        world.pass(SUSPECT_PAUSE);
        assert_eq!(verbs(&world.got(0)).last(), Some(&"REQ"), "{how:?}");
    }
}

#[test]
fn a_relay_that_answers_nobody_is_believed_later() {
    let mut world = World::new(1);
    world.subscribe("a", json!({"kinds": [1]}));
    let mut ends = 0;
    for link in 1..10 {
        if quarantined(&world, 0) == 0 {
            ends += 1;
        }
        world.ended(0, link, Ending::Broken);
        world.up(0, link + 1);
        world.pass(SUSPECT_PAUSE);
    }
    assert_eq!((ends, quarantined(&world, 0)), (5, 1));
}

/// The relay's document comes only after the first end: it says nothing else than before, when it was not read.
#[test]
fn a_document_that_is_read_for_the_first_time_acquits_nobody() {
    let mut world = World::new(2);
    let killer = note("unreadable");
    world.publish(&killer);
    world.relay_says(0, &ok(&killer, true, ""));
    for kind in 0..4 {
        world.subscribe(&kind.to_string(), json!({"kinds": [kind]}));
    }
    world.got(1);
    world.ended(1, 1, Ending::Broken);
    let said = RelayLimits { max_filters: Some(9), ..RelayLimits::default() };
    world.input(Input::RelayLimits(RelayId(1), said));
    world.up(1, 2);
    world.pass(SUSPECT_PAUSE);
    let first = world.got(1);
    assert_eq!(verbs(&first), ["REQ"]);
    world.relay_says_over(1, 2, &json!(["EOSE", first[0][1]]));
    for _ in 0..10 {
        for message in world.got(1) {
            if message[0] == "EVENT" {
                world.ended(1, 2, Ending::Broken);
                assert_eq!(quarantined(&world, 1), 1);
                return;
            }
            world.relay_says_over(1, 2, &json!(["EOSE", message[1]]));
        }
    }
    panic!("it has not had its turn");
}

#[test]
fn what_was_answered_or_sent_long_before_is_no_suspect() {
    for long in [false, true] {
        let mut world = World::new(2);
        let innocent = note("innocent");
        world.publish(&innocent);
        world.relay_says(0, &ok(&innocent, true, ""));
        if long {
            world.pass(BLAME_WINDOW + Duration::from_secs(1));
        } else {
            world.relay_says(1, &ok(&innocent, true, ""));
        }
        world.ended(1, 1, Ending::Broken);
        world.got(1);
        world.up(1, 2);
        let expected = if long { vec![innocent] } else { Vec::new() };
        assert_eq!(world.got_events(1), expected, "at once, or not at all");
    }
}

#[test]
fn what_never_left_is_no_suspect() {
    let mut world = World::new(2);
    let unsent = note("unsent");
    world.publish(&unsent);
    world.relay_says(0, &ok(&unsent, true, ""));
    let link = LinkId(1);
    let how = Ending::Broken;
    let unsent_ones = vec![Some(id_of(&unsent))];
    let relay = RelayId(1);
    world.input(Input::LinkDown { relay, link, unsent: unsent_ones, heard: UNIX, how });
    world.got(1);
    world.up(1, 2);
    assert_eq!(world.got_events(1), [unsent]);
}

#[test]
fn the_only_relay_ends_the_connection_and_the_event_is_rejected_there_and_never_refused() {
    let mut world = World::new(1);
    let killer = note("kills");
    world.publish(&killer);
    world.ended(0, 1, Ending::Broken);
    world.pass_ms(2_500);
    assert_eq!(world.heard(), [ok(&killer, true, "sent to 1 relays, unanswered")]);
    let mut answers = Vec::new();
    for link in 2..6 {
        world.up(0, link);
        for _ in 0..20 {
            for message in world.got(0) {
                match message[0].as_str().unwrap() {
                    "REQ" => world.relay_says_over(0, link, &json!(["EOSE", message[1]])),
                    "EVENT" => world.ended(0, link, Ending::Broken),
                    _ => {}
                }
            }
            world.pass_ms(500);
        }
        answers.extend(world.heard());
    }
    assert_eq!(answers, [] as [Value; 0]);
    let row = &world.rows[&id_of(&killer)];
    assert_eq!(row.state, State::Rejected);
    let codes: Vec<&str> = row.reasons.values().map(Reason::code).collect();
    assert_eq!(codes, ["ends_connection"]);
    // Published again it may be there: no `false`.
    world.up(0, 7);
    world.publish(&killer);
    world.pass_ms(2_500);
    assert_eq!(world.heard(), [ok(&killer, true, "sent to 1 relays, unanswered")]);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
    world.relay_says_over(0, 7, &json!(["NOTICE", "still here"]));
    // The owner's retry tries it there.
    world.pass_ms(20_000);
    assert!(world.owner(|router, now, fx| router.outbox_retry(now, &id_of(&killer), fx)));
    world.pass_ms(20_000);
    assert_eq!(world.got_events(0).first(), Some(&killer));
}

#[test]
fn a_quarantine_ends() {
    type End<'a> = &'a dyn Fn(&mut World);
    let said = RelayLimits { max_filters: Some(9), ..RelayLimits::default() };
    let other = RelayLimits { max_filters: Some(7), ..said };
    let ends: [(&str, End); 4] = [
        ("its time has passed", &|world| world.pass(QUARANTINE)),
        ("the relay is another one", &|world| {
            world.input(Input::RelayLimits(RelayId(0), other));
        }),
        ("the owner connects it anew", &|world| {
            world.ended(0, 2, Ending::Anew);
            world.up(0, 3);
        }),
        ("it does not", &|world| {
            world.ended(0, 2, Ending::Broken);
            world.input(Input::RelayLimits(RelayId(0), RelayLimits { outdated: true, ..said }));
            world.up(0, 3);
            world.input(Input::RelayLimits(RelayId(0), said));
        }),
    ];
    for (why, end) in ends {
        let mut world = World::new(1);
        world.input(Input::RelayLimits(RelayId(0), said));
        let number = world.subscribe("killer", json!({"kinds": [7]}));
        world.ended(0, 1, Ending::TooBig);
        world.got(0);
        world.up(0, 2);
        assert_eq!((quarantined(&world, 0), world.got(0)), (1, Vec::new()));
        end(&mut world);
        world.subscribe("again", json!({"kinds": [7]}));
        let got = world.got(0);
        assert_eq!(verbs(&got).contains(&"REQ"), why != "it does not", "{why}: {number} {got:?}");
    }
}

#[test]
fn a_relay_that_ends_the_connection_over_what_it_has_refused_is_asked_twice() {
    let mut world = World::new(2);
    let number = world.subscribe("secret", json!({"kinds": [4]}));
    let open = world.subscribe("open", json!({"kinds": [1]}));
    for (relay, number) in [(0, &number), (0, &open), (1, &open)] {
        world.relay_says(relay, &json!(["EOSE", number]));
    }
    let mut asked = 0;
    let mut refused = number;
    for link in 1..10 {
        world.relay_says_over(1, link, &json!(["CLOSED", refused, "auth-required: who are you"]));
        world.ended(1, link, Ending::Broken);
        world.got(1);
        world.up(1, link + 1);
        world.relay_says_over(1, link + 1, &json!(["EOSE", open]));
        world.pass(SUSPECT_PAUSE);
        let got = world.got(1);
        let Some(again) = got.iter().find(|message| message[2]["kinds"] == json!([4])) else {
            assert_eq!(got.len(), 1, "the other one is served: {got:?}");
            break;
        };
        refused = again[1].as_str().unwrap().to_owned();
        asked += 1;
    }
    assert_eq!((asked, quarantined(&world, 1)), (1, 1));
}

#[test]
fn an_event_that_was_too_long_leaves_the_answer_incomplete_and_the_subscription_open() {
    for too_long in [false, true] {
        let mut world = World::new(1);
        let number = world.subscribe("a", json!({"kinds": [1]}));
        if too_long {
            let number = Some(RequestNumber::read(&number).unwrap());
            let frame = Frame::TooLong { number, bytes: 2 << 20 };
            world.input(Input::RelaySaid(RelayId(0), LinkId(1), vec![frame]));
        }
        let small = note("beside it");
        world.relay_says(0, &json!(["EVENT", number, small]));
        world.relay_says(0, &json!(["EOSE", number, ["finish"]]));
        let eose = if too_long { json!(["EOSE", "a"]) } else { json!(["EOSE", "a", ["finish"]]) };
        assert_eq!(world.heard(), [json!(["EVENT", "a", small]), eose]);
        assert_eq!(world.stats_of(0).skipped.get(), u64::from(too_long));
        let live = note("afterwards");
        world.relay_says(0, &json!(["EVENT", number, live]));
        assert_eq!(world.heard(), [json!(["EVENT", "a", live])]);
        assert_eq!(world.cut, [] as [u64; 0]);
    }
}

#[test]
fn a_flood_of_messages_that_are_too_long_is_cut() {
    let mut world = World::new(1);
    for _ in 0..3 {
        assert_eq!(world.cut, [] as [u64; 0]);
        let frame = Frame::TooLong { number: None, bytes: 60 << 20 };
        world.input(Input::RelaySaid(RelayId(0), LinkId(1), vec![frame]));
    }
    assert_eq!(world.cut, [0]);
}
