//! Making place at a relay (rule 4.3): live requests are gathered into few.
//!
//! One more request is opened that asks, without stored events, for all they do, and when it is live
//! they are closed. One place is always kept for that, so nothing is closed before something else
//! brings its events. Only where a relay comes to allow fewer than are open already, some have to
//! be closed first.

use std::collections::BTreeSet;

use crate::base::time::Now;
use crate::constants::{COMBINE_BEGINNINGS, COMBINE_FEW, GATHER_RETRY, PLAN_AGAIN, REPLAY_WINDOW};
use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::Filter;
use crate::nostr::reason::{Prefix, Reason};
use crate::router::relays::Relays;
use crate::router::subscriptions::{Refusal, Subscription, Subscriptions, asked_from};
use crate::router::turn::Turn;

use super::combine::Combined;
use super::request::Duty;
use super::{Requests, Upstream, Wording};

/// Requests that may become one.
pub(super) struct Together {
    pub(super) numbers: Vec<RequestNumber>,
    /// Their members.
    pub(super) keys: Vec<SubscriptionKey>,
    pub(super) filters: Vec<Filter>,
}

/// What requests are combined for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim {
    /// So many requests at most.
    pub(super) most: usize,
    pub(super) missed: Missed,
    /// How many messages the combined one may have.
    pub(super) room: usize,
    /// More may be asked for than is wanted.
    pub(super) broad: bool,
}

impl Aim {
    /// As many as fit into so many messages.
    pub(super) const fn all(missed: Missed, room: usize) -> Self {
        Self { most: usize::MAX, missed, room, broad: false }
    }
}

/// What is asked for that is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missed {
    /// They are gathered.
    Nothing,
    /// They go on after a loss at this time.
    Since(Now),
    /// They are renewed: from each one's last sign of life on.
    SinceSure,
}

/// Live requests, those with the fewest members first.
pub(super) type Live = Vec<(usize, RequestNumber)>;

impl Requests {
    /// Where places run short, begins to gather live requests into one.
    pub(super) fn gather(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let said = self.most(id, relays, turn);
        let Some(upstream) = self.upstreams.get(&id) else { return };
        let (places, free) = (Upstream::places(said), upstream.free(said));
        let kept = self.kept_for_gathering(id, said);
        if upstream.turns.is_empty() && free > places / 4 {
            return;
        }
        if let Some((number, since)) = upstream.gathering {
            if turn.now.mono >= since + REPLAY_WINDOW {
                self.close(id, number, subscriptions, relays, turn);
                return self.not_gathered(id, turn);
            }
            return Self::plan_again(id, turn);
        }
        // With the outbox's place there is one to open another before these are closed.
        if upstream.open.len() > places && !upstream.turns.is_empty() {
            return self.make_room(id, places, subscriptions, relays, turn);
        }
        if turn.now.mono < upstream.gather_after.max(upstream.combine_after) {
            return Self::plan_again(id, turn);
        }
        let (live, unanswered) = self.live(id, turn);
        let small = live.iter().filter(|(members, _)| *members <= COMBINE_FEW).count();
        if unanswered && small < 2 {
            // The large ones alone hardly fit together, and others are about to be live.
            return Self::plan_again(id, turn);
        }
        let room = self.room(id, free);
        let aim = Aim::all(Missed::Nothing, room);
        let together = self.combine(id, &live, aim, subscriptions, relays, turn);
        if let Some(Together { keys, filters, .. }) = together {
            let wording = Wording { filters, duty: Duty::Gathers };
            self.open(id, &keys, Some(wording), subscriptions, relays, turn);
            return Self::plan_again(id, turn);
        }
        self.not_combined(id, &live, turn);
        if unanswered {
            Self::plan_again(id, turn);
        } else if free <= kept {
            self.refuse_turns(id, subscriptions, relays, turn);
        }
    }

    /// How many places are for gathering. Where one filter takes a whole one, several.
    pub(super) fn kept_for_gathering(&self, id: RelayId, said: usize) -> usize {
        let places = self.upstreams.get(&id).map_or(0, |_| Upstream::places(said));
        if self.takes_one_filter(id) { (places / 4).max(1) } else { 1 }
    }

    /// How many messages a combined request may have, where so many places are free.
    pub(super) fn room(&self, id: RelayId, free: usize) -> usize {
        if self.takes_one_filter(id) { free.max(1) } else { 1 }
    }

    /// The requests that can be gathered, and whether there are others that may become so.
    fn live(&self, id: RelayId, turn: &Turn<'_>) -> (Live, bool) {
        let (mut live, mut unanswered) = (Vec::new(), false);
        let Some(upstream) = self.upstreams.get(&id) else { return (live, unanswered) };
        for number in &upstream.open {
            let Some(request) = self.all.get(&(id, *number)) else { continue };
            let stuck = |since| turn.now.mono >= since + REPLAY_WINDOW;
            let waits = upstream.stale.contains(number) || request.duty == Duty::Renews;
            if !waits && (request.is_live() || request.unanswered().is_some_and(stuck)) {
                live.push((request.members.len(), *number));
            } else {
                unanswered = true;
            }
        }
        live.sort_unstable();
        (live, unanswered)
    }

