//! A client goes from one core to the next: two worlds, and what the first still says.

use crate::constants::REPLAY_MARGIN;
use crate::nostr::event::Unverified;
use crate::router::{Estate, Legacy};

use super::*;

const HEIR: u64 = 7;

impl World {
    /// The first client's, to go on in another world.
    fn bequeath(&mut self) -> Estate {
        let mut fx = Effects::default();
        let estate = self.router.bequeath(self.now, ClientId(CLIENT), &mut fx).unwrap();
        assert!(fx.is_empty(), "what it was told is told");
        estate
    }

    fn inherit(&mut self, estate: Estate, role: Role) {
        let client = ClientId(HEIR);
        self.input(Input::ClientInherited(client, role, Arc::default(), Box::new(estate)));
    }

    fn legacy(&mut self, legacy: Legacy) {
        self.input(Input::ClientLegacy(ClientId(HEIR), legacy));
    }

    fn legacy_event(&mut self, id: &str, event: &Value) {
        let text = event.to_string();
        let event = Arc::new(Unverified::parse(&text).unwrap().trusted().unwrap());
        self.legacy(Legacy::Event { id: id.into(), event });
    }

    /// The number of the one REQ the relay was sent, and its first filter.
    fn asked_for(&mut self, relay: u64) -> (Value, Value) {
        let mut reqs = self.got(relay).into_iter().filter(|message| message[0] == "REQ");
        let req = reqs.next().unwrap();
        assert_eq!(reqs.next(), None);
        (req[1].clone(), req[2].clone())
    }
}

fn given(id: &str, event: &Value) -> Value {
    json!(["EVENT", id, event])
}

/// A live subscription of the first client's that was given this.
fn live(world: &mut World, event: &Value) -> String {
    let number = world.subscribe("a", json!({"kinds": [1, 23_194], "limit": 5}));
    world.relay_says(0, &given(&number, event));
    world.relay_says(0, &json!(["EOSE", number]));
    assert_eq!(world.heard(), [given("a", event), json!(["EOSE", "a"])]);
    number
}

