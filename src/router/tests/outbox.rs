//! The outbox (rules 2), with a database that works.

use super::*;
use crate::constants::{MAX_REJECTED, OUTBOX_RETRY_FIRST, OUTBOX_SIZE};
use crate::router::State;

fn queued(event: &Value) -> Value {
    ok(event, true, "queued: no relay connected")
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|number| note(&number.to_string())).collect()
}

fn order(kind: u16) -> Value {
    event(kind, UNIX, &json!([]), "pay")
}

fn states(world: &World) -> Vec<State> {
    world.router.outbox_view().iter().map(|entry| entry.state).collect()
}

fn reasons(world: &World) -> Vec<(String, String)> {
    let view = world.router.outbox_view();
    let reasons = view.iter().flat_map(|entry| entry.reasons.iter());
    reasons.map(|(url, why)| (url.to_string(), why.to_string())).collect()
}

#[test]
fn what_is_queued_goes_out_in_order_to_every_relay_and_leaves_at_the_first_true() {
    let mut world = offline();
    world.away(1);
    world.add_relay(2, true, false);
    world.up(2, 1);
    let notes = numbered(0..5);
    for note in &notes {
        assert_eq!(world.publish(note), Some(queued(note)));
    }
    assert_eq!(world.rows.len(), 5);
    world.up(0, 1);
    world.up(1, 1);
    assert_eq!(world.got_events(0), notes);
    assert_eq!(world.got_events(1), notes);
    assert_eq!(world.got_events(2), [] as [Value; 0]);
    for note in &notes {
        world.relay_says(0, &ok(note, true, ""));
        world.relay_says(1, &ok(note, false, "duplicate: have it"));
    }
    assert!(world.nothing_is_left());
    assert_eq!(world.sent, [], "the second had them");
    assert_eq!(world.heard(), [] as [Value; 0], "they were answered long ago");
    world.down(0, 1);
    world.down(1, 1);
    let again = ok(&notes[0], true, "duplicate: a relay has accepted it before");
    assert_eq!(world.publish(&notes[0]), Some(again));
    assert!(world.nothing_is_left());
    assert_eq!(world.router.stats.outbox.delivered.get(), 5);
}

#[test]
fn no_ephemeral_event_is_ever_kept() {
    // NIP-47's request and response, NIP-46, and the ends of the range.
    for kind in [23_194, 23_195, 24_133, 20_000, 29_999] {
        let mut world = offline();
        let order = order(kind);
        let refused = Some(ok(&order, false, "mute: no relay connected"));
        assert_eq!(world.publish(&order), refused, "{kind}");
        assert!(world.nothing_is_left());
        world.up(0, 1);
        assert_eq!(world.got_events(0), [] as [Value; 0], "{kind}");
        // Nor when the line breaks with the order on it, or is in doubt.
        world.publish(&order);
        world.got(0);
        world.down(0, 1);
        world.pass_ms(2_000);
        world.up(0, 2);
        world.pass_ms(600_000);
        assert_eq!(world.got_events(0), [] as [Value; 0], "{kind}");
        assert!(world.rows.is_empty());
    }
    for kind in [19_999, 30_000] {
        let mut world = offline();
        assert_eq!(world.publish(&order(kind)).unwrap()[2], true, "{kind}");
    }
}

#[test]
fn the_bound_holds_and_nothing_is_pushed_out() {
    let mut world = offline();
    let notes = numbered(0..OUTBOX_SIZE + 1);
    for note in &notes[..OUTBOX_SIZE] {
        assert_eq!(world.publish(note), Some(queued(note)));
    }
    let last = &notes[OUTBOX_SIZE];
    assert_eq!(world.publish(last), Some(ok(last, false, "error: offline queue full")));
    // A smaller bound takes nothing away.
    world.set(|settings| settings.outbox_size = 10);
    world.up(0, 1);
    assert_eq!(world.got_events(0), notes[..OUTBOX_SIZE]);
    world.down(0, 1);
    world.up(0, 2);
    world.got(0);
    for note in &notes[..OUTBOX_SIZE - 10] {
        world.relay_says_over(0, 2, &ok(note, true, ""));
    }
    world.down(0, 2);
    assert_eq!(world.publish(last).unwrap()[2], false, "ten are still there");
    world.set(|settings| settings.outbox_size = 11);
    assert_eq!(world.publish(last), Some(queued(last)));
}

