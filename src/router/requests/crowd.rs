//! What a relay shows to take, where it does not say so or says something else (rule 4.3).
//!
//! strfry sends the EOSE of a request first and refuses it then, by a NOTICE that names none: so nothing is
//! known to serve before it has lived a while after its EOSE ([`PROOF`]), and what was asked last is in
//! doubt when such a NOTICE comes. All of that is asked again, as what the relay then has places for.

use crate::constants::{CROWD_LOOKS_BACK, CROWD_SETTLES, LESSON, PROOF, RELAY_SUBSCRIPTIONS_LEAST};
use crate::ids::{RelayId, RequestNumber};
use crate::nostr::limits::RelayLimits;
use crate::nostr::reason::{self, Prefix, Reason};
use crate::router::relays::Relays;
use crate::router::subscriptions::{Refusal, Subscriptions};
use crate::router::turn::{Timer, Turn};

use super::Requests;
use super::request::{Duty, Request};
use super::upstream::Crowd;

impl Requests {
    /// How many requests the relay takes, one of the outbox's included.
    pub(super) fn most(&self, id: RelayId, relays: &Relays, turn: &Turn<'_>) -> usize {
        let said = relays.subscriptions(id);
        self.lessons.get(&id).map_or(said, |lesson| lesson.most(said, turn.now.mono))
    }

    /// How many filters one request may have, as its document says, which may be wrong, or it has shown.
    pub(super) fn filters(&self, id: RelayId, relays: &Relays) -> usize {
        let said = relays.filters(id);
        let shown = self.lessons.get(&id).and_then(|lesson| lesson.filters);
        shown.map_or(said, |shown| shown.min(said))
    }

    /// The relay's limits, as far as they are about one request.
    pub(super) fn limits(&self, id: RelayId, relays: &Relays) -> RelayLimits {
        let max_filters = Some(self.filters(id, relays));
        RelayLimits { max_filters, ..relays.limits(id) }
    }

    pub(super) fn takes_one_filter(&self, id: RelayId) -> bool {
        self.lessons.get(&id).is_some_and(|lesson| lesson.filters == Some(1))
    }

    /// Whether the refusal of a request says that there are too many; then fewer are opened from now on.
    /// `among`: how many there were when it was asked.
    pub(super) fn is_crowded(
        &mut self,
        id: RelayId,
        why: &Reason,
        among: usize,
        turn: &mut Turn<'_>,
    ) -> bool {
        if !why.is_of_crowd() || among <= RELAY_SUBSCRIPTIONS_LEAST {
            return false; // it is not their number
        }
        let Some(crowd) = self.crowds(id, why, turn) else { return false };
        crowd.named += 1;
        crowd.most = crowd.most.max(among.saturating_sub(crowd.named));
        true
    }

    /// Whether the relay is about to show how many requests it takes.
    pub(super) fn is_crowding(&self, id: RelayId) -> bool {
        self.upstreams.get(&id).is_some_and(|upstream| upstream.crowd.is_some())
    }

    /// A NOTICE may be all that a relay says against a request.
    pub(in crate::router) fn notice(
        &mut self,
        id: RelayId,
        text: &str,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if reason::asks_for_less(text) {
            let why = Reason::new(Prefix::RateLimited, text);
            return self.slow_down(id, &why, subscriptions, relays, turn);
        }
        self.bears_something(id, relays, turn);
        let unheard: Vec<RequestNumber> = self.open_where(id, Request::is_unheard);
        let why = Reason::new(Prefix::RateLimited, text);
        if why.is_of_crowd() {
            if let Some(crowd) = self.crowds(id, &why, turn) {
                crowd.unnamed += 1;
            }
            return;
        }
        // It is about one of them at most.
        let refusal = if unheard.len() > 1 { Refusal::Unsure } else { Refusal::Passing };
        for number in unheard {
            self.complain(id, number, (text, refusal), turn);
        }
    }

    pub(super) fn open_where(
        &self,
        id: RelayId,
        which: impl Fn(&Request) -> bool,
    ) -> Vec<RequestNumber> {
        let open = self.upstreams.get(&id).into_iter().flat_map(|upstream| &upstream.open);
        let is = |number: &&RequestNumber| self.all.get(&(id, **number)).is_some_and(&which);
        open.filter(is).copied().collect()
    }

    /// The relay says that it takes no more requests. It may say so of several.
    fn crowds(&mut self, id: RelayId, why: &Reason, turn: &mut Turn<'_>) -> Option<&mut Crowd> {
        let upstream = self.upstreams.get_mut(&id)?;
        Some(upstream.crowd.get_or_insert_with(|| {
            turn.timers.set(Timer::Crowd(id), turn.now.mono + CROWD_SETTLES);
            let (since, asked) = (turn.now.mono, upstream.asked);
            Crowd { since, asked, named: 0, most: 0, unnamed: 0, why: why.clone() }
        }))
    }

