//! What relays are set to, what they say, and what their coming and going leads to.

use std::sync::Arc;

use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::ids::{LinkId, RelayId, RequestNumber};
use crate::nostr::event::{Event, EventId};
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::RelayNews;
use crate::nostr::reason::Reason;
use crate::stats::{RelayStats, Trouble};

use super::Keepers;
use super::input::{Ending, Frame};
use super::relays::{Answered, Lost, Thing, Work};
use super::requests::{Arrival, Incoming};
use super::subscriptions::Subscription;
use super::terms::{Audience, RelayCopy, Switches, Word};
use super::turn::Turn;

impl Keepers {
    pub(super) fn set_relay(
        &mut self,
        id: RelayId,
        url: &Arc<str>,
        switches: Switches,
        stats: Arc<RelayStats>,
        turn: &mut Turn<'_>,
    ) {
        let changed = self.relays.set(id, url, switches, stats, turn);
        if changed.write {
            self.outbox.judge_all(&mut self.answers, &mut self.relays, turn);
            turn.due.flush.insert(id);
        }
        if changed.read {
            self.add_readers(id, |_| true, turn);
            self.drop_parts(id, |subscription| !subscription.wants(id, switches.read), turn);
        }
    }

    pub(super) fn remove_relay(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.publish(turn, |publishing, means| publishing.relay_lost(id, &[], means));
        self.outbox.relay_lost(id, &[], turn);
        self.requests.remove_relay(id, &self.subscriptions, turn);
        self.relays.end_sign_in(id, turn);
        self.relays.remove(id, turn);
        self.counting.relay_lost(id, turn);
        self.counting.forget(id);
        self.drop_parts(id, |_| true, turn);
        self.outbox.judge_all(&mut self.answers, &mut self.relays, turn);
    }

    /// Subscriptions that want this relay, and may see it, have a part in it from now on.
    fn add_readers(
        &mut self,
        id: RelayId,
        which: impl Fn(&Subscription) -> bool,
        turn: &mut Turn<'_>,
    ) {
        let (relays, read) = (&self.relays, self.relays.is_read(id));
        let wants = |subscription: &Subscription| {
            let barred = relays.bars(id, subscription.role());
            which(subscription) && subscription.wants(id, read) && !barred
        };
        self.subscriptions.add_relay(id, wants, turn);
        self.requests.want_all(id, &mut self.subscriptions, turn);
    }

    /// The relay serves these subscriptions no more, by the owner's will.
    pub(super) fn drop_parts(
        &mut self,
        id: RelayId,
        which: impl Fn(&Subscription) -> bool,
        turn: &mut Turn<'_>,
    ) {
        let Self { requests, subscriptions, relays, .. } = self;
        for (key, part) in subscriptions.leave(id, which, turn) {
            requests.leave(key, &part, subscriptions, relays, turn);
        }
    }

    /// Public clients may read from this relay no more, or again.
    pub(super) fn readers_changed(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        let is_public = |subscription: &Subscription| subscription.role().is_public();
        if self.relays.bars_public(id) {
            self.drop_parts(id, is_public, turn);
        } else {
            self.add_readers(id, is_public, turn);
        }
    }

    /// The relay's connection shows whether it is another server of this extension.
    pub(super) fn set_sibling(&mut self, id: RelayId, sibling: bool, turn: &mut Turn<'_>) {
        let before = self.relays.is_sibling(id);
        self.relays.set_sibling(id, sibling);
        self.siblings_changed(id, before, turn);
    }

    /// What the relay's document says it takes, and whether it is such a server.
    pub(super) fn set_limits(&mut self, id: RelayId, limits: RelayLimits, turn: &mut Turn<'_>) {
        let before = self.relays.is_sibling(id);
        if self.relays.set_limits(id, limits) {
            turn.due.plan.insert(id); // there may be more places at it, or fewer
            self.siblings_changed(id, before, turn);
        }
    }

    /// Other servers of this extension read from this relay no more, or again.
    fn siblings_changed(&mut self, id: RelayId, before: bool, turn: &mut Turn<'_>) {
        let is_sibling = |subscription: &Subscription| subscription.role().is_sibling();
        match (before, self.relays.is_sibling(id)) {
            (false, true) => self.drop_parts(id, is_sibling, turn),
            (true, false) => self.add_readers(id, is_sibling, turn),
            _ => {}
        }
    }

