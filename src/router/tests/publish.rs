//! EVENT and OK (rules 1).

use super::*;

#[test]
fn true_at_the_first_true_and_once() {
    let mut world = World::new(3);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    for relay in 0..3 {
        assert_eq!(world.got(relay), [json!(["EVENT", note])]);
    }
    world.relay_says(1, &ok(&note, false, "blocked: no"));
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.relay_says(2, &ok(&note, true, "welcome"));
    world.relay_says(0, &ok(&note, true, ""));
    world.pass_ms(10_000);
    assert_eq!(world.heard(), [ok(&note, true, "welcome")]);
    assert!(world.nothing_is_left());
}

#[test]
fn false_when_all_have_said_so_with_the_most_telling_reason() {
    let mut world = World::new(3);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.relay_says(0, &ok(&note, false, "error: disk"));
    world.relay_says(1, &ok(&note, false, "pow: 20 bits"));
    world.relay_says(1, &ok(&note, false, "again"));
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.relay_says(2, &ok(&note, false, "rate-limited: slow down"));
    assert_eq!(world.heard(), [ok(&note, false, "pow: 20 bits")]);
    world.pass_ms(10_000);
    assert_eq!(world.heard(), [] as [Value; 0]);
}

#[test]
fn duplicate_counts_as_accepted() {
    let mut world = World::new(1);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.relay_says(0, &ok(&note, false, "duplicate: have it"));
    assert_eq!(world.heard(), [ok(&note, true, "duplicate: have it")]);
}

#[test]
fn unanswered_is_true_at_the_deadline_and_not_before() {
    let mut world = World::new(2);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.pass_ms(1_999);
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.pass_ms(1);
    assert_eq!(world.heard(), [ok(&note, true, "sent to 2 relays, unanswered")]);
    world.relay_says(1, &ok(&note, false, "too late"));
    assert_eq!(world.heard(), [] as [Value; 0]);
}

#[test]
fn a_relay_that_drops_is_unanswered_not_false() {
    let mut world = World::new(2);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.down(0, 1);
    world.relay_says(1, &ok(&note, false, "blocked: no"));
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.pass_ms(2_000);
    assert_eq!(world.heard(), [ok(&note, true, "sent to 2 relays, unanswered")]);
}

#[test]
fn what_never_reached_the_wire_is_queued_or_if_ephemeral_refused_and_never_sent() {
    let mut world = World::new(1);
    let (note, order) = (note("hello"), event(23_194, UNIX, &json!([]), "pay"));
    world.say(CLIENT, &json!(["EVENT", note]));
    world.say(CLIENT, &json!(["EVENT", order]));
    let unsent = vec![Some(id_of(&note)), Some(id_of(&order))];
    let how = Ending::Innocent;
    world.input(Input::LinkDown { relay: RelayId(0), link: LinkId(1), unsent, heard: UNIX, how });
    let mut heard = world.heard();
    heard.sort_by_key(|answer| answer[2] == false);
    let queued = ok(&note, true, "queued: no relay connected");
    assert_eq!(heard, [queued, ok(&order, false, "mute: no relay connected")]);
    world.got(0);
    world.up(0, 2);
    assert_eq!(world.got(0), [json!(["EVENT", note])]);
}

#[test]
fn what_a_stalled_relay_has_not_taken_is_queued_or_if_ephemeral_refused() {
    let mut world = World::new(1);
    world.stalled = true;
    let window = crate::constants::RELAY_WINDOW;
    for number in 0..window {
        world.say(CLIENT, &json!(["EVENT", event(23_195, UNIX, &json!([]), &number.to_string())]));
    }
    let (note, order) = (note("hello"), event(23_194, UNIX, &json!([]), "pay"));
    world.say(CLIENT, &json!(["EVENT", note]));
    world.say(CLIENT, &json!(["EVENT", order]));
    assert_eq!(world.got(0).len(), window);
    world.pass_ms(2_000);
    let answers = world.heard();
    assert_eq!(answers.iter().filter(|answer| answer[2] == true).count(), window + 1);
    assert!(answers.contains(&ok(&order, false, "mute: no relay connected")));
    assert!(answers.contains(&ok(&note, true, "queued: no relay took it in time")));
    assert_eq!(world.rows.len(), 1);
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), window));
    assert_eq!(world.got(0), [json!(["EVENT", note])], "the order was taken back");
    world.relay_says(0, &ok(&note, true, ""));
    assert!(world.nothing_is_left());
}

#[test]
fn what_one_relay_refuses_and_another_has_not_taken_is_refused_and_taken_back() {
    let mut world = World::new(2);
    world.stalled = true;
    let window = crate::constants::RELAY_WINDOW;
    for number in 0..window {
        world.say(CLIENT, &json!(["EVENT", event(23_195, UNIX, &json!([]), &number.to_string())]));
    }
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), window));
    let note = note("hello");
    world.publish(&note);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.pass_ms(2_000);
    assert!(world.heard().contains(&ok(&note, false, "blocked: no")));
    world.got(1);
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), window));
    assert_eq!(world.got_events(1), [] as [Value; 0]);
}

