//! One client's subscription: what every relay owes it, and when its stored events are complete.
//!
//! Begins with a REQ, ends with a CLOSE, the client's going, or the last relay's refusal. The rule of
//! [`Subscription::eose_due`] is rule 3.2; in which order the stored events go out, and how many, is
//! [`merge`](super::merge)'s.
//!
//! Its phase goes one way: `Collecting` by [`Subscription::finish`] to `Finishing`, and from there by
//! [`Subscription::end`] to `Live`.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::base::time::Now;
use crate::constants::{
    EOSE_QUIET, EOSE_SILENT, EOSE_STREAMING, REPLAY_MARGIN, REPLAY_MARGIN_GIFT_WRAP, SLOW_CLOCK,
    UNSERVED_NOTICE,
};
use crate::ids::{ClientId, Origin, RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId, KIND_GIFT_WRAP, is_ephemeral};
use crate::nostr::filter::Filter;
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::{Hint, Resumed};
use crate::nostr::reason::Reason;

use super::merge::{Bar, FIRST, Merge, Rank, fits, found_rank};
use super::part::{Came, Delay, Part, PartStage, Refusal, Stream};
use super::seen::Seen;
use crate::router::terms::Role;

/// How far the client's EOSE is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Relays are waited for.
    Collecting,
    /// No relay is waited for any longer, but events that came before are still being verified.
    Finishing,
    /// EOSE is sent.
    Live,
}

/// Whether a subscription has from every relay what it stores, and is sent what comes.
#[derive(Debug, Default)]
struct Progress {
    whole: bool,
    /// A relay has given its EOSE since it was last looked at.
    ended: bool,
}

/// Nobody serves a subscription, though somebody could.
#[derive(Debug, Clone, Copy)]
struct Unserved {
    since: Duration,
    /// Its client has been told.
    told: bool,
}

/// Whether relays serve a subscription, going by those that are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// One does, or is about to be asked.
    Served,
    /// None is connected.
    Away,
    /// All have refused it.
    Refused(Refusal),
}

/// What becomes of an event that a subscription has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is to be given now.
    Now,
    /// It is held until its turn comes.
    Held,
    /// A newer version of it was given.
    Superseded,
}

/// What a relay is to be asked for a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::router) struct Asking {
    /// As JSON objects, none with a `limit` over the relay's.
    pub(in crate::router) filters: Vec<String>,
    /// It repeats an earlier request, or comes late.
    pub(in crate::router) again: bool,
    /// The latest date (unix seconds) up to which the `since` of a filter is moved. `None`: each reaches
    /// as far back as the client wants.
    pub(in crate::router) narrowed: Option<u64>,
}

/// Whom a subscription asks for what it searches (NIP-50, rule 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) enum Searching {
    /// It searches nothing.
    Nothing,
    /// Every relay: none is known to know it.
    Anywhere,
    /// Those that say they know it, and no others.
    Known,
}

/// A relay that a subscription has a part in from the start.
#[derive(Debug, Clone, Copy)]
pub(in crate::router) struct Source {
    /// Which.
    pub(in crate::router) relay: RelayId,
    /// It cannot be reached for now.
    pub(in crate::router) away: bool,
    /// It says that it knows `search`.
    pub(in crate::router) searches: bool,
}

/// What a subscription begins with.
#[derive(Debug)]
pub(in crate::router) struct Opening {
    /// Whose it is.
    pub(in crate::router) client: ClientId,
    /// Where that one is.
    pub(in crate::router) role: Role,
    /// The client's own id for it.
    pub(in crate::router) id: Arc<str>,
    /// As the client gave them, less those nothing can match.
    pub(in crate::router) filters: Arc<[Filter]>,
    /// The only relays its client wants; `None`: those set for reading.
    pub(in crate::router) only: Option<Box<[RelayId]>>,
    /// Whom it asks for what it searches.
    pub(in crate::router) searching: Searching,
    /// Those it has a part in from the start.
    pub(in crate::router) relays: Vec<Source>,
    /// It goes on with an earlier one.
    pub(in crate::router) resumed: Option<Resumed>,
}

