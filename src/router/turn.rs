//! One turn of the router: the time, what is to be done outside, and what is still to be looked at.
//!
//! A [`Turn`] is handed to whoever acts. He may call on what is below him; what has to be looked at
//! anywhere else he *marks* in [`Due`], and the router drains the marks in the order that it has written
//! down once (`Keepers::drain`). So nothing changes under the feet of the one who is at work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::time::Now;
use crate::ids::{ClientId, Numbers, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, EventId};
use crate::nostr::message::Reply;
use crate::stats::{CoreStats, Trouble};

use super::input::Effects;
use super::terms::Audience;

/// Handed in once and passed on.
pub(super) struct Turn<'a> {
    /// The time of the input; the same for all that follows from it.
    pub(super) now: Now,
    /// What is to be done outside.
    pub(super) effects: &'a mut Effects,
    /// What is to be looked at before the turn ends.
    pub(super) due: &'a mut Due,
    /// What is to be looked at later.
    pub(super) timers: &'a mut Timers,
    /// Where new numbers come from.
    pub(super) numbers: &'a mut Numbers,
    /// The totals.
    pub(super) stats: &'a CoreStats,
}

impl Turn<'_> {
    /// This connection is to end, for the first reason that is given.
    pub(super) fn cut(&mut self, relay: RelayId, kind: Trouble, why: &'static str) {
        self.due.cut.entry(relay).or_insert((kind, why));
    }

    /// A message for a client, behind those before it.
    pub(super) fn tell(&mut self, client: ClientId, reply: Reply) {
        self.effects.to_client.push((client, reply));
    }
}

/// Marks: what has changed so that somebody else has to look at it. All are empty between turns.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Connections that are to end, and why.
    pub(super) cut: BTreeMap<RelayId, (Trouble, &'static str)>,
    /// Relays that public clients may read from no more, or again.
    pub(super) readers: BTreeSet<RelayId>,
    /// Events that a relay's line has dropped before they were sent, and for whom they were there.
    pub(super) unsent: VecDeque<(RelayId, EventId, Audience)>,
    /// Relays at which something has changed for the plan of what they are asked.
    pub(super) plan: BTreeSet<RelayId>,
    /// Relays that may be due something of what is in the outbox.
    pub(super) flush: BTreeSet<RelayId>,
    /// Events of ours that a relay has taken.
    pub(super) taken: VecDeque<(RelayId, Arc<Event>)>,
    /// Relays in whose line many questions stand that nobody asks any more.
    pub(super) sweep: BTreeSet<RelayId>,
    /// Relays whose connection may take what is in line for it.
    pub(super) send: BTreeSet<RelayId>,
    /// Requests over which something has come that can be passed on.
    pub(super) arrivals: BTreeSet<(RelayId, RequestNumber)>,
    /// COUNTs that may have all their answers.
    pub(super) counts: BTreeSet<RequestNumber>,
    /// Subscriptions that hold stored events whose turn may have come.
    pub(super) release: BTreeSet<SubscriptionKey>,
    /// Subscriptions whose EOSE or CLOSED may be due.
    pub(super) eose: BTreeSet<SubscriptionKey>,
}

/// What a time has been set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Look at a subscription's EOSE.
    Eose(SubscriptionKey),
    /// Answer a COUNT.
    Count(RequestNumber),
    /// Answer a publication.
    Answer(EventId, Audience),
    /// Refuse an event that has waited unsent for too long.
    Unsent(EventId),
    /// Answer for an event whose row is not written yet.
    Write(EventId),
    /// Something in the outbox is to be tried again, or given up.
    Outbox,
    /// Look at what a relay is asked for.
    Plan(RelayId),
    /// A request has had time to be answered, or to be refused.
    Request(RelayId, RequestNumber),
    /// A request is to have brought an event of ours by then.
    Echo(RelayId, RequestNumber),
    /// A relay that has refused a subscription is asked again.
    Refused(RelayId, SubscriptionKey),
    /// A relay has said all that it had to say about too many requests.
    Crowd(RelayId),
    /// A relay has rested from what it was asked, or borne the next of it.
    Pace(RelayId),
    /// Count what a relay does for the subscriptions.
    Census(RelayId),
    /// Forget a request that is closed.
    Retired(RelayId, RequestNumber),
    /// What waits for an authentication at this relay has waited long enough.
    SignIn(RelayId),
    /// The next thing may be tried over which this relay may have ended its connection.
    Suspect(RelayId),
}

/// Times that were set. There is one of each [`Timer`] at most.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Duration, Timer)>,
    set: Map<Timer, Duration>,
}

impl Timers {
    /// Sets the time for this, in place of the one it had.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        if let Some(before) = self.set.insert(timer, at) {
            self.queue.remove(&(before, timer));
        }
        self.queue.insert((at, timer));
    }

    /// The same, unless it comes earlier anyway.
    pub(super) fn set_by(&mut self, timer: Timer, at: Duration) {
        if self.set.get(&timer).is_none_or(|set| *set > at) {
            self.set(timer, at);
        }
    }

    /// Takes it back, if it was set.
    pub(super) fn stop(&mut self, timer: Timer) {
        if let Some(at) = self.set.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// Whether there is a time for this.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.set.contains_key(&timer)
    }

    /// When the next one comes.
    pub(super) fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The next one whose time has come. It is set no more.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Timer> {
        let (_, timer) = *self.queue.first().filter(|(at, _)| *at <= now)?;
        self.queue.pop_first();
        self.set.remove(&timer);
        Some(timer)
    }

    /// Whether nothing is to be done later, but for counting what there is.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.iter().all(|(_, timer)| matches!(timer, Timer::Census(_)))
    }
}
