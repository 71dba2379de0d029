//! What waits for a relay's connection, and goes out in order.
//!
//! What the connection has not taken yet stays here, where it can still be taken back: a REQ whose
//! client has gone, an event that was refused in the meantime. [`RELAY_WINDOW`] messages at most are
//! with the connection and out of reach. A relay that reads too slowly for the events it is to take
//! loses the oldest of them (others have had them), a stalled one its connection; no client can do
//! either to a relay by what it subscribes to.
//!
//! [`RELAY_WINDOW`]: crate::constants::RELAY_WINDOW

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Now;
use crate::constants::{
    OK_DEADLINE, OUTBOX_AHEAD, RELAY_DEAD_ASKS, RELAY_EVENT_BYTES, RELAY_EVENTS,
};
use crate::ids::{RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId, is_ephemeral};
use crate::nostr::message;

use super::arrivals::Arrival;
use super::{Effects, Outgoing, Router, named};

/// Something to be sent to a relay. The text is made when its turn comes.
#[derive(Debug)]
enum Work {
    Ask(RequestNumber),
    /// A REQ that is no client's, or an AUTH.
    AskOnce(String),
    /// A COUNT.
    Count(RequestNumber),
    Close(RequestNumber),
    Publish {
        event: Arc<Event>,
        /// An ephemeral event is not sent after this (rule 1.5).
        until: Duration,
    },
}

/// Everything that is to be sent to one relay, in order.
#[derive(Debug, Default)]
pub(super) struct Line {
    work: VecDeque<Work>,
    /// Events in `work`, and their bytes.
    events: usize,
    event_bytes: usize,
    /// REQs in `work` whose request has ended.
    dead: usize,
    /// The outbox has more for it than was let in line.
    pub(super) more: bool,
}

impl Line {
    /// Events in line.
    pub(super) const fn events(&self) -> usize {
        self.events
    }

    /// Empties it; the events that were in line, in order.
    pub(super) fn take_events(&mut self) -> Vec<Arc<Event>> {
        let line = std::mem::take(self);
        let events = line.work.into_iter().filter_map(|work| match work {
            Work::Publish { event, .. } => Some(event),
            Work::Ask(_) | Work::AskOnce(_) | Work::Count(_) | Work::Close(_) => None,
        });
        events.collect()
    }

    /// Takes the events out of the line that are not to be kept.
    pub(super) fn drop_events(&mut self, keep: impl Fn(&EventId) -> bool) -> Vec<EventId> {
        let Self { work, events, event_bytes, more, .. } = self;
        let mut dropped = Vec::new();
        work.retain(|work| match work {
            Work::Publish { event, .. } if !keep(&event.id) => {
                dropped.push(event.id);
                *events -= 1;
                *event_bytes -= event.json.len();
                false
            }
            _ => true,
        });
        *more = false;
        dropped
    }

    /// A message that goes before all that waits.
    pub(super) fn first(&mut self, text: String) {
        self.work.push_front(Work::AskOnce(text));
    }

    /// Takes one event out of the line.
    pub(super) fn take_back(&mut self, id: &EventId) {
        let Self { work, events, event_bytes, .. } = self;
        work.retain(|work| match work {
            Work::Publish { event, .. } if event.id == *id => {
                *events -= 1;
                *event_bytes -= event.json.len();
                false
            }
            _ => true,
        });
    }

    fn publish(&mut self, event: &Arc<Event>, until: Duration) {
        self.events += 1;
        self.event_bytes += event.json.len();
        self.work.push_back(Work::Publish { event: Arc::clone(event), until });
    }

    fn forget(&mut self, event: &Event) {
        self.events -= 1;
        self.event_bytes -= event.json.len();
    }

    /// Takes the oldest event out of the line, if there are too many.
    fn drop_oldest(&mut self) -> Option<EventId> {
        if self.events <= RELAY_EVENTS && self.event_bytes <= RELAY_EVENT_BYTES {
            return None;
        }
        let at = self.work.iter().position(|work| matches!(work, Work::Publish { .. }))?;
        let Some(Work::Publish { event, .. }) = self.work.remove(at) else { return None };
        self.forget(&event);
        Some(event.id)
    }
}

impl Router {
    /// A request of this number.
    pub(super) fn ask(&mut self, id: RelayId, number: RequestNumber, now: Now, fx: &mut Effects) {
        self.push_work(id, Work::Ask(number), now, fx);
    }

    /// A REQ that is no client's, given as it is to be sent.
    pub(super) fn ask_once(&mut self, id: RelayId, text: String, now: Now, fx: &mut Effects) {
        self.push_work(id, Work::AskOnce(text), now, fx);
    }

    /// A COUNT of [`count`](super::count).
    pub(super) fn ask_count(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        now: Now,
        fx: &mut Effects,
    ) {
        self.push_work(id, Work::Count(number), now, fx);
    }

