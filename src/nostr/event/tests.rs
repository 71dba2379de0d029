//! The NIP-01 serialisation in all the spellings JSON allows, with the `nostr` crate as the oracle.

use std::iter::Cycle;
use std::slice::Iter;

use nostr::event::{EventBuilder, FinalizeEvent, Kind, Tag as NostrTag};
use nostr::types::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Event, EventError, event_id, is_ephemeral};
use crate::nostr::hex;
use crate::nostr::keys::Keys;
use crate::nostr::verify::check;

/// Every class of character that writers of JSON treat differently.
fn text() -> impl Strategy<Value = String> {
    let odd = "\"\\/\u{7f}\u{80}é\u{2028}\u{d7ff}\u{e000}\u{fffd}\u{ffff}🦩\u{10ffff}";
    let character = prop_oneof![
        prop::char::range('a', 'z'),
        prop::char::range('\0', ' '),
        prop::sample::select(odd.chars().collect::<Vec<char>>()),
        any::<char>(),
    ];
    prop::collection::vec(character, 0..30).prop_map(String::from_iter)
}

fn tags() -> impl Strategy<Value = Vec<Vec<String>>> {
    let short = prop::collection::vec(text(), 1..4);
    let long = prop::collection::vec(text(), 20..60);
    prop::collection::vec(prop_oneof![9 => short, 1 => long], 0..6)
}

/// An event that the `nostr` crate has built, hashed and signed.
fn signed() -> impl Strategy<Value = nostr::event::Event> {
    (1u8.., any::<u64>(), any::<u16>(), tags(), text()).prop_map(
        |(secret, created_at, kind, tags, content)| {
            let keys = nostr::key::Keys::parse(&format!("{secret:064x}")).unwrap();
            EventBuilder::new(Kind::from_u16(kind), content)
                .tags(tags.into_iter().map(|tag| NostrTag::parse(tag).unwrap()))
                .custom_created_at(Timestamp::from_secs(created_at))
                .finalize(&keys)
                .unwrap()
        },
    )
}

fn names_and_values(event: &Event) -> Vec<(&str, Option<&str>)> {
    event.tags.iter().map(|tag| (&*tag.name, tag.value.as_deref())).collect()
}

fn assert_same(ours: &Event, theirs: &nostr::event::Event) -> Result<(), TestCaseError> {
    prop_assert_eq!(&ours.id, theirs.id.as_bytes());
    prop_assert_eq!(&ours.pubkey, theirs.pubkey.as_bytes());
    prop_assert_eq!(ours.created_at, theirs.created_at.as_secs());
    prop_assert_eq!(ours.kind, theirs.kind.as_u16());
    let our_tags = names_and_values(ours);
    let their_tags: Vec<(&str, Option<&str>)> =
        theirs.tags.iter().map(|tag| (tag.kind(), tag.content())).collect();
    prop_assert_eq!(our_tags, their_tags);
    Ok(())
}

/// The character as `\u….`, or two of them.
fn escaped(character: char, upper: bool) -> String {
    let escape =
        |unit: &u16| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
    character.encode_utf16(&mut [0; 2]).iter().map(escape).collect()
}

/// Writes JSON as a stranger might: white space between all tokens, escapes nobody needs.
struct Speller<'a> {
    dice: Cycle<Iter<'a, u8>>,
    out: String,
}

impl<'a> Speller<'a> {
    fn new(dice: &'a [u8]) -> Self {
        Self { dice: dice.iter().cycle(), out: String::new() }
    }

    fn roll(&mut self, sides: u8) -> u8 {
        self.dice.next().unwrap() % sides
    }

    fn token(&mut self, token: &str) {
        for _ in 0..self.roll(3) {
            let space = [' ', '\n', '\t', '\r'][usize::from(self.roll(4))];
            self.out.push(space);
        }
        self.out.push_str(token);
    }

    fn string(&mut self, text: &str) {
        self.token("\"");
        for character in text.chars() {
            match self.roll(4) {
                0 => self.out.push_str(&escaped(character, false)),
                1 => self.out.push_str(&escaped(character, true)),
                2 if character == '/' => self.out.push_str("\\/"),
                _ => {
                    let usual = serde_json::to_string(&character).unwrap();
                    self.out.push_str(&usual[1..usual.len() - 1]);
                }
            }
        }
        self.out.push('"');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(values) => {
                self.token("[");
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        self.token(",");
                    }
                    self.value(value);
                }
                self.token("]");
            }
            other => self.token(&other.to_string()),
        }
    }

    fn object(mut self, members: &[(String, Value)]) -> String {
        self.token("{");
        for (at, (name, value)) in members.iter().enumerate() {
            if at > 0 {
                self.token(",");
            }
            self.string(name);
            self.token(":");
            self.value(value);
        }
        self.token("}");
        self.token("");
        self.out
    }
}

fn members(json: &str) -> Vec<(String, Value)> {
    let Value::Object(fields) = serde_json::from_str(json).unwrap() else { panic!("no object") };
    fields.into_iter().collect()
}

