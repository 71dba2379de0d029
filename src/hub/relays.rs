//! Relays: their connections come and go, and what waits for them goes out in order.
//!
//! What a connection has not taken yet stays here, where it can still be taken back: a REQ whose
//! client has gone, an event that was refused in the meantime. [`RELAY_WINDOW`] messages at most are
//! with the connection and out of reach. A relay that reads too slowly for the events it is to take
//! loses the oldest of them (others have had them), a stalled one its connection; no client can do
//! either to a relay by what it subscribes to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::constants::{
    BACKLOG_BYTES, BACKLOG_EVENTS, IN_FLIGHT_EVENTS, JUNK_BURST, JUNK_PER_SECOND, OK_DEADLINE,
    OUTBOX_AHEAD, RELAY_DEAD_ASKS, RELAY_EVENT_BYTES, RELAY_EVENTS, RELAY_WINDOW,
};
use crate::event::{Event, EventId, is_ephemeral};
use crate::message;
use crate::relay::Switches;
use crate::stats::RelayStats;
use crate::subscription::Stage;
use crate::time::{Now, TokenBucket};

use super::backlog::Backlog;
use super::{Effects, Frame, Hub, LinkId, Outgoing, RelayId};

/// A configured relay.
#[derive(Debug)]
pub(super) struct Relay {
    /// Subscriptions go to it.
    pub(super) read: bool,
    /// Events are published to it.
    pub(super) write: bool,
    /// Normalised.
    pub(super) url: Arc<str>,
    /// Its numbers.
    pub(super) stats: Arc<RelayStats>,
    /// Its connection, while there is one.
    pub(super) link: Option<Link>,
    /// What is to be sent, in order. Empty while there is no connection.
    work: VecDeque<Work>,
    /// Events in `work`, and their bytes.
    pub(super) events: usize,
    event_bytes: usize,
    /// The outbox has more for it than its line was let ahead.
    pub(super) more: bool,
    /// Given to the connection and not answered.
    pub(super) in_flight: Backlog,
    /// To be sent when it connects.
    pub(super) backlog: Backlog,
    /// REQs in `work` whose subscription has ended.
    dead: usize,
    junk: TokenBucket,
}

/// A standing connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// How many messages it takes before it has written one.
    window: usize,
    /// Whether it was sent any REQ.
    asked: bool,
}

/// Something to be sent to a relay. The text is made when its turn comes.
#[derive(Debug)]
enum Work {
    Ask(u64),
    /// A REQ that is no client's.
    AskOnce(String),
    Close(u64),
    Publish {
        event: Arc<Event>,
        /// An ephemeral event is not sent after this (SPEC 2.6).
        until: Duration,
    },
}

impl Relay {
    fn clear_work(&mut self) {
        self.work.clear();
        (self.events, self.event_bytes, self.dead) = (0, 0, 0);
        self.more = false;
    }

    fn forget_event(&mut self, event: &Event) {
        self.events -= 1;
        self.event_bytes -= event.json.len();
    }