#[test]
fn what_has_expired_takes_no_place() {
    let mut world = offline();
    world.set(|settings| settings.outbox_size = 1);
    let tags = json!([["expiration", (UNIX + 60).to_string()]]);
    let expires = event(1, UNIX, &tags, "");
    assert_eq!(world.publish(&expires), Some(queued(&expires)));
    world.pass(Duration::from_secs(61));
    let note = note("next");
    assert_eq!(world.publish(&note), Some(queued(&note)));
    assert_eq!(world.rows.len(), 1);
}

#[test]
fn versions_share_one_place_and_the_newest_is_sent() {
    let mut world = offline();
    let version = |minute: u64| event(13_194, UNIX + minute * 60, &json!([]), "pay_invoice");
    for minute in 0..300 {
        let info = version(minute);
        assert_eq!(world.publish(&info), Some(queued(&info)));
        assert_eq!(world.rows.len(), 1);
    }
    let stale = event(13_194, UNIX - 60, &json!([]), "pay_invoice");
    let refusal = ok(&stale, false, "replaced: a newer version is queued");
    assert_eq!(world.publish(&stale), Some(refusal));
    world.up(0, 1);
    let sent = world.got_events(0);
    assert_eq!((sent.len(), &sent[0]["created_at"]), (1, &json!(UNIX + 299 * 60)));
    world.relay_says(0, &ok(&sent[0], true, ""));
    assert!(world.nothing_is_left());
    assert_eq!(world.router.stats.outbox.superseded.get(), 299);
}

#[test]
fn a_newer_version_that_a_relay_takes_makes_the_queued_one_void() {
    let mut world = offline();
    let (old, new) = (order(13_194), event(13_194, UNIX + 1, &json!([]), ""));
    world.publish(&old);
    world.up(0, 1);
    assert_eq!(world.got_events(0), std::slice::from_ref(&old));
    world.publish(&new);
    world.relay_says(0, &ok(&new, true, ""));
    world.relay_says(0, &ok(&old, false, "replaced: have newer event"));
    assert!(world.nothing_is_left());
}

#[test]
fn expired_and_withdrawn_events_are_not_sent() {
    let mut world = offline();
    let expires = event(1, UNIX, &json!([["expiration", (UNIX + 60).to_string()]]), "");
    let (named, addressed) = (note("named"), event(30_000, UNIX, &json!([["d", "x"]]), ""));
    let kept = note("kept");
    for event in [&expires, &named, &addressed, &kept] {
        assert_eq!(world.publish(event), Some(queued(event)));
    }
    let address = format!("30000:{}:x", addressed["pubkey"].as_str().unwrap());
    let tags = json!([["e", named["id"]], ["a", address]]);
    let deletion = event(5, UNIX, &tags, "");
    assert_eq!(world.publish(&deletion), Some(queued(&deletion)));
    assert_eq!(world.rows.len(), 3);
    world.pass(Duration::from_secs(61));
    world.up(0, 1);
    assert_eq!(world.got_events(0), [kept, deletion]);
    assert_eq!(world.rows.len(), 2);
    assert_eq!(
        (world.router.stats.outbox.expired.get(), world.router.stats.outbox.withdrawn.get()),
        (1, 2)
    );
}

#[test]
fn a_request_to_vanish_withdraws_everywhere_or_at_one_relay() {
    let mut world = offline();
    world.away(1);
    world.publish(&note("gone"));
    let everywhere = event(62, UNIX, &json!([["relay", "ALL_RELAYS"]]), "");
    assert_eq!(world.publish(&everywhere), Some(queued(&everywhere)));
    assert_eq!(world.rows.len(), 1);
    let here = event(62, UNIX + 9, &json!([["relay", "ws://relay0/"]]), "");
    let note = event(1, UNIX + 1, &json!([]), "for the other relay");
    world.publish(&note);
    world.up(0, 1);
    world.got(0);
    world.publish(&here);
    world.relay_says(0, &ok(&here, true, ""));
    world.down(0, 1);
    world.up(0, 2);
    assert!(!world.got_events(0).contains(&note));
    world.up(1, 1);
    assert!(world.got_events(1).contains(&note));
}

