//! The owner's relays, and those that clients inside have named: their switches, their connections,
//! what is in line for those, who we are to them, and how much of their junk is left to bear.
//!
//! [`Relays`] knows nothing of what is asked for or published: work is put in `line` and taken out of
//! it when the connection has room, and what follows from a connection that comes or goes is the
//! router's to spread.

mod awaited;
mod backlog;
mod blame;
mod line;
mod signing_in;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::time::TokenBucket;
use crate::constants::{
    BACKLOG_BYTES, BACKLOG_EVENTS, IN_FLIGHT_EVENTS, JUNK_BURST, JUNK_BYTES, JUNK_PER_SECOND,
    NOTICES_DUE, OK_DEADLINE, ORDER_BEHIND, RELAY_MESSAGE, RELAY_WINDOW,
};
use crate::ids::{ClientId, LinkId, RelayId};
use crate::nostr::event::{Event, EventError, EventId, is_ephemeral};
use crate::nostr::hex;
use crate::nostr::limits::RelayLimits;
use crate::nostr::reason::Reason;
use crate::nostr::succession;
use crate::stats::{Counter, RelayStats, Trouble};

use super::input::{Ending, Outgoing};
use super::terms::{Audience, Census, Role, Switches};
use super::turn::{Timer, Turn};

use awaited::Awaited;
use backlog::Backlog;
pub(super) use blame::{About, Name, Sender, Thing, Trust};
use blame::{Blame, Culprit};
use line::Line;
pub(super) use line::Work;
use signing_in::SigningIn;
pub(super) use signing_in::{Answered, Hope};

/// See the module's own page.
#[derive(Debug, Default)]
pub(super) struct Relays {
    all: Map<RelayId, Relay>,
    /// Public clients read through connections that are authenticated as the owner.
    public_reads: bool,
}

/// One of them.
#[derive(Debug)]
struct Relay {
    /// Subscriptions go to it, or events, but for those of clients that name their relays.
    switches: Switches,
    /// Normalised.
    url: Arc<str>,
    /// Its numbers.
    stats: Arc<RelayStats>,
    /// What its document says it takes. Known before it has a connection, or never said.
    limits: RelayLimits,
    /// It is another server of this extension, as its last connection has shown.
    sibling: bool,
    /// Its connection, while there is one.
    link: Option<Link>,
    /// It cannot be reached: it was tried in vain since it was there last.
    away: bool,
    /// What is to be sent. Empty while there is no connection.
    line: Line,
    /// Given to the connection and not answered: the owner's.
    in_flight: Backlog,
    /// To be sent when it connects.
    backlog: Backlog,
    /// To be sent when it may have again what nobody knows the sender of.
    held_back: Backlog,
    /// Who we are to it.
    signing_in: SigningIn,
    /// What it ends its connection over.
    blame: Blame,
    junk: TokenBucket,
    /// Notices it may send, whatever it was sent.
    notices: TokenBucket,
}

/// A standing connection.
#[derive(Debug)]
struct Link {
    id: LinkId,
    /// How many messages it takes before it has written one.
    window: usize,
    /// Whether it was sent any REQ.
    asked: bool,
    /// Events it was given, by anybody, and has not answered.
    awaited: Awaited,
    /// Messages it was given and may have a NOTICE for.
    unremarked: usize,
    unwritten: Unwritten,
}

/// What a connection was given and has not written.
#[derive(Debug, Default)]
struct Unwritten {
    messages: usize,
    bytes: usize,
    /// Since when.
    since: Duration,
}

/// What has changed with a relay's switches.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Whether it takes events.
    pub(super) write: bool,
    /// Whether it is read from. `true` for a new one.
    pub(super) read: bool,
}

/// What a connection that is gone has left behind.
#[derive(Debug)]
pub(super) struct Lost {
    /// Events of which no copy has left.
    pub(super) unsent: Vec<EventId>,
    /// Events of the owner's that it may not have, in order.
    pub(super) missed: Vec<Arc<Event>>,
}

impl Relays {
    // --- Configuration --------------------------------------------------------------------

