//! One relay's part in a subscription: what it was asked, what it has sent, and whether the client's
//! EOSE waits for it.
//!
//! A part's stage changes by the steps below and by those of its subscription, by nothing else:
//!
//! ```text
//! Away ◀──gone, line_up──▶ Unasked
//!
//! Unasked ──ask, resumed──▶ Asked ──eose──▶ Live
//!    ▲  ▲                     │               │
//!    │  └────── lost, ask_again ◀─────────────┤
//!    │                        ▼               ▼
//!    └──────── forgive ──── Refused ◀── refused (also of what was not asked yet)
//! ```
//!
//! No refusal is for ever (rule 3.5): each has a time at which the relay is asked again.

use std::time::Duration;

use crate::base::time::Now;
use crate::constants::{EOSE_SILENT, REFUSED_FIRST, REFUSED_FOR_GOOD, REFUSED_MOST, REFUSED_RESET};
use crate::ids::{RelayId, RequestNumber};

use super::merge::{FIRST, Rank};

/// Where one relay stands with one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartStage {
    /// The relay cannot be reached for now: nobody waits for it until it connects.
    Away,
    /// The relay has not been asked: it is about to connect, or not at this yet.
    Unasked,
    /// The REQ has gone out and stored events may be coming.
    Asked {
        /// Whether anything has come for it.
        heard: bool,
    },
    /// Stored events are complete; live ones come.
    Live,
    /// The relay does not serve it, for now.
    Refused(Refusal),
}

/// What a relay does for a subscription, as the owner is shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// It brings the events, or is asked for them.
    Served,
    /// It does not serve it: it has refused it or has not answered, and has not served it since.
    Refused,
    /// It is connected and has not been asked.
    Waits,
}

/// What a relay's refusal means to the subscription it refuses (rule 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) enum Refusal {
    /// The same may be served in a moment: it is asked again soon, with growing pauses.
    Passing,
    /// The same, and the relay may have spoken of something else: before its EOSE a client is not told.
    Unsure,
    /// It will not be served unless something changes. It is asked again all the same, rarely.
    ForGood,
}

/// See the module's own page.
#[derive(Debug)]
pub(in crate::router) struct Part {
    pub(super) relay: RelayId,
    pub(super) stage: PartStage,
    /// Whether it is asked for what the subscription searches (NIP-50).
    pub(super) searches: bool,
    /// The client's EOSE waits for this relay, unless it is away: it has not answered.
    pub(super) holds: bool,
    /// Since when events of this relay may have been missed, once it has been live.
    pub(super) gap: Option<Now>,
    /// The relay's request that brings its events.
    pub(super) request: Option<RequestNumber>,
    /// The request it moves to as soon as that one is live.
    next: Option<RequestNumber>,
    pub(super) turn: InLine,
    /// What else there is to its waiting for a turn.
    pub(super) delay: Delay,
    pub(super) stream: Stream,
    patience: Patience,
}

/// How long a relay that did not serve it is let alone.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    /// Times in a row that it was not served.
    times: u32,
    /// When that was last.
    last: Duration,
    /// That was on this connection, and it was not served since.
    lasts: bool,
    /// Since when it was served last.
    served: Duration,
}

/// How a subscription comes to be asked for on a relay's connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InLine {
    /// It waits for its turn, though the relay is connected.
    pub(super) waits: bool,
    /// When its turn came, if it had to wait.
    pub(super) came: Duration,
    /// A request for several subscriptions was refused: it is asked for alone.
    alone: bool,
    /// The relay has been asked on this connection.
    pub(super) used: bool,
}

/// Why a turn is long in coming, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    /// There is no place yet.
    None,
    /// The relay is asked nothing for a while: nobody whom others have answered waits for that.
    Rests,
    /// The relay answers nobody else either.
    Stalls,
}

/// A relay's stored events, as far as they have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    /// None is to come that would stand before this.
    pub(super) rank: Rank,
    /// How many results of a search have come.
    pub(super) found: u64,
    /// The relay does not keep the order.
    pub(super) disordered: bool,
    /// The client's EOSE did not wait for the rest, which has no place.
    pub(super) passed: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self { rank: FIRST, found: 0, disordered: false, passed: false }
    }
}

/// How an event has come to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::router) enum Came {
    /// As one of those a relay stores, or new before the relay said that these are complete.
    Stored,
    /// The same, to a request that repeats an earlier one or comes late.
    Repeated,
    /// New.
    Live,
}

impl Part {
    /// Of a relay that has not been asked.
    pub(super) fn new(relay: RelayId, searches: bool, holds: bool) -> Self {
        Self {
            relay,
            stage: PartStage::Unasked,
            searches,
            holds,
            gap: None,
            request: None,
            next: None,
            turn: InLine::default(),
            delay: Delay::None,
            stream: Stream::default(),
            patience: Patience::default(),
        }
    }

