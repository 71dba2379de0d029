//! One request: a subscription of ours at one relay, and what has come over it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Now;
use crate::ids::{RequestNumber, SubscriptionKey};
use crate::nostr::event::Event;
use crate::nostr::filter::Filter;
use crate::nostr::message::Hint;
use crate::nostr::reason::Reason;
use crate::router::subscriptions::Rank;
use crate::router::terms::Expected;

/// See [the module above](super).
#[derive(Debug)]
pub(super) struct Request {
    /// May name some that are gone, or have moved to another request.
    pub(super) members: BTreeSet<SubscriptionKey>,
    /// What it asks for, in the members' own words or in fewer.
    pub(super) asks: Vec<Arc<[Filter]>>,
    /// The message, if it is not made of what the members are due when its turn comes.
    pub(super) text: Option<String>,
    pub(super) sent: Sent,
    pub(super) duty: Duty,
    /// Something has come over it.
    pub(super) heard: bool,
    /// Nothing that has come over it was left out.
    pub(super) complete: bool,
    pub(super) arrivals: Arrivals,
    /// Copies that are being verified.
    pub(super) outstanding: usize,
    /// The relay has ended it, and why; what came before is still being verified.
    pub(super) ending: Option<Reason>,
    /// Tells it from an earlier one of the same number.
    serial: u64,
}

/// What a request is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It brings its members' events.
    Serves,
    /// The members have another request until its EOSE, and this one is silent until then.
    Gathers,
    /// It is closed, and passes on what was under way.
    Over,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// In line for the connection.
    Lined,
    /// Sent. `again`: as a repeated one for all of its members, or a late one.
    Asked { at: Now, again: bool },
    /// The relay's EOSE has come.
    Live,
}

/// What has come over a request and is looked at in this order.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// How many were looked at.
    looked_at: u64,
    /// `None`: being verified.
    waiting: VecDeque<Option<Arrival>>,
    /// A member's EOSE may wait for it.
    pub(super) awaited: bool,
}

/// Something that has come over a request.
#[derive(Debug)]
pub(in crate::router) enum Arrival {
    /// A true event.
    Event(Arc<Event>),
    /// A copy, by its own word, of an event that its only member was given.
    Copy(Rank),
    /// A copy that was forged.
    Forged,
    /// The relay's EOSE.
    Eose(Hint),
    /// The relay's CLOSED.
    Closed(Reason),
}

impl Request {
    pub(super) fn new(
        members: BTreeSet<SubscriptionKey>,
        asks: Vec<Arc<[Filter]>>,
        text: Option<String>,
        duty: Duty,
        serial: u64,
    ) -> Self {
        Self {
            members,
            asks,
            text,
            duty,
            serial,
            ending: None,
            sent: Sent::Lined,
            heard: false,
            complete: true,
            arrivals: Arrivals::default(),
            outstanding: 0,
        }
    }

    /// When it went out and whether as a repeated one. `None`: its EOSE has come.
    pub(super) const fn asked(&self) -> Option<(Now, bool)> {
        match self.sent {
            Sent::Asked { at, again } => Some((at, again)),
            Sent::Lined | Sent::Live => None,
        }
    }

    /// Whether it repeats what its members have been asked for before. No EOSE waits for that.
    pub(super) fn repeats(&self) -> bool {
        self.gathers() || matches!(self.asked(), Some((_, true)))
    }

    pub(super) fn gathers(&self) -> bool {
        self.duty == Duty::Gathers
    }

    pub(super) fn is_over(&self) -> bool {
        self.duty == Duty::Over
    }

    pub(super) fn is_live(&self) -> bool {
        self.sent == Sent::Live
    }

    /// Since when its EOSE is missing.
    pub(super) const fn unanswered(&self) -> Option<Duration> {
        match self.sent {
            Sent::Asked { at, .. } => Some(at.mono),
            Sent::Lined | Sent::Live => None,
        }
    }

    pub(super) fn is_unheard(&self) -> bool {
        self.unanswered().is_some() && !self.heard
    }

    pub(super) fn is_out(&self) -> bool {
        self.sent != Sent::Lined
    }

    /// Makes place for what is about to be verified, unless the order is of no interest any more.
    pub(super) fn expect(&mut self, number: RequestNumber) -> Expected {
        self.outstanding += 1;
        let place = (!self.is_live()).then(|| self.arrivals.push(None));
        Expected { number, serial: self.serial, place }
    }

    /// A verdict is in. False: it is on a copy that came over an earlier request.
    pub(super) const fn expected(&mut self, expected: Expected) -> bool {
        if self.serial == expected.serial {
            self.outstanding -= 1;
            return true;
        }
        false
    }

    /// How much of what has come has to be looked at before an EOSE; 0: nothing waits.
    pub(super) fn early(&self) -> u64 {
        if self.arrivals.waiting.is_empty() { 0 } else { self.arrivals.end() }
    }

    pub(super) const fn has_looked_at(&self, until: u64) -> bool {
        self.arrivals.looked_at >= until
    }
}

impl Arrivals {
    pub(super) fn push(&mut self, arrival: Option<Arrival>) -> u64 {
        self.waiting.push_back(arrival);
        self.end() - 1
    }

    fn end(&self) -> u64 {
        self.looked_at + self.waiting.len() as u64
    }

    pub(super) fn fill(&mut self, place: u64, arrival: Arrival) {
        let at = place.checked_sub(self.looked_at).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| self.waiting.get_mut(at)) {
            *place = Some(arrival);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Arrival> {
        let arrival = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.looked_at += 1;
        Some(arrival)
    }
}
