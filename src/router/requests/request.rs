//! One request: a subscription of ours at one relay, and what has come over it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::{Now, TokenBucket};
use crate::constants::{
    ECHO_KINDS, ECHO_MEMORY, EOSE_SILENT, JUNK_BURST, JUNK_PER_SECOND, SLOW_CLOCK,
};
use crate::ids::{RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, EventId};
use crate::nostr::filter::Filter;
use crate::nostr::message::Hint;
use crate::nostr::reason::Reason;
use crate::router::subscriptions::{Rank, Refusal, asked_from};
use crate::router::terms::Expected;

use super::pages::Pages;

/// See [the module above](super).
#[derive(Debug)]
pub(super) struct Request {
    /// May name some that are gone, or have moved to another request.
    pub(super) members: BTreeSet<SubscriptionKey>,
    /// What it asks for, in the members' own words or in fewer.
    pub(super) asks: Vec<Arc<[Filter]>>,
    /// The filters of its message, if they are not what the members are due when its turn comes.
    pub(super) words: Option<Vec<String>>,
    pub(super) sent: Sent,
    /// When a message of it went out last.
    pub(super) sent_at: Option<Duration>,
    /// The latest date (unix seconds) up to which a filter's own `since` was moved: before it, it asks
    /// for less than a first one of its members would.
    pub(super) narrowed: Option<u64>,
    pub(super) duty: Duty,
    /// How long an answer is waited for before the relay is asked again.
    pub(super) patience: Duration,
    /// Something has come over it, …
    pub(super) heard: bool,
    /// … and when that was last.
    pub(super) heard_at: Duration,
    /// What the relay has said, naming nothing, since it was asked and before anything came.
    pub(super) complaint: Option<Complaint>,
    /// How many requests the relay had been asked when it was asked this one, itself included.
    pub(super) among: usize,
    /// How many filters it was asked with.
    pub(super) filters: usize,
    /// An EOSE that counts if no second one follows soon.
    pub(super) held: Option<Hint>,
    /// When the relay's EOSE came.
    pub(super) eose_at: Duration,
    /// Something new has come since.
    pub(super) brought: bool,
    pub(super) health: Health,
    /// What did not fit into its message goes in others, each under a number of its own.
    pub(super) wires: Wires,
    pub(super) pages: Pages,
    /// Nothing that has come over it was left out.
    pub(super) complete: bool,
    /// Events that it did not ask for may come over it, up to these.
    unasked: TokenBucket,
    pub(super) arrivals: Arrivals,
    /// Copies that are being verified.
    pub(super) outstanding: usize,
    /// The relay has ended it, and why; what came before is still being verified.
    pub(super) ending: Option<Reason>,
    /// Tells it from an earlier one of the same number.
    serial: u64,
}

/// What a relay has said that may have been about a request.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) why: Reason,
    /// What that is where it may be about another one.
    pub(super) refusal: Refusal,
    /// How many places were taken by live requests then.
    pub(super) live: usize,
}

/// What a request is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// It brings its members' events.
    Serves,
    /// The members have another request until this one is known to serve, and it is silent until its EOSE.
    Gathers,
    /// The same for one that was live for long, or has missed something: it brings what that has missed.
    Renews,
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

/// What a live request has shown of being served.
#[derive(Debug)]
pub(super) struct Health {
    /// The relay has said nothing against it for a while after its EOSE.
    pub(super) proven: bool,
    /// Up to when nothing was missed, as far as is known: when it has brought something last, or had its
    /// EOSE, or was made; where it has gathered others, what was so of them.
    pub(super) sure: Now,
    /// From which date on (unix seconds) it has not brought all, for want of a page.
    pub(super) missing: Option<u64>,
    /// What it has brought last.
    pub(super) recent: VecDeque<EventId>,
    /// Kinds of events of ours that it has brought back.
    pub(super) echoes: BTreeSet<u16>,
    /// Kinds of those that it matched as well, and that another request has brought: some relays bring an
    /// event over one of all that it matches.
    pub(super) echoes_elsewhere: BTreeSet<u16>,
    /// An event of ours that it is to bring back.
    pub(super) awaited: Option<Echo>,
    /// When it was asked again last for want of one.
    pub(super) renewed: Duration,
}

/// An event of ours that a request matches, and that the relay has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Echo {
    pub(super) event: EventId,
    pub(super) kind: u16,
    /// Another request has brought it.
    pub(super) came_elsewhere: bool,
}

/// The numbers by which a relay knows one request: its own, and those of what did not fit.
#[derive(Debug, Default)]
pub(super) struct Wires {
    /// The others.
    pub(super) others: Vec<RequestNumber>,
    /// The messages of those that are not sent yet.
    pub(super) unsent: BTreeMap<RequestNumber, String>,
    /// Those of all that have not had their EOSE.
    pub(super) unfinished: BTreeSet<RequestNumber>,
    /// The one that brings another page.
    pub(super) page: Option<RequestNumber>,
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
    /// The relay's EOSE, under this number.
    Eose(RequestNumber, Hint),
    /// The relay's CLOSED.
    Closed(Reason),
}

