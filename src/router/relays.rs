//! Relays: their connections come and go, they are switched on and off, and say things.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::base::time::{Now, TokenBucket};
use crate::constants::{
    BACKLOG_BYTES, BACKLOG_EVENTS, IN_FLIGHT_EVENTS, JUNK_BURST, JUNK_PER_SECOND, RELAY_WINDOW,
};
use crate::ids::{LinkId, RelayId, SubscriptionKey};
use crate::nostr::event::{Event, EventId};
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::RelayNews;
use crate::router::subscription::Subscription;
use crate::stats::{RelayStats, Trouble};

use super::arrivals::Arrival;
use super::auth::Auth;
use super::backlog::Backlog;
use super::line::Line;
use super::upstream::Upstream;
use super::{Effects, Frame, Role, Router};

/// What the owner has set for a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switches {
    /// Subscriptions go to it.
    pub read: bool,
    /// Events are published to it.
    pub write: bool,
}

impl Switches {
    /// The owner does not use it.
    pub(crate) const OFF: Self = Self { read: false, write: false };
}

/// A configured relay.
#[derive(Debug)]
pub(super) struct Relay {
    /// Subscriptions go to it, but for those that name their relays.
    pub(super) read: bool,
    /// Events are published to it, the same.
    pub(super) write: bool,
    /// Normalised.
    pub(super) url: Arc<str>,
    /// Its numbers.
    pub(super) stats: Arc<RelayStats>,
    /// What its document says it takes. Known before it has a connection, or never said.
    pub(super) limits: RelayLimits,
    /// What it is asked for.
    pub(super) upstream: Upstream,
    /// Its connection, while there is one.
    pub(super) link: Option<Link>,
    /// What is to be sent. Empty while there is no connection.
    pub(super) line: Line,
    /// Given to the connection and not answered.
    pub(super) in_flight: Backlog,
    /// To be sent when it connects.
    pub(super) backlog: Backlog,
    /// Who we are to it.
    pub(super) auth: Auth,
    junk: TokenBucket,
}

/// A standing connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// How many messages it takes before it has written one.
    pub(super) window: usize,
    /// Whether it was sent any REQ.
    pub(super) asked: bool,
}

impl Relay {
    pub(super) const fn takes_events(&self) -> bool {
        self.write && self.link.is_some()
    }

    fn is_linked(&self, link: LinkId) -> bool {
        self.link.as_ref().is_some_and(|standing| standing.id == link)
    }
}

