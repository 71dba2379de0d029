//! What comes over relays' requests: events, EOSE and CLOSED, looked at in the order they came before
//! the EOSE, and handed to the members of the request.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::text::Text;
use crate::constants::{GATHER_RETRY, PROOF, REQUEST_FEW_MEMBERS, SECOND_EOSE, SLOW_CLOCK};
use crate::ids::{Origin, RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId, is_ephemeral};
use crate::nostr::message::{self, Hint};
use crate::nostr::reason::{Prefix, Reason};
use crate::router::relays::Relays;
use crate::router::subscriptions::{Came, Offered, Rank, Refusal, Subscriptions, rank};
use crate::router::turn::{Timer, Turn};

use super::request::{Arrival, Duty, Sent};
use super::wires::Finished;
use super::{Requests, TooLong};
use crate::router::terms::Expected;

/// What is to be done with an event that a relay has sent, going by its request.
#[derive(Debug)]
pub(in crate::router) enum Incoming {
    /// There is no such request.
    NoRequest,
    /// Nothing: nobody has asked for it yet, or any more.
    Unasked,
    /// Nothing: it is a copy of what was given.
    Copy,
    /// It is to be verified; its verdict belongs here.
    Expected(Expected),
}

impl Requests {
    /// An event has come over a request, by the id it claims.
    pub(in crate::router) fn incoming(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        event: &EventId,
        json: &Text,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) -> Incoming {
        let number = self.own(id, number);
        let Some(request) = self.all.get(&(id, number)) else { return Incoming::NoRequest };
        if !request.is_out() || request.ending.is_some() {
            return Incoming::Unasked;
        }
        let mut members = request.members.iter();
        let only = members.next().filter(|_| members.next().is_none());
        let only = only.and_then(|key| subscriptions.get(*key));
        let date = only.and_then(|_| message::scan_date(json.as_bytes())).unwrap_or_default();
        let given = only.is_some_and(|member| member.has(event, date));
        if request.is_live()
            && let Some(request) = self.get_mut(id, number)
        {
            request.note_new(event, turn.now);
            self.echo_came(id, event);
            if given {
                return Incoming::Copy;
            }
        }
        self.hear_noise(id, number, subscriptions, turn);
        let Some(request) = self.get_mut(id, number) else { return Incoming::NoRequest };
        if given {
            request.arrivals.push(Some(Arrival::Copy(rank(date, *event))));
            turn.due.arrivals.insert((id, number));
            return Incoming::Copy;
        }
        Incoming::Expected(request.expect(number))
    }

    /// An event has come over a request that was too long to be read: what comes is not complete, and
    /// the relay is not silent.
    pub(in crate::router) fn left_out(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let number = self.own(id, number);
        self.hear_noise(id, number, subscriptions, turn);
        if let Some(request) = self.get_mut(id, number) {
            request.complete = false;
        }
    }

    /// Something has come over a request, behind what came before it.
    pub(in crate::router) fn arrived(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        arrival: Arrival,
        turn: &mut Turn<'_>,
    ) {
        let own = self.own(id, number);
        let Some(request) = self.get_mut(id, own) else { return };
        let arrival = match arrival {
            // What came before it stands: there are no more pages.
            Arrival::Closed(_) if request.wires.page == Some(number) => {
                request.pages.cut();
                Arrival::Eose(number, Hint::None)
            }
            arrival => arrival,
        };
        let number = own;
        request.arrivals.push(Some(arrival));
        turn.due.arrivals.insert((id, number));
    }

    /// The REQ does not go out: it counts as refused by the relay, whose own document says so.
    pub(in crate::router) fn not_sent(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        TooLong: TooLong,
        turn: &mut Turn<'_>,
    ) {
        let why = Reason::new(Prefix::Restricted, "longer than the relay takes, or more filters");
        self.arrived(id, number, Arrival::Closed(why), turn);
    }

