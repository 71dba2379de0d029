//! Keys and their spellings as the `nostr` crate understands them.

mod nip04;
mod signatures;

use nostr::nips::nip19::{FromBech32, ToBech32};
use proptest::prelude::*;

use super::{KeyError, Keys, from_npub, normalize_public_key, npub};
use crate::nostr::hex;

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
    fn nsec_and_npub_are_those_of_the_nostr_crate(theirs in theirs()) {
        let ours = ours(&theirs);
        let [nsec, npub] = [ours.nsec().unwrap(), npub(&ours.public_hex()).unwrap()];
        prop_assert_eq!(&nsec, &theirs.secret_key().to_bech32().unwrap());
        prop_assert_eq!(&npub, &theirs.public_key().to_bech32().unwrap());
        for nsec in [&*nsec, &nsec.to_uppercase(), &format!("\n{nsec} ")] {
            prop_assert_eq!(Keys::from_nsec(nsec).unwrap().private_hex(), ours.private_hex());
        }
        for npub in [&*npub, &npub.to_uppercase(), &format!("\n{npub} ")] {
            prop_assert_eq!(from_npub(npub).unwrap(), ours.public_hex());
        }
        prop_assert!(nostr::key::SecretKey::from_bech32(&nsec).is_ok());
        prop_assert!(nostr::key::PublicKey::from_bech32(&npub).is_ok());
    }

    #[test]
    fn an_nsec_with_a_changed_character_is_refused(theirs in theirs(), at in 0usize..63) {
        let mut nsec = theirs.secret_key().to_bech32().unwrap().into_bytes();
        nsec[at] = if nsec[at] == b'q' { b'p' } else { b'q' };
        let nsec = String::from_utf8(nsec).unwrap();
        prop_assert_eq!(Keys::from_nsec(&nsec).err(), Some(KeyError::Nsec));
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
        let nsec = tail.replacen("npub", "nsec", 1);
        for text in [text, tail, nsec] {
            let _ = normalize_public_key(&text);
            let _ = (Keys::from_nsec(&text).err(), from_npub(&text), npub(&text));
        }
    }
}

#[test]
fn the_examples_of_nip_19() {
    let nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
    let secret = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa";
    assert_eq!(Keys::from_nsec(nsec).unwrap().private_hex(), secret);
    assert_eq!(Keys::from_hex(secret).unwrap().nsec().unwrap(), nsec);
    for (text, public) in [
        (
            "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
            "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e",
        ),
        (
            "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6",
            "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d",
        ),
    ] {
        assert_eq!(from_npub(text).unwrap(), public);
        assert_eq!(npub(public).unwrap(), text);
        assert_eq!(npub(&public.to_uppercase()).unwrap(), text);
    }
}

#[test]
fn an_nsec_has_its_own_prefix_checksum_and_length() {
    let key = [1; 32];
    let hrp = |text| bech32::Hrp::parse(text).unwrap();
    let good = bech32::encode::<bech32::Bech32>(hrp("nsec"), &key).unwrap();
    assert!(Keys::from_nsec(&good).is_ok());
    for wrong in [
        hex::encode(&key),
        String::new(),
        "nsec1".to_owned(),
        good.replacen('n', "N", 1),
        bech32::encode::<bech32::Bech32>(hrp("npub"), &key).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("ncryptsec"), &key).unwrap(),
        bech32::encode::<bech32::Bech32m>(hrp("nsec"), &key).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("nsec"), &key[1..]).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("nsec"), &[&key[..], &[0]].concat()).unwrap(),
        // Right in every way, and still no secrets.
        bech32::encode::<bech32::Bech32>(hrp("nsec"), &[0; 32]).unwrap(),
        bech32::encode::<bech32::Bech32>(hrp("nsec"), &[255; 32]).unwrap(),
    ] {
        let error = Keys::from_nsec(&wrong).err();
        assert_eq!(error, Some(KeyError::Nsec), "{wrong}");
        let said = format!("{error:?} {}", error.as_ref().unwrap());
        assert!(wrong.len() < 10 || !said.contains(&wrong), "{said}");
    }
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
        assert_eq!(from_npub(&wrong), Err(KeyError::Npub), "{wrong}");
    }
    // Hex is no npub here.
    assert_eq!(from_npub(&hex::encode(&key)), Err(KeyError::Npub));
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
        assert_eq!(ours.decrypt_nip04(text, "?iv="), Err(KeyError::Public), "{text}");
        assert_eq!(ours.shared_secret(text), Err(KeyError::Public), "{text}");
        assert_eq!(npub(text), Err(KeyError::Public), "{text}");
    }
}
