//! What waits in the outbox answers requests (rule 2.8).

use super::*;

const NONE: [Value; 0] = [];

/// A world whose only relay cannot be reached.
fn gone() -> World {
    let mut world = offline();
    world.input(Input::LinkFailed(RelayId(0)));
    world
}

fn queue(world: &mut World, event: &Value) {
    let answer = world.publish(event).unwrap();
    assert_eq!(answer, ok(event, true, "queued: no relay connected"));
}

/// What a client that comes now is given for these filters, up to its EOSE.
fn asked(world: &mut World, client: u64, filters: &[Value]) -> Vec<Value> {
    let mut req = vec![json!("REQ"), json!("a")];
    req.extend(filters.iter().cloned());
    world.say(client, &Value::Array(req));
    let heard = world.heard_by(client);
    let (end, events) = heard.split_last().expect("an EOSE");
    assert_eq!(*end, json!(["EOSE", "a"]));
    events.iter().map(|message| message[2].clone()).collect()
}

#[test]
fn a_wallet_that_connects_with_no_relay_there_finds_its_service() {
    let mut world = gone();
    let info = event(13_194, UNIX, &json!([]), "pay_invoice");
    queue(&mut world, &info);
    let filter = [json!({"kinds": [13194], "authors": [info["pubkey"]], "limit": 1})];
    let found = std::slice::from_ref(&info);
    assert_eq!(asked(&mut world, OTHER_CLIENT, &filter), found);
    world.join_inside(7, None);
    assert_eq!(asked(&mut world, 7, &filter), found);
    assert_eq!(asked(&mut world, CLIENT, &[json!({"kinds": [1]})]), NONE);
    // The relay's echo is a copy.
    world.up(0, 1);
    let reqs = world.got(0);
    let reqs = reqs.iter().filter(|message| message[0] == "REQ");
    for number in reqs.map(|message| message[1].clone()) {
        world.relay_says(0, &json!(["EVENT", number, info]));
        world.relay_says(0, &json!(["EOSE", number]));
    }
    assert!(world.told.iter().all(|(_, message)| message[0] != "EVENT"), "{:?}", world.told);
}

#[test]
fn it_comes_in_the_order_and_within_the_limit_of_all_that_is_stored() {
    let mut world = World::new(1);
    world.away(1);
    world.switch(0, Switches { read: true, write: false });
    let [one, two, three, four] =
        [1, 2, 3, 4].map(|age| event(1, UNIX - age, &json!([]), &age.to_string()));
    queue(&mut world, &one);
    queue(&mut world, &three);
    let number = world.subscribe("a", json!({"kinds": [1], "limit": 3}));
    for stored in [&two, &four] {
        world.relay_says(0, &json!(["EVENT", number, stored]));
    }
    world.relay_says(0, &json!(["EOSE", number]));
    world.input(Input::LinkFailed(RelayId(1)));
    let given = [one, two, three].map(|event| json!(["EVENT", "a", event]));
    assert_eq!(world.heard(), [&given[..], &[json!(["EOSE", "a"])]].concat());
}

#[test]
fn it_has_what_a_relay_would_have_of_it() {
    let mut world = gone();
    let profile = |age, name: &str| event(0, UNIX - age, &json!([]), name);
    let new = profile(1, "new");
    queue(&mut world, &profile(2, "old"));
    queue(&mut world, &new);
    let passing = event(1, UNIX, &json!([["expiration", (UNIX + 5).to_string()]]), "soon gone");
    queue(&mut world, &passing);
    assert_eq!(asked(&mut world, CLIENT, &[json!({})]), [passing, new.clone()]);
    world.pass_ms(6_000);
    assert_eq!(asked(&mut world, CLIENT, &[json!({})]), [new]);
    assert_eq!(asked(&mut world, CLIENT, &[json!({"search": "new"})]), NONE);
}

#[test]
fn who_wants_nothing_stored_has_it_when_the_relay_does() {
    let mut world = gone();
    let waiting = note("waiting");
    queue(&mut world, &waiting);
    assert_eq!(asked(&mut world, OTHER_CLIENT, &[json!({"kinds": [1], "limit": 0})]), NONE);
    world.up(0, 1);
    let req = world.got(0).into_iter().find(|message| message[0] == "REQ").unwrap();
    world.relay_says(0, &json!(["EOSE", req[1]]));
    world.relay_says(0, &json!(["EVENT", req[1], waiting]));
    assert_eq!(world.heard_by(OTHER_CLIENT), [json!(["EVENT", "a", waiting])]);
}