    /// The REQ does not go out, because the relay ends its connection over it, or over what its members'
    /// clients send. `alone`: over what each of its members asks for; else over one of them, or over all
    /// together.
    pub(in crate::router) fn held_back(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        alone: bool,
        (why, refusal): &(Reason, Refusal),
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let number = self.own(id, number);
        let Some(request) = self.all.get(&(id, number)) else { return };
        let gathers = request.gathers();
        let members = self.staying(id, number, subscriptions);
        self.forget(id, number, subscriptions, turn);
        turn.due.plan.insert(id);
        if gathers {
            return self.not_gathered(id, turn);
        }
        for key in members {
            if alone {
                self.refuse(id, key, (why, *refusal), subscriptions, turn);
            } else {
                subscriptions.ask_again(key, id, true, turn);
                self.want(id, key, subscriptions, turn);
            }
        }
    }

    /// The verdict on a copy: the true event, or that there is none.
    pub(in crate::router) fn verdict(
        &mut self,
        id: RelayId,
        expected: Expected,
        event: Option<&Arc<Event>>,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let number = expected.number;
        let Some(request) = self.get_mut(id, number) else { return };
        if !request.expected(expected) {
            return;
        }
        if let Some(place) = expected.place {
            let arrival = event.map_or(Arrival::Forged, |event| Arrival::Event(Arc::clone(event)));
            request.arrivals.fill(place, arrival);
        } else if let Some(event) = event {
            self.route(id, number, event, subscriptions, relays, turn);
        }
        turn.due.arrivals.insert((id, number));
    }

    /// Looks at what has come, as far as it is settled, in its order.
    pub(in crate::router) fn look_at_arrivals(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let mut any = false;
        while let Some(arrival) = self.get_mut(id, number).and_then(|it| it.arrivals.pop()) {
            any = true;
            if matches!(arrival, Arrival::Eose(..) | Arrival::Closed(_)) {
                self.bears(id, number, relays, turn);
            }
            match arrival {
                Arrival::Event(event) => {
                    let request = self.all.get(&(id, number));
                    let new = request
                        .is_some_and(|it| it.is_new_while_held(event.created_at(), turn.now));
                    // What was not asked for is no sign of anything, nor is what was not stored.
                    if self.route(id, number, &event, subscriptions, relays, turn) && !new {
                        if let Some(request) = self.get_mut(id, number) {
                            request.pages.note(&event);
                        }
                        let rank = rank(event.created_at(), *event.id());
                        self.hear(id, number, rank, subscriptions, turn);
                    }
                }
                Arrival::Copy(rank) => {
                    if let Some(request) = self.get_mut(id, number) {
                        request.pages.note_copy(rank.0);
                    }
                    self.hear(id, number, rank, subscriptions, turn);
                }
                Arrival::Forged => {}
                Arrival::Eose(by, hint) => match self.finishes(id, number, by) {
                    Finished::InPart => {}
                    Finished::All => {
                        self.close_page(id, number, by, relays, turn);
                        if !self.next_page(id, number, relays, turn) {
                            self.eose(id, number, hint, subscriptions, relays, turn);
                        }
                    }
                    Finished::Again => self.eose_again(id, number, subscriptions, relays, turn),
                },
                Arrival::Closed(why) => self.closed(id, number, why, subscriptions, relays, turn),
            }
        }
        let Some(request) = self.all.get(&(id, number)) else { return };
        if any && request.arrivals.awaited {
            let waiting = request.members.iter().filter(|key| self.owed.contains_key(*key));
            turn.due.eose.extend(waiting);
        }
        let ending = self.get_mut(id, number).filter(|it| it.outstanding == 0);
        if let Some(why) = ending.and_then(|request| request.ending.take()) {
            self.closed(id, number, why, subscriptions, relays, turn);
        }
    }

    /// Something has come: the relay is not silent.
    fn hear_noise(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get_mut(&(id, number)) else { return };
        request.heard_at = turn.now.mono;
        if std::mem::replace(&mut request.heard, true) || request.gathers() {
            return;
        }
        for key in &request.members {
            subscriptions.hear_noise(*key, id);
        }
        self.count_soon(id, turn);
    }

