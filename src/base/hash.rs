//! Tables whose keys peers may choose, and fingerprints of what peers send.
//!
//! Both are keyed with a secret of this process, so that nobody can choose keys that fall together
//! and make every look-up a search. It is the one thing that the state machine does not have handed in,
//! and it decides nothing: only where in memory a thing lies, and in which order a table is gone
//! through. Where order can be seen from outside, it is sorted first.

use std::hash::{BuildHasher, Hash};

/// Finds the place of a key, fast.
pub(crate) type Keyed = foldhash::fast::RandomState;
/// A table by keys.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, Keyed>;
/// A set of keys.
pub(crate) type Set<K> = hashbrown::HashSet<K, Keyed>;

/// Makes 64-bit fingerprints that stand for what they are of (`SipHash`): nobody can make two
/// collide on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fingerprint(std::hash::RandomState);

impl Fingerprint {
    /// The fingerprint of this.
    pub(crate) fn of(&self, value: impl Hash) -> u64 {
        self.0.hash_one(value)
    }
}
