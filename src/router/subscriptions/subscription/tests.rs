//! What a relay is asked, when, and which of its events are replays (rule 3.7).
//! When the EOSE is due is in `eose`.

mod eose;

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Opening, PartStage, Phase, Refusal, Searching, Source, Subscription};
use crate::base::time::Now;
use crate::ids::{ClientId, RelayId};
use crate::nostr::filter::Filter;
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::Hint;
use crate::nostr::reason::Reason;
use crate::router::Role;

/// The wall clock when the REQ comes.
const UNIX: u64 = 1_800_000_000;
const HOUR: u64 = 60 * 60;
const MARGIN: u64 = HOUR;
const GIFT_WRAP_MARGIN: u64 = 3 * 24 * HOUR;

/// What `stale_before` says where every event is delivered.
const LIVE: u64 = 0;

fn source(relay: u64) -> Source {
    Source { relay: RelayId(relay), away: false, searches: false }
}

/// So long after the REQ.
fn after(mono: Duration) -> Now {
    Now { mono: Duration::from_secs(100) + mono, unix: UNIX + mono.as_secs(), nanos: 0 }
}

fn seconds(seconds: u64) -> Now {
    after(Duration::from_secs(seconds))
}

fn subscription(filters: &[Value], relays: std::ops::Range<u64>) -> Subscription {
    let parse = |filter: &Value| {
        Filter::parse(&RawValue::from_string(filter.to_string()).unwrap()).unwrap()
    };
    let filters = filters.iter().map(parse).collect();
    let opening = Opening {
        client: ClientId(1),
        role: Role::Private,
        id: "a".into(),
        filters,
        only: None,
        searching: Searching::Anywhere,
        relays: relays.map(source).collect(),
        resumed: None,
    };
    Subscription::new(opening, seconds(0))
}

/// The filters of the REQ for relay 0, after a look at its envelope.
fn asked(subscription: &mut Subscription, now: Now) -> Option<Vec<Value>> {
    let asking = subscription.ask(RelayId(0), RelayLimits::default(), now)?;
    Some(asking.filters.iter().map(|filter| serde_json::from_str(filter).unwrap()).collect())
}

/// A subscription that is live at relay 0, its only one.
fn live(filters: &[Value]) -> Subscription {
    let mut subscription = subscription(filters, 0..1);
    asked(&mut subscription, seconds(0)).unwrap();
    assert!(subscription.relay_eose(RelayId(0), Hint::None, seconds(1)));
    subscription.phase = Phase::Live;
    subscription
}

#[test]
fn the_first_req_is_the_clients_own() {
    let filters = [json!({"kinds": [1], "limit": 5}), json!({"since": 3, "search": "a"})];
    let mut subscription = subscription(&filters, 0..1);
    assert_eq!(asked(&mut subscription, seconds(0)).unwrap(), filters);
}

#[test]
fn a_relay_is_asked_once_per_connection_and_only_if_it_has_a_part() {
    let mut subscription = live(&[json!({})]);
    assert_eq!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(2)), None);
    assert_eq!(subscription.ask(RelayId(7), RelayLimits::default(), seconds(2)), None);
    subscription.relay_lost(RelayId(0), seconds(3));
    assert!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(4)).is_some());
    assert_eq!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(4)), None);
}

#[test]
fn after_a_loss_the_req_reaches_back_an_hour_before_it_without_limit() {
    let long_ago = UNIX - 5 * HOUR;
    let mut subscription = live(&[
        json!({"kinds": [1], "limit": 5}),
        json!({"kinds": [4], "since": long_ago, "until": UNIX + HOUR}),
        json!({"kinds": [4], "since": UNIX + 60}),
    ]);
    subscription.relay_lost(RelayId(0), seconds(2 * HOUR));
    let since = UNIX + 2 * HOUR - MARGIN;
    let expected = [
        json!({"kinds": [1], "since": since}),
        json!({"kinds": [4], "since": since, "until": UNIX + HOUR}),
        json!({"kinds": [4], "since": since}),
    ];
    assert_eq!(asked(&mut subscription, seconds(3 * HOUR)).unwrap(), expected);
}

#[test]
fn a_filters_own_later_since_stays() {
    let mut subscription = live(&[json!({"kinds": [1], "since": UNIX + 5})]);
    subscription.relay_lost(RelayId(0), seconds(10));
    let expected = [json!({"kinds": [1], "since": UNIX + 5})];
    assert_eq!(asked(&mut subscription, seconds(11)).unwrap(), expected);
}

