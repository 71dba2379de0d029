//! The index against the loop it replaces: every filter of every subscription, one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Index, Place};
use crate::ids::SubscriptionKey;
use crate::nostr::event::Event;
use crate::nostr::filter::Filter;
use crate::nostr::filter::tests::{event, event_json, filter, filter_json};
use crate::nostr::hex;

fn filters(wanted: &[Value]) -> Arc<[Filter]> {
    wanted.iter().map(filter).collect()
}

fn an_event(author: &str, kind: u16, tags: &Value) -> Event {
    event(&json!({"id": "11".repeat(32), "pubkey": author, "created_at": 5, "kind": kind,
                  "tags": tags}))
}

fn every(range: impl Iterator<Item = u64>) -> Vec<u64> {
    range.collect()
}

fn found(index: &mut Index, event: &Event) -> Vec<u64> {
    let mut keys = [9, 9, 1].map(SubscriptionKey).to_vec();
    index.matching(event, &mut keys);
    keys.into_iter().map(|SubscriptionKey(key)| key).collect()
}

fn author(number: usize) -> String {
    hex::encode(&{
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes
    })
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64, Vec<Value>),
    Remove(u64),
    Event(Value),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || prop_oneof![4 => 0u64..12, 1 => Just(u64::MAX)];
    let step = prop_oneof![
        3 => (keys(), prop::collection::vec(filter_json(), 0..4))
            .prop_map(|(key, wanted)| Step::Insert(key, wanted)),
        1 => keys().prop_map(Step::Remove),
        3 => event_json().prop_map(Step::Event),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_finds_what_the_loop_over_all_filters_finds(steps in steps()) {
        let mut index = Index::default();
        let mut oracle: BTreeMap<u64, Arc<[Filter]>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(key, wanted) => {
                    index.insert(SubscriptionKey(key), filters(&wanted));
                    oracle.insert(key, filters(&wanted));
                }
                Step::Remove(key) => {
                    index.remove(SubscriptionKey(key));
                    oracle.remove(&key);
                }
                Step::Event(json) => {
                    let event = event(&json);
                    let matched = oracle.iter().filter(|(_, filters)| {
                        filters.iter().any(|filter| filter.matches(&event))
                    });
                    let matched: Vec<u64> = matched.map(|(key, _)| *key).collect();
                    prop_assert_eq!(found(&mut index, &event), matched, "{}", json);
                }
            }
            prop_assert_eq!(index.len(), oracle.len());
        }
        for key in oracle.into_keys() {
            index.remove(SubscriptionKey(key));
        }
        prop_assert!(index.is_empty());
        prop_assert!(index.shelves.is_empty(), "left behind: {:?}", index.shelves);
    }
}

fn place(index: &Index, wanted: &Value) -> Place {
    index.best_place(&filter(wanted))
}

#[test]
fn a_filter_is_filed_under_the_field_that_says_most() {
    let (a, b) = (author(1), author(2));
    let index = Index::default();
    for (wanted, expected) in [
        (json!({}), Place::Anything),
        (json!({"since": 5, "limit": 1, "search": "x"}), Place::Anything),
        (json!({"kinds": [1, 2, 3]}), Place::Kinds),
        (json!({"kinds": [1], "authors": [a, b]}), Place::Authors),
        (json!({"authors": [a, b], "#t": ["x"]}), Place::Tag(0)),
        (json!({"authors": [a], "#t": ["x", "y"]}), Place::Authors),
        (json!({"#e": ["x", "y", "z"], "#p": ["x"], "#t": ["x", "y"]}), Place::Tag(1)),
        (json!({"ids": [a, b], "authors": [a], "#t": ["x"]}), Place::Ids),
        (json!({"ids": [], "authors": [a]}), Place::Nowhere),
        (json!({"kinds": [1], "#t": []}), Place::Nowhere),
        (json!({"since": 6, "until": 5}), Place::Nowhere),
    ] {
        assert_eq!(place(&index, &wanted), expected, "{wanted}");
    }
}

