//! What clients say and get back: every message of NIP-01, good and bad, with the answer it gets.

mod relay;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ClientMessage, Hint, Reply, close, publish, req};
use crate::ids::{Origin, RequestNumber};
use crate::nostr::event::Event;
use crate::nostr::hex;
use crate::nostr::keys::Keys;
use crate::nostr::reason::Reason;
use crate::nostr::verify::check;

const ID: [u8; 32] = [0xab; 32];

fn id() -> String {
    hex::encode(&ID)
}

fn signed(content: &str) -> Event {
    let keys = Keys::from_hex(&format!("{:064x}", 3)).unwrap();
    check(&keys.sign_event(5, 1, &[], content).unwrap()).unwrap()
}

/// The answer in one line: what it is, the id it names, and its text.
fn refusal(message: ClientMessage) -> (&'static str, String, String) {
    match message {
        ClientMessage::Refused(Reply::Notice(why)) => ("NOTICE", String::new(), why),
        ClientMessage::Refused(Reply::Closed { id, why }) => ("CLOSED", id.into(), why.to_string()),
        ClientMessage::Refused(Reply::Ok { id, accepted: false, why }) => {
            ("OK false", hex::encode(&id), why.to_string())
        }
        ClientMessage::Refused(Reply::NoId { id, why }) => ("OK false", id.into(), why.to_string()),
        ClientMessage::Refused(Reply::NegErr { id, why }) => {
            ("NEG-ERR", id.into(), why.to_string())
        }
        other => panic!("{other:?} is no refusal"),
    }
}

fn parsed(text: &str) -> ClientMessage {
    ClientMessage::parse(text, 3)
}

#[test]
fn an_event_is_taken_as_it_stands_with_the_id_it_claims() {
    let event = format!("{{\"kind\" :1, \"id\":\"{}\"}}", id());
    let spaced = format!(" [ \"EVENT\" , {event} ] \n");
    let escaped = format!("[\"\\u0045VENT\",{event},\"more\"]");
    for text in [&spaced, &escaped] {
        let expected = ClientMessage::Event { id: Some(ID), json: event.as_str().into() };
        assert_eq!(parsed(text), expected, "{text}");
    }
}

#[test]
fn an_event_without_a_readable_id_is_taken_for_the_verdict_that_it_is_none() {
    let list = format!("[\"{}\"]", id());
    for event in ["{}", "5", "null", "\"x\"", "{\"id\":5}", "{\"id\":\"ab\"}", "[[]]", &list] {
        let expected = ClientMessage::Event { id: None, json: event.into() };
        assert_eq!(parsed(&format!("[\"EVENT\",{event}]")), expected);
    }
}

