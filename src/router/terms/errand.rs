//! What a verification is for, and where its verdict belongs.

use crate::base::ticket::Ticket;
use crate::ids::{ClientId, Position, RelayId, RequestNumber};
use crate::nostr::event::EventId;

/// What a verification is for.
#[derive(Debug)]
pub(crate) struct Tag(pub(in crate::router) Purpose);

#[derive(Debug)]
pub(in crate::router) enum Purpose {
    /// A relay sent it for a subscription.
    Incoming(EventId, RelayCopy),
    /// A client publishes it. The id is the one to answer for, the position its place among all that
    /// is published.
    Published(ClientId, Option<EventId>, Position, Ticket),
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
