//! Nothing but a true event passes, and what is wrong is said by its right name.

mod hostile;

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Job, Verdict, Verifier, check};
use crate::nostr::event::{EventError, event_id};
use crate::nostr::hex;
use crate::nostr::keys::Keys;

fn keys(secret: u8) -> Keys {
    Keys::from_hex(&format!("{secret:064x}")).unwrap()
}

fn signed(content: &str) -> String {
    let tags = [vec!["e".to_owned(), "ab".repeat(32)], vec!["t".to_owned(), "é\n".to_owned()]];
    keys(3).sign_event(1_700_000_000, 1, &tags, content).unwrap()
}

/// The event with one field replaced.
fn with(json: &str, field: &str, value: impl Into<Value>) -> String {
    let mut event: Value = serde_json::from_str(json).unwrap();
    event[field] = value.into();
    event.to_string()
}

fn field(json: &str, name: &str) -> String {
    let event: Value = serde_json::from_str(json).unwrap();
    event[name].as_str().unwrap().to_owned()
}

/// The event with one bit of a hex field changed.
fn with_flipped_bit(json: &str, name: &str, bit: usize) -> String {
    let mut digits = field(json, name).into_bytes();
    let digit = char::from(digits[bit / 4]).to_digit(16).unwrap() ^ (1 << (bit % 4));
    digits[bit / 4] = char::from_digit(digit, 16).unwrap() as u8;
    with(json, name, String::from_utf8(digits).unwrap())
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Shape,
    Hex(&'static str, usize),
    Id,
    Signature,
}

fn refusal(text: &str) -> Option<Refusal> {
    match check(text) {
        Ok(_) => None,
        Err(EventError::Shape(_)) => Some(Refusal::Shape),
        Err(EventError::Hex(name, length)) => Some(Refusal::Hex(name, length)),
        Err(EventError::Id) => Some(Refusal::Id),
        Err(EventError::Signature) => Some(Refusal::Signature),
    }
}

#[test]
fn a_change_of_any_single_bit_is_found() {
    let event = signed("hello");
    for bit in 0..256 {
        assert_eq!(refusal(&with_flipped_bit(&event, "id", bit)), Some(Refusal::Id));
        assert_eq!(refusal(&with_flipped_bit(&event, "pubkey", bit)), Some(Refusal::Id));
    }
    for bit in 0..512 {
        assert_eq!(refusal(&with_flipped_bit(&event, "sig", bit)), Some(Refusal::Signature));
    }
}

#[test]
fn a_change_of_any_hashed_field_is_found() {
    let event = signed("hello");
    assert_eq!(refusal(&event), None);
    for changed in [
        with(&event, "created_at", 1_700_000_001),
        with(&event, "kind", 2),
        with(&event, "content", "hello "),
        with(&event, "content", "hell\u{f3}"),
        with(&event, "tags", json!([])),
        with(&event, "tags", json!([["e", "ab".repeat(32)], ["t", "é\n", ""]])),
        with(&event, "tags", json!([["t", "é\n"], ["e", "ab".repeat(32)]])),
        with(&event, "tags", json!([["e", "ab".repeat(32)], ["t", "e\u{301}\n"]])),
        with(&event, "pubkey", keys(4).public_hex()),
    ] {
        assert_eq!(refusal(&changed), Some(Refusal::Id), "{changed}");
    }
}

#[test]
fn a_right_id_without_the_authors_signature_is_refused() {
    let tags: &[Vec<String>] = &[];
    let forged = |pubkey: &str, sig: &str| {
        let id = hex::encode(&event_id(pubkey, 5, 1, tags, "hi").unwrap());
        json!({"id": id, "pubkey": pubkey, "created_at": 5, "kind": 1, "tags": [],
               "content": "hi", "sig": sig})
        .to_string()
    };
    let true_event = keys(3).sign_event(5, 1, tags, "hi").unwrap();
    let (author, sig) = (keys(3).public_hex(), field(&true_event, "sig"));
    assert_eq!(refusal(&forged(&author, &sig)), None, "the control");
    let off_curve = format!("{:064x}", 5);
    for (pubkey, sig) in [
        (&*author, &*field(&signed("hi"), "sig")),
        (&author, &format!("{}{}", &sig[64..], &sig[..64])),
        (&author, &"f".repeat(128)),
        (&author, &"0".repeat(128)),
        (&keys(4).public_hex(), &sig),
        (&off_curve, &sig),
        (&"0".repeat(64), &sig),
        (&"f".repeat(64), &sig),
    ] {
        let forged = forged(pubkey, sig);
        assert_eq!(refusal(&forged), Some(Refusal::Signature), "{forged}");
    }
}

#[test]
fn hex_must_be_lowercase_and_of_the_right_length() {
    let event = signed("hello");
    for (name, length) in [("id", 64), ("pubkey", 64), ("sig", 128)] {
        let right = field(&event, name);
        for wrong in [
            String::new(),
            right.to_uppercase(),
            right[1..].to_owned(),
            right[2..].to_owned(),
            format!("{right}0"),
            format!("0x{}", &right[2..]),
            format!("{} ", &right[1..]),
            format!("{}é", &right[2..]),
            format!("{}g", &right[1..]),
            format!("{}\0", &right[1..]),
        ] {
            let text = with(&event, name, wrong);
            assert_eq!(refusal(&text), Some(Refusal::Hex(name, length)), "{text}");
        }
    }
}

/// The event with a field's value written as given, which may be no JSON at all.
fn with_raw(json: &str, field: &str, raw: &str) -> String {
    with(json, field, "@@").replace("\"@@\"", raw)
}

#[test]
fn a_field_of_the_wrong_type_is_refused() {
    let event = signed("hello");
    let integers = ["-1", "-0", "1.0", "1e3", "1.5", "01", "0x1", "\"1\"", "null", "true", "[]"];
    let strings = ["1", "null", "[]", "{}", "false", "hello", "'hello'"];
    let lists = [
        "null",
        "{}",
        "\"\"",
        "1",
        "[1]",
        "[\"a\"]",
        "[null]",
        "[{}]",
        "[[1]]",
        "[[null]]",
        "[[\"a\",1]]",
        "[[\"a\",null]]",
        "[[[\"a\"]]]",
        "[[\"a\"],]",
        "[[\"a\",]]",
        "[,]",
        "[[]",
        "[[\"a\"]]]",
        "[[\"a\" \"b\"]]",
        "[[\"a\",\"b\",{}]]",
    ];
    let cases = [
        ("id", &strings[..]),
        ("pubkey", &strings),
        ("sig", &strings),
        ("content", &strings),
        ("created_at", &integers),
        ("created_at", &["18446744073709551616", "1e400", "99999999999999999999999"]),
        ("kind", &integers),
        ("kind", &["65536", "4294967297", "18446744073709551617"]),
        ("tags", &lists),
    ];
    for (field, values) in cases {
        for value in values {
            let text = with_raw(&event, field, value);
            assert_eq!(refusal(&text), Some(Refusal::Shape), "{text}");
        }
    }
}

#[test]
fn the_largest_numbers_that_fit_are_fine() {
    assert!(check(&keys(3).sign_event(u64::MAX, u16::MAX, &[], "").unwrap()).is_ok());
    assert!(check(&keys(3).sign_event(0, 0, &[], "").unwrap()).is_ok());
}

#[test]
fn each_field_is_needed_exactly_once() {
    let event = signed("hello");
    let fields: Value = serde_json::from_str(&event).unwrap();
    for (name, value) in fields.as_object().unwrap() {
        let mut without = fields.clone();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(refusal(&without.to_string()), Some(Refusal::Shape), "without {name}");
        let member = format!("{{\"{name}\":{value},");
        let twice = event.replacen('{', &member, 1);
        assert_eq!(refusal(&twice), Some(Refusal::Shape), "two of {name}");
        let with_extra = twice.replacen('{', "{\"x\":1,", 1);
        assert_eq!(refusal(&with_extra), Some(Refusal::Shape), "two of {name} and an extra");
        let escaped = format!("{{\"\\u{:04x}{}\":{value},", name.as_bytes()[0], &name[1..]);
        let twice = event.replacen('{', &escaped, 1);
        assert_eq!(refusal(&twice), Some(Refusal::Shape), "two of {name}, one escaped");
    }
}

#[test]
fn text_that_is_no_json_object_is_refused() {
    let event = signed("hello");
    for end in 0..event.len() {
        if let Some(part) = event.get(..end) {
            assert_eq!(refusal(part), Some(Refusal::Shape), "{part}");
        }
    }
    for text in [
        format!("{event}\0"),
        format!("\0{event}"),
        format!("\u{feff}{event}"),
        format!("{event}{event}"),
        format!("{event},"),
        format!("[{event}]"),
        event.replacen('}', ",}", 1),
        event.replace("hello", "he\0llo"),
        event.replace("hello", "he\nllo"),
        event.replace("hello", "he\\xllo"),
        event.replace("hello", "he\\u12"),
        event.replace("hello", "he\\"),
        "\0".repeat(1_000),
        "null".to_owned(),
        "{}".to_owned(),
    ] {
        assert_eq!(refusal(&text), Some(Refusal::Shape), "{text}");
    }
}

#[test]
fn lone_surrogates_are_no_text() {
    for lone in ["\\ud800", "\\udc00", "\\udbff\\u0041", "\\ud83e\\ud83e", "\\uD800x"] {
        let in_content = with_raw(&signed("hello"), "content", &format!("\"{lone}\""));
        assert_eq!(refusal(&in_content), Some(Refusal::Shape), "{lone}");
        for tags in [format!("[[\"{lone}\"]]"), format!("[[\"a\",\"b\",\"{lone}\"]]")] {
            let in_tags = with_raw(&signed("hello"), "tags", &tags);
            assert_eq!(refusal(&in_tags), Some(Refusal::Shape), "{lone}");
        }
    }
}

fn job(tag: usize, claimed: Option<[u8; 32]>, text: &str) -> Job<usize> {
    Job { tag, claimed, text: text.into() }
}

#[test]
fn an_event_must_have_the_id_it_was_announced_with() {
    let text = signed("hello");
    let id = *check(&text).unwrap().id();
    assert!(job(0, None, &text).run().result.is_ok());
    assert!(job(0, Some(id), &text).run().result.is_ok());
    assert_eq!(job(0, Some([0; 32]), &text).run().result, Err(EventError::Id));
}

#[test]
fn every_job_gets_one_verdict_and_the_threads_end() {
    let texts = [signed("true"), signed("true").replace("true", "false")];
    for threads in 0..3 {
        let (send, verdicts) = mpsc::channel::<Verdict<usize>>();
        let verifier =
            Verifier::start(threads, move |verdict| send.send(verdict).unwrap_or_default());
        assert!(verifier.depth() > 0);
        let mut seen = vec![0; 3 * verifier.depth()];
        let mut note = |verdict: Verdict<usize>| {
            assert_eq!(verdict.result.is_ok(), verdict.tag.is_multiple_of(2));
            seen[verdict.tag] += 1;
        };
        for tag in 0..3 * verifier.depth() {
            // Where more are handed over than the threads take, the caller does the work.
            if let Some(verdict) = verifier.submit(job(tag, None, &texts[tag % 2])) {
                note(verdict);
            }
        }
        drop(verifier);
        let ended = loop {
            match verdicts.recv_timeout(Duration::from_secs(30)) {
                Ok(verdict) => note(verdict),
                Err(error) => break error,
            }
        };
        assert_eq!(ended, mpsc::RecvTimeoutError::Disconnected, "all threads have ended");
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
    }
}
