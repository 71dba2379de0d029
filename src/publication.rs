//! One published event on its way to the relays, and the answer it gets.
//!
//! Owned by the router from the moment the event is verified until it is answered. The rules are
//! SPEC 1.3: `true` at the first relay's `true`, `false` once every relay it was sent to has said
//! so, and `true … unanswered` at the deadline if it has left for a relay that says nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::event::Event;
use crate::hub::{ClientId, RelayId};

/// What became of the event at one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Waiting here for the connection to take it. Can still be taken back.
    Queued,
    /// Given to the connection.
    Sent,
    /// Given to the connection, which died before an answer came.
    Lost,
    /// The connection died before it took the event.
    Unsent,
    /// Answered `true`, or that it has it already.
    Accepted,
    /// Answered `false`.
    Refused,
}

/// What the clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `true`: in safe hands, or on its way there.
    pub accepted: bool,
    /// The reason.
    pub why: String,
}

/// One event, and everybody who waits for its OK.
#[derive(Debug)]
pub struct Publication {
    /// The event.
    pub event: Arc<Event>,
    /// One entry per EVENT that is owed an OK.
    pub waiters: Vec<ClientId>,
    /// When it is answered at the latest.
    pub deadline: Duration,
    relays: Vec<(RelayId, Delivery)>,
    refusal: Option<String>,
}

impl Publication {
    /// For these relays, none of which has it yet.
    pub fn new(
        event: Arc<Event>,
        waiters: Vec<ClientId>,
        deadline: Duration,
        relays: impl Iterator<Item = RelayId>,
    ) -> Self {
        Self {
            event,
            waiters,
            deadline,
            relays: relays.map(|relay| (relay, Delivery::Queued)).collect(),
            refusal: None,
        }
    }

    /// The connection has taken it.
    pub fn sent(&mut self, relay: RelayId) {
        self.step(relay, Delivery::Queued, Delivery::Sent);
    }

    /// The relay's OK. `None`: the event's fate is still open (or the relay had no say).
    pub fn answered(&mut self, relay: RelayId, accepted: bool, why: &str) -> Option<Answer> {
        let has_it = accepted || why.starts_with("duplicate:");
        let after = if has_it { Delivery::Accepted } else { Delivery::Refused };
        if !self.step(relay, Delivery::Sent, after) {
            return None;
        }
        if has_it {
            return Some(Answer { accepted: true, why: why.to_owned() });
        }
        self.refusal = Some(more_telling(self.refusal.take(), why));
        self.verdict()
    }

    /// The relay's connection has died; `unsent`: before it took the event.
    pub fn lost(&mut self, relay: RelayId, unsent: bool) -> Option<Answer> {
        let after = if unsent { Delivery::Unsent } else { Delivery::Lost };
        let changed = self.step(relay, Delivery::Sent, after)
            || self.step(relay, Delivery::Queued, Delivery::Unsent);
        if changed { self.verdict() } else { None }
    }

    /// The deadline has passed: the answer, whatever is still open. If it is `false`, the event
    /// must be taken back wherever it is queued.
    pub fn deadline(&self) -> Answer {
        let count = |which: fn(Delivery) -> bool| {
            self.relays.iter().filter(|(_, delivery)| which(*delivery)).count()
        };
        let unanswered = count(|delivery| matches!(delivery, Delivery::Sent | Delivery::Lost));
        if unanswered > 0 {
            let sent = unanswered + count(|delivery| delivery == Delivery::Refused);
            return Answer { accepted: true, why: format!("sent to {sent} relays, unanswered") };
        }
        self.refused()
    }

    /// Whether a relay has it for certain.
    pub fn is_accepted(&self) -> bool {
        self.relays.iter().any(|(_, delivery)| *delivery == Delivery::Accepted)
    }

    /// `false` where no relay has the event and none will get it.
    pub fn verdict(&self) -> Option<Answer> {
        let over = |delivery| matches!(delivery, Delivery::Refused | Delivery::Unsent);
        self.relays.iter().all(|(_, delivery)| over(*delivery)).then(|| self.refused())
    }

    fn refused(&self) -> Answer {
        let none = "error: no relay connected";
        Answer { accepted: false, why: self.refusal.clone().unwrap_or_else(|| none.to_owned()) }
    }

    fn step(&mut self, relay: RelayId, from: Delivery, to: Delivery) -> bool {
        match self.relays.iter_mut().find(|(id, delivery)| *id == relay && *delivery == from) {
            Some((_, delivery)) => {
                *delivery = to;
                true
            }
            None => false,
        }
    }
}

/// Of two refusals the one that tells a client more about what to do. Used for OK and CLOSED.
pub fn more_telling(kept: Option<String>, new: &str) -> String {
    match kept {
        Some(kept) if weight(&kept) >= weight(new) => kept,
        _ => new.to_owned(),
    }
}

/// What is wrong with the message itself tells most, what is wrong with the relay least.
fn weight(why: &str) -> u8 {
    match why.split_once(':').map_or("", |(prefix, _)| prefix) {
        "invalid" => 8,
        "pow" => 7,
        "blocked" => 6,
        "restricted" => 5,
        "auth-required" => 4,
        "rate-limited" => 3,
        "error" => 2,
        _ => u8::from(!why.is_empty()),
    }
}

#[cfg(test)]
mod tests;
