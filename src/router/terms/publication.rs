//! One published event on its way to the relays, and what is known of its fate.
//!
//! Owned by `Publishing` from the moment the event is sent until its fate is known, or two seconds have
//! passed. Its end is rule 1.3; what the clients are told, and whether the event goes on into the
//! outbox, is for that to decide.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{ClientId, Position, RelayId};
use crate::nostr::event::Event;
use crate::nostr::reason::{Cause, Reason};

/// A relay's word on an event: its OK.
#[derive(Debug, Clone, Copy)]
pub(in crate::router) struct Word<'a> {
    pub(in crate::router) accepted: bool,
    pub(in crate::router) why: &'a Reason,
}

impl Word<'_> {
    /// Whether the relay has the event.
    pub(in crate::router) fn has_it(&self) -> bool {
        self.why.has_it(self.accepted)
    }
}

/// What became of the event at one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::router) enum Delivery {
    /// Waiting here for the connection to take it. Can still be taken back.
    Queued,
    /// Given to the connection.
    Sent,
    /// Given to the connection, which died before an answer came.
    Lost,
    /// The connection died before it took the event.
    Unsent,
    /// Answered `true`, or that it has it already.
    Accepted,
    /// Answered `false`, with this reason.
    Refused(Reason),
    /// The same for want of an authentication, which is under way: it goes again after that.
    Deferred(Reason),
}

/// What is known of the event's fate, once enough is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::router) enum Fate {
    /// A relay has it, and said this.
    Accepted(Reason),
    /// Every relay it was sent to has refused it. The most telling reason.
    Refused(Reason),
    /// It has left for no relay, and none will get it.
    Unsent,
    /// It has left, and nobody has said what became of it. Says so.
    Doubt(Reason),
}

/// An event that somebody publishes.
#[derive(Debug)]
pub(in crate::router) struct Published {
    /// The event.
    pub(in crate::router) event: Arc<Event>,
    /// Orders the events as they were published.
    pub(in crate::router) position: Position,
    /// One entry per EVENT that is owed an OK.
    pub(in crate::router) waiters: Vec<ClientId>,
    /// When it is answered at the latest.
    pub(in crate::router) deadline: Duration,
}

/// One event on its way to these relays.
#[derive(Debug)]
pub(in crate::router) struct Publication {
    /// The event, and everybody who waits for its OK.
    pub(in crate::router) published: Published,
    /// The relays it is for.
    pub(in crate::router) relays: Vec<(RelayId, Delivery)>,
}

impl Publication {
    /// For these relays, none of which has it yet.
    pub(in crate::router) fn new(
        published: Published,
        relays: impl Iterator<Item = RelayId>,
    ) -> Self {
        let relays = relays.map(|relay| (relay, Delivery::Queued)).collect();
        Self { published, relays }
    }

    /// Whether it is for this relay.
    pub(in crate::router) fn is_for(&self, relay: RelayId) -> bool {
        self.relays.iter().any(|(id, _)| *id == relay)
    }

    /// Those of these relays that took no part in it, or whose connection died.
    pub(in crate::router) fn missed_by(&self, mut relays: Vec<RelayId>) -> Vec<RelayId> {
        relays.retain(|id| {
            !self.relays.iter().any(|(relay, delivery)| {
                relay == id && !matches!(delivery, Delivery::Lost | Delivery::Unsent)
            })
        });
        relays
    }

    /// Why this relay has refused it, if that is for want of an authentication which is under way.
    pub(in crate::router) fn deferred_by(&self, relay: RelayId) -> Option<Reason> {
        self.relays.iter().find_map(|(id, delivery)| match delivery {
            Delivery::Deferred(why) if *id == relay => Some(why.clone()),
            _ => None,
        })
    }

    /// The connection has taken it.
    pub(in crate::router) fn sent(&mut self, relay: RelayId) {
        self.step(relay, &Delivery::Queued, Delivery::Sent);
    }

