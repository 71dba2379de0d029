//! Publishing: an EVENT that was found true is sent to its audience and answered with exactly one OK
//! (rule 1). What no relay of the owner's could be given goes on into the `outbox`.
//!
//! The [`Audience`] of a publication is the owner's relays, or those that a client inside has named. The
//! two have their own answers and their own fate: what a named relay says counts for nobody else, and
//! what the owner's relays say does not count there. The outbox is for the owner's relays; what no
//! named relay could be given is refused, and the client inside tries again when one connects.
//!
//! [`Publishing`] owns an event from its verdict until its fate is known, or its deadline has passed.

mod unsent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::hash::Map;
use crate::base::time::Now;
use crate::constants::{
    MAX_IN_DOUBT, MAX_UNANSWERED_EVENTS, OK_DEADLINE, OUTBOX_BYTES, STORE_PATIENCE,
};
use crate::ids::{ClientId, Position, RelayId};
use crate::nostr::event::{Event, EventId, is_ephemeral};
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::stats::Trouble;

use super::answers::{Answers, accept, had_before, refuse_plainly};
use super::outbox::Outbox;
use super::relays::Relays;
use super::terms::{Audience, Delivery, Fate, Publication, Published, State, Word};
use super::turn::{Timer, Turn};

use unsent::Unsent;

/// What it takes to settle a publication: where its event may go on, where it may be sent or is taken
/// back, and who is told.
pub(super) struct Means<'a, 't> {
    pub(super) answers: &'a mut Answers,
    pub(super) outbox: &'a mut Outbox,
    pub(super) relays: &'a mut Relays,
    pub(super) turn: &'a mut Turn<'t>,
}

impl Means<'_, '_> {
    /// `OK false`, unless that would be a lie: see [`Answers::refuse`].
    pub(super) fn refuse(&mut self, waiters: &[ClientId], id: EventId, why: &Reason) {
        self.answers.refuse(waiters, id, why, self.outbox.waits(&id), self.turn);
    }
}

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// Under way, by event. Nearly always there is one.
    open: Map<EventId, Vec<(Audience, Publication)>>,
    /// How many of them are for the owner's relays …
    owners: usize,
    /// … and for others than just these.
    apart: usize,
    /// Those that wait for a place among them.
    unsent: Unsent,
    last_position: Position,
}

impl Publishing {
    /// The place of one more event among all that is published: by the clock, so that the events of
    /// several nodes and runs stay in order; never back, as clocks may be set.
    pub(super) fn next_position(&mut self, now: Now) -> Position {
        self.last_position.0 = (self.last_position.0 + 1).max(now.unix * 1_000_000);
        self.last_position
    }

    /// Events of earlier runs have places up to this one.
    pub(super) fn positions_from(&mut self, last: Position) {
        self.last_position = self.last_position.max(last);
    }

    /// EVENTs that have no answer yet.
    pub(super) fn unanswered(&self) -> usize {
        self.owners + self.apart + self.unsent.len()
    }

    /// Events that wait for a place, as their turns name them.
    #[cfg(test)]
    pub(super) fn named_in_turns(&self) -> usize {
        self.unsent.named_in_turns()
    }

    /// Whether this event is under way to the owner's relays.
    pub(super) fn is_open(&self, id: &EventId) -> bool {
        self.has(id, Audience::Owners)
    }

    /// Whether this event is under way to anybody's relays.
    pub(super) fn is_under_way(&self, id: &EventId) -> bool {
        self.open.contains_key(id)
    }

    /// Whether it is under way to this relay for anybody, or to the owner's.
    pub(super) fn concerns(&self, relay: RelayId, id: &EventId) -> bool {
        self.open.get(id).is_some_and(|open| {
            open.iter().any(|(audience, it)| *audience == Audience::Owners || it.is_for(relay))
        })
    }

    fn has(&self, id: &EventId, audience: Audience) -> bool {
        self.open.get(id).is_some_and(|open| open.iter().any(|(other, _)| *other == audience))
    }

    fn get_mut(&mut self, id: &EventId, audience: Audience) -> Option<&mut Publication> {
        let mut open = self.open.get_mut(id)?.iter_mut();
        open.find(|(other, _)| *other == audience).map(|(_, publication)| publication)
    }

