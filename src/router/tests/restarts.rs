//! Relays that restart or forget, with many clients behind them (rules 3.7 and 4.3): what was learned of a
//! relay is made use of, and nobody waits for long.

use super::characters::{PASTS, Zoo};
use super::model::{Character, Made, Past, key};
use super::*;
use crate::constants::{ECHO, EOSE_SILENT, PLAN_AGAIN, PROOF, SUSPECT_PAUSE};
use crate::nostr::limits::RelayLimits;
use crate::nostr::verify;

/// Whoever has no answer is asked for again after 4 s, and has his turn within one more (rule 3.5).
const ASKED_AGAIN: Duration = EOSE_SILENT.saturating_add(PLAN_AGAIN);
/// What is suspect of having ended the connection goes a second later (rule 2.7). First EOSEs of several
/// filters are held meanwhile, and these turns are seconds.
const AFTER_A_BREAK: Duration =
    SUSPECT_PAUSE.saturating_add(ASKED_AGAIN).saturating_add(Duration::from_secs(1));
/// The same where the relay is silent about what it does not serve (rule 3.5): each suspect has its 5 s.
const AFTER_A_SILENT_BREAK: Duration = Duration::from_secs(30);
/// An event of ours is missed after 5 s (rule 4.3), and the requests have their turn within one more.
const MISSED: Duration = ECHO.saturating_add(PLAN_AGAIN);
/// Where each filter takes a place, a quarter of the places is kept for those that take over, and each turn
/// needs the second in which they show that they serve (rule 4.3).
const MISSED_ONE_BY_ONE: Duration = ECHO.saturating_add(PROOF.saturating_mul(4));

/// What wallets and their services ask for, in several shapes, and no two the same.
fn wanted(number: usize) -> Value {
    let mut wanted = json!({"kinds": [1, 23_194], "#p": [key(number)]});
    if number.is_multiple_of(2) {
        wanted["#t"] = json!([key(number)]);
    } else if number % 4 == 1 {
        wanted["limit"] = json!(100 + number);
    }
    wanted
}

/// Relays as they are, and how many requests each serves.
fn relays() -> Vec<(usize, Character)> {
    let past = |past_most| Character { past_most, ..Character::default() };
    let lnbits = Character { one_filter: true, one_copy: true, ..Character::default() };
    let one = Character { most_filters: Some(1), ..Character::default() };
    let mut relays = vec![(0, Character::default()), (1_000, lnbits), (20, lnbits), (20, one)];
    for most in [8, 10, 20, 32] {
        relays.extend(PASTS.map(|it| (most, past(it))));
    }
    relays
}

/// An event that these ask for.
fn event_for(kind: u16, people: std::ops::Range<usize>, content: &str) -> Made {
    let tag = |number| [json!(["p", key(number)]), json!(["t", key(number)])];
    let json = event(kind, UNIX, &people.flat_map(tag).collect(), content);
    Made { event: Arc::new(verify::check(&json.to_string()).unwrap()), json }
}

/// One for each.
fn for_each(kind: u16, clients: u64, content: &str) -> Vec<Made> {
    let one = |number| event_for(kind, number..number + 1, content);
    (0..usize::try_from(clients).unwrap()).map(one).collect()
}

/// How many seconds pass until everybody has had an answer and hears what comes.
fn until_all_hear(zoo: &mut Zoo, most: u64) -> (u64, u64) {
    let mut answered = None;
    for second in 0..most {
        let content = zoo.world.now.mono.as_secs().to_string();
        let orders = for_each(23_194, zoo.watches.len() as u64, &content);
        for order in &orders {
            zoo.publish(order, 0);
        }
        while zoo.step() {}
        if answered.is_none() && zoo.is_answered() {
            answered = Some(second);
        }
        let heard = zoo.is_whole();
        for order in &orders {
            zoo.is_not_due(order);
        }
        if let Some(answered) = answered.filter(|_| heard) {
            return (answered, second);
        }
        zoo.settle(1);
    }
    (answered.unwrap_or(most), most)
}

fn short(character: &Character) -> String {
    let Character { past_most, one_filter, one_copy, most_filters, .. } = character;
    format!("{past_most:?} one filter {one_filter} copy {one_copy} filters {most_filters:?}")
}

