//! What leaves for relays: the text of each thing in a line is made when its turn comes, by whoever owns
//! what it is about.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId, is_ephemeral};
use crate::nostr::message::{self};
use crate::nostr::reason::{Cause, Prefix, Reason};

use super::Keepers;
use super::input::Outgoing;
use super::relays::{About, Sender, Thing, Trust, Work};
use super::requests::Paced;
use super::subscriptions::Refusal;
use super::terms::{Audience, Word};
use super::turn::Turn;

impl Keepers {
    /// Gives the connection what it takes.
    pub(super) fn send(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        while let Some((work, about)) = self.next_work(id, turn) {
            let thing = match &work {
                Work::Ask(number) | Work::Count(number) => Some(Thing::Request(*number)),
                Work::Publish { event, .. } => Some(Thing::Event(*event.id())),
                Work::Question(_) | Work::Auth(_) | Work::Close(_) => None,
            };
            let paced = Paced::of(&work);
            let outgoing = match work {
                Work::Ask(number) => self.req(id, number, &about, turn),
                Work::Count(number) => self.count_text(id, number, &about, turn),
                Work::Question(text) | Work::Auth(text) => Some(Outgoing { text, event: None }),
                Work::Close(number) => Some(Outgoing { text: message::close(number), event: None }),
                Work::Publish { event, audience, until, .. } => {
                    self.event(id, event, (audience, until), &about, turn)
                }
            };
            if let Some(outgoing) = outgoing {
                if let Some(paced) = paced {
                    self.requests.goes(id, paced, turn);
                }
                self.relays.send(id, outgoing, thing.map(|thing| (thing, about)), turn);
            }
        }
        if self.relays.wants_more(id) {
            turn.due.flush.insert(id);
        }
    }

    /// What is next, and what is known of it.
    fn next_work(&mut self, id: RelayId, turn: &Turn<'_>) -> Option<(Work, About)> {
        let Self { relays, requests, subscriptions, counting, .. } = self;
        let about = |work: &Work| match work {
            Work::Ask(number) => requests.about(id, *number, subscriptions),
            Work::Count(number) => counting.about(*number),
            Work::Publish { event, by, .. } => {
                let sender = by.map_or(Sender::Unknown, |by| Sender::Clients(vec![by]));
                About { names: vec![*event.id()], sender }
            }
            Work::Question(_) | Work::Auth(_) | Work::Close(_) => {
                About { names: Vec::new(), sender: Sender::Harmless }
            }
        };
        let (asked, tried) = requests.may_be_asked(id);
        let tells = |work: &Work| matches!(Paced::of(work), None | Some(Paced::Ask(_)));
        let may = |work: &Work| asked || Paced::of(work).is_none();
        let telling = tried.then(|| relays.next_work(id, tells, about, turn)).flatten();
        let work = telling.or_else(|| relays.next_work(id, may, about, turn))?;
        let about = about(&work);
        Some((work, about))
    }

    fn req(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        About { names, sender }: &About,
        turn: &mut Turn<'_>,
    ) -> Option<Outgoing> {
        if !self.requests.contains(id, number) {
            self.relays.skipped(id);
        }
        let quarantined = self.relays.quarantines(id, names, turn);
        let trust = self.relays.trust(id, sender, turn);
        let several = names.len() > 1 || matches!(sender, Sender::Clients(all) if all.len() > 1);
        // One of several is asked for alone, to tell it from the others.
        let each = names.split_last().is_some_and(|(_, each)| self.relays.suspects(id, each))
            || (several && trust > Trust::Full);
        let refusal = if quarantined || each {
            (ends_connection(), Refusal::ForGood)
        } else if trust == Trust::Nothing {
            (pauses(), Refusal::Passing)
        } else {
            let Self { requests, subscriptions, relays, .. } = self;
            return match requests.text(id, number, subscriptions, relays, turn) {
                Ok(text) => text.map(|text| Outgoing { text, event: None }),
                Err(too_long) => {
                    requests.not_sent(id, number, too_long, turn);
                    None
                }
            };
        };
        let alone = if quarantined { names.len() == 1 } else { !each };
        self.requests.held_back(id, number, alone, &refusal, &mut self.subscriptions, turn);
        None
    }

    fn count_text(
        &mut self,
        id: RelayId,
        number: RequestNumber,
        About { names, sender }: &About,
        turn: &mut Turn<'_>,
    ) -> Option<Outgoing> {
        if !self.counting.contains(number) {
            self.relays.skipped(id);
        }
        let text = self.counting.text(id, number, &self.relays)?;
        let why = if self.relays.quarantines(id, names, turn) {
            ends_connection()
        } else if self.relays.trust(id, sender, turn) == Trust::Nothing {
            pauses()
        } else {
            return Some(Outgoing { text, event: None });
        };
        self.counting.closed(id, number, &why, &self.relays, turn);
        None
    }

    fn event(
        &mut self,
        id: RelayId,
        event: Arc<Event>,
        (audience, until): (Audience, Duration),
        About { names, sender }: &About,
        turn: &mut Turn<'_>,
    ) -> Option<Outgoing> {
        if is_ephemeral(event.kind()) && turn.now.mono > until {
            turn.due.unsent.push_back((id, *event.id(), audience));
            return None;
        }
        self.publishing.sent(id, event.id());
        if self.relays.quarantines(id, names, turn) {
            self.quarantined(id, event.id(), audience, turn);
            return None;
        }
        let text = message::publish(&event);
        let most = self.relays.limits(id).max_message_length;
        let why = if most.is_some_and(|most| text.len() > most) {
            // What it would only refuse is not sent: its own document says so.
            Reason::new(Prefix::Restricted, "longer than the relay takes")
        } else if self.relays.trust(id, sender, turn) == Trust::Nothing {
            if !self.publishing.is_under_way(event.id()) && !self.outbox.contains(event.id()) {
                // It is a copy of what others have.
                self.relays.hold_back(id, event, turn);
                return None;
            }
            pauses()
        } else {
            let sent = Some(*event.id());
            self.relays.in_flight(id, event, audience);
            return Some(Outgoing { text, event: sent });
        };
        let word = Word { accepted: false, why: &why };
        self.publish(turn, |publishing, means| {
            publishing.relay_ok(id, event.id(), word, means);
        });
        None
    }

    /// The relay ends the connection over this event. It may have kept it, so this is no `OK false`.
    fn quarantined(
        &mut self,
        id: RelayId,
        event: &EventId,
        audience: Audience,
        turn: &mut Turn<'_>,
    ) {
        let open = self
            .publish(turn, |publishing, means| publishing.quarantined(id, event, audience, means));
        if open || audience != Audience::Owners {
            return;
        }
        let Self { outbox, answers, relays, .. } = self;
        if !outbox.quarantined(id, event, &ends_connection(), answers, relays, turn) {
            relays.tally(id, |stats| &stats.backlog_dropped);
        }
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

/// What nobody is sent who has it ended again and again (rule 2.7).
fn pauses() -> Reason {
    Reason::new(
        Prefix::RateLimited,
        "the relay ended its connection several times, try again later",
    )
}

fn ends_connection() -> Reason {
    Reason::new(Prefix::Error, "the relay ends the connection over it").about(Cause::EndsConnection)
}
