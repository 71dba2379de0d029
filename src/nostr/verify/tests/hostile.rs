//! Nothing a peer can write makes the core panic, exhausts its stack, or passes for true.

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Refusal, refusal, signed, with_raw};
use crate::nostr::message::{ClientMessage, RelayMessage};
use crate::nostr::verify::check;

#[test]
fn deep_nesting_costs_no_stack() {
    let event = signed("hello");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let open = open.repeat(100_000);
        let closed = format!("{open}1{}", close.repeat(100_000));
        for deep in [&open, &closed] {
            for name in ["id", "pubkey", "sig", "content", "tags", "kind", "created_at"] {
                assert_eq!(refusal(&with_raw(&event, name, deep)), Some(Refusal::Shape), "{name}");
            }
            assert_eq!(refusal(deep), Some(Refusal::Shape));
            let _ = ClientMessage::parse(deep, 10);
            let _ = ClientMessage::parse(&format!("[\"REQ\",\"a\",{deep}]"), 10);
            let _ = ClientMessage::parse(&format!("[\"EVENT\",{deep}]"), 10);
            let _ = ClientMessage::too_long(&format!("[\"REQ\",{deep}"), 10);
            let _ = RelayMessage::scan(deep);
            let _ = RelayMessage::scan(&format!("[\"EVENT\",\"1\",{deep}]"));
            let _ = RelayMessage::scan(&format!("[\"NOTICE\", {deep}]"));
        }
        let beside = event.replacen('{', &format!("{{\"x\":{closed},"), 1);
        assert_eq!(check(&beside).unwrap().json(), event, "a field no signature covers");
    }
}

/// What a fuzzer would do to a text.
fn mutated(text: String) -> impl Strategy<Value = String> {
    let snippet = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "",
            "\"",
            "\\",
            "\\u",
            "\\ud800",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "-1",
            "1e999",
            "\"id\":\"",
            "\"sig\":",
            "\0",
            "\u{feff}",
            "\"EVENT\"",
            "\"REQ\",\"x\",",
            "\n",
            "é",
        ])
        .prop_map(str::to_owned),
    ];
    let edits = prop::collection::vec((any::<Index>(), 0usize..20, snippet), 1..4);
    edits.prop_map(move |edits| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, removed, inserted) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        text.into_iter().collect()
    })
}

/// Reads a text in every way the core reads what a peer has written.
fn read_in_every_way(text: &str) -> Result<(), TestCaseError> {
    let _ = ClientMessage::parse(text, 3);
    let _ = ClientMessage::too_long(text, 3);
    let _ = RelayMessage::scan(text);
    if let Ok(event) = check(text) {
        let theirs = nostr::event::Event::from_json(event.json().as_bytes()).unwrap();
        prop_assert!(theirs.verify().is_ok(), "{text} is not true to the nostr crate");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_the_core_panic(
        any_text in any::<String>(),
        json_like in "[\\[\\]{}\",:\\\\a-fu0-9 \n\0]{0,80}",
    ) {
        read_in_every_way(&any_text)?;
        read_in_every_way(&json_like)?;
        read_in_every_way(&format!("[\"EVENT\",\"1\",{json_like}]"))?;
        read_in_every_way(&format!("[\"REQ\",\"1\",{{{json_like}}}]"))?;
    }

    #[test]
    fn no_mutation_of_a_true_message_makes_the_core_panic_or_passes(
        text in prop::sample::select(vec![
            signed("hello \"id\":\"\\ é🦩"),
            format!("[\"EVENT\",{}]", signed("hello")),
            format!("[\"EVENT\",\"7\",{}]", signed("hello")),
            "[\"REQ\",\"a\",{\"kinds\":[1],\"#e\":[\"b\"],\"limit\":5},{\"ids\":[]}]".to_owned(),
            format!("[\"OK\",\"{}\",true,\"duplicate: é\"]", "ab".repeat(32)),
            "[\"CLOSED\",\"7\",\"error: \\u0000\"]".to_owned(),
        ])
        .prop_flat_map(mutated),
    ) {
        read_in_every_way(&text)?;
    }
}
