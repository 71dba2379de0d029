//! Sequences in which the outbox once lost, leaked or misjudged an event.

use super::*;
use crate::router::State;

#[test]
fn what_is_void_before_it_is_written_is_refused() {
    let mut world = offline();
    world.add_relay(1, true, false);
    world.up(1, 1);
    let number = world.subscribe("s", json!({ "kinds": [5] }));
    let note = note("void");
    world.database(Database::Hangs);
    assert_eq!(world.publish(&note), None);
    let deletion = event(5, UNIX, &json!([["e", note["id"]]]), "");
    world.relay_says(1, &json!(["EVENT", number, deletion]));
    let heard = world.heard();
    let answer = heard.iter().find(|told| told[0] == "OK").unwrap();
    assert_eq!((&answer[1], &answer[2]), (&note["id"], &json!(false)), "{heard:?}");
    world.database(Database::Writes);
    assert!(world.rows.is_empty());
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
}

fn version(number: u64) -> Value {
    event(13_194, UNIX + number, &json!([]), "")
}

#[test]
fn versions_that_come_while_the_database_writes_cost_little() {
    let mut world = offline();
    world.database(Database::Hangs);
    for n in 0..16 {
        world.publish(&version(n));
    }
    let last = world.router.keepers.outbox.get(&id_of(&version(15))).unwrap();
    assert!(last.voids.len() < 100, "{}", last.voids.len());
}

#[test]
fn versions_that_are_not_written_give_no_place_away() {
    let mut world = offline();
    world.database(Database::Hangs);
    world.set(|settings| settings.outbox_size = 5);
    for n in 0..18 {
        world.publish(&version(n));
    }
    let n = world.router.outbox_view().len();
    assert!(n <= 6, "{n} entries with a bound of 5");
}

#[test]
fn a_late_commit_of_a_refused_version_loses_no_older_one() {
    let mut world = offline();
    let (old, new) = (version(0), version(1));
    assert_eq!(world.publish(&old).unwrap()[2], true);
    world.database(Database::Hangs);
    world.publish(&new);
    world.pass_ms(2_000);
    assert_eq!(world.heard()[0][2], false);
    world.database(Database::Writes);
    world.pass_ms(10_000);
    world.up(0, 1);
    assert_eq!(world.got_events(0), [old]);
}

#[test]
fn a_version_refused_while_it_is_written_loses_no_older_one() {
    let mut world = World::new(1);
    let (old, new) = (version(0), version(1));
    world.publish(&old);
    world.pass_ms(2_000);
    assert_eq!(world.heard()[0][2], true);
    world.publish(&new);
    world.database(Database::Hangs);
    world.pass_ms(2_000);
    world.relay_says(0, &ok(&new, false, "blocked: no"));
    assert_eq!(world.heard()[0][2], false);
    world.database(Database::Writes);
    assert!(world.rows.contains_key(&id_of(&old)), "answered true, refused by nobody");
}

#[test]
fn a_row_taken_over_while_its_event_is_published_counts_once() {
    let mut world = offline();
    let x = note("x");
    world.publish(&x);
    let row = world.rows[&id_of(&x)].clone();
    let mut world = World::new(1);
    world.rows.insert(id_of(&x), row.clone());
    assert_eq!(world.publish(&x), None);
    world.input(Input::OutboxRows(vec![row]));
    world.pass_ms(2_000);
    world.heard();
    world.relay_says(0, &ok(&x, true, ""));
    assert_eq!(
        (
            world.router.keepers.outbox.how_many(State::Queued),
            world.router.keepers.outbox.how_many(State::Doubt)
        ),
        (0, 0)
    );
}

#[test]
fn what_is_in_doubt_gives_no_way_to_a_version_that_fails() {
    let mut world = World::new(1);
    let (old, new) = (version(0), version(1));
    world.publish(&old);
    world.got(0);
    world.down(0, 1);
    world.pass_ms(1_500);
    world.database(Database::Hangs);
    assert_eq!(world.publish(&new), None);
    world.pass_ms(500);
    world.database(Database::Fails);
    let heard = world.heard();
    assert!(heard.contains(&ok(&old, true, "sent to 1 relays, unanswered")), "{heard:?}");
    assert!(heard.iter().any(|told| told[1] == new["id"] && told[2] == false), "{heard:?}");
    world.database(Database::Writes);
    world.pass_ms(10_000);
    world.up(0, 2);
    assert!(!world.got(0).is_empty(), "old was answered true and is lost");
}

#[test]
fn what_gave_way_is_not_answered_false_later() {
    let mut world = World::new(1);
    let (old, new) = (version(0), version(1));
    world.publish(&old);
    world.got(0);
    world.down(0, 1);
    world.publish(&new);
    world.pass_ms(2_000);
    assert!(world.heard().iter().all(|told| told[2] == true));
    assert_eq!(world.publish(&old).unwrap()[2], true);
}

