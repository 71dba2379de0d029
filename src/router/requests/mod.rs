//! Requests: what relays are asked for the subscriptions here, and the way of what they send.
//!
//! A request is one subscription of ours at one relay, under a number of its own. It brings the events
//! of its members, which are clients' subscriptions: one, or several that ask for the same, or that
//! are asked for together because the relay allows no more (`plan` decides; `gather` makes place). What
//! comes over it before the relay's EOSE is looked at in the order it came (`coming`), however long
//! each verification takes, so that a subscription knows which stored events may still come (rule 3.4).
//! A relay that says that too much comes at a time is given rest (`pace`).
//! What a relay refuses because it does not know us may be asked again when it does (`deferred`), what it
//! refuses for another reason, or does not answer, after a while (`again`). What it serves and what not is
//! counted for the owner (`census`).
//!
//! A request begins when its turn comes and ends with its last member, the relay's CLOSED, or the
//! connection. Where its members have moved to another one it still passes on, for
//! [`REQUEST_LINGER`], what was under way: the copy over the other one may have come a moment before
//! they were members there.

mod again;
mod census;
mod combine;
mod coming;
mod crowd;
mod deferred;
mod gather;
mod health;
mod pace;
mod pages;
mod plan;
mod request;
mod spread;
mod upstream;
mod wires;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::base::hash::Map;
use crate::constants::{REQUEST_LINGER, SUSPECTS_TOGETHER};
use crate::ids::{ClientId, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::Filter;

use super::relays::{About, Name, Relays, Sender, Work};
use super::subscriptions::{Part, Subscription, Subscriptions};
use super::turn::{Timer, Turn};

pub(super) use coming::Incoming;
pub(super) use pace::Paced;
pub(super) use request::Arrival;
use request::{Duty, Request, Sent};
use spread::Spread;
use upstream::{Lesson, Upstream};

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Requests {
    all: Map<(RelayId, RequestNumber), Request>,
    /// The other numbers of those that did not fit into one message.
    wires: Map<(RelayId, RequestNumber), RequestNumber>,
    /// Of the relays that are connected.
    upstreams: Map<RelayId, Upstream>,
    lessons: Map<RelayId, Lesson>,
    /// Numbers are used again; these are not.
    last_serial: u64,
    /// What has come for subscriptions before their EOSE was due and is being verified: how much of what
    /// each request brought has to be settled first.
    owed: Map<SubscriptionKey, Vec<(RelayId, RequestNumber, u64)>>,
    spread: Spread,
    /// For its memory.
    matching: Vec<SubscriptionKey>,
}

/// What a request asks for that is not its members' own filters.
#[derive(Debug)]
struct Wording {
    filters: Vec<Filter>,
    duty: Duty,
}

/// A relay takes no message that long, or with so many filters.
#[derive(Debug)]
pub(super) struct TooLong;

impl Requests {
    /// A relay is connected.
    pub(super) fn link_up(&mut self, id: RelayId, turn: &Turn<'_>) {
        self.upstreams.insert(id, Upstream::new(turn.now.mono));
    }

    /// Whether there is such a request.
    pub(super) fn contains(&self, id: RelayId, number: RequestNumber) -> bool {
        self.all.contains_key(&(id, self.own(id, number)))
    }

    /// A request's own number, by whichever of its numbers.
    fn own(&self, id: RelayId, number: RequestNumber) -> RequestNumber {
        self.wires.get(&(id, number)).copied().unwrap_or(number)
    }

    /// A request is no more.
    fn remove(&mut self, id: RelayId, number: RequestNumber) -> Option<Request> {
        let request = self.all.remove(&(id, number))?;
        for wire in &request.wires.others {
            self.wires.remove(&(id, *wire));
        }
        Some(request)
    }

    fn get_mut(&mut self, id: RelayId, number: RequestNumber) -> Option<&mut Request> {
        self.all.get_mut(&(id, number))
    }

    fn members(&self, id: RelayId, number: RequestNumber) -> Vec<SubscriptionKey> {
        let request = self.all.get(&(id, number));
        request.map(|request| request.members.iter().copied().collect()).unwrap_or_default()
    }

    /// Those of its members that have not moved on.
    fn staying(
        &self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &Subscriptions,
    ) -> Vec<SubscriptionKey> {
        let mut members = self.members(id, number);
        members.retain(|key| subscriptions.stays(*key, id, number));
        members
    }

    // --- Its beginning --------------------------------------------------------------------

    /// Opens a request for these subscriptions: in their own words, or in these.
    fn open(
        &mut self,
        id: RelayId,
        keys: &[SubscriptionKey],
        wording: Option<Wording>,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let number = self.number_for(id, keys, subscriptions, turn);
        let duty = wording.as_ref().map_or(Duty::Serves, |wording| wording.duty);
        let (asks, words) = if let Some(Wording { filters, .. }) = wording {
            let words = filters.iter().map(|filter| filter.json.to_string()).collect();
            (vec![Arc::from(filters)], Some(words))
        } else {
            let all = keys.iter().filter_map(|key| subscriptions.get(*key));
            (all.map(|member| Arc::clone(member.filters())).collect(), None)
        };
        let worded = words.as_ref().map(Vec::len);
        self.last_serial += 1;
        let members = keys.iter().copied().collect();
        let mut request = Request::new(members, asks, words, duty, self.last_serial, turn.now);
        let gathers = request.gathers();
        if let [key] = keys {
            let part = subscriptions.get(*key).and_then(|member| member.part_of(id));
            request.patience = part.map_or(request.patience, Part::patience);
        }
        self.all.insert((id, number), request);
        for key in keys {
            subscriptions.join(*key, id, number, gathers, turn);
        }
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.open.insert(number);
            if duty == Duty::Gathers {
                upstream.gathering = Some((number, turn.now.mono));
            }
        }
        let parts = match (worded, keys) {
            (Some(filters), _) => filters.div_ceil(self.filters(id, relays)),
            (None, [key]) => self.parts_of(id, *key, subscriptions, relays),
            (None, _) => 1,
        };
        self.take_numbers(id, number, parts.saturating_sub(1), turn);
        relays.push(id, Work::Ask(number), turn);
    }

    /// The number a relay knows a subscription by is its own where that can be, and no request is left
    /// that had it.
    fn number_for(
        &self,
        id: RelayId,
        keys: &[SubscriptionKey],
        subscriptions: &Subscriptions,
        turn: &mut Turn<'_>,
    ) -> RequestNumber {
        if let [key] = keys {
            let part = subscriptions.get(*key).and_then(|member| member.part_of(id));
            let own = key.own_request();
            if part.is_some_and(|part| !part.was_used()) && !self.contains(id, own) {
                return own;
            }
        }
        turn.numbers.request()
    }

    /// The message of a request whose turn it is. `None`: nobody wants it any more.
    pub(super) fn text(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Result<Option<String>, TooLong> {
        if self.wires.contains_key(&(id, number)) {
            return Ok(self.next_part(id, number));
        }
        let limits = self.limits(id, relays);
        let request = self.all.get_mut(&(id, number)).filter(|request| !request.is_out());
        let Some(request) = request else { return Ok(None) };
        let mut again = true;
        let text = if let Some(filters) = request.words.take() {
            if !request.gathers() {
                request.narrowed = Some(turn.now.unix);
                for key in &request.members {
                    subscriptions.resumed(*key, id);
                }
            }
            if request.duty != Duty::Gathers {
                self.turn_pages(id, number, &filters, true, subscriptions, relays);
            }
            self.in_parts(id, number, &filters, relays, turn)
        } else {
            let mut filters: Vec<String> = Vec::new();
            for key in &request.members {
                let Some(asking) = subscriptions.ask(*key, id, limits, turn) else { continue };
                again &= asking.again;
                request.narrowed = request.narrowed.max(asking.narrowed);
                for filter in asking.filters {
                    if !filters.contains(&filter) {
                        filters.push(filter);
                    }
                }
            }
            if filters.is_empty() {
                self.forget(id, number, subscriptions, turn);
                turn.due.plan.insert(id); // its place is free
                return Ok(None);
            }
            self.turn_pages(id, number, &filters, again, subscriptions, relays);
            self.in_parts(id, number, &filters, relays, turn)
        };
        let among = self.upstreams.get(&id).map_or(0, |upstream| upstream.asked);
        let Some(request) = self.get_mut(id, number) else { return Ok(None) };
        request.sent = Sent::Asked { at: turn.now, again };
        let places = 1 + request.wires.others.len();
        request.among = among + places;
        request.wires.unfinished.insert(number);
        let at = turn.now.mono + request.patience;
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.asked += places;
        }
        turn.timers.set(Timer::Request(id, number), at);
        self.count_soon(id, turn);
        if let (Ok(_), true) = (&text, places > 1) {
            for key in self.members(id, number) {
                subscriptions.comes_in_parts(key, id);
            }
        }
        text.map(Some)
    }

    /// What is known of a request that is to go out: what each of its members asks for, and if that is
    /// not the same, last all of that together; and whose they are, but for those that the relay has served
    /// before.
    pub(super) fn about(
        &self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &Subscriptions,
    ) -> About {
        let own = self.own(id, number);
        let request = self.all.get(&(id, own)).filter(|request| !request.is_out() || own != number);
        let keys = request.into_iter().flat_map(|request| &request.members);
        let members = keys.filter_map(|key| subscriptions.get(*key));
        let new = members.clone().filter(|it| !it.part_of(id).is_some_and(Part::was_served));
        let mut clients: Vec<ClientId> = new.map(Subscription::client).collect();
        clients.sort_unstable();
        clients.dedup();
        let sender = if clients.is_empty() { Sender::Harmless } else { Sender::Clients(clients) };
        let mut names: Vec<Name> = members.map(|member| *member.name()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            let whole = Sha256::digest(names.concat());
            names.truncate(SUSPECTS_TOGETHER);
            names.push(whole.into());
        }
        About { names, sender }
    }

    // --- Its end --------------------------------------------------------------------------

    /// Takes a request off the relay's list.
    fn forget(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        turn.timers.stop(Timer::Request(id, number));
        turn.timers.stop(Timer::Echo(id, number));
        self.give_up_place(id, number);
        let Some(request) = self.remove(id, number) else { return };
        for key in &request.members {
            subscriptions.unjoin(*key, id, number);
        }
    }

    /// A request takes no place any more, by none of its numbers.
    fn give_up_place(&mut self, id: RelayId, number: RequestNumber) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        upstream.forget(number);
        let Some(request) = self.all.get(&(id, number)).filter(|it| !it.is_over()) else { return };
        for wire in &request.wires.others {
            upstream.forget(*wire);
        }
        if request.is_out() {
            upstream.asked = upstream.asked.saturating_sub(1 + request.wires.others.len());
        }
    }

    /// A request is closed at the relay, or its connection is gone; what is under way still counts.
    fn retire(&mut self, id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) {
        self.give_up_place(id, number);
        turn.timers.stop(Timer::Request(id, number));
        turn.timers.stop(Timer::Echo(id, number));
        if let Some(request) = self.all.get_mut(&(id, number)) {
            request.duty = Duty::Over;
            request.wires.unsent.clear(); // nobody would close them
            turn.timers.set(Timer::Retired(id, number), turn.now.mono + REQUEST_LINGER);
        }
    }

    /// Nothing more is to come over a request that was closed.
    pub(super) fn drop_retired(&mut self, id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) {
        let Some(request) = self.all.get(&(id, number)).filter(|it| it.is_over()) else { return };
        if request.outstanding > 0 {
            return self.retire(id, number, turn);
        }
        let Some(request) = self.remove(id, number) else { return };
        let waiting = request.members.into_iter().filter(|key| self.owed.contains_key(key));
        turn.due.eose.extend(waiting);
    }

    /// The relay is no longer configured.
    pub(super) fn remove_relay(
        &mut self,
        id: RelayId,
        subscriptions: &Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        self.lose(id, subscriptions, turn);
        self.lessons.remove(&id);
    }

    /// The connection is gone: its requests are, but for what is still being verified.
    pub(super) fn lose(&mut self, id: RelayId, subscriptions: &Subscriptions, turn: &mut Turn<'_>) {
        let Some(lost) = self.upstreams.remove(&id) else { return };
        turn.timers.stop(Timer::Plan(id));
        turn.timers.stop(Timer::Crowd(id));
        turn.timers.stop(Timer::Pace(id));
        turn.timers.stop(Timer::Census(id));
        for number in lost.open {
            let Some(request) = self.all.get_mut(&(id, number)) else { continue };
            let early = request.early();
            request.arrivals.awaited = true;
            if request.outstanding == 0 || request.gathers() {
                turn.timers.stop(Timer::Request(id, number));
                turn.timers.stop(Timer::Echo(id, number));
                self.remove(id, number);
                continue;
            }
            for key in &request.members {
                if subscriptions.get(*key).is_some_and(|member| !member.is_live()) {
                    self.owed.entry(*key).or_default().push((id, number, early));
                }
            }
            self.retire(id, number, turn);
        }
    }

    /// A subscription has no part in this relay any more, which was this one.
    pub(super) fn leave(
        &mut self,
        key: SubscriptionKey,
        part: &Part,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let id = part.relay();
        if let Some(owed) = self.owed.get_mut(&key) {
            owed.retain(|(from, ..)| *from != id);
        }
        if part.is_lined_up() {
            self.sweep_turns(id, subscriptions);
        }
        turn.timers.stop(Timer::Refused(id, key));
        self.count_soon(id, turn);
        for number in part.requests() {
            if let Some(request) = self.all.get_mut(&(id, number)) {
                request.members.remove(&key);
                self.close_left(id, number, subscriptions, relays, turn);
            }
        }
    }

    /// A subscription that waited for its turn is gone.
    fn sweep_turns(&mut self, id: RelayId, subscriptions: &Subscriptions) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        upstream.dead += 1;
        if upstream.dead > upstream.turns.len() / 2 {
            upstream.dead = 0;
            upstream.turns.retain(|key| subscriptions.contains(*key));
        }
    }

    fn close(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get(&(id, number)) else { return };
        if request.is_out() {
            self.hang_up(id, number, relays, turn);
        } else {
            relays.forget_ask(id, turn);
        }
        self.forget(id, number, subscriptions, turn);
        turn.due.plan.insert(id);
    }

    /// A request that nobody needs any more is closed. If members have moved, it passes on what is
    /// under way.
    fn close_left(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(request) = self.all.get(&(id, number)).filter(|it| !it.is_over()) else { return };
        if request.members.is_empty() {
            return self.close(id, number, subscriptions, relays, turn);
        }
        if !request.members.iter().any(|key| subscriptions.stays(*key, id, number)) {
            self.hang_up(id, number, relays, turn);
            self.retire(id, number, turn);
            turn.due.plan.insert(id);
        }
    }

    // --- What EOSEs wait for --------------------------------------------------------------

    /// What these requests have brought for a subscription by now comes before its EOSE.
    pub(super) fn owe(&mut self, key: SubscriptionKey, brought: &[(RelayId, RequestNumber)]) {
        for (id, number) in brought {
            let Some(request) = self.all.get_mut(&(*id, *number)) else { continue };
            request.arrivals.awaited = true;
            if request.early() > 0 {
                self.owed.entry(key).or_default().push((*id, *number, request.early()));
            }
        }
    }

    /// Whether something is still to be settled before its EOSE.
    pub(super) fn owes(&mut self, key: SubscriptionKey) -> bool {
        let Some(owed) = self.owed.get_mut(&key) else { return false };
        owed.retain(|(id, number, until)| {
            self.all.get(&(*id, *number)).is_some_and(|request| !request.has_looked_at(*until))
        });
        let owes = !owed.is_empty();
        if !owes {
            self.owed.remove(&key);
        }
        owes
    }

    /// Nothing of that is waited for any longer.
    pub(super) fn owe_nothing(&mut self, key: SubscriptionKey) {
        self.owed.remove(&key);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.owed.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