/// One subscription of one client.
#[derive(Debug)]
pub(in crate::router) struct Subscription {
    pub(super) client: ClientId,
    pub(super) id: Arc<str>,
    /// The same for all that ask for the same, whatever their limits.
    name: [u8; 32],
    pub(super) filters: Arc<[Filter]>,
    pub(super) only: Option<Box<[RelayId]>>,
    role: Role,
    searching: Searching,
    /// For a client inside this process, which is told by [`Self::news`].
    progress: Option<Progress>,
    /// What was given already, or is held to be given.
    pub(super) seen: Seen,
    /// The stored events.
    pub(super) merge: Merge,
    /// Every readable relay's.
    pub(super) parts: Vec<Part>,
    pub(super) phase: Phase,
    /// It had all it may have before every relay had answered.
    complete: bool,
    /// What the relays say of their stored events (NIP-67), of those that had part in the EOSE.
    hints: Vec<Hint>,
    /// The most telling refusal of a relay.
    pub(super) refusal: Option<Reason>,
    /// Since when no relay serves it, though one is connected.
    unserved: Option<Unserved>,
    opened: Now,
    first_eose: Option<Duration>,
    last_stored: Duration,
}

impl Subscription {
    pub(super) fn new(opening: Opening, now: Now) -> Self {
        let Opening { client, role, id, filters, only, searching, relays, resumed } = opening;
        let mut new = Self {
            client,
            id,
            name: name(&filters),
            merge: Merge::new(&filters),
            filters,
            only,
            role,
            searching,
            progress: (role == Role::Inside).then(Progress::default),
            seen: Seen::default(),
            parts: Vec::with_capacity(relays.len()),
            phase: Phase::Collecting,
            complete: false,
            hints: Vec::new(),
            refusal: None,
            unserved: None,
            opened: now,
            first_eose: None,
            last_stored: now.mono,
        };
        for source in relays {
            new.add_source(source);
        }
        if let Some(resumed) = resumed {
            new.resume(resumed);
        }
        new
    }

    fn add_source(&mut self, Source { relay, away, searches }: Source) {
        if !self.asks_for_something(searches) {
            return;
        }
        let mut part = Part::new(relay, searches || self.searching != Searching::Known, true);
        if away {
            part.gone();
        }
        self.parts.push(part);
    }

    /// Whether a relay that knows `search`, or does not, is asked for any of its filters.
    fn asks_for_something(&self, searches: bool) -> bool {
        searches || self.searching != Searching::Known || !self.only_searches()
    }

    fn only_searches(&self) -> bool {
        self.filters.iter().all(|filter| filter.search.is_some())
    }

    /// It goes on with an earlier one that has had its EOSE, and is asked for as after the loss of a
    /// relay (rule 3.7): since then, or, where nobody knows since when events are missing, as by a
    /// relay that comes late.
    fn resume(&mut self, Resumed { since, whole }: Resumed) {
        self.phase = Phase::Live;
        let lost = Now { unix: since, ..self.opened };
        if !whole {
            self.opened.unix = lost.earliest(self.opened);
        }
        for part in &mut self.parts {
            (part.holds, part.gap) = (false, whole.then_some(lost));
        }
    }

    /// Whose it is.
    pub(in crate::router) const fn client(&self) -> ClientId {
        self.client
    }

    /// Where its client is.
    pub(in crate::router) const fn role(&self) -> Role {
        self.role
    }

    /// The client's own id for it.
    pub(in crate::router) const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The same for all that ask for the same, whatever their limits.
    pub(in crate::router) const fn name(&self) -> &[u8; 32] {
        &self.name
    }

    /// What it asks for.
    pub(in crate::router) const fn filters(&self) -> &Arc<[Filter]> {
        &self.filters
    }

    /// Bytes of its filters, as they count against its client's.
    pub(in crate::router) fn filter_bytes(&self) -> usize {
        self.filters.iter().map(|filter| filter.json.len()).sum()
    }

