//! How fast a relay is asked (rule 3.5), where it says that too much comes at a time.
//!
//! nostream reads no message over its rate, be it a CLOSE, says so by a NOTICE that names none, and counts
//! those too: whoever goes on asking goes on being refused. So it is asked nothing for a while, twice as long
//! each time, and then one thing; when it answers that, all else follows. What it did not read is sent again.
//!
//! Such a NOTICE may be about an event, or about nothing: it counts only where something that was asked has
//! no answer yet, and what is answered ends the rest whatever was said meanwhile. A CLOSED that says so names
//! its request, which alone is asked again later (`again`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::constants::{
    EOSE_SILENT, PACE_CLOSES, PACE_LOOKS_BACK, PACE_REST, PACE_REST_MOST, PACE_TRIAL,
};
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
    /// How long it was let alone last, and when that began. Zero: it has borne what came after it.
    rest: Duration,
    began: Duration,
    /// The request, by its serial, whose answer shows that it bears more, …
    trial: Option<u64>,
    /// … or the CLOSE that it has read if it does not complain.
    trial_close: Option<RequestNumber>,
    /// How often it has said so since then: once for each message that it did not read.
    complaints: usize,
    /// CLOSEs that it may not have read, and when they went out.
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
    /// That has gone out.
    Tried,
}

impl Pace {
    /// Whether what waits for its turn waits for a place alone.
    pub(super) fn is_free(&self) -> bool {
        self.stage == PaceStage::Free
    }

    /// Whether there is nothing to be planned, since nothing goes out.
    pub(super) fn rests(&self) -> bool {
        self.stage == PaceStage::Rests
    }

    /// Whether the relay may have meant what was sent then.
    fn may_mean(&self, sent: Duration) -> bool {
        sent + PACE_LOOKS_BACK >= self.began
    }

    /// Too much has come at a time. `owes`: it has yet to answer something. How long it is to rest; `None`: it
    /// does, or that is about something else.
    fn slow_down(&mut self, owes: bool, now: Duration) -> Option<Duration> {
        let owes = owes || self.trial_close.is_some();
        if !owes && matches!(self.stage, PaceStage::Free | PaceStage::Tried) {
            return None;
        }
        self.complaints += 1;
        if matches!(self.stage, PaceStage::Rests | PaceStage::Tries) {
            return None;
        }
        if let Some(unread) = self.trial_close.take() {
            self.closes.push_back((now, unread));
        }
        let again = !self.rest.is_zero() && now < self.began + self.rest + PACE_REST_MOST;
        self.rest = if again { (2 * self.rest).min(PACE_REST_MOST) } else { PACE_REST };
        (self.stage, self.began) = (PaceStage::Rests, now);
        Some(self.rest)
    }

    /// A CLOSE goes out. While all is well, only the latest may have to be sent again.
    fn note_close(&mut self, number: RequestNumber, now: Duration) {
        let is_read = |(at, _): &(Duration, _)| *at + PACE_LOOKS_BACK < now;
        while self.closes.len() >= PACE_CLOSES
            || (self.is_free() && self.closes.front().is_some_and(is_read))
        {
            self.closes.pop_front();
        }
        self.closes.push_back((now, number));
    }
}

/// One of the things that wait while a relay rests. Events do not: who publishes waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::router) enum Paced {
    Ask(RequestNumber),
    /// A COUNT, or a question of the outbox's.
    Other,
    Close(RequestNumber),
}