#[test]
fn no_relay_connected_none_configured_none_for_writing() {
    let note = note("hello");
    let mut world = World::new(0);
    world.say(CLIENT, &json!(["EVENT", note]));
    assert_eq!(world.heard(), [ok(&note, false, "error: no relay configured")]);
    world.add_relay(0, true, false);
    world.up(0, 1);
    world.say(CLIENT, &json!(["EVENT", note]));
    assert_eq!(world.heard(), [ok(&note, false, "error: no relay configured")]);
    world.add_relay(1, true, true);
    world.say(CLIENT, &json!(["EVENT", note]));
    assert_eq!(world.heard(), [ok(&note, true, "queued: no relay connected")]);
    assert!(world.sent.is_empty());
}

#[test]
fn refused_before_anything_is_sent() {
    let mut world = World::new(1);
    let auth = event(22_242, UNIX, &json!([]), "");
    let expired = event(1, UNIX, &json!([["expiration", UNIX.to_string()]]), "");
    let living = event(1, UNIX, &json!([["expiration", (UNIX + 1).to_string()]]), "");
    let good = note("good");
    for event in [&auth, &expired, &forged(&good)] {
        world.say(CLIENT, &json!(["EVENT", event]));
        let heard = world.heard();
        assert_eq!(heard.len(), 1);
        assert_eq!((&heard[0][1], &heard[0][2]), (&event["id"], &json!(false)), "{heard:?}");
    }
    world.say(CLIENT, &json!(["EVENT", expired]));
    assert_eq!(world.heard(), [ok(&expired, false, "invalid: expired")]);
    assert!(world.sent.is_empty());
    world.say(CLIENT, &json!(["EVENT", living]));
    assert_eq!(world.got(0).len(), 1);
    world.say(CLIENT, &json!(["EVENT", {"content": "no id"}]));
    assert_eq!(world.heard()[0][0], "NOTICE");
}

#[test]
fn an_answer_of_a_relay_that_was_not_asked_counts_for_nothing() {
    let mut world = World::new(1);
    world.add_relay(1, true, false);
    world.up(1, 1);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.relay_says(1, &ok(&note, true, "I have it"));
    world.relay_says_over(0, 9, &ok(&note, true, "an earlier connection"));
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    assert_eq!(world.heard(), [ok(&note, false, "blocked: no")]);
}

#[test]
fn the_same_event_twice_gets_two_answers_with_one_fate() {
    let mut world = World::new(1);
    let note = note("hello");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.say(CLIENT, &json!(["EVENT", note]));
    world.say(OTHER_CLIENT, &json!(["EVENT", note]));
    assert_eq!(world.got(0).len(), 1);
    world.relay_says(0, &ok(&note, true, ""));
    assert_eq!(world.heard().len(), 2);
    assert_eq!(world.heard_by(OTHER_CLIENT).len(), 1);
}

#[test]
fn false_is_never_said_of_an_event_that_was_answered_true() {
    let mut world = World::new(1);
    let (accepted, in_doubt) = (note("accepted"), note("in doubt"));
    world.say(CLIENT, &json!(["EVENT", accepted]));
    world.relay_says(0, &ok(&accepted, true, ""));
    world.say(CLIENT, &json!(["EVENT", in_doubt]));
    world.pass_ms(2_000);
    world.down(0, 1);
    world.heard();
    for event in [&accepted, &in_doubt] {
        world.say(CLIENT, &json!(["EVENT", event]));
        assert_eq!(world.heard()[0][2], true);
    }
}

#[test]
fn past_a_thousand_unanswered_the_rest_waits_and_is_refused_in_time() {
    let mut world = World::new(1);
    let order = |number: u64| event(23_194, UNIX, &json!([]), &number.to_string());
    let orders: Vec<Value> = (0..1_010).map(order).collect();
    for order in &orders[..1_005] {
        world.say(CLIENT, &json!(["EVENT", order]));
    }
    world.pass_ms(1_000);
    for order in &orders[1_005..] {
        world.say(OTHER_CLIENT, &json!(["EVENT", order]));
    }
    assert_eq!(world.got(0).len(), 1_000);
    // Two places become free: the two clients that wait take one each.
    world.relay_says(0, &ok(&orders[0], true, ""));
    world.relay_says(0, &ok(&orders[1], true, ""));
    let sent: Vec<Value> = world.got(0).into_iter().map(|message| message[1].clone()).collect();
    assert_eq!(sent, [orders[1_000].clone(), orders[1_005].clone()]);
    world.heard();
    world.pass_ms(1_000);
    let answers = world.heard();
    assert_eq!(answers.len(), 1_003);
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer[2] == false).collect();
    assert_eq!(refused.len(), 4, "1,001 to 1,004 waited in vain");
    assert!(refused.iter().all(|ok| ok[3].as_str().unwrap().starts_with("rate-limited:")));
    // The other client's came a second later and had its turn when the thousand were through.
    assert_eq!(world.got(0).len(), 4);
    world.pass_ms(1_000);
    assert!(world.heard_by(OTHER_CLIENT).iter().all(|answer| answer[2] == true));
    assert!(world.nothing_is_left());
}

