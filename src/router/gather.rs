//! Making place at a relay (rule 4.3): live requests are gathered into few.
//!
//! One more request is opened that asks, without stored events, for all they do, and when it is live
//! they are closed. One place is always kept for that, so nothing is closed before something else
//! brings its events. Only where a relay comes to allow fewer than are open already, some have to
//! be closed first.

use std::time::Duration;

use crate::base::time::Now;
use crate::constants::{COMBINE_FEW, GATHER_RETRY, PLAN_AGAIN, REPLAY_WINDOW};
use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::Filter;
use crate::router::combine::Combined;
use crate::router::part::Stage;
use crate::router::subscription::margin;

use super::{Effects, Router};

/// Requests that may become one.
struct Together {
    numbers: Vec<RequestNumber>,
    /// Their members.
    keys: Vec<SubscriptionKey>,
    filters: Vec<Filter>,
}

/// From which date on a filter is meant after a loss at this one; `None`: it asks for nothing.
pub(super) fn since_loss(filter: &Filter, lost: u64) -> Option<u64> {
    let since = lost.saturating_sub(margin(filter));
    let since = filter.since.map_or(since, |own| own.max(since));
    filter.until.is_none_or(|until| until >= since).then_some(since)
}

impl Router {
    /// Where places run short, begins to gather live requests into one.
    pub(super) fn gather(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
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
        let mut live: Vec<(usize, RequestNumber)> = Vec::new();
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
        let is_live = |number: &RequestNumber| {
            let request = self.requests.get(&(id, *number)).filter(|request| request.is_live());
            request.map(|request| (request.members.len(), *number))
        };
        let mut live: Vec<(usize, RequestNumber)> =
            upstream.open.iter().filter_map(is_live).collect();
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
    fn not_combined(&mut self, id: RelayId, requests: &[(usize, RequestNumber)], now: Now) {
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
        requests: &[(usize, RequestNumber)],
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
            self.relay_refuses(id, "it takes no more subscriptions from us", now);
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
}