    /// The relay has come to this rank in what it stores.
    fn hear(
        &self,
        id: RelayId,
        number: RequestNumber,
        rank: Rank,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get(&(id, number)) else { return };
        // No EOSE waits for a repeated one, which may have thousands of members.
        if request.is_over() || request.repeats() {
            return;
        }
        for key in &request.members {
            subscriptions.hear(*key, id, rank, turn);
        }
    }

    /// Hands a true event to the members it matches. Whether it was asked for.
    fn route(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        event: &Arc<Event>,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(request) = self.all.get(&(id, number)) else { return false };
        let new = request.is_new_while_held(event.created_at(), turn.now);
        let asked = request.asked().filter(|_| !new);
        let came = match asked {
            None => Came::Live,
            Some((_, true)) => Came::Repeated,
            Some((_, false)) => Came::Stored,
        };
        let openings = subscriptions.openings();
        if came == Came::Live && self.spread.has(id, event.id(), openings) {
            relays.tally(id, |stats| &stats.duplicates);
            return true;
        }
        let mut keys = std::mem::take(&mut self.matching);
        let mut askers = usize::MAX;
        if came == Came::Live {
            // Not every relay sends it once for each request that it matches.
            subscriptions.matching(event, &mut keys);
            askers = keys.len();
            keys.retain(|key| {
                request.members.contains(key) || subscriptions.hears(*key, id, event)
            });
        } else if request.members.len() <= REQUEST_FEW_MEMBERS {
            keys.clear();
            let members = request.members.iter().copied();
            keys.extend(members.filter(|key| subscriptions.matches(*key, event)));
        } else {
            subscriptions.matching(event, &mut keys);
            keys.retain(|key| request.members.contains(key));
        }
        let mut asks = request.asks.iter().flat_map(|asks| &**asks);
        let unasked = keys.is_empty() && !asks.any(|filter| filter.matches(event));
        let expired = event.expiration().is_some_and(|at| at <= turn.now.unix);
        let (mut offered, mut have) = (Offered::Dropped, 0);
        // What is stored its members have had, or have no place for. What is new may come over no other.
        let silent_before = match request.asked() {
            Some((at, _)) if request.duty == Duty::Gathers => {
                at.earliest(turn.now).saturating_sub(SLOW_CLOCK)
            }
            _ => 0,
        };
        let silent = event.created_at() < silent_before;
        for key in keys.iter().filter(|_| !silent && !expired) {
            let Some(member) = subscriptions.get(*key) else { continue };
            if relays.bars(id, member.role()) {
                continue;
            }
            let stale_before = member.stale_before(asked, turn.now);
            if is_ephemeral(event.kind()) && event.created_at() < stale_before {
                continue;
            }
            offered = offered.max(subscriptions.offer(*key, event, Origin::Relay(id), came, turn));
            have += usize::from(subscriptions.has(*key, event));
        }
        if have > 0 && have == askers {
            self.spread.note(id, event.id(), openings);
        }
        self.matching = keys;
        if unasked {
            relays.tally(id, |stats| &stats.unasked);
            self.came_unasked(id, number, subscriptions, relays, turn);
        } else if offered == Offered::Seen {
            relays.tally(id, |stats| &stats.duplicates);
        }
        !unasked
    }

    /// An event that a request did not ask for has come over it. Some relays read a filter in part: where too
    /// many come, that costs who asks for it, and not the connection, which is everybody's.
    fn came_unasked(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        let gathers = request.gathers();
        if request.bears_unasked(turn.now) {
            return;
        }
        if request.is_over() {
            return relays.junk(id, turn); // it was closed, and goes on
        }
        let why = Reason::new(Prefix::Error, "the relay sends what was not asked for");
        relays.refused_subscription(id, &why, turn);
        let members = self.staying(id, number, subscriptions);
        if members.len() > 1 || gathers {
            return self.ask_members_again(id, number, true, subscriptions, relays, turn);
        }
        self.give_up(id, number, subscriptions, relays, turn);
        for key in members {
            self.refuse(id, key, (&why, Refusal::ForGood), subscriptions, turn);
        }
    }

