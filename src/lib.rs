//! The core of nostrclient: a Nostr multiplexer.
//!
//! Many clients, many relays, one connection to each relay. Clients get one clean stream: verified,
//! deduplicated, one OK per EVENT, one EOSE per REQ.
//!
//! [`hub`] is the state machine that holds every rule; [`core`] runs it, with [`relay`] tasks on one
//! side, client tasks and their [`mailbox`]es on the other and [`verify`] threads at hand. The
//! Python module is in `python`, behind the feature of that name.

pub mod combine;
pub mod constants;
pub mod core;
pub mod count;
pub mod event;
pub mod fair;
pub mod filter;
pub mod hex;
pub mod history;
pub mod hll;
pub mod hub;
pub mod index;
pub mod keys;
pub mod mailbox;
pub mod merge;
pub mod message;
pub mod outbox;
pub mod part;
pub mod publication;
#[cfg(feature = "python")]
mod python;
pub mod recent;
pub mod relay;
pub mod seen;
pub mod stats;
pub mod subscription;
pub mod succession;
pub mod time;
pub mod verify;
