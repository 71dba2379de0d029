//! One client's subscription: what every relay owes it, and when its stored events are complete.
//!
//! Owned by the router. Begins with a REQ, ends with a CLOSE, the client's going, or the last
//! relay's refusal. The rule of [`Subscription::eose_due`] is SPEC 3.2.

use std::sync::Arc;
use std::time::Duration;

use crate::constants::{
    EOSE_QUIET, EOSE_SILENT, EOSE_STREAMING, REPLAY_MARGIN, REPLAY_MARGIN_GIFT_WRAP, REPLAY_WINDOW,
};
use crate::filter::Filter;
use crate::hub::{ClientId, RelayId, Role};
use crate::message::{self, Resumed};
use crate::seen::Seen;
use crate::time::Now;

/// Where one relay stands with one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The relay has not been asked: it is not connected, or not at this yet.
    Unasked,
    /// The REQ has gone out and stored events may be coming.
    Asked {
        /// When it went out.
        at: Now,
        /// Whether anything has come for it.
        heard: bool,
        /// Whether it repeats an earlier REQ, or comes after the client's EOSE: ephemeral events
        /// before the relay's EOSE are then replays to be dropped (SPEC 3.7).
        replay: bool,
    },
    /// Stored events are complete; live ones come.
    Live,
    /// The relay has ended it.
    Refused,
}

/// One relay's part in a subscription.
#[derive(Debug)]
pub struct Part {
    /// The relay.
    pub relay: RelayId,
    /// Where it stands.
    pub stage: Stage,
    /// Whether the client's EOSE waits for this relay.
    pub holds: bool,
    /// Unix seconds since when events of this relay may have been missed, once it has been live.
    pub gap: Option<u64>,
}

impl Part {
    /// Whether the relay has sent nothing for the subscription.
    const fn is_silent(&self) -> bool {
        matches!(self.stage, Stage::Unasked | Stage::Asked { heard: false, .. })
    }
}

/// How far the client's EOSE is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Relays are waited for.
    Stored,
    /// No relay is waited for any longer, but events that came before are still being verified.
    Settling,
    /// EOSE is sent.
    Live,
}

/// One subscription of one client.
#[derive(Debug)]
pub struct Subscription {
    /// Whose it is.
    pub client: ClientId,
    /// The client's own id for it.
    pub id: Arc<str>,
    /// As the client gave them, less those nothing can match.
    pub filters: Vec<Filter>,
    /// The only relays its client wants; `None`: those set for reading.
    pub only: Option<Box<[RelayId]>>,
    /// Where its client is; inside this process, it is told by [`Self::news`].
    pub role: Role,
    whole: bool,
    /// A relay has given its EOSE since it was last looked at.
    ended: bool,
    /// What was given already.
    pub seen: Seen,
    /// Every readable relay.
    pub parts: Vec<Part>,
    /// How far the EOSE is.
    pub phase: Phase,
    /// Events that came before EOSE was due and are being verified.
    pub early: usize,
    /// All events for it that are being verified.
    pub unsettled: usize,
    /// The most telling refusal of a relay.
    pub refusal: Option<String>,
    /// When `timer` is set, for taking it back.
    pub timer: Option<Duration>,
    opened: Now,
    first_eose: Option<Duration>,
    last_stored: Duration,
}

impl Subscription {
    /// A new one, for these relays.
    pub fn new(
        client: ClientId,
        id: Arc<str>,
        filters: Vec<Filter>,
        relays: impl Iterator<Item = RelayId>,
        now: Now,
    ) -> Self {
        Self {
            client,
            id,
            filters,
            only: None,
            role: Role::Outside,
            whole: false,
            ended: false,
            seen: Seen::default(),
            parts: relays
                .map(|relay| Part { relay, stage: Stage::Unasked, holds: true, gap: None })
                .collect(),
            phase: Phase::Stored,
            early: 0,
            unsettled: 0,
            refusal: None,
            timer: None,
            opened: now,
            first_eose: None,
            last_stored: now.mono,
        }
    }

    /// It goes on with an earlier one that has had its EOSE, and is asked for as after the loss of a
    /// relay (SPEC 3.7): since then, or, where nobody knows since when events are missing, as by a
    /// relay that comes late.
    pub fn resume(&mut self, Resumed { since, whole }: Resumed) {
        self.phase = Phase::Live;
        if !whole {
            self.opened.unix = self.opened.unix.min(since);
        }
        for part in &mut self.parts {
            (part.holds, part.gap) = (false, whole.then_some(since));
        }
    }

    /// For a client inside: whether it has become whole, or is so no more.
    pub fn news(&mut self) -> Option<bool> {
        let behind = self.parts.iter().any(|part| part.stage != Stage::Live);
        // A relay that is removed may have owed something: only one that has given all it has makes
        // it whole.
        let ended = std::mem::take(&mut self.ended);
        let whole = !behind && (self.whole || ended);
        let changed =
            self.role == Role::Inside && std::mem::replace(&mut self.whole, whole) != whole;
        changed.then_some(whole)
    }

    /// Whether its client wants this relay, which is set for reading or not.
    pub fn wants(&self, relay: RelayId, read: bool) -> bool {
        self.only.as_ref().map_or(read, |only| only.contains(&relay))
    }

