//! When the client's EOSE is due (rule 3.2): random histories of relays that answer, stream, fall
//! silent and vanish, against the rule written out over the whole history.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use crate::ids::RelayId;

use super::{PartStage, Refusal, Subscription, UNIX, after, subscription};
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::Hint;
use crate::nostr::reason::Reason;
use crate::router::subscriptions::rank;

const QUIET: Duration = Duration::from_millis(1_500);
const SILENT: Duration = Duration::from_secs(4);
const STREAMING: Duration = Duration::from_secs(30);
const INSTANT: Duration = Duration::from_nanos(1);

/// Something a relay does. All times are counted from the REQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    /// It is connected: the REQ goes out to it.
    Asked,
    Event,
    Eose,
    Closed,
    Lost,
    /// It was tried in vain.
    Failed,
    /// It is configured after the REQ.
    Added,
}

/// What has happened, for a reader who knows nothing but rule 3.2.
struct History {
    relays: u64,
    log: Vec<(Duration, u64, Did)>,
}

impl History {
    /// What the relay did that counts: nothing does before the REQ has reached it, nor after it
    /// has ended the subscription; and only events before its EOSE are stored ones.
    fn of(&self, relay: u64) -> Vec<(Duration, Did)> {
        let (mut asked, mut stored, mut ended) = (false, false, false);
        let mut counted = Vec::new();
        for (at, _, did) in self.log.iter().filter(|(_, of, _)| *of == relay) {
            let counts = match did {
                Did::Asked | Did::Failed => !asked,
                Did::Event | Did::Eose => stored,
                Did::Closed => asked && !ended,
                Did::Lost => asked,
                Did::Added => false,
            };
            if !counts {
                continue;
            }
            counted.push((*at, *did));
            match did {
                Did::Asked => (asked, stored) = (true, true),
                Did::Eose => stored = false,
                Did::Closed => (stored, ended) = (false, true),
                Did::Lost => (asked, stored, ended) = (false, false, false),
                Did::Event | Did::Failed | Did::Added => {}
            }
        }
        counted
    }

    fn due(&self, now: Duration) -> bool {
        let all: Vec<Vec<(Duration, Did)>> = (0..self.relays).map(|relay| self.of(relay)).collect();
        let ends = |did: &Did| matches!(did, Did::Eose | Did::Closed | Did::Lost);
        let is_gone =
            |relay: &[(Duration, Did)]| relay.last().is_some_and(|it| it.1 == Did::Failed);
        let waited_for: Vec<_> = all
            .iter()
            .filter(|relay| !relay.iter().any(|(_, did)| ends(did)) && !is_gone(relay))
            .collect();
        let silent = |relay: &&Vec<_>| !relay.iter().any(|(_, did)| *did == Did::Event);
        let everybody = (0..self.relays.max(9)).flat_map(|relay| self.of(relay));
        let times =
            |what: Did| everybody.clone().filter(move |(_, did)| *did == what).map(|(at, _)| at);
        let quiet_since = times(Did::Eose)
            .min()
            .map(|first_eose| times(Did::Event).fold(first_eose, Duration::max));
        waited_for.is_empty()
            || quiet_since.is_some_and(|since| now >= since + QUIET)
            || (now >= SILENT && waited_for.iter().all(silent))
            || now >= STREAMING
    }
}

fn apply(subscription: &mut Subscription, at: Duration, relay: u64, did: Did) {
    let (now, relay) = (after(at), RelayId(relay));
    match did {
        Did::Asked => {
            if let Some(part) = subscription.part(relay) {
                part.come();
            }
            subscription.ask(relay, RelayLimits::default(), now);
        }
        Did::Event => {
            subscription.hear(relay, rank(UNIX, [0; 32]), now);
        }
        Did::Eose => drop(subscription.relay_eose(relay, Hint::None, now)),
        Did::Closed => {
            // No relay ends what it was not asked for.
            let part = subscription.part_of(relay);
            if part.is_some_and(|part| !matches!(part.stage, PartStage::Unasked | PartStage::Away))
            {
                subscription.refused(relay, &Reason::read("error: no"), Refusal::Passing, now);
            }
        }
        Did::Lost => {
            // Who is away has no connection to lose.
            let part = subscription.part_of(relay);
            if part.is_none_or(|part| part.stage != PartStage::Away) {
                _ = subscription.relay_lost(relay, now);
            }
        }
        Did::Failed => {
            if let Some(part) = subscription.part(relay) {
                part.gone();
            }
        }
        Did::Added => subscription.add_relay(relay),
    }
}