impl Health {
    const fn new(now: Now) -> Self {
        Self {
            proven: false,
            sure: now,
            missing: None,
            recent: VecDeque::new(),
            echoes: BTreeSet::new(),
            echoes_elsewhere: BTreeSet::new(),
            awaited: None,
            renewed: Duration::ZERO,
        }
    }

    /// From which date on (unix seconds) a filter is asked again, so that nothing is missed.
    pub(super) fn since(&self, filter: &Filter, now: Now) -> Option<u64> {
        let since = asked_from(filter, self.sure.earliest(now));
        // That has its margin already.
        self.missing.map_or(since, |missing| since.min(filter.since.max(Some(missing))))
    }

    /// What is known of a request that this one takes over for. `renews`: it was asked for what that may
    /// have missed, too.
    pub(super) fn inherit(&mut self, from: &Self, renews: bool) {
        if !renews && from.sure.mono < self.sure.mono {
            self.sure = from.sure;
        }
        if !renews {
            self.missing = self.missing.into_iter().chain(from.missing).min();
        }
        for kind in &from.echoes {
            remember(&mut self.echoes, *kind);
        }
        for kind in &from.echoes_elsewhere {
            remember(&mut self.echoes_elsewhere, *kind);
        }
        self.renewed = self.renewed.max(from.renewed);
        self.awaited = self.awaited.or(from.awaited);
    }

    /// What it is to bring back has come over another request.
    pub(super) fn came_elsewhere(&mut self) {
        if let Some(echo) = &mut self.awaited {
            echo.came_elsewhere = true;
            remember(&mut self.echoes_elsewhere, echo.kind);
        }
    }

    /// What it is still to bring back: where it has never brought such events itself, it will do if another
    /// request has.
    pub(super) fn lacks(&self) -> Option<Echo> {
        let will_do = |echo: &Echo| echo.came_elsewhere && !self.echoes.contains(&echo.kind);
        self.awaited.filter(|echo| !will_do(echo))
    }

    /// Whether it brings events of this kind of ours, or another request does for it.
    pub(super) fn brings(&self, kind: u16) -> bool {
        self.echoes.contains(&kind) || self.echoes_elsewhere.contains(&kind)
    }
}

fn remember(kinds: &mut BTreeSet<u16>, kind: u16) {
    if kinds.len() < ECHO_KINDS {
        kinds.insert(kind);
    }
}

impl Request {
    pub(super) fn new(
        members: BTreeSet<SubscriptionKey>,
        asks: Vec<Arc<[Filter]>>,
        words: Option<Vec<String>>,
        duty: Duty,
        serial: u64,
        now: Now,
    ) -> Self {
        Self {
            members,
            asks,
            words,
            duty,
            serial,
            ending: None,
            sent: Sent::Lined,
            patience: EOSE_SILENT,
            narrowed: None,
            heard: false,
            heard_at: Duration::ZERO,
            complaint: None,
            sent_at: None,
            among: 0,
            filters: 0,
            held: None,
            eose_at: Duration::ZERO,
            brought: false,
            health: Health::new(now),
            wires: Wires::default(),
            pages: Pages::default(),
            complete: true,
            unasked: TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST),
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

    /// Whether an event of this date that comes now was not stored when it was asked: its EOSE is held.
    pub(super) fn is_new_while_held(&self, created_at: u64, now: Now) -> bool {
        let asked = self.asked().filter(|_| self.held.is_some());
        asked.is_some_and(|(at, _)| created_at >= at.earliest(now).saturating_sub(SLOW_CLOCK))
    }

    /// Whether it repeats what its members have been asked for before. No EOSE waits for that.
    pub(super) fn repeats(&self) -> bool {
        self.gathers() || matches!(self.asked(), Some((_, true)))
    }

    pub(super) fn gathers(&self) -> bool {
        matches!(self.duty, Duty::Gathers | Duty::Renews)
    }

    pub(super) fn is_over(&self) -> bool {
        self.duty == Duty::Over
    }

    pub(super) fn is_live(&self) -> bool {
        self.sent == Sent::Live
    }

    /// Its place in the order in which requests are made.
    pub(super) const fn serial(&self) -> u64 {
        self.serial
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

    /// An event has come over it by its id, given before or not, after its EOSE.
    pub(super) fn note_new(&mut self, event: &EventId, now: Now) {
        self.brought = true;
        let health = &mut self.health;
        let echo = health.awaited.take_if(|echo| echo.event == *event);
        if let Some(echo) = echo {
            remember(&mut health.echoes, echo.kind);
        }
        if health.lacks().is_none() {
            health.sure = now;
        }
        if health.recent.len() >= ECHO_MEMORY {
            health.recent.pop_front();
        }
        health.recent.push_back(*event);
    }

    /// Whether a relay that says, naming none, that it refuses a request may mean this one: it was not
    /// answered, or had its EOSE after `from` and nothing since.
    pub(super) fn is_in_doubt(&self, from: Duration) -> bool {
        self.unanswered().is_some() || (self.is_live() && self.eose_at >= from && !self.brought)
    }

    /// An event has come over it that it did not ask for. False: too many do.
    pub(super) fn bears_unasked(&mut self, now: Now) -> bool {
        self.unasked.take(now.mono)
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