    /// The relay's OK. `None`: the event's fate is still open (or the relay had no say).
    pub(in crate::router) fn answered(&mut self, relay: RelayId, word: Word<'_>) -> Option<Fate> {
        let (has_it, why) = (word.has_it(), word.why);
        let after = if has_it { Delivery::Accepted } else { Delivery::Refused(why.clone()) };
        // One that has it has it, whatever it said before.
        let changed = self.step(relay, &Delivery::Sent, after.clone())
            || (has_it && self.undefer(relay, |_| after));
        if !changed {
            return None;
        }
        if has_it { Some(Fate::Accepted(why.clone())) } else { self.fate() }
    }

    /// The relay wants to know first who we are. False: it had no say.
    pub(in crate::router) fn deferred(&mut self, relay: RelayId, why: &Reason) -> bool {
        self.step(relay, &Delivery::Sent, Delivery::Deferred(why.clone()))
    }

    /// The relay knows who we are. Whether the event is to be sent to it again.
    pub(in crate::router) fn again(&mut self, relay: RelayId) -> bool {
        self.undefer(relay, |_| Delivery::Queued)
    }

    /// The relay will not know who we are: what it said counts.
    pub(in crate::router) fn refused_after_all(&mut self, relay: RelayId) -> Option<Fate> {
        if self.undefer(relay, Delivery::Refused) { self.fate() } else { None }
    }

    /// The relay's connection has died; `unsent`: before it took the event.
    pub(in crate::router) fn lost(&mut self, relay: RelayId, unsent: bool) -> Option<Fate> {
        let after = if unsent { Delivery::Unsent } else { Delivery::Lost };
        let changed = self.step(relay, &Delivery::Sent, after)
            || self.step(relay, &Delivery::Queued, Delivery::Unsent)
            || self.undefer(relay, |_| Delivery::Unsent);
        if changed { self.fate() } else { None }
    }

    /// The copy that waited for the relay's connection is gone.
    pub(in crate::router) fn dropped(&mut self, relay: RelayId) -> Option<Fate> {
        let changed = self.step(relay, &Delivery::Queued, Delivery::Unsent);
        if changed { self.fate() } else { None }
    }

    /// The deadline has passed: what is known by now. Unless it is in doubt, the event must be taken
    /// back wherever it is queued.
    pub(in crate::router) fn at_deadline(&self) -> Fate {
        let count = |which: fn(&Delivery) -> bool| {
            self.relays.iter().filter(|(_, delivery)| which(delivery)).count()
        };
        let unanswered = count(|delivery| matches!(delivery, Delivery::Sent | Delivery::Lost));
        if unanswered == 0 {
            return self.refused();
        }
        let refused =
            |delivery: &_| matches!(delivery, Delivery::Refused(_) | Delivery::Deferred(_));
        let sent = unanswered + count(refused);
        let why = Reason::read(format!("sent to {sent} relays, unanswered"));
        Fate::Doubt(why.about(Cause::Unanswered))
    }

    /// [`Fate::Refused`] or [`Fate::Unsent`] where no relay has the event and none will get it.
    pub(in crate::router) fn fate(&self) -> Option<Fate> {
        let over =
            |delivery: &Delivery| matches!(delivery, Delivery::Refused(_) | Delivery::Unsent);
        self.relays.iter().all(|(_, delivery)| over(delivery)).then(|| self.refused())
    }

    fn refused(&self) -> Fate {
        let refusals = self.relays.iter().filter_map(|(_, delivery)| match delivery {
            Delivery::Refused(why) | Delivery::Deferred(why) => Some(why),
            _ => None,
        });
        let why = refusals.fold(None, |kept, why| Some(Reason::more_telling(kept, why)));
        why.map_or(Fate::Unsent, Fate::Refused)
    }

    fn undefer(&mut self, relay: RelayId, to: impl FnOnce(Reason) -> Delivery) -> bool {
        let part = self.relays.iter_mut().find(|(id, _)| *id == relay);
        let Some((_, delivery)) = part else { return false };
        let Delivery::Deferred(why) = delivery else { return false };
        *delivery = to(std::mem::take(why));
        true
    }

    fn step(&mut self, relay: RelayId, from: &Delivery, to: Delivery) -> bool {
        match self.relays.iter_mut().find(|(id, delivery)| *id == relay && delivery == from) {
            Some((_, delivery)) => {
                *delivery = to;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