impl Router {
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
        let new = !self.relays.contains_key(&id);
        let relay = self.relays.entry(id).or_insert_with(|| Relay {
            read: false,
            write,
            url: Arc::clone(url),
            stats,
            limits: RelayLimits::default(),
            upstream: Upstream::default(),
            link: None,
            line: Line::default(),
            in_flight: Backlog::new(IN_FLIGHT_EVENTS, BACKLOG_BYTES),
            backlog: Backlog::new(BACKLOG_EVENTS, BACKLOG_BYTES),
            auth: Auth::default(),
            junk: TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST),
        });
        if relay.write != write {
            relay.write = write;
            relay.backlog.take();
            if !write {
                self.drop_events(id, now, fx);
            }
            self.judge_all(fx);
            self.flush(id, now, fx);
        }
        let Some(relay) = self.relays.get_mut(&id).filter(|relay| new || relay.read != read) else {
            return;
        };
        relay.read = read;
        let asked_before = relay.link.as_ref().is_some_and(|link| link.asked);
        if read && asked_before {
            // The numbers were used on this connection, and answers to them may be under way.
            let why = "connects anew, because reading was switched on";
            self.cut(id, Trouble::ConnectsAnew, why, now, fx);
        }
        let barred = self.bars_public(id);
        self.each_subscription(now, fx, |subscription| {
            let barred = barred && subscription.role == Role::Public;
            if subscription.wants(id, read) && !barred && !subscription.is_over() {
                subscription.add_relay(id);
            }
        });
        self.want_all(id, now, fx);
        self.leave(id, |subscription| !subscription.wants(id, read), now, fx);
    }

    /// A relay's document was read, or read again: there may be more places at it, or fewer.
    pub(super) fn set_limits(&mut self, id: RelayId, limits: RelayLimits) {
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.limits = limits;
            self.replan.insert(id);
        }
    }

    /// The owner publishes to this relay no more.
    fn drop_events(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let Some(mut line) = self.relays.get_mut(&id).map(|relay| std::mem::take(&mut relay.line))
        else {
            return;
        };
        let dropped = line.drop_events(|event| self.is_named(id, event));
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.line = line;
        }
        for event in dropped {
            self.not_sent(id, &event, now, fx);
        }
    }

    pub(super) fn remove_relay(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        self.lose_publications(id, None, now, fx);
        self.lose_waiting(id, &[], now);
        self.lose_requests(id, now);
        self.end_auth(id, now, fx);
        self.relays.remove(&id);
        self.count_lost(id, now, fx);
        self.counts.forget(id);
        self.leave(id, |_| true, now, fx);
        self.judge_all(fx);
    }

    pub(super) fn link_up(&mut self, id: RelayId, link: LinkId, now: Now, fx: &mut Effects) {
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.link = Some(Link { id: link, window: RELAY_WINDOW, asked: false });
        relay.line = Line::default();
        relay.upstream.answered = now.mono;
        relay.junk = TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST);
        relay.stats.auth_refused.store(false, Relaxed);
        let missed = relay.backlog.take();
        self.want_all(id, now, fx);
        for event in missed {
            if event.expiration().is_none_or(|at| at > now.unix) {
                self.send_event(id, &event, now, fx);
            }
        }
        self.flush(id, now, fx);
        self.tell_inside(id, &RelayNews::Connected, fx);
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
        let in_line = relay.line.take_events();
        let unsent: Vec<EventId> =
            unsent.iter().copied().chain(in_line.iter().map(|event| *event.id())).collect();
        missed.extend(in_line);
        // What is still open is decided below, and by the outbox.
        missed.retain(|event| {
            !self.publications.contains_key(event.id()) && self.outbox.get(event.id()).is_none()
        });
        self.lose_publications(id, Some(&unsent), now, fx);
        self.lose_waiting(id, &unsent, now);
        self.spread_all(missed, id, now, fx);
        self.lose_requests(id, now);
        self.each_subscription(now, fx, |subscription| subscription.relay_lost(id, heard));
        self.end_auth(id, now, fx);
        self.count_lost(id, now, fx);
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
                Frame::Event { number, id: event, json, ticket } => {
                    self.relay_event(id, number, event, &json, ticket, now, fx);
                }
                Frame::Eose(Some(number), hint) => {
                    if self.asked(id, number, now, fx) {
                        self.close_upstream(id, number, now, fx);
                    } else {
                        self.arrived(id, number, Arrival::Eose(hint), now, fx);
                    }
                }
                Frame::Count(number, counted) => self.relay_count(id, number, counted, now, fx),
                Frame::Closed(Some(number), why) if self.counts.contains(number) => {
                    self.count_closed(id, number, &why, now, fx);
                }
                Frame::Closed(Some(number), why) => {
                    if !self.asked(id, number, now, fx) {
                        self.arrived(id, number, Arrival::Closed(why), now, fx);
                    }
                }
                Frame::Ok(event, accepted, why) => {
                    if !self.auth_answered(id, &event, accepted, &why, now, fx) {
                        self.relay_ok(id, &event, accepted, &why, now, fx);
                    }
                }
                Frame::Auth(challenge) => self.challenged(id, challenge, now, fx),
                Frame::Notice(text) => {
                    self.notice_of_crowd(id, &text, now, fx);
                    self.tell_inside(id, &RelayNews::Notice(text.into()), fx);
                    self.relay_junk(id, now, fx);
                }
                Frame::Eose(None, _) | Frame::Closed(None, _) | Frame::Junk => {
                    self.relay_junk(id, now, fx);
                }
            }
        }
    }

    /// A relay that keeps sending what nobody can use is cut off; its backoff does the rest.
    pub(super) fn relay_junk(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        if self.relays.get_mut(&id).is_some_and(|relay| !relay.junk.take(now.mono)) {
            let why = "cut off: it keeps sending what nobody asked for";
            self.cut(id, Trouble::CutOff, why, now, fx);
        }
    }

    /// The url of a relay, as it is shown.
    pub(super) fn url_of(&self, id: RelayId) -> Arc<str> {
        self.relays
            .get(&id)
            .map_or_else(|| "a removed relay".into(), |relay| Arc::clone(&relay.url))
    }

    /// Every subscription that has a part in this relay is to be asked for.
    pub(super) fn want_all(&mut self, id: RelayId, now: Now, fx: &mut Effects) {
        let has_part = |subscription: &Subscription| subscription.part_of(id).is_some();
        let subscriptions = self.subscriptions.iter();
        let mut keys: Vec<SubscriptionKey> = subscriptions
            .filter_map(|(key, subscription)| has_part(subscription).then_some(*key))
            .collect();
        keys.sort_unstable();
        for key in keys {
            self.want(id, key);
        }
        self.plan(id, now, fx);
    }

    /// The relay serves these subscriptions no more, by the owner's will.
    pub(super) fn leave(
        &mut self,
        id: RelayId,
        which: impl Fn(&Subscription) -> bool,
        now: Now,
        fx: &mut Effects,
    ) {
        let mut left = Vec::new();
        self.each_subscription_by_key(now, fx, |key, subscription| {
            if which(subscription) {
                left.extend(subscription.leave(id).map(|part| (key, part)));
            }
        });
        for (key, part) in left {
            self.leave_part(key, &part, now, fx);
        }
    }

    pub(super) fn cut(
        &mut self,
        id: RelayId,
        kind: Trouble,
        why: &str,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(relay) = self.relays.get(&id) else { return };
        let Some(link) = relay.link.as_ref().map(|link| link.id) else { return };
        relay.stats.error(now.precisely(), kind, why);
        fx.cut.push((id, link));
        self.link_down(id, link, &[], now.unix, now, fx);
    }
}