    /// The relay's part, if it has one.
    pub fn part(&mut self, relay: RelayId) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.relay == relay)
    }

    /// Gives a relay that was not there at the REQ its part. The EOSE does not wait for it.
    pub fn add_relay(&mut self, relay: RelayId) {
        if self.part(relay).is_none() {
            self.parts.push(Part { relay, stage: Stage::Unasked, holds: false, gap: None });
        }
    }

    /// The REQ for this relay, now going out under the number `key`. `None`: nothing to ask, now
    /// or any more.
    pub fn ask(&mut self, relay: RelayId, key: u64, now: Now) -> Option<String> {
        let late = self.phase != Phase::Stored;
        let Self { parts, filters, opened, .. } = self;
        let part = parts.iter_mut().find(|part| part.relay == relay)?;
        if part.stage != Stage::Unasked {
            return None;
        }
        let replay = late || part.gap.is_some();
        part.stage = Stage::Asked { at: now, heard: false, replay };
        let Some(gap) = part.gap else {
            // What came to a late relay since the REQ was live once, so no `limit` may hide it.
            let missed: Vec<String> = filters
                .iter()
                .filter(|filter| late && filter.limit.is_some())
                .filter_map(|filter| reaching_back(filter, opened.unix))
                .collect();
            let all = filters.iter().map(|filter| &*filter.json);
            return Some(message::req(key, all.chain(missed.iter().map(String::as_str))));
        };
        let repeated: Vec<String> =
            filters.iter().filter_map(|filter| reaching_back(filter, gap)).collect();
        if repeated.is_empty() {
            // Its time window lies before the gap: the relay has nothing to add.
            part.stage = Stage::Live;
            part.gap = None;
            return None;
        }
        Some(message::req(key, repeated.iter().map(String::as_str)))
    }

    /// An event has come from this relay. `None`: it was never asked. Else the date (unix seconds)
    /// before which an ephemeral event is no live one but an old order, to be dropped.
    pub fn hear(&mut self, relay: RelayId, now: Now) -> Option<u64> {
        let phase = self.phase;
        let part = self.parts.iter_mut().find(|part| part.relay == relay)?;
        match &mut part.stage {
            Stage::Asked { at, heard, replay } => {
                *heard = true;
                Some(if *replay && now.mono < at.mono + REPLAY_WINDOW {
                    u64::MAX
                } else if *replay || phase != Phase::Stored {
                    // Perhaps the first REQ, but the client no longer takes what comes for stored.
                    at.unix
                } else {
                    0
                })
            }
            Stage::Live => Some(0),
            Stage::Unasked | Stage::Refused => None,
        }
    }

    /// The event that was heard of this relay was a true one, or a copy of one: if the relay has
    /// not given its EOSE, it is still streaming.
    pub fn streams(&mut self, relay: RelayId, now: Now) {
        let part = self.parts.iter().find(|part| part.relay == relay);
        if part.is_some_and(|part| matches!(part.stage, Stage::Asked { .. })) {
            self.last_stored = now.mono;
        }
    }

    /// The relay's EOSE. False: it had none to give.
    pub fn relay_eose(&mut self, relay: RelayId, now: Now) -> bool {
        let Some(part) = self.part(relay) else { return false };
        if !matches!(part.stage, Stage::Asked { .. }) {
            return false;
        }
        part.stage = Stage::Live;
        part.holds = false;
        part.gap = None;
        self.first_eose.get_or_insert(now.mono);
        self.ended = true;
        true
    }

    /// The relay has ended the subscription. False: it was not asked.
    pub fn relay_closed(&mut self, relay: RelayId, now: Now) -> bool {
        let Some(part) = self.part(relay) else { return false };
        match part.stage {
            Stage::Unasked | Stage::Refused => return false,
            Stage::Live => part.gap = part.gap.or(Some(now.unix)),
            Stage::Asked { .. } => {}
        }
        part.stage = Stage::Refused;
        part.holds = false;
        true
    }

    /// The relay's connection is lost; its last sign of life was at `heard` (unix seconds).
    pub fn relay_lost(&mut self, relay: RelayId, heard: u64) {
        let Some(part) = self.part(relay) else { return };
        if part.stage == Stage::Live {
            // A first REQ that was not answered in full is asked again in full, so has no gap.
            part.gap = part.gap.or(Some(heard));
        }
        if part.stage != Stage::Unasked {
            part.holds = false;
        }
        part.stage = Stage::Unasked;
    }

    /// Whether every relay has ended it.
    pub fn is_refused(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.stage == Stage::Refused)
    }

    /// SPEC 3.2: whether no relay is waited for any longer.
    pub fn eose_due(&self, now: Now) -> bool {
        let mut holding = self.parts.iter().filter(|part| part.holds).peekable();
        holding.peek().is_none()
            || now.mono >= self.opened.mono + EOSE_STREAMING
            || self.quiet_end().is_some_and(|end| now.mono >= end)
            || (now.mono >= self.opened.mono + EOSE_SILENT && holding.all(Part::is_silent))
    }

    /// When to look at [`Self::eose_due`] again, if nothing happens before.
    pub fn next_look(&self, now: Now) -> Duration {
        let silent_end = self.opened.mono + EOSE_SILENT;
        [Some(self.opened.mono + EOSE_STREAMING), self.quiet_end(), Some(silent_end)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now.mono)
            .min()
            .unwrap_or(now.mono)
    }

    fn quiet_end(&self) -> Option<Duration> {
        self.first_eose.map(|first| first.max(self.last_stored) + EOSE_QUIET)
    }
}

/// The filter for what may have been missed since this date (unix seconds), with a margin.
fn reaching_back(filter: &Filter, since: u64) -> Option<String> {
    let gift_wraps = filter.takes_gift_wraps();
    let margin = if gift_wraps { REPLAY_MARGIN_GIFT_WRAP } else { REPLAY_MARGIN };
    filter.repeated(since.saturating_sub(margin))
}

#[cfg(test)]
mod tests;