    fn insert(&mut self, audience: Audience, publication: Publication, turn: &mut Turn<'_>) {
        let id = *publication.published.event.id();
        turn.timers.set(Timer::Answer(id, audience), publication.published.deadline);
        match audience {
            Audience::Owners => self.owners += 1,
            Audience::Named(_) | Audience::Passed(_) => self.apart += 1,
        }
        self.open.entry(id).or_default().push((audience, publication));
    }

    fn remove(
        &mut self,
        id: &EventId,
        audience: Audience,
        turn: &mut Turn<'_>,
    ) -> Option<Publication> {
        let open = self.open.get_mut(id)?;
        let at = open.iter().position(|(other, _)| *other == audience)?;
        let (_, publication) = open.remove(at);
        if open.is_empty() {
            self.open.remove(id);
        }
        match audience {
            Audience::Owners => self.owners -= 1,
            Audience::Named(_) | Audience::Passed(_) => self.apart -= 1,
        }
        turn.timers.stop(Timer::Answer(*id, audience));
        Some(publication)
    }

    /// Whom this event is under way for.
    fn audiences(&self, id: &EventId) -> Vec<Audience> {
        let open = self.open.get(id).into_iter().flatten();
        open.map(|(audience, _)| *audience).collect()
    }

    // --- A client publishes ---------------------------------------------------------------

    /// A true event that is to be published at the owner's relays.
    pub(super) fn take_in(
        &mut self,
        client: ClientId,
        event: Arc<Event>,
        position: Position,
        means: &mut Means<'_, '_>,
    ) {
        if self.join(client, event.id(), means.outbox, means.turn) {
            return;
        }
        let (waiters, deadline) = (vec![client], means.turn.now.mono + OK_DEADLINE);
        let published = Published { event, position, waiters, deadline };
        let Published { event, waiters, .. } = &published;
        let refusal = if !means.relays.any_writable() {
            Reason::new(Prefix::Error, "no relay configured").about(Cause::NoRelay)
        } else if !means.relays.any_takes_events() {
            return not_sent(published, queued(), means);
        } else if self.has_place(is_ephemeral(event.kind()), means.outbox) {
            return self.publish(published, means);
        } else if self.unsent.has_room(event) {
            means.turn.timers.set(Timer::Unsent(*event.id()), deadline);
            return self.unsent.push(client, published);
        } else {
            too_many()
        };
        means.refuse(waiters, *event.id(), &refusal);
    }

    /// Whether one more event may be unanswered. Those in doubt are; only what the outbox would keep
    /// has to find a place there.
    fn has_place(&self, ephemeral: bool, outbox: &Outbox) -> bool {
        let in_doubt = if ephemeral { 0 } else { outbox.how_many(State::Doubt) };
        let room = ephemeral || outbox.bytes() < OUTBOX_BYTES;
        self.owners < MAX_UNANSWERED_EVENTS && self.owners + in_doubt < MAX_IN_DOUBT && room
    }

    /// The same event is on its way or waits already: one fate, one answer each. False: it is not.
    pub(super) fn join(
        &mut self,
        client: ClientId,
        id: &EventId,
        outbox: &mut Outbox,
        turn: &mut Turn<'_>,
    ) -> bool {
        if let Some(publication) = self.get_mut(id, Audience::Owners) {
            publication.published.waiters.push(client);
        } else if let Some(unsent) = self.unsent.get_mut(id) {
            unsent.waiters.push(client);
        } else {
            return outbox.join(client, id, turn);
        }
        true
    }

    fn publish(&mut self, published: Published, means: &mut Means<'_, '_>) {
        let to = means.relays.writable(true);
        let event = Arc::clone(&published.event);
        let by = published.waiters.first().copied();
        means.outbox.forget_rejected(event.id());
        self.insert(Audience::Owners, Publication::new(published, to.iter().copied()), means.turn);
        for relay in to {
            means.relays.send_event(relay, &event, Audience::Owners, by, means.turn);
        }
        // Where no relay was left to take it, nothing would settle it before its deadline.
        self.settle(event.id(), Audience::Owners, |it| it.fate(), means);
    }

    /// The same for a client inside that has named its relays.
    pub(super) fn publish_named(
        &mut self,
        client: ClientId,
        event: &Arc<Event>,
        named: &[RelayId],
        position: Position,
        means: &mut Means<'_, '_>,
    ) {
        let to = named.iter().copied().filter(|id| means.relays.is_linked(*id)).collect();
        self.publish_apart(client, Audience::Named(client), event, to, position, means);
    }

