//! Which of 100 to 100,000 subscriptions an event matches: the index beside the loop over all of
//! them that it replaces. `cargo bench --bench index`; the table is in docs/inside.md.
//!
//! Of ten subscriptions four are wallets that wait for their answer (NIP-47), one is a service that
//! waits for orders (NIP-47) and one a signer (NIP-46), two are feeds of thirty authors, one waits for
//! a single id and one for answers to a note. On top come three that ask for kinds alone. A hundred
//! wallets share a service, and each author is in three feeds. The events are many different ones, so
//! that no more of the index lies in the processor's caches than in real life.

#![allow(clippy::expect_used, reason = "a benchmark without its sample has nothing to measure")]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use divan::Bencher;
use nostrclient_core::measured::{Event, Filter, Index, SubscriptionKey, check, event_id, hex};
use secp256k1::Keypair;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const NUMBERS: [u64; 4] = [100, 1_000, 10_000, 100_000];
const AUTHORS_PER_FEED: u64 = 30;
const FEEDS_PER_AUTHOR: u64 = 3;
const WALLETS_PER_SERVICE: u64 = 100;

fn main() {
    divan::main();
}

/// What the events are that arrive.
#[derive(Debug, Clone, Copy)]
enum Arrives {
    /// A service answers one wallet, which is what matches, and one that asks for kinds alone.
    Answer,
    /// A note by an author whom three feeds follow; what it mentions nobody here waits for.
    Note,
    /// What nobody has asked for.
    Other,
}

/// The keys of an author like no other.
fn keys(role: u8, number: u64) -> Keypair {
    Keypair::from_secret_bytes(key(role, number)).expect("a key")
}

/// The public key of that author. Making it takes long, so it is made once.
fn author(role: u8, number: u64) -> [u8; 32] {
    type Known = HashMap<(u8, u64), [u8; 32]>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().expect("one thread");
    *known
        .entry((role, number))
        .or_insert_with(|| keys(role, number).x_only_public_key().0.to_byte_array())
}

fn author_text(role: u8, number: u64) -> String {
    hex::encode(&author(role, number))
}

/// A secret key or an id like no other; `role` keeps those of different use apart.
fn key(role: u8, number: u64) -> [u8; 32] {
    let mut key = [role; 32];
    for (place, part) in key[..24].chunks_exact_mut(8).zip(1_u64..) {
        let word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ part;
        place.copy_from_slice(&word.wrapping_mul(0xD6E8_FEB8_6659_FD93).to_le_bytes());
    }
    key
}

fn text(role: u8, number: u64) -> String {
    hex::encode(&key(role, number))
}

const SERVICE: u8 = 1;
const WALLET: u8 = 2;
const SIGNER: u8 = 3;
const AUTHOR: u8 = 4;
const NOTE: u8 = 5;

fn filters(number: u64, of: u64) -> Vec<Value> {
    let service = author_text(SERVICE, number / WALLETS_PER_SERVICE);
    match number % 10 {
        0..=3 => vec![
            json!({"kinds": [23_195], "authors": [service], "#p": [text(WALLET, number)]}),
            json!({"kinds": [13_194], "authors": [service], "limit": 1}),
        ],
        4 => vec![json!({"kinds": [23_194], "#p": [text(SERVICE, number)]})],
        5 => vec![json!({"kinds": [24_133], "#p": [text(SIGNER, number)]})],
        6 | 7 => {
            let first = (number / 10 * 2 + number % 2) * AUTHORS_PER_FEED;
            let follows = (0..AUTHORS_PER_FEED)
                .map(|place| author_text(AUTHOR, (first + place) % authors(of)));
            vec![json!({"kinds": [1, 6, 16], "authors": follows.collect::<Vec<_>>()})]
        }
        8 => vec![json!({"ids": [text(NOTE, number)]})],
        _ => vec![json!({"kinds": [1, 7, 9735], "#e": [text(NOTE, number)]})],
    }
}

/// How many authors are followed at all.
fn authors(of: u64) -> u64 {
    of / 5 * AUTHORS_PER_FEED / FEEDS_PER_AUTHOR
}

fn subscriptions(of: u64) -> Vec<(SubscriptionKey, Arc<[Filter]>)> {
    let alone = [json!({"kinds": [23_195]}), json!({"kinds": [0, 3]}), json!({"kinds": [30_023]})];
    let wanted = (0..of - 3).map(|number| filters(number, of)).chain(alone.map(|one| vec![one]));
    let parsed = wanted.map(|filters| {
        let parse = |filter: &Value| {
            let raw = RawValue::from_string(filter.to_string()).expect("JSON");
            Filter::parse(&raw).expect("a filter")
        };
        filters.iter().map(parse).collect()
    });
    (0..).map(SubscriptionKey).zip(parsed).collect()
}

