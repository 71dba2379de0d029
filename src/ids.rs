//! Names of things: a type for each kind, so that none is taken for another.

use std::fmt;

/// A relay, for as long as it is configured. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub(crate) u64);

/// A connected client. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) u64);

/// One connection to a relay, which has many, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// A client's subscription, whichever client's. Never used again. Orders them as they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey(pub u64);

/// What relays know a REQ or a COUNT of ours by: it is written there as their subscription id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub(crate) u64);

/// The place of an event among all that is published: by the clock, so that the events of several
/// nodes and runs stay in order. The database keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Position(pub(crate) u64);

/// A batch of changes for the database. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BatchNumber(pub(crate) u64);

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client here has published it.
    Here,
    /// This relay has sent it.
    Relay(RelayId),
}

impl Origin {
    /// The relay, if it was one.
    pub(crate) const fn relay(self) -> Option<RelayId> {
        match self {
            Self::Here => None,
            Self::Relay(relay) => Some(relay),
        }
    }
}

impl SubscriptionKey {
    /// The number under which relays are asked for this subscription, where that can be: both are
    /// given out by [`Numbers`], so nothing else has it.
    pub(crate) const fn own_request(self) -> RequestNumber {
        RequestNumber(self.0)
    }
}

impl RequestNumber {
    /// The longest to write.
    pub(crate) const LONGEST: Self = Self(u64::MAX);

    /// The number that a relay's message names. `None`: none of ours is written like that.
    pub(crate) fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// As it is written to relays.
impl fmt::Display for RequestNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Gives out the keys of subscriptions and the numbers of requests. They share one counter, so that a
/// request for one subscription can have that one's own number ([`SubscriptionKey::own_request`]).
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    last: u64,
}

impl Numbers {
    /// For a subscription.
    pub(crate) const fn subscription(&mut self) -> SubscriptionKey {
        self.last += 1;
        SubscriptionKey(self.last)
    }

    /// For a request that is not named after a subscription.
    pub(crate) const fn request(&mut self) -> RequestNumber {
        self.last += 1;
        RequestNumber(self.last)
    }

    /// Whether this number was given out, as either.
    pub(crate) const fn gave(&self, number: RequestNumber) -> bool {
        number.0 <= self.last
    }

    /// The last one.
    #[cfg(test)]
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }
}