    /// The same for a sibling: another server of this extension, for which this one is a relay. What it
    /// publishes goes to no further sibling, which may be itself, and has a fate of its own: it does not
    /// wait for what other siblings say of the same event, as these may be waiting for us. Nor is it kept,
    /// for the sibling has an outbox, and two that hold an event for each other let go of it at once.
    pub(super) fn publish_passed(
        &mut self,
        client: ClientId,
        event: &Arc<Event>,
        position: Position,
        means: &mut Means<'_, '_>,
    ) {
        let mut to = means.relays.writable(true);
        to.retain(|id| !means.relays.is_sibling(*id));
        self.publish_apart(client, Audience::Passed(client), event, to, position, means);
    }

    fn publish_apart(
        &mut self,
        client: ClientId,
        audience: Audience,
        event: &Arc<Event>,
        to: Vec<RelayId>,
        position: Position,
        means: &mut Means<'_, '_>,
    ) {
        if let Some(under_way) = self.get_mut(event.id(), audience) {
            return under_way.published.waiters.push(client);
        }
        if to.is_empty() {
            return refuse_apart(audience, &[client], event, &not_now(audience, event), means);
        }
        if self.apart >= MAX_UNANSWERED_EVENTS {
            return refuse_apart(audience, &[client], event, &too_many(), means);
        }
        let (waiters, deadline) = (vec![client], means.turn.now.mono + OK_DEADLINE);
        let published = Published { event: Arc::clone(event), position, waiters, deadline };
        self.insert(audience, Publication::new(published, to.iter().copied()), means.turn);
        for relay in to {
            means.relays.send_event(relay, event, audience, Some(client), means.turn);
        }
    }

    /// Where places have become free, the clients that wait take turns. What is sent keeps its
    /// deadline: it counts from when the EVENT came, not from when it got its place. False: nobody
    /// waits that could have one.
    pub(super) fn admit_next(&mut self, means: &mut Means<'_, '_>) -> bool {
        if self.unsent.len() == 0 {
            return false;
        }
        let place = [true, false].map(|ephemeral| self.has_place(ephemeral, means.outbox));
        let Some(published) = self.unsent.next(place, means.turn.now) else { return false };
        means.turn.timers.stop(Timer::Unsent(*published.event.id()));
        self.publish(published, means);
        true
    }

    /// It got no place in time. It was never sent.
    pub(super) fn unsent_deadline(&mut self, id: &EventId, means: &mut Means<'_, '_>) {
        if let Some(Published { waiters, .. }) = self.unsent.take(id) {
            means.refuse(&waiters, *id, &too_many());
        }
    }

    // --- What becomes of it ---------------------------------------------------------------

    /// The connection has taken the event.
    pub(super) fn sent(&mut self, relay: RelayId, id: &EventId) {
        for (_, publication) in self.open.get_mut(id).into_iter().flatten() {
            publication.sent(relay);
        }
    }

    /// A relay's answer to an event.
    pub(super) fn relay_ok(
        &mut self,
        relay: RelayId,
        id: &EventId,
        word: Word<'_>,
        means: &mut Means<'_, '_>,
    ) {
        if !word.accepted && self.defer(relay, id, word, means) {
            return;
        }
        let landed = means.relays.landed(relay, id);
        if !word.has_it() {
            means.relays.refused_event(relay, word.why, means.turn);
        } else if let Some(event) = landed {
            means.turn.due.taken.push_back((relay, event));
        }
        let owners = self.is_open(id);
        for audience in self.audiences(id) {
            self.settle(id, audience, |it| it.answered(relay, word), means);
        }
        if !owners {
            let Means { answers, outbox, relays, turn } = means;
            outbox.answered(relay, id, word, answers, relays, turn);
        }
    }

    /// A relay has refused an event because it does not know who we are. True: it may do so yet, and then
    /// the event goes again.
    fn defer(
        &mut self,
        relay: RelayId,
        id: &EventId,
        word: Word<'_>,
        means: &mut Means<'_, '_>,
    ) -> bool {
        let Means { answers, outbox, relays, turn } = means;
        if !word.why.wants_auth() || !relays.hope(relay, None, turn).waits {
            return false;
        }
        let mut named = false;
        for (audience, publication) in self.open.get_mut(id).into_iter().flatten() {
            publication.deferred(relay, word.why);
            named |= *audience != Audience::Owners;
        }
        let landed = relays.landed(relay, id);
        if outbox.get(id).is_some() {
            outbox.answered(relay, id, word, answers, relays, turn);
        } else if let Some(event) = landed.filter(|_| !named) {
            // Should another relay take it meanwhile, this one is to have it all the same.
            relays.owe(relay, event);
        }
        true
    }

