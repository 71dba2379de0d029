//! One client against all others, at relays of every character (the second rule): it asks for whatever it
//! likes, as often as it likes, and goes. Nobody else is deaf, closed, or given an EOSE too early or twice, and
//! the page tells how many are served.

use super::characters::{PASTS, Zoo};
use super::model::{Character, Dice, EVENTS, key};
use super::*;
use crate::constants::REFUSED_MOST;
use crate::nostr::limits::RelayLimits;

const ATTACKER: u64 = 900;
const ROUNDS: std::ops::Range<u64> = 0..40;

fn wanted(number: usize, dice: &mut Dice) -> Value {
    let mut wanted = json!({"kinds": [1, 4, 23_194], "#p": [key(number % 20)]});
    match dice.roll(4) {
        0 => wanted["#t"] = json!(["0", "1", "2", "3", "4"]),
        1 => wanted["since"] = json!(UNIX - 5_000 - number as u64),
        2 => wanted["limit"] = json!(200 + number),
        _ => {}
    }
    wanted
}

/// What the attacker asks for: what is answered here, what is never answered, what is long, what is much.
fn nasty(dice: &mut Dice) -> Vec<Value> {
    let number = dice.roll(1_000);
    let filter = match dice.roll(9) {
        0 => json!({"limit": 0}),
        1 => json!({}),
        2 => json!({"#x": [number.to_string()]}),
        3 => json!({"ids": [key(number)]}),
        4 => json!({"authors": (0..dice.roll(2_000)).map(key).collect::<Vec<_>>()}),
        5 => json!({"search": number.to_string()}),
        6 => json!({"kinds": [1], "until": number}),
        7 => json!({"#p": [key(number % 20)], "limit": 1 + dice.roll(3)}),
        _ => json!({"kinds": [number % 3], "since": UNIX - number as u64}),
    };
    let copy = |at: usize| {
        let mut filter = filter.clone();
        filter["since"] = json!(at);
        filter
    };
    if dice.one_of(4) { (0..=dice.roll(30)).map(copy).collect() } else { vec![filter] }
}

/// One thing that it does.
fn attack(zoo: &mut Zoo, dice: &mut Dice) {
    let id = dice.roll(30).to_string();
    match dice.roll(8) {
        0 => zoo.world.say(ATTACKER, &json!(["CLOSE", id])),
        1 => {
            let order = event(1, UNIX, &json!([["p", key(dice.roll(20))]]), &dice.0.to_string());
            zoo.world.say(ATTACKER, &json!(["EVENT", order]));
        }
        2 => {
            zoo.world.input(Input::ClientLeft(ClientId(ATTACKER)));
            zoo.world.input(Input::ClientJoined(ClientId(ATTACKER), Role::Private, Arc::default()));
        }
        _ => {
            let mut req = vec![json!("REQ"), json!(id)];
            req.extend(nasty(dice));
            zoo.world.say(ATTACKER, &Value::Array(req));
        }
    }
}

#[test]
fn one_client_costs_nobody_else_anything() {
    for seed in seeds(ROUNDS) {
        let mut dice = Dice(seed);
        let character = Character {
            past_most: PASTS[dice.roll(PASTS.len())],
            most_filters: dice.one_of(4).then_some(10),
            unreadable: dice.one_of(3).then_some("x"),
            ..Character::default()
        };
        let most = if dice.one_of(4) { 0 } else { 12 + dice.roll(20) };
        let says = dice.one_of(2) && most > 0;
        let what = format!("seed {seed}: {most} {says} {character:?}");
        let mut zoo = Zoo::new(seed, &[(most, character)]);
        if says {
            let limits = RelayLimits { max_subscriptions: Some(most), ..RelayLimits::default() };
            zoo.says(0, limits);
        }
        for made in &EVENTS[..60] {
            zoo.publish(made, 0);
        }
        zoo.world.input(Input::ClientJoined(ClientId(ATTACKER), Role::Private, Arc::default()));
        for client in 0..=dice.roll(50) {
            for _ in 0..dice.roll(6) {
                attack(&mut zoo, &mut dice);
                for _ in 0..dice.roll(6) {
                    zoo.step();
                }
            }
            let filter = wanted(client, &mut dice);
            zoo.open(client as u64, "a", &[filter]);
            if dice.one_of(5) {
                zoo.world.pass_ms(100 * dice.roll(20) as u64);
                zoo.listen();
            }
            if dice.one_of(40) {
                zoo.lose_for(0, |_| ());
            }
        }
        zoo.world.input(Input::ClientLeft(ClientId(ATTACKER)));
        zoo.settle(30);
        zoo.settle(REFUSED_MOST.as_secs());
        // What comes now comes to all.
        zoo.forget_due();
        for made in &EVENTS[60..] {
            zoo.publish(made, 0);
        }
        zoo.settle(3);
        zoo.check(&what);
        assert_eq!(zoo.told(), [] as [&str; 0], "{what}");
        let stats = zoo.world.stats_of(0);
        let shown = [
            stats.subscriptions_served.get(),
            stats.subscriptions_refused.get(),
            stats.subscriptions_waiting.get(),
        ];
        assert_eq!(shown, [zoo.watches.len() as u64, 0, 0], "{what}: served, refused, waiting");
    }
}
