//! What the database keeps of the outbox, so that it is there again after the process has died, and what
//! it is told of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{BatchNumber, Position};
use crate::nostr::event::{Event, EventId};
use crate::nostr::reason::Reason;

/// What a relay said of an event, by the relay's url.
pub(crate) type Reasons = BTreeMap<Arc<str>, Reason>;

/// Where an event of the outbox stands, as the database knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No relay has had it.
    Queued,
    /// It was sent, and nobody has said what became of it.
    Doubt,
    /// Every relay has refused it, or none has ever answered. Kept for the owner to see.
    Rejected,
}

impl State {
    /// Its name in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Doubt => "doubt",
            Self::Rejected => "rejected",
        }
    }

    /// The state of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Queued, Self::Doubt, Self::Rejected].into_iter().find(|state| state.name() == name)
    }
}

/// What the database keeps of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The event.
    pub event: Arc<Event>,
    /// Where it stands.
    pub state: State,
    /// Orders the events as they were published.
    pub position: Position,
    /// Unix seconds since when it has been here.
    pub queued_at: u64,
    /// Why relays refused it.
    pub reasons: Reasons,
}

/// Changes for the database, to be made in one transaction: the rows first, then the deletions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Names it in the answer. Never used again.
    pub number: BatchNumber,
    /// Rows that may not be there yet.
    pub insert: Vec<Row>,
    /// Rows that were there for certain. If one is not, somebody else has removed it.
    pub update: Vec<Row>,
    /// Ids of rows to remove.
    pub delete: Vec<EventId>,
    /// Ids of rows to remove that nobody was promised, unless another node has since.
    pub undo: Vec<EventId>,
    /// How long from now somebody waits for it to be durable. It must not become so later: he will
    /// have been told that it is not.
    pub within: Option<Duration>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is durable, but for these rows: another node of this installation holds them, or has
    /// removed them.
    Done(Vec<EventId>),
    /// Nothing of it is in the database. The reason, for clients and for the owner.
    Failed(String),
    /// The connection broke at the commit: it may be there or not.
    Unknown(String),
}

/// What an entry looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryView {
    /// The event.
    pub event: Arc<Event>,
    /// Where it stands.
    pub state: State,
    /// Unix seconds since when it has been here.
    pub queued_at: u64,
    /// What relays said of it.
    pub reasons: Reasons,
}
