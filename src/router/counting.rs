//! COUNT: how many events match (NIP-45, SPEC 3.8).
//!
//! Every connected relay that the client reads from is asked, but those that do not count: by their
//! document, by what they have answered, or because they have left some in a row unanswered. The
//! answer goes out when all have given theirs, [`EOSE_QUIET`] after the first one, or [`EOSE_SILENT`]
//! after the question; whoever has none by then is left out.
//!
//! A relay that has never answered one is asked seldom. It may not know COUNT and complain about each
//! one, and no client may have it cut off for that.
//!
//! [`Counts`] owns what is open: from the COUNT to its answer, a CLOSE, another COUNT of the same id,
//! or the client's going. A client's ids for COUNT and for REQ are apart: one of each may be open
//! under the same id, and a CLOSE ends both. To the client a CLOSED ends both too, so that the one
//! that answers a COUNT ends the REQ.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::time::{Now, TokenBucket};
use crate::constants::{
    COUNT_PROBES, COUNT_PROBES_PER_SECOND, COUNT_REST, COUNT_UNANSWERED, EOSE_QUIET, EOSE_SILENT,
};
use crate::ids::{ClientId, LinkId, RelayId, RequestNumber};
use crate::nostr::count::Counted;
use crate::nostr::filter::Filter;
use crate::nostr::message::{self, Reply};
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::stats::Trouble;

use super::subscribe::{too_many_filters, too_many_subscriptions};
use super::{Effects, Role, Router, Timer};

/// The open counts, and what is known of who counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    open: Map<RequestNumber, Count>,
    counters: Map<RelayId, Counter>,
}

/// One client's question.
#[derive(Debug)]
struct Count {
    client: ClientId,
    id: Arc<str>,
    /// As the client gave them, less those nothing can match.
    filters: Vec<Filter>,
    parts: Vec<(RelayId, Stage)>,
    /// When the answer goes out at the latest. A timer is set for it.
    due: Duration,
    /// The most telling refusal of a relay.
    refusal: Option<Reason>,
}

/// Where one relay stands with a question.
#[derive(Debug)]
enum Stage {
    /// In the relay's line.
    InLine,
    /// It has gone out.
    Asked,
    /// Here is what it said.
    Answered(Counted),
    /// It refused, is gone, or said what is no answer.
    Out,
}

/// A relay's connection as a counter.
#[derive(Debug)]
struct Counter {
    link: LinkId,
    /// It has answered one.
    proven: bool,
    /// How many it has left unanswered in a row.
    unanswered: u32,
    /// It is not asked before.
    rests_until: Duration,
    /// How often it is asked until it is proven.
    probes: TokenBucket,
}

impl Count {
    fn is_waiting(&self) -> bool {
        self.parts.iter().any(|(_, stage)| matches!(stage, Stage::InLine | Stage::Asked))
    }

    fn stage(&mut self, relay: RelayId) -> Option<&mut Stage> {
        self.parts.iter_mut().find(|(id, _)| *id == relay).map(|(_, stage)| stage)
    }

    fn bytes(&self) -> usize {
        bytes(&self.filters)
    }
}

impl Counts {
    /// Whether this is the number of an open one.
    pub(super) fn contains(&self, number: RequestNumber) -> bool {
        self.open.contains_key(&number)
    }

    /// The COUNT for this relay, now going out. `None`: it has ended meanwhile.
    fn ask(&mut self, relay: RelayId, number: RequestNumber) -> Option<String> {
        let count = self.open.get_mut(&number)?;
        *count.stage(relay)? = Stage::Asked;
        Some(message::count(number, count.filters.iter().map(|filter| &*filter.json)))
    }

