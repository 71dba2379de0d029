//! Cost of the steps every message goes through, one by one: `cargo bench --bench core`.
//!
//! A duplicate costs `scan_event` and `seen_known`; a new event also `check` (on a verifying
//! thread), `matches` and `seen_new` for each subscription it may go to.

#![allow(clippy::expect_used, reason = "a benchmark without its sample has nothing to measure")]

use divan::Bencher;
use divan::counter::ItemsCount;
use nostrclient_core::measured::{
    ClientMessage, Event, EventId, Filter, RelayMessage, SEEN_MOST, Seen, Unverified, check,
    event_id, hex,
};
use secp256k1::Keypair;
use serde_json::value::RawValue;

const NOW: u64 = 1_700_000_000;

fn main() {
    divan::main();
}

/// A signed kind-1 event of about 700 bytes.
fn sample() -> String {
    let keys = Keypair::from_secret_bytes([7; 32]).expect("a key");
    let author = hex::encode(&keys.x_only_public_key().0.to_byte_array());
    let tags = vec![vec!["t".to_owned(), "speed".to_owned()]];
    let content = "The quick brown fox jumps over the lazy dog.\n".repeat(7);
    let id = event_id(&author, NOW, 1, &tags, &content).expect("an id");
    let sig = keys.sign_schnorr_no_aux_rand(&id).to_byte_array();
    let fields = serde_json::json!({
        "id": hex::encode(&id), "pubkey": author, "created_at": NOW, "kind": 1,
        "tags": tags, "content": content, "sig": hex::encode(&sig),
    });
    fields.to_string()
}

fn verified() -> Event {
    check(&sample()).expect("a true event")
}

/// An id like no other, as evenly spread as a hash.
fn id(number: u64) -> EventId {
    let mut id = [0; 32];
    for (place, part) in id.chunks_exact_mut(8).zip(1_u64..) {
        let word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ part;
        place.copy_from_slice(&word.wrapping_mul(0xD6E8_FEB8_6659_FD93).to_le_bytes());
    }
    id
}

/// A relay's EVENT message: subscription and claimed id.
#[divan::bench]
fn scan_event(bencher: Bencher) {
    let text = format!(r#"["EVENT","12",{}]"#, sample());
    bencher.bench(|| RelayMessage::scan(divan::black_box(&text)));
}

/// The fields of an event, their types and their hex.
#[divan::bench]
fn parse(bencher: Bencher) {
    let text = sample();
    bencher.bench(|| Unverified::parse(divan::black_box(&text)));
}

/// All of it: parse, id, signature. Nearly all of the time is the signature's.
#[divan::bench(name = "check")]
fn check_event(bencher: Bencher) {
    let text = sample();
    bencher.bench(|| check(divan::black_box(&text)));
}

/// A client's EVENT message, before verification.
#[divan::bench]
fn client_event(bencher: Bencher) {
    let text = format!(r#"["EVENT",{}]"#, sample());
    bencher.bench(|| ClientMessage::parse(divan::black_box(&text), 100));
}

/// A filter as a wallet service has it: kind, one tag, a date.
#[divan::bench]
fn matches(bencher: Bencher) {
    let json = r#"{"kinds":[1,23194],"#.to_owned() + r##""#t":["slow","speed"],"since":1}"##;
    let raw = RawValue::from_string(json).expect("JSON");
    let filter = Filter::parse(&raw).expect("a filter");
    let event = verified();
    bencher.bench(|| divan::black_box(&filter).matches(divan::black_box(&event)));
}

/// An id that a subscription was given, among many of that date.
#[divan::bench(args = [200_000, 0])]
fn seen_known(bencher: Bencher, number: u64) {
    let mut seen = Seen::default();
    for number in 0..200_001 {
        seen.insert(&id(number), NOW, NOW, SEEN_MOST);
    }
    let id = id(number);
    bencher.bench(|| seen.contains(divan::black_box(&id), NOW));
}

/// New ids, a million of them, and then all are let go.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn seen_new(bencher: Bencher) {
    const IDS: u64 = 1_000_000;
    bencher.counter(ItemsCount::new(IDS)).bench(|| {
        let mut seen = Seen::default();
        for number in 0..IDS {
            let date = NOW + number;
            seen.insert(&id(number), date, date, SEEN_MOST);
        }
        seen
    });
}