#[test]
fn where_gift_wraps_can_match_the_req_reaches_back_three_days() {
    let filters = [json!({"kinds": [1_059]}), json!({"#p": ["a"]}), json!({"kinds": [1]})];
    let mut subscription = live(&filters);
    subscription.relay_lost(RelayId(0), seconds(HOUR));
    let expected = [
        json!({"kinds": [1_059], "since": UNIX + HOUR - GIFT_WRAP_MARGIN}),
        json!({"#p": ["a"], "since": UNIX + HOUR - GIFT_WRAP_MARGIN}),
        json!({"kinds": [1], "since": UNIX + HOUR - MARGIN}),
    ];
    assert_eq!(asked(&mut subscription, seconds(2 * HOUR)).unwrap(), expected);
}

#[test]
fn a_filter_whose_time_is_over_is_not_asked_again() {
    let over = json!({"kinds": [4], "until": UNIX - HOUR});
    let mut subscription = live(&[over.clone(), json!({"kinds": [1]})]);
    subscription.relay_lost(RelayId(0), seconds(10));
    let expected = [json!({"kinds": [1], "since": UNIX + 10 - MARGIN})];
    assert_eq!(asked(&mut subscription, seconds(11)).unwrap(), expected);

    let mut subscription = live(&[over]);
    subscription.relay_lost(RelayId(0), seconds(10));
    assert_eq!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(11)), None);
    assert_eq!(subscription.parts[0].stage, PartStage::Live, "it has no more to add");
}

#[test]
fn a_first_req_that_was_lost_before_its_eose_is_sent_again_in_full() {
    let filters = [json!({"kinds": [1], "limit": 5})];
    let mut subscription = subscription(&filters, 0..1);
    for minute in 0..3 {
        let now = seconds(minute * 60);
        assert_eq!(asked(&mut subscription, now).unwrap(), filters);
        subscription.relay_lost(RelayId(0), now);
    }
}

#[test]
fn a_repeated_req_that_was_lost_before_its_eose_still_reaches_back_to_the_first_loss() {
    let mut subscription = live(&[json!({"kinds": [1]})]);
    for hour in 1..4 {
        subscription.relay_lost(RelayId(0), seconds(hour * HOUR));
        let expected = [json!({"kinds": [1], "since": UNIX + HOUR - MARGIN})];
        assert_eq!(asked(&mut subscription, seconds(hour * HOUR + 1)).unwrap(), expected);
    }
    assert!(subscription.relay_eose(RelayId(0), Hint::None, seconds(5 * HOUR)));
    subscription.relay_lost(RelayId(0), seconds(6 * HOUR));
    let expected = [json!({"kinds": [1], "since": UNIX + 6 * HOUR - MARGIN})];
    assert_eq!(asked(&mut subscription, seconds(7 * HOUR)).unwrap(), expected);
}

#[test]
fn a_relay_that_ended_it_is_asked_again_after_a_loss_from_the_end_on() {
    let mut subscription = live(&[json!({"kinds": [1]})]);
    assert!(
        subscription
            .refused(RelayId(0), &Reason::read("error: no"), Refusal::Passing, seconds(HOUR))
            .is_some()
    );
    assert_eq!(
        subscription.ask(RelayId(0), RelayLimits::default(), seconds(HOUR)),
        None,
        "not on the same connection"
    );
    subscription.relay_lost(RelayId(0), seconds(9 * HOUR));
    let expected = [json!({"kinds": [1], "since": UNIX + HOUR - MARGIN})];
    assert_eq!(asked(&mut subscription, seconds(9 * HOUR)).unwrap(), expected);
}

#[test]
fn a_relay_that_refused_the_first_req_is_asked_in_full_after_a_loss() {
    let filters = [json!({"kinds": [1], "limit": 5})];
    let mut subscription = subscription(&filters, 0..1);
    asked(&mut subscription, seconds(0)).unwrap();
    assert!(
        subscription
            .refused(RelayId(0), &Reason::read("error: no"), Refusal::Passing, seconds(1))
            .is_some()
    );
    subscription.relay_lost(RelayId(0), seconds(HOUR));
    assert_eq!(asked(&mut subscription, seconds(HOUR)).unwrap(), filters);
}