#[test]
fn it_goes_on_without_a_second_eose_and_nothing_comes_twice() {
    let (mut first, mut next) = (World::new(1), World::new(2));
    let [old, missed, both] = ["old", "missed", "both"].map(note);
    let order = event(23_194, UNIX - 1, &json!([]), "pay");
    let number = live(&mut first, &old);
    next.inherit(first.bequeath(), Role::Private);
    let (asked, filter) = next.asked_for(0);
    let again = json!({"kinds": [1, 23_194], "since": UNIX - REPLAY_MARGIN});
    assert_eq!(filter, again, "since then");
    let (_, filter) = next.asked_for(1);
    assert_eq!(filter["limit"], 5, "who has not been asked has all to give");
    // The order is none to the next core: it has just asked, and might be given an old one.
    next.relay_says(0, &given(asked.as_str().unwrap(), &order));
    next.relay_says(0, &given(asked.as_str().unwrap(), &old));
    next.relay_says(0, &given(asked.as_str().unwrap(), &both));
    next.relay_says(0, &json!(["EOSE", asked]));
    assert_eq!(next.heard_by(HEIR), [given("a", &both)]);
    // To the first it is one.
    for event in [&order, &both, &missed] {
        first.relay_says(0, &given(&number, event));
        assert_eq!(first.heard(), [given("a", event)]);
        next.legacy_event("a", event);
    }
    next.legacy(Legacy::Eose("a".into(), r#"["EOSE","a"]"#.into()));
    next.legacy(Legacy::Closed("a".into(), r#"["CLOSED","a",""]"#.into()));
    next.legacy(Legacy::Over);
    assert_eq!(next.heard_by(HEIR), [given("a", &order), given("a", &missed)]);
    first.input(Input::ClientLeft(ClientId(CLIENT)));
    assert!(first.nothing_is_left());
    next.input(Input::ClientLeft(ClientId(HEIR)));
    assert!(next.nothing_is_left());
}

#[test]
fn what_waited_for_the_client_comes_first_and_answers_come_as_they_are() {
    let mut next = World::new(1);
    let texts = [r#"["NOTICE","one"]"#, r#"["OK","ab",true,""]"#];
    let estate = Estate { mail: texts.map(Into::into).into(), ..Estate::default() };
    next.inherit(estate, Role::Private);
    let count = r#"["CLOSED","count","error: no"]"#;
    next.legacy(Legacy::Closed("count".into(), count.into()));
    next.legacy(Legacy::Answer(texts[1].into()));
    let told: Vec<String> = next.heard_by(HEIR).iter().map(Value::to_string).collect();
    assert_eq!(told, [texts[0], texts[1], count, texts[1]]);
}

#[test]
fn the_first_core_finishes_a_stored_answer() {
    let (mut first, mut next) = (World::new(2), World::new(2));
    let number = first.subscribe("a", json!({"kinds": [1]}));
    let [newer, older] = [10, 20].map(|back| event(1, UNIX - back, &json!([]), "stored"));
    first.relay_says(0, &given(&number, &older));
    first.relay_says(0, &json!(["EOSE", number]));
    assert_eq!(first.heard(), [json!(null); 0], "the other relay may have a newer one");
    next.inherit(first.bequeath(), Role::Private);
    assert_eq!(next.heard_by(HEIR), [json!(null); 0]);
    for event in [&newer, &older] {
        first.relay_says(1, &given(&number, event));
    }
    first.relay_says(1, &json!(["EOSE", number]));
    let told = [given("a", &newer), given("a", &older), json!(["EOSE", "a"])];
    assert_eq!(first.heard(), told);
    for event in [&newer, &older] {
        next.legacy_event("a", event);
    }
    next.legacy(Legacy::Eose("a".into(), r#"["EOSE","a"]"#.into()));
    next.legacy(Legacy::Over);
    assert_eq!(next.heard_by(HEIR), told);
}

#[test]
fn an_eose_that_the_first_core_owes_comes_at_its_end() {
    let (mut first, mut next) = (World::new(1), World::new(1));
    first.subscribe("a", json!({"kinds": [1]}));
    next.inherit(first.bequeath(), Role::Private);
    let (asked, _) = next.asked_for(0);
    next.relay_says(0, &json!(["EOSE", asked]));
    assert_eq!(next.heard_by(HEIR), [json!(null); 0]);
    next.legacy(Legacy::Over);
    assert_eq!(next.heard_by(HEIR), [json!(["EOSE", "a"])]);
    next.legacy(Legacy::Over);
    assert_eq!(next.heard_by(HEIR), [json!(null); 0]);
}

#[test]
fn another_subscription_of_that_name_has_nothing_to_do_with_it() {
    let (mut first, mut next) = (World::new(1), World::new(1));
    live(&mut first, &note("old"));
    next.inherit(first.bequeath(), Role::Private);
    next.say(HEIR, &json!(["REQ", "a", {"kinds": [2]}]));
    next.legacy_event("a", &note("for the one before"));
    next.legacy(Legacy::Eose("a".into(), r#"["EOSE","a"]"#.into()));
    next.legacy(Legacy::Over);
    assert_eq!(next.heard_by(HEIR), [json!(null); 0]);
}

#[test]
fn who_it_is_goes_along() {
    let [mut first, mut next, mut strict] = [World::new(1), World::new(1), World::new(1)];
    let keys = Keys::from_hex(&"7".repeat(64)).unwrap();
    let allowed: [u8; 32] = crate::nostr::hex::decode(&keys.public_hex()).unwrap();
    let public = |world: &mut World, allowed| {
        world.set(|settings| settings.public_allowed = vec![allowed]);
    };
    public(&mut first, allowed);
    public(&mut next, allowed);
    public(&mut strict, [1; 32]);
    first.input(Input::ClientLeft(ClientId(CLIENT)));
    first.input(Input::ClientJoined(ClientId(CLIENT), Role::Public, Arc::default()));
    first.input(Input::ClientReached(ClientId(CLIENT), ["here.com:81".into()].into()));
    let challenge = first.heard().pop().unwrap()[1].clone();
    let unproven = first.bequeath();
    let tags = json!([["challenge", challenge], ["relay", "ws://here.com:81/"]]);
    let auth = event(22_242, UNIX, &tags, "");
    first.say(CLIENT, &json!(["AUTH", auth]));
    assert_eq!(first.heard(), [ok(&auth, true, "")]);
    live(&mut first, &note("old"));

    next.inherit(unproven, Role::Public);
    assert_eq!(next.heard_by(HEIR), [json!(null); 0], "it was asked before");
    next.say(HEIR, &json!(["AUTH", auth]));
    assert_eq!(next.heard_by(HEIR), [ok(&auth, true, "")]);
    next.input(Input::ClientLeft(ClientId(HEIR)));

    next.inherit(first.bequeath(), Role::Public);
    assert_eq!(next.heard_by(HEIR), [json!(null); 0]);
    assert_eq!(next.got(0).len(), 1, "it is served");

    let number = first.subscribe("b", json!({"kinds": [1]}));
    first.relay_says(0, &json!(["EOSE", number]));
    strict.inherit(first.bequeath(), Role::Public);
    let told = strict.heard_by(HEIR);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|message| message[0] == "CLOSED"), "{told:?}");
}

#[test]
fn what_waits_in_the_outbox_was_given_once() {
    let mut first = World::new(1);
    live(&mut first, &note("old"));
    first.down(0, 1);
    first.away(0);
    let queued = note("queued");
    first.say(OTHER_CLIENT, &json!(["EVENT", queued]));
    assert_eq!(first.heard(), [given("a", &queued)]);
    assert_eq!(first.rows.len(), 1, "and in the same second the client goes on");
    let estate = first.bequeath();
    let mut next = first.restarted();
    next.inherit(estate, Role::Private);
    assert_eq!(next.heard_by(HEIR), [json!(null); 0]);
}

/// The second is stopped before the first has ended.
#[test]
fn three_cores_in_a_row_give_everything_once() {
    let [mut first, mut second, mut third] = [World::new(1), World::new(1), World::new(1)];
    let [old, one, two, all] = ["old", "one", "two", "all"].map(note);
    live(&mut first, &old);
    second.inherit(first.bequeath(), Role::Private);
    second.legacy_event("a", &one);
    assert_eq!(second.heard_by(HEIR), [given("a", &one)]);
    let mut fx = Effects::default();
    let estate = second.router.bequeath(second.now, ClientId(HEIR), &mut fx).unwrap();
    third.inherit(estate, Role::Private);
    // What the second passes on it does not know any more.
    for event in [&old, &one, &two, &all] {
        second.legacy_event("a", event);
        for told in second.heard_by(HEIR) {
            third.legacy_event("a", &told[2]);
        }
    }
    let (asked, _) = third.asked_for(0);
    for event in [&old, &one, &two, &all] {
        third.relay_says(0, &given(asked.as_str().unwrap(), event));
    }
    second.legacy(Legacy::Over);
    assert_eq!(second.heard_by(HEIR), [json!(null); 0]);
    third.legacy(Legacy::Over);
    assert_eq!(third.heard_by(HEIR), [given("a", &two), given("a", &all)]);
}
