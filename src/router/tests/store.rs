//! The outbox with a database that is slow, fails or breaks (rule 2.3).

use super::*;
use crate::constants::{STORE_PATIENCE, STORE_RETRY};
use crate::ids::BatchNumber;

const FAILED: &str = "error: disk full";

fn queued(event: &Value) -> Value {
    ok(event, true, "queued: no relay connected")
}

#[test]
fn the_answer_comes_after_the_commit_and_one_commit_serves_many() {
    let mut world = offline();
    world.database(Database::Hangs);
    let notes: Vec<Value> = (0..50).map(|number| note(&number.to_string())).collect();
    for note in &notes {
        assert_eq!(world.publish(note), None);
    }
    assert_eq!(world.unwritten.as_ref().unwrap().insert.len(), 1);
    world.database(Database::Writes);
    assert_eq!(world.heard(), notes.iter().map(queued).collect::<Vec<_>>());
    assert_eq!(world.router.stats.batches.get(), 2);
}

#[test]
fn with_a_relay_that_answers_the_database_hears_nothing() {
    let mut world = World::new(2);
    for number in 0..2_000 {
        let note = note(&number.to_string());
        world.publish(&note);
        world.relay_says(0, &ok(&note, true, ""));
    }
    assert_eq!(world.router.stats.batches.get(), 0);
}

#[test]
fn a_database_that_fails_means_no() {
    let mut world = offline();
    let kept = note("kept");
    world.publish(&kept);
    world.database(Database::Fails);
    let refused = note("refused");
    assert_eq!(world.publish(&refused), Some(ok(&refused, false, FAILED)));
    let batches = world.router.stats.batches.get();
    world.database(Database::Writes);
    world.pass(STORE_RETRY * 2);
    assert_eq!(world.router.stats.batches.get(), batches, "there is nothing to clean up");
    world.up(0, 1);
    assert_eq!(world.got_events(0), [kept]);
    world.down(0, 1);
    assert_eq!(world.publish(&refused), Some(queued(&refused)));
}

#[test]
fn nothing_is_queued_before_the_rows_are_read() {
    let mut world = offline();
    world.router = Router::new(Limits::default(), Arc::default(), 4, SECRET);
    world.input(Input::ClientJoined(ClientId(CLIENT), Role::Private, Arc::default()));
    world.switch(0, Switches { read: true, write: true });
    let note = note("early");
    assert_eq!(world.publish(&note).unwrap()[2], false);
    world.input(Input::OutboxRows(Vec::new()));
    assert_eq!(world.publish(&note), Some(queued(&note)));
}

#[test]
fn a_database_that_hangs_means_no_at_the_deadline_and_the_row_goes_again() {
    let mut world = offline();
    world.database(Database::Hangs);
    let note = note("late");
    assert_eq!(world.publish(&note), None);
    world.pass_ms(1_999);
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.pass_ms(1);
    assert_eq!(world.heard()[0][2], false);
    // The same event once more, while the database still has the first.
    assert_eq!(world.publish(&note), None);
    world.database(Database::Writes);
    assert_eq!(world.heard(), [queued(&note)]);
    assert_eq!(world.rows.len(), 1);
    world.up(0, 1);
    assert_eq!(world.got_events(0), [note]);
}

#[test]
fn the_database_is_told_how_long_anybody_waits_for_it() {
    let mut world = World::new(1);
    let sent = note("sent");
    world.publish(&sent);
    world.database(Database::Hangs);
    world.pass_ms(2_000);
    assert_eq!(world.unwritten.as_ref().unwrap().within, None, "it may be in doubt for ever");
    world.database(Database::Writes);
    world.down(0, 1);
    world.database(Database::Hangs);
    world.publish(&note("first"));
    assert_eq!(world.unwritten.as_ref().unwrap().within, Some(Duration::from_secs(2)));
    world.pass_ms(500);
    world.publish(&note("second"));
    world.pass_ms(500);
    world.publish(&note("third"));
    // The first is written at last: the next ones have waited meanwhile.
    let batch = world.unwritten.take().unwrap();
    world.input(Input::OutboxWritten(batch.number, Written::Done(Vec::new())));
    assert_eq!(world.unwritten.as_ref().unwrap().within, Some(Duration::from_millis(1_500)));
}

