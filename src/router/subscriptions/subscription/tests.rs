//! What a relay is asked, when, and which of its events are replays (rule 3.7).
//! When the EOSE is due is in `eose`.

mod eose;

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Opening, Part, PartStage, Phase, Searching, Source, Subscription};
use crate::base::time::Now;
use crate::constants::REPLAY_WINDOW;
use crate::ids::{ClientId, RelayId};
use crate::nostr::filter::Filter;
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::Hint;
use crate::nostr::reason::Reason;
use crate::router::Role;

/// The wall clock when the REQ comes.
const UNIX: u64 = 1_800_000_000;
const HOUR: u64 = 60 * 60;
const MARGIN: u64 = HOUR / 4;
const GIFT_WRAP_MARGIN: u64 = 3 * 24 * HOUR;

/// What `stale_before` says of an event that is delivered whatever its kind …
const LIVE: u64 = 0;
/// … and of one that is dropped if it is ephemeral.
const REPLAY: u64 = u64::MAX;

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
    let (filters, _) = subscription.ask(RelayId(0), RelayLimits::default(), now)?;
    Some(filters.iter().map(|filter| serde_json::from_str(filter).unwrap()).collect())
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
    subscription.relay_lost(RelayId(0), UNIX + 3);
    assert!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(4)).is_some());
    assert_eq!(subscription.ask(RelayId(0), RelayLimits::default(), seconds(4)), None);
}

#[test]
fn after_a_loss_the_req_reaches_back_a_quarter_of_an_hour_before_it_without_limit() {
    let long_ago = UNIX - 5 * HOUR;
    let mut subscription = live(&[
        json!({"kinds": [1], "limit": 5}),
        json!({"kinds": [4], "since": long_ago, "until": UNIX + HOUR}),
        json!({"kinds": [4], "since": UNIX + 60}),
    ]);
    subscription.relay_lost(RelayId(0), UNIX + HOUR);
    let since = UNIX + HOUR - MARGIN;
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
    subscription.relay_lost(RelayId(0), UNIX + 10);
    let expected = [json!({"kinds": [1], "since": UNIX + 5})];
    assert_eq!(asked(&mut subscription, seconds(11)).unwrap(), expected);
}

#[test]
fn where_gift_wraps_can_match_the_req_reaches_back_three_days() {
    let filters = [json!({"kinds": [1_059]}), json!({"#p": ["a"]}), json!({"kinds": [1]})];
    let mut subscription = live(&filters);
    subscription.relay_lost(RelayId(0), UNIX + HOUR);
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
    subscription.relay_lost(RelayId(0), UNIX + 10);
    let expected = [json!({"kinds": [1], "since": UNIX + 10 - MARGIN})];
    assert_eq!(asked(&mut subscription, seconds(11)).unwrap(), expected);

    let mut subscription = live(&[over]);
    subscription.relay_lost(RelayId(0), UNIX + 10);
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
        subscription.relay_lost(RelayId(0), now.unix);
    }
}

#[test]
fn a_repeated_req_that_was_lost_before_its_eose_still_reaches_back_to_the_first_loss() {
    let mut subscription = live(&[json!({"kinds": [1]})]);
    for hour in 1..4 {
        subscription.relay_lost(RelayId(0), UNIX + hour * HOUR);
        let expected = [json!({"kinds": [1], "since": UNIX + HOUR - MARGIN})];
        assert_eq!(asked(&mut subscription, seconds(hour * HOUR + 1)).unwrap(), expected);
    }
    assert!(subscription.relay_eose(RelayId(0), Hint::None, seconds(5 * HOUR)));
    subscription.relay_lost(RelayId(0), UNIX + 6 * HOUR);
    let expected = [json!({"kinds": [1], "since": UNIX + 6 * HOUR - MARGIN})];
    assert_eq!(asked(&mut subscription, seconds(7 * HOUR)).unwrap(), expected);
}

#[test]
fn a_relay_that_ended_it_is_asked_again_after_a_loss_from_the_end_on() {
    let mut subscription = live(&[json!({"kinds": [1]})]);
    assert!(subscription.refused(RelayId(0), &Reason::read("error: no"), seconds(HOUR)));
    assert_eq!(
        subscription.ask(RelayId(0), RelayLimits::default(), seconds(HOUR)),
        None,
        "not on the same connection"
    );
    subscription.relay_lost(RelayId(0), UNIX + 9 * HOUR);
    let expected = [json!({"kinds": [1], "since": UNIX + HOUR - MARGIN})];
    assert_eq!(asked(&mut subscription, seconds(9 * HOUR)).unwrap(), expected);
}

#[test]
fn a_relay_that_refused_the_first_req_is_asked_in_full_after_a_loss() {
    let filters = [json!({"kinds": [1], "limit": 5})];
    let mut subscription = subscription(&filters, 0..1);
    asked(&mut subscription, seconds(0)).unwrap();
    assert!(subscription.refused(RelayId(0), &Reason::read("error: no"), seconds(1)));
    subscription.relay_lost(RelayId(0), UNIX + HOUR);
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
    subscription.relay_lost(RelayId(0), 60);
    let expected = [json!({"kinds": [1], "since": 0}), json!({"since": 0})];
    assert_eq!(asked(&mut subscription, seconds(150)).unwrap(), expected);
}