#[test]
fn wallets_of_one_service_do_not_lie_under_the_service() {
    let service = author(0);
    let mut index = Index::default();
    for number in 1..1_000 {
        let wallet = author(number);
        let order = json!({"kinds": [23_194], "authors": [wallet], "#p": [service]});
        let answer = json!({"kinds": [23_195], "authors": [service], "#p": [wallet]});
        index.insert(SubscriptionKey(number as u64), filters(&[order, answer]));
    }
    let longest = index.shelves.values().map(super::Shelf::len).max();
    assert_eq!(longest, Some(1));
    let order = an_event(&author(7), 23_194, &json!([["p", service]]));
    assert_eq!(found(&mut index, &order), [7]);
    let answer = an_event(&service, 23_195, &json!([["p", author(8)]]));
    assert_eq!(found(&mut index, &answer), [8]);
}

#[test]
fn each_subscription_is_named_once_however_often_it_matches() {
    let mut index = Index::default();
    let by_tag = json!({"#t": ["a", "b", "c"]});
    index.insert(
        SubscriptionKey(5),
        filters(&[by_tag.clone(), json!({}), json!({"kinds": [1]}), by_tag]),
    );
    index.insert(SubscriptionKey(3), filters(&[json!({"#t": ["b"]}), json!({"#t": ["z"]})]));
    let tags = json!([["t", "a"], ["t", "b"], ["t", "b"], ["t", "b"], ["t"], []]);
    assert_eq!(found(&mut index, &an_event(&author(1), 1, &tags)), [3, 5]);
}

#[test]
fn what_is_there_under_the_key_is_replaced() {
    let mut index = Index::default();
    index.insert(SubscriptionKey(1), filters(&[json!({"kinds": [1]})]));
    index.insert(SubscriptionKey(1), filters(&[json!({"kinds": [2]})]));
    assert_eq!(found(&mut index, &an_event(&author(1), 1, &json!([]))), [0; 0]);
    assert_eq!(found(&mut index, &an_event(&author(1), 2, &json!([]))), [1]);
    assert_eq!((index.len(), index.shelves.len()), (1, 1));
    index.remove(SubscriptionKey(1));
    index.remove(SubscriptionKey(1));
    assert!(index.is_empty() && index.shelves.is_empty());
}

/// Kept places are the values times two at most, whatever the filter.
#[test]
fn the_largest_filters_take_memory_in_proportion() {
    let authors: Vec<String> = (0..15_000).map(author).collect();
    for (kinds, most) in [(1, 15_000), (2, 30_000), (3, 15_000), (60_000, 15_000)] {
        let mut index = Index::default();
        let kinds: Vec<usize> = (0..kinds).collect();
        index.insert(SubscriptionKey(1), filters(&[json!({"authors": authors, "kinds": kinds})]));
        assert_eq!(index.shelves.len(), most);
        index.remove(SubscriptionKey(1));
        assert!(index.shelves.is_empty());
        assert!(index.shelves.capacity() < 100, "and it is given back");
    }
}

#[test]
fn one_author_in_ten_thousand_filters_is_taken_out_one_by_one() {
    let mut index = Index::default();
    let wanted = filters(&[json!({"authors": [author(1)]})]);
    for key in 0..10_000 {
        index.insert(SubscriptionKey(key), Arc::clone(&wanted));
    }
    let event = an_event(&author(1), 1, &json!([]));
    assert_eq!(found(&mut index, &event), every(0..10_000));
    for key in (0..10_000).filter(|key| key % 100 != 7) {
        index.remove(SubscriptionKey(key));
    }
    assert_eq!(found(&mut index, &event), every((7..10_000).step_by(100)));
    for key in (7..10_000).step_by(100) {
        index.remove(SubscriptionKey(key));
    }
    assert!(index.is_empty() && index.shelves.is_empty());
}

#[test]
fn an_event_that_repeats_a_tag_is_looked_up_once() {
    let mut index = Index::default();
    for key in 0..1_000 {
        index.insert(SubscriptionKey(key), filters(&[json!({"#t": ["x"], "kinds": [1]})]));
    }
    let tags: Vec<[&str; 2]> = vec![["t", "x"]; 50_000];
    let mut shelves = 0;
    let event = an_event(&author(1), 1, &json!(tags));
    index.each_shelf_of(&event, |_| shelves += 1);
    assert_eq!(shelves, 50_000);
    assert_eq!(found(&mut index, &event), every(0..1_000));
}
