//! Clients' subscriptions: what relays owe each of them, what it was given, and when its EOSE or its
//! CLOSED is due (rule 3).
//!
//! [`Subscriptions`] owns them from REQ to end and changes them by named steps only, one for each thing
//! that a relay or a client may do. It knows neither relays' requests nor connections: who changes a
//! subscription's part in a relay (`requests`, mostly) says what has happened, and finds the mark in
//! `due.eose` left for him. Whether it is time for the EOSE is [`Subscription::eose_due`]; in which
//! order stored events go out is [`merge`]'s.

mod index;
mod merge;
mod part;
mod seen;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::time::Now;
use crate::constants::{HELD_BYTES_ALL, SEEN_ALL, SEEN_LEAST, SEEN_MOST};
use crate::ids::{ClientId, Origin, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::event::{Event, KIND_AUTH};
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::{Hint, Reply};
use crate::nostr::reason::{Prefix, Reason};

use super::relays::Relays;
use super::terms::Census;
use super::turn::{Timer, Turn};

pub use index::Index;
pub(super) use merge::{Rank, rank};
use part::Service;
pub(super) use part::{Came, Part, Refusal};
pub use seen::Seen;
use subscription::{Asking, Phase, Standing, Taken};
pub(super) use subscription::{Opening, Searching, Source, Subscription, asked_from};

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: Map<SubscriptionKey, Subscription>,
    /// Which of them an event matches.
    index: Index,
    /// For its memory, what it said last.
    matching: Vec<SubscriptionKey>,
    /// Bytes of stored events held by all together.
    held: usize,
    /// Ids remembered by all together.
    remembered: usize,
    /// How many there have been.
    openings: u64,
}

/// What became of an event that was offered to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offered {
    /// It has no place there.
    Dropped,
    /// It was given before.
    Seen,
    /// It is given, or held to be.
    Given,
}

/// What a look at a subscription's EOSE has led to.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing more for now.
    Waits,
    /// No relay is waited for any longer; what these requests have brought so far comes before the
    /// EOSE.
    Finishes(Vec<(RelayId, RequestNumber)>),
    /// The same, and there is no place for anything else that comes.
    Fills,
    /// The EOSE is sent, and nothing can match any more: these parts are left.
    Over(Vec<Part>),
    /// Every relay has refused it, for this reason.
    Refused(Reason),
}

impl Subscriptions {
    /// A REQ begins one.
    pub(super) fn open(&mut self, key: SubscriptionKey, opening: Opening, turn: &mut Turn<'_>) {
        let subscription = Subscription::new(opening, turn.now);
        self.index.insert(key, Arc::clone(&subscription.filters));
        self.all.insert(key, subscription);
        self.openings += 1;
        turn.due.eose.insert(key);
    }