    /// Its parts in relays, when it has ended.
    pub(in crate::router) fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    /// Whether its EOSE has been sent.
    pub(in crate::router) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether it was given an event of this id and date, or is about to be.
    pub(in crate::router) fn has(&self, id: &EventId, created_at: u64) -> bool {
        self.seen.contains(id, created_at)
    }

    /// The requests that bring its events.
    pub(super) fn requests(&self) -> Vec<(RelayId, RequestNumber)> {
        let requests = self.parts.iter().filter_map(|part| Some((part.relay, part.request?)));
        requests.collect()
    }

    /// For a client inside: whether it has become whole, or is so no more.
    pub(super) fn news(&mut self) -> Option<bool> {
        let progress = self.progress.as_mut()?;
        let behind = self.parts.iter().any(|part| part.stage != PartStage::Live);
        // A relay that is removed may have owed something: only one that has given all it has makes
        // it whole.
        let ended = std::mem::take(&mut progress.ended);
        let whole = !behind && (progress.whole || ended);
        (std::mem::replace(&mut progress.whole, whole) != whole).then_some(whole)
    }

    /// Whether its client has named the relays it wants.
    pub(in crate::router) const fn names_relays(&self) -> bool {
        self.only.is_some()
    }

    /// Whether its client wants this relay, which is set for reading or not.
    pub(in crate::router) fn wants(&self, relay: RelayId, read: bool) -> bool {
        self.only.as_ref().map_or(read, |only| only.contains(&relay))
    }

    /// The relay's part, to be looked at.
    pub(in crate::router) fn part_of(&self, relay: RelayId) -> Option<&Part> {
        self.parts.iter().find(|part| part.relay == relay)
    }

