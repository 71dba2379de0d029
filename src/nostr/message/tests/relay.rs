//! What relays say: the fast look at an EVENT finds what a JSON parser would.

use proptest::prelude::*;
use serde_json::json;

use super::{ID, id, signed};
use crate::ids::RequestNumber;
use crate::nostr::hex;
use crate::nostr::message::{Hint, RelayMessage};
use crate::nostr::verify::Job;

fn text() -> impl Strategy<Value = String> {
    let tricky = prop::sample::select(vec![
        "\"",
        "\\",
        "\",",
        "\"]",
        "]",
        "}",
        "[\"EVENT\",\"",
        "\"id\":\"",
        "\u{0}",
        "é🦩",
        "\\\"",
    ]);
    let part = prop_oneof![tricky.prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// An event's members in any order; the content and the tags hold traps.
fn event() -> impl Strategy<Value = String> {
    (text(), text()).prop_flat_map(|(content, value)| {
        let trap = format!("{value}\"id\":\"{}\"", "cd".repeat(32));
        let members = [
            format!("\"id\":\"{}\"", id()),
            format!("\"content\":{}", json!(content)),
            format!("\"tags\":{}", json!([["id", trap], [trap]])),
            "\"kind\":1".to_owned(),
            format!("\"sig\":\"{}\"", "ef".repeat(64)),
        ];
        let members = Just(members.to_vec()).prop_shuffle();
        members.prop_map(|members| format!("{{{}}}", members.join(",")))
    })
}

proptest! {
    #[test]
    fn the_fast_look_and_the_parser_find_the_same(number in any::<u64>(), event in event()) {
        let expected = RelayMessage::Event { number: Some(RequestNumber(number)), id: ID, json: &event };
        let fast = format!("[\"EVENT\",\"{number}\",{event}]");
        prop_assert_eq!(RelayMessage::scan(&fast), Ok(expected.clone()));
        for slow in [
            format!("[\"EVENT\", \"{number}\", {event}]"),
            format!(" [\"EVENT\",\"{number}\",{event}]\r\n"),
            format!("[\n\"\\u0045VENT\"\t,\"{number}\" , {event} ]"),
            format!("[\"EVENT\", \"{number}\", {event}, \"more\"]"),
            format!("[\"EVENT\",\"{number}\",{event},\"more\"]"),
            format!("[\"EVENT\",\"{number}\",{event},{event}]"),
            format!("[\"EVENT\",\"{number}\",{event} ]"),
            format!("\u{feff}[\"EVENT\",\"{number}\",{event}]"),
        ] {
            prop_assert_eq!(RelayMessage::scan(&slow), Ok(expected.clone()), "{}", slow);
        }
    }

    #[test]
    fn the_event_is_a_part_of_the_message(number in any::<u64>(), event in event()) {
        for text in [
            format!("[\"EVENT\",\"{number}\",{event}]"),
            format!("[ \"EVENT\", \"{number}\", {event} ]"),
        ] {
            let Ok(RelayMessage::Event { json, .. }) = RelayMessage::scan(&text) else {
                panic!("{text}")
            };
            let start = json.as_ptr() as usize - text.as_ptr() as usize;
            prop_assert_eq!(&text[start..start + json.len()], event.as_str());
        }
    }
}

/// The id that a relay's EVENT claims, found by the fast look and by the parser.
fn claimed(event: &str) -> Result<[u8; 32], &'static str> {
    let [fast, slow] = ["[\"EVENT\",\"1\",", "[ \"EVENT\",\"1\","].map(|start| {
        RelayMessage::scan(&format!("{start}{event}]")).map(|message| match message {
            RelayMessage::Event { id, .. } => id,
            other => panic!("{other:?}"),
        })
    });
    assert_eq!(fast, slow, "{event}");
    fast
}

#[test]
fn a_true_event_is_found_under_its_own_id() {
    let event = signed("say \"id\":\"x\" \\ and \u{1}\n");
    assert_eq!(claimed(event.json()), Ok(*event.id()));
}

#[test]
fn an_id_in_a_string_is_not_the_events() {
    let (id, other) = (id(), "cd".repeat(32));
    let trap = json!(format!("\"id\":\"{other}\"")).to_string();
    for event in [
        format!("{{\"content\":{trap},\"id\":\"{id}\"}}"),
        format!("{{\"content\":{trap},\"id\" :\"{id}\"}}"),
        format!("{{\"id\" : \"{id}\",\"content\":{trap}}}"),
        format!("{{\"content\":\"\\\\\",\"tags\":[[{trap}]],\"id\":\"{id}\"}}"),
        format!("{{\"ids\":\"{other}\",\"id\":\"{id}\"}}"),
    ] {
        assert_eq!(claimed(&event), Ok(ID), "{event}");
    }
}

/// The look at the envelope may take another object's id for the event's. That can cost the
/// event, but nothing passes under an id that is not its own.
#[test]
fn a_wrongly_claimed_id_never_passes() {
    let event = signed("hello");
    let (id, other) = (hex::encode(event.id()), "cd".repeat(32));
    for (member, readable) in [
        (format!("\"x\":{{\"id\":\"{other}\"}}"), true),
        (format!("\"x\":{{\"id\":\"{id}\"}}"), true),
        (format!("\"x\\\"id\":\"{other}\""), true),
        (format!("\"id\":\"{other}\""), false),
        (format!("\"id\":\"{id}\""), false),
    ] {
        for json in [
            event.json().replacen('{', &format!("{{{member},"), 1),
            event.json().replacen('}', &format!(",{member}}}"), 1),
        ] {
            for start in ["[\"EVENT\",\"1\",", "[ \"EVENT\",\"1\","] {
                let text = format!("{start}{json}]");
                let Ok(RelayMessage::Event { id: claimed, json: read, .. }) =
                    RelayMessage::scan(&text)
                else {
                    panic!("{text}")
                };
                assert_eq!(read, json);
                let verdict = Job { tag: (), claimed: Some(claimed), text: read.into() }.run();
                assert_eq!(verdict.result.is_ok(), readable && claimed == *event.id(), "{text}");
            }
        }
    }
}

#[test]
fn an_event_without_an_id_is_none() {
    for event in ["{}", "5", "null", "[]", "{\"id\":5}", "{\"id\":\"\"}", "{\"id\":\"ABCD\"}"] {
        assert!(claimed(event).is_err(), "{event}");
    }
    let upper = id().to_uppercase();
    assert!(claimed(&format!("{{\"id\":\"{upper}\"}}")).is_err());
    assert!(claimed(&format!("{{\"id\":\"{}\"}}", &id()[1..])).is_err());
}

#[test]
fn a_subscription_id_that_is_no_number_is_none_of_ours() {
    for foreign in ["", "abc", "-1", "1.0", "1e3", " 1", "18446744073709551616", "\\\"", "a\\\",b"]
    {
        for text in [
            format!("[\"EVENT\",\"{foreign}\",{{\"id\":\"{}\"}}]", id()),
            format!("[ \"EVENT\",\"{foreign}\",{{\"id\":\"{}\"}}]", id()),
        ] {
            let message = RelayMessage::scan(&text);
            let none = matches!(message, Ok(RelayMessage::Event { number: None, .. }));
            assert!(none, "{text}: {message:?}");
        }
        let eose = format!("[\"EOSE\",\"{foreign}\"]");
        assert_eq!(RelayMessage::scan(&eose), Ok(RelayMessage::Eose(None, Hint::None)));
    }
    assert_eq!(RelayMessage::scan("[\"EOSE\",5]"), Ok(RelayMessage::Eose(None, Hint::None)));
}

#[test]
fn everything_else_a_relay_says() {
    let id = id();
    let text = str::to_owned;
    for (message, expected) in [
        (text("[\"EOSE\",\"7\"]"), RelayMessage::Eose(Some(RequestNumber(7)), Hint::None)),
        (
            text(" [ \"EOSE\" , \"7\" , 1 ] "),
            RelayMessage::Eose(Some(RequestNumber(7)), Hint::None),
        ),
        (
            text("[\"EOSE\",\"7\",[\"new\",\"finish\"]]"),
            RelayMessage::Eose(Some(RequestNumber(7)), Hint::Finish),
        ),
        (
            text("[\"EOSE\",\"7\",[\"more\"]]"),
            RelayMessage::Eose(Some(RequestNumber(7)), Hint::More),
        ),
        (
            text("[\"EOSE\",\"7\",[\"more\",\"finish\"]]"),
            RelayMessage::Eose(Some(RequestNumber(7)), Hint::None),
        ),
        (text("[\"EOSE\",\"7\",[]]"), RelayMessage::Eose(Some(RequestNumber(7)), Hint::None)),
        (
            text("[\"EOSE\",\"7\",\"finish\"]"),
            RelayMessage::Eose(Some(RequestNumber(7)), Hint::None),
        ),
        (text("[\"EOSE\"]"), RelayMessage::Eose(None, Hint::None)),
        (
            text("[\"CLOSED\",\"7\",\"error: \\u00e9\\n\"]"),
            RelayMessage::Closed(Some(RequestNumber(7)), text("error: é\n")),
        ),
        (text("[\"CLOSED\",\"7\"]"), RelayMessage::Closed(Some(RequestNumber(7)), String::new())),
        (
            text("[\"CLOSED\",\"7\",null]"),
            RelayMessage::Closed(Some(RequestNumber(7)), String::new()),
        ),
        (format!("[\"OK\",\"{id}\",true,\"\"]"), RelayMessage::Ok(ID, true, String::new())),
        (format!("[\"OK\",\"{id}\",true]"), RelayMessage::Ok(ID, true, String::new())),
        (
            format!("[\"OK\", \"{id}\", false, \"blocked: \\\"no\\\"\"]"),
            RelayMessage::Ok(ID, false, text("blocked: \"no\"")),
        ),
        (text("[\"NOTICE\",\"hello\"]"), RelayMessage::Notice(text("hello"))),
        (text("[\"NOTICE\"]"), RelayMessage::Notice(String::new())),
        (text("[\"AUTH\",\"challenge\"]"), RelayMessage::Auth("challenge".to_owned())),
    ] {
        assert_eq!(RelayMessage::scan(&message), Ok(expected), "{message}");
    }
}

#[test]
fn what_is_no_relay_message_is_an_error_for_its_list() {
    let id = id();
    for text in [
        "",
        "hello",
        "5",
        "{}",
        "[]",
        "[5]",
        "[\"HELLO\"]",
        "[\"EVENT\"]",
        "[\"EVENT\",\"1\"]",
        "[\"EVENT\",\"1\"",
        "[\"EVENT\",\"1\",",
        "[\"OK\"]",
        "[\"OK\",\"ab\",true,\"\"]",
        &format!("[\"OK\",\"{id}\"]"),
        &format!("[\"OK\",\"{id}\",\"true\",\"\"]"),
        &format!("[\"OK\",\"{id}\",1,\"\"]"),
        &format!("[\"OK\",\"{}\",true,\"\"]", id.to_uppercase()),
        "[\"EOSE\",\"7\"]]",
        "[\"EOSE\",\"7\"",
        "[\"NOTICE\",\"\\ud800\"",
        "\0",
    ] {
        assert!(RelayMessage::scan(text).is_err(), "{text}");
    }
}
