//! COUNT: how many events match (NIP-45, rule 3.8).
//!
//! Every connected relay that the client reads from is asked, but those that do not count: by their
//! document, by what they have answered, or because they have left some in a row unanswered. The
//! answer goes out when all have given theirs, [`EOSE_QUIET`] after the first one, or [`EOSE_SILENT`]
//! after the question; whoever has none by then is left out.
//!
//! A relay that has never answered one is asked seldom. It may not know COUNT and complain about each
//! one, and no client may have it cut off for that.
//!
//! [`Counting`] owns what is open: from the COUNT to its answer, a CLOSE, another COUNT of the same id,
//! or the client's going. A client's ids for COUNT and for REQ are apart: one of each may be open
//! under the same id, and a CLOSE ends both. To the client a CLOSED ends both too, so that the one
//! that answers a COUNT ends the REQ.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::base::hash::Map;
use crate::base::time::{Now, TokenBucket};
use crate::constants::{
    COUNT_PROBES, COUNT_PROBES_PER_SECOND, COUNT_REST, COUNT_UNANSWERED, EOSE_QUIET, EOSE_SILENT,
};
use crate::ids::{ClientId, LinkId, RelayId, RequestNumber};
use crate::nostr::count::Counted;
use crate::nostr::filter::Filter;
use crate::nostr::message;
use crate::nostr::reason::{Cause, Prefix, Reason};
use crate::stats::Trouble;

use super::relays::{About, Relays, Sender, Work};
use super::terms::Role;
use super::turn::{Timer, Turn};

/// The open counts, and what is known of who counts.
#[derive(Debug, Default)]
pub(super) struct Counting {
    /// By the number that relays know them by.
    open: Map<RequestNumber, Count>,
    counters: Map<RelayId, CountRecord>,
}

/// A client's question.
#[derive(Debug)]
pub(super) struct CountQuery {
    pub(super) client: ClientId,
    pub(super) role: Role,
    pub(super) id: Arc<str>,
    /// As the client gave them, less those nothing can match.
    pub(super) filters: Vec<Filter>,
}

/// A count that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) question: CountQuery,
    /// What its client is told, or why there is no answer.
    pub(super) answer: Result<Counted, Reason>,
}

#[derive(Debug)]
struct Count {
    question: CountQuery,
    parts: Vec<(RelayId, CountStage)>,
    /// When the answer goes out at the latest. A timer is set for it.
    due: Duration,
    /// The most telling refusal of a relay.
    refusal: Option<Reason>,
}

/// Where one relay stands with a question.
#[derive(Debug)]
enum CountStage {
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
struct CountRecord {
    link: LinkId,
    /// It has answered one.
    proven: bool,
    /// It has counted: what it does not answer, or says it cannot, is about that question alone.
    counts: bool,
    /// How many it has left unanswered in a row.
    unanswered: u32,
    /// It is not asked before.
    rests_until: Duration,
    /// How often it is asked until it is proven.
    probes: TokenBucket,
}

impl CountQuery {
    /// Bytes of its filters, as they count against its client's.
    pub(super) fn bytes(&self) -> usize {
        self.filters.iter().map(|filter| filter.json.len()).sum()
    }
}

impl Count {
    fn is_open(&self) -> bool {
        self.parts.iter().any(|(_, stage)| matches!(stage, CountStage::InLine | CountStage::Asked))
    }

    fn stage(&mut self, relay: RelayId) -> Option<&mut CountStage> {
        self.parts.iter_mut().find(|(id, _)| *id == relay).map(|(_, stage)| stage)
    }
}

impl Counting {
    /// Whether this is the number of an open one.
    pub(super) fn contains(&self, number: RequestNumber) -> bool {
        self.open.contains_key(&number)
    }