    /// The relay's part, if it has one.
    pub(super) fn part(&mut self, relay: RelayId) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.relay == relay)
    }

    /// Gives a relay that was not there at the REQ its part. The EOSE does not wait for it. A search
    /// stays with those it was asked of, where these know it.
    pub(super) fn add_relay(&mut self, relay: RelayId) {
        if self.part(relay).is_none() && self.asks_for_something(false) {
            self.parts.push(Part::new(relay, self.searching != Searching::Known, false));
        }
    }

    /// Takes a relay's part away.
    pub(super) fn leave(&mut self, relay: RelayId) -> Option<Part> {
        let at = self.parts.iter().position(|part| part.relay == relay)?;
        Some(self.parts.remove(at))
    }

    /// Whether a relay that is asked now is asked again, or only after the client's EOSE.
    pub(in crate::router) fn is_late(&self, relay: RelayId) -> bool {
        let part = self.parts.iter().find(|part| part.relay == relay);
        self.phase != Phase::Collecting || part.is_some_and(|part| part.gap.is_some())
    }

    /// What this relay is asked for now. `None`: nothing, now or any more.
    pub(super) fn ask(&mut self, relay: RelayId, limits: RelayLimits, now: Now) -> Option<Asking> {
        let late = self.phase != Phase::Collecting;
        let Self { parts, filters, opened, .. } = self;
        let part = parts.iter_mut().find(|part| part.relay == relay)?;
        if part.stage != PartStage::Unasked {
            return None;
        }
        let again = late || part.gap.is_some();
        part.stage = PartStage::Asked { heard: false };
        (part.stream, part.turn.used) = (Stream::default(), true);
        part.delay = Delay::None;
        if std::mem::take(&mut part.turn.waits) {
            part.turn.came = now.mono;
            self.last_stored = now.mono;
        }
        let searches = part.searches;
        let filters = || filters.iter().filter(move |it| searches || it.search.is_none());
        let Some(gap) = part.gap else {
            // Not every relay has an EOSE where nothing stored is asked for.
            let asked = |filter: &&Filter| !late || filter.limit != Some(0);
            let asked = filters().filter(asked);
            let mut due: Vec<String> =
                asked.map(|filter| asked_as(filter, limits.max_limit)).collect();
            if late {
                // What came to a late relay since the REQ was live once, so no `limit` may hide it.
                let since = opened.earliest(now);
                let limited = |filter: &&Filter| filter.limit.is_some();
                let missed = |filter: &Filter| filter.repeated(asked_from(filter, since));
                due.extend(filters().filter(limited).filter_map(missed));
            }
            return Some(Asking { filters: due, again, narrowed: None });
        };
        let since = gap.earliest(now);
        let repeated: Vec<String> =
            filters().filter_map(|filter| filter.repeated(asked_from(filter, since))).collect();
        if repeated.is_empty() {
            // Its time window lies before the gap: the relay has nothing to add.
            part.stage = PartStage::Live;
            part.gap = None;
            return None;
        }
        let narrowed = filters().filter_map(|filter| moved(filter, since)).max();
        Some(Asking { filters: repeated, again, narrowed })
    }

    /// An event has come from this relay, or a copy of one, and the relay has not given its EOSE:
    /// none that stands before it is to come.
    pub(super) fn hear(&mut self, relay: RelayId, mut rank: Rank, now: Now) {
        let Reverse(id) = rank.1;
        // Of a search the order is the relay's own.
        let found = self.searching != Searching::Nothing
            && (self.only_searches() || self.merge.has_found(&id));
        let part = self.parts.iter_mut().find(|part| part.relay == relay);
        if let Some(part) = part
            && let PartStage::Asked { heard, .. } = &mut part.stage
        {
            *heard = true;
            if found && part.searches {
                rank = found_rank(part.stream.found, id);
                part.stream.found += 1;
                self.merge.raise(rank);
            }
            part.stream.disordered |= rank > part.stream.rank;
            part.stream.rank = part.stream.rank.min(rank);
            self.last_stored = now.mono;
        }
    }

    /// The date (unix seconds) before which an ephemeral event of this request is no live one but
    /// an old order, to be dropped. `asked`: when it went out, and whether it is a repeated one;
    /// `None`: its EOSE has come.
    ///
    /// An order that is as new as the REQ and comes by a slow clock looks like a replay, and is taken
    /// for one: nobody pays an order that was dropped. So is what lies between two dates that the REQ
    /// may have where our own clock was set.
    pub(in crate::router) fn stale_before(&self, asked: Option<(Now, bool)>, now: Now) -> u64 {
        match asked {
            Some((at, true)) => at.latest(now),
            // Perhaps the first REQ, but the client no longer takes what comes for stored.
            Some((at, false)) if self.phase == Phase::Live && !self.complete => at.latest(now),
            // The REQ may have had its EOSE at once: an order by a clock that is slow passes.
            Some((at, false)) if self.complete => at.latest(now).saturating_sub(SLOW_CLOCK),
            None | Some((_, false)) => 0,
        }
    }

    /// Whether a true event that matches may be given, or held.
    pub(super) fn admits(&self, event: &Event, from: Origin, came: Came, now: Now) -> bool {
        let searched = self.searched(from);
        if !searched && !self.filters.iter().any(|filter| fits(filter, event, false)) {
            return false; // it was not asked for there
        }
        match came {
            _ if is_ephemeral(event.kind()) => true,
            Came::Stored if self.phase == Phase::Live => {
                let since = self.live_from(event, now);
                let passed = from
                    .relay()
                    .and_then(|relay| self.part_of(relay))
                    .is_some_and(|part| part.stream.passed);
                event.created_at() >= since
                    || (!passed && self.merge.had_place(&self.filters, event, searched))
            }
            Came::Stored | Came::Live => true,
            Came::Repeated => self.reaches(event, from, now),
        }
    }

    /// Takes an event that was admitted and not given before. What is held goes its way by
    /// [`Self::release`].
    pub(super) fn take(&mut self, event: &Arc<Event>, from: Origin, came: Came) -> Taken {
        if came == Came::Stored && self.phase != Phase::Live && !is_ephemeral(event.kind()) {
            self.merge.hold(&self.filters, event, from, self.found_rank(event, from));
            return Taken::Held;
        }
        if self.merge.is_superseded(event) {
            return Taken::Superseded;
        }
        if came != Came::Live {
            self.merge.note_late(&self.filters, event, self.searched(from));
        }
        Taken::Now
    }

    /// Whether what comes from there may be what was searched: only a relay that was asked can tell.
    fn searched(&self, from: Origin) -> bool {
        self.searching == Searching::Nothing
            || from.relay().and_then(|relay| self.part_of(relay)).is_some_and(|part| part.searches)
    }

    /// The rank of an event among what the relay has found, if it is of that.
    fn found_rank(&self, event: &Event, from: Origin) -> Option<Rank> {
        let part = from.relay().and_then(|relay| self.part_of(relay))?;
        let finds = |filter: &Filter| filter.search.is_some() && filter.matches(event);
        let found = part.searches && self.filters.iter().any(finds);
        found.then(|| found_rank(part.stream.found, *event.id()))
    }

    /// From this date on an event that came to a relay before its EOSE counts as new: there is no
    /// other sign. The dates of gift wraps say nothing.
    fn live_from(&self, event: &Event, now: Now) -> u64 {
        if event.kind() == KIND_GIFT_WRAP { 0 } else { self.opened.earliest(now) }
    }

    /// Whether it lies in what is asked for again, and is not only sent because another subscription
    /// reaches further back.
    fn reaches(&self, event: &Event, from: Origin, now: Now) -> bool {
        let part = from.relay().and_then(|relay| self.part_of(relay));
        let Some(part) = part else { return true };
        let since = part.gap.unwrap_or(self.opened).earliest(now);
        let late = part.gap.is_none();
        self.filters.iter().any(|filter| {
            let from = if late && filter.limit == Some(0) && event.kind() != KIND_GIFT_WRAP {
                Some(since) // nothing stored is wanted, so no margin for clocks
            } else {
                asked_from(filter, since)
            };
            filter.matches(event)
                && (Some(event.created_at()) >= from || (late && filter.limit.is_none()))
        }) || (late && self.merge.had_place(&self.filters, event, self.searched(from)))
    }

    /// The next stored event that is to be given, and where it came from.
    /// `crowded`: too much is held in all.
    pub(super) fn release(&mut self, crowded: bool, now: Now) -> Option<(Arc<Event>, Origin)> {
        let waits = self.phase == Phase::Collecting && !crowded;
        let bar = if waits { self.bar(now) } else { Bar::Down };
        self.merge.next(&self.filters, bar, now.unix)
    }

    /// What the relays that are waited for may still send. Those that have been silent for too long
    /// are not, though others stream.
    fn bar(&self, now: Now) -> Bar {
        if self.merge.has_all() {
            return Bar::Down;
        }
        let limited = self.merge.is_limited();
        let late = now.mono >= self.opened.mono + EOSE_SILENT;
        let awaited = self.parts.iter().filter(|part| part.is_awaited());
        let holding = awaited.filter(|part| !(late && part.is_silent(now)));
        let ranks =
            holding.filter(|part| limited || !part.stream.disordered).map(|part| {
                match part.stage {
                    PartStage::Asked { .. } if !part.stream.disordered => part.stream.rank,
                    _ => FIRST,
                }
            });
        match ranks.max() {
            None => Bar::Down,
            // Relays need not sort what has one date, and a limit may end in it.
            Some(rank) if limited => Bar::Before(rank.0),
            Some(rank) => Bar::At(rank),
        }
    }

    /// Whether nothing can match any more: every filter names ids, and all were given.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Live && self.merge.has_all()
    }

    /// The stored events are complete as far as the relays have answered. Where that is all there may
    /// be, those that still stream can only send what has no place: `true`.
    pub(super) fn finish(&mut self) -> bool {
        self.phase = Phase::Finishing;
        self.complete = self.merge.is_full();
        for part in self.parts.iter_mut().filter(|part| part.holds) {
            part.stream.passed = self.complete;
        }
        self.complete
    }

    /// The EOSE is sent, with this hint (NIP-67).
    pub(super) fn end(&mut self) -> Hint {
        self.phase = Phase::Live;
        self.hint()
    }

    /// The relay's EOSE, with its hint (NIP-67). False: it had none to give.
    pub(super) fn relay_eose(&mut self, relay: RelayId, hint: Hint, now: Now) -> bool {
        let Some(part) = self.part(relay) else { return false };
        if !matches!(part.stage, PartStage::Asked { .. }) {
            return false;
        }
        part.eose(now);
        if std::mem::take(&mut part.holds) {
            self.hints.push(hint);
        }
        self.unserved = None;
        self.first_eose.get_or_insert(now.mono);
        if let Some(progress) = &mut self.progress {
            progress.ended = true;
        }
        true
    }

    /// The relay does not serve it, for this reason. How long it is let alone; `None`: that was known.
    pub(super) fn refused(
        &mut self,
        relay: RelayId,
        why: &Reason,
        refusal: Refusal,
        now: Now,
    ) -> Option<Duration> {
        let part = self.part(relay)?;
        match part.stage {
            PartStage::Refused(_) => return None,
            PartStage::Live => part.gap = part.gap.or(Some(now)),
            PartStage::Away | PartStage::Unasked | PartStage::Asked { .. } => {}
        }
        let pause = part.refuse(refusal, now);
        if refusal == Refusal::Unsure {
            return Some(pause);
        }
        if std::mem::take(&mut part.holds) {
            self.hints.push(Hint::None);
        }
        self.refusal = Some(Reason::more_telling(self.refusal.take(), why));
        Some(pause)
    }

    /// The relay's connection is lost, and nothing has come since then. False: it had no part in it.
    pub(super) fn relay_lost(&mut self, relay: RelayId, since: Now) -> bool {
        let Some(part) = self.part(relay) else { return false };
        if part.lost(since) {
            self.hints.push(Hint::None);
        }
        true
    }

    /// What the client's EOSE says of its stored events (NIP-67): where every relay has said it, and
    /// nothing was left out here.
    fn hint(&self) -> Hint {
        let all = self.hints.len() == self.parts.len() && !self.parts.is_empty();
        if !all || self.hints.contains(&Hint::None) || self.parts.iter().any(|part| part.holds) {
            return Hint::None;
        }
        let finished = self.hints.iter().all(|hint| *hint == Hint::Finish);
        if finished && !self.merge.left_out { Hint::Finish } else { Hint::More }
    }

    /// Whether the relays that are connected serve it.
    pub(super) fn standing(&self, is_linked: impl Fn(RelayId) -> bool) -> Standing {
        let mut standing = Standing::Away;
        for part in self.parts.iter().filter(|part| is_linked(part.relay)) {
            let refusal = match part.stage {
                PartStage::Refused(Refusal::Unsure) if self.phase != Phase::Live => {
                    return Standing::Served;
                }
                PartStage::Refused(Refusal::Unsure) => Refusal::Passing,
                PartStage::Refused(refusal) => refusal,
                // Before the EOSE that relay is a silent one, which is something else.
                _ if part.is_unanswered() && self.phase == Phase::Live => Refusal::Passing,
                // It waits for its turn, which may never come.
                PartStage::Unasked if self.phase == Phase::Live => Refusal::Passing,
                _ => return Standing::Served,
            };
            if standing != Standing::Refused(Refusal::Passing) {
                standing = Standing::Refused(refusal);
            }
        }
        standing
    }

    /// Rule 3.5: whether its client is to be told that nobody serves it, by a CLOSED. Before the EOSE one
    /// would say that there is nothing: what may still change has the time of a silent relay.
    pub(super) fn is_refused(&self, standing: Standing, now: Now) -> bool {
        let Standing::Refused(refusal) = standing else { return false };
        match self.phase {
            Phase::Collecting if self.first_eose.is_none() => {
                let may_change =
                    refusal == Refusal::Passing || self.parts.iter().any(|part| part.holds);
                !may_change || now.mono >= self.opened.mono + EOSE_SILENT
            }
            Phase::Live => refusal == Refusal::ForGood,
            Phase::Collecting | Phase::Finishing => false,
        }
    }

    /// Whether an EOSE would say that there is nothing, and be wrong.
    pub(super) fn awaits_refusal(&self, standing: Standing) -> bool {
        matches!(standing, Standing::Refused(_)) && self.first_eose.is_none()
    }

    /// Keeps the time since when nobody serves it. When to look again, and whether it is time to tell its
    /// client.
    pub(super) fn unserved(&mut self, standing: Standing, now: Now) -> (Option<Duration>, bool) {
        if self.phase != Phase::Live || !matches!(standing, Standing::Refused(_)) {
            self.unserved = None;
            return (None, false);
        }
        let unserved = self.unserved.get_or_insert(Unserved { since: now.mono, told: false });
        if unserved.told {
            return (None, false);
        }
        let at = unserved.since + UNSERVED_NOTICE;
        unserved.told = now.mono >= at;
        ((!unserved.told).then_some(at), unserved.told)
    }

    /// Rule 3.2: whether no relay is waited for any longer.
    pub(super) fn eose_due(&self, now: Now) -> bool {
        let mut holding = self.parts.iter().filter(|part| part.is_awaited()).peekable();
        holding.peek().is_none()
            || (self.merge.is_full() && !self.in_turn())
            || now.mono >= self.opened.mono + EOSE_STREAMING
            || self.quiet_end().is_some_and(|end| now.mono >= end)
            || (now.mono >= self.opened.mono + EOSE_SILENT
                && holding.all(|part| part.is_silent(now)))
    }

    /// Whether a relay that is waited for is not even about to be asked. What its client does after the
    /// EOSE would overtake the REQ.
    fn in_turn(&self) -> bool {
        self.parts.iter().any(|part| part.holds && part.waits() && part.request.is_none())
    }

    /// When to look at [`Self::eose_due`] again, if nothing happens before.
    pub(super) fn next_look(&self, now: Now) -> Duration {
        let awaited = self.parts.iter().filter(|part| part.is_awaited());
        let silent_ends = awaited.map(|part| part.turn.came + EOSE_SILENT);
        let all = [self.opened.mono + EOSE_STREAMING, self.opened.mono + EOSE_SILENT];
        all.into_iter()
            .chain(self.quiet_end())
            .chain(silent_ends)
            .filter(|at| *at > now.mono)
            .min()
            .unwrap_or(now.mono)
    }

    /// When the quiet since the first relay's EOSE ends the wait. A relay at which it is not its
    /// turn yet is not quiet, unless that is asked nothing for a while.
    fn quiet_end(&self) -> Option<Duration> {
        let waits = self.parts.iter().any(|part| part.holds && part.waits_for_place());
        let first = self.first_eose.filter(|_| !waits)?;
        Some(first.max(self.last_stored) + EOSE_QUIET)
    }
}