    /// It has ended. What it had in relays' requests is for the caller to end.
    pub(super) fn close(
        &mut self,
        key: SubscriptionKey,
        turn: &mut Turn<'_>,
    ) -> Option<Subscription> {
        let subscription = self.all.remove(&key)?;
        self.index.remove(key);
        self.held -= subscription.merge.bytes();
        self.remembered = self.remembered.saturating_sub(subscription.seen.len());
        turn.timers.stop(Timer::Eose(key));
        Some(subscription)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many there have been so far.
    pub(super) const fn openings(&self) -> u64 {
        self.openings
    }

    pub(super) fn contains(&self, key: SubscriptionKey) -> bool {
        self.all.contains_key(&key)
    }

    /// To be looked at.
    pub(super) fn get(&self, key: SubscriptionKey) -> Option<&Subscription> {
        self.all.get(&key)
    }

    /// Those that have a part in this relay, ascending.
    pub(super) fn at_relay(&self, relay: RelayId) -> Vec<SubscriptionKey> {
        let there = self.all.iter().filter(|(_, it)| it.part_of(relay).is_some());
        let mut keys: Vec<SubscriptionKey> = there.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }

    /// What this relay does for those that have a part in it.
    pub(super) fn census(&self, relay: RelayId) -> Census {
        let mut census = Census::default();
        let services = self.all.values().filter_map(|it| it.part_of(relay)?.service());
        for service in services {
            match service {
                Service::Served => census.served += 1,
                Service::Refused => census.refused += 1,
                Service::Waits => census.waiting += 1,
            }
        }
        census
    }

    fn part(&mut self, key: SubscriptionKey, relay: RelayId) -> Option<&mut Part> {
        self.all.get_mut(&key)?.part(relay)
    }

    // --- Relays come and go ---------------------------------------------------------------

    /// A relay may be read from: those that want it have a part in it from now on.
    pub(super) fn add_relay(
        &mut self,
        relay: RelayId,
        wants: impl Fn(&Subscription) -> bool,
        turn: &mut Turn<'_>,
    ) {
        for (key, subscription) in &mut self.all {
            if wants(subscription) && !subscription.is_over() {
                subscription.add_relay(relay);
            }
            turn.due.eose.insert(*key);
        }
    }

    /// A client inside has named its relays: each of its subscriptions has a part in them.
    pub(super) fn name_relays(
        &mut self,
        client: ClientId,
        relays: &[RelayId],
        turn: &mut Turn<'_>,
    ) {
        for (key, subscription) in self.all.iter_mut().filter(|(_, it)| it.client == client) {
            subscription.only = Some(relays.into());
            for relay in relays {
                subscription.add_relay(*relay);
            }
            turn.due.eose.insert(*key);
        }
    }

    /// A relay serves these subscriptions no more, by the owner's will. What they had in its requests
    /// is the caller's to end.
    pub(super) fn leave(
        &mut self,
        relay: RelayId,
        which: impl Fn(&Subscription) -> bool,
        turn: &mut Turn<'_>,
    ) -> Vec<(SubscriptionKey, Part)> {
        let mut left = Vec::new();
        for (key, subscription) in self.all.iter_mut().filter(|(_, it)| which(it)) {
            left.extend(subscription.leave(relay).map(|part| (*key, part)));
            turn.due.eose.insert(*key);
        }
        left
    }

    /// A relay's connection is lost; its last sign of life was at `heard` (unix seconds).
    pub(super) fn relay_lost(&mut self, relay: RelayId, heard: u64, turn: &mut Turn<'_>) {
        let since = Now::new(turn.now.mono, Duration::from_secs(heard));
        for (key, subscription) in &mut self.all {
            if subscription.relay_lost(relay, since) {
                turn.due.eose.insert(*key);
            }
        }
    }

    /// A relay cannot be reached: no EOSE waits for it any longer.
    pub(super) fn relay_away(&mut self, relay: RelayId, turn: &mut Turn<'_>) {
        for (key, subscription) in &mut self.all {
            if subscription.part(relay).is_some_and(Part::gone) {
                turn.due.eose.insert(*key);
            }
        }
    }

    // --- A relay's request for them -------------------------------------------------------

    /// It begins to wait for its turn at this relay. Whose it is; `None`: it waits or was asked for
    /// already, or has no part there.
    /// `rests`: the relay is asked nothing for a while.
    pub(super) fn line_up(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        rests: bool,
    ) -> Option<ClientId> {
        let subscription = self.all.get_mut(&key)?;
        let client = subscription.client;
        subscription.part(relay)?.line_up(rests).then_some(client)
    }

    /// Whether it waits for its turn.
    pub(super) fn is_lined_up(&self, key: SubscriptionKey, relay: RelayId) -> bool {
        self.get(key).and_then(|it| it.part_of(relay)).is_some_and(Part::is_lined_up)
    }

    /// This request is to bring its events, or to take over once it is live.
    pub(super) fn join(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        number: RequestNumber,
        later: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        // Of those that want no stored events the EOSE waits for nothing else.
        if subscription.phase == Phase::Collecting && subscription.merge.is_full() {
            turn.due.eose.insert(key);
        }
        if let Some(part) = subscription.part(relay) {
            part.join(number, later);
        }
    }

    /// It goes on with this request. The one that it leaves, if it had another.
    pub(super) fn move_on(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        to: RequestNumber,
    ) -> Option<RequestNumber> {
        self.part(key, relay)?.move_on(to)
    }

    /// A request is no more.
    pub(super) fn unjoin(&mut self, key: SubscriptionKey, relay: RelayId, number: RequestNumber) {
        if let Some(part) = self.part(key, relay) {
            part.unjoin(number);
        }
    }

    /// Whether it needs this request: it has not moved on.
    pub(super) fn stays(
        &self,
        key: SubscriptionKey,
        relay: RelayId,
        number: RequestNumber,
    ) -> bool {
        self.get(key).and_then(|it| it.part_of(relay)).is_some_and(|part| part.needs(number))
    }

    /// Whether another request of this relay's is about to bring its events.
    pub(super) fn moves(&self, key: SubscriptionKey, relay: RelayId) -> bool {
        self.get(key).and_then(|it| it.part_of(relay)).is_some_and(Part::moves)
    }

    /// What the relay is asked for it now: see [`Subscription::ask`].
    pub(super) fn ask(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        limits: RelayLimits,
        turn: &Turn<'_>,
    ) -> Option<Asking> {
        self.all.get_mut(&key)?.ask(relay, limits, turn.now)
    }

    /// A relay that is asked for several at once has been asked for this one, to go on after a loss.
    pub(super) fn resumed(&mut self, key: SubscriptionKey, relay: RelayId) {
        if let Some(part) = self.part(key, relay) {
            part.resumed();
        }
    }

    /// The relay has ended the request that brought its events, and is to be asked again; `alone`: for
    /// nothing else with it.
    pub(super) fn ask_again(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        alone: bool,
        turn: &mut Turn<'_>,
    ) {
        if let Some(part) = self.part(key, relay) {
            part.ask_again(alone, turn.now);
            // Its EOSE may have waited for what came before this.
            turn.due.eose.insert(key);
        }
    }

    /// The relay is asked for it by several messages, and answers one after the other.
    pub(super) fn comes_in_parts(&mut self, key: SubscriptionKey, relay: RelayId) {
        if let Some(part) = self.part(key, relay) {
            part.stream.disordered = true;
        }
    }

    /// The relay, which refused it, may be asked once more. False: it has refused nothing.
    pub(super) fn forgive(&mut self, key: SubscriptionKey, relay: RelayId) -> bool {
        self.part(key, relay).is_some_and(Part::forgive)
    }

    /// The relay does not serve it: it has ended it, has no place for it, or refuses whom it does not
    /// know. How long it is let alone; `None`: that was known.
    pub(super) fn refuse(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        why: &Reason,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) -> Option<Duration> {
        let pause = self.all.get_mut(&key)?.refused(relay, why, refusal, turn.now)?;
        turn.due.eose.insert(key);
        Some(pause)
    }

    /// Whether the relay has refused it more than once or twice by now.
    pub(super) fn is_refused_often(&self, key: SubscriptionKey, relay: RelayId) -> bool {
        self.get(key).and_then(|it| it.part_of(relay)).is_some_and(Part::is_refused_often)
    }

    /// The relay has not answered for it in time: it is asked for once more; `alone`: with nothing else.
    pub(super) fn lose_patience(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        alone: bool,
        turn: &mut Turn<'_>,
    ) {
        if let Some(part) = self.part(key, relay) {
            part.lose_patience(turn.now);
        }
        self.ask_again(key, relay, alone, turn);
    }

    /// The relay answers nobody: whoever waits for a place there does not wait with the EOSE.
    pub(super) fn stall(&mut self, relay: RelayId, turn: &mut Turn<'_>) {
        for (key, subscription) in &mut self.all {
            if subscription.part(relay).is_some_and(Part::stall) {
                turn.due.eose.insert(*key);
            }
        }
    }

    /// The relay is asked nothing for a while.
    pub(super) fn rest(&mut self, relay: RelayId, turn: &mut Turn<'_>) {
        for (key, subscription) in &mut self.all {
            if subscription.part(relay).is_some_and(Part::rest) {
                turn.due.eose.insert(*key);
            }
        }
    }

    // --- What a relay sends ---------------------------------------------------------------

    /// Something that is no true event has come for it: the relay is not silent.
    pub(super) fn hear_noise(&mut self, key: SubscriptionKey, relay: RelayId) {
        if let Some(part) = self.part(key, relay) {
            part.hear_noise();
        }
    }

    /// The relay has come to this rank in what it stores.
    pub(super) fn hear(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        rank: Rank,
        turn: &mut Turn<'_>,
    ) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        subscription.hear(relay, rank, turn.now);
        if subscription.merge.bytes() > 0 {
            turn.due.release.insert(key);
        }
    }

