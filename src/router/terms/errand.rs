//! What a verification is for, and where its verdict belongs.

use std::time::Duration;

use crate::base::ticket::Ticket;
use crate::ids::{ClientId, Position, RelayId, RequestNumber};
use crate::nostr::event::EventId;

/// What a verification is for.
#[derive(Debug)]
pub(crate) struct Errand(pub(in crate::router) Purpose);

#[derive(Debug)]
pub(in crate::router) enum Purpose {
    /// A relay sent it for a subscription.
    Incoming(EventId, RelayCopy),
    /// A client publishes it.
    Published {
        /// Who.
        client: ClientId,
        /// The one to answer for.
        id: Option<EventId>,
        /// Its place among all that is published.
        position: Position,
        /// As in `Said`.
        read: Option<Duration>,
        /// Released when it is judged.
        ticket: Ticket,
    },
    /// A client says who it is. The id is the one to answer for.
    Auth(ClientId, EventId, Ticket),
}

/// One relay's copy of an event, over one request.
#[derive(Debug)]
pub(in crate::router) struct RelayCopy {
    pub(in crate::router) relay: RelayId,
    /// Where its verdict belongs.
    pub(in crate::router) expected: Expected,
    /// Released when the copy is judged.
    pub(in crate::router) _ticket: Ticket,
}

/// Where the verdict on a copy belongs.
#[derive(Debug, Clone, Copy)]
pub(in crate::router) struct Expected {
    /// The request that the copy came over.
    pub(in crate::router) number: RequestNumber,
    /// Tells that request from an earlier one of the same number.
    pub(in crate::router) serial: u64,
    /// Its place in what has come over the request, where that counts.
    pub(in crate::router) place: Option<u64>,
}