fn name(filters: &[Filter]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for filter in filters {
        hash.update(filter.to_json(None));
    }
    hash.finalize().into()
}

/// The filter as a relay is first asked for it. Of many ids it need not give the newest, where there is
/// a limit; there are no more events than ids.
fn asked_as(filter: &Filter, most: Option<u64>) -> String {
    let limit = filter.limit.filter(|limit| *limit > 0 && filter.most() == Some(*limit));
    if limit.is_some() && filter.ids.is_some() {
        return filter.to_json(None);
    }
    match most {
        Some(most) if filter.limit > Some(most) => filter.to_json(Some(most)),
        _ => filter.json.to_string(),
    }
}

/// From which date on a filter is asked for again, where events may have been missed since this one
/// (unix seconds, both). `None`: whatever the date.
///
/// All that is to come has to match it too, so there is a margin for clocks that are slow; and where
/// nothing is stored, there is nothing to be spared.
pub(in crate::router) fn asked_from(filter: &Filter, missed: u64) -> Option<u64> {
    if filter.is_ephemeral() {
        return filter.since;
    }
    let gift_wraps = filter.takes_gift_wraps();
    let margin = if gift_wraps { REPLAY_MARGIN_GIFT_WRAP } else { REPLAY_MARGIN };
    filter.since.max(Some(missed.saturating_sub(margin)))
}

/// The same, where it is later than what the client wants.
fn moved(filter: &Filter, missed: u64) -> Option<u64> {
    asked_from(filter, missed).filter(|since| Some(*since) != filter.since)
}

#[cfg(test)]
mod tests;
