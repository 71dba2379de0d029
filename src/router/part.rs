//! One relay's part in a subscription: what it was asked, what it has sent, and whether the client's
//! EOSE waits for it.

use std::time::Duration;

use crate::base::time::Now;
use crate::constants::EOSE_SILENT;
use crate::ids::{RelayId, RequestNumber};
use crate::router::merge::{FIRST, Place};

/// Where one relay stands with one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The relay has not been asked: it is not connected, or not at this yet.
    Unasked,
    /// The REQ has gone out and stored events may be coming.
    Asked {
        /// Whether anything has come for it.
        heard: bool,
    },
    /// Stored events are complete; live ones come.
    Live,
    /// The relay has ended it.
    Refused,
}

/// See the module's own page.
#[derive(Debug)]
pub(super) struct Part {
    /// The relay.
    pub relay: RelayId,
    /// Where it stands.
    pub stage: Stage,
    /// Whether the client's EOSE waits for this relay.
    pub holds: bool,
    /// Unix seconds since when events of this relay may have been missed, once it has been live.
    pub gap: Option<u64>,
    /// The relay's request (`router::upstream`) that brings its events.
    pub request: Option<RequestNumber>,
    /// The request it moves to as soon as that one is live.
    pub next: Option<RequestNumber>,
    /// How it came, or comes, to be asked.
    pub turn: Turn,
    /// It waits for its turn, and the relay answers nobody else either.
    pub stalls: bool,
    /// Its stored events.
    pub stream: Stream,
}

/// How a subscription comes to be asked for on a relay's connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// It waits for its turn, though the relay is connected.
    pub waits: bool,
    /// When its turn came, if it had to wait.
    pub came: Duration,
    /// A request for several subscriptions was refused: it is asked for alone.
    pub alone: bool,
    /// The relay has been asked on this connection.
    pub used: bool,
}

/// A relay's stored events, as far as they have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// None is to come that would stand before this.
    pub place: Place,
    /// The relay does not keep the order.
    pub disordered: bool,
    /// The client's EOSE did not wait for the rest, which has no place.
    pub passed: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self { place: FIRST, disordered: false, passed: false }
    }
}

impl Part {
    /// Of a relay that has not been asked.
    pub(super) fn new(relay: RelayId, holds: bool) -> Self {
        Self {
            relay,
            stage: Stage::Unasked,
            holds,
            gap: None,
            request: None,
            next: None,
            turn: Turn::default(),
            stalls: false,
            stream: Stream::default(),
        }
    }

    /// Whether it waits for its turn, and the turns go on.
    pub(super) const fn waits(&self) -> bool {
        self.turn.waits && !self.stalls
    }

    /// Whether the relay has sent nothing for the subscription by now, though it could have.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        match self.stage {
            Stage::Unasked => !self.waits(),
            Stage::Asked { heard } => !heard && now.mono >= self.turn.came + EOSE_SILENT,
            Stage::Live | Stage::Refused => false,
        }
    }
}

/// How an event has come to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// As one of those a relay stores, or new before the relay said that these are complete.
    Stored,
    /// The same, to a request that repeats an earlier one or comes late.
    Repeated,
    /// New.
    Live,
}