    /// Whose part it is.
    pub(in crate::router) const fn relay(&self) -> RelayId {
        self.relay
    }

    /// Whether the relay has not said that its events are not for this one.
    pub(super) const fn is_willing(&self) -> bool {
        !matches!(self.stage, PartStage::Refused(Refusal::ForGood))
    }

    /// The request that brings its events.
    pub(in crate::router) const fn request(&self) -> Option<RequestNumber> {
        self.request
    }

    /// The requests that bring its events, or are about to.
    pub(in crate::router) fn requests(&self) -> impl Iterator<Item = RequestNumber> {
        [self.request, self.next].into_iter().flatten()
    }

    /// Whether another request is about to bring its events.
    pub(super) const fn moves(&self) -> bool {
        self.next.is_some()
    }

    /// Whether one of them is this.
    pub(super) fn needs(&self, number: RequestNumber) -> bool {
        self.requests().any(|own| own == number)
    }

    /// Since when events may have been missed that it is to be asked for again.
    pub(in crate::router) const fn gap(&self) -> Option<Now> {
        self.gap
    }

    /// Whether it may be asked for in one request with others.
    pub(in crate::router) const fn goes_with_others(&self) -> bool {
        !self.turn.alone
    }

    /// Whether the relay has been asked for it on this connection.
    pub(in crate::router) const fn was_used(&self) -> bool {
        self.turn.used
    }

    /// Whether the relay has ever served it.
    pub(in crate::router) const fn was_served(&self) -> bool {
        !self.patience.served.is_zero()
    }

    /// Whether it waits for its turn.
    pub(in crate::router) const fn is_lined_up(&self) -> bool {
        self.turn.waits && self.request.is_none()
    }

    /// Whether it is to be asked for and nothing is on its way to that.
    pub(in crate::router) fn is_idle(&self) -> bool {
        self.stage == PartStage::Unasked && !self.turn.waits && self.request.is_none()
    }

    /// Whether the client's EOSE waits for this relay now.
    pub(super) fn is_awaited(&self) -> bool {
        self.holds && self.stage != PartStage::Away
    }

    /// Whether it waits for its turn, and the turns go on.
    pub(super) fn waits(&self) -> bool {
        self.turn.waits && self.delay != Delay::Stalls
    }

    /// The same, and nothing but a place is missing.
    pub(super) fn waits_for_place(&self) -> bool {
        self.turn.waits && self.delay == Delay::None
    }

