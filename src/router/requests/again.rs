//! What a relay is asked again, after a while (rule 3.5): subscriptions that it has refused, and requests that
//! it has not answered. No refusal is for ever.

use crate::constants::{COMPLAINT, COMPLAINT_AT_ONCE, EOSE_SILENT, PACE_REST, PROOF};
use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::reason::{Prefix, Reason};
use crate::router::relays::Relays;
use crate::router::subscriptions::{Refusal, Subscriptions};
use crate::router::turn::{Timer, Turn};

use super::Requests;
use super::request::{Complaint, Request};

impl Requests {
    /// The relay does not serve a subscription. It is asked again when it has been let alone for a while.
    pub(super) fn refuse(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        (why, refusal): (&Reason, Refusal),
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        if let Some(pause) = subscriptions.refuse(key, id, why, refusal, turn) {
            turn.timers.set(Timer::Refused(id, key), turn.now.mono + pause);
        }
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.refusal = Some(why.clone());
        }
        self.count_soon(id, turn);
    }

    /// The relay has been let alone with it for long enough.
    pub(in crate::router) fn ask_refused(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        if subscriptions.forgive(key, id) {
            self.want(id, key, subscriptions, turn);
        }
    }

    /// A request has had its time.
    pub(in crate::router) fn look_at_request(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if let Some(hint) = self.get_mut(id, number).and_then(|request| request.held.take()) {
            return self.complete(id, number, hint, subscriptions, relays, turn);
        }
        let Some(request) = self.all.get(&(id, number)) else { return };
        if request.unanswered().is_some() && self.is_paced(id, request) {
            turn.timers.set(Timer::Request(id, number), turn.now.mono + PACE_REST);
        } else if let Some(page) = request.wires.page.filter(|_| request.unanswered().is_some()) {
            self.page_is_due(id, number, page, turn);
        } else if request.unanswered().is_some() && !request.wires.others.is_empty() {
            // A relay may have answered one of its messages, and refused another without a word.
            let at = request.heard_at + request.patience;
            if turn.now.mono < at {
                turn.timers.set(Timer::Request(id, number), at);
            } else {
                self.unanswered(id, number, subscriptions, relays, turn);
            }
        } else if request.is_unheard() {
            self.unanswered(id, number, subscriptions, relays, turn);
        } else if request.is_live() && request.health.proven {
            self.renew(id, number, turn);
        } else if request.is_live() && self.is_crowding(id) {
            turn.timers.set(Timer::Request(id, number), turn.now.mono + PROOF);
        } else if request.is_live() {
            self.proven(id, number, subscriptions, relays, turn);
        }
    }

    /// Nothing at all has come over it. Its members are asked for again, each alone: one of them may be
    /// what the relay does not understand.
    fn unanswered(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.get_mut(id, number) else { return };
        let complaint = request.complaint.take();
        let (gathers, filters) = (request.gathers(), request.filters);
        let again = request.patience > EOSE_SILENT;
        let serial = request.serial();
        let is_behind = self.upstreams.get(&id).is_some_and(|upstream| {
            turn.now.mono < upstream.answered + EOSE_SILENT / 2 && upstream.answered_latest < serial
        });
        if complaint.is_none() && is_behind {
            // It answers one after the other, and has not come so far.
            turn.timers.set(Timer::Request(id, number), turn.now.mono + EOSE_SILENT);
            return;
        }
        let Some(Complaint { why, refusal, live }) = complaint else {
            let failed = self.upstreams.get(&id).is_some_and(|it| it.gather_failures > 0);
            let full = !gathers && !again && self.seems_full(id, serial, turn);
            if again || full || (gathers && failed) {
                self.may_be_too_many(id, turn);
            }
            if full {
                return self.ask_with_others(id, number, subscriptions, relays, turn);
            }
            return self.ask_again_without(id, number, None, subscriptions, relays, turn);
        };
        relays.refused_subscription(id, &why, turn);
        if self.learns_of_filters(id, &why, filters) {
            return self.ask_members_again(id, number, false, subscriptions, relays, turn);
        }
        if why.is_of_filters() {
            self.guess_places(id, live.max(self.live_places(id)), turn);
        }
        self.ask_again_without(id, number, Some((&why, refusal)), subscriptions, relays, turn);
    }

    /// Nothing has come over it for the first time, and that may be because there are too many. It is asked
    /// again as there are places for it.
    fn ask_with_others(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let members = self.staying(id, number, subscriptions);
        self.give_up(id, number, subscriptions, relays, turn);
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.refusal = None;
        }
        for key in members {
            subscriptions.lose_patience(key, id, false, turn);
            self.want(id, key, subscriptions, turn);
        }
    }

    /// The same, where nothing is known but that there was no answer, or this one.
    fn ask_again_without(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        complaint: Option<(&Reason, Refusal)>,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let members = self.staying(id, number, subscriptions);
        let is_rate = complaint.is_some_and(|(why, _)| why.is_of_rate());
        let gathers = self.all.get(&(id, number)).is_some_and(Request::gathers);
        if gathers || (members.len() > 1 && !is_rate) {
            return self.ask_members_again(id, number, true, subscriptions, relays, turn);
        }
        self.give_up(id, number, subscriptions, relays, turn);
        for key in members {
            if let Some(complaint) = complaint {
                self.refuse(id, key, complaint, subscriptions, turn);
            } else {
                if let Some(upstream) = self.upstreams.get_mut(&id) {
                    upstream.refusal = None;
                }
                subscriptions.lose_patience(key, id, true, turn);
                self.want(id, key, subscriptions, turn);
            }
        }
    }

    /// The relay has said something, naming nothing, after this was asked. If it says nothing else, that
    /// was the answer. `refusal`: what that is where it may be about another one.
    pub(super) fn complain(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        (text, refusal): (&str, Refusal),
        turn: &mut Turn<'_>,
    ) {
        let live = self.live_places(id);
        let Some(request) = self.get_mut(id, number) else { return };
        if request.complaint.is_none() {
            let why = Reason::new(Prefix::Error, text);
            let at_once = why.is_of_filters() || request.patience > EOSE_SILENT;
            let patience = if at_once { COMPLAINT_AT_ONCE } else { COMPLAINT };
            request.complaint = Some(Complaint { why, refusal, live });
            let at = request.unanswered().unwrap_or_default() + patience;
            turn.timers.set(Timer::Request(id, number), at.max(turn.now.mono));
        }
    }
}