/// The members in any order, with some that NIP-01 does not know among them.
fn shuffled(json: &str, extras: usize) -> impl Strategy<Value = Vec<(String, Value)>> + use<> {
    let unknown = [
        ("sid", json!(7)),
        ("seen_on", json!(["wss://a.example", null, true])),
        ("", json!("\"id\":\"no\"")),
        ("ID", json!({"tags": [[]], "sig": -1.5e3})),
    ];
    let unknown = unknown.into_iter().map(|(name, value)| (name.to_owned(), value));
    Just(members(json).into_iter().chain(unknown.take(extras)).collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #[test]
    fn what_the_nostr_crate_signs_is_accepted_as_it_stands(theirs in signed()) {
        let json = theirs.as_json();
        let ours = check(&json).unwrap();
        assert_same(&ours, &theirs)?;
        prop_assert_eq!(&*ours.json, json);
    }

    #[test]
    fn our_id_is_the_one_the_nostr_crate_computes(theirs in signed()) {
        let tags: Vec<Vec<String>> =
            theirs.tags.iter().map(|tag| tag.as_slice().to_vec()).collect();
        let (created_at, kind) = (theirs.created_at.as_secs(), theirs.kind.as_u16());
        let ours = event_id(&theirs.pubkey.to_hex(), created_at, kind, &tags, &theirs.content);
        prop_assert_eq!(&ours.unwrap(), theirs.id.as_bytes());
    }

    #[test]
    fn every_spelling_of_an_event_is_that_event(
        (theirs, members) in signed().prop_flat_map(|theirs| {
            let members = shuffled(&theirs.as_json(), 0);
            (Just(theirs), members)
        }),
        dice in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        let spelled = Speller::new(&dice).object(&members);
        let ours = check(&spelled).unwrap();
        assert_same(&ours, &theirs)?;
        prop_assert_eq!(&*ours.json, spelled, "delivered as it came");
    }

    #[test]
    fn fields_no_signature_covers_are_not_passed_on(
        (theirs, members) in (signed(), 1usize..5).prop_flat_map(|(theirs, extras)| {
            let members = shuffled(&theirs.as_json(), extras);
            (Just(theirs), members)
        }),
        dice in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        let ours = check(&Speller::new(&dice).object(&members)).unwrap();
        assert_same(&ours, &theirs)?;
        let left: Value = serde_json::from_str(&ours.json).unwrap();
        prop_assert_eq!(left, serde_json::to_value(&theirs).unwrap());
        prop_assert_eq!(check(&ours.json).unwrap(), ours);
    }
}

fn ours(created_at: u64, kind: u16, tags: &[Vec<&str>], content: &str) -> Event {
    let tags: Vec<Vec<String>> =
        tags.iter().map(|tag| tag.iter().map(|text| (*text).to_owned()).collect()).collect();
    let keys = Keys::from_hex(&format!("{:064x}", 3)).unwrap();
    check(&keys.sign_event(created_at, kind, &tags, content).unwrap()).unwrap()
}

#[test]
fn the_escapes_are_those_nip_01_lists() {
    // Written out by hand, so that no JSON library has a say.
    let content = "\n\"\\\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}/é\u{2028}🦩";
    let escaped = r#"\n\"\\\r\t\b\f\u0000\u001f"#.to_owned() + "\u{7f}/é\u{2028}🦩";
    let author = hex::encode(&ours(1, 1, &[], "").pubkey);
    let text = format!(r#"[0,"{author}",12,1,[["t","{escaped}"]],"{escaped}"]"#);
    let expected: [u8; 32] = Sha256::digest(text).into();
    assert_eq!(ours(12, 1, &[vec!["t", content]], content).id, expected);
}

#[test]
fn one_needless_escape_in_an_otherwise_usual_text_is_read_too() {
    for character in ('\0'..='\u{a0}').chain(['é', '\u{2028}', '🦩']) {
        let text = format!("a{character}z");
        let event = ours(1, 1, &[vec!["t", &text, &text]], &text);
        let usual = serde_json::to_string(&text).unwrap();
        for escape in [escaped(character, false), escaped(character, true)] {
            for places in 1..=3 {
                let spelled = event.json.replacen(&usual, &format!("\"a{escape}z\""), places);
                let read = check(&spelled);
                let read = read.as_ref().map(|event| (event.id, &event.tags));
                assert_eq!(read, Ok((event.id, &event.tags)), "{spelled}");
            }
        }
    }
}

#[test]
fn an_empty_tag_is_hashed_and_names_nothing() {
    let event = ours(1, 1, &[vec![], vec!["a"], vec![], vec!["b", "c", "d"]], "");
    let expected = r#"[[],["a"],[],["b","c","d"]]"#;
    assert!(event.json.contains(expected), "{}", event.json);
    assert_eq!(names_and_values(&event), [("a", None), ("b", Some("c"))]);
    let spaced = event.json.replace(expected, r#"[ [ ], ["a"], [], ["b","c","d"] ]"#);
    assert_eq!(check(&spaced).unwrap().tags, event.tags);
}

#[test]
fn long_contents_and_long_tag_lists_are_fine() {
    let content = "\u{1}é\"".repeat(100_000);
    let tags = vec![vec!["p", "x", "y"]; 5_000];
    let event = ours(1, 3, &tags, &content);
    assert_eq!(event.tags.len(), 5_000);
    assert!(nostr::event::Event::from_json(event.json.as_bytes()).unwrap().verify().is_ok());
}

#[test]
fn the_first_expiration_tag_counts_if_it_is_a_number() {
    let expiration = |tags: &[Vec<&str>]| ours(1, 1, tags, "").expiration();
    assert_eq!(expiration(&[]), None);
    assert_eq!(expiration(&[vec!["e", "5"], vec!["expiration", "17"]]), Some(17));
    assert_eq!(expiration(&[vec!["expiration", "0"]]), Some(0));
    assert_eq!(expiration(&[vec!["expiration", "17"], vec!["expiration", "5"]]), Some(17));
    for nonsense in ["", "-1", "1.5", "soon", "18446744073709551616"] {
        assert_eq!(expiration(&[vec!["expiration", nonsense]]), None, "{nonsense}");
    }
    assert_eq!(expiration(&[vec!["expiration"]]), None);
}

#[test]
fn a_dash_tag_protects() {
    let event = ours(1, 1, &[vec!["t", "-"], vec!["-"]], "");
    assert_eq!(event.guardians(), [*event.pubkey()]);
    assert!(ours(1, 1, &[vec!["t", "-"], vec!["--"], vec![]], "-").guardians().is_empty());
}

#[test]
fn a_repost_has_the_guardian_of_what_it_carries() {
    let carried = |kind: u16, tag: &str, content: &str| {
        let author = "ab".repeat(32);
        json!({"pubkey": author, "kind": kind, "tags": [["t"], [tag]], "content": content})
    };
    let protected = carried(1, "-", "").to_string();
    let of = |kind, content: &str| ours(1, kind, &[], content).guardians().to_vec();
    for kind in [6, 16] {
        assert_eq!(of(kind, &protected), [[0xab; 32]]);
        assert_eq!(of(kind, &format!(" {protected}\n")), [[0xab; 32]]);
        assert_eq!(of(kind, &carried(6, "p", &protected).to_string()), [[0xab; 32]], "twice");
        for open in
            [&carried(1, "p", &protected).to_string(), "", "{}", "[]", "null", "{\"tags\":[[]]}"]
        {
            assert!(of(kind, open).is_empty(), "{open}");
        }
        let own = ours(1, kind, &[vec!["-"]], &protected);
        assert_eq!(own.guardians(), [*own.pubkey(), [0xab; 32]]);
    }
    assert!(of(1, &protected).is_empty());
}

#[test]
fn ephemeral_kinds_are_20000_to_29999() {
    let ephemeral = |kind| is_ephemeral(kind);
    assert!(![0, 1, 1_059, 13_194, 19_999, 30_000, u16::MAX].into_iter().any(ephemeral));
    assert!([20_000, 22_242, 23_194, 23_195, 24_133, 29_999].into_iter().all(ephemeral));
}

/// They go to people, who know nothing of how this is written.
#[test]
fn errors_say_what_is_wrong() {
    let event = ours(1, 1, &[], "").json;
    let event: Value = serde_json::from_str(&event).unwrap();
    let with = |name: &str, value: Value| {
        let mut event = event.clone();
        event[name] = value;
        check(&event.to_string()).unwrap_err().to_string()
    };
    let as_list: Vec<&Value> = event.as_object().unwrap().values().collect();
    let twice = event.to_string().replacen('{', "{\"sig\":\"\",", 1);
    for (error, says) in [
        (check(&json!(as_list).to_string()).unwrap_err().to_string(), "it must be a JSON object"),
        (check("5").unwrap_err().to_string(), "it must be a JSON object"),
        (check("{}").unwrap_err().to_string(), "it must have id once"),
        (check(&twice).unwrap_err().to_string(), "it must have sig once"),
        (with("id", json!(5)), "id must be a string"),
        (with("pubkey", json!(null)), "pubkey must be a string"),
        (
            with("created_at", json!(1.5)),
            "created_at must be a whole number from 0 to 18446744073709551615",
        ),
        (with("kind", json!(65_536)), "kind must be a whole number from 0 to 65535"),
        (with("tags", json!([["a", 5]])), "tags must be a list of lists of strings"),
        (with("tags", json!("a")), "tags must be a list of lists of strings"),
        (with("content", json!({})), "content must be a string"),
    ] {
        assert_eq!(error, format!("not a Nostr event: {says}"));
    }
    let error = EventError::Hex("sig", 128).to_string();
    assert_eq!(error, "sig must be 128 lowercase hex characters");
}