    /// The relay knows who we are: what it has refused goes again, publications under way first, then
    /// what others have had already.
    pub(super) fn send_deferred(
        &mut self,
        relay: RelayId,
        outbox: &Outbox,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let mut again: BTreeMap<(Position, Audience), (Arc<Event>, Option<ClientId>)> =
            BTreeMap::new();
        for (audience, publication) in self.open.values_mut().flatten() {
            if publication.again(relay) {
                let Published { position, event, waiters, .. } = &publication.published;
                let by = waiters.first().copied();
                again.insert((*position, *audience), (Arc::clone(event), by));
            }
        }
        let again = again.into_iter().map(|((_, audience), (event, by))| (event, audience, by));
        let owed = relays.take_owed(relay);
        let owed = owed.into_iter().map(|event| (event, Audience::Owners, None));
        let mut sent = BTreeSet::new();
        for (event, audience, by) in again.chain(owed) {
            let elsewhere = outbox.get(event.id()).is_some();
            let expired = event.expiration().is_some_and(|at| at <= turn.now.unix);
            if !elsewhere && !expired && sent.insert((*event.id(), audience)) {
                relays.send_event(relay, &event, audience, by, turn);
            }
        }
    }

    /// The relay will not know who we are: what it said of these events counts.
    pub(super) fn refuse_deferred(&mut self, relay: RelayId, means: &mut Means<'_, '_>) {
        let mut refused: BTreeMap<(Audience, EventId), Reason> = BTreeMap::new();
        for (id, open) in &self.open {
            for (audience, publication) in open {
                refused.extend(publication.deferred_by(relay).map(|why| ((*audience, *id), why)));
            }
        }
        for ((audience, id), why) in refused {
            means.relays.tally(relay, |stats| &stats.rejected);
            means.relays.refused_unknown(
                relay,
                Trouble::RefusedEvent,
                &format!("refused an event: {why}"),
                means.turn,
            );
            if audience == Audience::Owners {
                // What was refused counts for the answer, so this relay must not have it later.
                means.relays.owe_no_more(relay, &id);
            }
            self.settle(&id, audience, |it| it.refused_after_all(relay), means);
        }
    }

    /// A relay's connection is gone, with these events unsent, or the relay itself is.
    pub(super) fn relay_lost(
        &mut self,
        relay: RelayId,
        unsent: &[EventId],
        means: &mut Means<'_, '_>,
    ) {
        let ids: Vec<EventId> = self.open.keys().copied().collect();
        for id in ids {
            let unsent = unsent.contains(&id);
            for audience in self.audiences(&id) {
                self.settle(&id, audience, |it| it.lost(relay, unsent), means);
            }
        }
    }

    /// A relay's line has dropped an event before it was sent. False: it is not under way.
    pub(super) fn dropped(
        &mut self,
        relay: RelayId,
        id: &EventId,
        audience: Audience,
        means: &mut Means<'_, '_>,
    ) -> bool {
        let open = self.get_mut(id, audience).is_some();
        self.settle(id, audience, |it| it.dropped(relay), means);
        open
    }

    /// It is not sent to this relay, which ends the connection over it. The same.
    pub(super) fn quarantined(
        &mut self,
        relay: RelayId,
        id: &EventId,
        audience: Audience,
        means: &mut Means<'_, '_>,
    ) -> bool {
        let open = self.get_mut(id, audience).is_some();
        self.settle(id, audience, |it| it.lost(relay, false), means);
        open
    }

    /// The clients get their answer, whatever is open.
    pub(super) fn answer_deadline(
        &mut self,
        id: &EventId,
        audience: Audience,
        means: &mut Means<'_, '_>,
    ) {
        self.settle(id, audience, |it| Some(it.at_deadline()), means);
    }

    /// Lets something happen to a publication, and ends it if that decides its fate.
    fn settle(
        &mut self,
        id: &EventId,
        audience: Audience,
        step: impl FnOnce(&mut Publication) -> Option<Fate>,
        means: &mut Means<'_, '_>,
    ) {
        let Some(publication) = self.get_mut(id, audience) else { return };
        let Some(fate) = step(publication) else { return };
        let Some(publication) = self.remove(id, audience, means.turn) else { return };
        match audience {
            Audience::Owners => settle_owners(publication, fate, means),
            Audience::Named(_) | Audience::Passed(_) => {
                settle_apart(publication, fate, audience, means);
            }
        }
    }
}