    /// A COUNT: asks those of these relays that can be asked. The number it has here, or why it has none.
    pub(super) fn open(
        &mut self,
        question: CountQuery,
        readable: &[RelayId],
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Result<RequestNumber, Reason> {
        let asked = self.counters(readable, &question.filters, relays, turn.now)?;
        let number = turn.numbers.request();
        let due = turn.now.mono + EOSE_SILENT;
        turn.timers.set(Timer::Count(number), due);
        let parts = asked.iter().map(|relay| (*relay, CountStage::InLine)).collect();
        self.open.insert(number, Count { question, parts, due, refusal: None });
        for relay in asked {
            relays.push(relay, Work::Count(number), turn);
        }
        Ok(number)
    }

    /// Those of these relays that can be asked, or why there is none.
    fn counters(
        &mut self,
        readable: &[RelayId],
        filters: &[Filter],
        relays: &Relays,
        now: Now,
    ) -> Result<Vec<RelayId>, Reason> {
        if readable.is_empty() {
            return Err(Reason::new(Prefix::Error, "no relay configured").about(Cause::NoRelay));
        }
        let (mut connected, mut too_many) = (false, false);
        let mut asked = Vec::new();
        // As they are told, with the longest number there is.
        let filters = filters.iter().map(|filter| &*filter.json);
        let (filters, length) =
            (filters.len(), message::count(RequestNumber::LONGEST, filters).len());
        for id in readable {
            let Some(link) = relays.link(*id) else { continue };
            connected = true;
            let limits = relays.limits(*id);
            if limits.counts == Some(false)
                || limits.max_filters.is_some_and(|max| filters > max)
                || limits.max_message_length.is_some_and(|max| length > max)
            {
                continue;
            }
            let counter = self.counters.entry(*id).or_insert_with(|| CountRecord::new(link));
            if counter.link != link {
                *counter = CountRecord::new(link);
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

    /// What it is known by among all that is asked, and whose it is.
    pub(super) fn about(&self, number: RequestNumber) -> About {
        let Some(Count { question, .. }) = self.open.get(&number) else {
            return About { names: Vec::new(), sender: Sender::Harmless };
        };
        let mut hash = Sha256::new_with_prefix("COUNT");
        for filter in &question.filters {
            hash.update(&*filter.json);
        }
        let sender = Sender::Clients(vec![question.client]);
        About { names: vec![hash.finalize().into()], sender }
    }

    /// The COUNT for this relay, now going out. `None`: it is not wanted any more, or the relay has
    /// come to know us and the client is a public one.
    pub(super) fn text(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        relays: &Relays,
    ) -> Option<String> {
        let count = self.open.get_mut(&number)?;
        let barred = is_barred(&count.question, relay, relays);
        *count.stage(relay)? = if barred { CountStage::Out } else { CountStage::Asked };
        let filters = count.question.filters.iter().map(|filter| &*filter.json);
        (!barred).then(|| message::count(number, filters))
    }

    /// A relay has answered: with a count, or with something that is none.
    pub(super) fn answered(
        &mut self,
        relay: RelayId,
        number: Option<RequestNumber>,
        counted: Option<Counted>,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        // A number given out before may be of a count that was not waited for.
        let Some(number) = number.filter(|number| turn.numbers.gave(*number)) else {
            return relays.junk(relay, turn);
        };
        let is_none = counted.is_none();
        let Some(count) = self.open.get_mut(&number) else {
            if let Some(counter) = self.counters.get_mut(&relay).filter(|_| !is_none) {
                counter.counted();
            }
            return;
        };
        let barred = is_barred(&count.question, relay, relays);
        match count.stage(relay) {
            // What a relay tells the owner is not for everybody.
            Some(stage @ CountStage::Asked) if barred => *stage = CountStage::Out,
            Some(stage @ CountStage::Asked) => {
                *stage = counted.map_or(CountStage::Out, CountStage::Answered);
            }
            // Twice, or unasked.
            _ => return relays.junk(relay, turn),
        }
        if is_none {
            relays.junk(relay, turn);
        } else {
            if let Some(counter) = self.counters.get_mut(&relay) {
                counter.counted();
            }
            self.hurry(number, turn);
        }
        turn.due.counts.insert(number);
    }

    /// A relay has ended a count with CLOSED.
    pub(super) fn closed(
        &mut self,
        relay: RelayId,
        number: RequestNumber,
        why: &Reason,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(count) = self.open.get_mut(&number) else { return };
        match count.stage(relay) {
            Some(stage @ CountStage::Asked) => *stage = CountStage::Out,
            _ => return,
        }
        count.refusal = Some(Reason::more_telling(count.refusal.take(), why));
        let first = self.counters.get_mut(&relay).is_some_and(|counter| {
            if why.is_unsupported() && !counter.counts {
                counter.rests_until = turn.now.mono + COUNT_REST;
            }
            !counter.answers()
        });
        // Once is enough to know: many relays do not count, and are no worse for it.
        if first {
            relays.note(relay, Trouble::RefusedCount, &format!("refused to count: {why}"), turn);
        }
        if why.wants_auth() {
            relays.wants_auth(relay, false);
        }
        turn.due.counts.insert(number);
    }

    /// A relay's connection is gone, and with it what it was asked.
    pub(super) fn relay_lost(&mut self, relay: RelayId, turn: &mut Turn<'_>) {
        for (number, count) in &mut self.open {
            if let Some(stage @ (CountStage::InLine | CountStage::Asked)) = count.stage(relay) {
                *stage = CountStage::Out;
                turn.due.counts.insert(*number);
            }
        }
    }

    /// A relay is no longer configured.
    pub(super) fn forget(&mut self, relay: RelayId) {
        self.counters.remove(&relay);
    }

    /// A client's question is wanted no more.
    pub(super) fn close(
        &mut self,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Option<CountQuery> {
        let count = self.take(number, relays, turn)?;
        Some(count.question)
    }

    /// Its time is up: whoever has not answered is left out.
    pub(super) fn deadline(
        &mut self,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Option<Ended> {
        for (relay, stage) in &self.open.get(&number)?.parts {
            let counter = self.counters.get_mut(relay);
            if let Some(counter) = counter.filter(|_| matches!(stage, CountStage::Asked)) {
                counter.is_silent(turn.now);
            }
        }
        self.end(number, relays, turn)
    }

    /// Ends it if every relay has answered or is out.
    pub(super) fn look(
        &mut self,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Option<Ended> {
        self.open.get(&number).filter(|count| !count.is_open())?;
        self.end(number, relays, turn)
    }

    /// After the first answer the others have less time.
    fn hurry(&mut self, number: RequestNumber, turn: &mut Turn<'_>) {
        let Some(count) = self.open.get_mut(&number) else { return };
        let due = turn.now.mono + EOSE_QUIET;
        let answered =
            count.parts.iter().filter(|(_, stage)| matches!(stage, CountStage::Answered(_)));
        if answered.count() == 1 && due < count.due {
            count.due = due;
            turn.timers.set(Timer::Count(number), due);
        }
    }

    fn end(
        &mut self,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Option<Ended> {
        let Count { question, parts, refusal, .. } = self.take(number, relays, turn)?;
        let asked = parts.len();
        let answers = parts.into_iter().filter_map(|(_, stage)| match stage {
            CountStage::Answered(counted) => Some(counted),
            CountStage::InLine | CountStage::Asked | CountStage::Out => None,
        });
        let answer = Counted::merged(answers.collect(), asked).ok_or_else(|| match refusal {
            None => Reason::new(Prefix::Error, "no relay has counted in time"),
            Some(why) if why.is_empty() => nobody_counts(),
            Some(why) => why,
        });
        Some(Ended { question, answer })
    }

    /// Forgets it, and ends it at every relay that has not answered.
    fn take(
        &mut self,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) -> Option<Count> {
        let count = self.open.remove(&number)?;
        turn.timers.stop(Timer::Count(number));
        for (relay, stage) in &count.parts {
            match stage {
                CountStage::InLine => relays.forget_ask(*relay, turn),
                CountStage::Asked => relays.push(*relay, Work::Close(number), turn),
                CountStage::Answered(_) | CountStage::Out => {}
            }
        }
        Some(count)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// Whether this relay's answer is not for the one who asks.
fn is_barred(question: &CountQuery, relay: RelayId, relays: &Relays) -> bool {
    relays.bars(relay, question.role)
}

fn nobody_counts() -> Reason {
    Reason::new(Prefix::Unsupported, "no relay counts")
}

impl CountRecord {
    fn new(link: LinkId) -> Self {
        let probes = TokenBucket::new(COUNT_PROBES_PER_SECOND, COUNT_PROBES);
        let (proven, counts) = (false, false);
        Self { link, proven, counts, unanswered: 0, rests_until: Duration::ZERO, probes }
    }

    /// It answers. Whether it has done so before.
    fn answers(&mut self) -> bool {
        self.unanswered = 0;
        std::mem::replace(&mut self.proven, true)
    }

    /// The same, with a number.
    fn counted(&mut self) {
        self.answers();
        self.counts = true;
    }

    fn is_silent(&mut self, now: Now) {
        if self.counts {
            return;
        }
        self.unanswered += 1;
        if self.unanswered >= COUNT_UNANSWERED {
            self.unanswered = 0;
            self.rests_until = now.mono + COUNT_REST;
        }
    }
}
