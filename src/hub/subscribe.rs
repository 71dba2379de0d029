//! Subscriptions: REQ opens, CLOSE ends, EOSE once, CLOSED when no relay serves any more (SPEC 3).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::filter::Filter;
use crate::message::{Reply, Resumed};
use crate::publication::more_telling;
use crate::subscription::Stage;
use crate::subscription::{Phase, Subscription};
use crate::time::Now;

use super::{ClientId, Effects, Hub, RelayId, Role, Timer};

impl Hub {
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
            let why = format!("restricted: at most {max} subscriptions");
            fx.to_client.push((client, Reply::Closed { id: id.into(), why }));
            return;
        }
        let bytes: usize = filters.iter().map(|filter| filter.json.len()).sum();
        if subscriber.filter_bytes + bytes > max_bytes {
            let why = format!("restricted: filters of more than {max_bytes} bytes in all");
            fx.to_client.push((client, Reply::Closed { id: id.into(), why }));
            return;
        }
        let shared: Arc<str> = id.into();
        let filters: Vec<Filter> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.iter().all(Filter::is_ping) {
            if resumed.is_none() {
                fx.to_client.push((client, Reply::Eose { id: shared }));
            }
            return;
        }
        let readable = self.read_by(subscriber.relays.as_deref());
        let (only, inside) = (subscriber.relays.clone(), subscriber.role == Role::Inside);
        let key = self.next_subscription;
        self.next_subscription += 1;
        if let Some(subscriber) = self.clients.get_mut(&client) {
            subscriber.filter_bytes +=
                filters.iter().map(|filter| filter.json.len()).sum::<usize>();
            subscriber.subscriptions.insert(id.into(), key);
            subscriber.count();
        }
        let mut subscription =
            Subscription::new(client, shared, filters, readable.iter().copied(), now);
        subscription.only = only;
        subscription.inside = inside;
        if let Some(resumed) = resumed {
            subscription.resume(resumed);
        }
        self.subscriptions.insert(key, subscription);
        for relay in readable {
            self.ask(relay, key, now, fx);
        }
        self.look_at_eose(key, now, fx);
    }

    /// The relays a client reads from: those it has named, or those set for reading.
    pub(super) fn read_by(&self, only: Option<&[RelayId]>) -> Vec<RelayId> {
        let mut readable: Vec<RelayId> = match only {
            Some(only) => only.iter().copied().filter(|id| self.relays.contains_key(id)).collect(),
            None => self.relays.iter().filter(|(_, relay)| relay.read).map(|(id, _)| *id).collect(),
        };
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
    pub(super) fn end_subscription(&mut self, key: u64, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.take_subscription(key) else { return };
        if let Some(at) = subscription.timer {
            self.timers.remove(&(at, Timer::Eose(key)));
        }
        for part in &subscription.parts {
            match part.stage {
                Stage::Asked { .. } | Stage::Live => self.close_upstream(part.relay, key, now, fx),
                Stage::Unasked => self.forget_ask(part.relay),
                Stage::Refused => {}
            }
        }
    }

    fn take_subscription(&mut self, key: u64) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&key)?;
        self.remembered = self.remembered.saturating_sub(subscription.seen.len());
        if let Some(client) = self.clients.get_mut(&subscription.client) {
            let bytes: usize = subscription.filters.iter().map(|filter| filter.json.len()).sum();
            client.filter_bytes = client.filter_bytes.saturating_sub(bytes);
        }
        Some(subscription)
    }

    pub(super) fn relay_eose(&mut self, relay: RelayId, key: u64, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if subscription.relay_eose(relay, now) {
            self.look_at_eose(key, now, fx);
        }
    }

    pub(super) fn relay_closed(
        &mut self,
        relay: RelayId,
        key: u64,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if !subscription.relay_closed(relay, now) {
            return;
        }
        subscription.refusal = Some(more_telling(subscription.refusal.take(), why));
        if let Some(relay) = self.relays.get(&relay) {
            relay.stats.error(&format!("ended a subscription: {why}"));
            if why.starts_with("auth-required:") {
                relay.stats.authentication_required.store(true, Relaxed);
                relay.stats.auth_refused.store(true, Relaxed);
            }
        }
        self.look_at_eose(key, now, fx);
    }

    /// Changes every subscription and looks what follows for its EOSE.
    pub(super) fn each_subscription(
        &mut self,
        now: Now,
        fx: &mut Effects,
        mut change: impl FnMut(&mut Subscription),
    ) {
        let mut keys = Vec::with_capacity(self.subscriptions.len());
        for (key, subscription) in &mut self.subscriptions {
            change(subscription);
            keys.push(*key);
        }
        for key in keys {
            self.look_at_eose(key, now, fx);
        }
    }

    /// Sends EOSE or CLOSED where it is due, and else sets the time to look again.
    pub(super) fn look_at_eose(&mut self, key: u64, now: Now, fx: &mut Effects) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if let Some(at) = subscription.timer.take() {
            self.timers.remove(&(at, Timer::Eose(key)));
        }
        if let Some(whole) = subscription.news() {
            let id = Arc::clone(&subscription.id);
            fx.to_client.push((subscription.client, Reply::Whole { id, whole }));
        }
        if subscription.is_refused() {
            // What came before the refusal is delivered first.
            if subscription.unsettled == 0 {
                self.close_downstream(key, fx);
            }
            return;
        }
        if subscription.phase == Phase::Stored {
            if subscription.eose_due(now) {
                subscription.phase = Phase::Settling;
            } else {
                let at = subscription.next_look(now);
                subscription.timer = Some(at);
                self.timers.insert((at, Timer::Eose(key)));
            }
        }
        if subscription.phase == Phase::Settling && subscription.early == 0 {
            subscription.phase = Phase::Live;
            let id = Arc::clone(&subscription.id);
            fx.to_client.push((subscription.client, Reply::Eose { id }));
        }
    }

    /// No relay serves it any more: the client is told why.
    fn close_downstream(&mut self, key: u64, fx: &mut Effects) {
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