#[test]
fn a_relay_added_later_is_asked_in_full_and_given_one_part() {
    let filters = [json!({"kinds": [1], "limit": 5})];
    let mut subscription = subscription(&filters, 1..2);
    subscription.add_relay(RelayId(0));
    subscription.add_relay(RelayId(0));
    subscription.add_relay(RelayId(1));
    assert_eq!(subscription.parts.len(), 2);
    assert_eq!(asked(&mut subscription, seconds(5)).unwrap(), filters);
}

#[test]
fn dates_near_the_epoch_do_not_underflow() {
    let mut subscription = live(&[json!({"kinds": [1]}), json!({})]);
    subscription.relay_lost(RelayId(0), Now { unix: 60, ..seconds(60) });
    let expected = [json!({"kinds": [1], "since": 0}), json!({"since": 0})];
    assert_eq!(asked(&mut subscription, seconds(150)).unwrap(), expected);
}

#[test]
fn where_only_ephemeral_kinds_are_asked_for_the_req_is_repeated_from_any_date_on() {
    let filters = [
        json!({"kinds": [23_194, 20_000], "limit": 5}),
        json!({"kinds": [29_999], "since": UNIX - 5}),
        json!({"kinds": [23_194, 1]}),
        json!({"kinds": [30_000]}),
    ];
    let mut subscription = live(&filters);
    subscription.relay_lost(RelayId(0), seconds(5 * HOUR));
    let since = UNIX + 5 * HOUR - MARGIN;
    let expected = [
        json!({"kinds": [23_194, 20_000]}),
        json!({"kinds": [29_999], "since": UNIX - 5}),
        json!({"kinds": [23_194, 1], "since": since}),
        json!({"kinds": [30_000], "since": since}),
    ];
    assert_eq!(asked(&mut subscription, seconds(6 * HOUR)).unwrap(), expected);
}

/// How far, in seconds, the `since` of the REQ after a loss lies before the loss, where the clock has
/// gone like this: by so much it was set between the loss and the REQ, a minute later.
fn back_from_a_loss(set: i64) -> i64 {
    let mut subscription = live(&[json!({"kinds": [1]})]);
    subscription.relay_lost(RelayId(0), seconds(9 * HOUR));
    let then = seconds(9 * HOUR + 60);
    let now = Now { unix: then.unix.saturating_add_signed(set), ..then };
    let since = asked(&mut subscription, now).unwrap()[0]["since"].as_u64().unwrap();
    assert!(since <= now.unix, "nobody asks for what is to come");
    i64::try_from(UNIX + 9 * HOUR).unwrap() - i64::try_from(since).unwrap()
}

#[test]
fn a_clock_that_is_set_around_a_loss_leaves_no_gap() {
    let margin = i64::try_from(MARGIN).unwrap();
    assert_eq!(back_from_a_loss(0), margin);
    // Whichever of the two was right.
    assert_eq!(back_from_a_loss(-8 * margin), 9 * margin);
    assert_eq!(back_from_a_loss(8 * margin), margin);
}

#[test]
fn a_request_that_was_narrowed_says_so() {
    let narrowed = |filters: &[Value]| {
        let mut subscription = live(filters);
        subscription.relay_lost(RelayId(0), seconds(5 * HOUR));
        let asking = subscription.ask(RelayId(0), RelayLimits::default(), seconds(6 * HOUR));
        asking.unwrap().narrowed
    };
    let since = UNIX + 5 * HOUR - MARGIN;
    assert_eq!(narrowed(&[json!({"kinds": [1_059]}), json!({"kinds": [1]})]), Some(since));
    assert_eq!(narrowed(&[json!({"kinds": [1], "since": since + 1})]), None);
    assert_eq!(narrowed(&[json!({"kinds": [23_194]})]), None);
    let mut first = subscription(&[json!({"kinds": [1]})], 0..1);
    let asking = first.ask(RelayId(0), RelayLimits::default(), seconds(0));
    assert_eq!(asking.unwrap().narrowed, None);
}

/// Asks relay 0: when, and whether as a repeated request.
fn sent(subscription: &mut Subscription, now: Now) -> Option<(Now, bool)> {
    let asking = subscription.ask(RelayId(0), RelayLimits::default(), now)?;
    Some((now, asking.again))
}

#[test]
fn events_of_a_first_req_are_no_replays() {
    let mut subscription = subscription(&[json!({})], 0..1);
    let sent = sent(&mut subscription, seconds(0));
    assert_eq!(sent, Some((seconds(0), false)));
    assert_eq!(subscription.stale_before(sent, seconds(1)), LIVE);
    assert_eq!(subscription.stale_before(None, seconds(3)), LIVE, "after its EOSE");
}