    /// Takes the oldest event out of the line.
    fn drop_oldest_event(&mut self) -> Option<EventId> {
        let at = self.work.iter().position(|work| matches!(work, Work::Publish { .. }))?;
        let Some(Work::Publish { event, .. }) = self.work.remove(at) else { return None };
        self.forget_event(&event);
        Some(event.id)
    }

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
        url: &Arc<str>,
        switches: Switches,
        stats: Arc<RelayStats>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Switches { read, write } = switches;
        let relay = self.relays.entry(id).or_insert_with(|| Relay {
            read: false,
            write,
            url: Arc::clone(url),
            stats,
            link: None,
            work: VecDeque::new(),
            events: 0,
            event_bytes: 0,
            more: false,
            in_flight: Backlog::new(IN_FLIGHT_EVENTS, BACKLOG_BYTES),
            backlog: Backlog::new(BACKLOG_EVENTS, BACKLOG_BYTES),
            dead: 0,
            junk: TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST),
        });
        if relay.write != write {
            relay.write = write;
            relay.backlog.take();
            self.judge_all(fx);
            self.flush(id, now, fx);
        }
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.read != read) else {
            return;
        };
        relay.read = read;
        let asked_before = relay.link.as_ref().is_some_and(|link| link.asked);
        if read {
            if asked_before {
                // The numbers were used on this connection, and answers to them may be under way.
                self.cut(id, "connects anew, because reading was switched on", now, fx);
            }
            for subscription in self.subscriptions.values_mut() {
                subscription.add_relay(id);
            }
            self.ask_all(id, now, fx);
        } else {
            self.leave_all(id, now, fx);
        }
    }

    pub(super) fn remove_relay(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        self.lose_publications(id, None, now, fx);
        self.lose_waiting(id, &[], now);
        self.relays.remove(&id);
        self.leave_all(id, now, fx);
        self.judge_all(fx);
    }

    pub(super) fn link_up(&mut self, id: RelayId, link: LinkId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.link = Some(Link { id: link, window: RELAY_WINDOW, asked: false });
        relay.clear_work();
        relay.junk = TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST);
        let missed = relay.backlog.take();
        self.ask_all(id, now, fx);
        for event in missed {
            if event.expiration().is_none_or(|at| at > now.unix) {
                self.send_event(id, &event, now, fx);
            }
        }
        self.flush(id, now, fx);
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
        heard: u64,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.is_linked(link)) else {
            return;
        };
        relay.link = None;
        let mut missed = relay.in_flight.take();
        missed.extend(relay.work.drain(..).filter_map(|work| match work {
            Work::Publish { event, .. } => Some(event),
            Work::Ask(_) | Work::AskOnce(_) | Work::Close(_) => None,
        }));
        let taken = missed.len() - relay.events;
        let unsent: Vec<EventId> =
            unsent.iter().copied().chain(missed[taken..].iter().map(|event| event.id)).collect();
        relay.clear_work();
        // What is still open is decided below, and by the outbox.
        missed.retain(|event| {
            !self.publications.contains_key(&event.id) && self.outbox.get(&event.id).is_none()
        });
        self.lose_publications(id, Some(&unsent), now, fx);
        self.lose_waiting(id, &unsent, now);
        self.spread_all(missed, id, now, fx);
        self.each_subscription(now, fx, |subscription| subscription.relay_lost(id, heard));
    }

    fn spread_all(&mut self, events: Vec<Arc<Event>>, id: RelayId, now: Now, fx: &mut Effects) {
        for event in events {
            self.spread(&event, &[id], now, fx);
        }
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
                Frame::Eose(Some(key)) => {
                    if self.asked(id, key, now, fx) {
                        self.close_upstream(id, key, now, fx);
                    } else {
                        self.relay_eose(id, key, now, fx);
                    }
                }
                Frame::Closed(Some(key), why) => {
                    if !self.asked(id, key, now, fx) {
                        self.relay_closed(id, key, &why, now, fx);
                    }
                }
                Frame::Ok(event, accepted, why) => {
                    self.relay_ok(id, &event, accepted, &why, now, fx);
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

    /// A REQ that is no client's, given as it is to be sent.
    pub(super) fn ask_once(&mut self, id: RelayId, text: String, now: Now, fx: &mut Effects) {
        self.push_work(id, Work::AskOnce(text), now, fx);
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
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.link.is_some()) else {
            return;
        };
        relay.events += 1;
        relay.event_bytes += event.json.len();
        let mut dropped = Vec::new();
        while relay.events > RELAY_EVENTS || relay.event_bytes > RELAY_EVENT_BYTES {
            let Some(oldest) = relay.drop_oldest_event() else { break };
            dropped.push(oldest);
        }
        let until = now.mono + OK_DEADLINE;
        relay.work.push_back(Work::Publish { event: Arc::clone(event), until });
        self.pump(id, now, fx);
        for event in dropped {
            self.not_sent(id, &event, now, fx);
        }
    }

    /// The url of a relay, as it is shown.
    pub(super) fn url_of(&self, id: RelayId) -> Arc<str> {
        self.relays
            .get(&id)
            .map_or_else(|| "a removed relay".into(), |relay| Arc::clone(&relay.url))
    }

    /// Takes an event back from wherever it has not been sent yet, and sends it to nobody again.
    pub(super) fn take_back(&mut self, id: &EventId) {
        for relay in self.relays.values_mut() {
            relay.in_flight.remove(id);
            relay.backlog.remove(id);
            let Relay { work, events, event_bytes, .. } = relay;
            work.retain(|work| match work {
                Work::Publish { event, .. } if event.id == *id => {
                    *events -= 1;
                    *event_bytes -= event.json.len();
                    false
                }
                _ => true,
            });
        }
    }

    /// A subscription has ended before its REQ went out: that one is skipped when its turn comes,
    /// or swept out when there are many.
    pub(super) fn forget_ask(&mut self, id: RelayId) {
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| relay.link.is_some()) else {
            return;
        };
        relay.dead += 1;
        if relay.dead > RELAY_DEAD_ASKS {
            relay.dead = 0;
            let living = &self.subscriptions;
            relay.work.retain(|work| match work {
                Work::Ask(key) => living.contains_key(key),
                _ => true,
            });
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
        self.pump(id, now, fx);
    }

    fn cut(&mut self, id: RelayId, why: &str, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get(&id) else { return };
        let Some(link) = relay.link.as_ref().map(|link| link.id) else { return };
        relay.stats.error(why);
        fx.cut.push((id, link));
        self.link_down(id, link, &[], now.unix, now, fx);
    }

    /// Gives the connection what it takes.
    fn pump(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        let mut too_late = Vec::new();
        while let Some(link) = relay.link.as_mut().filter(|link| link.window > 0) {
            let Some(work) = relay.work.pop_front() else { break };
            let outgoing = match work {
                Work::Ask(key) => {
                    let subscription = self.subscriptions.get_mut(&key);
                    relay.dead = relay.dead.saturating_sub(usize::from(subscription.is_none()));
                    subscription.and_then(|subscription| subscription.ask(id, key, now)).map(
                        |text| {
                            link.asked = true;
                            Outgoing { text, event: None }
                        },
                    )
                }
                Work::AskOnce(text) => Some(Outgoing { text, event: None }),
                Work::Close(key) => Some(Outgoing { text: message::close(key), event: None }),
                Work::Publish { event, until } => {
                    relay.events -= 1;
                    relay.event_bytes -= event.json.len();
                    if is_ephemeral(event.kind) && now.mono > until {
                        too_late.push(event.id);
                        None
                    } else {
                        if let Some(publication) = self.publications.get_mut(&event.id) {
                            publication.sent(id);
                        }
                        let text = message::publish(&event);
                        let sent = Some(event.id);
                        if !is_ephemeral(event.kind) {
                            relay.in_flight.append(event);
                        }
                        Some(Outgoing { text, event: sent })
                    }
                }
            };
            if let Some(outgoing) = outgoing {
                link.window -= 1;
                fx.to_relay.push((id, link.id, outgoing));
            }
        }
        let more = relay.more && relay.events < OUTBOX_AHEAD / 2;
        for event in too_late {
            self.not_sent(id, &event, now, fx);
        }
        if more {
            self.flush(id, now, fx);
        }
    }
}
