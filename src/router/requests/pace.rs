//! How fast a relay is asked (rule 4.3), where it says that too much comes at a time.
//!
//! nostream reads no message over its rate, be it a CLOSE, says so by a NOTICE that names none, and counts
//! those too: whoever goes on asking goes on being refused. So it is asked nothing for a while, twice as long
//! each time, and then one thing; when it bears that, all else follows. What it did not read is sent again.
//!
//! A CLOSED that says so names its request, which alone is asked again later (`again`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::constants::{PACE_CLOSES, PACE_LOOKS_BACK, PACE_REST, PACE_REST_MOST, PACE_TRIAL};
use crate::ids::{RelayId, RequestNumber};
use crate::nostr::reason::Reason;
use crate::router::relays::{Relays, Work};
use crate::router::subscriptions::Subscriptions;
use crate::router::turn::{Timer, Turn};

use super::Requests;
use super::request::Request;

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Pace {
    stage: PaceStage,
    /// How long it was let alone last.
    rest: Duration,
    /// CLOSEs that went out lately, and when: the relay may not have read them.
    closes: VecDeque<(Duration, RequestNumber)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum PaceStage {
    /// It is sent what there is.
    #[default]
    Free,
    /// It is asked nothing.
    Rests,
    /// The next thing it is asked shows whether it bears more.
    Tries,
    /// That has gone out: this request, by its serial, or something that has no answer.
    Tried(Option<u64>),
}

impl Pace {
    /// Whether what waits for its turn waits for the relay to have rested, too.
    pub(super) fn is_free(&self) -> bool {
        self.stage == PaceStage::Free
    }

    /// Whether there is nothing to be planned, since nothing goes out.
    pub(super) fn rests(&self) -> bool {
        self.stage == PaceStage::Rests
    }

    /// Too much has come at a time. How long it is to rest; `None`: it does.
    fn slow_down(&mut self) -> Option<Duration> {
        self.rest = match self.stage {
            PaceStage::Rests => return None,
            PaceStage::Free => PACE_REST,
            PaceStage::Tries => self.rest, // over something that is not asked
            PaceStage::Tried(_) => (2 * self.rest).min(PACE_REST_MOST),
        };
        self.stage = PaceStage::Rests;
        Some(self.rest)
    }

    fn note_close(&mut self, number: RequestNumber, now: Duration) {
        let late = |(at, _): &(Duration, _)| *at + PACE_LOOKS_BACK < now;
        while self.closes.len() >= PACE_CLOSES || self.closes.front().is_some_and(late) {
            self.closes.pop_front();
        }
        self.closes.push_back((now, number));
    }
}

/// One of the things that wait while a relay rests. Events do not: who publishes waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::router) enum Paced {
    Ask(RequestNumber),
    Count,
    Close(RequestNumber),
}

impl Paced {
    /// `None`: it does not wait.
    pub(in crate::router) const fn of(work: &Work) -> Option<Self> {
        match work {
            Work::Ask(number) => Some(Self::Ask(*number)),
            Work::Count(_) => Some(Self::Count),
            Work::Close(number) => Some(Self::Close(*number)),
            Work::Text(_) | Work::Publish { .. } => None,
        }
    }
}

impl Requests {
    /// The relay has said so, naming nothing.
    pub(super) fn slow_down(
        &mut self,
        id: RelayId,
        why: &Reason,
        subscriptions: &mut Subscriptions,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        let Some(rest) = upstream.pace.slow_down() else { return };
        upstream.refusal = Some(why.clone());
        relays.refused_subscription(id, why, turn);
        subscriptions.rest(id, turn);
        for number in self.open_where(id, Request::is_unheard) {
            // It is asked again after the rest.
            turn.timers.stop(Timer::Request(id, number));
        }
        turn.timers.set(Timer::Pace(id), turn.now.mono + rest);
        self.count_soon(id, turn);
    }

    /// The relay has rested, or borne what it was tried with.
    pub(in crate::router) fn pace_due(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        match upstream.pace.stage {
            PaceStage::Rests => {
                upstream.pace.stage = PaceStage::Tries;
                for number in self.open_where(id, Request::is_unheard) {
                    self.ask_members_again(id, number, false, subscriptions, relays, turn);
                }
                turn.due.plan.insert(id);
            }
            PaceStage::Tried(_) => self.go_on(id, relays, turn),
            PaceStage::Free | PaceStage::Tries => {}
        }
        turn.due.send.insert(id);
    }

    /// The relay bears what it is sent. It may not know of some ends.
    fn go_on(&mut self, id: RelayId, relays: &mut Relays, turn: &mut Turn<'_>) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        upstream.pace.stage = PaceStage::Free;
        turn.timers.stop(Timer::Pace(id));
        let closes = std::mem::take(&mut upstream.pace.closes);
        for (_, number) in closes {
            // The number may be another's by now.
            if !self.contains(id, number) {
                relays.push(id, Work::Close(number), turn);
            }
        }
        turn.due.plan.insert(id);
        turn.due.send.insert(id);
    }

    /// A relay has answered the request of this serial.
    pub(super) fn bears(
        &mut self,
        id: RelayId,
        serial: u64,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let tried = PaceStage::Tried(Some(serial));
        if self.upstreams.get(&id).is_some_and(|upstream| upstream.pace.stage == tried) {
            self.go_on(id, relays, turn);
        }
    }

    /// Whether it may be sent what is paced.
    pub(in crate::router) fn may_be_asked(&self, id: RelayId) -> bool {
        let stage = self.upstreams.get(&id).map_or(PaceStage::Free, |upstream| upstream.pace.stage);
        matches!(stage, PaceStage::Free | PaceStage::Tries)
    }

    /// It is sent this.
    pub(in crate::router) fn goes(&mut self, id: RelayId, paced: Paced, turn: &mut Turn<'_>) {
        let serial = match paced {
            Paced::Ask(number) => self.all.get(&(id, self.own(id, number))).map(Request::serial),
            Paced::Count | Paced::Close(_) => None,
        };
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        if let Paced::Close(number) = paced {
            upstream.pace.note_close(number, turn.now.mono);
        }
        if upstream.pace.stage == PaceStage::Tries {
            upstream.pace.stage = PaceStage::Tried(serial);
            turn.timers.set(Timer::Pace(id), turn.now.mono + PACE_TRIAL);
        }
    }
}
