//! What several owners speak of, and none of them owns.

mod errand;
mod publication;
mod rows;

use crate::constants::{
    MAX_CLIENTS, MAX_FILTERS, MAX_MESSAGE_LENGTH, MAX_MESSAGES_PER_SECOND, MAX_SUBSCRIPTIONS,
    OUTBOX_SIZE,
};
use crate::ids::ClientId;

pub(crate) use errand::Errand;
pub(super) use errand::{Expected, Purpose, RelayCopy};
pub(super) use publication::{Delivery, Fate, Publication, Published, Word};
pub(crate) use rows::{Batch, EntryView, Reasons, Row, State, Written};

/// What the endpoint enforces (rule 5.2). NIP-11's names where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "NIP-11's names")]
pub(crate) struct Limits {
    /// Bytes of one message.
    pub(crate) max_message_length: usize,
    /// Subscriptions of one client.
    pub(crate) max_subscriptions: usize,
    /// Filters of one REQ.
    pub(crate) max_filters: usize,
    /// Clients in all.
    pub(crate) max_clients: usize,
    /// Messages per second of one client, on average over [`RATE_WINDOW`](crate::constants::RATE_WINDOW) seconds.
    pub(crate) max_messages_per_second: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_length: MAX_MESSAGE_LENGTH,
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_filters: MAX_FILTERS,
            max_clients: MAX_CLIENTS,
            max_messages_per_second: MAX_MESSAGES_PER_SECOND,
        }
    }
}

/// What the owner has set, but for each relay's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How many events may be queued.
    pub(crate) outbox_size: usize,
    /// Whether public clients read through connections that are authenticated as the owner.
    pub(crate) public_reads: bool,
    /// The x-only public keys that may use the public endpoint; none: everybody may.
    pub(crate) public_allowed: Vec<[u8; 32]>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { outbox_size: OUTBOX_SIZE, public_reads: false, public_allowed: Vec::new() }
    }
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// At the other end of a WebSocket, by the endpoint whose address is a secret.
    Private,
    /// The same, by the one that is open to everybody, or to those on the owner's list. It does not
    /// read through connections that are authenticated as the owner, unless he says so.
    Public,
    /// Another server of this extension, by the public endpoint or the other. It has no part at relays that
    /// are such servers too, and what it publishes is not sent to them, nor kept.
    Sibling {
        /// By which.
        public: bool,
    },
    /// In this process: other extensions, which [`Limits`] are not meant for. It is told what its
    /// relays say for people, and when they connect.
    Inside,
}

impl Role {
    /// Whether it came by the public endpoint.
    pub(super) const fn is_public(self) -> bool {
        matches!(self, Self::Public | Self::Sibling { public: true })
    }

    /// Whether it is another server of this extension.
    pub(super) const fn is_sibling(self) -> bool {
        matches!(self, Self::Sibling { .. })
    }
}

/// What goes to a relay, by the owner's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switches {
    /// Subscriptions.
    pub(crate) read: bool,
    /// Events.
    pub(crate) write: bool,
}

impl Switches {
    /// The owner does not use it.
    pub(crate) const OFF: Self = Self { read: false, write: false };
}

/// What a connected relay does for the subscriptions that have a part in it: how many there are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Census {
    /// It brings their events, or was asked for them.
    pub(super) served: usize,
    /// It has refused them, or left them without an answer.
    pub(super) refused: usize,
    /// It could not be asked for them yet.
    pub(super) waiting: usize,
}

/// Whose relays a publication is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Audience {
    /// The owner's.
    Owners,
    /// Those this client inside has named.
    Named(ClientId),
    /// The owner's but for siblings: what a sibling has published.
    Passed(ClientId),
}
