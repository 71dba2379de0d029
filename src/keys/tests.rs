//! Keys, signatures and NIP-04 as the `nostr` crate understands them.

use nostr::nips::nip04;
use nostr::nips::nip19::ToBech32;
use proptest::prelude::*;

use super::{KeyError, Keys, normalize_public_key};
use crate::hex;
use crate::verify::check;

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof!["[a-z/\"\\\\]", "[\0- ]", any::<String>()], 0..8)
        .prop_map(|parts| parts.concat())
}

fn theirs() -> impl Strategy<Value = nostr::key::Keys> {
    any::<[u8; 32]>().prop_filter_map("no valid secret", |secret| {
        nostr::key::Keys::parse(&hex::encode(&secret)).ok()
    })
}

/// The same keys as the `nostr` crate's, in our hands.
fn ours(theirs: &nostr::key::Keys) -> Keys {
    Keys::from_hex(&theirs.secret_key().to_secret_hex()).unwrap()
}

proptest! {
    #[test]
    fn the_public_key_is_the_one_the_nostr_crate_derives(theirs in theirs()) {
        let ours = ours(&theirs);
        prop_assert_eq!(ours.public_hex(), theirs.public_key().to_hex());
        prop_assert_eq!(ours.private_hex(), theirs.secret_key().to_secret_hex());
    }

    #[test]
    fn what_we_sign_is_accepted_by_us_and_by_the_nostr_crate(
        theirs in theirs(),
        created_at in any::<u64>(),
        kind in any::<u16>(),
        tags in prop::collection::vec(prop::collection::vec(text(), 1..4), 0..4),
        content in text(),
    ) {
        let json = ours(&theirs).sign_event(created_at, kind, &tags, &content).unwrap();
        let event = check(&json).unwrap();
        prop_assert_eq!((event.created_at, event.kind), (created_at, kind));
        let read = nostr::event::Event::from_json(&json).unwrap();
        prop_assert!(read.verify().is_ok());
        prop_assert_eq!(read.pubkey, theirs.public_key());
        prop_assert_eq!(read.content, content);
        let read_tags: Vec<Vec<String>> = read.tags.iter().map(|tag| tag.as_slice().to_vec()).collect();
        prop_assert_eq!(read_tags, tags);
    }

    #[test]
    fn both_ends_can_read_a_nip_04_message_with_the_nostr_crate(
        sender in theirs(),
        receiver in theirs(),
        content in text(),
    ) {
        let secret = ours(&sender).encrypt_nip04(&receiver.public_key().to_hex(), &content).unwrap();
        let read = nip04::decrypt(
            receiver.secret_key(),
            &sender.public_key(),
            secret.as_str(),
        );
        prop_assert_eq!(&read.unwrap(), &content);
        let read = nip04::decrypt(
            sender.secret_key(),
            &receiver.public_key(),
            secret.as_str(),
        );
        prop_assert_eq!(&read.unwrap(), &content);
    }

    #[test]
    fn an_npub_of_the_nostr_crate_is_its_hex(theirs in theirs()) {
        let npub = theirs.public_key().to_bech32().unwrap();
        let expected = theirs.public_key().to_hex();
        prop_assert_eq!(normalize_public_key(&npub).unwrap(), &*expected);
        prop_assert_eq!(normalize_public_key(&npub.to_uppercase()).unwrap(), &*expected);
        prop_assert_eq!(normalize_public_key(&format!(" {npub}\n")).unwrap(), &*expected);
        prop_assert_eq!(normalize_public_key(&expected.to_uppercase()).unwrap(), &*expected);
    }

    #[test]
    fn an_npub_with_a_changed_character_is_refused(theirs in theirs(), at in 5usize..63) {
        let mut npub = theirs.public_key().to_bech32().unwrap().into_bytes();
        npub[at] = if npub[at] == b'q' { b'p' } else { b'q' };
        let npub = String::from_utf8(npub).unwrap();
        prop_assert_eq!(normalize_public_key(&npub), Err(KeyError::Public));
    }

    #[test]
    fn no_text_makes_a_public_key_panic(text in any::<String>(), tail in "npub1[a-z0-9]{0,80}") {
        let _ = normalize_public_key(&text);
        let _ = normalize_public_key(&tail);
    }
}

#[test]
fn two_messages_with_the_same_text_do_not_look_alike() {
    let keys = Keys::generate().unwrap();
    let [first, second] =
        [(); 2].map(|()| keys.encrypt_nip04(&keys.public_hex(), "hello").unwrap());
    assert_ne!(first, second);
}

#[test]
fn generated_keys_differ_and_can_be_used_again() {
    let keys = Keys::generate().unwrap();
    assert_ne!(keys.private_hex(), Keys::generate().unwrap().private_hex());
    let again = Keys::from_hex(&keys.private_hex().to_uppercase()).unwrap();
    assert_eq!(again.public_hex(), keys.public_hex());
}

#[test]
fn what_is_no_secret_is_refused_without_being_told() {
    let zero = "0".repeat(64);
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let long = "1".repeat(65);
    for text in ["", "1", &zero, order, &long, &long[..63], "nsec1qqqq", &"g".repeat(64)] {
        let error = Keys::from_hex(text).err();
        assert_eq!(error, Some(KeyError::Private), "{text}");
        let said = error.unwrap().to_string();
        assert!(text.len() < 10 || !said.contains(text), "{said}");
    }
}

#[test]
fn an_npub_has_its_own_prefix_checksum_and_length() {
    let key = hex::decode::<32>(&Keys::generate().unwrap().public_hex()).unwrap();
    let hrp = |text| bech32::Hrp::parse(text).unwrap();
    let good = bech32::encode::<bech32::Bech32>(hrp("npub"), &key).unwrap();
    assert_eq!(normalize_public_key(&good), Ok(hex::encode(&key)));
    for wrong in [
        bech32::encode::<bech32::Bech32>(hrp("npub1a"), &key).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("nprofile"), &key).unwrap(),
        bech32::encode::<bech32::Bech32m>(hrp("npub"), &key).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("npub"), &key[1..]).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("npub"), &[&key[..], &[0]].concat()).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("npub"), &[]).unwrap(),
    ] {
        assert_eq!(normalize_public_key(&wrong), Err(KeyError::Public), "{wrong}");
    }
}

#[test]
fn what_is_no_public_key_is_refused() {
    // 5 is the x of no point on the curve; so is the field's prime, and every x is below it.
    let off_curve = format!("{:064x}", 5);
    let prime = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
    let keys = nostr::key::Keys::parse(&format!("{:064x}", 3)).unwrap();
    let nsec = keys.secret_key().to_bech32().unwrap();
    for text in ["", "npub1", "npub", &off_curve, prime, &nsec, &off_curve[1..], "é"] {
        assert_eq!(normalize_public_key(text), Err(KeyError::Public), "{text}");
        let ours = Keys::from_hex(&format!("{:064x}", 3)).unwrap();
        assert_eq!(ours.encrypt_nip04(text, "hello"), Err(KeyError::Public), "{text}");
    }
}
