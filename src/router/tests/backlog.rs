//! What one relay should have and may not (rule 2.5).

use super::*;
use crate::constants::BACKLOG_EVENTS;

fn accept(world: &mut World, relay: u64, event: &Value) {
    world.publish(event);
    world.relay_says(relay, &ok(event, true, ""));
}

#[test]
fn a_relay_that_was_away_gets_what_the_others_took() {
    let mut world = World::new(1);
    world.away(1);
    let notes: Vec<Value> = (0..5).map(|number| note(&number.to_string())).collect();
    let order = event(23_194, UNIX, &json!([]), "pay");
    let refused = note("refused");
    for note in &notes {
        accept(&mut world, 0, note);
    }
    accept(&mut world, 0, &order);
    world.publish(&refused);
    world.relay_says(0, &ok(&refused, false, "blocked: no"));
    world.up(1, 1);
    assert_eq!(world.got_events(1), notes);
    world.down(1, 1);
    world.up(1, 2);
    assert_eq!(world.got_events(1), notes, "they were not answered");
    for note in &notes {
        world.relay_says_over(1, 2, &ok(note, false, "blocked: even a no is an answer"));
    }
    world.down(1, 2);
    world.up(1, 3);
    assert_eq!(world.got_events(1), [] as [Value; 0]);
    assert!(world.nothing_is_left());
}

#[test]
fn what_a_dead_line_had_not_answered_goes_out_again() {
    let mut world = World::new(2);
    let notes: Vec<Value> = (0..10).map(|number| note(&number.to_string())).collect();
    for note in &notes {
        accept(&mut world, 0, note);
    }
    world.relay_says(1, &ok(&notes[0], true, ""));
    world.got(1);
    world.down(1, 1);
    world.up(1, 2);
    assert_eq!(world.got_events(1), notes[1..]);
}

#[test]
fn an_order_is_not_sent_again() {
    let mut world = World::new(2);
    let order = event(23_194, UNIX, &json!([]), "pay");
    accept(&mut world, 0, &order);
    world.got(1);
    world.down(1, 1);
    world.up(1, 2);
    assert_eq!(world.got_events(1), [] as [Value; 0]);
}

#[test]
fn what_never_left_or_was_decided_later_is_there_too() {
    let mut world = World::new(2);
    let note = note("hello");
    world.publish(&note);
    world.got(1);
    world.down(1, 1);
    // The line is lost before anybody has answered; it is back when somebody does.
    world.up(1, 2);
    assert_eq!(world.got_events(1), [] as [Value; 0]);
    world.relay_says(0, &ok(&note, true, ""));
    assert_eq!(world.got_events(1), [note]);
}

#[test]
fn what_a_line_never_took_is_sent_over_the_next_once_others_have_it() {
    let mut world = World::new(2);
    let note = note("hello");
    world.publish(&note);
    world.input(Input::LinkDown {
        relay: RelayId(1),
        link: LinkId(1),
        unsent: vec![Some(id_of(&note))],
        heard: UNIX,
        how: Ending::Innocent,
    });
    world.got(1);
    world.relay_says(0, &ok(&note, true, ""));
    world.up(1, 2);
    assert_eq!(world.got_events(1), [note]);
}

#[test]
fn what_was_answered_false_is_in_no_backlog() {
    let mut world = World::new(2);
    let note = note("hello");
    world.publish(&note);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.input(Input::LinkDown {
        relay: RelayId(1),
        link: LinkId(1),
        unsent: vec![Some(id_of(&note))],
        heard: UNIX,
        how: Ending::Innocent,
    });
    assert_eq!(world.heard(), [ok(&note, false, "blocked: no")]);
    world.got(1);
    world.up(1, 2);
    assert_eq!(world.got_events(1), [] as [Value; 0]);
}

#[test]
fn the_newest_are_kept_and_the_rest_is_counted() {
    let mut world = World::new(1);
    world.away(1);
    let notes: Vec<Value> =
        (0..BACKLOG_EVENTS + 30).map(|number| note(&number.to_string())).collect();
    for note in &notes {
        accept(&mut world, 0, note);
    }
    world.up(1, 1);
    assert_eq!(world.got_events(1), notes[30..]);
    assert_eq!(world.stats_of(1).backlog_dropped.get(), 30);
}

#[test]
fn expired_withdrawn_and_replaced_events_are_not_sent_late() {
    let mut world = World::new(1);
    world.away(1);
    let expires = event(1, UNIX, &json!([["expiration", (UNIX + 60).to_string()]]), "");
    let named = note("named");
    let deletion = event(5, UNIX, &json!([["e", named["id"]]]), "");
    let versions = [0, 1].map(|second| event(13_194, UNIX + second, &json!([]), ""));
    for event in [&expires, &named, &deletion, &versions[0], &versions[1]] {
        accept(&mut world, 0, event);
    }
    world.pass(Duration::from_secs(61));
    world.up(1, 1);
    assert_eq!(world.got_events(1), [deletion, versions[1].clone()]);
}

#[test]
fn a_relay_that_is_not_written_to_has_no_backlog() {
    let mut world = World::new(1);
    world.add_relay(1, true, false);
    world.away(2);
    accept(&mut world, 0, &note("hello"));
    world.switch(2, Switches { read: true, write: false });
    world.switch(2, Switches { read: true, write: true });
    for relay in [1, 2] {
        world.up(relay, 1);
        assert_eq!(world.got_events(relay), [] as [Value; 0]);
    }
}

#[test]
fn what_the_outbox_has_delivered_spreads_to_the_relays_still_away() {
    let mut world = World::new(0);
    world.away(0);
    world.away(1);
    let note = note("queued");
    world.publish(&note);
    world.up(0, 1);
    world.relay_says(0, &ok(&note, true, ""));
    assert!(world.rows.is_empty());
    world.up(1, 1);
    assert_eq!(world.got_events(1), [note]);
}