#[test]
fn what_is_older_than_a_repeated_req_is_a_replay_until_its_eose() {
    let mut subscription = live(&[json!({})]);
    subscription.relay_lost(RelayId(0), seconds(10));
    let sent = sent(&mut subscription, seconds(20));
    for later in [20, 21, 22, HOUR] {
        assert_eq!(subscription.stale_before(sent, seconds(later)), UNIX + 20);
    }
    assert_eq!(subscription.stale_before(None, seconds(22)), LIVE);
}

#[test]
fn a_clock_that_is_set_makes_no_replay_look_new() {
    let mut subscription = live(&[json!({})]);
    subscription.relay_lost(RelayId(0), seconds(10));
    let sent = sent(&mut subscription, seconds(20));
    let set_back = Now { unix: UNIX + 22 - HOUR, ..seconds(22) };
    assert_eq!(subscription.stale_before(sent, set_back), UNIX + 20);
    let set_forward = Now { unix: UNIX + 22 + HOUR, ..seconds(22) };
    assert_eq!(subscription.stale_before(sent, set_forward), UNIX + 20 + HOUR);
}

#[test]
fn what_a_first_req_brings_after_the_clients_eose_is_a_replay() {
    // A client connected directly would have missed these ephemeral events too.
    let mut subscription = subscription(&[json!({})], 0..1);
    subscription.phase = Phase::Live;
    let sent = sent(&mut subscription, seconds(5));
    assert_eq!(subscription.stale_before(sent, seconds(6)), UNIX + 5);
}

#[test]
fn a_first_req_that_outlasts_the_clients_eose_brings_only_what_is_newer_than_the_req() {
    let mut subscription = subscription(&[json!({})], 0..1);
    let sent = sent(&mut subscription, seconds(5));
    assert_eq!(subscription.stale_before(sent, seconds(6)), LIVE);
    // What came before the EOSE was due.
    subscription.phase = Phase::Finishing;
    assert_eq!(subscription.stale_before(sent, seconds(7)), LIVE);
    subscription.phase = Phase::Live;
    assert_eq!(subscription.stale_before(sent, seconds(7)), UNIX + 5);
    // It had its EOSE before the relay's: that may be as early as the REQ.
    subscription.complete = true;
    assert_eq!(subscription.stale_before(sent, seconds(7)), UNIX + 5 - 60);
    assert_eq!(subscription.stale_before(None, seconds(60)), LIVE);
}

#[test]
fn a_relay_asked_late_is_asked_for_what_a_limit_would_hide_too() {
    let filters = [
        json!({"kinds": [1], "limit": 5}),
        json!({"kinds": [4], "since": UNIX - HOUR}),
        json!({"#p": ["a"], "limit": 1}),
        json!({"kinds": [1], "limit": 1, "until": UNIX - MARGIN - 1}),
        json!({"kinds": [1], "limit": 1, "since": UNIX + 5}),
    ];
    let mut subscription = subscription(&filters, 0..1);
    subscription.phase = Phase::Live;
    let missed = [
        json!({"kinds": [1], "since": UNIX - MARGIN}),
        json!({"#p": ["a"], "since": UNIX - GIFT_WRAP_MARGIN}),
        json!({"kinds": [1], "since": UNIX + 5}),
    ];
    let expected = [&filters[..], &missed[..]].concat();
    assert_eq!(asked(&mut subscription, seconds(HOUR)).unwrap(), expected);
}