    pub(super) fn close_upstream(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        now: Now,
        fx: &mut Effects,
    ) {
        self.push_work(id, Work::Close(number), now, fx);
    }

    pub(super) fn send_event(
        &mut self,
        id: RelayId,
        event: &Arc<Event>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.link.is_some()) else {
            return;
        };
        relay.line.publish(event, now.mono + OK_DEADLINE);
        let dropped: Vec<EventId> = std::iter::from_fn(|| relay.line.drop_oldest()).collect();
        self.pump(id, now, fx);
        for event in dropped {
            self.not_sent(id, &event, now, fx);
        }
    }

    /// Takes an event back from wherever it has not been sent yet, and sends it to nobody again, but
    /// to the relays that a client inside has named for it.
    pub(super) fn take_back(&mut self, id: &EventId) {
        let named: Vec<RelayId> =
            self.relays.keys().copied().filter(|relay| self.is_named(*relay, id)).collect();
        for (number, relay) in &mut self.relays {
            relay.in_flight.remove(id);
            relay.backlog.remove(id);
            if !named.contains(number) {
                relay.line.take_back(id);
            }
        }
    }

    /// A request has ended before its REQ went out: that one is skipped when its turn comes,
    /// or swept out when there are many.
    pub(super) fn forget_ask(&mut self, id: RelayId) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.link.is_some()) else {
            return;
        };
        relay.line.dead += 1;
        if relay.line.dead > RELAY_DEAD_ASKS {
            relay.line.dead = 0;
            let (living, counts) = (&self.requests, &self.counts);
            relay.line.work.retain(|work| match work {
                Work::Ask(number) => living.contains_key(&(id, *number)),
                Work::Count(number) => counts.contains(*number),
                _ => true,
            });
        }
    }

    fn push_work(&mut self, id: RelayId, work: Work, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.link.is_some()) else {
            return;
        };
        relay.line.work.push_back(work);
        self.pump(id, now, fx);
    }

    /// Gives the connection what it takes.
    pub(super) fn pump(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let (mut too_late, mut too_long, mut unasked) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(relay) = self.relays.get_mut(&id)
            && relay.link.as_ref().is_some_and(|link| link.window > 0)
            && let Some(work) = relay.line.work.pop_front()
        {
            let outgoing = match work {
                Work::Ask(number) => {
                    if !self.requests.contains_key(&(id, number)) {
                        relay.line.dead = relay.line.dead.saturating_sub(1);
                    }
                    if let Ok(text) = self.request_text(id, number, now) {
                        text.map(|text| Outgoing { text, event: None })
                    } else {
                        unasked.push(number);
                        None
                    }
                }
                Work::AskOnce(text) => Some(Outgoing { text, event: None }),
                Work::Count(number) => {
                    if !self.counts.contains(number) {
                        relay.line.dead = relay.line.dead.saturating_sub(1);
                    }
                    self.count_text(id, number).map(|text| Outgoing { text, event: None })
                }
                Work::Close(number) => Some(Outgoing { text: message::close(number), event: None }),
                Work::Publish { event, until } => {
                    relay.line.forget(&event);
                    let most = relay.limits.max_message_length;
                    if is_ephemeral(event.kind) && now.mono > until {
                        too_late.push(event.id);
                        None
                    } else {
                        if let Some(publication) = self.publications.get_mut(&event.id) {
                            publication.sent(id);
                        }
                        named::sent(&mut self.named, id, &event.id);
                        let text = message::publish(&event);
                        if most.is_some_and(|most| text.len() > most) {
                            too_long.push(event.id);
                            continue;
                        }
                        let sent = Some(event.id);
                        if !is_ephemeral(event.kind) {
                            relay.in_flight.append(event);
                        }
                        Some(Outgoing { text, event: sent })
                    }
                }
            };
            let link = self.relays.get_mut(&id).and_then(|relay| relay.link.as_mut());
            if let Some((outgoing, link)) = outgoing.zip(link) {
                link.asked |= outgoing.event.is_none();
                link.window -= 1;
                fx.to_relay.push((id, link.id, outgoing));
            }
        }
        for event in too_late {
            self.not_sent(id, &event, now, fx);
        }
        // What it would only refuse is not sent: its own document says so.
        for event in too_long {
            self.relay_ok(id, &event, false, "restricted: longer than the relay takes", now, fx);
        }
        for number in unasked {
            let why = "restricted: longer than the relay takes, or more filters".to_owned();
            self.arrived(id, number, Arrival::Closed(why), now, fx);
        }
        let more = self
            .relays
            .get(&id)
            .is_some_and(|relay| relay.line.more && relay.line.events < OUTBOX_AHEAD / 2);
        if more {
            self.flush(id, now, fx);
        }
    }
}
