//! Whether live requests are served still (rule 4.3). Silence looks the same as nothing to say, so each is
//! asked again from time to time; and at once where the relay has taken an event of ours that the request
//! should have brought back, as it did with others of its kind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::constants::{
    ECHO, ECHO_EVENTS, ECHO_REST, GATHER_RETRY, PLAN_AGAIN, RENEW, RENEW_SPREAD,
};
use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, EventId};
use crate::nostr::filter::Filter;
use crate::router::relays::Relays;
use crate::router::subscriptions::{Part, Subscriptions};
use crate::router::turn::{Timer, Turn};

use super::combine::Combined;
use super::gather::{Aim, Live, Missed, Together, different};
use super::request::{Duty, Echo, Request};
use super::{Requests, Upstream, Wording};

impl Requests {
    /// This request is asked again when it has been live for long.
    pub(super) fn renew_later(id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) {
        // The numbers lie close together, their multiples do not.
        let spread = RENEW_SPREAD.as_secs();
        let at = (number.0 * 7_919) % spread;
        let pause = RENEW + Duration::from_secs(at);
        turn.timers.set(Timer::Request(id, number), turn.now.mono + pause);
    }

    /// A live request is to be asked again, when there is a place.
    pub(super) fn renew(&mut self, id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) {
        let Some(request) = self.get_mut(id, number).filter(|it| it.is_live()) else { return };
        request.health.renewed = turn.now.mono;
        Self::renew_later(id, number, turn);
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.stale.insert(number);
            turn.due.plan.insert(id);
        }
    }

    /// Asks again for what such requests bring, under other numbers, and for what they may have missed: one by
    /// one, or several in one where places run short. They go on until the others are known to serve.
    pub(super) fn renew_stale(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let said = self.most(id, relays, turn);
        let kept = self.kept_for_gathering(id, said);
        loop {
            let Some(upstream) = self.upstreams.get(&id) else { return };
            let free = upstream.free(said);
            let moves = |number: RequestNumber| {
                self.members(id, number).iter().any(|key| subscriptions.moves(*key, id))
            };
            let ready = upstream.stale.iter().filter(|number| !moves(**number));
            let stale: Live = ready.map(|number| (0, *number)).collect();
            let Some((_, number)) = stale.first().copied().filter(|_| free > 0) else { return };
            let aim = Aim::all(Missed::SinceSure, self.room(id, free));
            if stale.len() + kept > free
                && let Some(together) = self.combine(id, &stale, aim, subscriptions, relays, turn)
            {
                self.open_renewal(id, together, subscriptions, relays, turn);
            } else if !self.renew_alone(id, number, (said, free), subscriptions, relays, turn) {
                return;
            }
        }
    }

    /// False: it needs more places than are free.
    fn renew_alone(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        (said, free): (usize, usize),
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> bool {
        let keys = self.staying(id, number, subscriptions);
        let Some(request) = self.all.get(&(id, number)) else { return false };
        let since = |filter: &Filter| request.health.since(filter, turn.now);
        let room = Upstream::places(said).saturating_sub(1 + request.wires.others.len());
        let filters = self.words_since(id, &keys, since, room, subscriptions, relays);
        let parts =
            filters.as_ref().map(|filters| filters.len().div_ceil(self.filters(id, relays)));
        match (filters, parts) {
            (Some(filters), Some(parts)) if parts <= free => {
                let renewed = Together { numbers: vec![number], keys, filters };
                self.open_renewal(id, renewed, subscriptions, relays, turn);
                true
            }
            (_, Some(parts)) if parts <= room => false,
            // There is never a place for another one beside it.
            _ => {
                self.ask_members_again(id, number, false, subscriptions, relays, turn);
                true
            }
        }
    }

    /// Asks for these, in the stead of these.
    fn open_renewal(
        &mut self,
        id: RelayId,
        Together { numbers, keys, filters }: Together,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.stale.retain(|number| !numbers.contains(number));
        }
        if !keys.is_empty() && !filters.is_empty() {
            let wording = Wording { filters, duty: Duty::Renews };
            self.open(id, &keys, Some(wording), subscriptions, relays, turn);
        }
    }

    /// One request takes over for another, which is about to be closed. `renews`: for what that may have
    /// missed, too.
    pub(super) fn take_over(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        from: RequestNumber,
        renews: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(old) = self.all.remove(&(id, from)) else { return };
        if let Some(request) = self.get_mut(id, number) {
            request.health.inherit(&old.health, renews);
            if request.health.awaited.is_some() {
                turn.timers.set_by(Timer::Echo(id, number), turn.now.mono + ECHO);
            }
        }
        self.all.insert((id, from), old);
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        if upstream.stale.remove(&from) && !renews {
            upstream.stale.insert(number);
        }
    }

    /// A request that was to take over for these members was not to be had. What was in need of it is asked
    /// again before long; `learnt`: at once, for it is known now how.
    pub(super) fn not_replaced(
        &mut self,
        id: RelayId,
        (duty, learnt): (Duty, bool),
        members: &[SubscriptionKey],
        subscriptions: &Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        if duty == Duty::Gathers {
            return self.not_gathered(id, turn);
        }
        let pause = if learnt { PLAN_AGAIN } else { GATHER_RETRY };
        for key in members {
            let part = subscriptions.get(*key).and_then(|member| member.part_of(id));
            if let Some(number) = part.and_then(Part::request) {
                turn.timers.set_by(Timer::Request(id, number), turn.now.mono + pause);
            }
        }
    }

    /// What these ask for, each filter from a date on (`since`, unix seconds), in as few filters as there is
    /// `room` for: so many messages. `None`: they do not fit.
    fn words_since(
        &self,
        id: RelayId,
        keys: &[SubscriptionKey],
        since: impl Fn(&Filter) -> Option<u64> + Copy,
        room: usize,
        subscriptions: &Subscriptions,
        relays: &Relays,
    ) -> Option<Vec<Filter>> {
        let members = different(keys, subscriptions);
        let filters = members.iter().flat_map(|member| member.filters().iter());
        if filters.clone().any(|filter| filter.search.is_some()) {
            return Some(Vec::new()); // what it finds is not a matter of dates
        }
        if members.len() == 1 {
            // The relay has taken these, however long they are.
            return Some(filters.filter_map(|filter| filter.again(since(filter))).collect());
        }
        let (most, most_bytes) = (self.filters(id, relays) * room, relays.filter_bytes(id) * room);
        [false, true].into_iter().find_map(|broad| {
            let mut combined = Combined::new(most, most_bytes, broad);
            combined.add(filters.clone(), since).then(|| combined.into_filters(None))
        })
    }

    /// The relay has taken an event of ours: a live request that it matches is to bring it.
    pub(in crate::router) fn expect_echo(
        &mut self,
        id: RelayId,
        event: &Arc<Event>,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let mut keys = std::mem::take(&mut self.matching);
        subscriptions.matching(event, &mut keys);
        let asked = keys.iter().filter_map(|key| subscriptions.get(*key)?.part_of(id)?.request());
        let numbers: BTreeSet<RequestNumber> = asked.collect();
        self.matching = keys;
        let brought = |number: &RequestNumber| {
            let request = self.all.get(&(id, *number));
            request.is_some_and(|it| it.health.recent.contains(event.id()))
        };
        let came = numbers.iter().any(brought);
        if let Some(upstream) = self.upstreams.get_mut(&id).filter(|_| !numbers.is_empty()) {
            if upstream.echoes.len() >= ECHO_EVENTS {
                upstream.echoes.pop_front();
            }
            upstream.echoes.push_back(*event.id());
        }
        for number in numbers {
            self.await_echo(id, number, (event, came), turn);
        }
    }

    /// `came`: some request has brought it by now.
    fn await_echo(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        (event, came): (&Arc<Event>, bool),
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number).filter(|it| it.is_live()) else { return };
        let health = &mut request.health;
        let (event, kind) = (*event.id(), event.kind());
        let brought = health.recent.contains(&event);
        if !brought && health.lacks().is_some() {
            return; // that will tell
        }
        health.awaited = Some(Echo { event, kind, came_elsewhere: false });
        if came {
            health.came_elsewhere();
        }
        if brought {
            request.note_new(&event, turn.now);
        } else {
            turn.timers.set(Timer::Echo(id, number), turn.now.mono + ECHO);
        }
    }

    /// An event has come over a request. If it is one of ours that others are to bring too, they may not
    /// have to.
    pub(super) fn echo_came(&mut self, id: RelayId, event: &EventId) {
        if !self.upstreams.get(&id).is_some_and(|it| it.echoes.contains(event)) {
            return;
        }
        let waits = |it: &Request| it.health.awaited.is_some_and(|echo| echo.event == *event);
        for other in self.open_where(id, waits) {
            if let Some(request) = self.get_mut(id, other) {
                request.health.came_elsewhere();
            }
        }
    }

    /// It should have come by now.
    pub(in crate::router) fn echo_due(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        let health = &mut request.health;
        let lacks = health.lacks();
        health.awaited = None;
        let brings = lacks.is_some_and(|echo| health.brings(echo.kind));
        let rested = turn.now.mono >= health.renewed + ECHO_REST || health.renewed.is_zero();
        if brings && rested {
            self.renew(id, number, turn);
        }
    }
}
