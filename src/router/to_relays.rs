//! What leaves for relays: the text of each thing in a line is made when its turn comes, by whoever owns
//! what it is about.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId, is_ephemeral};
use crate::nostr::message::{self};
use crate::nostr::reason::{Prefix, Reason};

use super::Keepers;
use super::input::Outgoing;
use super::relays::Work;
use super::terms::{Audience, Word};
use super::turn::Turn;

impl Keepers {
    /// Gives the connection what it takes.
    pub(super) fn send(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        while let Some(work) = self.relays.next_work(id) {
            let outgoing = match work {
                Work::Ask(number) => self.req(id, number, turn),
                Work::Count(number) => self.count_text(id, number),
                Work::Text(text) => Some(Outgoing { text, event: None }),
                Work::Close(number) => Some(Outgoing { text: message::close(number), event: None }),
                Work::Publish { event, audience, until } => {
                    self.event(id, event, audience, until, turn)
                }
            };
            if let Some(outgoing) = outgoing {
                self.relays.send(id, outgoing, turn);
            }
        }
        if self.relays.wants_more(id) {
            turn.due.flush.insert(id);
        }
    }

    fn req(&mut self, id: RelayId, number: RequestNumber, turn: &mut Turn<'_>) -> Option<Outgoing> {
        if !self.requests.contains(id, number) {
            self.relays.skipped(id);
        }
        match self.requests.text(id, number, &mut self.subscriptions, &mut self.relays, turn) {
            Ok(text) => text.map(|text| Outgoing { text, event: None }),
            Err(too_long) => {
                self.requests.not_sent(id, number, too_long, turn);
                None
            }
        }
    }

    fn count_text(&mut self, id: RelayId, number: RequestNumber) -> Option<Outgoing> {
        if !self.counting.contains(number) {
            self.relays.skipped(id);
        }
        let text = self.counting.text(id, number, &self.relays)?;
        Some(Outgoing { text, event: None })
    }

    fn event(
        &mut self,
        id: RelayId,
        event: Arc<Event>,
        audience: Audience,
        until: Duration,
        turn: &mut Turn<'_>,
    ) -> Option<Outgoing> {
        if is_ephemeral(event.kind()) && turn.now.mono > until {
            turn.due.unsent.push_back((id, *event.id(), audience));
            return None;
        }
        self.publishing.sent(id, event.id());
        let text = message::publish(&event);
        let most = self.relays.limits(id).max_message_length;
        if most.is_some_and(|most| text.len() > most) {
            // What it would only refuse is not sent: its own document says so.
            let why = Reason::new(Prefix::Restricted, "longer than the relay takes");
            let word = Word { accepted: false, why: &why };
            self.publish(turn, |publishing, means| {
                publishing.relay_ok(id, event.id(), word, means);
            });
            return None;
        }
        let sent = Some(*event.id());
        self.relays.in_flight(id, event, audience);
        Some(Outgoing { text, event: sent })
    }

    pub(super) fn sweep(&mut self, id: RelayId) {
        let Self { relays, requests, counting, .. } = self;
        relays.sweep(id, |work| match work {
            Work::Ask(number) => requests.contains(id, *number),
            Work::Count(number) => counting.contains(*number),
            _ => true,
        });
    }

    /// A relay's line has dropped an event before it was sent.
    pub(super) fn not_sent(
        &mut self,
        id: RelayId,
        event: &EventId,
        audience: Audience,
        turn: &mut Turn<'_>,
    ) {
        let open =
            self.publish(turn, |publishing, means| publishing.dropped(id, event, audience, means));
        if !open && audience == Audience::Owners && !self.outbox.dropped(id, event, turn) {
            self.relays.tally(id, |stats| &stats.backlog_dropped);
        }
    }
}
