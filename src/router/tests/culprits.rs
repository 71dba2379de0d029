//! Clients that send ever new things over which a relay ends the connection that is everybody's (rule 2.7).

use super::characters::Zoo;
use super::model::{Character, Made, key};
use super::*;
use crate::constants::{
    CULPRIT_PAUSE, CULPRIT_PAUSE_MOST, CULPRITS_OF_ALL, ENDS_WARY, EOSE_SILENT, OK_DEADLINE,
    REFUSED_MOST,
};

const INNOCENT: u64 = 20;
const CULPRIT: u64 = 500;
const MINUTES: u64 = 25;

/// How often the connection may end in that time: until what is new goes one by one, once for each of the
/// first that are found by that (of what waited here nobody knows whose it was), and once for each that comes
/// when a pause is over.
fn most_ends(time: Duration) -> usize {
    let (mut passed, mut pause) = (Duration::ZERO, CULPRIT_PAUSE);
    let mut ends = ENDS_WARY + CULPRITS_OF_ALL;
    while passed + pause <= time {
        passed += pause;
        pause = (2 * pause).min(CULPRIT_PAUSE_MOST);
        ends += 1;
    }
    ends
}

fn innocent(number: u64) -> Value {
    let number = usize::try_from(number).unwrap();
    json!({"kinds": [1], "#p": [key(number)], "since": UNIX - 10_000 - number as u64})
}

/// A relay that ends the connection over whatever has this tag, and some who do not mind.
fn peace() -> Zoo {
    let character = Character { ends_over: Some("x"), ..Character::default() };
    let mut zoo = Zoo::new(7, &[(0, character)]);
    for client in 0..INNOCENT {
        zoo.open(client, "a", &[innocent(client)]);
        zoo.world.say(client, &json!(["EVENT", note(&format!("hello from {client}"))]));
    }
    zoo.settle(3);
    zoo
}

fn killer(number: u64) -> Value {
    event(1, UNIX, &json!([["x", number.to_string()]]), "")
}

fn join(zoo: &mut Zoo, client: u64) {
    zoo.world.input(Input::ClientJoined(ClientId(client), Role::Private, Arc::default()));
}

/// Somebody goes on for long. Everybody else is served and can publish.
fn war(zoo: &mut Zoo, mut attack: impl FnMut(&mut Zoo, u64)) -> Duration {
    let began = zoo.world.now.mono;
    let mut at = 0;
    let mut published = Vec::new();
    for second in 0..MINUTES * 60 {
        for _ in 0..4 {
            attack(zoo, at);
            at += 1;
            while zoo.step() {}
            zoo.world.pass_ms(250);
            zoo.listen();
        }
        if second % 60 == 30 {
            let note = note(&format!("at {second}"));
            zoo.world.say(second % INNOCENT, &json!(["EVENT", note]));
            zoo.settle(3);
            let id = note["id"].as_str().unwrap();
            let (accepted, why) = zoo.oks.get(id).unwrap_or_else(|| panic!("{second}: no OK"));
            assert!(*accepted, "{second}: {why}");
            published.push(id.to_owned());
        }
    }
    let people = (0..INNOCENT).map(|number| json!(["p", key(usize::try_from(number).unwrap())]));
    let last = event(1, UNIX, &people.collect(), "for all");
    zoo.world.say(0, &json!(["EVENT", last]));
    zoo.settle(8);
    let id = last["id"].as_str().unwrap();
    let stored: Vec<String> = zoo.models[0].store.iter().map(Made::id).collect();
    let lost: Vec<&String> = published.iter().filter(|id| !stored.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    for client in 0..INNOCENT {
        let watch = &zoo.watches[&(client, "a".to_owned())];
        assert!(watch.has(id), "{client} is deaf: {watch:?}");
    }
    zoo.world.now.mono.saturating_sub(began)
}

#[test]
fn one_client_ends_everybodys_connection_a_few_times_and_is_told_why_not_more() {
    for reqs in [false, true] {
        let mut zoo = peace();
        join(&mut zoo, CULPRIT);
        let time = war(&mut zoo, |zoo, number| {
            if reqs {
                zoo.world.say(CULPRIT, &json!(["CLOSE", "x"]));
                let filter = json!({"kinds": [1], "#x": [number.to_string()]});
                zoo.open(CULPRIT, "x", &[filter]);
                zoo.watches.remove(&(CULPRIT, "x".to_owned()));
            } else {
                zoo.world.say(CULPRIT, &json!(["EVENT", killer(number)]));
            }
        });
        let (ends, most) = (zoo.models[0].ends, most_ends(time));
        assert!((2..=most).contains(&ends), "{ends} ends, {most} at most; reqs: {reqs}");
        if !reqs {
            let refused = zoo.oks.values().filter(|(accepted, _)| !accepted);
            let refused: Vec<&String> = refused.map(|(_, why)| why).collect();
            assert!(refused.len() > 1_000, "{}", refused.len());
            assert!(refused.iter().all(|why| why.starts_with("rate-limited: ")), "{refused:?}");
        }
    }
}

#[test]
fn ever_new_clients_end_it_hardly_more_often() {
    for reqs in [false, true] {
        let mut zoo = peace();
        let time = war(&mut zoo, |zoo, number| {
            let client = CULPRIT + number;
            join(zoo, client);
            let message = if reqs {
                json!(["REQ", "x", {"kinds": [1], "#x": [number.to_string()]}])
            } else {
                json!(["EVENT", killer(number)])
            };
            zoo.world.say(client, &message);
            while zoo.step() {}
            zoo.world.pass_ms(200);
            zoo.world.input(Input::ClientLeft(ClientId(client)));
        });
        let (ends, most) = (zoo.models[0].ends, most_ends(time));
        assert!((2..=most).contains(&ends), "{ends} ends, {most} at most; reqs: {reqs}");
    }
}

/// Whoever comes just then is told, and served afterwards.
#[test]
fn a_newcomer_is_told_that_he_has_to_wait_and_need_not_for_long() {
    let mut zoo = peace();
    for number in 0..200 {
        let client = CULPRIT + number;
        join(&mut zoo, client);
        zoo.world.say(client, &json!(["EVENT", killer(number)]));
        zoo.settle(2);
    }
    let newcomer = 300;
    zoo.open(newcomer, "a", &[innocent(newcomer)]);
    let order = note("in vain");
    zoo.world.say(newcomer, &json!(["EVENT", order]));
    zoo.settle(OK_DEADLINE.as_secs());
    let (accepted, why) = &zoo.oks[order["id"].as_str().unwrap()];
    assert!(!accepted && why.starts_with("rate-limited: "), "{accepted} {why}");
    zoo.settle(EOSE_SILENT.as_secs());
    assert_eq!(zoo.closed(), 1, "the newcomer alone");
    zoo.settle((CULPRIT_PAUSE_MOST + REFUSED_MOST).as_secs());
    assert!(!zoo.models[0].store.iter().any(|made| made.json == order), "it was answered false");
    zoo.open(newcomer, "b", &[innocent(newcomer)]);
    let order = note("and now");
    zoo.world.say(newcomer, &json!(["EVENT", order]));
    zoo.settle(3);
    assert!(zoo.oks[order["id"].as_str().unwrap()].0);
    assert!(zoo.is_answered());
    assert_eq!(zoo.closed(), 1);
}