/// Relays of every kind break the connection, by whose fault it may be, after so many clients have asked
/// and after some time more: each client hears what it missed, soon.
fn after_a_restart_it_is_asked_as_it_has_shown(clients: u64, how: Ending) {
    for (most, character) in relays() {
        for after in [0, 2, 15] {
            let what = format!("{most} {} {clients} after {after} {how:?}", short(&character));
            let mut zoo = Zoo::new(7 + after, &[(most, character)]);
            for client in 0..clients {
                zoo.open(client, "a", &[wanted(usize::try_from(client).unwrap())]);
                if client.is_multiple_of(7) {
                    for _ in 0..after {
                        zoo.step();
                    }
                }
            }
            if after == 15 {
                let (answered, heard) = until_all_hear(&mut zoo, 120);
                let in_time = answered <= EOSE_SILENT.as_secs() && heard <= ASKED_AGAIN.as_secs();
                assert!(in_time, "{answered} s, {heard} s: {what}");
            }
            zoo.settle(after);
            let gap = for_each(1, clients, "missed");
            zoo.end_for(0, how, |model| model.store.extend(gap.iter().cloned()));
            for made in &gap {
                zoo.is_due(made);
            }
            let refused = zoo.models[0].refused;
            let (_, heard) = until_all_hear(&mut zoo, 120);
            let refused = zoo.models[0].refused - refused;
            let silent = character.past_most == Past::Silence;
            let in_time = match how {
                Ending::Broken if silent => AFTER_A_SILENT_BREAK,
                Ending::Broken => AFTER_A_BREAK,
                _ => ASKED_AGAIN,
            };
            assert!(heard <= in_time.as_secs(), "{heard} s: {what}");
            if after == 15 {
                assert_eq!(refused, 0, "{what}");
            }
        }
    }
}

#[test]
fn after_a_restart_some_are_asked_for_as_the_relay_has_shown() {
    after_a_restart_it_is_asked_as_it_has_shown(25, Ending::Innocent);
}

#[test]
fn after_a_restart_many_are_asked_for_as_the_relay_has_shown() {
    after_a_restart_it_is_asked_as_it_has_shown(120, Ending::Innocent);
}

#[test]
fn after_a_break_some_are_asked_for_as_the_relay_has_shown() {
    after_a_restart_it_is_asked_as_it_has_shown(25, Ending::Broken);
}

#[test]
fn after_a_break_many_are_asked_for_as_the_relay_has_shown() {
    after_a_restart_it_is_asked_as_it_has_shown(120, Ending::Broken);
}

/// It has taken an event of ours and does not bring it, as it did with others of that kind.
#[test]
fn what_a_relay_with_many_requests_forgets_is_asked_again_at_once() {
    let lnbits = Character { one_filter: true, one_copy: true, ..Character::default() };
    let honest = Character::default();
    for (most, character, said) in [
        (0, honest, None),
        (20, honest, None),
        (1_000, honest, Some(1_000)),
        (0, lnbits, None),
        (1_000, lnbits, Some(1_000)),
        (20, lnbits, Some(20)),
    ] {
        for clients in [1, 12, 25, 200] {
            let what = format!("{most} {} {said:?} {clients}", short(&character));
            let mut zoo = Zoo::new(7, &[(most, character)]);
            zoo.says(0, RelayLimits { max_subscriptions: said, ..RelayLimits::default() });
            for client in 0..clients {
                zoo.open(client, "a", &[wanted(usize::try_from(client).unwrap())]);
            }
            zoo.settle(20);
            zoo.world.say(CLIENT, &json!(["EVENT", event_for(1, 0..200, "it brings this").json]));
            zoo.settle(2);
            zoo.models[0].open.clear();
            zoo.world
                .say(CLIENT, &json!(["EVENT", event_for(1, 0..200, "and this it does not").json]));
            for made in for_each(1, clients, "nor these, of others") {
                zoo.publish(&made, 0);
            }
            let (_, heard) = until_all_hear(&mut zoo, 40);
            let in_time = if character.one_filter { MISSED_ONE_BY_ONE } else { MISSED };
            assert!(heard <= in_time.as_secs(), "{heard} s: {what}");
        }
    }
}
