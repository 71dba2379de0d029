//! Each relay's own budget of subscriptions (rule 4.3): how many places there are, and whose turn it
//! is to have one.
//!
//! While the places suffice, every subscription has a request of its own until its EOSE. When they
//! run short, `gather` makes place. What waits takes turns, client by client, and several go in one
//! request.

use crate::base::time::Now;
use crate::constants::{COMBINE_FEW, EOSE_SILENT, PLAN_AGAIN, RELAY_FILTERS};
use crate::ids::{RelayId, SubscriptionKey};
use crate::nostr::filter::Filter;
use crate::nostr::reason::{Prefix, Reason};
use crate::router::relays::Relays;
use crate::router::subscriptions::{Part, Refusal, Subscription, Subscriptions, asked_from};
use crate::router::turn::{Timer, Turn};

use super::combine::{Combined, FRAME};
use super::request::{Duty, Request};
use super::{Requests, Upstream, Wording};

impl Requests {
    /// A subscription is to be asked for at this relay, when it is its turn.
    pub(in crate::router) fn want(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        if let Some(client) = subscriptions.line_up(key, id, !upstream.pace.is_free()) {
            upstream.turns.push(client, key);
            turn.due.plan.insert(id);
            if subscriptions.get(key).is_some_and(Subscription::is_live) {
                turn.due.eose.insert(key); // how long it waits is looked after
            }
        }
    }

    /// The same for every subscription that has a part in this relay.
    pub(in crate::router) fn want_all(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        for key in subscriptions.at_relay(id) {
            self.want(id, key, subscriptions, turn);
        }
        turn.due.plan.insert(id);
    }

    /// Opens what there is a place for, and makes place.
    pub(in crate::router) fn plan(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        self.count_soon(id, turn);
        if self.is_crowding(id) || self.upstreams.get(&id).is_some_and(|it| it.pace.rests()) {
            return; // it is not known yet how many it takes, or nothing goes out
        }
        self.turn_waiting_pages(id, subscriptions, relays, turn);
        let said = self.most(id, relays, turn);
        let kept = self.kept_for_gathering(id, said);
        let has_place = |it: &Self| {
            let upstream = it.upstreams.get(&id);
            upstream.is_some_and(|it| !it.turns.is_empty() && it.free(said) > kept)
        };
        while has_place(self) && self.open_next(id, said, subscriptions, relays, turn) {}
        self.renew_stale(id, subscriptions, relays, turn);
        self.gather(id, subscriptions, relays, turn);
    }

    /// The subscription whose turn it is.
    pub(super) fn next_turn(
        &mut self,
        id: RelayId,
        subscriptions: &Subscriptions,
    ) -> Option<SubscriptionKey> {
        let upstream = self.upstreams.get_mut(&id)?;
        while let Some(key) = upstream.turns.pop() {
            if subscriptions.is_lined_up(key, id) {
                return Some(key);
            }
            upstream.dead = upstream.dead.saturating_sub(1);
        }
        None
    }

    /// Opens a request for whose turn it is, and maybe for others. False: nothing more has a place.
    fn open_next(
        &mut self,
        id: RelayId,
        said: usize,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(first) = self.next_turn(id, subscriptions) else { return false };
        let parts = self.parts_of(id, first, subscriptions, relays);
        let Some(upstream) = self.upstreams.get(&id) else { return false };
        let kept = self.kept_for_gathering(id, said);
        if parts + kept > Upstream::places(said) {
            let why = Reason::new(Prefix::Restricted, "more filters than the relay has places for");
            self.refuse(id, first, (&why, Refusal::ForGood), subscriptions, turn);
            return true;
        }
        if parts + kept > upstream.free(said) {
            self.wait_again(id, first, subscriptions);
            return false;
        }
        let crowded = upstream.turns.len() + kept >= upstream.free(said);
        if !crowded || parts > 1 || !is_sociable(id, first, subscriptions) {
            self.open(id, &[first], None, subscriptions, relays, turn);
        } else if gap(id, first, subscriptions).is_some() {
            self.resume_together(id, first, subscriptions, relays, turn);
        } else {
            let keys = self.alike(id, first, subscriptions, relays);
            self.open(id, &keys, None, subscriptions, relays, turn);
        }
        true
    }

