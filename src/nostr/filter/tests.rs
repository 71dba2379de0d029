//! Filters against a naive reading of NIP-01, field by field, on the JSON itself.

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Filter, in_pieces};
use crate::nostr::event::{Event, Tag};
use crate::nostr::hex;

const IDS: [[u8; 32]; 3] = [[0x00; 32], [0x1f; 32], [0xaa; 32]];

fn parse(text: &str) -> Result<Filter, String> {
    Filter::parse(&RawValue::from_string(text.to_owned()).unwrap())
}

pub(crate) fn filter(value: &Value) -> Filter {
    parse(&value.to_string()).unwrap()
}

/// NIP-01: lists are met by one of their values, `since <= created_at <= until`, and a tag filter
/// by any tag of that name whose first value is listed. All fields must be met.
fn naive(filter: &Value, event: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(name, wanted)| {
        let listed = |value: &Value| wanted.as_array().unwrap().contains(value);
        match name.as_str() {
            "ids" => listed(&event["id"]),
            "authors" => listed(&event["pubkey"]),
            "kinds" => listed(&event["kind"]),
            "since" => event["created_at"].as_u64() >= wanted.as_u64(),
            "until" => event["created_at"].as_u64() <= wanted.as_u64(),
            "limit" | "search" => true,
            tag => event["tags"].as_array().unwrap().iter().any(|of_event| {
                let of_event = of_event.as_array().unwrap();
                of_event.len() > 1 && of_event[0] == tag[1..] && listed(&of_event[1])
            }),
        }
    })
}

/// The event as the core holds it.
pub(crate) fn event(json: &Value) -> Event {
    let text = |value: &Value| -> Box<str> { value.as_str().unwrap().into() };
    let tags = json["tags"].as_array().unwrap().iter().filter_map(|tag| {
        let tag = tag.as_array().unwrap();
        let value = tag.get(1).map(text);
        Some(Tag { name: text(tag.first()?), value })
    });
    Event::unverified_for_tests(
        hex::decode(json["id"].as_str().unwrap()).unwrap(),
        hex::decode(json["pubkey"].as_str().unwrap()).unwrap(),
        json["created_at"].as_u64().unwrap(),
        json["kind"].as_u64().unwrap().try_into().unwrap(),
        tags.collect(),
        &json.to_string(),
    )
}

fn hexes() -> impl Strategy<Value = Value> {
    prop::sample::select(IDS.to_vec()).prop_map(|bytes| json!(hex::encode(&bytes)))
}

fn kinds() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![0, 1, 1_059, 23_194, 65_535]).prop_map(|kind| json!(kind))
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..6, Just(u64::MAX - 1), Just(u64::MAX)]
}

fn values() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["a", "b", "c", "é\"", "A"]).prop_map(|text| json!(text))
}

pub(crate) fn event_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["e", "p", "t", "E", "d", ""]);
    let tag = (name, prop::collection::vec(values(), 0..3))
        .prop_map(|(name, values)| Value::Array([json!(name)].into_iter().chain(values).collect()));
    let tag = prop_oneof![9 => tag, 1 => Just(json!([]))];
    (hexes(), hexes(), kinds(), times(), prop::collection::vec(tag, 0..4)).prop_map(
        |(id, pubkey, kind, created_at, tags)| {
            json!({"id": id, "pubkey": pubkey, "kind": kind, "created_at": created_at,
                   "tags": tags, "content": "", "sig": "00".repeat(64)})
        },
    )
}