#[test]
fn what_is_in_doubt_counts_among_the_thousand_but_holds_up_no_order() {
    let mut world = World::new(1);
    let notes: Vec<Value> = (0..1_100).map(|number| note(&number.to_string())).collect();
    for (number, note) in notes.iter().enumerate() {
        world.say(CLIENT, &json!(["EVENT", note]));
        world.pass_ms(u64::from(number % 10 == 0));
    }
    assert_eq!(world.got_events(0).len(), 1_000);
    world.pass_ms(2_500);
    assert_eq!(world.got_events(0), [] as [Value; 0], "nothing more may come into doubt");
    let answers = world.heard();
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer[2] == false).collect();
    assert_eq!((answers.len(), refused.len()), (1_100, 100));
    assert!(refused.iter().all(|ok| ok[3].as_str().unwrap().starts_with("rate-limited:")));
    assert_eq!(world.rows.len(), 1_000);
    world.publish(&note("one too many"));
    world.pass_ms(2_000);
    assert_eq!(world.heard()[0][2], false);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
    let order = event(23_194, UNIX, &json!([]), "pay");
    world.say(CLIENT, &json!(["EVENT", order]));
    assert_eq!(world.got_events(0), std::slice::from_ref(&order));
    for event in notes[..1_000].iter().chain([&order]) {
        world.relay_says(0, &ok(event, true, ""));
    }
    world.pass(crate::constants::OUTBOX_ASK_TIMEOUT);
    assert!(world.nothing_is_left());
}

#[test]
fn the_waiting_line_is_bounded() {
    let mut world = World::new(1);
    let all = 1_000 + crate::constants::MAX_WAITING_EVENTS;
    for number in 0..=all {
        world.say(CLIENT, &json!(["EVENT", note(&number.to_string())]));
    }
    let answers = world.heard();
    assert_eq!(answers.len(), 1);
    assert!(answers[0][3].as_str().unwrap().starts_with("rate-limited:"));
}

#[test]
fn a_client_that_goes_does_not_take_its_event_along() {
    let mut world = World::new(1);
    world.hold = true;
    let note = note("fire and forget");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.input(Input::ClientLeft(ClientId(CLIENT)));
    world.release();
    assert_eq!(world.got(0), [json!(["EVENT", note])]);
}

#[test]
fn an_event_that_stays_true_is_not_taken_back() {
    let mut world = World::new(2);
    world.stalled = true;
    // The second relay's window is full, so the event waits for it.
    for number in 0..crate::constants::RELAY_WINDOW {
        world.say(CLIENT, &json!(["EVENT", note(&number.to_string())]));
    }
    world.input(Input::LinkWrote(RelayId(0), LinkId(1), 100));
    let note = note("in doubt");
    world.say(CLIENT, &json!(["EVENT", note]));
    world.pass_ms(2_000);
    world.say(CLIENT, &json!(["EVENT", note]));
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.pass_ms(2_000);
    assert!(world.heard().iter().all(|answer| answer[2] == true));
    world.got(1);
    world.input(Input::LinkWrote(RelayId(1), LinkId(1), 100));
    assert!(world.got(1).contains(&json!(["EVENT", note])));
}

#[test]
fn too_fast_is_no_lie_about_an_event_under_way() {
    let mut world = World::new(1);
    let note = note("under way");
    world.say(CLIENT, &json!(["EVENT", note]));
    for _ in 0..Limits::default().max_messages_per_second * 10 {
        world.say(CLIENT, &json!(["CLOSE", "nothing"]));
    }
    world.say(CLIENT, &json!(["EVENT", note]));
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.relay_says(0, &ok(&note, true, ""));
    assert_eq!(world.heard(), [ok(&note, true, ""), ok(&note, true, "")]);
    world.say(CLIENT, &json!(["EVENT", note]));
    assert_eq!(world.heard()[0][2], true);
}

