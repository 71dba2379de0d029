//! The core of nostrclient: a Nostr multiplexer.
//!
//! Many clients, many relays, one connection to each relay. Clients get one clean stream: verified,
//! deduplicated, one OK per EVENT, one EOSE per REQ.
//!
//! By floor, each of which knows those above it in this list and none below:
//!
//! - `constants`, `ids`, and what knows nothing of Nostr: `base`
//! - `nostr`: the protocol, without a relay or a client
//! - `stats`: numbers for the owner
//! - `router`: the state machine that holds every rule, without sockets, clocks or threads
//! - `relay`: a relay's task; and `runtime`: the threads and queues around the router, client
//!   tasks with their mailboxes among them
//! - `python`: the Python module, behind the feature of that name
//!
//! `scripts/check_layers.py` holds them to it.

// What only Python uses is of no use without it.
#![cfg_attr(not(feature = "python"), allow(dead_code, unused_imports))]

mod base;
mod constants;
mod ids;
mod nostr;
#[cfg(feature = "python")]
mod python;
mod relay;
mod router;
mod runtime;
mod stats;

/// What the benchmarks measure. Nothing else is meant to link this crate.
#[doc(hidden)]
pub mod measured {
    pub use crate::constants::SEEN_MOST;
    pub use crate::ids::{RequestNumber, SubscriptionKey};
    pub use crate::nostr::event::{Event, EventError, EventId, Unverified, event_id};
    pub use crate::nostr::filter::Filter;
    pub use crate::nostr::hex;
    pub use crate::nostr::message::{ClientMessage, RelayMessage};
    pub use crate::nostr::verify::check;
    pub use crate::router::Index;
    pub use crate::router::Seen;
}