#[test]
fn refused_by_every_relay_it_is_rejected_with_their_reasons() {
    let mut world = offline();
    world.away(1);
    let note = note("unwanted");
    world.publish(&note);
    world.up(0, 1);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    assert_eq!(states(&world), [State::Queued], "the other one may want it");
    world.up(1, 1);
    world.relay_says(1, &ok(&note, false, "pow: 20"));
    assert_eq!(states(&world), [State::Rejected]);
    let said = [("ws://relay0", "blocked: no"), ("ws://relay1", "pow: 20")];
    assert_eq!(reasons(&world), said.map(|(url, why)| (url.to_owned(), why.to_owned())));
    assert_eq!(world.rows.values().next().unwrap().state, State::Rejected);
    // Another try, in vain.
    world.got(0);
    assert!(world.owner(|router, now, fx| router.outbox_retry(now, &id_of(&note), fx)));
    assert_eq!(world.got_events(0), std::slice::from_ref(&note));
    assert_eq!(world.rows.values().next().unwrap().state, State::Queued);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.relay_says(1, &ok(&note, false, "pow: 20"));
    assert_eq!(world.rows.values().next().unwrap().state, State::Rejected);
    // It stays over a restart, and is not sent.
    let mut world = world.restarted();
    world.away(0);
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
    assert_eq!(reasons(&world).len(), 2);
    // Until the owner says so.
    assert!(world.owner(|router, now, fx| router.outbox_retry(now, &id_of(&note), fx)));
    assert_eq!(world.got_events(0), std::slice::from_ref(&note));
    assert_eq!(reasons(&world), []);
    world.relay_says(0, &ok(&note, true, ""));
    assert!(world.nothing_is_left());
    assert!(!world.owner(|router, now, fx| router.outbox_retry(now, &id_of(&note), fx)));
}

#[test]
fn a_rejected_event_that_is_published_again_starts_anew() {
    let mut world = offline();
    let note = note("unwanted");
    world.publish(&note);
    world.up(0, 1);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.got(0);
    assert_eq!(world.publish(&note), None);
    assert_eq!(world.got_events(0), std::slice::from_ref(&note));
    world.relay_says(0, &ok(&note, false, "blocked: still"));
    assert_eq!(world.heard(), [ok(&note, false, "blocked: still")]);
    assert!(world.nothing_is_left(), "what was answered false is not kept for a retry");
    world.down(0, 1);
    assert_eq!(world.publish(&note), Some(queued(&note)));
}

#[test]
fn rejected_events_are_kept_up_to_a_bound_the_newest() {
    let mut world = offline();
    world.set(|settings| settings.outbox_size = 1_000);
    let notes = numbered(0..MAX_REJECTED + 20);
    for note in &notes {
        world.publish(note);
    }
    world.up(0, 1);
    for note in &notes {
        world.relay_says(0, &ok(note, false, "blocked: no"));
    }
    assert_eq!(world.rows.len(), MAX_REJECTED);
    assert!(!world.rows.contains_key(&id_of(&notes[0])));
    assert!(world.rows.contains_key(&id_of(&notes[MAX_REJECTED])));
}

#[test]
fn a_relay_that_is_removed_is_not_waited_for() {
    let mut world = offline();
    world.away(1);
    let note = note("unwanted");
    world.publish(&note);
    world.up(0, 1);
    world.relay_says(0, &ok(&note, false, "blocked: no"));
    world.input(Input::RelayRemoved(RelayId(1)));
    assert_eq!(states(&world), [State::Rejected]);
    // Without any relay nothing is refused.
    let mut world = offline();
    world.publish(&note);
    world.input(Input::RelayRemoved(RelayId(0)));
    assert_eq!(states(&world), [State::Queued]);
}