#[test]
fn what_was_refused_at_the_deadline_is_written_and_removed() {
    let mut world = offline();
    world.database(Database::Hangs);
    let note = note("late");
    world.publish(&note);
    world.pass_ms(2_000);
    world.database(Database::Writes);
    assert!(world.nothing_is_left());
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
}

#[test]
fn after_a_broken_commit_no_is_said_once_the_row_is_surely_gone() {
    for wrote in [true, false] {
        let mut world = offline();
        let note = note("perhaps");
        world.database(Database::Breaks { wrote });
        // The broken batch is followed by one that removes it, which breaks too.
        assert_eq!(world.publish(&note), None);
        world.database(Database::Writes);
        world.pass(STORE_RETRY.checked_sub(Duration::from_millis(500)).unwrap());
        assert_eq!(world.heard(), [] as [Value; 0]);
        world.pass_ms(500);
        assert_eq!(world.heard(), [ok(&note, false, "error: connection lost")]);
        world.pass(STORE_RETRY);
        assert!(world.nothing_is_left(), "wrote: {wrote}");
    }
}

#[test]
fn a_broken_commit_loses_no_older_version() {
    for wrote in [true, false] {
        let mut world = offline();
        let [old, new] = [0, 1].map(|second| event(13_194, UNIX + second, &json!([]), ""));
        world.publish(&old);
        world.database(Database::Breaks { wrote });
        world.publish(&new);
        world.pass_ms(2_000);
        assert_eq!(world.heard()[0][2], false);
        world.database(Database::Writes);
        world.pass(STORE_RETRY * 2);
        assert_eq!(world.rows.keys().collect::<Vec<_>>(), [&id_of(&old)], "wrote: {wrote}");
        assert_eq!(world.publish(&old).unwrap()[2], true);
        world.up(0, 1);
        assert_eq!(world.got_events(0), [old]);
    }
}

#[test]
fn a_failed_write_loses_no_older_version_and_no_withdrawn_event() {
    let mut world = offline();
    let (old, new) = (event(13_194, UNIX, &json!([]), ""), event(13_194, UNIX + 1, &json!([]), ""));
    let note = note("to be withdrawn");
    let deletion = event(5, UNIX, &json!([["e", note["id"]]]), "");
    world.publish(&old);
    world.publish(&note);
    world.database(Database::Fails);
    assert_eq!(world.publish(&new), Some(ok(&new, false, FAILED)));
    assert_eq!(world.publish(&deletion), Some(ok(&deletion, false, FAILED)));
    world.database(Database::Writes);
    assert_eq!(world.publish(&new), Some(queued(&new)), "its place is free again");
    world.up(0, 1);
    assert_eq!(world.got_events(0), [note, new]);
}

#[test]
fn a_version_that_was_not_written_passes_on_what_it_would_have_replaced() {
    let mut world = offline();
    let versions = [0, 1, 2].map(|second| event(13_194, UNIX + second, &json!([]), ""));
    world.publish(&versions[0]);
    world.database(Database::Hangs);
    world.publish(&versions[1]);
    world.publish(&versions[2]);
    world.database(Database::Fails);
    world.heard();
    world.database(Database::Writes);
    assert_eq!(world.publish(&versions[2]), Some(queued(&versions[2])));
    assert_eq!(world.rows.keys().collect::<Vec<_>>(), [&id_of(&versions[2])]);
}

#[test]
fn a_version_that_was_not_written_is_not_the_newest() {
    let mut world = offline();
    let versions = [0, 1, 2].map(|second| event(13_194, UNIX + second, &json!([]), ""));
    world.publish(&versions[1]);
    world.database(Database::Fails);
    assert_eq!(world.publish(&versions[2]).unwrap()[2], false);
    world.database(Database::Writes);
    let stale = "replaced: a newer version is queued";
    assert_eq!(world.publish(&versions[0]), Some(ok(&versions[0], false, stale)));
}