/// An order that the endpoint itself has delivered is in somebody's hands, whatever the relays say.
#[test]
fn what_a_relay_passes_on_it_has() {
    let mut world = World::new(2);
    world.say(OTHER_CLIENT, &json!(["REQ", "orders", {"kinds": [23_194]}]));
    let number = world.got(0).pop().unwrap()[1].as_str().unwrap().to_owned();
    let order = event(23_194, UNIX, &json!([]), "pay");
    assert_eq!(world.publish(&order), None);
    // One that was not sent the event, or claims another one, decides nothing.
    world.relay_says(0, &json!(["EVENT", number, note("another")]));
    assert!(world.heard().is_empty());
    world.relay_says(0, &json!(["EVENT", number, order]));
    assert_eq!(world.heard(), [ok(&order, true, "")]);
    for relay in 0..2 {
        world.relay_says(relay, &ok(&order, false, "blocked: after all"));
    }
    assert!(world.heard().is_empty());
}

#[test]
fn what_is_refused_for_want_of_a_place_leaves_nothing_behind() {
    let mut world = World::new(1);
    for number in 0..crate::constants::MAX_UNANSWERED_EVENTS {
        world.say(CLIENT, &json!(["EVENT", event(23_195, UNIX, &json!([]), &number.to_string())]));
    }
    for round in 0..3 {
        for number in 0..200 {
            let text = format!("{round} {number}");
            world.say(CLIENT, &json!(["EVENT", event(23_195, UNIX, &json!([]), &text)]));
        }
    }
    assert!(world.router.keepers.publishing.named_in_turns() >= 600);
    world.pass_ms(2_000);
    assert!(world.router.keepers.publishing.named_in_turns() <= 64);
}

/// A flood of OKs for what it was never sent.
#[test]
fn answers_to_nothing_are_junk() {
    let mut world = World::new(1);
    for number in 0..=crate::constants::JUNK_BURST {
        assert_eq!(world.cut, [0; 0]);
        world.relay_says(0, &json!(["OK", format!("{number:064x}"), true, ""]));
    }
    assert_eq!(world.cut, [0]);
}

/// It is slow, but it answers what it was asked.
#[test]
fn late_answers_are_none() {
    let mut world = World::new(1);
    let orders: Vec<Value> = (0..3 * crate::constants::JUNK_BURST)
        .map(|number| event(20_001, UNIX, &json!([]), &number.to_string()))
        .collect();
    for orders in orders.chunks(1_000) {
        for order in orders {
            world.say(CLIENT, &json!(["EVENT", order]));
        }
        world.pass_ms(2_000);
        assert_eq!(world.heard().len(), orders.len());
    }
    for order in &orders {
        world.relay_says(0, &ok(order, true, ""));
    }
    assert_eq!(world.cut, [0; 0]);
}

/// A suspended machine, a stopped process, a client that was not read: nobody knows when it was sent.
#[test]
fn an_order_that_waited_before_it_was_read_is_refused() {
    let why = "mute: it had waited too long before it was read here, and is not sent";
    let order = event(23_194, UNIX, &json!([]), "pay");
    let said = |event: &Value| ClientMessage::parse(&json!(["EVENT", event]).to_string(), 1);
    let mut world = World::new(1);
    world.say(OTHER_CLIENT, &json!(["REQ", "s", {"kinds": [23_194]}]));
    world.relay_says(0, &json!(["EOSE", "1"]));
    world.got(0);
    world.heard_by(OTHER_CLIENT);
    let now = world.now.mono;
    for read in [None, Some(now.checked_sub(Duration::from_millis(2_001)).unwrap())] {
        world.says_read(CLIENT, said(&order), read);
        assert_eq!(world.heard(), [ok(&order, false, why)]);
        assert_eq!(world.got(0), [] as [Value; 0]);
        assert_eq!(world.heard_by(OTHER_CLIENT), [] as [Value; 0], "nor by the local loop");
        // What is kept is never late.
        let note = note(&format!("{read:?}"));
        world.says_read(CLIENT, said(&note), read);
        assert_eq!(world.got_events(0), [note]);
        world.heard_by(OTHER_CLIENT);
    }
    world.says_read(CLIENT, said(&order), Some(now.checked_sub(Duration::from_secs(2)).unwrap()));
    assert_eq!(world.got_events(0), std::slice::from_ref(&order), "it comes in time");
    world.relay_says(0, &ok(&order, true, ""));
    world.heard();
    world.says_read(CLIENT, said(&order), None);
    let told = ok(&order, true, "duplicate: a relay has accepted it before");
    assert_eq!(world.heard(), [told], "no false about what somebody has");
}

/// It waits for a verifying thread while everything stands still.
#[test]
fn an_order_that_grows_old_before_its_verdict_is_refused() {
    let order = event(23_194, UNIX, &json!([]), "pay");
    let mut world = World::new(1);
    world.hold = true;
    world.say(CLIENT, &json!(["EVENT", order]));
    world.pass_ms(20_000);
    world.release();
    assert_eq!(world.heard()[0][2], json!(false));
    assert_eq!(world.got_events(0), [] as [Value; 0]);
}