fn settle_owners(publication: Publication, fate: Fate, means: &mut Means<'_, '_>) {
    let Means { answers, outbox, relays, turn } = means;
    let event = Arc::clone(&publication.published.event);
    match fate {
        Fate::Accepted(why) => {
            answers.remember(*event.id(), true);
            accept(&publication.published.waiters, *event.id(), &why, turn);
            outbox.drop_voided_by(&event, answers, relays, turn);
            relays.spread(&event, &publication.missed_by(relays.ids()), turn);
        }
        Fate::Refused(why) => {
            // What was answered false must never show up later.
            relays.take_back(event.id());
            means.refuse(&publication.published.waiters, *event.id(), &why);
        }
        Fate::Unsent => {
            relays.take_back(event.id());
            let mut published = publication.published;
            published.deadline = published.deadline.max(turn.now.mono + STORE_PATIENCE);
            let why = if relays.any_takes_events() { queued_late() } else { queued() };
            not_sent(published, why, means);
        }
        Fate::Doubt(why) if is_ephemeral(event.kind()) => {
            answers.remember(*event.id(), false);
            accept(&publication.published.waiters, *event.id(), &why, turn);
        }
        Fate::Doubt(why) => outbox.doubt(publication, why, answers, relays, turn),
    }
}

fn settle_apart(
    publication: Publication,
    fate: Fate,
    audience: Audience,
    means: &mut Means<'_, '_>,
) {
    let Publication { published: Published { event, waiters, .. }, relays: to } = publication;
    match fate {
        Fate::Accepted(why) => {
            if let Audience::Passed(_) = audience {
                means.answers.remember(*event.id(), true);
                let Means { answers, outbox, relays, turn } = means;
                outbox.drop_voided_by(&event, answers, relays, turn);
            }
            return accept(&waiters, *event.id(), &why, means.turn);
        }
        Fate::Doubt(why) => accept(&waiters, *event.id(), &why, means.turn),
        Fate::Refused(why) => refuse_apart(audience, &waiters, &event, &why, means),
        Fate::Unsent => {
            refuse_apart(audience, &waiters, &event, &not_now(audience, &event), means);
        }
    }
    // What has not left by now does not leave any more.
    for (relay, delivery) in to {
        if delivery == Delivery::Queued {
            means.relays.take_back_from(relay, event.id(), audience);
        }
    }
}

/// `OK false`, whatever the owner's relays or the outbox know of the event. Of a sibling's event clients
/// here may have it.
fn refuse_apart(
    audience: Audience,
    waiters: &[ClientId],
    event: &Event,
    why: &Reason,
    means: &mut Means<'_, '_>,
) {
    match audience {
        Audience::Passed(_) => {
            means.answers.refuse_unless_here(waiters, *event.id(), why, means.turn);
        }
        Audience::Owners | Audience::Named(_) => {
            refuse_plainly(waiters, *event.id(), why, means.turn);
        }
    }
}

/// No relay could be given the event, and none will be on its own.
fn not_sent(published: Published, why: Reason, means: &mut Means<'_, '_>) {
    let Published { event, waiters, .. } = &published;
    let Means { answers, outbox, relays, turn } = means;
    if is_ephemeral(event.kind()) {
        // Never kept: an order to pay that comes minutes late pays what was paid otherwise.
        means.refuse(waiters, *event.id(), &no_relay());
    } else if answers.had(event.id()) {
        accept(waiters, *event.id(), &had_before(), turn);
    } else {
        outbox.forget_rejected(event.id());
        outbox.enqueue(published, why, answers, relays, turn);
    }
}

fn queued() -> Reason {
    Reason::new(Prefix::Queued, "no relay connected")
}

fn queued_late() -> Reason {
    Reason::new(Prefix::Queued, "no relay took it in time")
}

fn no_relay() -> Reason {
    Reason::new(Prefix::Mute, "no relay connected")
}

/// The same for those whose events are not kept here. A sibling may keep its own, and come again.
fn not_now(audience: Audience, event: &Event) -> Reason {
    match audience {
        Audience::Passed(_) if !is_ephemeral(event.kind()) => {
            Reason::new(Prefix::RateLimited, "no relay connected, try again later")
        }
        _ => no_relay(),
    }
}

fn too_many() -> Reason {
    Reason::new(Prefix::RateLimited, "too many events are waiting for the relays' answers")
}
