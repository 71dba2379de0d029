//! Requests: what relays are asked for the subscriptions here, and the way of what they send.
//!
//! A request is one subscription of ours at one relay, under a number of its own. It brings the events
//! of its members, which are clients' subscriptions: one, or several that ask for the same, or that
//! are asked for together because the relay allows no more (`budget` decides). What comes over it
//! before the relay's EOSE is looked at in the order it came, however long each verification takes,
//! so that a subscription knows which stored events may still come (rule 3.4).
//!
//! A request begins when its turn comes and ends with its last member, the relay's CLOSED, or the
//! connection. Where its members have moved to another one it still passes on, for
//! [`REQUEST_LINGER`], what was under way: the copy over the other one may have come a moment before
//! they were members there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::fair::FairQueue;
use crate::base::hash::Map;
use crate::base::time::Now;
use crate::constants::REQUEST_LINGER;
use crate::ids::{ClientId, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::Filter;
use crate::nostr::message;
use crate::router::subscription::{Phase, Subscription};

use super::arrivals::Arrivals;
use super::{Effects, Router, Timer};

/// See the module's own page.
#[derive(Debug)]
pub(super) struct Request {
    /// Subscriptions, by our number. May name some that are gone, or have moved to another request.
    pub(super) members: BTreeSet<SubscriptionKey>,
    /// What it asks for, in the members' own words or in fewer.
    pub(super) asks: Vec<Arc<[Filter]>>,
    /// The message, if it is not made of what the members are due when its turn comes.
    text: Option<String>,
    pub(super) sent: Sent,
    pub(super) duty: Duty,
    /// Something has come over it.
    pub(super) heard: bool,
    pub(super) arrivals: Arrivals,
    /// Copies that are being verified.
    pub(super) outstanding: usize,
    /// The relay has ended it, and why; what came before is still being verified.
    pub(super) ending: Option<String>,
    /// Tells it from an earlier one of the same number.
    serial: Serial,
}

/// Tells requests of the same number apart, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Serial(u64);

impl Serial {
    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
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

/// Where the verdict on a copy belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The request's.
    serial: Serial,
    /// Its place in what has come over the request, where that counts.
    pub(super) place: Option<u64>,
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

/// One relay's requests.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Those that take one of the places the relay has.
    pub(super) open: BTreeSet<RequestNumber>,
    /// Subscriptions that wait for a place. May name some that are gone.
    pub(super) turns: FairQueue<ClientId, SubscriptionKey>,
    /// How many those are, about.
    pub(super) dead: usize,
    /// Live requests by what their members ask for.
    by_name: Map<[u8; 32], RequestNumber>,
    /// The same the other way round.
    names: Map<RequestNumber, [u8; 32]>,
    /// The request that is to bring what several others do, and since when.
    pub(super) gathering: Option<(RequestNumber, Duration)>,
    /// No other one before this.
    pub(super) gather_after: Duration,
    /// Nothing fitted together; it takes long to find that out, and is not tried before this.
    pub(super) combine_after: Duration,
    /// The relay has refused more requests than this.
    pub(super) learned: Option<usize>,
    /// When it has answered a request last, or connected.
    pub(super) answered: Duration,
    /// When to plan again.
    pub(super) timer: Option<Duration>,
}

impl Request {
    fn new(
        members: BTreeSet<SubscriptionKey>,
        asks: Vec<Arc<[Filter]>>,
        text: Option<String>,
        serial: Serial,
    ) -> Self {
        Self {
            members,
            asks,
            text,
            serial,
            ending: None,
            sent: Sent::Lined,
            duty: Duty::Serves,
            heard: false,
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
    pub(super) fn expect(&mut self) -> Expected {
        self.outstanding += 1;
        let place = (!self.is_live()).then(|| self.arrivals.push(None));
        Expected { serial: self.serial, place }
    }

    /// A verdict is in. False: it is on a copy that came over an earlier request.
    pub(super) fn expected(&mut self, expected: Expected) -> bool {
        if self.serial == expected.serial {
            self.outstanding -= 1;
            return true;
        }
        false
    }

    /// How much of what has come has to be looked at before an EOSE; 0: nothing waits.
    pub(super) fn early(&self) -> u64 {
        if self.arrivals.is_empty() { 0 } else { self.arrivals.end() }
    }

    pub(super) const fn has_settled(&self, until: u64) -> bool {
        self.arrivals.settled() >= until
    }
}

impl Router {
    /// Opens a request for these subscriptions: in their own words, or in these.
    pub(super) fn open_request(
        &mut self,
        id: RelayId,
        keys: &[SubscriptionKey],
        combined: Option<(Vec<Filter>, bool)>,
        now: Now,
        fx: &mut Effects,
    ) {
        let gathers = combined.as_ref().is_some_and(|(_, gathers)| *gathers);
        let used = |subscription: &mut Subscription| {
            subscription.part(id).is_none_or(|part| part.turn.used)
        };
        let number = match keys {
            // The number a relay knows a subscription by is its own where that can be, and no request
            // is left that had it.
            [key]
                if !self.subscriptions.get_mut(key).is_none_or(used)
                    && !self.requests.contains_key(&(id, key.own_request())) =>
            {
                key.own_request()
            }
            _ => self.numbers.request(),
        };
        let (asks, text) = if let Some((filters, _)) = combined {
            let text = message::req(number, filters.iter().map(|filter| &*filter.json));
            (vec![Arc::from(filters)], Some(text))
        } else {
            let all = keys.iter().filter_map(|key| self.subscriptions.get(key));
            (all.map(|member| Arc::clone(&member.filters)).collect(), None)
        };
        self.last_serial = self.last_serial.next();
        let members = keys.iter().copied().collect();
        let mut request = Request::new(members, asks, text, self.last_serial);
        if gathers {
            request.duty = Duty::Gathers;
        }
        for key in keys {
            let part = self.subscriptions.get_mut(key).and_then(|member| member.part(id));
            if let Some(part) = part {
                if gathers {
                    part.next = Some(number);
                } else {
                    part.request = Some(number);
                }
            }
        }
        self.requests.insert((id, number), request);
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.open.insert(number);
            if gathers {
                relay.upstream.gathering = Some((number, now.mono));
            }
        }
        self.ask(id, number, now, fx);
        for key in keys {
            // Of those that want no stored events the EOSE waits for nothing else.
            let waited = |it: &Subscription| it.phase == Phase::Stored && it.merge.is_full();
            if self.subscriptions.get(key).is_some_and(waited) {
                self.look_at_eose(*key, now, fx);
            }
        }
    }

    /// The message of a request whose turn it is; `Err`: the relay takes none that long, or with so
    /// many filters.
    pub(super) fn request_text(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        now: Now,
    ) -> Result<Option<String>, ()> {
        let Some(relay) = self.relays.get(&id) else { return Ok(None) };
        let limits = relay.limits;
        let request = self.requests.get_mut(&(id, number)).filter(|request| !request.is_out());
        let Some(request) = request else { return Ok(None) };
        let (mut again, mut too_many) = (true, false);
        let text = if let Some(text) = request.text.take() {
            if !request.gathers() {
                for key in &request.members {
                    if let Some(member) = self.subscriptions.get_mut(key) {
                        member.resumed(id);
                    }
                }
            }
            text
        } else {
            let mut filters: Vec<String> = Vec::new();
            for key in &request.members {
                let Some(member) = self.subscriptions.get_mut(key) else { continue };
                let Some((due, repeats)) = member.ask(id, limits, now) else { continue };
                again &= repeats;
                for filter in due {
                    if !filters.contains(&filter) {
                        filters.push(filter);
                    }
                }
            }
            if filters.is_empty() {
                self.forget_request(id, number);
                return Ok(None);
            }
            too_many = limits.max_filters.is_some_and(|most| filters.len() > most);
            message::req(number, filters.iter().map(String::as_str))
        };
        request.sent = Sent::Asked { at: now, again };
        let too_long = limits.max_message_length.is_some_and(|most| text.len() > most);
        if too_long || too_many { Err(()) } else { Ok(Some(text)) }
    }

    /// Takes a request off the relay's list, unless something is under way that its members are owed.
    pub(super) fn forget_request(&mut self, id: RelayId, number: RequestNumber) {
        let Some(request) = self.requests.remove(&(id, number)) else { return };
        for key in &request.members {
            let part = self.subscriptions.get_mut(key).and_then(|member| member.part(id));
            if let Some(part) = part {
                part.request = part.request.filter(|own| *own != number);
                part.next = part.next.filter(|own| *own != number);
            }
        }
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.forget(number);
        }
    }

    /// A request is closed at the relay, or its connection is gone; what is under way still counts.
    pub(super) fn retire_request(&mut self, id: RelayId, number: RequestNumber, now: Now) {
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.forget(number);
        }
        if let Some(request) = self.requests.get_mut(&(id, number)) {
            request.duty = Duty::Over;
            self.timers.insert((now.mono + REQUEST_LINGER, Timer::Retired(id, number)));
        }
    }

    /// Nothing more is to come over a request that was closed.
    pub(super) fn drop_retired(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get(&(id, number)).filter(|it| it.is_over()) else {
            return;
        };
        if request.outstanding > 0 {
            return self.retire_request(id, number, now);
        }
        let Some(request) = self.requests.remove(&(id, number)) else { return };
        for key in request.members {
            let waits = self.subscriptions.get(&key).is_some_and(|it| !it.early.is_empty());
            if waits {
                self.look_at_eose(key, now, fx);
            }
        }
    }

    /// The connection is gone: its requests are, but for what is still being verified.
    pub(super) fn lose_requests(&mut self, id: RelayId, now: Now) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let lost = std::mem::take(&mut relay.upstream);
        if let Some(at) = lost.timer {
            self.timers.remove(&(at, Timer::Plan(id)));
        }
        for number in lost.open {
            let Some(request) = self.requests.get_mut(&(id, number)) else { continue };
            let early = request.early();
            request.arrivals.awaited = true;
            if request.outstanding == 0 || request.gathers() {
                self.requests.remove(&(id, number));
                continue;
            }
            for key in &request.members {
                let member = self.subscriptions.get_mut(key);
                if let Some(member) = member.filter(|member| member.phase != Phase::Live) {
                    member.early.push((id, number, early));
                }
            }
            self.retire_request(id, number, now);
        }
    }

    /// A subscription is no member any more. The last one closes the request.
    pub(super) fn leave_request(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        key: SubscriptionKey,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get_mut(&(id, number)) else { return };
        request.members.remove(&key);
        self.close_left(id, number, now, fx);
    }

    pub(super) fn close_request(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get(&(id, number)) else { return };
        if request.is_out() {
            self.close_upstream(id, number, now, fx);
        } else {
            self.forget_ask(id);
        }
        self.forget_request(id, number);
        self.replan.insert(id);
    }

    /// A member goes on with this request. The one it leaves, if it had another.
    pub(super) fn move_member(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        to: RequestNumber,
    ) -> Option<RequestNumber> {
        let part = self.subscriptions.get_mut(&key)?.part(id)?;
        part.next = None;
        part.request.replace(to).filter(|from| *from != to)
    }

    /// A request that nobody needs any more is closed. If members have moved, it passes on what is
    /// under way.
    pub(super) fn close_left(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get(&(id, number)).filter(|it| !it.is_over()) else {
            return;
        };
        if request.members.is_empty() {
            return self.close_request(id, number, now, fx);
        }
        if !request.members.iter().any(|key| self.stays(id, number, *key)) {
            self.close_upstream(id, number, now, fx);
            self.retire_request(id, number, now);
            self.replan.insert(id);
        }
    }

    /// Whether this member needs the request: it has not moved on.
    pub(super) fn stays(&self, id: RelayId, number: RequestNumber, key: SubscriptionKey) -> bool {
        let part = self.subscriptions.get(&key).and_then(|member| member.part_of(id));
        part.is_some_and(|part| [part.request, part.next].contains(&Some(number)))
    }
}

impl Upstream {
    /// The live request whose members ask for this.
    pub(super) fn named(&self, name: &[u8; 32]) -> Option<RequestNumber> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&mut self, name: [u8; 32], number: RequestNumber) {
        if let Some(before) = self.by_name.insert(name, number) {
            self.names.remove(&before);
        }
        self.names.insert(number, name);
    }

    fn forget(&mut self, number: RequestNumber) {
        self.open.remove(&number);
        if let Some(name) = self.names.remove(&number) {
            self.by_name.remove(&name);
        }
        if self.gathering.is_some_and(|(gathering, _)| gathering == number) {
            self.gathering = None;
        }
    }
}
