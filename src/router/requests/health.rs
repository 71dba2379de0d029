//! Whether live requests are served still (rule 4.3). Silence looks the same as nothing to say, so each is
//! asked again from time to time; and at once where the relay has taken an event of ours that the request
//! should have brought back, as it did with others of its kind.

use std::sync::Arc;
use std::time::Duration;

use crate::constants::{
    ECHO, ECHO_REQUESTS, ECHO_REST, GATHER_RETRY, PLAN_AGAIN, RENEW, RENEW_SPREAD,
};
use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::Event;
use crate::nostr::filter::Filter;
use crate::router::relays::Relays;
use crate::router::subscriptions::{Part, Subscriptions, asked_from};
use crate::router::turn::{Timer, Turn};

use super::combine::Combined;
use super::request::Duty;
use super::{Requests, Wording};

impl Requests {
    /// This request is asked again when it has been live for long.
    pub(super) fn renew_later(id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) {
        // The numbers lie close together, their multiples do not.
        let spread = RENEW_SPREAD.as_secs();
        let at = (number.0 * 7_919) % spread;
        let pause = RENEW + Duration::from_secs(at);
        turn.timers.set(Timer::Request(id, number), turn.now.mono + pause);
    }

    /// Asks again for what a live request brings, under another number, and for what it may have missed.
    /// It goes on until the other is known to serve.
    pub(super) fn renew(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let said = self.most(id, relays, turn);
        let Some(upstream) = self.upstreams.get(&id) else { return };
        if upstream.crowd.is_some() || upstream.free(said) == 0 {
            turn.timers.set(Timer::Request(id, number), turn.now.mono + PLAN_AGAIN);
            return;
        }
        let keys = self.staying(id, number, subscriptions);
        let Some(request) = self.get_mut(id, number).filter(|it| it.is_live()) else { return };
        request.health.renewed = turn.now.mono;
        let sure = request.health.sure.earliest(turn.now);
        let missing = request.health.missing;
        Self::renew_later(id, number, turn);
        let filters = self.words_since(id, &keys, (sure, missing), subscriptions, relays);
        if !keys.is_empty() && !filters.is_empty() {
            let wording = Wording { filters, duty: Duty::Renews };
            self.open(id, &keys, Some(wording), subscriptions, relays, turn);
        }
    }

    /// A request that was to take over for these members was not to be had. What was in need of it is asked
    /// again before long.
    pub(super) fn not_replaced(
        &mut self,
        id: RelayId,
        duty: Duty,
        members: &[SubscriptionKey],
        subscriptions: &Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        if duty == Duty::Gathers {
            return self.not_gathered(id, turn);
        }
        for key in members {
            let part = subscriptions.get(*key).and_then(|member| member.part_of(id));
            if let Some(number) = part.and_then(Part::request) {
                turn.timers.set_by(Timer::Request(id, number), turn.now.mono + GATHER_RETRY);
            }
        }
    }

    /// What these ask for, in as few filters as the relay takes: from where all had come, or from where
    /// something is missing (unix seconds), which has its margin already.
    fn words_since(
        &self,
        id: RelayId,
        keys: &[SubscriptionKey],
        (sure, missing): (u64, Option<u64>),
        subscriptions: &Subscriptions,
        relays: &Relays,
    ) -> Vec<Filter> {
        let since = |filter: &Filter| {
            let since = asked_from(filter, sure);
            missing.map_or(since, |missing| since.min(filter.since.max(Some(missing))))
        };
        let members = keys.iter().filter_map(|key| subscriptions.get(*key));
        let filters = members.flat_map(|member| member.filters().iter());
        if filters.clone().any(|filter| filter.search.is_some()) {
            return Vec::new();
        }
        let (most, most_bytes) = (self.filters(id, relays), relays.filter_bytes(id));
        for broad in [false, true] {
            let mut combined = Combined::new(most, most_bytes, broad);
            if combined.add(filters.clone(), since) {
                return combined.into_filters(None);
            }
        }
        Vec::new()
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
        let mut numbers: Vec<RequestNumber> = keys
            .iter()
            .filter_map(|key| subscriptions.get(*key)?.part_of(id)?.request())
            .take(ECHO_REQUESTS)
            .collect();
        self.matching = keys;
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            self.await_echo(id, number, event, turn);
        }
    }

    fn await_echo(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        event: &Arc<Event>,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number).filter(|it| it.is_live()) else { return };
        let health = &mut request.health;
        let came = health.recent.contains(event.id());
        if came || health.awaited.is_none() {
            health.awaited = Some((*event.id(), event.kind()));
        }
        if came {
            request.note_new(event.id(), turn.now);
        } else {
            turn.timers.set_by(Timer::Echo(id, number), turn.now.mono + ECHO);
        }
    }

    /// It should have come by now.
    pub(in crate::router) fn echo_due(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        let health = &mut request.health;
        let Some((_, kind)) = health.awaited.take() else { return };
        let rested = turn.now.mono >= health.renewed + ECHO_REST || health.renewed.is_zero();
        if health.echoes.contains(&kind) && rested && request.is_live() {
            self.renew(id, number, subscriptions, relays, turn);
        }
    }
}