#[test]
fn one_that_is_judged_while_it_is_undone_gets_its_answer() {
    for how in 0..2 {
        let mut world = offline();
        world.add_relay(1, true, false);
        world.up(1, 1);
        let number = world.subscribe("s", json!({"kinds":[62]}));
        if how == 1 {
            world.away(2);
        }
        let x = note("x");
        world.database(Database::Breaks { wrote: true });
        assert_eq!(world.publish(&x), None);
        let vanish = event(62, UNIX + 1, &json!([["relay", "ws://relay0"]]), "");
        world.relay_says(1, &json!(["EVENT", number, vanish]));
        if how == 1 {
            world.input(Input::RelayRemoved(RelayId(2)));
        }
        world.database(Database::Writes);
        world.pass_ms(5_000);
        let oks = world.heard().iter().filter(|told| told[0] == "OK").count();
        assert_eq!(oks, 1, "how {how}");
    }
}

#[test]
fn after_patience_and_doubt_it_is_tried_again() {
    let mut world = World::new(2);
    let x = note("x");
    world.publish(&x);
    world.relay_says(0, &ok(&x, false, "rate-limited: slow down"));
    world.down(1, 1);
    world.pass_ms(2_000);
    assert_eq!(world.heard()[0][2], true);
    world.got(0);
    world.pass(Duration::from_hours(1));
    assert!(!world.got_events(0).is_empty(), "relay 0 never hears of it again");
}

#[test]
fn what_is_in_doubt_is_asked_for_though_the_database_hangs() {
    let mut world = World::new(1);
    let x = note("x");
    world.publish(&x);
    world.database(Database::Hangs);
    world.pass_ms(2_400);
    assert_eq!(world.heard()[0][2], true);
    world.got(0);
    world.pass(Duration::from_hours(1));
    assert!(!world.got(0).is_empty());
}

#[test]
fn refused_by_one_it_waits_for_the_other_however_long() {
    let mut world = offline();
    world.away(1);
    let x = note("x");
    world.publish(&x);
    world.up(0, 1);
    world.relay_says(0, &ok(&x, false, "blocked: no"));
    for _ in 0..25 * 6 {
        world.pass(Duration::from_mins(10));
    }
    let view = world.router.outbox_view();
    assert_eq!(view[0].state, State::Queued, "{:?}", view[0].reasons);
}

#[test]
fn what_the_owner_removed_and_all_refuse_is_refused() {
    let mut world = offline();
    let x = note("x");
    world.publish(&x);
    let id = id_of(&x);
    assert!(world.owner(|router, now, fx| router.outbox_delete(now, &id, fx)));
    world.up(0, 1);
    assert_eq!(world.publish(&x), None);
    world.relay_says(0, &ok(&x, false, "blocked: no"));
    assert_eq!(world.heard(), [ok(&x, false, "blocked: no")]);
}

#[test]
fn a_row_taken_over_gives_no_way_to_a_version_that_fails() {
    let mut world = offline();
    let (old, new) = (version(0), version(1));
    world.publish(&old);
    let row = world.rows[&id_of(&old)].clone();
    let mut world = offline();
    world.database(Database::Hangs);
    world.publish(&new);
    world.rows.insert(id_of(&old), row.clone());
    world.input(Input::OutboxRows(vec![row]));
    world.database(Database::Fails);
    assert_eq!(world.heard()[0][2], false);
    world.database(Database::Writes);
    world.pass_ms(10_000);
    assert!(world.rows.contains_key(&id_of(&old)), "answered true by the node that died");
}

#[test]
fn the_late_row_of_a_rejected_version_removes_nothing() {
    let mut world = offline();
    let (old, new) = (version(0), version(1));
    world.publish(&old);
    world.publish(&new);
    world.up(0, 1);
    world.database(Database::Fails);
    world.relay_says(0, &ok(&new, false, "blocked: no"));
    world.down(0, 1);
    world.database(Database::Writes);
    assert_eq!(world.publish(&old).unwrap()[2], true);
    world.pass_ms(5_000);
    assert!(world.rows.contains_key(&id_of(&old)), "answered true, gone");
}

#[test]
fn a_rejected_deletion_removes_nothing_published_since() {
    let mut world = offline();
    let x = note("x");
    let deletion = event(5, UNIX, &json!([["e", x["id"]]]), "");
    world.publish(&x);
    world.publish(&deletion);
    assert_eq!(world.publish(&x).unwrap(), ok(&x, true, "queued: no relay connected"));
    world.up(0, 1);
    assert_eq!(world.got_events(0), [deletion.clone(), x.clone()]);
    world.relay_says(0, &ok(&deletion, false, "blocked: no"));
    world.down(0, 1);
    world.up(0, 2);
    assert!(world.rows.contains_key(&id_of(&x)), "answered true after the deletion, gone");
}

#[test]
fn published_again_after_a_removal_that_broke_it_has_a_row() {
    let mut world = offline();
    let x = note("x");
    world.publish(&x);
    let id = id_of(&x);
    world.database(Database::Breaks { wrote: true });
    assert!(world.owner(|router, now, fx| router.outbox_delete(now, &id, fx)));
    assert!(world.rows.is_empty());
    world.database(Database::Writes);
    assert_eq!(world.publish(&x), Some(ok(&x, true, "queued: no relay connected")));
    assert_eq!(world.rows.len(), 1);
}