/// Any good filter. Few values, so that it often matches.
pub(crate) fn filter_json() -> impl Strategy<Value = Value> {
    let list = |of: BoxedStrategy<Value>| {
        prop::option::weighted(0.3, prop::collection::vec(of, 0..4).prop_map(Value::Array))
    };
    let number = || prop::option::weighted(0.3, times().prop_map(|number| json!(number)));
    let lists = (
        list(hexes().boxed()),
        list(hexes().boxed()),
        list(kinds().boxed()),
        list(values().boxed()),
        list(values().boxed()),
        list(values().boxed()),
    );
    let search = prop::option::weighted(0.1, Just(json!("word")));
    (lists, number(), number(), number(), search).prop_map(
        |(lists, since, until, limit, search)| {
            let (ids, authors, kinds, e, t, capital) = lists;
            let fields = [
                ("ids", ids),
                ("authors", authors),
                ("kinds", kinds),
                ("#e", e),
                ("#t", t),
                ("#E", capital),
                ("since", since),
                ("until", until),
                ("limit", limit),
                ("search", search),
            ];
            let given =
                fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(given.collect())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn matching_is_the_naive_reading_of_nip_01(wanted in filter_json(), json in event_json()) {
        let matches = filter(&wanted).matches(&event(&json));
        prop_assert_eq!(matches, naive(&wanted, &json), "{} {}", wanted, json);
    }

    #[test]
    fn what_matches_nothing_matches_no_event(wanted in filter_json(), json in event_json()) {
        let filter = filter(&wanted);
        if filter.matches_nothing() {
            prop_assert!(!filter.matches(&event(&json)), "{} {}", wanted, json);
        }
        let fields = wanted.as_object().unwrap();
        let empty = fields.values().any(|value| value == &json!([]));
        let backwards = match (&filter.since, &filter.until) {
            (Some(since), Some(until)) => since > until,
            _ => false,
        };
        prop_assert_eq!(filter.matches_nothing(), empty || backwards, "{}", wanted);
    }

    #[test]
    fn a_repeated_filter_asks_for_the_same_from_a_later_date_on(
        wanted in filter_json(),
        since in times(),
        json in event_json(),
    ) {
        let filter = filter(&wanted);
        let own_since = wanted["since"].as_u64().unwrap_or(0);
        let moved = own_since.max(since);
        let repeated = filter.repeated(Some(moved));
        let over = wanted["until"].as_u64().is_some_and(|until| until < moved);
        prop_assert_eq!(repeated.is_none(), over);
        let Some(repeated) = repeated else { return Ok(()) };
        let mut expected: Map<String, Value> = wanted.as_object().unwrap().clone();
        expected.remove("limit");
        expected.insert("since".to_owned(), json!(moved));
        let repeated: Value = serde_json::from_str(&repeated).unwrap();
        prop_assert_eq!(&repeated, &Value::Object(expected));
        let event = event(&json);
        prop_assert_eq!(
            parse(&repeated.to_string()).unwrap().matches(&event),
            filter.matches(&event) && event.created_at() >= since
        );
    }

    #[test]
    fn relays_get_a_filter_as_the_client_wrote_it(wanted in filter_json()) {
        let text = serde_json::to_string_pretty(&wanted).unwrap();
        prop_assert_eq!(&*parse(&text).unwrap().json, text);
    }
}

#[test]
fn a_tag_without_a_value_does_not_match_the_empty_value() {
    let mut json = json!({"id": hex::encode(&IDS[0]), "pubkey": hex::encode(&IDS[0]), "kind": 1,
                          "created_at": 1, "tags": [["t", ""]]});
    let wanted = filter(&json!({"#t": [""]}));
    assert!(wanted.matches(&event(&json)));
    json["tags"] = json!([["t"]]);
    assert!(!wanted.matches(&event(&json)), "it has no first value");
}

#[test]
fn a_wrong_shape_is_refused_with_the_name_of_its_field() {
    let hex = "ab".repeat(32);
    let cases = [
        ("a filter", vec!["5".into(), "null".into(), "[]".into(), "\"{}\"".into(), "true".into()]),
        ("ids", hex_lists("ids", &hex)),
        ("authors", hex_lists("authors", &hex)),
        ("kinds", fields("kinds", &["1", "{}", "[-1]", "[65536]", "[1.0]", "[\"1\"]", "[[1]]"])),
        ("since", fields("since", &["-1", "1.0", "\"1\"", "null", "[1]", "18446744073709551616"])),
        ("until", fields("until", &["-1", "1.5", "\"1\"", "null", "{}", "1e3"])),
        ("limit", fields("limit", &["-1", "1.0", "\"1\"", "null", "true"])),
        ("search", fields("search", &["5", "null", "[\"a\"]"])),
        ("#e", fields("#e", &["\"a\"", "null", "{}", "[1]", "[null]", "[[\"a\"]]", "[\"a\",1]"])),
        (
            "unknown",
            ["#", "#ab", "#é", "", "e", "IDs"].map(|name| format!("{{\"{name}\":[]}}")).into(),
        ),
    ];
    for (name, wrong) in cases {
        for text in wrong {
            let why = parse(&text).expect_err(&text);
            assert!(why.starts_with(name), "{text}: {why}");
        }
    }
}

fn fields(name: &str, values: &[&str]) -> Vec<String> {
    values.iter().map(|value| format!("{{\"{name}\":{value}}}")).collect()
}

fn hex_lists(name: &str, hex: &str) -> Vec<String> {
    let upper = hex.to_uppercase();
    let strings = [&upper, &hex[1..], &format!("{hex}0"), "", "abcd", &format!("{}é", &hex[2..])];
    let lists = strings.iter().map(|text| format!("[\"{hex}\",\"{text}\"]"));
    let lists: Vec<String> =
        lists.chain(["null", "{}", "[1]", "[null]"].map(str::to_owned)).collect();
    fields(name, &lists.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_long_unknown_field_is_not_echoed_in_full() {
    let why = parse(&json!({"é".repeat(10_000): 1}).to_string()).unwrap_err();
    assert!(why.chars().count() < 100, "{why}");
}

#[test]
fn gift_wraps_are_taken_unless_kinds_leave_them_out() {
    for (wanted, takes) in [
        (json!({}), true),
        (json!({"kinds": [1, 1_059, 4]}), true),
        (json!({"#p": ["a"], "since": 5}), true),
        (json!({"kinds": [1, 4]}), false),
        (json!({"kinds": []}), false),
    ] {
        assert_eq!(filter(&wanted).takes_gift_wraps(), takes, "{wanted}");
    }
}

#[test]
fn a_ping_asks_for_ids_nobody_has() {
    let (nobody, some, above) = ("a".repeat(64), "1f".repeat(32), "a".repeat(63) + "b");
    for (wanted, ping) in [
        (json!({"ids": [nobody], "limit": 0}), true),
        (json!({"ids": [nobody], "limit": 1}), true),
        (json!({"ids": [some], "limit": 0}), true),
        (json!({"ids": [some], "limit": 1}), false),
        (json!({"ids": [above], "limit": 1}), false),
        (json!({"ids": [nobody, some], "limit": 1}), false),
        (json!({"ids": [nobody]}), false),
        (json!({"ids": [nobody], "limit": 2}), false),
        (json!({"limit": 0}), false),
        (json!({"kinds": [1], "limit": 0}), false),
        (json!({"authors": [nobody], "limit": 1}), false),
    ] {
        assert_eq!(filter(&wanted).is_ping(), ping, "{wanted}");
    }
}

#[test]
fn a_long_filter_is_divided_until_its_pieces_fit() {
    let values = |from: usize, count: usize| -> Vec<String> {
        (from..from + count).map(|number| format!("{number:064x}")).collect()
    };
    let whole = serde_json::json!({
        "authors": values(0, 100), "#p": values(1_000, 70), "kinds": [1, 2], "limit": 3,
    });
    for most in [1_500, 3_000, 6_000, 20_000] {
        let pieces = in_pieces(&whole.to_string(), most);
        let read: Vec<serde_json::Value> =
            pieces.iter().map(|piece| serde_json::from_str(piece).unwrap()).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= most), "{most}");
        assert_eq!(pieces.len() == 1, most == 20_000, "{most}");
        assert!(read.iter().all(|piece| piece["limit"] == 3), "{most}");
        // Each pair of values is asked for in one of them, and in one only.
        let mut pairs = std::collections::BTreeSet::new();
        for piece in &read {
            for author in piece["authors"].as_array().unwrap() {
                for person in piece["#p"].as_array().unwrap() {
                    for kind in piece["kinds"].as_array().unwrap() {
                        assert!(pairs.insert(format!("{author}{person}{kind}")), "{most}");
                    }
                }
            }
        }
        assert_eq!(pairs.len(), 100 * 70 * 2, "{most}");
    }
}

#[test]
fn what_cannot_be_divided_stays_whole() {
    for whole in [
        serde_json::json!({"authors": ["a".repeat(64)], "kinds": [1]}),
        serde_json::json!({"search": "long ".repeat(50), "kinds": [1, 2, 3]}),
        serde_json::json!({"ids": vec!["a".repeat(64); 10]}),
        serde_json::json!({"since": 1_700_000_000_u64, "until": 1_800_000_000_u64}),
    ] {
        assert_eq!(in_pieces(&whole.to_string(), 40), [whole.to_string()]);
    }
}