/// The client waits for an OK with the id as it wrote it.
#[test]
fn an_id_in_capitals_is_refused_as_it_was_sent() {
    for sent in [id().to_uppercase(), id().replacen('a', "A", 1)] {
        let why = "invalid: id must be 64 lowercase hex characters";
        for text in [
            format!("[\"EVENT\",{{\"id\":\"{sent}\"}}]"),
            format!("[\"EVENT\",{{\"kind\":1, \"id\" : \"{sent}\"}}, 5]"),
            format!("[\"AUTH\",{{\"id\":\"{sent}\"}}]"),
        ] {
            let expected = ("OK false", sent.clone(), why.to_owned());
            assert_eq!(refusal(parsed(&text)), expected, "{text}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let close = ClientMessage::Close { id: "a".into() };
    assert_eq!(parsed("\u{feff}[\"CLOSE\",\"a\"]"), close);
    assert_eq!(refusal(parsed("\u{feff}\u{feff}[\"CLOSE\",\"a\"]")).0, "NOTICE");
    let head = format!("\u{feff}[\"EVENT\",{{\"id\":\"{}\"", id());
    assert_eq!(refusal(ClientMessage::too_long(&head, 9)).0, "OK false");
}

/// The id that an EVENT with this JSON is answered for.
fn claimed(event: &str) -> Option<[u8; 32]> {
    match parsed(&format!("[\"EVENT\",{event}]")) {
        ClientMessage::Event { id, .. } => id,
        other => panic!("{other:?} is no EVENT"),
    }
}

#[test]
fn an_id_is_found_wherever_it_stands_and_however_it_is_written() {
    let (id, other) = (id(), "cd".repeat(32));
    let quoted = json!(format!("\"id\":\"{other}\"")).to_string();
    let escaped = format!("\\u0061{}", &id[1..]);
    for event in [
        format!("{{\"id\":\"{id}\",\"content\":{quoted}}}"),
        format!("{{\"content\":{quoted},\"id\":\"{id}\"}}"),
        format!("{{\"content\":{quoted},\"id\" : \"{id}\"}}"),
        format!("{{\"tags\":[[\"id\",\"{other}\"],[{quoted}]],\"id\":\"{id}\"}}"),
        format!("{{\"content\":\"\\\\\",\"id\":\"{id}\"}}"),
        format!("{{\"subid\":\"{other}\",\"ID\":\"{other}\",\"id\":\"{id}\"}}"),
        format!("{{\"id\":\"{escaped}\"}}"),
        format!("{{\"\\u0069d\":\"{id}\"}}"),
    ] {
        assert_eq!(claimed(&event), Some(ID), "{event}");
    }
}

#[test]
fn the_id_of_a_nested_object_is_not_the_events() {
    let (id, other) = (id(), "cd".repeat(32));
    for event in [
        format!("{{\"seen\":{{\"id\":\"{other}\"}},\"id\":\"{id}\"}}"),
        format!("{{\"tags\":[{{\"id\":\"{other}\"}}],\"id\":\"{id}\"}}"),
        format!("{{\"x\\\"id\":\"{other}\",\"id\":\"{id}\"}}"),
    ] {
        assert_eq!(claimed(&event), Some(ID), "{event}");
    }
    assert_eq!(claimed(&format!("{{\"seen\":{{\"id\":\"{other}\"}}}}")), None);
    assert_eq!(claimed(&format!("[{{\"id\":\"{other}\"}}]")), None);
}

#[test]
fn req_carries_an_id_of_1_to_64_characters_and_filters() {
    let longest = "é".repeat(64);
    for (text, id, filters) in [
        ("[\"REQ\",\"a\",{}]".to_owned(), "a", 1),
        (format!("[\"REQ\",\"{longest}\",{{}},{{\"kinds\":[1]}}]"), &*longest, 2),
        ("[ \"REQ\" , \"\\u0061\\\"\\n\" , {} , {} , {} ]".to_owned(), "a\"\n", 3),
    ] {
        match parsed(&text) {
            ClientMessage::Req { id: read, filters: read_filters, resumed: None } => {
                assert_eq!((&*read, read_filters.len()), (id, filters), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn close_carries_an_id() {
    let expected = ClientMessage::Close { id: "a".into() };
    assert_eq!(parsed("[\"CLOSE\",\"a\"]"), expected);
    assert_eq!(parsed("[\"CLOSE\" ,\"\\u0061\",5]"), expected);
    assert_eq!(parsed("[\"CLOSE\",\"\"]"), ClientMessage::Close { id: "".into() });
}

#[test]
fn what_is_no_message_gets_a_notice() {
    for text in [
        "",
        " ",
        "hello",
        "5",
        "null",
        "{}",
        "\"EVENT\"",
        "[",
        "[\"EVENT\"",
        "[\"EVENT\",",
        "[]",
        "[5]",
        "[null,\"a\"]",
        "[[\"REQ\"]]",
        "[\"event\",{}]",
        "[\"REQQ\",\"a\",{}]",
        "[\"\"]",
        "[\"EVENT\"]",
        "[\"REQ\"]",
        "[\"REQ\",5,{}]",
        "[\"REQ\",null,{}]",
        "[\"REQ\",{}]",
        "[\"CLOSE\"]",
        "[\"CLOSE\",5]",
        "[\"COUNT\"]",
        "[\"COUNT\",{},{}]",
        "[\"AUTH\"]",
        "[\"AUTH\",{}]",
        "[\"AUTH\",\"challenge\"]",
        "[\"AUTH\",{\"id\":\"ab\"}]",
        "[\"NEG-OPEN\"]",
        "[\"NEG-OPEN\",5,{},\"\"]",
        "[\"NEG-MSG\",null]",
        "[\"NEG-CLOSE\"]",
        "[\"NEG-CLOSE\",[]]",
        "[\"NEG-ERR\",\"a\",\"closed: by you?\"]",
        "[\"EOSE\",\"a\"]",
        "[\"OK\"]",
        "[\"\\ud800\"]",
        "[\"CLOSE\",\"a\"]x",
        "[\"CLOSE\",\"a\"][]",
        "[\"CLOSE\",\"a\"]\0",
        "[\"CLOSE\",\"a\",]",
        "[\"CLOSE\",\"\\ud800\"]",
        "['CLOSE','a']",
    ] {
        let (kind, _, why) = refusal(parsed(text));
        assert_eq!(kind, "NOTICE", "{text}");
        assert!(why.starts_with("invalid: "), "{text}: {why}");
    }
}

#[test]
fn a_wrong_req_is_closed_by_its_id() {
    let long = "x".repeat(65);
    for (text, id, prefix) in [
        ("[\"REQ\",\"a\"]", "a", "invalid: "),
        ("[\"REQ\",\"\",{}]", "", "invalid: "),
        (&format!("[\"REQ\",\"{long}\",{{}}]"), &*long, "invalid: "),
        ("[\"REQ\",\"a\",5]", "a", "invalid: "),
        ("[\"REQ\",\"a\",{},[]]", "a", "invalid: "),
        ("[\"REQ\",\"a\",{},{\"ids\":[\"AB\"]}]", "a", "invalid: ids "),
        ("[\"REQ\",\"a\\\"\",{\"kinds\":[70000]}]", "a\"", "invalid: kinds "),
        ("[\"REQ\",\"a\",{},{},{},{}]", "a", "restricted: "),
        ("[\"COUNT\",\"a\"]", "a", "invalid: "),
        ("[\"COUNT\",\"\",{}]", "", "invalid: "),
        ("[\"COUNT\",\"a\",{},{\"ids\":[\"AB\"]}]", "a", "invalid: ids "),
        ("[\"COUNT\",\"a\",{},{},{},{}]", "a", "restricted: "),
    ] {
        let (kind, said, why) = refusal(parsed(text));
        assert_eq!((kind, said.as_str()), ("CLOSED", id), "{text}");
        assert!(why.starts_with(prefix), "{text}: {why}");
    }
}

#[test]
fn auth_carries_an_event_whose_id_can_be_read() {
    let event = format!("{{\"kind\" :1, \"id\":\"{}\"}}", id());
    let expected = ClientMessage::Auth { id: ID, json: event.as_str().into() };
    assert_eq!(parsed(&format!("[\"AUTH\", {event} ,5]")), expected);
}

/// NIP-77: what cannot be served gets NEG-ERR, and an end gets nothing.
#[test]
fn a_sync_is_refused_by_its_id() {
    for (text, id, prefix) in [
        ("[\"NEG-OPEN\",\"a\",{\"kinds\":[1]},\"6100\"]", "a", "blocked: "),
        ("[\"NEG-OPEN\",\"a\\\"\"]", "a\"", "blocked: "),
        ("[\"NEG-MSG\",\"a\",\"6100\"]", "a", "closed: "),
    ] {
        let (kind, said, why) = refusal(parsed(text));
        assert_eq!((kind, said.as_str()), ("NEG-ERR", id), "{text}");
        assert!(why.starts_with(prefix), "{text}: {why}");
    }
    assert_eq!(parsed("[\"NEG-CLOSE\",\"a\"]"), ClientMessage::NegClose);
}

#[test]
fn a_message_too_long_is_refused_by_what_its_beginning_shows() {
    let id = id();
    let capitals = id.to_uppercase();
    let event = format!("[\"EVENT\",{{\"kind\":1,\"id\":\"{id}\",\"content\":\"abc");
    for (head, kind, said) in [
        (&*event, "OK false", &*id),
        (&format!(" [ \"EVENT\" , {{\"id\":\"{id}\""), "OK false", &id),
        (&format!("[\"EVENT\",{{\"id\":\"{capitals}\""), "OK false", &capitals),
        (&format!("[\"EVENT\",{{\"id\":\"{}", &id[1..]), "NOTICE", ""),
        ("[\"EVENT\",{\"content\":\"\\\"id\\\":\\\"", "NOTICE", ""),
        ("[\"REQ\",\"a\\\"\",{\"ids\":[\"", "CLOSED", "a\""),
        (" [ \"REQ\" , \"a\" , {", "CLOSED", "a"),
        ("[\"COUNT\",\"a\",{", "CLOSED", "a"),
        ("[\"NEG-OPEN\",\"a\",{", "NEG-ERR", "a"),
        ("[\"NEG-MSG\",\"a\\\"\",\"61", "NEG-ERR", "a\""),
        ("[\"NEG-MSG\",{", "NOTICE", ""),
        (&format!("[\"AUTH\",{{\"id\":\"{id}\",\"tags\":[["), "OK false", &id),
        ("[\"AUTH\",{\"tags\":[[", "NOTICE", ""),
        ("[\"REQ\",\"aaaa", "NOTICE", ""),
        ("[\"REQ\",5", "NOTICE", ""),
        ("[\"REQ\"", "NOTICE", ""),
        ("[\"CLOSE\",\"a", "NOTICE", ""),
        ("[\"REQQ\",\"a\",", "NOTICE", ""),
        ("[5,", "NOTICE", ""),
        ("[", "NOTICE", ""),
        ("", "NOTICE", ""),
        ("aaaa", "NOTICE", ""),
        ("{\"id\":\"", "NOTICE", ""),
    ] {
        let refused = refusal(ClientMessage::too_long(head, 1_000));
        let why = "restricted: message longer than 1000 bytes".to_owned();
        assert_eq!(refused, (kind, said.to_owned(), why), "{head}");
    }
}

fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof!["[a-z]{0,5}", "[\0-\"\\\\\u{7f}]{0,3}", any::<String>()];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_is_sent_reads_back_as_what_was_meant(
        id in text(),
        why in text(),
        event_id in any::<[u8; 32]>(),
        accepted in any::<bool>(),
        content in text(),
    ) {
        let event = Arc::new(signed(&content));
        let event_json: Value = serde_json::from_str(event.json()).unwrap();
        let shared: Arc<str> = id.as_str().into();
        let hex = hex::encode(&event_id);
        let ok = Reply::Ok { id: event_id, accepted, why: Reason::read(why.as_str()) };
        let closed = Reply::Closed { id: id.as_str().into(), why: Reason::read(why.as_str()) };
        for (reply, expected) in [
            (Reply::Event { id: shared.clone(), event, from: Origin::Here }, json!(["EVENT", id, event_json])),
            (Reply::Eose { id: Arc::clone(&shared), hint: Hint::None }, json!(["EOSE", id])),
            (Reply::Eose { id: Arc::clone(&shared), hint: Hint::More }, json!(["EOSE", id, ["more"]])),
            (Reply::Eose { id: shared, hint: Hint::Finish }, json!(["EOSE", id, ["finish"]])),
            (ok, json!(["OK", hex, accepted, why])),
            (Reply::NoId { id: id.as_str().into(), why: Reason::read(why.as_str()) }, json!(["OK", id, false, why])),
            (closed, json!(["CLOSED", id, why])),
            (Reply::NegErr { id: id.as_str().into(), why: Reason::read(why.as_str()) }, json!(["NEG-ERR", id, why])),
            (Reply::Auth { challenge: why.as_str().into() }, json!(["AUTH", why])),
            (Reply::Notice(why.clone()), json!(["NOTICE", why])),
        ] {
            let sent = reply.to_json();
            prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), expected);
            prop_assert!(!sent.contains('\n') && !sent.contains('\0'), "{}", sent);
        }
    }

    #[test]
    fn the_size_of_plain_text_is_counted_and_never_too_low(text in "[ !#-\\[\\]-~é🦩]{0,80}") {
        let event = Arc::new(signed(&text));
        for reply in [
            Reply::Event { id: text.as_str().into(), event, from: Origin::Here },
            Reply::Eose { id: text.as_str().into(), hint: Hint::None },
            Reply::Ok { id: ID, accepted: false, why: Reason::read(text.as_str()) },
            Reply::Closed { id: text.as_str().into(), why: Reason::read(text.as_str()) },
            Reply::Notice(text.clone()),
            Reply::Auth { challenge: text.as_str().into() },
            Reply::NegErr { id: text.as_str().into(), why: Reason::read(text.as_str()) },
        ] {
            let (said, sent) = (reply.size(), reply.to_json().len());
            prop_assert!(said >= sent && said < sent + 24, "{} {}", said, reply.to_json());
        }
    }

    /// Two clients' ids may hold anything; what comes back is theirs again.
    #[test]
    fn a_subscription_id_comes_back_as_it_was_sent(first in any::<char>(), rest in text()) {
        let id: String = std::iter::once(first).chain(rest.chars()).take(64).collect();
        let sent = json!(["REQ", id, {}]).to_string();
        let ClientMessage::Req { id: read, .. } = parsed(&sent) else { panic!("{sent}") };
        let eose: Value = serde_json::from_str(&Reply::Eose { id: (*read).into(), hint: Hint::None }.to_json()).unwrap();
        prop_assert_eq!(eose, json!(["EOSE", id]));
    }
}

#[test]
fn relays_are_asked_under_our_own_numbers() {
    let filters = ["{\"kinds\":[1]}", "{}"];
    assert_eq!(req(RequestNumber(17), filters.into_iter()), "[\"REQ\",\"17\",{\"kinds\":[1]},{}]");
    assert_eq!(close(RequestNumber(u64::MAX)), "[\"CLOSE\",\"18446744073709551615\"]");
    let event = signed("hello");
    assert_eq!(publish(&event), format!("[\"EVENT\",{}]", event.json()));
}
