//! What the rest is built of, and knows nothing of Nostr.

pub(crate) mod clock;
pub(crate) mod fair;
pub(crate) mod hash;
pub(crate) mod secret;
pub(crate) mod text;
pub(crate) mod ticket;
pub(crate) mod time;