    pub(super) fn link_up(&mut self, id: RelayId, link: LinkId, turn: &mut Turn<'_>) {
        let Some(missed) = self.relays.link_up(id, link, turn) else { return };
        self.requests.link_up(id, turn);
        self.requests.want_all(id, &mut self.subscriptions, turn);
        self.ask(id, turn);
        for event in missed {
            if event.expiration().is_none_or(|at| at > turn.now.unix) {
                self.relays.send_event(id, &event, Audience::Owners, None, turn);
            }
        }
        turn.due.flush.insert(id);
        self.clients.tell_inside(id, &RelayNews::Connected, &self.relays, turn);
    }

    pub(super) fn link_down(
        &mut self,
        id: RelayId,
        link: LinkId,
        unsent: &[Option<EventId>],
        heard: u64,
        how: Ending,
        turn: &mut Turn<'_>,
    ) {
        let Some(lost) = self.relays.link_down(id, link, how, unsent, turn) else { return };
        let Lost { unsent, mut missed } = lost;
        // What is still open is decided below, and by the outbox.
        missed.retain(|event| {
            !self.publishing.is_open(event.id()) && !self.outbox.contains(event.id())
        });
        self.publish(turn, |publishing, means| publishing.relay_lost(id, &unsent, means));
        self.outbox.relay_lost(id, &unsent, turn);
        for event in missed {
            self.relays.spread(&event, &[id], turn);
        }
        self.requests.lose(id, &self.subscriptions, turn);
        self.subscriptions.relay_lost(id, heard, turn);
        self.relays.end_sign_in(id, turn);
        self.counting.relay_lost(id, turn);
    }

    pub(super) fn cut(&mut self, id: RelayId, kind: Trouble, why: &str, turn: &mut Turn<'_>) {
        let Some(link) = self.relays.link(id) else { return };
        self.relays.note(id, kind, why, turn);
        turn.effects.cut.push((id, link));
        self.link_down(id, link, &[], turn.now.unix, Ending::Innocent, turn);
    }

    pub(super) fn relay_said(&mut self, id: RelayId, frame: Frame, turn: &mut Turn<'_>) {
        self.look_for_answer(id, &frame, turn);
        match frame {
            Frame::Event { number, id: event, json, ticket } => {
                self.relay_event(id, number, event, &json, ticket, turn);
            }
            Frame::Eose(Some(number), hint) => {
                if self.outbox.question_answered(id, number, turn) {
                    self.relays.push(id, Work::Close(number), turn);
                } else {
                    self.requests.arrived(id, number, Arrival::Eose(number, hint), turn);
                }
            }
            Frame::Count(number, counted) => {
                self.counting.answered(id, number, counted, &mut self.relays, turn);
            }
            Frame::Closed(Some(number), why) if self.counting.contains(number) => {
                self.counting.closed(id, number, &why, &self.relays, turn);
            }
            Frame::Closed(Some(number), why) => {
                if !self.outbox.question_answered(id, number, turn) {
                    self.requests.arrived(id, number, Arrival::Closed(why), turn);
                }
            }
            Frame::Ok(event, accepted, why) => self.relay_ok(id, &event, accepted, &why, turn),
            Frame::Auth(challenge) => self.relays.challenged(id, challenge, turn),
            Frame::Notice(text) => {
                let Self { requests, subscriptions, relays, .. } = self;
                requests.notice(id, &text, subscriptions, relays, turn);
                if self.relays.noticed(id, turn) {
                    let news = RelayNews::Notice(text.into());
                    self.clients.tell_inside(id, &news, &self.relays, turn);
                }
            }
            Frame::TooLong { number, bytes } => {
                let number = number.filter(|number| turn.numbers.gave(*number));
                if let Some(number) = number {
                    self.requests.left_out(id, number, &mut self.subscriptions, turn);
                }
                self.relays.tally(id, |stats| &stats.skipped);
                self.relays.junk_of(id, bytes, turn);
            }
            Frame::Eose(None, _) | Frame::Closed(None, _) | Frame::Junk => {
                self.relays.junk(id, turn);
            }
        }
    }

    /// What is answered does not end the connection; what is refused may.
    fn look_for_answer(&mut self, id: RelayId, frame: &Frame, turn: &mut Turn<'_>) {
        match frame {
            Frame::Event { number: Some(number), .. }
            | Frame::TooLong { number: Some(number), .. }
            | Frame::Eose(Some(number), _)
            | Frame::Count(Some(number), _) => {
                self.relays.answered(id, Thing::Request(*number), turn);
            }
            Frame::Closed(Some(number), _) => self.relays.refused(id, Thing::Request(*number)),
            Frame::Ok(event, accepted, why) if why.has_it(*accepted) => {
                self.relays.answered(id, Thing::Event(*event), turn);
            }
            Frame::Ok(event, ..) => self.relays.refused(id, Thing::Event(*event)),
            _ => {}
        }
    }

