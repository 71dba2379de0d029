//! Signatures: the vectors of BIP-340, and the `nostr` crate's verdict.

use proptest::prelude::*;

use super::{ours, text, theirs};
use crate::nostr::event::{event_id, serialize};
use crate::nostr::hex;
use crate::nostr::keys::{Keys, verify_hash};
use crate::nostr::verify::check;

proptest! {
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
        prop_assert_eq!((event.created_at(), event.kind()), (created_at, kind));
        let read = nostr::event::Event::from_json(&json).unwrap();
        prop_assert!(read.verify().is_ok());
        prop_assert_eq!(read.pubkey, theirs.public_key());
        prop_assert_eq!(read.content, content);
        let read_tags: Vec<Vec<String>> = read.tags.iter().map(|tag| tag.as_slice().to_vec()).collect();
        prop_assert_eq!(read_tags, tags);
    }

    #[test]
    fn an_event_put_together_by_hand_is_accepted_by_us_and_by_the_nostr_crate(
        theirs in theirs(),
        created_at in any::<u64>(),
        kind in any::<u16>(),
        content in text(),
    ) {
        let ours = ours(&theirs);
        let pubkey = ours.public_hex();
        let id = event_id(&pubkey, created_at, kind, &[], &content).unwrap();
        let sig = ours.sign_hash(&id).unwrap();
        prop_assert!(verify_hash(&hex::encode(&id), &sig, &pubkey));
        let json = serde_json::json!({
            "id": hex::encode(&id), "pubkey": pubkey, "created_at": created_at,
            "kind": kind, "tags": [], "content": content, "sig": sig,
        }).to_string();
        prop_assert!(check(&json).is_ok());
        prop_assert!(nostr::event::Event::from_json(&json).unwrap().verify().is_ok());
    }

    #[test]
    fn one_changed_bit_and_it_is_no_signature(
        hash in any::<[u8; 32]>(),
        at in 0usize..128,
        bit in 0u8..8,
    ) {
        let keys = Keys::generate().unwrap();
        let mut all = [0; 128];
        all[..32].copy_from_slice(&hash);
        let sig: [u8; 64] = hex::decode(&keys.sign_hash(&hash).unwrap()).unwrap();
        all[32..96].copy_from_slice(&sig);
        all[96..].copy_from_slice(&hex::decode::<32>(&keys.public_hex()).unwrap());
        let verify = |all: &[u8; 128]| {
            verify_hash(&hex::encode(&all[..32]), &hex::encode(&all[32..96]), &hex::encode(&all[96..]))
        };
        prop_assert!(verify(&all));
        all[at] ^= 1 << bit;
        prop_assert!(!verify(&all));
    }

    #[test]
    fn no_text_makes_the_check_of_a_signature_panic(texts in any::<[String; 3]>()) {
        prop_assert!(!verify_hash(&texts[0], &texts[1], &texts[2]));
    }
}

const MESSAGE: &str = "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89";
const KEY: &str = "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659";

#[test]
fn the_signatures_of_bip_340_are_right() {
    let zero = "0".repeat(64);
    let first = "F9308A019258C31049344F85F89D5229B531C845836F99B08601F113BCE036F9";
    for (key, message, signature) in [
        (
            first,
            &*zero,
            "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA8215\
             25F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0",
        ),
        (
            KEY,
            MESSAGE,
            "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE3341\
             8906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A",
        ),
    ] {
        assert!(verify_hash(message, signature, key));
        let [message, signature, key] = [message, signature, key].map(str::to_ascii_lowercase);
        assert!(verify_hash(&message, &signature, &key));
        assert!(!verify_hash(&message, &signature[1..], &key));
        assert!(!verify_hash(&message[1..], &signature, &key));
        assert!(!verify_hash(&message, &signature, &key[1..]));
        assert!(!verify_hash(&message, &signature.replace('0', "g"), &key));
    }
    // The private keys that BIP-340 gives with them.
    let three = Keys::from_hex(&format!("{:064x}", 3)).unwrap();
    assert_eq!(three.public_hex(), first.to_lowercase());
    let secret = "B7E151628AED2A6ABF7158809CF4F3C762E7160F38B4DA56A784D9045190CFEF";
    assert_eq!(Keys::from_hex(secret).unwrap().public_hex(), KEY.to_lowercase());
}

#[test]
fn the_forgeries_of_bip_340_are_found() {
    for signature in [
        // The point's y is odd.
        "FFF97BD5755EEEA420453A14355235D382F6472F8568A18B2F057A1460297556\
         3CC27944640AC607CD107AE10923D9EF7A73C643E166BE5EBEAFA34B1AC553E2",
        // The message was negated.
        "1FA62E331EDBC21C394792D2AB1100A7B432B013DF3F6FF4F99FCB33E0E1515F\
         28890B3EDB6E7189B630448B515CE4F8622A954CFE545735AAEA5134FCCDB2BD",
        // The point's x is no point's.
        "4A298DACAE57395A15D0795DDBFD1DCB564DA82B0F269BC70A74F8220429BA1D\
         69E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B",
    ] {
        assert_eq!(signature.len(), 128);
        assert!(!verify_hash(MESSAGE, signature, KEY));
    }
    // A public key that is on no curve.
    let off = "EEFDEA4CDB677750A420FEE807EACF21EB9898AE79B9768766E4FAA04A2D4A34";
    assert!(!verify_hash(MESSAGE, &"0".repeat(128), off));
}

#[test]
fn two_signatures_of_one_hash_differ_and_are_both_right() {
    let keys = Keys::generate().unwrap();
    let [first, second] = [(); 2].map(|()| keys.sign_hash(&[9; 32]).unwrap());
    assert_ne!(first, second);
    for signature in [first, second] {
        assert!(verify_hash(&hex::encode(&[9; 32]), &signature, &keys.public_hex()));
    }
}

#[test]
fn an_event_is_serialised_as_nip_01_says() {
    let tags = vec![vec!["e".to_owned(), "a\"b".to_owned()], vec![]];
    let content = "\n\"\\\r\t\u{8}\u{c}\u{1}\u{7f}/é\u{2028}🦩";
    assert_eq!(
        serialize("ab", 0, 65_535, &tags, content).unwrap(),
        "[0,\"ab\",0,65535,[[\"e\",\"a\\\"b\"],[]],\
         \"\\n\\\"\\\\\\r\\t\\b\\f\\u0001\u{7f}/é\u{2028}🦩\"]"
    );
}