#[test]
fn a_relay_is_asked_within_what_it_takes() {
    let ids = ["1".repeat(64), "2".repeat(64)];
    let filters = [
        json!({"ids": ids, "limit": 1}),
        json!({"kinds": [1], "limit": 900}),
        json!({"kinds": [7], "limit": 5}),
    ];
    let limits = RelayLimits { max_limit: Some(500), ..RelayLimits::default() };
    let asked = |subscription: &mut Subscription, now| -> Vec<Value> {
        let asking = subscription.ask(RelayId(0), limits, now).unwrap();
        asking.filters.iter().map(|filter| serde_json::from_str(filter).unwrap()).collect()
    };
    let stored = [
        // Which of them it would leave out is its choice.
        json!({"ids": ids}),
        json!({"kinds": [1], "limit": 500}),
        json!({"kinds": [7], "limit": 5}),
    ];
    let mut in_time = subscription(&filters, 0..1);
    assert_eq!(asked(&mut in_time, seconds(0)), stored);
    let mut late = subscription(&filters, 0..1);
    late.phase = Phase::Live;
    let since = UNIX - MARGIN;
    let missed = [
        json!({"ids": ids, "since": UNIX - GIFT_WRAP_MARGIN}),
        json!({"kinds": [1], "since": since}),
        json!({"kinds": [7], "since": since}),
    ];
    let both: Vec<Value> = stored.into_iter().chain(missed).collect();
    assert_eq!(asked(&mut late, seconds(HOUR)), both);
    // Of what wants nothing stored, only what was missed.
    let mut nothing = subscription(&[json!({"kinds": [7], "limit": 0})], 0..1);
    assert_eq!(asked(&mut nothing, seconds(0)), [json!({"kinds": [7], "limit": 0})]);
    let mut late = subscription(&[json!({"kinds": [7], "limit": 0})], 0..1);
    late.phase = Phase::Live;
    assert_eq!(asked(&mut late, seconds(HOUR)), [json!({"kinds": [7], "since": since})]);
}

#[test]
fn a_relay_that_ended_it_is_heard_no_more() {
    let mut subscription = live(&[json!({})]);
    assert!(
        subscription
            .refused(RelayId(0), &Reason::read("error: no"), Refusal::Passing, seconds(2))
            .is_some()
    );
    assert!(
        subscription
            .refused(RelayId(0), &Reason::read("error: no"), Refusal::Passing, seconds(3))
            .is_none(),
        "it has no more to end"
    );
    assert!(!subscription.relay_eose(RelayId(0), Hint::None, seconds(3)));
}

/// Whether its client is told CLOSED with these relays connected, `at` seconds after the REQ.
fn is_refused(subscription: &Subscription, linked: &[u64], at: u64) -> bool {
    let standing = subscription.standing(|relay| linked.contains(&relay.0));
    subscription.is_refused(standing, seconds(at))
}

#[test]
fn it_is_refused_when_every_connected_relay_has_refused_it_for_good() {
    let mut subscription = subscription(&[json!({})], 0..2);
    for relay in 0..2 {
        assert!(subscription.ask(RelayId(relay), RelayLimits::default(), seconds(0)).is_some());
        assert!(!is_refused(&subscription, &[0, 1], 0));
        let why = Reason::read("restricted: no");
        let refused = subscription.refused(RelayId(relay), &why, Refusal::ForGood, seconds(1));
        assert!(refused.is_some());
    }
    assert!(is_refused(&subscription, &[0, 1], 1));
    assert!(is_refused(&subscription, &[1], 1), "who is away does not count");
    assert!(!is_refused(&subscription, &[], 1), "it may be served when one comes");
    subscription.add_relay(RelayId(5));
    assert!(!is_refused(&subscription, &[0, 1, 5], 1), "the new relay may serve it");
}

#[test]
fn what_may_pass_has_the_time_of_a_silent_relay() {
    let mut subscription = subscription(&[json!({})], 0..1);
    assert!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(0)).is_some());
    let why = Reason::read("error: no");
    let pause = subscription.refused(RelayId(0), &why, Refusal::Passing, seconds(1));
    assert_eq!(pause, Some(Duration::from_secs(1)));
    assert!(!is_refused(&subscription, &[0], 3), "asked again by then");
    assert!(is_refused(&subscription, &[0], 4));
}

#[test]
fn with_no_relay_nothing_is_refused() {
    assert!(!is_refused(&subscription(&[json!({})], 0..0), &[], 9));
}

#[test]
fn a_relay_that_has_no_place_for_it_refuses_what_it_was_never_asked() {
    let mut subscription = subscription(&[json!({})], 0..1);
    assert!(subscription.part(RelayId(0)).is_some_and(|part| part.line_up(false)));
    assert!(
        subscription
            .refused(RelayId(0), &Reason::read("restricted: full"), Refusal::Passing, seconds(1))
            .is_some()
    );
    let part = subscription.part_of(RelayId(0)).unwrap();
    assert_eq!(part.stage, PartStage::Refused(Refusal::Passing));
    assert!(!part.is_lined_up() && !part.was_used() && part.gap().is_none());
    assert!(is_refused(&subscription, &[0], 4) && subscription.eose_due(seconds(1)));
}