    fn relay_event(
        &mut self,
        id: RelayId,
        number: Option<RequestNumber>,
        event: EventId,
        json: &Text,
        ticket: Ticket,
        turn: &mut Turn<'_>,
    ) {
        if self.publishing.concerns(id, &event) {
            // What it passes on it has, whatever it may say later: a claimed id is its word, as an
            // OK is.
            let word = Word { accepted: true, why: &Reason::none() };
            self.publish(turn, |publishing, means| publishing.relay_ok(id, &event, word, means));
        }
        self.relays.tally(id, |stats| &stats.received);
        turn.stats.received.add();
        // A number given out before may be of a request just closed, with events under way.
        let Some(number) = number.filter(|number| turn.numbers.gave(*number)) else {
            self.relays.tally(id, |stats| &stats.unasked);
            return self.relays.junk(id, turn);
        };
        let Self { requests, subscriptions, relays, .. } = self;
        let expected = match requests.incoming(id, number, &event, json, subscriptions, turn) {
            Incoming::NoRequest => {
                return self.outbox.found(id, number, &event, &mut self.answers, relays, turn);
            }
            Incoming::Unasked => return relays.tally(id, |stats| &stats.unasked),
            Incoming::Copy => return relays.tally(id, |stats| &stats.duplicates),
            Incoming::Expected(expected) => expected,
        };
        let copy = RelayCopy { relay: id, expected, _ticket: ticket };
        if let Some((copy, event)) = self.intake.take_copy(event, copy, json) {
            requests.verdict(id, copy.expected, Some(&event), subscriptions, relays, turn);
        }
    }

    /// A relay's copy of an event was found true.
    pub(super) fn came_true(&mut self, copy: &RelayCopy, event: &Arc<Event>, turn: &mut Turn<'_>) {
        let Self { relays, answers, intake, subscriptions, outbox, requests, .. } = self;
        outbox.drop_voided_by(event, answers, relays, turn);
        requests.verdict(copy.relay, copy.expected, Some(event), subscriptions, relays, turn);
        // Who has it by this needs no other copy verified.
        let number = copy.expected.number;
        requests.look_at_arrivals(copy.relay, number, subscriptions, relays, turn);
        let same = intake.found_true(event, |copy| {
            requests.lacks(copy.relay, copy.expected.number, event, subscriptions)
        });
        for copy in same {
            requests.verdict(copy.relay, copy.expected, Some(event), subscriptions, relays, turn);
        }
    }

    fn relay_ok(
        &mut self,
        id: RelayId,
        event: &EventId,
        accepted: bool,
        why: &Reason,
        turn: &mut Turn<'_>,
    ) {
        match self.relays.auth_answered(id, event, accepted, why, turn) {
            Answered::OtherEvent => {
                let again = self.relays.says_of(id, event, turn);
                if again && !accepted && why.wants_auth() {
                    return; // by the time it came to the later copy it may have known us
                }
                self.publish(turn, |publishing, means| {
                    publishing.relay_ok(id, event, Word { accepted, why }, means);
                });
            }
            Answered::Nothing => {}
            Answered::Known => self.send_deferred(id, turn),
            Answered::Refused => self.refuse_deferred(id, turn),
        }
    }

    /// Puts in line what the relay is to be asked for. Whoever is deaf until then goes before the events
    /// that the relay has missed.
    fn ask(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        turn.due.plan.remove(&id);
        self.requests.plan(id, &mut self.subscriptions, &mut self.relays, turn);
    }

    /// The relay does not know who we are: what waited for it to is refused.
    pub(super) fn refuse_deferred(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.requests.refuse_deferred(id, &mut self.subscriptions, &self.relays, turn);
        self.publish(turn, |publishing, means| publishing.refuse_deferred(id, means));
    }

    /// The relay knows who we are: all that it has refused for that reason goes again.
    fn send_deferred(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.requests.ask_deferred(id, &mut self.subscriptions, turn);
        self.ask(id, turn);
        self.publishing.send_deferred(id, &self.outbox, &mut self.relays, turn);
        self.outbox.retry_deferred(id, &self.relays, turn);
    }
}
