//! An event that waits in the outbox (rule 2), from the moment it could not be given to a relay until
//! one has it, it is given up, or withdrawn.

use std::sync::Arc;
use std::time::Duration;

use crate::constants::{OUTBOX_RETRY_FIRST, OUTBOX_RETRY_MOST};
use crate::ids::{ClientId, Position, RelayId};
use crate::nostr::event::{Event, EventId};
use crate::nostr::reason::Reason;
use crate::router::terms::{EntryView, Reasons, Row, State};

/// What is known of the event at one relay. No part: it was never sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// Sent over the present connection; if nothing is heard until then, the relay is asked.
    Sent(Duration),
    /// Sent over a connection that is gone, or never answered: asked for when its time comes.
    Unsure(Duration),
    /// The relay is being asked whether it has it.
    InQuestion,
    /// The relay may be sent it from this time on.
    Later(Duration),
    /// The relay has refused it.
    Refused,
}

/// One relay's part in an entry.
#[derive(Debug)]
pub(crate) struct Dispatch {
    /// The relay.
    pub relay: RelayId,
    /// What is known.
    pub at: At,
    /// How often it was sent there; sets the time to the next try.
    pub tries: u32,
}

impl Dispatch {
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
pub(crate) enum EntryStage {
    /// Its row is being written, and these wait for the answer.
    Writing {
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
    pub stage: EntryStage,
    /// The relays that have had to do with it.
    pub parts: Vec<Dispatch>,
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
            EntryStage::Rejected => State::Rejected,
            _ if self.doubt => State::Doubt,
            _ => State::Queued,
        }
    }

    /// What is known of it at this relay.
    pub(crate) fn at(&self, relay: RelayId) -> Option<&At> {
        self.parts.iter().find(|part| part.relay == relay).map(|part| &part.at)
    }

    /// The relay's part, a new one if it had none.
    pub(crate) fn part(&mut self, relay: RelayId) -> &mut Dispatch {
        let at = self.parts.iter().position(|part| part.relay == relay).unwrap_or_else(|| {
            self.parts.push(Dispatch { relay, at: At::Later(Duration::ZERO), tries: 0 });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }
}