    /// A relay is configured, or its switches are changed.
    pub(super) fn set(
        &mut self,
        id: RelayId,
        url: &Arc<str>,
        switches: Switches,
        stats: Arc<RelayStats>,
        turn: &mut Turn<'_>,
    ) -> Changed {
        let Switches { read, write } = switches;
        let new = !self.all.contains_key(&id);
        let relay = self.all.entry(id).or_insert_with(|| Relay {
            switches: Switches { read: false, write },
            url: Arc::clone(url),
            stats,
            limits: RelayLimits::default(),
            sibling: false,
            link: None,
            away: false,
            line: Line::default(),
            in_flight: Backlog::new(IN_FLIGHT_EVENTS, BACKLOG_BYTES),
            backlog: Backlog::new(BACKLOG_EVENTS, BACKLOG_BYTES),
            held_back: Backlog::new(BACKLOG_EVENTS, BACKLOG_BYTES),
            signing_in: SigningIn::default(),
            blame: Blame::default(),
            junk: TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST),
            notices: TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST),
        });
        let before = std::mem::replace(&mut relay.switches, switches);
        let changed = Changed { write: before.write != write, read: new || before.read != read };
        if changed.write {
            relay.backlog.take();
            relay.held_back.take();
            if !write {
                // The owner publishes to it no more.
                let dropped = relay.line.drop_events();
                let dropped = dropped.into_iter().map(|event| (id, event, Audience::Owners));
                turn.due.unsent.extend(dropped);
            }
        }
        if changed.read && read && relay.link.as_ref().is_some_and(|link| link.asked) {
            // The numbers were used on this connection, and answers to them may be under way.
            turn.cut(id, Trouble::ConnectsAnew, "connects anew, because reading was switched on");
        }
        changed
    }

    /// What a relay's document says it takes. False: there is no such relay.
    pub(super) fn set_limits(&mut self, id: RelayId, limits: RelayLimits) -> bool {
        let Some(relay) = self.all.get_mut(&id) else { return false };
        if std::mem::replace(&mut relay.limits, limits).says_else(limits) {
            // It is another relay now: what it did not bear it may.
            relay.blame.forgive_all();
            relay.show_quarantine();
        }
        true
    }

    /// Whether a relay is another server of this extension, as its connection shows.
    pub(super) fn set_sibling(&mut self, id: RelayId, sibling: bool) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.sibling = sibling;
        }
    }

    /// A relay is no longer configured.
    pub(super) fn remove(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.all.remove(&id);
        turn.timers.stop(Timer::Suspect(id));
    }

    // --- To be looked at ------------------------------------------------------------------

    /// All of them, ascending.
    pub(super) fn ids(&self) -> Vec<RelayId> {
        let mut ids: Vec<RelayId> = self.all.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Those that take events, ascending; `connected`: and can be given one now.
    pub(super) fn writable(&self, connected: bool) -> Vec<RelayId> {
        let takes = |relay: &Relay| relay.switches.write && (!connected || relay.link.is_some());
        let mut ids: Vec<RelayId> =
            self.all.iter().filter(|(_, relay)| takes(relay)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether any takes events.
    pub(super) fn any_writable(&self) -> bool {
        self.all.values().any(|relay| relay.switches.write)
    }

    /// Whether any takes events now.
    pub(super) fn any_takes_events(&self) -> bool {
        self.all.values().any(Relay::takes_events)
    }

    /// Whether it can be given an event now.
    pub(super) fn takes_events(&self, id: RelayId) -> bool {
        self.all.get(&id).is_some_and(Relay::takes_events)
    }

    /// The relays a client reads from, ascending: those it has named, or those set for reading; in
    /// either case those it may see.
    pub(super) fn readable(&self, only: Option<&[RelayId]>, role: Role) -> Vec<RelayId> {
        let mut readable: Vec<RelayId> = match only {
            Some(only) => only.iter().copied().filter(|id| self.all.contains_key(id)).collect(),
            None => self
                .all
                .iter()
                .filter(|(_, relay)| relay.switches.read)
                .map(|(id, _)| *id)
                .collect(),
        };
        readable.retain(|relay| !self.bars(*relay, role));
        readable.sort_unstable();
        readable
    }

    /// Whether a client of this role has no part at this relay: what the owner alone may see is not for
    /// public ones, and what one server of this extension asks another goes no further to a third, which
    /// may be the first again.
    pub(super) fn bars(&self, id: RelayId, role: Role) -> bool {
        (role.is_public() && self.bars_public(id)) || (role.is_sibling() && self.is_sibling(id))
    }

    /// Whether it is another server of this extension, as its connection or its document shows.
    pub(super) fn is_sibling(&self, id: RelayId) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.sibling || relay.limits.sibling)
    }

    /// Whether it is read from.
    pub(super) fn is_read(&self, id: RelayId) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.switches.read)
    }

    /// Whether it is there for the owner, and not only for clients that have named it.
    pub(super) fn is_owners(&self, id: RelayId) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.switches.read || relay.switches.write)
    }

    /// Its connection, while there is one.
    pub(super) fn link(&self, id: RelayId) -> Option<LinkId> {
        self.all.get(&id)?.link.as_ref().map(|link| link.id)
    }

    /// Whether it has a connection.
    pub(super) fn is_linked(&self, id: RelayId) -> bool {
        self.link(id).is_some()
    }

    /// Whether it was tried in vain since it was there last.
    pub(super) fn is_away(&self, id: RelayId) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.away)
    }

    /// What its document says it takes.
    pub(super) fn limits(&self, id: RelayId) -> RelayLimits {
        self.all.get(&id).map(|relay| relay.limits).unwrap_or_default()
    }

    /// How many subscriptions it can be trusted to take.
    pub(super) fn subscriptions(&self, id: RelayId) -> usize {
        self.limits(id).subscriptions()
    }

    /// How many filters one request may have.
    pub(super) fn filters(&self, id: RelayId) -> usize {
        self.limits(id).filters()
    }

    /// How many bytes the filters of one request may have, its frame aside.
    pub(super) fn filter_bytes(&self, id: RelayId) -> usize {
        self.limits(id).max_message_length.unwrap_or(RELAY_MESSAGE).saturating_sub(64)
    }

    /// Its url, as it is shown.
    pub(super) fn url(&self, id: RelayId) -> Arc<str> {
        self.all.get(&id).map_or_else(|| "a removed relay".into(), |relay| Arc::clone(&relay.url))
    }

    /// The relay of this url, normalised.
    pub(super) fn by_url(&self, url: &str) -> Option<RelayId> {
        self.all.iter().find(|(_, relay)| *relay.url == *url).map(|(id, _)| *id)
    }

    // --- Connections ----------------------------------------------------------------------

    /// A connection stands. What the relay missed while it was away, in order.
    pub(super) fn link_up(
        &mut self,
        id: RelayId,
        link: LinkId,
        turn: &mut Turn<'_>,
    ) -> Option<Vec<Arc<Event>>> {
        let relay = self.all.get_mut(&id)?;
        if let Some(calm) = relay.blame.link_up(turn.now.mono) {
            turn.timers.set(Timer::Suspect(id), calm);
        }
        relay.show_quarantine();
        let awaited = Awaited::default();
        let (window, unremarked) = (RELAY_WINDOW, 0);
        let (asked, unwritten) = (false, Unwritten::default());
        relay.link = Some(Link { id: link, window, asked, awaited, unremarked, unwritten });
        relay.away = false;
        relay.line = Line::default();
        relay.junk = TokenBucket::new(JUNK_PER_SECOND, JUNK_BURST);
        relay.stats.authentication_required.store(false, Relaxed);
        relay.stats.auth_refused.store(false, Relaxed);
        Some(relay.backlog.take())
    }

    /// A connection has written so many messages and takes as many more.
    pub(super) fn link_wrote(
        &mut self,
        id: RelayId,
        link: LinkId,
        count: usize,
        turn: &mut Turn<'_>,
    ) {
        let standing = self.all.get_mut(&id).and_then(|relay| relay.link.as_mut());
        if let Some(standing) = standing.filter(|standing| standing.id == link) {
            standing.window += count;
            standing.unwritten.less(count);
            turn.due.send.insert(id);
        }
    }

    /// It was tried in vain.
    pub(super) fn link_failed(&mut self, id: RelayId) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.away = true;
        }
    }

    /// A connection is gone, and has never written these messages, some of them events. `None`: it was not
    /// the one that stood.
    pub(super) fn link_down(
        &mut self,
        id: RelayId,
        link: LinkId,
        how: Ending,
        unsent: &[Option<EventId>],
        turn: &mut Turn<'_>,
    ) -> Option<Lost> {
        let relay = self.all.get_mut(&id)?;
        let Link { mut awaited, .. } = relay.link.take_if(|standing| standing.id == link)?;
        turn.timers.stop(Timer::Suspect(id));
        let ended_over = relay.blame.link_down(how, unsent.len(), turn.now.mono);
        if let Some(Culprit { thing, bytes }) = ended_over {
            let what = match thing {
                Thing::Event(event) => format!("the event {}", hex::encode(&event)),
                Thing::Request(_) => "a subscription or count".to_owned(),
            };
            let why = format!("ends the connection over {what} of {bytes} bytes: not sent again");
            relay.stats.error(turn.now.precisely(), Trouble::EndsConnection, &why);
        }
        relay.show_quarantine();
        relay.show(Census::default(), None);
        let mut unsent: Vec<EventId> = unsent.iter().flatten().copied().collect();
        for event in &unsent {
            awaited.done(event);
        }
        let mut missed = relay.in_flight.take();
        missed.extend(relay.held_back.take());
        for (event, audience) in relay.line.take_events() {
            unsent.push(*event.id());
            // Whoever has named the relay is told, and nothing is kept for him.
            missed.extend((audience == Audience::Owners).then_some(event));
        }
        unsent.retain(|event| !awaited.has(event));
        Some(Lost { unsent, missed })
    }

    /// The relay has said what becomes of an event. Whether it has been given another copy since, of
    /// which it will say so too. What it was not given counts as junk.
    pub(super) fn says_of(&mut self, id: RelayId, event: &EventId, turn: &mut Turn<'_>) -> bool {
        let link = self.all.get_mut(&id).and_then(|relay| relay.link.as_mut());
        let left = link.and_then(|link| link.awaited.done(event));
        if left.is_none() {
            self.junk(id, turn);
        }
        left > Some(0)
    }

    // --- What it ends its connection over -------------------------------------------------

    /// It has answered something.
    pub(super) fn answered(&mut self, id: RelayId, thing: Thing, turn: &mut Turn<'_>) {
        if self.all.get_mut(&id).is_some_and(|relay| relay.blame.answered(thing)) {
            turn.due.send.insert(id);
        }
    }

    /// It has refused something. It may end the connection for that, too.
    pub(super) fn refused(&mut self, id: RelayId, thing: Thing) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.blame.refused(thing);
        }
    }

    /// The next suspect may be sent, or what nobody knows the sender of.
    pub(super) fn try_suspect(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        let Some(relay) = self.all.get_mut(&id) else { return };
        relay.blame.look(turn.now.mono);
        turn.due.send.insert(id);
        if relay.held_back.is_empty() || relay.link.is_none() {
            return;
        }
        match relay.blame.trust(&Sender::Unknown, turn.now.mono) {
            (Trust::Nothing, until) => turn.timers.set_by(Timer::Suspect(id), until),
            _ => {
                for event in relay.held_back.take() {
                    self.send_event(id, &event, Audience::Owners, None, turn);
                }
            }
        }
    }

    /// How a relay is sent what this one sends.
    pub(super) fn trust(&self, id: RelayId, sender: &Sender, turn: &Turn<'_>) -> Trust {
        let blame = self.all.get(&id).map(|relay| &relay.blame);
        blame.map_or(Trust::Full, |blame| blame.trust(sender, turn.now.mono).0)
    }

    /// An event that others have is sent to this one when it may be.
    pub(super) fn hold_back(&mut self, id: RelayId, event: Arc<Event>, turn: &mut Turn<'_>) {
        let Some(relay) = self.all.get_mut(&id) else { return };
        let dropped = relay.held_back.push(event);
        relay.stats.backlog_dropped.add_all(dropped);
        let (_, until) = relay.blame.trust(&Sender::Unknown, turn.now.mono);
        turn.timers.set_by(Timer::Suspect(id), until);
    }

    /// A client is gone.
    pub(super) fn client_left(&mut self, client: ClientId) {
        for relay in self.all.values_mut() {
            relay.blame.client_left(client);
        }
    }

    /// Whether it may have ended its connection over one of these.
    pub(super) fn suspects(&self, id: RelayId, names: &[Name]) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.blame.suspects(names))
    }

    /// Whether it ends its connection over one of these, which is not sent to it for that.
    pub(super) fn quarantines(&self, id: RelayId, names: &[Name], turn: &Turn<'_>) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.blame.quarantines(names, turn.now.mono))
    }

    /// The owner wants an event tried again, everywhere.
    pub(super) fn forgive(&mut self, name: &Name) {
        for relay in self.all.values_mut() {
            relay.blame.forgive(name);
            relay.show_quarantine();
        }
    }

    /// It has sent what nobody can use. One that does not stop is cut off; its backoff does the rest.
    pub(super) fn junk(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        self.junk_of(id, 0, turn);
    }

    /// It has sent a NOTICE. Some have one for each message that they do not like, and no client may have a
    /// relay cut off for that. Whether there are so few that they are worth passing on.
    pub(super) fn noticed(&mut self, id: RelayId, turn: &mut Turn<'_>) -> bool {
        let Some(relay) = self.all.get_mut(&id) else { return false };
        if relay.notices.take(turn.now.mono) {
            return true;
        }
        match relay.link.as_mut().filter(|link| link.unremarked > 0) {
            Some(link) => link.unremarked -= 1,
            None => self.junk(id, turn),
        }
        false
    }

    /// The same where it took this many bytes, which nobody kept.
    pub(super) fn junk_of(&mut self, id: RelayId, bytes: usize, turn: &mut Turn<'_>) {
        let Some(relay) = self.all.get_mut(&id) else { return };
        if !(0..=bytes / JUNK_BYTES).all(|_| relay.junk.take(turn.now.mono)) {
            turn.cut(id, Trouble::CutOff, "cut off: it keeps sending what nobody asked for");
        }
    }

    // --- What is in line for a connection -------------------------------------------------

    /// Something is to be sent, behind all that waits. Nothing happens without a connection.
    pub(super) fn push(&mut self, id: RelayId, work: Work, turn: &mut Turn<'_>) {
        if let Some(relay) = self.all.get_mut(&id).filter(|relay| relay.link.is_some()) {
            relay.line.push(work);
            turn.due.send.insert(id);
        }
    }

    /// An event is to be sent. Where too many wait, the oldest give way.
    pub(super) fn send_event(
        &mut self,
        id: RelayId,
        event: &Arc<Event>,
        audience: Audience,
        by: Option<ClientId>,
        turn: &mut Turn<'_>,
    ) {
        let until = turn.now.mono + OK_DEADLINE;
        self.push(id, Work::Publish { event: Arc::clone(event), audience, by, until }, turn);
        if let Some(relay) = self.all.get_mut(&id) {
            if audience == Audience::Owners {
                relay.backlog.remove(event.id()); // it is not owed to it besides
            }
            let dropped = std::iter::from_fn(|| relay.line.drop_oldest());
            turn.due.unsent.extend(dropped.map(|(event, audience)| (id, event, audience)));
        }
    }

    /// Sends an event that some relay has to those that may not have it, now or when they connect.
    pub(super) fn spread(&mut self, event: &Arc<Event>, relays: &[RelayId], turn: &mut Turn<'_>) {
        if is_ephemeral(event.kind()) {
            return;
        }
        for id in relays {
            let Some(relay) = self.all.get_mut(id).filter(|relay| relay.switches.write) else {
                continue;
            };
            if relay.link.is_some() {
                self.send_event(*id, event, Audience::Owners, None, turn);
            } else {
                let dropped = relay.backlog.push(Arc::clone(event));
                relay.stats.backlog_dropped.add_all(dropped);
            }
        }
    }

    /// What is next for the connection, which has room for it, of what `may` go out: what is suspect, by one
    /// of its names or for who sends it, may have to wait. What comes of it is to be handed to
    /// [`Self::send`].
    pub(super) fn next_work(
        &mut self,
        id: RelayId,
        may: impl Fn(&Work) -> bool,
        about: impl Fn(&Work) -> About,
        turn: &Turn<'_>,
    ) -> Option<Work> {
        let relay = self.all.get_mut(&id)?;
        let link = relay.link.as_ref().filter(|link| link.window > 0)?;
        let Relay { line, blame, .. } = relay;
        let next = line.first(|work| {
            may(work) && (!blame.is_wary() || !blame.holds(&about(work), turn.now.mono))
        })?;
        if link.unwritten.holds_orders(turn.now.mono) && line.is_order(next) {
            return None; // here it can be taken back
        }
        line.take(next)
    }

    /// Gives the connection a message, and what it is about if that is answered.
    pub(super) fn send(
        &mut self,
        id: RelayId,
        outgoing: Outgoing,
        about: Option<(Thing, About)>,
        turn: &mut Turn<'_>,
    ) {
        let Some(relay) = self.all.get_mut(&id) else { return };
        let Some(link) = relay.link.as_mut() else { return };
        if let Some(over) = relay.blame.give(about, outgoing.text.len(), turn.now.mono) {
            turn.timers.set(Timer::Suspect(id), over);
        }
        link.asked |= outgoing.event.is_none();
        link.window = link.window.saturating_sub(1);
        link.unwritten.more(outgoing.text.len(), turn.now.mono);
        link.unremarked = (link.unremarked + 1).min(NOTICES_DUE);
        turn.effects.to_relay.push((id, link.id, outgoing));
    }

    /// An event leaves: the relay is to answer it, and until then it may have to be sent again.
    pub(super) fn in_flight(&mut self, id: RelayId, event: Arc<Event>, audience: Audience) {
        let Some(Relay { link: Some(link), in_flight, .. }) = self.all.get_mut(&id) else { return };
        link.awaited.sent(*event.id());
        if audience == Audience::Owners && !is_ephemeral(event.kind()) {
            in_flight.append(event);
        }
    }

    /// An event is answered. It, if it was in flight.
    pub(super) fn landed(&mut self, id: RelayId, event: &EventId) -> Option<Arc<Event>> {
        self.all.get_mut(&id)?.in_flight.remove(event)
    }

    /// An event that others may take meanwhile is to go to this one too, once it may.
    pub(super) fn owe(&mut self, id: RelayId, event: Arc<Event>) {
        if let Some(relay) = self.all.get_mut(&id).filter(|relay| relay.switches.write) {
            let dropped = relay.backlog.push(event);
            relay.stats.backlog_dropped.add_all(dropped);
        }
    }

    /// What it is owed, in order. It is owed nothing after that.
    pub(super) fn take_owed(&mut self, id: RelayId) -> Vec<Arc<Event>> {
        self.all.get_mut(&id).map(|relay| relay.backlog.take()).unwrap_or_default()
    }

    /// It must not have this event later.
    pub(super) fn owe_no_more(&mut self, id: RelayId, event: &EventId) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.backlog.remove(event);
        }
    }

    /// Takes an event back from wherever it waits for the owner's relays, so that it is sent to none of
    /// them. What a client inside has named a relay for goes there all the same.
    pub(super) fn take_back(&mut self, event: &EventId) {
        for relay in self.all.values_mut() {
            relay.in_flight.remove(event);
            relay.backlog.remove(event);
            relay.held_back.remove(event);
            relay.line.take_back(event, Audience::Owners);
        }
    }

    /// The same for one relay and who has named it.
    pub(super) fn take_back_from(&mut self, id: RelayId, event: &EventId, audience: Audience) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.line.take_back(event, audience);
        }
    }

    /// What this event makes void is owed to nobody.
    pub(super) fn drop_voided_by(&mut self, event: &Event) {
        for relay in self.all.values_mut() {
            for waiting in [&mut relay.backlog, &mut relay.held_back] {
                if !waiting.is_empty() {
                    waiting.retain(|other| !succession::voids(event, other));
                }
            }
        }
    }

    /// A REQ or COUNT in line has ended before it went out: it is skipped when its turn comes, or swept
    /// out when there are many.
    pub(super) fn forget_ask(&mut self, id: RelayId, turn: &mut Turn<'_>) {
        let linked = self.all.get_mut(&id).filter(|relay| relay.link.is_some());
        if linked.is_some_and(|relay| relay.line.has_dead()) {
            turn.due.sweep.insert(id);
        }
    }

    /// Takes out of its line what has ended.
    pub(super) fn sweep(&mut self, id: RelayId, lives: impl Fn(&Work) -> bool) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.line.sweep(lives);
        }
    }

    /// One that had ended was skipped.
    pub(super) fn skipped(&mut self, id: RelayId) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.line.skipped();
        }
    }

    /// Events in its line.
    pub(super) fn events_in_line(&self, id: RelayId) -> usize {
        self.all.get(&id).map_or(0, |relay| relay.line.events())
    }

    /// Whether the outbox has more for it than was let in line.
    pub(super) fn set_more(&mut self, id: RelayId, more: bool) {
        if let Some(relay) = self.all.get_mut(&id) {
            relay.line.more = more;
        }
    }

    /// Whether the outbox has more for it, and the line is half empty.
    pub(super) fn wants_more(&self, id: RelayId) -> bool {
        self.all.get(&id).is_some_and(|relay| relay.line.wants_more())
    }

    // --- What the owner is shown ----------------------------------------------------------

    /// One more of one of its numbers.
    pub(super) fn tally(&self, id: RelayId, which: impl Fn(&RelayStats) -> &Counter) {
        if let Some(relay) = self.all.get(&id) {
            which(&relay.stats).add();
        }
    }

    /// It has done something the owner should know.
    pub(super) fn note(&self, id: RelayId, kind: Trouble, what: &str, turn: &Turn<'_>) {
        if let Some(relay) = self.all.get(&id) {
            relay.stats.error(turn.now.precisely(), kind, what);
        }
    }

    /// What it does for the subscriptions here was counted. `why`: why it does not serve all of them, if it
    /// does not.
    pub(super) fn counted(&self, id: RelayId, census: Census, why: &str, turn: &Turn<'_>) {
        if let Some(relay) = self.all.get(&id) {
            let unserved = census.refused + census.waiting > 0;
            relay.show(census, unserved.then(|| (turn.now.precisely(), why)));
        }
    }

    /// It has sent an event with a wrong id or signature.
    pub(super) fn forged(&mut self, id: RelayId, error: &EventError, turn: &mut Turn<'_>) {
        self.tally(id, |stats| &stats.forged);
        self.note(id, Trouble::ForgedEvent, &format!("sent a forged event: {error}"), turn);
        self.junk(id, turn);
    }

    /// It has ended a subscription, or does not take it.
    pub(super) fn refused_subscription(&self, id: RelayId, why: &Reason, turn: &Turn<'_>) {
        self.note(id, Trouble::EndedSubscription, &format!("ended a subscription: {why}"), turn);
        if why.wants_auth() {
            self.wants_auth(id, true);
        }
    }

    /// It says that too much comes at a time.
    pub(super) fn slowed_down(&self, id: RelayId, why: &Reason, turn: &Turn<'_>) {
        self.note(id, Trouble::SlowDown, &format!("is asked less for a while: {why}"), turn);
    }

    /// It has not come to know us, and this is refused for that.
    pub(super) fn refused_unknown(&self, id: RelayId, kind: Trouble, what: &str, turn: &Turn<'_>) {
        self.note(id, kind, what, turn);
        if let Some(relay) = self.all.get(&id) {
            relay.stats.auth_refused.store(true, Relaxed);
        }
    }

    /// It has answered an event with `false`.
    pub(super) fn refused_event(&self, id: RelayId, why: &Reason, turn: &Turn<'_>) {
        self.tally(id, |stats| &stats.rejected);
        self.note(id, Trouble::RefusedEvent, &format!("refused an event: {why}"), turn);
        if why.wants_auth() {
            self.wants_auth(id, true);
        }
    }
}

impl Unwritten {
    fn more(&mut self, bytes: usize, now: Duration) {
        if self.messages == 0 {
            self.since = now;
        }
        self.messages += 1;
        self.bytes += bytes;
    }

    fn less(&mut self, messages: usize) {
        self.messages = self.messages.saturating_sub(messages);
        if self.messages == 0 {
            self.bytes = 0;
        }
    }

    /// Whether an ephemeral event would wait behind it, for as long as the relay likes. With what is given
    /// to the connection at the same time it goes in one piece.
    fn holds_orders(&self, now: Duration) -> bool {
        self.messages > 0 && (now > self.since || self.bytes > ORDER_BEHIND)
    }
}

impl Relay {
    fn show_quarantine(&self) {
        self.stats.quarantined.set(self.blame.quarantined());
    }

    /// `unserved`: when it was found not to serve all, and why.
    fn show(&self, census: Census, unserved: Option<(f64, &str)>) {
        self.stats.subscriptions_served.set(census.served);
        self.stats.subscriptions_refused.set(census.refused);
        self.stats.subscriptions_waiting.set(census.waiting);
        self.stats.set_unserved(unserved);
    }

    const fn takes_events(&self) -> bool {
        self.switches.write && self.link.is_some()
    }
}