    /// The relay has sent all it stores, or all for one of the filters.
    pub(super) fn eose(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        hint: Hint,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if !self.may_be_of_one_filter(id, number) {
            return self.complete(id, number, hint, subscriptions, relays, turn);
        }
        if let Some(request) = self.get_mut(id, number) {
            request.held = Some(hint);
            request.heard = true;
            turn.timers.set(Timer::Request(id, number), turn.now.mono + SECOND_EOSE);
        }
    }

    /// Whether a second EOSE may follow: of a relay that keeps the last filter alone of those a request has.
    /// Who were told EOSE by its first one would miss what is new until they are asked for anew.
    fn may_be_of_one_filter(&self, id: RelayId, number: RequestNumber) -> bool {
        let known =
            self.upstreams.get(&id).is_none_or(|it| it.proven_filters) || self.takes_one_filter(id);
        let request = self.all.get(&(id, number));
        !known && request.is_some_and(|it| it.filters > 1 && !it.repeats() && !it.is_over())
    }

    /// The relay has sent all it stores.
    pub(super) fn complete(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        hint: Hint,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        if request.unanswered().is_none() {
            return;
        }
        request.sent = Sent::Live;
        request.eose_at = turn.now.mono;
        let serial = request.serial();
        request.health.sure = turn.now;
        request.health.missing = request.pages.missing();
        let gathers = request.gathers();
        // What is said of several requests together says of each that it is complete, or nothing.
        let alone = request.asks.len() == 1;
        let says = request.complete && (alone || hint == Hint::Finish);
        let hint = if says { hint } else { Hint::None };
        self.answered(id, serial, turn);
        turn.timers.set(Timer::Request(id, number), turn.now.mono + PROOF);
        if gathers && self.is_trusted(id, number) {
            self.gathered(id, number, subscriptions, relays, turn);
        }
        if !gathers {
            for key in self.members(id, number) {
                subscriptions.relay_eose(key, id, hint, turn);
            }
            self.share(id, number, subscriptions, relays, turn);
        }
        turn.due.plan.insert(id);
    }