/// The `turn`th of many.
fn event(arrives: Arrives, turn: u64, of: u64) -> Event {
    let tag = |name: &str, value: String| vec![name.to_owned(), value];
    let number = turn * 7_919 % (of - 10);
    let (role, author, kind, tags) = match arrives {
        Arrives::Answer => {
            let wallet = number / 10 * 10 + number % 4;
            let tags = vec![tag("p", text(WALLET, wallet)), tag("e", text(NOTE, number))];
            (SERVICE, wallet / WALLETS_PER_SERVICE, 23_195, tags)
        }
        Arrives::Note => {
            let tags = vec![
                tag("e", text(SERVICE, number)),
                tag("p", text(SIGNER, number)),
                tag("t", "nostr".to_owned()),
            ];
            (AUTHOR, number % authors(of), 1, tags)
        }
        Arrives::Other => (SIGNER, number, 30_078, vec![tag("d", "settings".to_owned())]),
    };
    let (keys, pubkey) = (keys(role, author), author_text(role, author));
    let id = event_id(&pubkey, 5, kind, &tags, "").expect("an id");
    let sig = keys.sign_schnorr_no_aux_rand(&id).to_byte_array();
    let fields = json!({
        "id": hex::encode(&id), "pubkey": pubkey, "created_at": 5, "kind": kind, "tags": tags,
        "content": "", "sig": hex::encode(&sig),
    });
    check(&fields.to_string()).expect("a true event")
}

fn events(arrives: Arrives, of: u64) -> Vec<Event> {
    (0..1_024).map(|turn| event(arrives, turn, of)).collect()
}

fn index(bencher: Bencher, number: u64, arrives: Arrives) {
    let (subscriptions, events) = (subscriptions(number), events(arrives, number));
    let mut index = Index::default();
    for (key, filters) in &subscriptions {
        index.insert(*key, Arc::clone(filters));
    }
    let mut keys = Vec::new();
    for event in events.iter().take(20) {
        index.matching(event, &mut keys);
        assert_eq!(keys, all_by_one(&subscriptions, event), "one of them is wrong");
        assert!(keys.len() <= 3 && keys.is_empty() == matches!(arrives, Arrives::Other));
    }
    let mut turns = events.iter().cycle();
    bencher.bench_local(|| {
        let event = turns.next()?;
        index.matching(divan::black_box(event), &mut keys);
        Some(keys.len())
    });
}

fn one_by_one(bencher: Bencher, number: u64, arrives: Arrives) {
    let (subscriptions, events) = (subscriptions(number), events(arrives, number));
    let mut turns = events.iter().cycle();
    bencher.bench_local(|| Some(all_by_one(&subscriptions, divan::black_box(turns.next()?))));
}

fn all_by_one(
    subscriptions: &[(SubscriptionKey, Arc<[Filter]>)],
    event: &Event,
) -> Vec<SubscriptionKey> {
    let matches = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(event));
    subscriptions.iter().filter(|(_, filters)| matches(filters)).map(|(key, _)| *key).collect()
}

#[divan::bench(args = NUMBERS)]
fn answer_index(bencher: Bencher, number: u64) {
    index(bencher, number, Arrives::Answer);
}

#[divan::bench(args = NUMBERS)]
fn answer_one_by_one(bencher: Bencher, number: u64) {
    one_by_one(bencher, number, Arrives::Answer);
}

#[divan::bench(args = NUMBERS)]
fn note_index(bencher: Bencher, number: u64) {
    index(bencher, number, Arrives::Note);
}

#[divan::bench(args = NUMBERS)]
fn note_one_by_one(bencher: Bencher, number: u64) {
    one_by_one(bencher, number, Arrives::Note);
}

#[divan::bench(args = NUMBERS)]
fn other_index(bencher: Bencher, number: u64) {
    index(bencher, number, Arrives::Other);
}

#[divan::bench(args = NUMBERS)]
fn other_one_by_one(bencher: Bencher, number: u64) {
    one_by_one(bencher, number, Arrives::Other);
}

/// A subscription comes and goes again, as they do most of the time.
#[divan::bench(args = NUMBERS)]
fn insert_and_remove(bencher: Bencher, number: u64) {
    let mut index = Index::default();
    for (key, filters) in subscriptions(number) {
        index.insert(key, filters);
    }
    let (_, wallet) = subscriptions(100).swap_remove(1);
    bencher.bench_local(|| {
        index.insert(SubscriptionKey(u64::MAX), Arc::clone(&wallet));
        index.remove(SubscriptionKey(u64::MAX));
    });
}
