//! Verification: what relays and clients send, from the first look to the verdict (rules 3.3 and 6).
//!
//! A copy of something the subscription already has is dropped before it comes here, by the id it
//! claims. Of the others the first copy is verified; further copies wait for that verdict. If it was
//! forged, the next copy is verified, so a forged copy that comes first cannot suppress the true event.
//! What is true goes its way by the request it came over, or is published.
//!
//! [`Intake`] owns what is on its way through the verifying threads, and knows neither requests nor
//! clients: whether somebody still waits for a copy is asked of the caller.

mod recent;

use std::sync::Arc;

use crate::base::fair::FairQueue;
use crate::base::hash::Map;
use crate::base::text::Text;
use crate::ids::{ClientId, RelayId};
use crate::nostr::event::{Event, EventId};
use crate::nostr::verify::Job;

use super::terms::{Errand, Purpose, RelayCopy};
use super::turn::Turn;

use recent::Recent;

/// Events on their way through verification.
#[derive(Debug)]
pub(super) struct Intake {
    /// By claimed id: the copies that wait for the verdict on another one, with their texts.
    pending: Map<EventId, Vec<(RelayCopy, Box<str>)>>,
    /// Verified lately.
    recent: Recent,
    /// Waiting for a verifying thread: relays' events and clients' events, taking turns, so that
    /// neither many clients nor many relays can push the other side aside.
    from_relays: FairQueue<RelayId, Job<Errand>>,
    from_clients: FairQueue<ClientId, Job<Errand>>,
    clients_turn: bool,
    /// With the verifying threads.
    out: usize,
    depth: usize,
}

impl Intake {
    /// `depth`: how many events may be with the verifying threads at a time.
    pub(super) fn new(depth: usize) -> Self {
        Self {
            pending: Map::default(),
            recent: Recent::default(),
            from_relays: FairQueue::default(),
            from_clients: FairQueue::default(),
            clients_turn: false,
            out: 0,
            depth,
        }
    }

    /// A relay's copy of an event. The verified event that it is, if that is known already; else it is
    /// verified, or waits for the verdict on another copy.
    pub(super) fn take_copy(
        &mut self,
        id: EventId,
        copy: RelayCopy,
        json: &Text,
    ) -> Option<(RelayCopy, Arc<Event>)> {
        if let Some(waiting) = self.pending.get_mut(&id) {
            waiting.push((copy, json.copied()));
            return None;
        }
        // The same to the letter: its id alone would prove nothing.
        if let Some(event) =
            self.recent.get(&id).filter(|event| event.json().as_bytes() == json.as_bytes())
        {
            return Some((copy, Arc::clone(event)));
        }
        self.verify_copy(id, copy, json.copied());
        None
    }

    /// A copy that is verified itself.
    fn verify_copy(&mut self, id: EventId, copy: RelayCopy, text: Box<str>) {
        self.pending.entry(id).or_default();
        let (relay, tag) = (copy.relay, Errand(Purpose::Incoming(id, copy)));
        self.from_relays.push(relay, Job { tag, claimed: Some(id), text });
    }

    /// A client's event, published or to say who it is.
    pub(super) fn take_from_client(&mut self, client: ClientId, purpose: Purpose, text: Box<str>) {
        self.from_clients.push(client, Job { tag: Errand(purpose), claimed: None, text });
    }

    /// A true event whose copies may come.
    pub(super) fn note(&mut self, event: &Arc<Event>) {
        self.recent.insert(event);
    }

    /// Hands out as many verifications as the threads take.
    pub(super) fn hand_out(&mut self, turn: &mut Turn<'_>) {
        while self.out < self.depth {
            let Some(job) = self.next_job() else { break };
            self.out += 1;
            turn.effects.verify.push(job);
        }
    }

    fn next_job(&mut self) -> Option<Job<Errand>> {
        self.clients_turn = !self.clients_turn;
        let Self { from_relays, from_clients, .. } = self;
        if self.clients_turn {
            from_clients.pop().or_else(|| from_relays.pop())
        } else {
            from_relays.pop().or_else(|| from_clients.pop())
        }
    }

    /// A thread has given its verdict.
    pub(super) const fn came_back(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// A copy was true. The others of the same text are, too; one that has another text may be a
    /// forgery under the same id and is verified itself, if `wanted` by somebody who does not have it.
    pub(super) fn found_true(
        &mut self,
        event: &Arc<Event>,
        wanted: impl Fn(&RelayCopy) -> bool,
    ) -> Vec<RelayCopy> {
        self.recent.insert(event);
        let waiting = self.pending.remove(event.id()).unwrap_or_default();
        let mut same = Vec::new();
        for (copy, text) in waiting {
            if *text == *event.json() || !wanted(&copy) {
                same.push(copy);
            } else if let Some(waiting) = self.pending.get_mut(event.id()) {
                waiting.push((copy, text));
            } else {
                self.verify_copy(*event.id(), copy, text);
            }
        }
        same
    }

    /// A copy was forged: on to the next one that somebody still waits for.
    pub(super) fn found_forged(&mut self, id: EventId, wanted: impl Fn(&RelayCopy) -> bool) {
        let Some(waiting) = self.pending.get_mut(&id) else { return };
        waiting.retain(|(copy, _)| wanted(copy));
        if waiting.is_empty() {
            self.pending.remove(&id);
        } else {
            let (copy, text) = waiting.remove(0);
            self.verify_copy(id, copy, text);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let idle = self.from_relays.is_empty() && self.from_clients.is_empty() && self.out == 0;
        self.pending.is_empty() && idle
    }
}
