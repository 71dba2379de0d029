//! Relays: their connections come and go, and what waits for them goes out in order.
//!
//! What a connection has not taken yet stays here, where it can still be taken back: a REQ whose
//! client has gone, an event that was refused in the meantime. [`RELAY_WINDOW`] messages at most are
//! with the connection and out of reach.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::constants::{JUNK_BURST, JUNK_PER_SECOND, RELAY_BACKLOG, RELAY_WINDOW};
use crate::event::{Event, EventId};
use crate::message;
use crate::stats::RelayStats;
use crate::subscription::Stage;
use crate::time::{Now, TokenBucket};

use super::{Effects, Frame, Hub, LinkId, Outgoing, RelayId};

/// A configured relay.
#[derive(Debug)]
pub(super) struct Relay {
    /// Subscriptions go to it.
    pub(super) read: bool,
    /// Events are published to it.
    pub(super) write: bool,
    /// Its numbers.
    pub(super) stats: Arc<RelayStats>,
    /// Its connection, while there is one.
    pub(super) link: Option<Link>,
    /// What is to be sent, in order. Empty while there is no connection.
    work: VecDeque<Work>,
    junk: TokenBucket,
}

/// A standing connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// How many messages it takes before it has written one.
    window: usize,
}

/// Something to be sent to a relay. The text is made when its turn comes.
#[derive(Debug)]
enum Work {
    Ask(u64),
    Close(u64),
    Publish(Arc<Event>),
}

impl Relay {
    pub(super) const fn takes_events(&self) -> bool {
        self.write && self.link.is_some()
    }

    fn is_linked(&self, link: LinkId) -> bool {
        self.link.as_ref().is_some_and(|standing| standing.id == link)
    }
}