impl Paced {
    /// `None`: it does not wait.
    pub(in crate::router) const fn of(work: &Work) -> Option<Self> {
        match work {
            Work::Ask(number) => Some(Self::Ask(*number)),
            Work::Count(_) | Work::Question(_) => Some(Self::Other),
            Work::Close(number) => Some(Self::Close(*number)),
            Work::Auth(_) | Work::Publish { .. } => None,
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
        let unanswered = !self.open_where(id, is_owed).is_empty();
        let now = turn.now.mono;
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        let closed =
            upstream.pace.closes.back().is_some_and(|(at, _)| *at + PACE_LOOKS_BACK >= now);
        let Some(rest) = upstream.pace.slow_down(unanswered || closed, now) else { return };
        upstream.refusal = Some(why.clone());
        relays.slowed_down(id, why, turn);
        subscriptions.rest(id, turn);
        turn.timers.set(Timer::Pace(id), now + rest);
        self.count_soon(id, turn);
    }

    /// The relay has rested, or had time for what it was tried with.
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
                // If there is nothing else to try it with.
                let close = upstream.pace.closes.pop_back().map(|(_, number)| number);
                if let Some(number) = close.filter(|number| !self.is_wanted(id, *number)) {
                    relays.push(id, Work::Close(number), turn);
                }
                for number in self.unread(id) {
                    self.ask_members_again(id, number, false, subscriptions, relays, turn);
                }
                turn.timers.set(Timer::Pace(id), turn.now.mono + PACE_TRIAL);
                turn.due.plan.insert(id);
                turn.due.send.insert(id);
            }
            // There was nothing to try it with, or it has not complained of that.
            PaceStage::Tries | PaceStage::Tried => self.go_on(id, relays, turn),
            PaceStage::Free => {}
        }
    }

    /// Requests, or parts and pages of some, that the relay may have meant. It may be slow with others.
    fn unread(&self, id: RelayId) -> Vec<RequestNumber> {
        let Some(upstream) = self.upstreams.get(&id) else { return Vec::new() };
        let meant = |at| upstream.pace.may_mean(at);
        self.open_where(id, |request| is_owed(request) && request.sent_at.is_some_and(meant))
    }

    /// The relay is sent all that waits. It may not know of some ends.
    fn go_on(&mut self, id: RelayId, relays: &mut Relays, turn: &mut Turn<'_>) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        (upstream.pace.stage, upstream.pace.trial) = (PaceStage::Free, None);
        upstream.pace.trial_close = None;
        turn.timers.stop(Timer::Pace(id));
        let unread = std::mem::take(&mut upstream.pace.complaints);
        let closes = std::mem::take(&mut upstream.pace.closes);
        for (_, number) in closes.into_iter().rev().take(unread).rev() {
            if !self.is_wanted(id, number) {
                relays.push(id, Work::Close(number), turn);
            }
        }
        turn.due.plan.insert(id);
        turn.due.send.insert(id);
    }

    /// Whether the number is that of another request by now, which has not ended.
    fn is_wanted(&self, id: RelayId, number: RequestNumber) -> bool {
        self.all.get(&(id, self.own(id, number))).is_some_and(|request| !request.is_over())
    }

    /// A relay has answered a request, or a part of it. If it was the latest that it was tried with, what it
    /// has said meanwhile was about something else.
    pub(super) fn bears(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        let request = self.all.get(&(id, number));
        let serial = request.map(Request::serial);
        let sent = request.and_then(|request| request.sent_at).unwrap_or_default();
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        // Where it has not complained, it has read all that went out before.
        while upstream.pace.is_free()
            && upstream.pace.closes.front().is_some_and(|(at, _)| *at < sent)
        {
            upstream.pace.closes.pop_front();
        }
        if upstream.pace.trial.is_some() && upstream.pace.trial == serial {
            upstream.pace.rest = Duration::ZERO;
            self.go_on(id, relays, turn);
        }
    }

    /// It has complained of something else: so it has read what it was tried with, perhaps.
    pub(super) fn bears_something(
        &mut self,
        id: RelayId,
        relays: &mut Relays,
        turn: &mut Turn<'_>,
    ) {
        if self.upstreams.get(&id).is_some_and(|it| it.pace.stage == PaceStage::Tried) {
            self.go_on(id, relays, turn);
        }
    }

    /// Whether this request's time is the relay's, which rests or is tried: it is asked again after that, if it
    /// was meant. What the relay had been asked long before has its own time.
    pub(super) fn is_paced(&self, id: RelayId, request: &Request) -> bool {
        self.upstreams.get(&id).is_some_and(|upstream| {
            !upstream.pace.is_free() && request.sent_at.is_some_and(|at| upstream.pace.may_mean(at))
        })
    }

    /// Whether it may be sent what is paced; if it is tried, whether only a REQ shows what it bears.
    pub(in crate::router) fn may_be_asked(&self, id: RelayId) -> (bool, bool) {
        let stage = self.upstreams.get(&id).map_or(PaceStage::Free, |upstream| upstream.pace.stage);
        (matches!(stage, PaceStage::Free | PaceStage::Tries), stage == PaceStage::Tries)
    }

    /// It is sent this.
    pub(in crate::router) fn goes(&mut self, id: RelayId, paced: Paced, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let serial = match paced {
            Paced::Ask(number) => self.note_sent(id, number, turn),
            Paced::Other | Paced::Close(_) => None,
        };
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        let close = if let Paced::Close(number) = paced { Some(number) } else { None };
        if upstream.pace.stage == PaceStage::Tries {
            (upstream.pace.stage, upstream.pace.trial) = (PaceStage::Tried, serial);
            upstream.pace.trial_close = close;
            let time = if serial.is_some() { EOSE_SILENT } else { PACE_TRIAL };
            turn.timers.set(Timer::Pace(id), now + time);
        } else if let Some(number) = close {
            upstream.pace.note_close(number, now);
        }
    }

    /// A message of a request goes out; the request's serial. A part or a page may have waited for long, and
    /// has its time from now on.
    fn note_sent(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        turn: &mut Turn<'_>,
    ) -> Option<u64> {
        let own = self.own(id, number);
        let request = self.get_mut(id, own)?;
        request.sent_at = Some(turn.now.mono);
        let serial = request.serial();
        if own != number {
            let is_page = request.wires.page == Some(number);
            let time = if is_page { EOSE_SILENT } else { request.patience };
            turn.timers.set(Timer::Request(id, own), turn.now.mono + time);
        }
        Some(serial)
    }
}

/// Whether the relay has yet to send something of it, and has not begun.
fn is_owed(request: &Request) -> bool {
    let in_pieces = !request.wires.others.is_empty() || request.wires.page.is_some();
    request.is_unheard() || (in_pieces && request.unanswered().is_some())
}
