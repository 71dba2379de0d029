//! Each relay's own budget of subscriptions (rule 4.3): how many places there are, and whose turn it
//! is to have one.
//!
//! While the places suffice, every subscription has a request of its own until its EOSE. When they
//! run short, `gather` makes place. What waits takes turns, client by client, and several go in one
//! request.

use crate::base::time::Now;
use crate::constants::{
    COMBINE_FEW, EOSE_SILENT, PLAN_AGAIN, RELAY_FILTERS, RELAY_MESSAGE, RELAY_SUBSCRIPTIONS,
    RELAY_SUBSCRIPTIONS_LEAST,
};
use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::Filter;
use crate::router::combine::Combined;
use crate::router::part::Stage;

use super::gather::since_loss;
use super::relays::Relay;
use super::{Effects, Router, Timer};

impl Relay {
    /// Requests that may be open at a time. One more is the outbox's, for its questions.
    pub(super) fn places(&self) -> usize {
        let said = self.limits.max_subscriptions.unwrap_or(RELAY_SUBSCRIPTIONS);
        let most = self.upstream.learned.map_or(said, |learned| learned.min(said));
        most.max(RELAY_SUBSCRIPTIONS_LEAST) - 1
    }

    pub(super) fn free(&self) -> usize {
        self.places().saturating_sub(self.upstream.open.len())
    }

    pub(super) fn filters(&self) -> usize {
        self.limits.max_filters.unwrap_or(RELAY_FILTERS)
    }

    /// Bytes of the filters of one request, its frame aside.
    pub(super) fn filter_bytes(&self) -> usize {
        self.limits.max_message_length.unwrap_or(RELAY_MESSAGE).saturating_sub(64)
    }
}