    /// A relay is no longer configured.
    pub(super) fn forget(&mut self, relay: RelayId) {
        self.counters.remove(&relay);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Router {
    /// A COUNT.
    pub(super) fn count(
        &mut self,
        client: ClientId,
        id: &str,
        filters: Vec<Filter>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.end_count_of(client, id, now, fx);
        let Some(asker) = self.clients.get(&client) else { return };
        let (max, max_bytes) = self.subscription_limits(asker);
        if asker.open() >= max {
            let why = too_many_subscriptions(max);
            return self.refuse_count(client, id, why, now, fx);
        }
        if asker.filter_bytes + bytes(&filters) > max_bytes {
            let why = too_many_filters(max_bytes);
            return self.refuse_count(client, id, why, now, fx);
        }
        let filters: Vec<Filter> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.is_empty() {
            let counted = Counted::exactly(0);
            return fx.to_client.push((client, Reply::Count { id: id.into(), counted }));
        }
        let relays = self.read_by(asker);
        let asked = match self.counters(&relays, &filters, now) {
            Ok(asked) => asked,
            Err(why) => return self.refuse_count(client, id, why, now, fx),
        };
        let number = self.numbers.request();
        let due = now.mono + EOSE_SILENT;
        self.timers.insert((due, Timer::Count(number)));
        if let Some(asker) = self.clients.get_mut(&client) {
            asker.filter_bytes += bytes(&filters);
            asker.counts.insert(id.into(), number);
        }
        let parts = asked.iter().map(|relay| (*relay, Stage::InLine)).collect();
        let count = Count { client, id: id.into(), filters, parts, due, refusal: None };
        self.counts.open.insert(number, count);
        for relay in asked {
            self.ask_count(relay, number, now, fx);
        }
    }

    /// The COUNT for this relay, now going out. `None`: it is not wanted any more, or the relay has
    /// come to know us and the client is a public one.
    pub(super) fn count_text(&mut self, relay: RelayId, number: RequestNumber) -> Option<String> {
        if !self.bars_count(relay, number) {
            return self.counts.ask(relay, number);
        }
        if let Some(stage) = self.counts.open.get_mut(&number).and_then(|count| count.stage(relay))
        {
            *stage = Stage::Out;
        }
        None
    }

    /// Whether this relay's answer is not for the one who asks.
    fn bars_count(&self, relay: RelayId, number: RequestNumber) -> bool {
        let count = self.counts.open.get(&number);
        let asker = count.and_then(|count| self.clients.get(&count.client));
        asker.is_some_and(|asker| asker.role == Role::Public) && self.bars_public(relay)
    }

    /// Those of these relays that can be asked, or why there is none.
    fn counters(
        &mut self,
        relays: &[RelayId],
        filters: &[Filter],
        now: Now,
    ) -> Result<Vec<RelayId>, Reason> {
        if relays.is_empty() {
            return Err(Reason::new(Prefix::Error, "no relay configured").about(Cause::NoRelay));
        }
        let (mut connected, mut too_many) = (false, false);
        let mut asked = Vec::new();
        // As they are told, with the longest number there is.
        let length =
            message::count(RequestNumber::LONGEST, filters.iter().map(|filter| &*filter.json))
                .len();
        for id in relays {
            let Some(relay) = self.relays.get(id) else { continue };
            let Some(link) = &relay.link else { continue };
            connected = true;
            let limits = relay.limits;
            if limits.counts == Some(false)
                || limits.max_filters.is_some_and(|max| filters.len() > max)
                || limits.max_message_length.is_some_and(|max| length > max)
            {
                continue;
            }
            let fresh = || Counter::new(link.id);
            let counter = self.counts.counters.entry(*id).or_insert_with(fresh);
            if counter.link != link.id {
                *counter = fresh();
            }
            if counter.rests_until > now.mono {
                continue;
            }
            if counter.proven || counter.probes.take(now.mono) {
                asked.push(*id);
            } else {
                too_many = true;
            }
        }
        match (asked.is_empty(), connected, too_many) {
            (false, _, _) => Ok(asked),
            (true, false, _) => Err(Reason::new(Prefix::Error, "no relay connected")),
            (true, true, true) => {
                Err(Reason::new(Prefix::RateLimited, "too many counts at a time"))
            }
            (true, true, false) => Err(nobody_counts()),
        }
    }

    /// A relay has answered: with a count, or with something that is none.
    pub(super) fn relay_count(
        &mut self,
        relay: RelayId,
        number: Option<RequestNumber>,
        counted: Option<Counted>,
        now: Now,
        fx: &mut Effects,
    ) {
        // A number given out before may be of a count that was not waited for.
        let Some(number) = number.filter(|number| self.numbers.gave(*number)) else {
            return self.relay_junk(relay, now, fx);
        };
        let is_none = counted.is_none();
        let barred = self.bars_count(relay, number);
        let Some(count) = self.counts.open.get_mut(&number) else {
            if let Some(counter) = self.counts.counters.get_mut(&relay).filter(|_| !is_none) {
                counter.answers();
            }
            return;
        };
        match count.stage(relay) {
            // What a relay tells the owner is not for everybody.
            Some(stage @ Stage::Asked) if barred => *stage = Stage::Out,
            Some(stage @ Stage::Asked) => *stage = counted.map_or(Stage::Out, Stage::Answered),
            // Twice, or unasked.
            _ => return self.relay_junk(relay, now, fx),
        }
        if is_none {
            self.relay_junk(relay, now, fx);
        } else {
            if let Some(counter) = self.counts.counters.get_mut(&relay) {
                counter.answers();
            }
            self.hurry_count(number, now);
        }
        self.look_at_count(number, now, fx);
    }

    /// A relay has ended a count with CLOSED.
    pub(super) fn count_closed(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        why: &Reason,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(count) = self.counts.open.get_mut(&number) else { return };
        match count.stage(relay) {
            Some(stage @ Stage::Asked) => *stage = Stage::Out,
            _ => return,
        }
        count.refusal = Some(Reason::more_telling(count.refusal.take(), why));
        let first = self.counts.counters.get_mut(&relay).is_some_and(|counter| {
            if why.is_unsupported() {
                counter.rests_until = now.mono + COUNT_REST;
            }
            !counter.answers()
        });
        // Once is enough to know: many relays do not count, and are no worse for it.
        if let Some(relay) = self.relays.get(&relay).filter(|_| first) {
            relay.stats.error(
                now.precisely(),
                Trouble::RefusedCount,
                &format!("refused to count: {why}"),
            );
        }
        if let Some(relay) = self.relays.get(&relay).filter(|_| why.wants_auth()) {
            relay.stats.authentication_required.store(true, Relaxed);
        }
        self.look_at_count(number, now, fx);
    }

    /// A relay's connection is gone, and with it what it was asked.
    pub(super) fn count_lost(&mut self, relay: RelayId, now: Now, fx: &mut Effects) {
        let mut numbers = Vec::new();
        for (number, count) in &mut self.counts.open {
            if let Some(stage @ (Stage::InLine | Stage::Asked)) = count.stage(relay) {
                *stage = Stage::Out;
                numbers.push(*number);
            }
        }
        numbers.sort_unstable();
        for number in numbers {
            self.look_at_count(number, now, fx);
        }
    }

    /// A client's COUNT of this id is wanted no more.
    pub(super) fn end_count_of(&mut self, client: ClientId, id: &str, now: Now, fx: &mut Effects) {
        let asker = self.clients.get_mut(&client);
        if let Some(number) = asker.and_then(|asker| asker.counts.remove(id)) {
            self.end_count(number, now, fx);
        }
    }

    /// Forgets a count and ends it at every relay that has not answered.
    pub(super) fn end_count(&mut self, number: RequestNumber, now: Now, fx: &mut Effects) {
        if let Some(count) = self.take_count(number) {
            self.close_count(number, &count, now, fx);
        }
    }

    /// Its time is up: whoever has not answered is left out.
    pub(super) fn count_deadline(&mut self, number: RequestNumber, now: Now, fx: &mut Effects) {
        let Some(count) = self.counts.open.get(&number) else { return };
        for (relay, stage) in &count.parts {
            let counter = self.counts.counters.get_mut(relay);
            if let Some(counter) = counter.filter(|_| matches!(stage, Stage::Asked)) {
                counter.is_silent(now);
            }
        }
        self.answer_count(number, now, fx);
    }

    fn look_at_count(&mut self, number: RequestNumber, now: Now, fx: &mut Effects) {
        if self.counts.open.get(&number).is_some_and(|count| !count.is_waiting()) {
            self.answer_count(number, now, fx);
        }
    }

    /// After the first answer the others have less time.
    fn hurry_count(&mut self, number: RequestNumber, now: Now) {
        let Some(count) = self.counts.open.get_mut(&number) else { return };
        let due = now.mono + EOSE_QUIET;
        let answered = count.parts.iter().filter(|(_, stage)| matches!(stage, Stage::Answered(_)));
        if answered.count() == 1 && due < count.due {
            self.timers.remove(&(count.due, Timer::Count(number)));
            count.due = due;
            self.timers.insert((due, Timer::Count(number)));
        }
    }

    fn answer_count(&mut self, number: RequestNumber, now: Now, fx: &mut Effects) {
        let Some(mut count) = self.take_count(number) else { return };
        self.close_count(number, &count, now, fx);
        let asked = count.parts.len();
        let answers = count.parts.drain(..).filter_map(|(_, stage)| match stage {
            Stage::Answered(counted) => Some(counted),
            Stage::InLine | Stage::Asked | Stage::Out => None,
        });
        let client = count.client;
        if let Some(counted) = Counted::merged(answers.collect(), asked) {
            let id = (*count.id).into();
            return fx.to_client.push((client, Reply::Count { id, counted }));
        }
        let why = match count.refusal {
            None => Reason::new(Prefix::Error, "no relay has counted in time"),
            Some(why) if why.is_empty() => nobody_counts(),
            Some(why) => why,
        };
        self.refuse_count(client, &count.id, why, now, fx);
    }

    fn refuse_count(
        &mut self,
        client: ClientId,
        id: &str,
        why: Reason,
        now: Now,
        fx: &mut Effects,
    ) {
        self.unsubscribe(client, id, now, fx);
        fx.to_client.push((client, Reply::Closed { id: id.into(), why }));
    }

    fn take_count(&mut self, number: RequestNumber) -> Option<Count> {
        let count = self.counts.open.remove(&number)?;
        self.timers.remove(&(count.due, Timer::Count(number)));
        if let Some(client) = self.clients.get_mut(&count.client) {
            client.filter_bytes = client.filter_bytes.saturating_sub(count.bytes());
            client.counts.retain(|_, other| *other != number);
        }
        Some(count)
    }

    fn close_count(&mut self, number: RequestNumber, count: &Count, now: Now, fx: &mut Effects) {
        for (relay, stage) in &count.parts {
            match stage {
                Stage::InLine => self.forget_ask(*relay),
                Stage::Asked => self.close_upstream(*relay, number, now, fx),
                Stage::Answered(_) | Stage::Out => {}
            }
        }
    }
}

impl Counter {
    fn new(link: LinkId) -> Self {
        let probes = TokenBucket::new(COUNT_PROBES_PER_SECOND, COUNT_PROBES);
        Self { link, proven: false, unanswered: 0, rests_until: Duration::ZERO, probes }
    }

    /// It answers. Whether it has done so before.
    fn answers(&mut self) -> bool {
        self.unanswered = 0;
        std::mem::replace(&mut self.proven, true)
    }

    fn is_silent(&mut self, now: Now) {
        self.unanswered += 1;
        if self.unanswered >= COUNT_UNANSWERED {
            self.unanswered = 0;
            self.rests_until = now.mono + COUNT_REST;
        }
    }
}

fn nobody_counts() -> Reason {
    Reason::new(Prefix::Unsupported, "no relay counts")
}

fn bytes(filters: &[Filter]) -> usize {
    filters.iter().map(|filter| filter.json.len()).sum()
}
