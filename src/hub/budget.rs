//! Each relay's own budget of subscriptions (SPEC 4.3): whose turn it is to be asked for, and which
//! requests are combined so that there is a place for others.
//!
//! While the places suffice, every subscription has a request of its own until its EOSE. When they
//! run short, live requests are gathered: one more is opened that asks, without stored events, for
//! all they do, and when it is live they are closed. One place is always kept for that, so nothing
//! is closed before something else brings its events. What waits takes turns, client by client, and
//! several go in one request.

use std::time::Duration;

use crate::combine::Combined;
use crate::constants::{
    COMBINE_FEW, EOSE_SILENT, GATHER_RETRY, PLAN_AGAIN, RELAY_FILTERS, RELAY_MESSAGE,
    RELAY_SUBSCRIPTIONS, RELAY_SUBSCRIPTIONS_LEAST, REPLAY_WINDOW,
};
use crate::filter::Filter;
use crate::part::Stage;
use crate::subscription::margin;
use crate::time::Now;

use super::relays::Relay;
use super::{Effects, Hub, RelayId, Timer};

/// Requests that may become one.
struct Together {
    numbers: Vec<u64>,
    /// Their members.
    keys: Vec<u64>,
    filters: Vec<Filter>,
}

/// From which date on a filter is meant after a loss at this one; `None`: it asks for nothing.
fn since_loss(filter: &Filter, lost: u64) -> Option<u64> {
    let since = lost.saturating_sub(margin(filter));
    let since = filter.since.map_or(since, |own| own.max(since));
    filter.until.is_none_or(|until| until >= since).then_some(since)
}

impl Relay {
    /// Requests that may be open at a time. One more is the outbox's, for its questions.
    fn places(&self) -> usize {
        let said = self.limits.max_subscriptions.unwrap_or(RELAY_SUBSCRIPTIONS);
        let most = self.upstream.learned.map_or(said, |learned| learned.min(said));
        most.max(RELAY_SUBSCRIPTIONS_LEAST) - 1
    }

    fn free(&self) -> usize {
        self.places().saturating_sub(self.upstream.open.len())
    }

    fn filters(&self) -> usize {
        self.limits.max_filters.unwrap_or(RELAY_FILTERS)
    }

    /// Bytes of the filters of one request, its frame aside.
    fn filter_bytes(&self) -> usize {
        self.limits.max_message_length.unwrap_or(RELAY_MESSAGE).saturating_sub(64)
    }
}

