//! What comes into the router and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use super::terms::{Batch, Errand, Role, Row, Settings, Written};
use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::ids::{BatchNumber, ClientId, LinkId, RelayId, RequestNumber};
use crate::nostr::count::Counted;
use crate::nostr::event::EventId;
use crate::nostr::keys::Keys;
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::{ClientMessage, Hint, Reply};
use crate::nostr::reason::Reason;
use crate::nostr::verify::{Job, Verdict};
use crate::stats::{ClientStats, RelayStats};

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A relay was configured, or its switches were changed.
    RelaySet {
        /// Which.
        relay: RelayId,
        /// Normalised.
        url: Arc<str>,
        /// Subscriptions go to it.
        read: bool,
        /// Events are published to it.
        write: bool,
        /// Its numbers.
        stats: Arc<RelayStats>,
    },
    /// Who we are to a relay that asks, from now on.
    RelayKey(RelayId, Option<Keys>),
    /// What a relay's own document says it takes (NIP-11).
    RelayLimits(RelayId, RelayLimits),
    /// Whether a relay is another server of this extension, as the connection shows that comes next.
    RelaySibling(RelayId, bool),
    /// A relay is no longer configured.
    RelayRemoved(RelayId),
    /// A relay's connection stands.
    LinkUp(RelayId, LinkId),
    /// A relay's connection has written so many messages and takes as many more.
    LinkWrote(RelayId, LinkId, usize),
    /// A relay's connection is gone.
    LinkDown {
        /// Whose.
        relay: RelayId,
        /// Which.
        link: LinkId,
        /// One for each message it never wrote: the event it publishes, if it does.
        unsent: Vec<Option<EventId>>,
        /// Unix seconds of its last sign of life: it may have been dead for long.
        heard: u64,
        /// How.
        how: Ending,
    },
    /// A relay cannot be reached: an attempt to connect has failed, or the next one is far off.
    LinkFailed(RelayId),
    /// What a relay said, in order.
    RelaySaid(RelayId, LinkId, Vec<Frame>),
    /// A client has connected; these are its numbers.
    ClientJoined(ClientId, Role, Arc<ClientStats>),
    /// The hosts by which a client may have reached us, for a client that is to authenticate.
    ClientReached(ClientId, Box<[Box<str>]>),
    /// An inside client wants these relays and no others from now on.
    ClientRelays(ClientId, Box<[RelayId]>),
    /// A client has said something.
    ClientSaid(ClientId, Said),
    /// A client is gone.
    ClientLeft(ClientId),
    /// An event handed out for verification is back.
    Verified(Verdict<Errand>),
    /// What the owner has set, from now on.
    Settings(Settings),
    /// How long from now this node may send what is in the outbox; `None`: as long as it lives.
    OutboxLease(Option<Duration>),
    /// Rows of the outbox that are this node's from now on.
    OutboxRows(Vec<Row>),
    /// Rows that are this node's no longer.
    OutboxGone(Vec<EventId>),
    /// What became of the batch of this number.
    OutboxWritten(BatchNumber, Written),
}

/// A client's message.
#[derive(Debug)]
pub(crate) struct Said {
    /// The message.
    pub message: ClientMessage,
    /// When it was read, by the clock of [`Now::mono`](crate::base::time::Now::mono). `None`: it may
    /// have waited for long before.
    pub read: Option<Duration>,
    /// Its share of the client's budget.
    pub ticket: Ticket,
}

/// How a connection has ended, as far as it tells what it may have ended over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The relay has ended it, or it broke.
    Broken,
    /// The relay has ended it because a message was too big for it (close code 1009).
    TooBig,
    /// Over nothing that was sent: it was ended here or fell silent, or the relay went away and said so.
    Innocent,
    /// The owner wants another one.
    Anew,
}

/// A relay's message, as much of it as the router needs.
#[derive(Debug)]
pub(crate) enum Frame {
    /// An event, not verified.
    Event {
        /// Our number for the request; `None` for an id that is none of ours.
        number: Option<RequestNumber>,
        /// The id it claims.
        id: EventId,
        /// The event as JSON text.
        json: Text,
        /// Its share of the relay's budget.
        ticket: Ticket,
    },
    /// The end of stored events.
    Eose(Option<RequestNumber>, Hint),
    /// How many events match; `None` for what is no number.
    Count(Option<RequestNumber>, Option<Counted>),
    /// The relay has ended a subscription.
    Closed(Option<RequestNumber>, Reason),
    /// The answer to an event.
    Ok(EventId, bool, Reason),
    /// A sentence for a person.
    Notice(String),
    /// A challenge: the relay wants to know who we are (NIP-42).
    Auth(String),
    /// A message that was too long to be read.
    TooLong {
        /// Our number for the request, where it began as an event for one.
        number: Option<RequestNumber>,
        /// Its length.
        bytes: usize,
    },
    /// Something nobody can use.
    Junk,
}

/// What is written to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The message.
    pub text: String,
    /// The event it publishes, if it does.
    pub event: Option<EventId>,
}

/// What is to be done after an input. The owner empties it and hands it in again.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Messages for relays, in order.
    pub to_relay: Vec<(RelayId, LinkId, Outgoing)>,
    /// Connections to end.
    pub cut: Vec<(RelayId, LinkId)>,
    /// Messages for clients, in order.
    pub to_client: Vec<(ClientId, Reply)>,
    /// Events to verify.
    pub verify: Vec<Job<Errand>>,
    /// Changes for the database. The next ones come when it has answered to these.
    pub write: Option<Batch>,
}

impl Effects {
    /// Whether nothing is to be done.
    pub(crate) const fn is_empty(&self) -> bool {
        self.to_relay.is_empty()
            && self.cut.is_empty()
            && self.to_client.is_empty()
            && self.verify.is_empty()
            && self.write.is_none()
    }
}