    /// Whether the relay has sent nothing for the subscription by now, though it could have.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        match self.stage {
            PartStage::Away | PartStage::Refused(Refusal::Unsure) => true,
            PartStage::Unasked => !self.waits(),
            PartStage::Asked { heard } => !heard && now.mono >= self.turn.came + EOSE_SILENT,
            PartStage::Live | PartStage::Refused(_) => false,
        }
    }

    /// It begins to wait for its turn. False: it does already, or was asked for.
    pub(super) fn line_up(&mut self, rests: bool) -> bool {
        self.come();
        let idle = self.is_idle();
        self.turn.waits |= idle;
        if self.delay != Delay::Stalls {
            self.delay = if rests { Delay::Rests } else { Delay::None };
        }
        idle
    }

    pub(super) const fn join(&mut self, number: RequestNumber, later: bool) {
        if later {
            self.next = Some(number);
        } else {
            self.request = Some(number);
        }
    }

    pub(super) fn move_on(&mut self, to: RequestNumber) -> Option<RequestNumber> {
        self.next = None;
        self.request.replace(to).filter(|from| *from != to)
    }

    pub(super) fn unjoin(&mut self, number: RequestNumber) {
        if self.request == Some(number) {
            self.leave_request();
        }
        self.next = self.next.filter(|own| *own != number);
    }

    /// It has no request any more. It had its turn, whether that request went out or not.
    const fn leave_request(&mut self) {
        if self.request.take().is_some() {
            self.turn.waits = false;
        }
    }

    pub(super) const fn resumed(&mut self) {
        self.stage = PartStage::Asked { heard: false };
        (self.turn.waits, self.turn.used) = (false, true);
    }

    pub(super) fn ask_again(&mut self, alone: bool, now: Now) {
        if self.stage == PartStage::Live {
            self.gap = self.gap.or(Some(now));
        }
        self.stage = PartStage::Unasked;
        self.leave_request();
        self.next = None;
        self.turn.alone |= alone;
    }

    /// The relay does not serve it. How long it is let alone.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Now) -> Duration {
        let was_live = self.stage == PartStage::Live;
        if was_live && now.mono >= self.patience.served + REFUSED_RESET {
            self.patience.times = 0;
        }
        self.stage = PartStage::Refused(refusal);
        self.patience.lasts = true;
        (self.request, self.next, self.turn.waits) = (None, None, false);
        match refusal {
            Refusal::Passing | Refusal::Unsure => self.patience.after(REFUSED_FIRST, now),
            Refusal::ForGood => REFUSED_FOR_GOOD,
        }
    }

    /// The relay has not answered in time.
    pub(super) fn lose_patience(&mut self, now: Now) {
        self.patience.after(EOSE_SILENT, now);
        self.patience.lasts = true;
    }

    /// The relay has given its EOSE.
    pub(super) const fn eose(&mut self, now: Now) {
        self.stage = PartStage::Live;
        self.gap = None;
        (self.patience.lasts, self.patience.served) = (false, now.mono);
    }

    /// What the relay does for it. `None`: it cannot.
    pub(super) const fn service(&self) -> Option<Service> {
        match self.stage {
            PartStage::Away => None,
            PartStage::Refused(_) => Some(Service::Refused),
            PartStage::Unasked | PartStage::Asked { heard: false } if self.patience.lasts => {
                Some(Service::Refused)
            }
            PartStage::Unasked => Some(Service::Waits),
            PartStage::Asked { .. } | PartStage::Live => Some(Service::Served),
        }
    }

    /// How long an answer is waited for before it is asked again. A slow relay is given more each time.
    pub(in crate::router) fn patience(&self) -> Duration {
        EOSE_SILENT.saturating_mul(2_u32.saturating_pow(self.patience.times)).min(REFUSED_MOST)
    }

    /// Whether the relay has not served it more than once or twice by now.
    pub(super) const fn is_refused_often(&self) -> bool {
        self.patience.times > 1
    }

    /// Whether the relay has left it without an answer, and does so still.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.patience.times > 0
            && matches!(self.stage, PartStage::Unasked | PartStage::Asked { heard: false })
    }

    /// It may be asked once more. False: it has refused nothing.
    pub(super) fn forgive(&mut self) -> bool {
        let refused = matches!(self.stage, PartStage::Refused(_));
        if refused {
            self.stage = PartStage::Unasked;
        }
        refused
    }

    pub(super) const fn hear_noise(&mut self) {
        if let PartStage::Asked { heard } = &mut self.stage {
            *heard = true;
        }
    }

    /// The turns do not go on. True: the EOSE waited for its turn.
    pub(super) fn stall(&mut self) -> bool {
        let waited = self.holds && self.waits();
        if waited {
            self.delay = Delay::Stalls;
        }
        waited
    }

    /// The relay is asked nothing for a while. True: the EOSE waited for its turn.
    pub(super) fn rest(&mut self) -> bool {
        let waited = self.holds && self.waits();
        if waited {
            self.delay = Delay::Rests;
        }
        waited
    }

    /// The relay is there again.
    pub(super) fn come(&mut self) {
        if self.stage == PartStage::Away {
            self.stage = PartStage::Unasked;
        }
    }

    /// The relay cannot be reached. True: the EOSE waited for it, and does no longer.
    pub(super) fn gone(&mut self) -> bool {
        let waited = self.is_awaited() && self.stage == PartStage::Unasked;
        if self.stage == PartStage::Unasked {
            self.stage = PartStage::Away;
        }
        waited
    }

    /// Its connection is lost, and nothing has come since then. True: the EOSE waited for it, and does no
    /// longer.
    pub(super) fn lost(&mut self, since: Now) -> bool {
        if self.stage == PartStage::Live {
            // A first REQ that was not answered in full is asked again in full, so has no gap.
            self.gap = self.gap.or(Some(since));
        }
        let held = self.stage != PartStage::Unasked && std::mem::take(&mut self.holds);
        self.stage = PartStage::Unasked;
        (self.request, self.next, self.turn) = (None, None, InLine::default());
        (self.delay, self.patience.lasts) = (Delay::None, false);
        held
    }
}

impl Patience {
    /// Once more it was not served. The pause: `first`, doubled each time, up to [`REFUSED_MOST`]. Begins
    /// anew where nothing went wrong for longer than that.
    fn after(&mut self, first: Duration, now: Now) -> Duration {
        if now.mono >= self.last + 2 * REFUSED_MOST {
            self.times = 0;
        }
        let pause = first.saturating_mul(2_u32.saturating_pow(self.times)).min(REFUSED_MOST);
        (self.times, self.last) = (self.times.saturating_add(1), now.mono);
        pause
    }
}
