//! Direct messages: what the `nostr` crate writes we read and the other way round, and nothing else.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nostr::nips::nip04 as their_nip04;
use proptest::prelude::*;
use secp256k1::{Parity, PublicKey, Scalar, SecretKey, XOnlyPublicKey};

use super::{ours, text, theirs};
use crate::constants::MAX_NIP04_CONTENT;
use crate::nostr::hex;
use crate::nostr::keys::{KeyError, Keys, MessageError, nip04};

proptest! {
    #[test]
    fn both_ends_can_read_a_nip_04_message_with_the_nostr_crate(
        sender in theirs(),
        receiver in theirs(),
        content in text(),
    ) {
        let secret = ours(&sender).encrypt_nip04(&receiver.public_key().to_hex(), &content).unwrap();
        let read = their_nip04::decrypt(
            receiver.secret_key(),
            &sender.public_key(),
            secret.as_str(),
        );
        prop_assert_eq!(&read.unwrap(), &content);
        let read = their_nip04::decrypt(
            sender.secret_key(),
            &receiver.public_key(),
            secret.as_str(),
        );
        prop_assert_eq!(&read.unwrap(), &content);
    }

    #[test]
    fn both_ends_read_what_the_nostr_crate_and_we_have_written(
        sender in theirs(),
        receiver in theirs(),
        content in text(),
    ) {
        let (from, to) = (sender.public_key().to_hex(), receiver.public_key().to_hex());
        for message in [
            their_nip04::encrypt(sender.secret_key(), &receiver.public_key(), &content).unwrap(),
            ours(&sender).encrypt_nip04(&to, &content).unwrap(),
        ] {
            let read = ours(&receiver).decrypt_nip04(&from, &message);
            prop_assert_eq!(&read.unwrap(), &content);
            let read = ours(&sender).decrypt_nip04(&to, &message);
            prop_assert_eq!(&read.unwrap(), &content);
        }
    }

    #[test]
    fn the_shared_secret_is_the_x_of_the_public_key_times_the_private_key(
        one in theirs(),
        other in theirs(),
    ) {
        let scalar = SecretKey::from_secret_bytes(one.secret_key().to_secret_bytes()).unwrap();
        let point = XOnlyPublicKey::from_byte_array(other.public_key().to_bytes()).unwrap();
        let point = PublicKey::from_x_only_public_key(point, Parity::Even);
        let point = point.mul_tweak(&Scalar::from(scalar)).unwrap();
        let expected = point.x_only_public_key().0.to_byte_array();
        let [one_hex, other_hex] = [&one, &other].map(|keys| keys.public_key().to_hex());
        prop_assert_eq!(ours(&one).shared_secret(&other_hex).unwrap(), expected);
        prop_assert_eq!(ours(&other).shared_secret(&one_hex).unwrap(), expected);
    }

    #[test]
    fn we_read_no_more_than_the_nostr_crate_and_never_panic(
        keys in theirs(),
        junk in prop_oneof![
            any::<String>(),
            "[A-Za-z0-9+/]{22}==\\?iv=[A-Za-z0-9+/]{22}==",
            "[A-Za-z0-9+/=]{0,90}(\\?iv=[A-Za-z0-9+/=]{0,30}){1,2}",
        ],
    ) {
        let mine = ours(&keys).decrypt_nip04(&keys.public_key().to_hex(), &junk);
        let crates = their_nip04::decrypt(keys.secret_key(), &keys.public_key(), junk.as_str());
        prop_assert_eq!(mine.is_ok(), crates.is_ok());
    }

    #[test]
    fn a_damaged_message_never_panics(
        content in text(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let keys = Keys::generate().unwrap();
        let mut message = keys.encrypt_nip04(&keys.public_hex(), &content).unwrap().into_bytes();
        let at = at.index(message.len());
        message[at] = byte;
        if let Ok(message) = String::from_utf8(message) {
            let _ = keys.decrypt_nip04(&keys.public_hex(), &message);
        }
    }
}

/// A message that others have published as an example.
const SATURN: &str = "dJc+WbBgaFCD2/kfg1XCWJParplBDxnZIdJGZ6FCTOg=?iv=M6VxRPkMZu7aIdD+10xPuw==";

fn saturn() -> (Keys, Keys) {
    let tail = "b911fd37cdf5c81d4c0adb1ab7fa822ed253ab0ad9aa18d77257c88b29b718e";
    (Keys::from_hex(&format!("6{tail}")).unwrap(), Keys::from_hex(&format!("7{tail}")).unwrap())
}

#[test]
fn a_message_that_others_have_written() {
    let (sender, receiver) = saturn();
    let text = Ok("Saturn, bringer of old age".to_owned());
    assert_eq!(receiver.decrypt_nip04(&sender.public_hex(), SATURN), text);
    assert_eq!(sender.decrypt_nip04(&receiver.public_hex(), SATURN), text);
}

#[test]
fn each_malformed_message_is_told_what_is_wrong_with_it() {
    let (sender, receiver) = saturn();
    let (encrypted, iv) = SATURN.split_once("?iv=").unwrap();
    let of = |count: usize| STANDARD.encode(vec![7; count]);
    for (message, error) in [
        (String::new(), MessageError::Form),
        ("hello".to_owned(), MessageError::Form),
        (encrypted.to_owned(), MessageError::Form),
        (format!("{encrypted}?IV={iv}"), MessageError::Form),
        (format!("{encrypted}?iv={iv}?iv={iv}"), MessageError::Base64),
        (format!("{encrypted}?iv={iv} "), MessageError::Base64),
        (format!("{encrypted}\n?iv={iv}"), MessageError::Base64),
        (format!("{encrypted}?iv=é"), MessageError::Base64),
        (format!("no base64!?iv={iv}"), MessageError::Base64),
        (format!("{}?iv={iv}", encrypted.trim_end_matches('=')), MessageError::Base64),
        (format!("{encrypted}?iv={}", STANDARD_NO_PAD.encode([0; 16])), MessageError::Base64),
        // Bits that stand for nothing.
        (format!("{encrypted}?iv=M6VxRPkMZu7aIdD+10xPux=="), MessageError::Base64),
        (format!("{encrypted}?iv="), MessageError::Iv),
        (format!("{encrypted}?iv={}", of(15)), MessageError::Iv),
        (format!("{encrypted}?iv={}", of(17)), MessageError::Iv),
        (format!("{encrypted}?iv={}", of(32)), MessageError::Iv),
        (format!("?iv={iv}"), MessageError::Blocks),
        (format!("{}?iv={iv}", of(15)), MessageError::Blocks),
        (format!("{}?iv={iv}", of(33)), MessageError::Blocks),
        (format!("{}?iv={iv}", of(32)), MessageError::Keys),
    ] {
        let read = receiver.decrypt_nip04(&sender.public_hex(), &message);
        assert_eq!(read, Err(KeyError::Message(error)), "{message:?}");
    }
}

#[test]
fn other_keys_and_what_is_no_utf_8_get_the_same_answer() {
    let (sender, receiver) = saturn();
    let others = Keys::from_hex(&format!("{:064x}", 3)).unwrap();
    let wrong = Err(KeyError::Message(MessageError::Keys));
    assert_eq!(others.decrypt_nip04(&sender.public_hex(), SATURN), wrong);
    assert_eq!(receiver.decrypt_nip04(&others.public_hex(), SATURN), wrong);
    // In CBC mode a changed iv changes the same bits of the first block: 'S' gets its eighth bit.
    let (encrypted, iv) = SATURN.split_once("?iv=").unwrap();
    let mut iv = STANDARD.decode(iv).unwrap();
    iv[0] ^= 0x80;
    let message = format!("{encrypted}?iv={}", STANDARD.encode(iv));
    assert_eq!(receiver.decrypt_nip04(&sender.public_hex(), &message), wrong);
}

#[test]
fn a_long_message_is_read_and_a_longer_one_is_not() {
    let secret = [5; 32];
    let room = (MAX_NIP04_CONTENT - "?iv=".len() - STANDARD.encode([0; 16]).len()) / 4 * 3;
    let text = "x".repeat(room / 16 * 16 - 1);
    let message = nip04::encrypt(secret, [6; 16], &text);
    assert!(message.len() <= MAX_NIP04_CONTENT);
    assert_eq!(nip04::decrypt(secret, &message), Ok(text.clone()));
    let message = nip04::encrypt(secret, [6; 16], &(text + "x"));
    assert!(message.len() > MAX_NIP04_CONTENT);
    assert_eq!(nip04::decrypt(secret, &message), Err(MessageError::Long));
}

#[test]
fn two_messages_with_the_same_text_do_not_look_alike() {
    let keys = Keys::generate().unwrap();
    let [first, second] =
        [(); 2].map(|()| keys.encrypt_nip04(&keys.public_hex(), "hello").unwrap());
    assert_ne!(first, second);
}

#[test]
fn no_error_tells_a_key() {
    let (sender, receiver) = saturn();
    let secret = hex::encode(&sender.shared_secret(&receiver.public_hex()).unwrap());
    for message in ["", "?iv=", &format!("{SATURN}?"), &SATURN.replacen('d', "e", 1)] {
        let error = receiver.decrypt_nip04(&sender.public_hex(), message).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains(&receiver.private_hex()) && !said.contains(&secret), "{said}");
    }
}