    /// It has said so of all it had to say it of. Whatever may have been meant is asked again, as far as
    /// there are places.
    pub(in crate::router) fn crowd_settles(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        let Some(crowd) = upstream.crowd.take() else { return };
        let left = crowd.asked.saturating_sub(crowd.unnamed);
        let served = upstream.proven.max(if crowd.unnamed > 0 { left } else { crowd.most });
        self.lessons.entry(id).or_default().learn_most(served, turn.now.mono + LESSON);
        if crowd.unnamed > 0 {
            relays.refused_subscription(id, &crowd.why, turn);
            let from = crowd.since.saturating_sub(CROWD_LOOKS_BACK);
            for number in self.open_where(id, |request| request.is_in_doubt(from)) {
                self.ask_members_again(id, number, false, subscriptions, relays, turn);
            }
        }
        turn.due.plan.insert(id);
    }

    /// How many places are taken by requests that are known to be served.
    pub(super) fn served(&self, id: RelayId, turn: &Turn<'_>) -> usize {
        let proven = |request: &Request| {
            request.is_live() && (request.brought || turn.now.mono >= request.eose_at + PROOF)
        };
        self.places_where(id, proven)
    }

    /// How many places are taken by those of the requests.
    fn places_where(&self, id: RelayId, which: impl Fn(&Request) -> bool) -> usize {
        let open = self.open_where(id, which);
        let requests = open.iter().filter_map(|number| self.all.get(&(id, *number)));
        requests.map(|request| 1 + request.wires.others.len()).sum()
    }

    /// How many places are taken by requests that have had their EOSE. A relay that complains of one and has
    /// no EOSE for it serves these.
    pub(super) fn live_places(&self, id: RelayId) -> usize {
        self.places_where(id, Request::is_live)
    }

    /// A relay has refused a request of so many filters with these words. Whether it was for their number:
    /// then it is asked for fewer from now on. One alone can only be too many of all that are open.
    pub(super) fn learns_of_filters(&mut self, id: RelayId, why: &Reason, filters: usize) -> bool {
        let is_number = why.is_of_filters() && filters > 1;
        if is_number {
            self.lessons.entry(id).or_default().learn_filters(filters);
        }
        is_number
    }

    /// A request was refused or not answered again, though others are served: maybe it is one too many, which
    /// not every relay says.
    pub(super) fn may_be_too_many(&mut self, id: RelayId, turn: &Turn<'_>) {
        self.guess_places(id, self.served(id, turn), turn);
    }

    /// The relay seems to serve so many and no more.
    pub(super) fn guess_places(&mut self, id: RelayId, served: usize, turn: &Turn<'_>) {
        if served > 0 {
            self.lessons.entry(id).or_default().guess_most(served, turn.now.mono);
        }
    }

    /// Whether a relay that has answered nothing to a request of this serial may have no place for it: it
    /// serves others, has answered none that came after it, and leaves more than this one without an answer,
    /// or serves as many as it once seemed to.
    pub(super) fn seems_full(&self, id: RelayId, serial: u64, turn: &Turn<'_>) -> bool {
        let Some(upstream) = self.upstreams.get(&id) else { return false };
        let served = self.served(id, turn);
        let known = self.lessons.get(&id).is_some_and(|lesson| lesson.seems_full(served));
        let others =
            || !self.open_where(id, |it| it.is_unheard() && it.serial() != serial).is_empty();
        served > 0 && upstream.answered_latest < serial && (known || others())
    }

    /// A request is closed, and whoever needs it is asked for again; `alone`: each by itself.
    pub(super) fn ask_members_again(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        alone: bool,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get(&(id, number)) else { return };
        let duty = request.duty;
        let members = self.staying(id, number, subscriptions);
        self.give_up(id, number, subscriptions, relays, turn);
        if duty != Duty::Serves {
            return self.not_replaced(id, (duty, !alone), &members, subscriptions, turn);
        }
        for key in members {
            subscriptions.ask_again(key, id, alone, turn);
            self.want(id, key, subscriptions, turn);
        }
    }

    /// A request is closed though its members need it. What comes over it all the same is passed on for a
    /// while, if it was asked at all.
    pub(super) fn give_up(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if self.all.get(&(id, number)).is_some_and(Request::is_out) {
            self.hang_up(id, number, relays, turn);
            for key in self.members(id, number) {
                subscriptions.unjoin(key, id, number);
            }
            self.retire(id, number, turn);
            turn.due.plan.insert(id);
        } else {
            self.close(id, number, subscriptions, relays, turn);
        }
    }

    /// The relay has sent a second EOSE for one request: it has one for each filter, and serves the last
    /// of them alone. From now on it gets one at a time.
    pub(super) fn serves_one_filter(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        self.lessons.entry(id).or_default().filters = Some(1);
        for number in self.open_where(id, |request| request.filters > 1) {
            self.ask_members_again(id, number, false, subscriptions, relays, turn);
        }
        turn.due.plan.insert(id);
    }
}
