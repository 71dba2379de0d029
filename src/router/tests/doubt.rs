//! Events that were sent and not answered (rule 2.4).

use super::*;
use crate::constants::{NEVER_ANSWERED, OUTBOX_ASK, OUTBOX_ASK_TIMEOUT};
use crate::router::State;

/// A world with one relay that has an event and does not say so.
fn in_doubt(event: &Value) -> World {
    let mut world = World::new(1);
    assert_eq!(world.publish(event), None);
    assert_eq!(world.got_events(0), std::slice::from_ref(event));
    world.database(Database::Hangs);
    world.pass_ms(2_000);
    assert_eq!(world.heard(), [] as [Value; 0], "first the row, then the answer");
    world.database(Database::Writes);
    assert_eq!(world.heard(), [ok(event, true, "sent to 1 relays, unanswered")]);
    assert_eq!(world.rows[&id_of(event)].state, State::Doubt);
    world
}

#[test]
fn a_relay_that_has_it_settles_it() {
    let note = note("kept in silence");
    let mut world = in_doubt(&note);
    let (number, ids) = world.got_question(0);
    assert_eq!(ids, [note["id"].clone()]);
    world.relay_says(0, &json!(["EVENT", number, note]));
    world.relay_says(0, &json!(["EOSE", number]));
    assert!(world.nothing_is_left());
    assert_eq!(world.got(0), [json!(["CLOSE", number])], "it is not sent again");
}

#[test]
fn a_relay_that_has_it_not_is_sent_it_again() {
    for answer in ["EOSE", "CLOSED"] {
        let note = note("lost");
        let mut world = in_doubt(&note);
        let (number, _) = world.got_question(0);
        world.relay_says(0, &json!([answer, number, "error: no"]));
        assert_eq!(world.got_events(0), std::slice::from_ref(&note), "{answer}");
        world.relay_says(0, &ok(&note, true, ""));
        assert!(world.nothing_is_left());
    }
}