    /// This one, and those whose turn it is after it, as long as they can be asked for with it.
    fn alike(
        &mut self,
        id: RelayId,
        first: SubscriptionKey,
        subscriptions: &Subscriptions,
        relays: &Relays,
    ) -> Vec<SubscriptionKey> {
        // Not all documents are right about that, and there is no need to try.
        let most = self.filters(id, relays).min(RELAY_FILTERS);
        let most_bytes = relays.filter_bytes(id);
        let late = |key| subscriptions.get(key).map(|member| member.is_late(id));
        let size = |key| {
            subscriptions.get(key).map_or((0, 0), |member| {
                let filters = member.filters();
                // One that comes late asks for what its limits leave a place for, and for what is new.
                let twice = |filter: &&Filter| member.is_late(id) && filter.limit.is_some();
                let again = filters.iter().filter(twice);
                let bytes: usize = again.clone().map(|filter| filter.json.len() + FRAME).sum();
                let asked = filters.len() + again.count();
                (asked, member.filter_bytes() + bytes + asked)
            })
        };
        let (mut filters, mut bytes) = size(first);
        let mut keys = vec![first];
        while let Some(key) = self.next_turn(id, subscriptions) {
            let (own, own_bytes) = size(key);
            let alike = late(key) == late(first)
                && gap(id, key, subscriptions).is_none()
                && is_sociable(id, key, subscriptions);
            if !alike || filters + own > most || bytes + own_bytes > most_bytes {
                self.wait_again(id, key, subscriptions);
                break;
            }
            (filters, bytes) = (filters + own, bytes + own_bytes);
            keys.push(key);
        }
        keys
    }

    fn wait_again(&mut self, id: RelayId, key: SubscriptionKey, subscriptions: &Subscriptions) {
        let client = subscriptions.get(key).map(Subscription::client);
        if let Some((client, upstream)) = client.zip(self.upstreams.get_mut(&id)) {
            upstream.turns.push(client, key);
        }
    }

    /// After a loss, many subscriptions go on in one request that reaches back for all of them.
    fn resume_together(
        &mut self,
        id: RelayId,
        first: SubscriptionKey,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let mut combined = Combined::new(self.filters(id, relays), relays.filter_bytes(id), false);
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(key) = next {
            let gap = gap(id, key, subscriptions).filter(|_| is_sociable(id, key, subscriptions));
            let filters = subscriptions.get(key).map(Subscription::filters);
            let takes = gap.zip(filters).is_some_and(|(gap, filters)| {
                let lost = gap.earliest(turn.now);
                combined.add(filters.iter(), |filter: &Filter| asked_from(filter, lost))
            });
            if takes {
                keys.push(key);
            } else {
                others.push(key);
            }
            if others.len() >= COMBINE_FEW {
                break; // it is full
            }
            next = self.next_turn(id, subscriptions);
        }
        for key in others {
            self.wait_again(id, key, subscriptions);
        }
        let filters = combined.into_filters(None);
        if keys.is_empty() {
            // Not even the first one fits.
            keys.extend(self.next_turn(id, subscriptions));
        }
        if keys.len() < 2 || filters.is_empty() {
            for key in keys {
                self.open(id, &[key], None, subscriptions, relays, turn);
            }
        } else {
            let wording = Wording { filters, duty: Duty::Serves };
            self.open(id, &keys, Some(wording), subscriptions, relays, turn);
        }
    }

    pub(super) fn plan_again(id: RelayId, turn: &mut Turn<'_>) {
        turn.timers.set_by(Timer::Plan(id), turn.now.mono + PLAN_AGAIN);
    }

    /// It is time to plan again.
    pub(in crate::router) fn plan_due(
        &self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get(&id) else { return };
        let silent = turn.now.mono >= upstream.answered + EOSE_SILENT;
        // It owes somebody an answer, and not we a question.
        let owes = |request: &Request| {
            request.unanswered().is_some_and(|since| turn.now.mono >= since + EOSE_SILENT)
        };
        let stalls = silent && !self.open_where(id, owes).is_empty();
        if stalls && !upstream.turns.is_empty() && upstream.pace.is_free() {
            subscriptions.stall(id, turn);
        }
        turn.due.plan.insert(id);
    }
}

/// Whether it may be asked for together with others: what a search finds only the relay can tell.
fn is_sociable(id: RelayId, key: SubscriptionKey, subscriptions: &Subscriptions) -> bool {
    subscriptions.get(key).is_some_and(|member| {
        member.filters().iter().all(|filter| filter.search.is_none())
            && member.part_of(id).is_some_and(Part::goes_with_others)
    })
}

fn gap(id: RelayId, key: SubscriptionKey, subscriptions: &Subscriptions) -> Option<Now> {
    subscriptions.get(key)?.part_of(id)?.gap()
}
