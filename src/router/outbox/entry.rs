//! An event that waits in the outbox, and the row it has in the database (rules 2).
//!
//! Entries are owned by the router, from the moment an event could not be given to a relay until one
//! has it, it is given up, or withdrawn. Rows are what is written down of them, so that they are
//! there again after the process has died.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::constants::{OUTBOX_RETRY_FIRST, OUTBOX_RETRY_MOST};
use crate::ids::{BatchNumber, ClientId, Position, RelayId};
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

/// What is known of the event at one relay. No part: it was never sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// Sent over the present connection; if nothing is heard until then, the relay is asked.
    Sent(Duration),
    /// Sent over a connection that is gone, or never answered: asked for when its time comes.
    Unsure(Duration),
    /// The relay is being asked whether it has it.
    Asked,
    /// The relay may be sent it from this time on.
    Later(Duration),
    /// The relay has refused it.
    Refused,
}

/// One relay's part in an entry.
#[derive(Debug)]
pub(crate) struct Part {
    /// The relay.
    pub relay: RelayId,
    /// What is known.
    pub at: At,
    /// How often it was sent there; sets the time to the next try.
    pub tries: u32,
}

impl Part {
    /// The relay has refused it, for this reason. When it is tried again, if it is.
    pub(super) fn refused(&mut self, why: &Reason, now: Duration) -> Option<Duration> {
        let again = why.passes().then(|| now + self.pause());
        self.at = again.map_or(At::Refused, At::Later);
        again
    }

    /// How long to wait after the last try.
    pub(crate) fn pause(&self) -> Duration {
        let doublings = self.tries.saturating_sub(1).min(16);
        (OUTBOX_RETRY_FIRST * 2_u32.pow(doublings)).min(OUTBOX_RETRY_MOST)
    }
}

/// How far an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its row is being written, and these wait for the answer.
    Storing {
        /// One entry for each EVENT that is owed an OK.
        waiters: Vec<ClientId>,
        /// What they are told once the row is there.
        why: Reason,
        /// When they are told something at the latest.
        until: Duration,
    },
    /// The database could not say whether it wrote the row. It is made sure that it is not there,
    /// and then these are told `false`, for this reason.
    Undoing {
        /// As above.
        waiters: Vec<ClientId>,
        /// The reason.
        why: Reason,
        /// As above.
        until: Duration,
    },
    /// It is answered, and waits for a relay.
    Waiting,
    /// It is answered, and no relay wants it.
    Rejected,
}

/// An event in the outbox.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The event.
    pub event: Arc<Event>,
    /// Orders the events as they were published.
    pub position: Position,
    /// Unix seconds since when it has been here.
    pub queued_at: u64,
    /// It was sent before it came here.
    pub doubt: bool,
    /// Nobody remembers to which relays: an earlier run did it.
    pub anywhere: bool,
    /// How far it is.
    pub stage: Stage,
    /// The relays that have had to do with it.
    pub parts: Vec<Part>,
    /// What they said, if they do not have it.
    pub reasons: Reasons,
    /// Entries whose rows go when this one's is written: older versions, withdrawn events.
    pub voids: Vec<EventId>,
    /// When it was first sent and not answered: unix seconds, and on the core's own clock.
    pub sent: Option<(u64, Duration)>,
}

impl Entry {
    /// The row the database is to have.
    pub(crate) fn row(&self) -> Row {
        Row {
            event: Arc::clone(&self.event),
            state: self.state(),
            position: self.position,
            queued_at: self.queued_at,
            reasons: self.reasons.clone(),
        }
    }

    /// What it looks like from outside.
    pub(super) fn view(&self) -> EntryView {
        EntryView {
            event: Arc::clone(&self.event),
            state: self.state(),
            queued_at: self.queued_at,
            reasons: self.reasons.clone(),
        }
    }

    /// Where it stands, in the database's words.
    pub(crate) fn state(&self) -> State {
        match self.stage {
            Stage::Rejected => State::Rejected,
            _ if self.doubt => State::Doubt,
            _ => State::Queued,
        }
    }

    /// What is known of it at this relay.
    pub(crate) fn at(&self, relay: RelayId) -> Option<&At> {
        self.parts.iter().find(|part| part.relay == relay).map(|part| &part.at)
    }

    /// The relay's part, a new one if it had none.
    pub(crate) fn part(&mut self, relay: RelayId) -> &mut Part {
        let at = self.parts.iter().position(|part| part.relay == relay).unwrap_or_else(|| {
            self.parts.push(Part { relay, at: At::Later(Duration::ZERO), tries: 0 });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }
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