impl Hub {
    pub(super) fn set_relay(
        &mut self,
        id: RelayId,
        read: bool,
        write: bool,
        stats: Arc<RelayStats>,
        now: Now,
        fx: &mut Effects,
    ) {
        let relay = self.relays.entry(id).or_insert_with(|| Relay {
            read: false,
            write,
            stats,
            link: None,
            work: VecDeque::new(),
            junk: TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST),
        });
        relay.write = write;
        if relay.read == read {
            return;
        }
        relay.read = read;
        if read {
            for subscription in self.subscriptions.values_mut() {
                subscription.add_relay(id);
            }
            self.ask_all(id, now, fx);
        } else {
            self.leave_all(id, now, fx);
        }
    }

    pub(super) fn remove_relay(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        self.lose_publications(id, None, fx);
        self.relays.remove(&id);
        self.leave_all(id, now, fx);
    }

    pub(super) fn link_up(&mut self, id: RelayId, link: LinkId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.link = Some(Link { id: link, window: RELAY_WINDOW });
        relay.work.clear();
        relay.junk = TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST);
        self.ask_all(id, now, fx);
    }

    pub(super) fn link_wrote(
        &mut self,
        id: RelayId,
        link: LinkId,
        count: usize,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        if let Some(standing) = relay.link.as_mut().filter(|standing| standing.id == link) {
            standing.window += count;
            self.pump(id, now, fx);
        }
    }

    pub(super) fn link_down(
        &mut self,
        id: RelayId,
        link: LinkId,
        unsent: &[EventId],
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.is_linked(link)) else {
            return;
        };
        relay.link = None;
        relay.work.clear();
        self.lose_publications(id, Some(unsent), fx);
        self.each_subscription(now, fx, |subscription| subscription.relay_lost(id, now));
    }

    pub(super) fn relay_said(
        &mut self,
        id: RelayId,
        link: LinkId,
        frames: Vec<Frame>,
        now: Now,
        fx: &mut Effects,
    ) {
        for frame in frames {
            if !self.relays.get(&id).is_some_and(|relay| relay.is_linked(link)) {
                return;
            }
            match frame {
                Frame::Event { subscription, id: event, text, json, ticket } => {
                    let Some(json) = text.as_str().get(json) else { continue };
                    self.relay_event(id, subscription, event, json, ticket, now, fx);
                }
                Frame::Eose(Some(key)) => self.relay_eose(id, key, now, fx),
                Frame::Closed(Some(key), why) => self.relay_closed(id, key, &why, now, fx),
                Frame::Ok(event, accepted, why) => {
                    self.relay_ok(id, &event, accepted, &why, fx);
                }
                Frame::Eose(None) | Frame::Closed(None, _) | Frame::Junk => {
                    self.relay_junk(id, now, fx);
                }
            }
        }
    }

    /// A relay that keeps sending what nobody can use is cut off; its backoff does the rest.
    pub(super) fn relay_junk(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        if self.relays.get_mut(&id).is_some_and(|relay| !relay.junk.take(now.mono)) {
            self.cut(id, "cut off: it keeps sending what nobody asked for", now, fx);
        }
    }

    pub(super) fn ask(&mut self, id: RelayId, key: u64, now: Now, fx: &mut Effects) {
        self.push_work(id, Work::Ask(key), now, fx);
    }

    pub(super) fn close_upstream(&mut self, id: RelayId, key: u64, now: Now, fx: &mut Effects) {
        self.push_work(id, Work::Close(key), now, fx);
    }

    pub(super) fn send_event(
        &mut self,
        id: RelayId,
        event: &Arc<Event>,
        now: Now,
        fx: &mut Effects,
    ) {
        self.push_work(id, Work::Publish(Arc::clone(event)), now, fx);
    }

    /// Takes an event back from wherever it has not been sent yet.
    pub(super) fn take_back(&mut self, event: &EventId) {
        for relay in self.relays.values_mut() {
            relay.work.retain(|work| !matches!(work, Work::Publish(queued) if queued.id == *event));
        }
    }

    fn ask_all(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        if relay.read && relay.link.is_some() {
            let mut keys: Vec<u64> = self.subscriptions.keys().copied().collect();
            keys.sort_unstable();
            relay.work.extend(keys.into_iter().map(Work::Ask));
            self.pump(id, now, fx);
        }
    }

    /// The relay serves no subscription any more, by the owner's will.
    fn leave_all(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let mut asked = Vec::new();
        for (key, subscription) in &mut self.subscriptions {
            let part = subscription.part(id).map(|part| &part.stage);
            if matches!(part, Some(Stage::Asked { .. } | Stage::Live)) {
                asked.push(*key);
            }
        }
        self.each_subscription(now, fx, |subscription| {
            subscription.parts.retain(|part| part.relay != id);
        });
        for key in asked {
            self.close_upstream(id, key, now, fx);
        }
    }

    fn push_work(&mut self, id: RelayId, work: Work, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        if relay.link.is_none() {
            return;
        }
        relay.work.push_back(work);
        if relay.work.len() > RELAY_BACKLOG + self.subscriptions.len() {
            self.cut(id, "cut off: it does not read what it is sent", now, fx);
        } else {
            self.pump(id, now, fx);
        }
    }

    fn cut(&mut self, id: RelayId, why: &str, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get(&id) else { return };
        let Some(link) = relay.link.as_ref().map(|link| link.id) else { return };
        relay.stats.error(why);
        fx.cut.push((id, link));
        self.link_down(id, link, &[], now, fx);
    }

    /// Gives the connection what it takes.
    fn pump(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let Some(link) = &mut relay.link else { return };
        while link.window > 0 {
            let Some(work) = relay.work.pop_front() else { break };
            let outgoing = match work {
                Work::Ask(key) => self
                    .subscriptions
                    .get_mut(&key)
                    .and_then(|subscription| subscription.ask(id, key, now))
                    .map(|text| Outgoing { text, event: None }),
                Work::Close(key) => Some(Outgoing { text: message::close(key), event: None }),
                Work::Publish(event) => {
                    if let Some(publication) = self.publications.get_mut(&event.id) {
                        publication.sent(id);
                    }
                    let text = message::publish(&event);
                    Some(Outgoing { text, event: Some(event.id) })
                }
            };
            if let Some(outgoing) = outgoing {
                link.window -= 1;
                fx.to_relay.push((id, link.id, outgoing));
            }
        }
    }
}