/// When the router looks again, counted from the REQ. Always later than now.
fn next_look(subscription: &Subscription, now: Duration) -> Duration {
    let next = subscription.next_look(after(now)).saturating_sub(after(Duration::ZERO).mono);
    assert!(next > now, "looking again at once would never end");
    next
}

/// Lets time pass until `until` as the router does, looking when `next_look` says so. Gives the
/// time at which EOSE was due, and fails if that was missed or not so.
fn wait(
    subscription: &Subscription,
    history: &History,
    from: Duration,
    until: Duration,
) -> Result<Option<Duration>, TestCaseError> {
    let mut now = from;
    loop {
        let due = subscription.eose_due(after(now));
        prop_assert_eq!(due, history.due(now), "at {:?} of {:?}", now, &history.log);
        if due {
            return Ok(Some(now));
        }
        let next = next_look(subscription, now);
        let next_input = next.min(until);
        prop_assert!(
            next_input == now || !history.due(next_input.saturating_sub(INSTANT)),
            "missed between {:?} and {:?} of {:?}",
            now,
            next,
            &history.log
        );
        if next > until {
            return Ok(None);
        }
        now = next;
    }
}

fn pauses() -> impl Strategy<Value = Duration> {
    let some = [0, 0, 1, 300, 700, 1_499, 1_500, 1_501, 2_500, 4_000, 9_000];
    prop::sample::select(some.to_vec()).prop_map(Duration::from_millis)
}