    /// The relay's EOSE has come, with its hint (NIP-67).
    pub(super) fn relay_eose(
        &mut self,
        key: SubscriptionKey,
        relay: RelayId,
        hint: Hint,
        turn: &mut Turn<'_>,
    ) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        if subscription.relay_eose(relay, hint, turn.now) {
            turn.due.eose.insert(key);
        }
    }

    /// Fills `keys` with every subscription that has a filter which the event matches, ascending.
    pub(super) fn matching(&mut self, event: &Event, keys: &mut Vec<SubscriptionKey>) {
        self.index.matching(event, keys);
    }

    /// Whether this one has such a filter.
    pub(super) fn matches(&self, key: SubscriptionKey, event: &Event) -> bool {
        self.get(key).is_some_and(|it| it.filters.iter().any(|filter| filter.matches(event)))
    }

    /// Whether it was given this event, or holds it to be.
    pub(super) fn has(&self, key: SubscriptionKey, event: &Event) -> bool {
        self.get(key).is_some_and(|it| it.has(event.id(), event.created_at()))
    }

    /// Whether it asks for this event, which is new at this relay, whichever request that came over, and
    /// whether it was its turn to be asked for there or not. What a search finds only the relay can tell.
    pub(super) fn hears(&self, key: SubscriptionKey, relay: RelayId, event: &Event) -> bool {
        self.get(key).is_some_and(|it| {
            it.part_of(relay).is_some_and(Part::is_willing)
                && it.filters.iter().any(|its| its.search.is_none() && its.matches(event))
        })
    }

    /// Gives a true event that matches to a subscription, or holds it for its turn, unless something
    /// speaks against it.
    pub(super) fn offer(
        &mut self,
        key: SubscriptionKey,
        event: &Arc<Event>,
        from: Origin,
        came: Came,
        turn: &mut Turn<'_>,
    ) -> Offered {
        let shared = self.remembered < SEEN_ALL;
        let even = SEEN_ALL / self.all.len().max(1);
        let most = if shared { SEEN_MOST } else { even.clamp(SEEN_LEAST, SEEN_MOST) };
        let Some(target) = self.all.get_mut(&key) else { return Offered::Dropped };
        if target.has(event.id(), event.created_at()) {
            return Offered::Seen;
        }
        // Proofs of who somebody is are passed on to nobody (NIP-42).
        if event.kind() == KIND_AUTH || !target.admits(event, from, came, turn.now) {
            return Offered::Dropped;
        }
        let before = target.seen.len();
        let new = target.seen.insert(event.id(), event.created_at(), turn.now.unix, most);
        self.remembered = self.remembered + target.seen.len() - before;
        if !new {
            return Offered::Seen;
        }
        let held = target.merge.bytes();
        let taken = target.take(event, from, came);
        self.held += target.merge.bytes() - held;
        match taken {
            Taken::Superseded => return Offered::Dropped,
            Taken::Held => _ = turn.due.release.insert(key),
            Taken::Now => {
                let (id, event) = (Arc::clone(&target.id), Arc::clone(event));
                turn.tell(target.client, Reply::Event { id, event, from });
                turn.stats.delivered.add();
                // It may have taken the last place there was.
                if target.phase == Phase::Collecting && target.merge.is_full() {
                    turn.due.eose.insert(key);
                }
            }
        }
        Offered::Given
    }

    /// The local loop (rule 1.6): what a client here publishes goes at once to every other subscription
    /// here that it matches, with or without relays; their echo of it is a copy like any other. Whether
    /// somebody else than its publisher has it by that. `many`: the publisher stands for any number of
    /// extensions, which pay each other too.
    ///
    /// Clients that have named their relays are left out on both sides: they want what is at those.
    pub(super) fn hand_over(
        &mut self,
        publisher: ClientId,
        many: bool,
        event: &Arc<Event>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let mut keys = std::mem::take(&mut self.matching);
        self.index.matching(event, &mut keys);
        let mut others = false;
        for key in &keys {
            let Some(target) = self.all.get(key) else { continue };
            if target.only.is_none() {
                let other = many || target.client != publisher;
                let offered = self.offer(*key, event, Origin::Here, Came::Live, turn);
                others |= other && offered != Offered::Dropped;
            }
        }
        self.matching = keys;
        others
    }

    // --- What its client is told ----------------------------------------------------------

    /// Gives what is held and has become due.
    pub(super) fn release(&mut self, key: SubscriptionKey, turn: &mut Turn<'_>) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        let before = subscription.merge.bytes();
        if before == 0 {
            return;
        }
        let was_full = subscription.merge.is_full();
        let crowded = self.held > HELD_BYTES_ALL;
        while let Some((event, from)) = subscription.release(crowded, turn.now) {
            let id = Arc::clone(&subscription.id);
            turn.tell(subscription.client, Reply::Event { id, event, from });
            turn.stats.delivered.add();
        }
        self.held -= before - subscription.merge.bytes();
        if subscription.phase == Phase::Collecting && !was_full && subscription.merge.is_full() {
            turn.due.eose.insert(key);
        }
    }

    /// Sends the EOSE where it is due, or else sets the time to look again. `owed`: what has come for it
    /// is still being verified.
    pub(super) fn look(
        &mut self,
        key: SubscriptionKey,
        owed: bool,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) -> Look {
        let Some(subscription) = self.all.get_mut(&key) else { return Look::Waits };
        turn.timers.stop(Timer::Eose(key));
        if let Some(whole) = subscription.news() {
            let id = Arc::clone(&subscription.id);
            turn.tell(subscription.client, Reply::Whole { id, whole });
        }
        let standing = subscription.standing(|relay| relays.is_linked(relay));
        if subscription.is_refused(standing, turn.now) {
            if owed {
                return Look::Waits; // what came before the refusal is delivered first
            }
            self.release(key, turn);
            let why = self.all.get_mut(&key).and_then(|it| it.refusal.take());
            return Look::Refused(why.unwrap_or_default());
        }
        match subscription.phase {
            Phase::Collecting
                if subscription.eose_due(turn.now) && !subscription.awaits_refusal(standing) =>
            {
                if subscription.finish() {
                    Look::Fills
                } else {
                    Look::Finishes(subscription.requests())
                }
            }
            Phase::Collecting => {
                turn.timers.set(Timer::Eose(key), subscription.next_look(turn.now));
                self.release(key, turn);
                Look::Waits
            }
            Phase::Finishing if !owed => {
                self.release(key, turn);
                self.end_stored(key, turn)
            }
            Phase::Finishing => Look::Waits,
            Phase::Live => {
                self.look_whether_served(key, standing, turn);
                Look::Waits
            }
        }
    }

    /// A client whose subscription nobody serves is told so in time; it is asked for on.
    fn look_whether_served(
        &mut self,
        key: SubscriptionKey,
        standing: Standing,
        turn: &mut Turn<'_>,
    ) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        let (at, tell) = subscription.unserved(standing, turn.now);
        if let Some(at) = at {
            turn.timers.set(Timer::Eose(key), at);
        }
        if tell {
            let why = subscription.refusal.clone().unwrap_or_else(no_place);
            let text = format!(
                "error: no relay serves the subscription {:?} for now, it is asked for again: {why}",
                subscription.id
            );
            turn.tell(subscription.client, Reply::Notice(text));
        }
    }

    /// The stored events are complete.
    fn end_stored(&mut self, key: SubscriptionKey, turn: &mut Turn<'_>) -> Look {
        let Some(subscription) = self.all.get_mut(&key) else { return Look::Waits };
        let (id, hint) = (Arc::clone(&subscription.id), subscription.end());
        turn.tell(subscription.client, Reply::Eose { id, hint });
        if subscription.is_over() {
            return Look::Over(std::mem::take(&mut subscription.parts));
        }
        turn.due.eose.insert(key); // whether anybody serves it from now on
        Look::Waits
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.index.is_empty() && self.held == 0 && self.remembered == 0
    }
}

/// Why nobody serves what nobody has refused.
fn no_place() -> Reason {
    Reason::new(Prefix::RateLimited, "no relay has answered, or has a place for it")
}