#[test]
fn what_is_in_doubt_answers_and_what_is_rejected_does_not() {
    let mut world = World::new(1);
    let (doubted, refused) = (note("doubted"), note("refused"));
    world.publish(&doubted);
    world.pass_ms(2_500);
    world.down(0, 1);
    world.input(Input::LinkFailed(RelayId(0)));
    world.heard();
    queue(&mut world, &refused);
    let all = asked(&mut world, OTHER_CLIENT, &[json!({"kinds": [1]})]);
    assert_eq!(all.len(), 2);
    world.say(OTHER_CLIENT, &json!(["CLOSE", "a"]));
    world.up(0, 2);
    world.relay_says_over(0, 2, &ok(&refused, false, "blocked: not here"));
    world.down(0, 2);
    world.input(Input::LinkFailed(RelayId(0)));
    assert_eq!(asked(&mut world, OTHER_CLIENT, &[json!({"kinds": [1]})]), [doubted]);
}

/// Its publisher is told `false` only if nobody has it.
#[test]
fn what_is_being_written_is_given_and_is_refused_no_more() {
    let mut world = gone();
    world.database(Database::Hangs);
    let event = note("being written");
    assert_eq!(world.publish(&event), None);
    let given = asked(&mut world, OTHER_CLIENT, &[json!({"kinds": [1]})]);
    assert_eq!(given, std::slice::from_ref(&event));
    world.database(Database::Fails);
    world.pass_ms(3_000);
    let answer = world.heard().pop().unwrap();
    assert_eq!((&answer[2], &answer[1]), (&json!(true), &event["id"]));
    assert!(answer[3].as_str().unwrap().starts_with("local: "), "{answer}");
}

#[test]
fn clients_with_relays_of_their_own_are_given_what_waits_for_those() {
    let mut world = gone();
    world.add_relay(1, false, false);
    world.input(Input::LinkFailed(RelayId(1)));
    let waiting = note("waiting");
    queue(&mut world, &waiting);
    world.join_inside(7, Some(&[1]));
    world.join_inside(8, Some(&[0, 1]));
    assert_eq!(asked(&mut world, 7, &[json!({})]), NONE);
    assert_eq!(asked(&mut world, 8, &[json!({})]), [waiting]);
}

#[test]
fn what_waits_for_a_relay_that_knows_us_is_not_for_everybody() {
    let mut world = World::new(1);
    world.input(Input::RelayKey(RelayId(0), Some(Keys::from_hex(&"3".repeat(64)).unwrap())));
    world.relay_says(0, &json!(["AUTH", "challenge"]));
    let waiting = note("waiting");
    world.publish(&waiting);
    world.pass_ms(2_500);
    world.heard();
    world.input(Input::ClientJoined(ClientId(9), Role::Public, Arc::default()));
    assert_eq!(asked(&mut world, 9, &[json!({"kinds": [1]})]), NONE);
    world.say(CLIENT, &json!(["REQ", "a", {"kinds": [1]}]));
    world.pass_ms(4_000);
    assert_eq!(world.heard()[0], json!(["EVENT", "a", waiting]));
}

#[test]
fn it_answers_after_a_restart_too() {
    let mut world = gone();
    let waiting = note("waiting");
    queue(&mut world, &waiting);
    let mut world = world.restarted();
    assert_eq!(asked(&mut world, CLIENT, &[json!({"kinds": [1]})]), [waiting]);
}

/// A subscription holds so much: what waits here is not to push out what relays have.
#[test]
fn no_more_is_given_than_a_subscription_holds() {
    let mut world = gone();
    let long = "x".repeat(1 << 20);
    for age in 1..=6 {
        queue(&mut world, &event(1, UNIX - age, &json!([]), &long));
    }
    let given = asked(&mut world, OTHER_CLIENT, &[json!({})]);
    let dates: Vec<u64> = given.iter().map(|it| it["created_at"].as_u64().unwrap()).collect();
    assert_eq!(dates, [UNIX - 1, UNIX - 2, UNIX - 3], "the newest");
}