#[test]
fn a_relay_that_says_nothing_at_all_is_asked_and_sent_to_ever_more_rarely() {
    let note = note("into the void");
    let mut world = in_doubt(&note);
    let mut sent = Vec::new();
    for _ in 0..3_600 {
        world.pass_ms(1_000);
        let messages = world.got(0);
        sent.extend(
            messages.iter().filter(|message| message[0] == "EVENT").map(|_| world.now.mono),
        );
    }
    let pauses: Vec<Duration> =
        sent.windows(2).map(|two| two[1].checked_sub(two[0]).unwrap()).collect();
    assert!((8..16).contains(&sent.len()), "{pauses:?}");
    assert!(pauses.windows(2).all(|two| two[1] + Duration::from_secs(2) >= two[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| pause.as_secs() <= 615), "{pauses:?}");
}

#[test]
fn a_late_answer_settles_it() {
    let note = note("slow");
    let mut world = in_doubt(&note);
    world.relay_says(0, &ok(&note, true, "at last"));
    assert!(world.rows.is_empty());
    let mut world = in_doubt(&note);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    assert_eq!(world.rows[&id_of(&note)].state, State::Rejected);
}

#[test]
fn an_answer_that_comes_while_the_row_is_written_is_the_answer() {
    for (accepted, why) in [(true, "at last"), (false, "blocked: no")] {
        let mut world = World::new(1);
        let note = note("just in time");
        world.publish(&note);
        world.database(Database::Hangs);
        world.pass_ms(2_000);
        world.relay_says(0, &ok(&note, accepted, why));
        assert_eq!(world.heard(), [ok(&note, accepted, why)]);
        world.database(Database::Writes);
        world.pass(OUTBOX_ASK_TIMEOUT);
        assert_eq!(world.heard(), [] as [Value; 0]);
        assert!(world.nothing_is_left(), "{why}");
    }
}

#[test]
fn what_was_on_a_line_that_died_is_asked_for_over_the_next() {
    let mut world = World::new(1);
    let note = note("on the way");
    world.publish(&note);
    world.got(0);
    world.down(0, 1);
    world.pass_ms(2_000);
    assert_eq!(world.heard(), [ok(&note, true, "sent to 1 relays, unanswered")]);
    for link in 2..5 {
        world.up(0, link);
        let (number, ids) = world.got_question(0);
        assert_eq!(ids, [note["id"].clone()]);
        if link == 4 {
            world.relay_says_over(0, link, &json!(["EOSE", number]));
        } else {
            world.down(0, link);
        }
    }
    assert_eq!(world.got_events(0), [note]);
}

#[test]
fn what_a_line_never_took_need_not_be_asked_for() {
    let mut world = World::new(0);
    world.away(0);
    let note = note("queued");
    world.publish(&note);
    world.up(0, 1);
    assert_eq!(world.got(0), [json!(["EVENT", note])]);
    world.input(Input::LinkDown {
        relay: RelayId(0),
        link: LinkId(1),
        unsent: vec![Some(id_of(&note))],
        heard: UNIX,
        how: Ending::Innocent,
    });
    world.up(0, 2);
    assert_eq!(world.got(0), [json!(["EVENT", note])]);
    world.down(0, 2);
    world.up(0, 3);
    assert_eq!(world.got_question(0).1, [note["id"].clone()]);
}

#[test]
fn another_relay_is_sent_it_without_being_asked() {
    let note = note("elsewhere");
    let mut world = in_doubt(&note);
    world.away(1);
    world.up(1, 1);
    assert_eq!(world.got(1), [json!(["EVENT", note])]);
    world.relay_says(1, &ok(&note, true, ""));
    assert!(world.rows.is_empty());
}

#[test]
fn a_relay_that_is_not_read_from_is_not_asked() {
    let mut world = World::new(0);
    world.add_relay(0, false, true);
    world.up(0, 1);
    let note = note("write only");
    world.publish(&note);
    world.got(0);
    world.pass_ms(2_000);
    assert_eq!(world.got(0), [json!(["EVENT", note])]);
}

#[test]
fn after_a_restart_every_relay_is_asked_first() {
    let note = note("before the crash");
    let mut world = in_doubt(&note).restarted();
    world.away(0);
    world.up(0, 1);
    let (number, ids) = world.got_question(0);
    assert_eq!(ids, [note["id"].clone()]);
    world.relay_says(0, &json!(["EOSE", number]));
    assert_eq!(world.got_events(0), [note]);
}

#[test]
fn a_relay_is_asked_one_question_at_a_time() {
    let mut world = World::new(1);
    let notes: Vec<Value> = (0..=OUTBOX_ASK).map(|number| note(&number.to_string())).collect();
    for note in &notes {
        world.publish(note);
    }
    world.got(0);
    world.down(0, 1);
    world.pass_ms(2_000);
    world.up(0, 2);
    let (number, ids) = world.got_question(0);
    assert_eq!(ids.len(), OUTBOX_ASK);
    assert!(world.sent.is_empty());
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    let (number, ids) = world.got_question(0);
    assert_eq!(ids.len(), 1);
    let late = note("comes into doubt meanwhile");
    world.publish(&late);
    world.pass_ms(2_000);
    assert_eq!(world.got(0), [json!(["EVENT", late])]);
    world.relay_says_over(0, 2, &json!(["EOSE", number]));
    assert_eq!(world.got_question(0).1, [late["id"].clone()]);
}

#[test]
fn a_stranger_answers_no_question() {
    let note = note("asked of the first");
    let mut world = in_doubt(&note);
    world.away(1);
    let (number, _) = world.got_question(0);
    world.up(1, 1);
    world.got(1);
    world.relay_says(1, &json!(["EVENT", number, note]));
    world.relay_says(1, &json!(["EOSE", number]));
    assert_eq!(world.rows.len(), 1);
    let other = super::note("not asked for");
    world.relay_says(0, &json!(["EVENT", number, other]));
    assert_eq!(world.rows.len(), 1);
    world.relay_says(0, &json!(["EVENT", number, note]));
    assert!(world.rows.is_empty());
}

#[test]
fn a_day_without_any_answer_is_enough_but_a_jump_of_the_clock_is_not() {
    let note = note("into the void");
    let mut world = in_doubt(&note);
    world.now.unix += 2 * NEVER_ANSWERED;
    world.pass(Duration::from_mins(5));
    assert_eq!(world.rows[&id_of(&note)].state, State::Doubt);
    let mut world = in_doubt(&note);
    for _ in 0..NEVER_ANSWERED / 60 + 15 {
        world.pass(Duration::from_mins(1));
    }
    assert_eq!(world.rows[&id_of(&note)].state, State::Rejected);
    let view = world.router.outbox_view();
    assert_eq!(
        view[0].reasons.values().map(Reason::as_str).collect::<Vec<_>>(),
        ["never answered"]
    );
    let again = world.publish(&note);
    assert_eq!(again, None, "it starts anew");
}

#[test]
fn a_relay_that_asks_for_patience_has_answered() {
    let mut world = World::new(0);
    world.away(0);
    let note = note("patience");
    world.publish(&note);
    world.up(0, 1);
    for _ in 0..2 * NEVER_ANSWERED / 60 {
        if world.got_events(0).contains(&note) {
            world.relay_says(0, &ok(&note, false, "rate-limited: slow"));
        }
        world.pass(Duration::from_mins(1));
    }
    assert_eq!(world.rows[&id_of(&note)].state, State::Queued);
}

#[test]
fn one_whose_row_cannot_be_written_is_asked_for_all_the_same() {
    let mut world = World::new(1);
    world.database(Database::Hangs);
    let [first, second] = ["first", "second"].map(note);
    world.say(CLIENT, &json!(["EVENT", first]));
    world.pass_ms(200);
    world.say(CLIENT, &json!(["EVENT", second]));
    world.pass_ms(2_250);
    let (question, ids) = world.got_question(0);
    assert_eq!(ids, [first["id"].clone()]);
    world.relay_says(0, &json!(["EOSE", question]));
    world.got(0);
    // Nothing but the end of the wait for its row is left to call for it.
    world.pass_ms(300);
    assert_eq!(world.got_question(0).1, [second["id"].clone()]);
}
