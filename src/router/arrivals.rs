//! What comes over relays' requests: events, EOSE and CLOSED, looked at in the order they came before
//! the EOSE, and handed to the members of the request.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::time::Now;
use crate::constants::REQUEST_FEW_MEMBERS;
use crate::ids::{Origin, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, is_ephemeral};
use crate::nostr::message::Hint;
use crate::router::merge::{self, Place};
use crate::router::part::Came;
use crate::router::publication::more_telling;

use super::intake::Offered;
use super::upstream::{Duty, Expected, Request, Sent};
use super::{Effects, Role, Router};

/// What has come over a request and is looked at in this order.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// How many were looked at.
    settled: u64,
    /// `None`: being verified.
    waiting: VecDeque<Option<Arrival>>,
    /// A member's EOSE may wait for it.
    pub(super) awaited: bool,
}

/// Something that has come over a request.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A true event.
    Event(Arc<Event>),
    /// A copy, by its own word, of an event that its only member was given.
    Copy(Place),
    /// Nothing that counts.
    Forged,
    Eose(Hint),
    Closed(String),
}

impl Arrivals {
    pub(super) fn push(&mut self, arrival: Option<Arrival>) -> u64 {
        self.waiting.push_back(arrival);
        self.end() - 1
    }

    pub(super) fn end(&self) -> u64 {
        self.settled + self.waiting.len() as u64
    }

    fn settle(&mut self, number: u64, arrival: Arrival) {
        let at = number.checked_sub(self.settled).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| self.waiting.get_mut(at)) {
            *place = Some(arrival);
        }
    }

    fn pop(&mut self) -> Option<Arrival> {
        let arrival = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.settled += 1;
        Some(arrival)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }
}

impl Router {
    /// Something has come over a request, behind what came before it.
    pub(super) fn arrived(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        arrival: Arrival,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get_mut(&(id, number)) else { return };
        request.arrivals.push(Some(arrival));
        self.look_at_arrivals(id, number, now, fx);
    }

    /// The verdict on a copy: the true event, or that there is none.
    pub(super) fn settled(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        expected: Expected,
        event: Option<&Arc<Event>>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get_mut(&(id, number)) else { return };
        if !request.expected(expected) {
            return;
        }
        match (expected.place, event) {
            (Some(place), event) => {
                let arrival =
                    event.map_or(Arrival::Forged, |event| Arrival::Event(Arc::clone(event)));
                request.arrivals.settle(place, arrival);
                self.look_at_arrivals(id, number, now, fx);
            }
            (None, Some(event)) => drop(self.route(id, number, event, now, fx)),
            (None, None) => {}
        }
        let ending = self.requests.get_mut(&(id, number)).filter(|it| it.outstanding == 0);
        if let Some(why) = ending.and_then(|request| request.ending.take()) {
            self.request_closed(id, number, &why, now, fx);
        }
    }

    fn look_at_arrivals(&mut self, id: RelayId, number: RequestNumber, now: Now, fx: &mut Effects) {
        let mut any = false;
        while let Some(request) = self.requests.get_mut(&(id, number))
            && let Some(arrival) = request.arrivals.pop()
        {
            any = true;
            match arrival {
                Arrival::Event(event) => {
                    // What was not asked for is no sign of anything.
                    if self.route(id, number, &event, now, fx) {
                        self.hear(id, number, merge::place(event.created_at, event.id), now);
                        self.release_members(id, number, now, fx);
                    }
                }
                Arrival::Copy(place) => {
                    self.hear(id, number, place, now);
                    self.release_members(id, number, now, fx);
                }
                Arrival::Forged => {}
                Arrival::Eose(hint) => self.request_eose(id, number, hint, now, fx),
                Arrival::Closed(why) => self.request_closed(id, number, &why, now, fx),
            }
        }
        let awaited =
            self.requests.get(&(id, number)).is_some_and(|request| request.arrivals.awaited);
        if any && awaited {
            for key in self.members(id, number) {
                let waits =
                    |member: &crate::router::subscription::Subscription| !member.early.is_empty();
                if self.subscriptions.get(&key).is_some_and(waits) {
                    self.look_at_eose(key, now, fx);
                }
            }
        }
    }