#[test]
fn patience_is_no_refusal() {
    let mut world = offline();
    let note = note("later");
    world.publish(&note);
    world.up(0, 1);
    let mut waited = Vec::new();
    for why in ["rate-limited: slow", "auth-required: who are you", "rate-limited: slow"] {
        assert_eq!(world.got_events(0), std::slice::from_ref(&note));
        world.relay_says(0, &ok(&note, false, why));
        assert_eq!(states(&world), [State::Queued]);
        let started = world.now.mono;
        while world.sent.is_empty() {
            world.pass_ms(500);
        }
        waited.push(world.now.mono.checked_sub(started).unwrap());
    }
    assert!(waited[0] >= OUTBOX_RETRY_FIRST);
    assert!(waited.windows(2).all(|two| two[1] >= two[0] * 3 / 2), "{waited:?}");
    world.relay_says(0, &ok(&note, true, ""));
    assert!(world.nothing_is_left());
}

#[test]
fn what_waits_is_known_by_its_id() {
    let mut world = offline();
    let note = note("once");
    assert_eq!(world.publish(&note), Some(queued(&note)));
    let again = Some(ok(&note, true, "duplicate: it waits for a relay already"));
    assert_eq!(world.publish(&note), again);
    assert_eq!(world.rows.len(), 1);
    // Also one that nobody remembers having been published.
    let mut world = world.restarted();
    world.away(0);
    assert_eq!(world.publish(&note), again);
    let refused = |world: &mut World| {
        for _ in 0..Limits::default().max_messages_per_second * 10 {
            world.say(CLIENT, &json!(["CLOSE", "nothing"]));
        }
        world.publish(&note)
    };
    assert_eq!(refused(&mut world), again, "too fast or not");
}

#[test]
fn the_order_is_that_of_publishing_whatever_the_threads_and_the_clock_do() {
    let mut world = offline();
    let notes = numbered(0..6);
    world.hold = true;
    for note in &notes[..3] {
        world.say(CLIENT, &json!(["EVENT", note]));
    }
    world.release();
    world.now.unix -= 1_000_000;
    let mut world = world.restarted();
    world.away(0);
    for note in &notes[3..] {
        world.publish(note);
    }
    world.up(0, 1);
    assert_eq!(world.got_events(0), notes);
}

#[test]
fn a_long_queue_does_not_swamp_a_slow_relay() {
    let mut world = offline();
    world.set(|settings| settings.outbox_size = 5_000);
    let notes = numbered(0..5_000);
    for note in &notes {
        world.publish(note);
    }
    world.stalled = true;
    world.up(0, 1);
    let mut got = world.got_events(0);
    for _ in 0..5_000 {
        world.input(Input::LinkWrote(RelayId(0), LinkId(1), 1));
        got.extend(world.got_events(0));
    }
    assert_eq!(got, notes);
    assert_eq!(world.stats_of(0).backlog_dropped.get(), 0);
}

#[test]
fn without_its_lease_a_node_sends_nothing() {
    let mut world = offline();
    world.input(Input::OutboxLease(Some(Duration::from_secs(10))));
    let note = note("leased");
    world.publish(&note);
    world.pass(Duration::from_secs(10));
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
    world.input(Input::OutboxLease(Some(Duration::from_secs(10))));
    assert_eq!(world.got_events(0), [note]);
}

#[test]
fn rows_that_another_node_has_are_let_go() {
    let mut world = offline();
    let (taken, kept) = (note("taken"), note("kept"));
    world.publish(&taken);
    world.publish(&kept);
    world.database(Database::Hangs);
    let fresh = note("not written yet");
    world.publish(&fresh);
    world.input(Input::OutboxGone(vec![id_of(&taken), id_of(&fresh)]));
    world.database(Database::Writes);
    assert_eq!(world.heard(), [ok(&fresh, true, "queued: no relay connected")]);
    assert_eq!(world.rows.len(), 3, "the row is not ours to remove");
    world.up(0, 1);
    assert_eq!(world.got_events(0), [kept, fresh]);
}

#[test]
fn the_owner_removes_an_event() {
    let mut world = offline();
    let note = note("unwanted");
    world.publish(&note);
    assert!(world.owner(|router, now, fx| router.outbox_delete(now, &id_of(&note), fx)));
    assert!(!world.owner(|router, now, fx| router.outbox_delete(now, &id_of(&note), fx)));
    assert!(world.nothing_is_left());
    world.up(0, 1);
    assert_eq!(world.got_events(0), [] as [Value; 0]);
}