fn doings() -> impl Strategy<Value = Did> {
    prop_oneof![
        5 => Just(Did::Asked),
        8 => Just(Did::Event),
        3 => Just(Did::Eose),
        1 => Just(Did::Closed),
        2 => Just(Did::Lost),
        2 => Just(Did::Failed),
        1 => Just(Did::Added),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn eose_is_due_just_when_spec_3_2_says(
        relays in 0u64..4,
        asked_at_once in any::<[bool; 4]>(),
        steps in prop::collection::vec((pauses(), 0u64..5, doings()), 0..30),
    ) {
        let mut subscription = subscription(&[json!({})], 0..relays);
        let mut history = History { relays, log: Vec::new() };
        let at_once = (0..relays).filter(|relay| asked_at_once[usize::try_from(*relay).unwrap()]);
        let at_once: Vec<_> =
            at_once.map(|relay| (Duration::ZERO, relay, Did::Asked)).collect();
        let mut now = Duration::ZERO;
        for (pause, relay, did) in at_once.into_iter().chain(steps) {
            if pause > Duration::ZERO {
                if wait(&subscription, &history, now, now + pause)?.is_some() {
                    return Ok(());
                }
                now += pause;
            }
            // A relay that has no part in it yet can only be added.
            let known = subscription.parts.iter().any(|part| part.relay == RelayId(relay));
            let did = if known { did } else { Did::Added };
            apply(&mut subscription, now, relay, did);
            history.log.push((now, relay, did));
        }
        let end = wait(&subscription, &history, now, now + 2 * STREAMING)?;
        prop_assert!(end.is_some_and(|end| end <= STREAMING.max(now)), "{:?}", end);
    }
}

/// When EOSE is due after these doings of three relays, all asked at once unless told otherwise.
fn due_after(doings: &[(u64, u64, Did)]) -> u64 {
    let mut subscription = subscription(&[json!({})], 0..3);
    for relay in 0..3 {
        if !doings.contains(&(0, relay, Did::Lost)) {
            apply(&mut subscription, Duration::ZERO, relay, Did::Asked);
        }
    }
    for (at, relay, did) in doings {
        let at = Duration::from_millis(*at);
        if let Some(before) = at.checked_sub(INSTANT) {
            assert!(!subscription.eose_due(after(before)), "due before {at:?}");
        }
        apply(&mut subscription, at, *relay, *did);
    }
    let mut now = Duration::from_millis(doings.last().map_or(0, |(at, ..)| *at));
    while !subscription.eose_due(after(now)) {
        now = next_look(&subscription, now);
    }
    now.as_millis().try_into().unwrap()
}

use Did::{Asked, Closed, Eose, Event, Failed, Lost};

#[test]
fn it_is_due_when_every_relay_has_answered() {
    assert_eq!(due_after(&[(10, 0, Eose), (20, 1, Closed), (30, 2, Lost)]), 30);
    assert_eq!(
        due_after(&[(10, 0, Closed), (20, 1, Lost), (3_000, 2, Event), (9_000, 2, Eose)]),
        9_000
    );
}

#[test]
fn a_relay_that_cannot_be_reached_is_not_waited_for_until_it_connects() {
    let answer = |at| [(at, 0, Eose), (at, 1, Eose)];
    let away = [(0, 2, Lost), (400, 2, Failed)];
    assert_eq!(due_after(&[&away[..1], &answer(20)].concat()), 1_520, "it may connect");
    assert_eq!(due_after(&[&away, &answer(500)[..]].concat()), 500);
    assert_eq!(due_after(&[&away[..1], &answer(20), &away[1..]].concat()), 400);
    let back = [(450, 2, Asked), (460, 2, Event)];
    let last = [(1_800, 2, Eose)];
    assert_eq!(due_after(&[&away, &back, &answer(500)[..], &last].concat()), 1_800);
    let all = [(0, 0, Lost), (0, 1, Lost), (0, 2, Lost), (20, 0, Failed), (30, 1, Failed)];
    assert_eq!(due_after(&[&all[..], &[(900, 2, Failed)]].concat()), 900);
}

#[test]
fn it_is_due_a_second_and_a_half_after_the_last_stored_event_since_the_first_eose() {
    assert_eq!(due_after(&[(10, 0, Eose)]), 1_510);
    assert_eq!(due_after(&[(10, 1, Event), (900, 0, Eose)]), 2_400);
    assert_eq!(due_after(&[(10, 0, Eose), (1_000, 1, Event), (2_400, 2, Event)]), 3_900);
    // What a relay sends after its own EOSE is not stored, but live.
    assert_eq!(due_after(&[(10, 0, Eose), (1_000, 0, Event)]), 1_510);
}

#[test]
fn silent_relays_are_waited_for_four_seconds() {
    assert_eq!(due_after(&[]), 4_000);
    assert_eq!(due_after(&[(10, 0, Closed)]), 4_000);
    assert_eq!(due_after(&[(0, 0, Lost), (0, 1, Lost), (0, 2, Lost)]), 4_000, "never connected");
    assert_eq!(due_after(&[(3_900, 0, Eose)]), 4_000);
}

#[test]
fn a_streaming_relay_is_waited_for_thirty_seconds() {
    assert_eq!(due_after(&[(10, 0, Event)]), 30_000);
    assert_eq!(due_after(&[(3_999, 0, Event), (20_000, 0, Eose)]), 20_000, "the rest were silent");
    let stream: Vec<_> = (1..29).map(|second| (second * 1_000, 1, Event)).collect();
    assert_eq!(due_after(&stream), 30_000);
}

#[test]
fn with_no_relay_at_all_it_is_due_at_once() {
    assert!(subscription(&[json!({})], 0..0).eose_due(after(Duration::ZERO)));
}

#[test]
fn a_relay_that_is_added_later_is_not_waited_for() {
    let mut subscription = subscription(&[json!({})], 0..1);
    apply(&mut subscription, Duration::ZERO, 0, Did::Asked);
    apply(&mut subscription, Duration::ZERO, 1, Did::Added);
    apply(&mut subscription, Duration::ZERO, 1, Did::Asked);
    apply(&mut subscription, Duration::from_secs(1), 0, Did::Eose);
    assert!(subscription.eose_due(after(Duration::from_secs(1))));
}