    fn members(&self, id: RelayId, number: RequestNumber) -> Vec<SubscriptionKey> {
        let request = self.requests.get(&(id, number));
        request.map(|request| request.members.iter().copied().collect()).unwrap_or_default()
    }

    /// Something has come: the relay is not silent.
    pub(super) fn hear_noise(&mut self, id: RelayId, number: RequestNumber) {
        let Some(request) = self.requests.get_mut(&(id, number)) else { return };
        if std::mem::replace(&mut request.heard, true) || request.gathers() {
            return;
        }
        for key in &request.members {
            if let Some(member) = self.subscriptions.get_mut(key) {
                member.hear_noise(id);
            }
        }
    }

    /// The relay has come to this place of what it stores.
    fn hear(&mut self, id: RelayId, number: RequestNumber, place: Place, now: Now) {
        let Some(request) = self.requests.get(&(id, number)) else { return };
        // No EOSE waits for a repeated one, which may have thousands of members.
        if request.gathers() || request.is_over() || matches!(request.asked(), Some((_, true))) {
            return;
        }
        for key in &request.members {
            if let Some(member) = self.subscriptions.get_mut(key) {
                member.hear(id, place, now);
            }
        }
    }

    /// Gives the members what has become due to them.
    fn release_members(&mut self, id: RelayId, number: RequestNumber, now: Now, fx: &mut Effects) {
        // A request that repeats others has no stored events to sort.
        let again =
            |request: &Request| request.gathers() || matches!(request.asked(), Some((_, true)));
        if self.requests.get(&(id, number)).is_none_or(again) {
            return;
        }
        for key in self.members(id, number) {
            self.release(key, now, fx);
        }
    }

    /// Hands a true event to the members it matches. Whether it was asked for.
    fn route(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        event: &Arc<Event>,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        let Some(request) = self.requests.get(&(id, number)) else { return false };
        let asked_for = || request.asks.iter().flat_map(|asks| &**asks);
        let (asked, gathers) = (request.asked(), request.gathers());
        let came = match asked {
            None => Came::Live,
            Some((_, true)) => Came::Repeated,
            Some((_, false)) => Came::Stored,
        };
        let mut keys = std::mem::take(&mut self.matching);
        if request.members.len() <= REQUEST_FEW_MEMBERS {
            keys.clear();
            keys.extend(request.members.iter().copied().filter(|key| {
                let member = self.subscriptions.get(key);
                member.is_some_and(|it| it.filters.iter().any(|filter| filter.matches(event)))
            }));
        } else {
            self.index.matching(event, &mut keys);
            keys.retain(|key| request.members.contains(key));
        }
        let unasked = keys.is_empty() && !asked_for().any(|filter| filter.matches(event));
        let expired = event.expiration().is_some_and(|at| at <= now.unix);
        let mut offered = Offered::Dropped;
        let barred = self.bars_public(id);
        for key in keys.iter().filter(|_| !gathers && !expired) {
            let Some(member) = self.subscriptions.get(key) else { continue };
            if barred && member.role == Role::Public {
                continue;
            }
            let stale_before = member.stale_before(asked, now);
            if is_ephemeral(event.kind) && event.created_at < stale_before {
                continue;
            }
            offered = offered.max(self.offer(*key, event, Origin::Relay(id), came, now, fx));
        }
        self.matching = keys;
        if let Some(relay) = self.relays.get(&id) {
            if unasked {
                relay.stats.unasked.add();
            } else if offered == Offered::Seen {
                relay.stats.duplicates.add();
            }
        }
        if unasked {
            self.relay_junk(id, now, fx);
        }
        !unasked
    }