impl Hub {
    /// A subscription is to be asked for at this relay, when it is its turn.
    pub(super) fn want(&mut self, id: RelayId, key: u64) {
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
    fn next_turn(&mut self, id: RelayId) -> Option<u64> {
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
        let size = |hub: &Self, key: &u64| {
            hub.subscriptions.get(key).map_or((0, 0), |member| {
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

    fn wait_again(&mut self, id: RelayId, key: u64) {
        let Some(client) = self.subscriptions.get(&key).map(|member| member.client) else { return };
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.turns.push(client, key);
        }
    }

    /// Whether it may be asked for together with others: what a search finds only the relay can tell.
    fn is_sociable(&self, id: RelayId, key: u64) -> bool {
        self.subscriptions.get(&key).is_some_and(|member| {
            member.filters.iter().all(|filter| filter.search.is_none())
                && member.part_of(id).is_some_and(|part| !part.turn.alone)
        })
    }

    fn gap(&self, id: RelayId, key: u64) -> Option<u64> {
        self.subscriptions.get(&key)?.part_of(id)?.gap
    }

    /// After a loss, many subscriptions go on in one request that reaches back for all of them.
    fn resume_together(&mut self, id: RelayId, first: u64, now: Now, fx: &mut Effects) {
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

    /// Where places run short, begins to gather live requests into one.
    fn gather(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get(&id).filter(|relay| relay.link.is_some()) else { return };
        let upstream = &relay.upstream;
        let short = !upstream.turns.is_empty() || relay.free() <= relay.places() / 4;
        if !short {
            return;
        }
        if let Some((number, since)) = upstream.gathering {
            if now.mono < since + REPLAY_WINDOW {
                return self.plan_again(id, now);
            }
            self.close_request(id, number, now, fx);
            return self.not_gathered(id, now);
        }
        // With the outbox's place there is one to open another before these are closed.
        if upstream.open.len() > relay.places() && !upstream.turns.is_empty() {
            return self.make_room(id, now, fx);
        }
        if now.mono < upstream.gather_after.max(upstream.combine_after) {
            return self.plan_again(id, now);
        }
        let mut live: Vec<(usize, u64)> = Vec::new();
        let mut unanswered = false;
        for number in &upstream.open {
            let Some(request) = self.requests.get(&(id, *number)) else { continue };
            let stuck = |since: Duration| now.mono >= since + REPLAY_WINDOW;
            if request.is_live() || request.unanswered().is_some_and(stuck) {
                live.push((request.members.len(), *number));
            } else {
                unanswered = true;
            }
        }
        live.sort_unstable();
        // Asking for more than is wanted is better than refusing somebody.
        let together =
            [false, true].into_iter().find_map(|broad| self.combine(id, &live, broad, None));
        if let Some(Together { keys, filters, .. }) = together {
            self.open_request(id, &keys, Some((filters, true)), now, fx);
            return self.plan_again(id, now);
        }
        self.not_combined(id, &live, now);
        let Some(relay) = self.relays.get(&id) else { return };
        if unanswered {
            self.plan_again(id, now);
        } else if relay.free() <= 1 {
            self.refuse_turns(id, now, fx);
        }
    }

    /// More are open than the relay takes from now on, and others wait: some are closed, and go on in
    /// one, as after a loss. There is no place to open that one first.
    fn make_room(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get(&id) else { return };
        let upstream = &relay.upstream;
        if now.mono < upstream.combine_after {
            return self.plan_again(id, now);
        }
        // So many less one that a turn can be given, and one place is left for gathering.
        let most = (upstream.open.len() + 3).saturating_sub(relay.places());
        let is_live = |number: &u64| {
            let request = self.requests.get(&(id, *number)).filter(|request| request.is_live());
            request.map(|request| (request.members.len(), *number))
        };
        let mut live: Vec<(usize, u64)> = upstream.open.iter().filter_map(is_live).collect();
        live.sort_unstable();
        let together = [false, true]
            .into_iter()
            .find_map(|broad| self.combine(id, &live, broad, Some((most, now.unix))))
            .filter(|together| !together.filters.is_empty());
        let Some(Together { numbers, keys, filters }) = together else {
            self.not_combined(id, &live, now);
            return self.plan_again(id, now);
        };
        for number in numbers {
            self.close_upstream(id, number, now, fx);
            self.retire_request(id, number, now);
        }
        for key in &keys {
            if let Some(member) = self.subscriptions.get_mut(key) {
                member.ask_again(id, now);
            }
        }
        self.open_request(id, &keys, Some((filters, false)), now, fx);
        self.replan.insert(id);
    }

    /// Every change would be a reason to try again.
    fn not_combined(&mut self, id: RelayId, requests: &[(usize, u64)], now: Now) {
        let members: usize = requests.iter().map(|(members, _)| members).sum();
        if let Some(relay) = self.relays.get_mut(&id).filter(|_| members > COMBINE_FEW) {
            relay.upstream.combine_after = now.mono + PLAN_AGAIN;
        }
    }

    /// As many of these requests as fit into one, two at least. `resumed`: so many at most, to go on
    /// after a loss at this date (unix seconds); else for new events only.
    fn combine(
        &self,
        id: RelayId,
        requests: &[(usize, u64)],
        broad: bool,
        resumed: Option<(usize, u64)>,
    ) -> Option<Together> {
        let relay = self.relays.get(&id)?;
        let mut combined = Combined::new(relay.filters(), relay.filter_bytes(), broad);
        let (mut numbers, mut keys) = (Vec::new(), Vec::new());
        for (_, number) in requests {
            if resumed.is_some_and(|(most, _)| numbers.len() >= most) {
                break;
            }
            let Some(request) = self.requests.get(&(id, *number)) else { continue };
            let members = request.members.iter().filter(|key| self.stays(id, *number, **key));
            let members = members.filter_map(|key| Some((key, self.subscriptions.get(key)?)));
            let filters = members.clone().flat_map(|(_, member)| member.filters.iter());
            if filters.clone().any(|filter| filter.search.is_some()) {
                continue;
            }
            let since = |filter: &Filter| match resumed {
                Some((_, lost)) => since_loss(filter, lost).map(Some),
                None => Some(filter.since),
            };
            if combined.add(filters, since) {
                numbers.push(*number);
                keys.extend(members.map(|(key, _)| *key));
            }
        }
        let limit = if resumed.is_some() { None } else { Some(0) };
        let filters = combined.into_filters(limit);
        (numbers.len() >= 2).then_some(Together { numbers, keys, filters })
    }

    /// Everything is combined, and still there is no place.
    fn refuse_turns(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let mut any = false;
        while let Some(key) = self.next_turn(id) {
            any = true;
            if let Some(part) = self.subscriptions.get_mut(&key).and_then(|it| it.part(id)) {
                part.turn.waits = false;
                part.stage = Stage::Asked { heard: false };
            }
            self.refused_at(id, key, "restricted: the relay takes no more subscriptions", now, fx);
        }
        if any {
            self.relay_refuses(id, "it takes no more subscriptions from us");
        }
    }

    /// A request that was to bring what others do is not to be had, for a while.
    pub(super) fn not_gathered(&mut self, id: RelayId, now: Now) {
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.upstream.gathering = None;
            relay.upstream.gather_after = now.mono + GATHER_RETRY;
        }
        self.plan_again(id, now);
    }

    fn plan_again(&mut self, id: RelayId, now: Now) {
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
        let unheard = |number: &&u64| {
            self.requests.get(&(id, **number)).is_some_and(super::upstream::Request::is_unheard)
        };
        let last = relay.upstream.open.iter().rev().find(unheard).copied();
        if let Some(number) = last {
            let why = format!("rate-limited: {text}");
            self.arrived(id, number, super::arrivals::Arrival::Closed(why), now, fx);
        }
    }
}
