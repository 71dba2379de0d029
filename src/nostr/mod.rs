//! The protocol: what events, filters and messages are, and what may be said of each by itself. Knows
//! no relay, no client and no state.

pub(crate) mod count;
pub(crate) mod event;
pub(crate) mod filter;
pub mod hex;
pub(crate) mod hll;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod message;
pub(crate) mod reason;
pub(crate) mod succession;
pub(crate) mod url;
pub(crate) mod verify;
