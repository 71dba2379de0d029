//! Names of things, so that no two kinds of them are taken for one another.

/// Names a configured relay. Never used again.
pub(crate) type RelayId = u64;
/// In place of a relay: a client here has published it.
pub(crate) const HERE: RelayId = 0;
/// Names a connected client. Never used again.
pub(crate) type ClientId = u64;
/// Names a connection to a relay: a relay has many, one after the other.
pub(crate) type LinkId = u64;
