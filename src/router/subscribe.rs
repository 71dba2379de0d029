//! Subscriptions: REQ opens, CLOSE ends, EOSE once, CLOSED when no relay serves any more (SPEC 3).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::base::time::Now;
use crate::constants::HELD_BYTES_ALL;
use crate::ids::{ClientId, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::Filter;
use crate::nostr::message::{Hint, Reply, Resumed};
use crate::nostr::reason::{Prefix, Reason};
use crate::router::part::Part;
use crate::router::subscription::{Phase, Progress, Subscription};
use crate::stats::Trouble;

use super::clients::Client;
use super::{Effects, Role, Router, Timer};

impl Router {
    /// A REQ.
    pub(super) fn subscribe(
        &mut self,
        client: ClientId,
        id: &str,
        filters: Vec<Filter>,
        resumed: Option<Resumed>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.unsubscribe(client, id, now, fx);
        let Some(subscriber) = self.clients.get(&client) else { return };
        let (max, max_bytes) = self.subscription_limits(subscriber);
        if subscriber.open() >= max {
            let why = too_many_subscriptions(max);
            fx.to_client.push((client, Reply::Closed { id: id.into(), why }));
            return;
        }
        let bytes: usize = filters.iter().map(|filter| filter.json.len()).sum();
        if subscriber.filter_bytes + bytes > max_bytes {
            let why = too_many_filters(max_bytes);
            fx.to_client.push((client, Reply::Closed { id: id.into(), why }));
            return;
        }
        let shared: Arc<str> = id.into();
        let filters: Arc<[Filter]> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.iter().all(Filter::is_ping) {
            if resumed.is_none() {
                fx.to_client.push((client, Reply::Eose { id: shared, hint: Hint::None }));
            }
            return;
        }
        let (only, role) = (subscriber.relays.clone(), subscriber.role);
        let readable = self.read_by(subscriber);
        let key = self.numbers.subscription();
        if let Some(subscriber) = self.clients.get_mut(&client) {
            subscriber.filter_bytes +=
                filters.iter().map(|filter| filter.json.len()).sum::<usize>();
            subscriber.subscriptions.insert(id.into(), key);
            subscriber.count();
        }
        let mut subscription =
            Subscription::new(client, shared, filters, readable.iter().copied(), now);
        subscription.only = only;
        subscription.role = role;
        subscription.progress = (role == Role::Inside).then(Progress::default);
        if let Some(resumed) = resumed {
            subscription.resume(resumed);
        }
        self.index.insert(key, Arc::clone(&subscription.filters));
        self.subscriptions.insert(key, subscription);
        for relay in &readable {
            self.want(*relay, key);
        }
        for relay in readable {
            self.plan(relay, now, fx);
        }
        self.look_at_eose(key, now, fx);
    }

    /// The relays a client reads from: those it has named, or those set for reading that it may see.
    pub(super) fn read_by(&self, client: &Client) -> Vec<RelayId> {
        let mut readable: Vec<RelayId> = match &client.relays {
            Some(only) => only.iter().copied().filter(|id| self.relays.contains_key(id)).collect(),
            None => self.relays.iter().filter(|(_, relay)| relay.read).map(|(id, _)| *id).collect(),
        };
        readable.retain(|relay| client.role != Role::Public || !self.bars_public(*relay));
        readable.sort_unstable();
        readable
    }

    pub(super) fn unsubscribe(&mut self, client: ClientId, id: &str, now: Now, fx: &mut Effects) {
        let Some(subscriber) = self.clients.get_mut(&client) else { return };
        if let Some(key) = subscriber.subscriptions.remove(id) {
            subscriber.count();
            self.end_subscription(key, now, fx);
        }
    }

    /// Forgets a subscription and ends it at every relay that was asked.
    pub(super) fn end_subscription(&mut self, key: SubscriptionKey, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.take_subscription(key) else { return };
        if let Some(at) = subscription.timer {
            self.timers.remove(&(at, Timer::Eose(key)));
        }
        for part in &subscription.parts {
            self.leave_part(key, part, now, fx);
        }
    }

    /// A subscription has no part in this relay any more.
    pub(super) fn leave_part(
        &mut self,
        key: SubscriptionKey,
        part: &Part,
        now: Now,
        fx: &mut Effects,
    ) {
        if part.turn.waits && part.request.is_none() {
            self.want_no_more(part.relay);
        }
        for number in [part.request, part.next].into_iter().flatten() {
            self.leave_request(part.relay, number, key, now, fx);
        }
    }

    fn take_subscription(&mut self, key: SubscriptionKey) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&key)?;
        self.index.remove(key);
        self.held -= subscription.merge.bytes();
        self.remembered = self.remembered.saturating_sub(subscription.seen.len());
        if let Some(client) = self.clients.get_mut(&subscription.client) {
            let bytes: usize = subscription.filters.iter().map(|filter| filter.json.len()).sum();
            client.filter_bytes = client.filter_bytes.saturating_sub(bytes);
        }
        Some(subscription)
    }

    /// What a relay's refusal of a subscription says to its owner.
    pub(super) fn relay_refuses(&self, id: RelayId, why: &Reason, now: Now) {
        let Some(relay) = self.relays.get(&id) else { return };
        relay.stats.error(
            now.precisely(),
            Trouble::EndedSubscription,
            &format!("ended a subscription: {why}"),
        );
        if why.wants_auth() {
            relay.stats.authentication_required.store(true, Relaxed);
            relay.stats.auth_refused.store(true, Relaxed);
        }
    }

    /// Changes every subscription and looks what follows for its EOSE.
    pub(super) fn each_subscription(
        &mut self,
        now: Now,
        fx: &mut Effects,
        mut change: impl FnMut(&mut Subscription),
    ) {
        self.each_subscription_by_key(now, fx, |_, subscription| change(subscription));
    }

    /// The same, with the subscriptions' numbers.
    pub(super) fn each_subscription_by_key(
        &mut self,
        now: Now,
        fx: &mut Effects,
        mut change: impl FnMut(SubscriptionKey, &mut Subscription),
    ) {
        let mut keys = Vec::with_capacity(self.subscriptions.len());
        for (key, subscription) in &mut self.subscriptions {
            change(*key, subscription);
            keys.push(*key);
        }
        for key in keys {
            self.look_at_eose(key, now, fx);
        }
    }

    /// Sends EOSE or CLOSED where it is due, and else sets the time to look again.
    pub(super) fn look_at_eose(&mut self, key: SubscriptionKey, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if let Some(at) = subscription.timer.take() {
            self.timers.remove(&(at, Timer::Eose(key)));
        }
        if let Some(whole) = subscription.news() {
            let id = Arc::clone(&subscription.id);
            fx.to_client.push((subscription.client, Reply::Whole { id, whole }));
        }
        let settled = |(relay, number, until): &(RelayId, RequestNumber, u64)| {
            self.requests.get(&(*relay, *number)).is_none_or(|request| request.has_settled(*until))
        };
        subscription.early.retain(|early| !settled(early));
        if subscription.is_refused() {
            // What came before the refusal is delivered first.
            if subscription.early.is_empty() {
                self.release(key, now, fx);
                self.close_downstream(key, fx);
            }
            return;
        }
        if subscription.phase == Phase::Stored {
            if subscription.eose_due(now) {
                subscription.settle();
                for part in &subscription.parts {
                    let request = part.request.map(|number| (part.relay, number));
                    let request = request.and_then(|key| self.requests.get_mut(&key));
                    if let (Some(request), Some(number)) = (request, part.request) {
                        request.arrivals.awaited = true;
                        subscription.early.push((part.relay, number, request.early()));
                    }
                }
                subscription.early.retain(|(_, _, until)| *until > 0);
                if subscription.complete {
                    subscription.early.clear(); // there is no place for them
                }
            } else {
                let at = subscription.next_look(now);
                subscription.timer = Some(at);
                self.timers.insert((at, Timer::Eose(key)));
                return self.release(key, now, fx);
            }
        }
        if subscription.phase == Phase::Settling && subscription.early.is_empty() {
            self.release(key, now, fx);
            self.end_stored(key, now, fx);
        }
    }

    /// The stored events are complete.
    fn end_stored(&mut self, key: SubscriptionKey, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        subscription.phase = Phase::Live;
        let (id, hint) = (Arc::clone(&subscription.id), subscription.hint());
        fx.to_client.push((subscription.client, Reply::Eose { id, hint }));
        if subscription.is_over() {
            for part in std::mem::take(&mut subscription.parts) {
                self.leave_part(key, &part, now, fx);
            }
        }
    }

    /// Gives what is held and has become due.
    pub(super) fn release(&mut self, key: SubscriptionKey, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let before = subscription.merge.bytes();
        if before == 0 {
            return;
        }
        let crowded = self.held > HELD_BYTES_ALL;
        while let Some((event, from)) = subscription.release(crowded, now) {
            let id = Arc::clone(&subscription.id);
            fx.to_client.push((subscription.client, Reply::Event { id, event, from }));
            self.stats.delivered.add();
        }
        self.held -= before - subscription.merge.bytes();
        if subscription.phase == Phase::Stored && subscription.merge.is_full() {
            self.look_at_eose(key, now, fx);
        }
    }

    /// No relay serves it any more: the client is told why.
    fn close_downstream(&mut self, key: SubscriptionKey, fx: &mut Effects) {
        let Some(subscription) = self.take_subscription(key) else { return };
        let id: Box<str> = (&*subscription.id).into();
        if let Some(client) = self.clients.get_mut(&subscription.client) {
            client.subscriptions.remove(&id);
            client.count();
        }
        let why = subscription.refusal.unwrap_or_default();
        fx.to_client.push((subscription.client, Reply::Closed { id, why }));
    }
}

pub(super) fn too_many_subscriptions(most: usize) -> Reason {
    Reason::new(Prefix::Restricted, format_args!("at most {most} subscriptions"))
}

pub(super) fn too_many_filters(most_bytes: usize) -> Reason {
    let text = format_args!("filters of more than {most_bytes} bytes in all");
    Reason::new(Prefix::Restricted, text)
}
