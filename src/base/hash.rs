//! Tables whose keys peers may choose, and fingerprints of what peers send.
//!
//! Both are keyed with a secret of this process, so that nobody can choose keys that fall together
//! and make every look-up a search. It is the one thing that the state machine does not have handed in,
//! and it decides nothing: only where in memory a thing lies, and in which order a table is gone
//! through. Where order can be seen from outside, it is sorted first.

use std::hash::{BuildHasher, Hash, Hasher};

/// Finds the place of a key, fast.
pub(crate) type Keyed = foldhash::fast::RandomState;
/// A table by keys.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, Keyed>;
/// A set of keys.
pub(crate) type Set<K> = hashbrown::HashSet<K, Keyed>;

/// Makes 64-bit fingerprints that stand for what they are of (`SipHash`): nobody can make two
/// collide on purpose.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint(FingerprintKey);

/// What fingerprints are made with. Of nobody else's knowledge.
pub(crate) type FingerprintKey = [u64; 2];

impl Default for Fingerprint {
    fn default() -> Self {
        let drawn = std::hash::RandomState::new();
        Self([drawn.hash_one(0), drawn.hash_one(1)])
    }
}

impl From<FingerprintKey> for Fingerprint {
    fn from(key: FingerprintKey) -> Self {
        Self(key)
    }
}

impl Fingerprint {
    /// To make the same ones elsewhere.
    pub(crate) const fn key(&self) -> FingerprintKey {
        self.0
    }

    /// The fingerprint of this, in this core.
    pub(crate) fn of(&self, value: impl Hash) -> u64 {
        let mut hash = self.hasher();
        value.hash(&mut hash);
        hash.finish()
    }

    /// The fingerprint of these bytes, the same in every core that has the key.
    pub(crate) fn of_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hash = self.hasher();
        hash.write(bytes);
        hash.finish()
    }

    #[expect(deprecated, reason = "the standard library has no other one whose key can be told")]
    fn hasher(&self) -> impl Hasher {
        let [first, second] = self.0;
        std::hash::SipHasher::new_with_keys(first, second)
    }
}