#[test]
fn a_commit_that_breaks_again_and_again_fills_no_memory() {
    let mut world = offline();
    world.database(Database::Breaks { wrote: false });
    for number in 0..crate::constants::LEDGER_MOST + 500 {
        world.say(CLIENT, &json!(["EVENT", note(&number.to_string())]));
        world.pass_ms(2);
    }
    world.pass_ms(2_000);
    assert!(world.heard().iter().all(|answer| answer[2] == false));
    assert!(world.router.keepers.outbox.unwritten() <= crate::constants::LEDGER_MOST);
    world.database(Database::Writes);
    world.pass(STORE_RETRY * 2);
    assert!(world.nothing_is_left());
}

#[test]
fn what_is_in_doubt_stays_without_a_row_and_gets_one_later() {
    for database in [Database::Fails, Database::Breaks { wrote: true }, Database::Hangs] {
        let mut world = World::new(1);
        let note = note("sent");
        world.publish(&note);
        world.database(database);
        world.pass(Duration::from_secs(2) + STORE_PATIENCE);
        let answer = ok(&note, true, "sent to 1 relays, unanswered");
        assert_eq!(world.heard(), [answer], "{database:?}");
        world.database(Database::Writes);
        world.pass(STORE_RETRY);
        assert_eq!(world.rows.len(), 1, "{database:?}");
        world.relay_says(0, &ok(&note, true, ""));
        world.pass(STORE_RETRY);
        assert!(world.rows.is_empty(), "{database:?}");
    }
}

#[test]
fn a_row_that_cannot_be_removed_is_tried_again() {
    for database in [Database::Fails, Database::Breaks { wrote: false }] {
        let mut world = offline();
        let note = note("delivered");
        world.publish(&note);
        world.database(database);
        world.up(0, 1);
        world.relay_says(0, &ok(&note, true, ""));
        assert_eq!(world.rows.len(), 1);
        world.pass(STORE_RETRY * 3);
        world.database(Database::Writes);
        world.pass(STORE_RETRY);
        world.got(0);
        assert!(world.nothing_is_left(), "{database:?}");
    }
}

#[test]
fn a_failing_database_does_not_keep_new_events_waiting() {
    let mut world = World::new(1);
    world.database(Database::Fails);
    world.publish(&note("in doubt"));
    world.pass_ms(2_000);
    world.down(0, 1);
    world.heard();
    world.database(Database::Writes);
    // The retry is not due yet; what is new is written at once.
    let fresh = note("fresh");
    assert_eq!(world.publish(&fresh), Some(queued(&fresh)));
}

#[test]
fn a_row_that_another_node_holds_is_left_to_it() {
    let mut world = offline();
    world.database(Database::Hangs);
    let note = note("published twice");
    world.publish(&note);
    let batch = world.unwritten.take().unwrap();
    let stored = Written::Done(vec![id_of(&note)]);
    world.input(Input::OutboxWritten(batch.number, stored));
    assert_eq!(world.heard(), [queued(&note)]);
    assert!(world.nothing_is_left());
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
}

#[test]
fn a_row_that_is_about_to_be_removed_is_not_adopted() {
    let mut world = offline();
    let note = note("refused at the deadline");
    world.database(Database::Hangs);
    world.publish(&note);
    let row = world.unwritten.as_ref().unwrap().insert[0].clone();
    world.pass_ms(2_000);
    assert_eq!(world.heard()[0][2], false);
    // The row was written after all, and somebody reads the table just then.
    world.input(Input::OutboxRows(vec![row]));
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
    world.database(Database::Writes);
    assert!(world.nothing_is_left());
}

#[test]
fn an_answer_about_an_unknown_batch_counts_for_nothing() {
    let mut world = offline();
    world.database(Database::Hangs);
    let note = note("waits");
    world.publish(&note);
    let number = world.unwritten.as_ref().unwrap().number;
    world.input(Input::OutboxWritten(BatchNumber(number.0 + 1), Written::Done(Vec::new())));
    world.input(Input::OutboxWritten(BatchNumber(0), Written::Failed("old".to_owned())));
    assert_eq!(world.heard(), [] as [Value; 0]);
    world.database(Database::Writes);
    assert_eq!(world.heard(), [queued(&note)]);
}
