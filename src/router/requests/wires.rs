//! Requests that do not fit into one message: a relay takes so many filters in one, or so many bytes. They
//! go in several, each under a number of its own, and are one request all the same: the events of all come
//! over it, and its EOSE is the last of theirs. A filter that is too long alone is divided. What several
//! messages bring comes in no order.

use crate::ids::{RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::filter::{Filter, in_pieces};
use crate::nostr::message;
use crate::router::relays::{Relays, Work};
use crate::router::subscriptions::Subscriptions;
use crate::router::turn::Turn;

use super::{Requests, TooLong};

/// What one EOSE is to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    /// Others of its messages have not had theirs.
    InPart,
    /// The last.
    All,
    /// That message has had one before.
    Again,
}

impl Requests {
    /// How many messages a subscription needs at this relay.
    pub(super) fn parts_of(
        &self,
        id: RelayId,
        key: SubscriptionKey,
        subscriptions: &Subscriptions,
        relays: &Relays,
    ) -> usize {
        let most_bytes = relays.filter_bytes(id);
        let pieces = |filter: &Filter| filter.json.len().div_ceil(most_bytes);
        let filters = subscriptions.get(key).map_or(0, |it| it.filters().iter().map(pieces).sum());
        usize::div_ceil(filters, self.filters(id, relays)).max(1)
    }

    /// So many more numbers for a request. Each takes a place at the relay.
    pub(super) fn take_numbers(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        count: usize,
        turn: &mut Turn<'_>,
    ) {
        for _ in 0..count {
            self.take_number(id, number, turn.numbers.request());
        }
    }

    /// This number is a request's too.
    pub(super) fn take_number(&mut self, id: RelayId, number: RequestNumber, other: RequestNumber) {
        let Some(request) = self.all.get_mut(&(id, number)) else { return };
        request.wires.others.push(other);
        self.wires.insert((id, other), number);
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.open.insert(other);
            upstream.asked += usize::from(request.is_out());
        }
    }

    /// It is not any more, and its place is free.
    pub(super) fn give_back_number(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        other: RequestNumber,
    ) {
        let Some(request) = self.all.get_mut(&(id, number)) else { return };
        request.wires.others.retain(|its| *its != other);
        self.wires.remove(&(id, other));
        if let Some(upstream) = self.upstreams.get_mut(&id) {
            upstream.forget(other);
            upstream.asked -= usize::from(request.is_out()).min(upstream.asked);
        }
    }

    /// These filters in as many messages as the relay needs. The first of them; the others follow it.
    pub(super) fn in_parts(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        filters: &[String],
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Result<String, TooLong> {
        let (most, most_bytes) = (self.filters(id, relays), relays.filter_bytes(id));
        let all = split(filters, most, most_bytes);
        let said = relays.limits(id).max_message_length.map(|_| most_bytes);
        // Of a part of several that is known.
        let fits = |part: &Vec<String>| said.is_none_or(|most| part[0].len() <= most);
        let (first, rest) = all.split_first().filter(|_| all.iter().all(fits)).ok_or(TooLong)?;
        let text = |number, part: &[String]| message::req(number, part.iter().map(String::as_str));
        let taken = self.all.get(&(id, number)).map_or(0, |request| request.wires.others.len());
        self.take_numbers(id, number, rest.len().saturating_sub(taken), turn);
        let Some(request) = self.all.get_mut(&(id, number)) else { return Err(TooLong) };
        request.filters = first.len();
        let spare = request.wires.others.split_off(rest.len());
        for (other, part) in request.wires.others.iter().zip(rest) {
            request.wires.unsent.insert(*other, text(*other, part));
            request.wires.unfinished.insert(*other);
            relays.push(id, Work::Ask(*other), turn);
        }
        for other in spare {
            self.wires.remove(&(id, other));
            if let Some(upstream) = self.upstreams.get_mut(&id) {
                upstream.forget(other);
            }
        }
        Ok(text(number, first))
    }

    /// The message of what did not fit into a request's first one.
    pub(super) fn next_part(&mut self, id: RelayId, other: RequestNumber) -> Option<String> {
        let own = self.own(id, other);
        self.get_mut(id, own)?.wires.unsent.remove(&other)
    }

    /// A request is closed at the relay, by all the numbers it was told.
    pub(super) fn hang_up(
        &self,
        id: RelayId,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        relays.push(id, Work::Close(number), turn);
        let Some(request) = self.all.get(&(id, number)) else { return };
        let wires = &request.wires;
        for other in wires.others.iter().filter(|other| !wires.unsent.contains_key(*other)) {
            relays.push(id, Work::Close(*other), turn);
        }
    }

    /// The relay's EOSE has come under this number.
    pub(super) fn finishes(
        &mut self,
        id: RelayId,
        own: RequestNumber,
        number: RequestNumber,
    ) -> Finished {
        let Some(request) = self.get_mut(id, own) else { return Finished::InPart };
        match (request.wires.unfinished.remove(&number), request.wires.unfinished.is_empty()) {
            (false, _) => Finished::Again,
            (true, false) => Finished::InPart,
            (true, true) => Finished::All,
        }
    }
}

/// Up to `most` filters and `most_bytes` in each.
fn split(filters: &[String], most: usize, most_bytes: usize) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for filter in filters.iter().flat_map(|filter| in_pieces(filter, most_bytes)) {
        match parts.last_mut() {
            Some(part) if part.len() < most && bytes + filter.len() < most_bytes => {
                bytes += filter.len() + 1;
                part.push(filter);
            }
            _ => {
                bytes = filter.len() + 1;
                parts.push(vec![filter]);
            }
        }
    }
    parts
}