    /// The relay has sent all it stores.
    fn request_eose(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        hint: Hint,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get_mut(&(id, number)) else { return };
        if request.unanswered().is_none() {
            return;
        }
        request.sent = Sent::Live;
        let gathers = request.gathers();
        if gathers {
            request.duty = Duty::Serves;
        }
        // What is said of several requests together says of each that it is complete, or nothing.
        let alone = request.asks.len() == 1;
        let hint = if alone || hint == Hint::Finish { hint } else { Hint::None };
        self.answered(id, now);
        if gathers {
            self.gathered(id, number, now, fx);
        } else {
            for key in self.members(id, number) {
                let Some(member) = self.subscriptions.get_mut(&key) else { continue };
                if member.relay_eose(id, hint, now) {
                    self.look_at_eose(key, now, fx);
                }
            }
            self.share(id, number, now, fx);
        }
        self.replan.insert(id);
    }

    fn answered(&mut self, id: RelayId, now: Now) {
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.answered = now.mono;
        }
    }

    /// A request that brings what several others do is live: they are closed.
    fn gathered(&mut self, id: RelayId, number: RequestNumber, now: Now, fx: &mut Effects) {
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.gathering = None;
        }
        let mut left = BTreeSet::new();
        for key in self.members(id, number) {
            // Who was refused or asked for anew in the meantime does not wait for this one.
            if self.stays(id, number, key) {
                left.extend(self.move_member(id, key, number));
            }
        }
        for other in left {
            self.close_left(id, other, now, fx);
        }
        self.close_left(id, number, now, fx);
    }

    /// A live request whose members all ask for what another one brings already is closed, and they
    /// move there.
    fn share(&mut self, id: RelayId, number: RequestNumber, now: Now, fx: &mut Effects) {
        let mut keys = self.members(id, number);
        keys.retain(|key| self.stays(id, number, *key));
        let mut names = keys.iter().filter_map(|key| Some(self.subscriptions.get(key)?.name));
        let Some(name) = names.next().filter(|name| names.all(|other| other == *name)) else {
            return;
        };
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let known = relay.upstream.named(&name);
        let known = known.filter(|other| self.requests.contains_key(&(id, *other)));
        let Some(other) = known else {
            relay.upstream.name(name, number);
            return;
        };
        if other == number {
            return;
        }
        for key in keys {
            if let Some(request) = self.requests.get_mut(&(id, other)) {
                request.members.insert(key);
            }
            self.move_member(id, key, other);
        }
        self.close_left(id, number, now, fx);
    }

    /// The relay has ended a request.
    fn request_closed(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(request) = self.requests.get_mut(&(id, number)) else { return };
        if !request.is_out() || request.is_over() {
            return;
        }
        if request.outstanding > 0 {
            request.ending = Some(why.to_owned());
            return;
        }
        let (gathers, heard, live) = (request.gathers(), request.heard, request.is_live());
        let asked = request.unanswered();
        let mut members = self.members(id, number);
        members.retain(|key| self.stays(id, number, *key));
        self.answered(id, now);
        self.forget_request(id, number);
        self.replan.insert(id);
        if gathers {
            self.relay_refuses(id, why, now);
            self.is_crowded(id, why);
            return self.not_gathered(id, now);
        }
        members.retain(|key| !self.defer_subscription(id, *key, asked, why, now, fx));
        if members.is_empty() {
            return;
        }
        self.relay_refuses(id, why, now);
        let crowded = !heard && !live && self.is_crowded(id, why);
        if crowded || members.len() > 1 {
            // Too many, or one among them that the relay does not want: each once more.
            for key in members {
                let Some(member) = self.subscriptions.get_mut(&key) else { continue };
                member.ask_again(id, now);
                if let Some(part) = member.part(id) {
                    part.turn.alone |= !crowded;
                }
                self.want(id, key);
                // Its EOSE may have waited for what came before this.
                self.look_at_eose(key, now, fx);
            }
            if live {
                self.not_gathered(id, now);
            }
            return;
        }
        for key in members {
            self.refused_at(id, key, why, now, fx);
        }
    }

    /// A relay does not serve a subscription.
    pub(super) fn refused_at(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(member) = self.subscriptions.get_mut(&key) else { return };
        if member.relay_closed(id, now) {
            member.refusal = Some(more_telling(member.refusal.take(), why));
            self.look_at_eose(key, now, fx);
        }
    }
}