    fn answered(&mut self, id: RelayId, serial: u64, turn: &Turn<'_>) {
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.answered = turn.now.mono;
            upstream.answered_latest = upstream.answered_latest.max(serial);
        }
    }

    /// One more EOSE for the same message.
    fn eose_again(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get(&(id, number)) else { return };
        if request.filters > 1 && !request.is_over() && !self.takes_one_filter(id) {
            self.serves_one_filter(id, subscriptions, relays, turn);
        }
    }

    /// Whether the relay has served as many requests as are open now, and several filters in one.
    fn is_trusted(&self, id: RelayId, number: RequestNumber) -> bool {
        let several = self.all.get(&(id, number)).is_some_and(|request| request.filters > 1);
        self.upstreams.get(&id).is_some_and(|upstream| {
            upstream.open.len() <= upstream.proven && (upstream.proven_filters || !several)
        })
    }

    /// A request has lived for a while after its EOSE, and the relay has said nothing against it.
    pub(super) fn proven(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        request.health.proven = true;
        let (gathers, several) = (request.gathers(), request.filters > 1);
        let misses = request.health.missing.is_some();
        Self::renew_later(id, number, turn);
        if misses && !gathers {
            turn.timers.set_by(Timer::Request(id, number), turn.now.mono + GATHER_RETRY);
        }
        let served = self.served(id, turn);
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.proven = upstream.proven.max(served);
            upstream.proven_filters |= several;
        }
        if gathers {
            self.gathered(id, number, subscriptions, relays, turn);
            turn.due.plan.insert(id);
        }
    }

    /// A request that brings what several others do is live: they are closed.
    fn gathered(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if let Some(upstream) = self.upstreams.get_mut(&id)
            && upstream.gathering.take_if(|(gathering, _)| *gathering == number).is_some()
        {
            upstream.gather_failures = 0;
        }
        let mut left = BTreeSet::new();
        let renews = self.all.get(&(id, number)).is_some_and(|it| it.duty == Duty::Renews);
        if let Some(request) = self.get_mut(id, number) {
            request.duty = Duty::Serves;
        }
        // Who was refused or asked for anew in the meantime does not wait for this one.
        for key in self.staying(id, number, subscriptions) {
            left.extend(subscriptions.move_on(key, id, number));
        }
        for other in left {
            self.take_over(id, number, other, renews, turn);
            self.close_left(id, other, subscriptions, relays, turn);
        }
        self.close_left(id, number, subscriptions, relays, turn);
    }

    /// A live request whose members all ask for what another one brings already is closed, and they
    /// move there.
    fn share(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let keys = self.staying(id, number, subscriptions);
        let mut names = keys.iter().filter_map(|key| Some(*subscriptions.get(*key)?.name()));
        let Some(name) = names.next().filter(|name| names.all(|other| other == *name)) else {
            return;
        };
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        let known = upstream.named(&name).filter(|other| self.all.contains_key(&(id, *other)));
        let Some(other) = known else { return upstream.name(name, number) };
        if other == number {
            return;
        }
        let narrowed = |number| self.all.get(&(id, number)).and_then(|request| request.narrowed);
        if narrowed(other) > narrowed(number) {
            // It repeats an earlier one and reaches less far back. This is the one to move to.
            return upstream.name(name, number);
        }
        for key in keys {
            if let Some(request) = self.all.get_mut(&(id, other)) {
                request.members.insert(key);
            }
            subscriptions.move_on(key, id, other);
        }
        self.close_left(id, number, subscriptions, relays, turn);
    }

    /// The relay has ended a request.
    fn closed(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        why: Reason,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        if !request.is_out() || request.is_over() {
            return;
        }
        if request.outstanding > 0 {
            request.ending = Some(why);
            return;
        }
        let (gathers, live) = (request.gathers(), request.is_live());
        let (asked, in_parts) = (request.unanswered(), !request.wires.others.is_empty());
        let (duty, among, filters) = (request.duty, request.among, request.filters);
        let serial = request.serial();
        let members = self.staying(id, number, subscriptions);
        self.answered(id, serial, turn);
        if in_parts {
            self.hang_up(id, number, relays, turn);
        }
        self.forget(id, number, subscriptions, turn);
        turn.due.plan.insert(id);
        if gathers {
            relays.refused_subscription(id, &why, turn);
            let learnt =
                self.learns_of_filters(id, &why, filters) || self.is_crowded(id, &why, among, turn);
            return self.not_replaced(id, (duty, learnt), &members, subscriptions, turn);
        }
        if members.is_empty() {
            return;
        }
        if why.wants_auth() {
            let hope = relays.hope(id, asked, turn);
            for key in &members {
                self.defer(id, *key, &why, hope, subscriptions, turn);
            }
            if hope.is_any() {
                return;
            }
        }
        relays.refused_subscription(id, &why, turn);
        let by_number = self.learns_of_filters(id, &why, filters);
        let crowded = by_number || self.is_crowded(id, &why, among, turn);
        if crowded || members.len() > 1 {
            // Too many, or one among them that the relay does not want: each once more.
            for key in members {
                subscriptions.ask_again(key, id, !crowded, turn);
                self.want(id, key, subscriptions, turn);
            }
            if live && !crowded {
                self.not_gathered(id, turn);
            }
            return;
        }
        let passes = live || why.may_pass();
        let refusal = if passes { Refusal::Passing } else { Refusal::ForGood };
        for key in members {
            if passes && subscriptions.is_refused_often(key, id) {
                self.may_be_too_many(id, turn);
            }
            self.refuse(id, key, (&why, refusal), subscriptions, turn);
        }
    }

    /// Whether somebody whom this request serves has not got this event.
    pub(in crate::router) fn lacks(
        &self,
        id: RelayId,
        number: RequestNumber,
        event: &Event,
        subscriptions: &Subscriptions,
    ) -> bool {
        let members = self.all.get(&(id, number)).into_iter().flat_map(|request| &request.members);
        let mut members = members.filter_map(|key| subscriptions.get(*key));
        members.any(|member| !member.has(event.id(), event.created_at()))
    }
}