    /// More are open than the relay takes from now on, and others wait: some are closed, and go on in
    /// one, as after a loss. There is no place to open that one first.
    fn make_room(
        &mut self,
        id: RelayId,
        places: usize,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get(&id) else { return };
        if turn.now.mono < upstream.combine_after {
            return Self::plan_again(id, turn);
        }
        // So many less one that a turn can be given, and one place is left for gathering.
        let most = (upstream.open.len() + 3).saturating_sub(places);
        let is_live = |number: &RequestNumber| {
            let request = self.all.get(&(id, *number)).filter(|request| request.is_live());
            request.map(|request| (request.members.len(), *number))
        };
        let mut live: Live = upstream.open.iter().filter_map(is_live).collect();
        live.sort_unstable();
        let (missed, room) = (Missed::Since(turn.now), self.room(id, most / 2));
        let aim = Aim { most, ..Aim::all(missed, room) };
        let together = self
            .combine(id, &live, aim, subscriptions, relays, turn)
            .filter(|together| !together.filters.is_empty());
        let Some(Together { numbers, keys, filters }) = together else {
            self.not_combined(id, &live, turn);
            return Self::plan_again(id, turn);
        };
        for number in numbers {
            self.hang_up(id, number, relays, turn);
            self.retire(id, number, turn);
        }
        for key in &keys {
            subscriptions.ask_again(*key, id, false, turn);
        }
        let wording = Wording { filters, duty: Duty::Serves };
        self.open(id, &keys, Some(wording), subscriptions, relays, turn);
        turn.due.plan.insert(id);
    }

    /// Every change would be a reason to try again.
    fn not_combined(&mut self, id: RelayId, requests: &Live, turn: &Turn<'_>) {
        let members: usize = requests.iter().map(|(members, _)| members).sum();
        if let Some(upstream) = self.upstreams.get_mut(&id).filter(|_| members > COMBINE_FEW) {
            upstream.combine_after = turn.now.mono + PLAN_AGAIN;
        }
    }

    /// As many of these requests as fit into one, two at least. Asking for more than is wanted is better than
    /// refusing somebody; and where the first of them goes with none, others may go together.
    pub(super) fn combine(
        &self,
        id: RelayId,
        requests: &Live,
        aim: Aim,
        subscriptions: &Subscriptions,
        relays: &Relays,
        turn: &Turn<'_>,
    ) -> Option<Together> {
        let others = (1..requests.len().min(COMBINE_BEGINNINGS)).map(|from| (from, true));
        [(0, false), (0, true)].into_iter().chain(others).find_map(|(from, broad)| {
            let aim = Aim { broad, ..aim };
            self.combine_from(id, &requests[from..], aim, subscriptions, relays, turn)
        })
    }

    fn combine_from(
        &self,
        id: RelayId,
        requests: &[(usize, RequestNumber)],
        Aim { most, missed, room, broad }: Aim,
        subscriptions: &Subscriptions,
        relays: &Relays,
        turn: &Turn<'_>,
    ) -> Option<Together> {
        let filters = self.filters(id, relays) * room;
        let mut combined = Combined::new(filters, relays.filter_bytes(id), broad);
        let (mut numbers, mut keys) = (Vec::new(), Vec::new());
        for (_, number) in requests {
            let Some(request) = self.all.get(&(id, *number)).filter(|_| numbers.len() < most)
            else {
                break;
            };
            let staying = self.staying(id, *number, subscriptions);
            if staying.iter().any(|key| subscriptions.moves(*key, id)) {
                continue;
            }
            let members = different(&staying, subscriptions);
            let filters = members.iter().flat_map(|member| member.filters().iter());
            if filters.clone().any(|filter| filter.search.is_some()) {
                continue;
            }
            let since = |filter: &Filter| match missed {
                Missed::Nothing => filter.since,
                Missed::Since(lost) => asked_from(filter, lost.earliest(turn.now)),
                Missed::SinceSure => request.health.since(filter, turn.now),
            };
            if combined.add(filters, since) {
                numbers.push(*number);
                keys.extend(staying);
            }
        }
        // Nothing stored is wanted, but not every relay has an EOSE for that.
        let limit = matches!(missed, Missed::Nothing).then_some(1);
        let filters = combined.into_filters(limit);
        (numbers.len() >= 2).then_some(Together { numbers, keys, filters })
    }

    /// Everything is combined, and still there is no place.
    fn refuse_turns(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        let mut any = false;
        while let Some(key) = self.next_turn(id, subscriptions) {
            any = true;
            let why = Reason::new(Prefix::RateLimited, "the relay takes no more subscriptions");
            self.refuse(id, key, (&why, Refusal::Passing), subscriptions, turn);
        }
        if any {
            relays.refused_subscription(
                id,
                &Reason::read("it takes no more subscriptions from us"),
                turn,
            );
        }
    }

    /// A request that was to bring what others do is not to be had, for a while.
    pub(super) fn not_gathered(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.gathering = None;
            let pause = PLAN_AGAIN.saturating_mul(2_u32.saturating_pow(upstream.gather_failures));
            upstream.gather_after = turn.now.mono + pause.min(GATHER_RETRY);
            upstream.gather_failures = upstream.gather_failures.saturating_add(1);
        }
        Self::plan_again(id, turn);
    }
}

/// Of those that ask for the same, one.
pub(super) fn different<'a>(
    keys: &[SubscriptionKey],
    subscriptions: &'a Subscriptions,
) -> Vec<&'a Subscription> {
    let mut names = BTreeSet::new();
    let all = keys.iter().filter_map(|key| subscriptions.get(*key));
    all.filter(|member| names.insert(*member.name())).collect()
}