/// Asks relay 0: when, and whether as a repeated request.
fn sent(subscription: &mut Subscription, now: Now) -> Option<(Now, bool)> {
    let (_, again) = subscription.ask(RelayId(0), RelayLimits::default(), now)?;
    Some((now, again))
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
fn events_of_a_repeated_req_are_replays_until_its_eose() {
    let mut subscription = live(&[json!({})]);
    subscription.relay_lost(RelayId(0), UNIX + 10);
    let sent = sent(&mut subscription, seconds(20));
    assert_eq!(subscription.stale_before(sent, seconds(21)), REPLAY);
    assert_eq!(subscription.stale_before(None, seconds(22)), LIVE);
}

#[test]
fn a_relay_that_never_ends_its_replay_is_believed_after_the_window_in_what_is_newer() {
    let mut subscription = live(&[json!({})]);
    subscription.relay_lost(RelayId(0), UNIX + 10);
    let asked_at = Duration::from_secs(20);
    let sent = sent(&mut subscription, after(asked_at));
    let last = after(asked_at + REPLAY_WINDOW.saturating_sub(Duration::from_nanos(1)));
    assert_eq!(subscription.stale_before(sent, last), REPLAY);
    assert_eq!(subscription.stale_before(sent, after(asked_at + REPLAY_WINDOW)), UNIX + 20);
}

#[test]
fn what_a_first_req_brings_after_the_clients_eose_is_a_replay() {
    // A client connected directly would have missed these ephemeral events too.
    let mut subscription = subscription(&[json!({})], 0..1);
    subscription.phase = Phase::Live;
    let sent = sent(&mut subscription, seconds(5));
    assert_eq!(subscription.stale_before(sent, seconds(6)), REPLAY);
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
        json!({"kinds": [1], "limit": 1, "until": UNIX - HOUR}),
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
    let limits =
        RelayLimits { max_limit: Some(500), max_filters: Some(4), ..RelayLimits::default() };
    let asked = |subscription: &mut Subscription, now| -> Vec<Value> {
        let (filters, _) = subscription.ask(RelayId(0), limits, now).unwrap();
        filters.iter().map(|filter| serde_json::from_str(filter).unwrap()).collect()
    };
    let expected = [
        // Which of them it would leave out is its choice.
        json!({"ids": ids}),
        json!({"kinds": [1], "limit": 500}),
        json!({"kinds": [7], "limit": 5}),
    ];
    let mut in_time = subscription(&filters, 0..1);
    assert_eq!(asked(&mut in_time, seconds(0)), expected);
    // What is new counts more than what is stored, where not both can be asked for.
    let mut late = subscription(&filters, 0..1);
    late.phase = Phase::Live;
    let since = UNIX - MARGIN;
    let expected = [
        json!({"ids": ids, "since": UNIX - GIFT_WRAP_MARGIN}),
        json!({"kinds": [1], "since": since}),
        json!({"kinds": [7], "since": since}),
    ];
    assert_eq!(asked(&mut late, seconds(HOUR)), expected);
}

#[test]
fn a_relay_that_ended_it_is_heard_no_more() {
    let mut subscription = live(&[json!({})]);
    assert!(subscription.refused(RelayId(0), &Reason::read("error: no"), seconds(2)));
    assert!(
        !subscription.refused(RelayId(0), &Reason::read("error: no"), seconds(3)),
        "it has no more to end"
    );
    assert!(!subscription.relay_eose(RelayId(0), Hint::None, seconds(3)));
}

#[test]
fn it_is_refused_when_every_relay_has_ended_it() {
    let mut subscription = subscription(&[json!({})], 0..2);
    for relay in 0..2 {
        assert!(subscription.ask(RelayId(relay), RelayLimits::default(), seconds(0)).is_some());
        assert!(!subscription.is_refused());
        assert!(subscription.refused(RelayId(relay), &Reason::read("error: no"), seconds(1)));
    }
    assert!(subscription.is_refused());
    subscription.add_relay(RelayId(5));
    assert!(!subscription.is_refused(), "the new relay may serve it");
}

#[test]
fn with_no_relay_nothing_is_refused() {
    assert!(!subscription(&[json!({})], 0..0).is_refused());
}

#[test]
fn a_relay_that_has_no_place_for_it_refuses_what_it_was_never_asked() {
    let mut subscription = subscription(&[json!({})], 0..1);
    assert!(subscription.part(RelayId(0)).is_some_and(Part::line_up));
    assert!(subscription.refused(RelayId(0), &Reason::read("restricted: full"), seconds(1)));
    let part = subscription.part_of(RelayId(0)).unwrap();
    assert_eq!(part.stage, PartStage::Refused);
    assert!(!part.is_lined_up() && !part.was_used() && part.gap().is_none());
    assert!(subscription.is_refused() && subscription.eose_due(seconds(1)));
}
