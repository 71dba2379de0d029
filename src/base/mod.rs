//! What the rest is built of, and knows nothing of Nostr.

pub(crate) mod fair;
pub(crate) mod time;
