//! The sketch that lets relays' counts be added up without counting twice (NIP-45).
//!
//! `HyperLogLog` with 256 registers, after Flajolet, Fusy, Gandouet and Meunier, "`HyperLogLog`: the
//! analysis of a near-optimal cardinality estimation algorithm" (2007). A relay puts the authors of
//! the events it counts into it; two sketches are merged by the larger of each pair of registers,
//! which gives the sketch of all authors together. The estimate is off by 6.5 % on average, and by
//! less for small numbers.

use crate::nostr::hex;

const REGISTERS: usize = 256;
/// The paper's correction for so many registers.
const ALPHA: f64 = 0.7213 / (1.0 + 1.079 / 256.0);
/// Up to this, the paper counts the empty registers instead.
const SMALL: f64 = 2.5 * 256.0;
/// The longest run of zero bits that a public key has room for, and one. What says more is made up.
const MOST: u8 = 249;

/// 256 registers, each the longest run of zero bits seen, and one; 0 where nothing was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hll(Box<[u8; REGISTERS]>);

impl Hll {
    /// Reads what a relay sends: 512 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 2 * REGISTERS {
            return None;
        }
        let registers = hex::decode(&text.to_ascii_lowercase())?;
        registers.iter().all(|register| *register <= MOST).then(|| Self(Box::new(registers)))
    }

    /// What clients are sent.
    pub fn to_hex(&self) -> String {
        hex::encode(&*self.0)
    }

    /// From now on that of both.
    pub fn merge(&mut self, other: &Self) {
        for (mine, its) in self.0.iter_mut().zip(other.0.iter()) {
            *mine = (*mine).max(*its);
        }
    }

    /// About how many authors were put in.
    pub fn estimate(&self) -> f64 {
        let registers = 256.0;
        let sum: f64 = self.0.iter().map(|register| (-f64::from(*register)).exp2()).sum();
        let raw = ALPHA * registers * registers / sum;
        let empty: u16 = self.0.iter().map(|register| u16::from(*register == 0)).sum();
        if raw > SMALL || empty == 0 {
            return raw;
        }
        registers * (registers / f64::from(empty)).ln()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Hll {
        pub(crate) fn empty() -> Self {
            Self(Box::new([0; REGISTERS]))
        }

        /// A relay's side of it, as NIP-45 says.
        pub(crate) fn insert(&mut self, author: &[u8; 32], offset: usize) {
            let register = usize::from(author[offset]);
            let rest = &author[offset + 1..];
            let zeros: u32 = match rest.iter().position(|byte| *byte != 0) {
                Some(at) => u32::try_from(at).unwrap() * 8 + rest[at].leading_zeros(),
                None => u32::try_from(rest.len()).unwrap() * 8,
            };
            let run = u8::try_from(zeros + 1).unwrap();
            self.0[register] = self.0[register].max(run);
        }
    }

    /// Authors by number.
    pub(crate) fn author(number: u64) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        Sha256::digest(number.to_be_bytes()).into()
    }

    fn sketch(authors: impl Iterator<Item = u64>, offset: usize) -> Hll {
        let mut hll = Hll::empty();
        for number in authors {
            hll.insert(&author(number), offset);
        }
        hll
    }

    #[test]
    fn only_512_hex_digits_that_can_be_true() {
        let hll = sketch(0..100, 8);
        assert_eq!(Hll::from_hex(&hll.to_hex()), Some(hll.clone()));
        assert_eq!(Hll::from_hex(&hll.to_hex().to_uppercase()), Some(hll.clone()));
        let wrong = [
            String::new(),
            hll.to_hex()[2..].to_owned(),
            hll.to_hex() + "00",
            "g".repeat(512),
            "é".repeat(256),
            "ff".repeat(256),
        ];
        for text in wrong {
            assert_eq!(Hll::from_hex(&text), None, "{text}");
        }
        assert!(
            Hll::from_hex(&"f9".repeat(256)).unwrap().estimate() > 1e70,
            "absurd, not infinite"
        );
    }

    #[test]
    fn nobody_is_nobody_and_few_are_few() {
        assert!(Hll::empty().estimate() < 0.001);
        for few in 1..10_u32 {
            let off = sketch(0..few.into(), 8).estimate() - f64::from(few);
            assert!(off.abs() < 1.1, "{few}: {off}"); // two may meet in one register
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Relays with parts of the same authors: the merged sketch is that of all, in any order,
        /// and its estimate within five standard errors of the true number.
        #[test]
        fn merged_it_counts_every_author_once(
            first in 0..1_u64 << 40,
            count in prop_oneof![1..1_000_u32, 1_000..10_000_u32],
            relays in 1..5_u64,
            offset in 8..24_usize,
        ) {
            let all = first..first + u64::from(count);
            let whole = sketch(all.clone(), offset);
            // Each author is on one relay at least, and on the next one if it is odd.
            let mut parts: Vec<Hll> = (0..relays)
                .map(|relay| {
                    let has = move |number: &u64| {
                        number % relays == relay || (number % 2 == 1 && (number + 1) % relays == relay)
                    };
                    sketch(all.clone().filter(has), offset)
                })
                .collect();
            let mut merged = parts.pop().unwrap();
            for part in parts.iter().rev() {
                merged.merge(part);
                merged.merge(part);
            }
            prop_assert_eq!(&merged, &whole);
            let off = (whole.estimate() - f64::from(count)) / f64::from(count);
            prop_assert!(off.abs() < 5.0 * 0.065, "{count}: off by {off}");
        }
    }
}