impl Router {
    /// A subscription is to be asked for at this relay, when it is its turn.
    pub(super) fn want(&mut self, id: RelayId, key: SubscriptionKey) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.link.is_some()) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let client = subscription.client;
        let part = subscription.part(id).filter(|part| part.stage == Stage::Unasked);
        if let Some(part) = part.filter(|part| !part.turn.waits && part.request.is_none()) {
            part.turn.waits = true;
            relay.upstream.turns.push(client, key);
            self.replan.insert(id);
        }
    }

    /// A subscription that waited for its turn is gone.
    pub(super) fn want_no_more(&mut self, id: RelayId) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.upstream.dead += 1;
        if relay.upstream.dead > relay.upstream.turns.len() / 2 {
            relay.upstream.dead = 0;
            let living = &self.subscriptions;
            relay.upstream.turns.retain(|key| living.contains_key(key));
        }
    }

    /// Plans for the relays where something has changed.
    pub(super) fn plan_all(&mut self, now: Now, fx: &mut Effects) {
        while let Some(id) = self.replan.pop_first() {
            self.plan(id, now, fx);
        }
    }

    /// Opens what there is a place for, and makes place.
    pub(super) fn plan(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        self.replan.remove(&id);
        while let Some(relay) = self.relays.get(&id)
            && relay.link.is_some()
            && !relay.upstream.turns.is_empty()
            // The last place is for gathering.
            && relay.free() > 1
        {
            self.open_next(id, now, fx);
        }
        self.gather(id, now, fx);
    }

    /// The subscription whose turn it is.
    pub(super) fn next_turn(&mut self, id: RelayId) -> Option<SubscriptionKey> {
        let relay = self.relays.get_mut(&id)?;
        while let Some(key) = relay.upstream.turns.pop() {
            let part = self.subscriptions.get_mut(&key).and_then(|member| member.part(id));
            if part.is_some_and(|part| part.turn.waits && part.request.is_none()) {
                return Some(key);
            }
            relay.upstream.dead = relay.upstream.dead.saturating_sub(1);
        }
        None
    }

    fn open_next(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(first) = self.next_turn(id) else { return };
        let Some(relay) = self.relays.get(&id) else { return };
        let crowded = relay.upstream.turns.len() >= relay.free() - 1;
        if !crowded || !self.is_sociable(id, first) {
            return self.open_request(id, &[first], None, now, fx);
        }
        if self.gap(id, first).is_some() {
            return self.resume_together(id, first, now, fx);
        }
        let (most, most_bytes) = (relay.filters(), relay.filter_bytes());
        let late = self.subscriptions.get(&first).map(|member| member.is_late(id));
        let (mut keys, mut filters, mut bytes) = (vec![first], 0, 0);
        let size = |router: &Self, key: &SubscriptionKey| {
            router.subscriptions.get(key).map_or((0, 0), |member| {
                let bytes: usize = member.filters.iter().map(|filter| filter.json.len() + 1).sum();
                (member.filters.len(), bytes)
            })
        };
        let (own, own_bytes) = size(self, &first);
        (filters, bytes) = (filters + own, bytes + own_bytes);
        while let Some(key) = self.next_turn(id) {
            let (own, own_bytes) = size(self, &key);
            let alike = self.subscriptions.get(&key).map(|member| member.is_late(id)) == late
                && self.gap(id, key).is_none()
                && self.is_sociable(id, key);
            if !alike || filters + own > most || bytes + own_bytes > most_bytes {
                self.wait_again(id, key);
                break;
            }
            (filters, bytes) = (filters + own, bytes + own_bytes);
            keys.push(key);
        }
        self.open_request(id, &keys, None, now, fx);
    }

    fn wait_again(&mut self, id: RelayId, key: SubscriptionKey) {
        let Some(client) = self.subscriptions.get(&key).map(|member| member.client) else { return };
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.turns.push(client, key);
        }
    }

    /// Whether it may be asked for together with others: what a search finds only the relay can tell.
    fn is_sociable(&self, id: RelayId, key: SubscriptionKey) -> bool {
        self.subscriptions.get(&key).is_some_and(|member| {
            member.filters.iter().all(|filter| filter.search.is_none())
                && member.part_of(id).is_some_and(|part| !part.turn.alone)
        })
    }

    fn gap(&self, id: RelayId, key: SubscriptionKey) -> Option<u64> {
        self.subscriptions.get(&key)?.part_of(id)?.gap
    }

    /// After a loss, many subscriptions go on in one request that reaches back for all of them.
    fn resume_together(&mut self, id: RelayId, first: SubscriptionKey, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get(&id) else { return };
        let mut combined = Combined::new(relay.filters(), relay.filter_bytes(), false);
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(key) = next {
            let gap = self.gap(id, key).filter(|_| self.is_sociable(id, key));
            let filters = self.subscriptions.get(&key).map(|member| member.filters.clone());
            let takes = gap.zip(filters).is_some_and(|(gap, filters)| {
                combined.add(filters.iter(), |filter: &Filter| since_loss(filter, gap).map(Some))
            });
            if takes {
                keys.push(key);
            } else {
                others.push(key);
            }
            if others.len() >= COMBINE_FEW {
                break; // it is full
            }
            next = self.next_turn(id);
        }
        for key in others {
            self.wait_again(id, key);
        }
        let filters = combined.into_filters(None);
        if keys.is_empty() {
            // Not even the first one fits.
            keys.extend(self.next_turn(id));
        }
        if keys.len() < 2 || filters.is_empty() {
            for key in keys {
                self.open_request(id, &[key], None, now, fx);
            }
        } else {
            self.open_request(id, &keys, Some((filters, false)), now, fx);
        }
    }

    pub(super) fn plan_again(&mut self, id: RelayId, now: Now) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        if relay.upstream.timer.is_none() {
            let at = now.mono + PLAN_AGAIN;
            relay.upstream.timer = Some(at);
            self.timers.insert((at, Timer::Plan(id)));
        }
    }

    pub(super) fn plan_due(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.upstream.timer = None;
        if now.mono >= relay.upstream.answered + EOSE_SILENT && !relay.upstream.turns.is_empty() {
            self.stalls(id, now, fx);
        }
        self.plan(id, now, fx);
    }

    /// The relay answers none of those that have their places: whoever waits for one does not wait
    /// with the EOSE.
    fn stalls(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let mut keys = Vec::new();
        for (key, subscription) in &mut self.subscriptions {
            let part = subscription.part(id).filter(|part| part.holds && part.turn.waits);
            if let Some(part) = part.filter(|part| !part.stalls) {
                part.stalls = true;
                keys.push(*key);
            }
        }
        for key in keys {
            self.look_at_eose(key, now, fx);
        }
    }

    /// Whether a refusal says that there are too many requests; then fewer are opened from now on.
    pub(super) fn is_crowded(&mut self, id: RelayId, why: &str) -> bool {
        let why = why.to_ascii_lowercase();
        if !why.starts_with("rate-limited:") && !why.contains("too many") {
            return false;
        }
        let Some(relay) = self.relays.get_mut(&id) else { return false };
        let open = relay.upstream.open.len();
        if open < RELAY_SUBSCRIPTIONS_LEAST {
            return false; // it is not their number
        }
        relay.upstream.learned = Some(open);
        true
    }

    /// A relay's NOTICE may be all it says about too many requests: the last one is not served then.
    pub(super) fn notice_of_crowd(&mut self, id: RelayId, text: &str, now: Now, fx: &mut Effects) {
        if !text.to_ascii_lowercase().contains("too many concurrent req") {
            return;
        }
        let Some(relay) = self.relays.get(&id) else { return };
        let unheard = |number: &&RequestNumber| {
            self.requests.get(&(id, **number)).is_some_and(super::upstream::Request::is_unheard)
        };
        let last = relay.upstream.open.iter().rev().find(unheard).copied();
        if let Some(number) = last {
            let why = format!("rate-limited: {text}");
            self.arrived(id, number, super::arrivals::Arrival::Closed(why), now, fx);
        }
    }
}
