//! What ends a relay's connection (rule 2.7), and is not sent there again.
//!
//! Some relays answer an event or a REQ that they do not like with the end of the connection, which all
//! clients share. [`Blame`] knows what was sent over it and is not answered. Where the relay ends it shortly
//! after, all of that is *suspect*. On the next connection suspects go last and one by one, each until it
//! is answered or has done no harm for a while; everything else goes at once. What is under way at such an end
//! for the second time is *quarantined*. A relay that says why (close code 1009) is believed the first time. One
//! that has answered nobody on that connection may be in trouble of its own, and is believed later.
//!
//! Whoever sends such things again and again would end everybody's connection for each. So where a client has sent
//! several, or clients that nobody knows have, nothing of theirs is sent for a while, and then only as a suspect
//! is ([`Trust`]). Where a connection ends before any suspect has had its turn, and again and again, everything new is
//! as good as suspect: so the next one shows who it was.
//!
//! An answer that is no refusal acquits. A refusal does not: some relays say why they end the connection.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::hash::{Map, Set};
use crate::constants::{
    BLAME_WINDOW, CULPRIT_PAUSE, CULPRIT_PAUSE_MOST, CULPRITS_OF_ALL, CULPRITS_OF_ONE,
    CULPRITS_REMEMBERED, ENDS_MOST, ENDS_MOST_SERVING_NOBODY, ENDS_REMEMBERED, ENDS_WARY,
    QUARANTINE, QUARANTINE_MOST, SUSPECT_PAUSE, SUSPECTS_MOST, UNDER_WAY_MOST,
};
use crate::ids::{ClientId, RequestNumber};
use crate::nostr::event::EventId;
use crate::router::input::Ending;

/// What a thing is known by from one connection to the next: an event's id, or a hash of what is asked.
pub(in crate::router) type Name = [u8; 32];

/// Something that is sent to a relay and answered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::router) enum Thing {
    /// An EVENT.
    Event(EventId),
    /// A REQ or a COUNT, by its number on this connection.
    Request(RequestNumber),
}

/// Whose something is that a relay is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::router) enum Sender {
    /// The relay has answered the very same before.
    Harmless,
    /// Theirs.
    Clients(Vec<ClientId>),
    /// It has waited here since, and nobody knows.
    Unknown,
}

/// What is known of something that a relay is sent: its names, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::router) struct About {
    pub(in crate::router) names: Vec<Name>,
    pub(in crate::router) sender: Sender,
}

/// How a relay is sent what somebody sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::router) enum Trust {
    /// At once.
    Full,
    /// As what is suspect.
    Alone,
    /// Not now.
    Nothing,
}

/// What a connection ended over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Culprit {
    pub(super) thing: Thing,
    /// Of the whole message.
    pub(super) bytes: usize,
}

/// Of one relay, over all of its connections.
#[derive(Debug, Default)]
pub(super) struct Blame {
    /// What is not answered, and was sent over this connection.
    under_way: Map<Thing, UnderWay>,
    /// How many messages this connection was given.
    given: usize,
    /// The relay has answered something on this connection.
    serves: bool,
    /// What was under way when one ended.
    suspects: Map<Name, Suspect>,
    /// No suspect is sent before this.
    calm: Duration,
    /// The suspect that is under way.
    tried: Option<Thing>,
    /// What is not sent to this relay, and until when.
    quarantined: Map<Name, Duration>,
    /// When connections have ended with something under way, the latest.
    ends: VecDeque<Duration>,
    /// When something was found to be the cause, and who had sent it.
    culprits: VecDeque<(Duration, Vec<ClientId>)>,
    /// Clients of which the relay has answered something.
    known: Set<ClientId>,
}

#[derive(Debug)]
struct Suspect {
    /// How many connections have ended with it under way.
    ends: u32,
    /// Until when that is remembered.
    until: Duration,
    /// Who sent it first, as far as is known.
    by: Vec<ClientId>,
}

#[derive(Debug)]
struct UnderWay {
    /// What it asks for. Of a REQ for several subscriptions each of theirs, and last the whole.
    names: Vec<Name>,
    by: Vec<ClientId>,
    bytes: usize,
    /// Which of the messages given to the connection it was.
    number: usize,
    at: Duration,
    /// The relay has refused it.
    refused: bool,
}

impl Blame {
    /// A connection stands. When suspects may be sent, if there are any.
    pub(super) fn link_up(&mut self, now: Duration) -> Option<Duration> {
        self.suspects.retain(|_, suspect| suspect.until > now);
        self.quarantined.retain(|_, until| *until > now);
        self.culprits.retain(|(at, _)| *at + CULPRITS_REMEMBERED > now);
        self.ends.retain(|at| *at + ENDS_REMEMBERED > now);
        (self.given, self.serves, self.calm) = (0, false, now + SUSPECT_PAUSE);
        self.is_wary().then_some(self.calm)
    }

    /// Whether anything may have to wait.
    pub(super) fn is_wary(&self) -> bool {
        !self.suspects.is_empty() || !self.culprits.is_empty() || !self.ends.is_empty()
    }

    /// Whether one of these is suspect.
    pub(super) fn suspects(&self, names: &[Name]) -> bool {
        !self.suspects.is_empty() && names.iter().any(|name| self.suspects.contains_key(name))
    }

    /// Whether this is to wait: it is suspect, or as good as that, and another one is being tried.
    pub(super) fn holds(&self, about: &About, now: Duration) -> bool {
        let waits = self.tried.is_some() || now < self.calm;
        waits && (self.suspects(&about.names) || self.trust(&about.sender, now).0 == Trust::Alone)
    }

    /// How it is sent what this one sends, and where that is not at all, until when.
    pub(super) fn trust(&self, sender: &Sender, now: Duration) -> (Trust, Duration) {
        if *sender == Sender::Harmless || !self.is_wary() {
            return (Trust::Full, Duration::ZERO);
        }
        let lately = self.ends.iter().filter(|at| **at + ENDS_REMEMBERED > now).count();
        let least = if lately >= ENDS_WARY { Trust::Alone } else { Trust::Full };
        let of_all = self.after(|_| true, CULPRITS_OF_ALL, now);
        let trust = match sender {
            Sender::Clients(clients) => {
                let own = |client| {
                    let own = self.after(|by| by.contains(client), CULPRITS_OF_ONE, now);
                    if self.known.contains(client) { own } else { own.max(of_all) }
                };
                clients.iter().map(own).max().unwrap_or(of_all)
            }
            Sender::Harmless | Sender::Unknown => of_all,
        };
        trust.max((least, Duration::ZERO))
    }

    /// The same after so many culprits of these.
    fn after(
        &self,
        whose: impl Fn(&[ClientId]) -> bool,
        least: usize,
        now: Duration,
    ) -> (Trust, Duration) {
        let lately = |at: &Duration| *at + CULPRITS_REMEMBERED > now;
        let theirs = self.culprits.iter().filter(|(at, by)| lately(at) && whose(by));
        let (count, last) = theirs
            .fold((0_usize, Duration::ZERO), |(count, last), (at, _)| (count + 1, last.max(*at)));
        let Some(over) = count.checked_sub(least) else { return (Trust::Full, Duration::ZERO) };
        let times = 2_u32.saturating_pow(u32::try_from(over).unwrap_or(u32::MAX));
        let until = last + CULPRIT_PAUSE.saturating_mul(times).min(CULPRIT_PAUSE_MOST);
        (if now < until { Trust::Nothing } else { Trust::Alone }, until)
    }

    /// Nothing more is to be known of this client.
    pub(super) fn client_left(&mut self, client: ClientId) {
        self.known.remove(&client);
        for under_way in self.under_way.values_mut() {
            under_way.by.retain(|by| *by != client);
        }
    }

    /// Whether one of these is not to be sent.
    pub(super) fn quarantines(&self, names: &[Name], now: Duration) -> bool {
        names.iter().any(|name| self.quarantined.get(name).is_some_and(|until| *until > now))
    }

    /// How many things are not sent.
    pub(super) fn quarantined(&self) -> usize {
        self.quarantined.len()
    }

    /// The connection is given a message. When it has done no harm, if it is suspect.
    pub(super) fn give(
        &mut self,
        thing: Option<(Thing, About)>,
        bytes: usize,
        now: Duration,
    ) -> Option<Duration> {
        self.given += 1;
        let (thing, About { names, sender }) = thing?;
        if self.under_way.len() >= UNDER_WAY_MOST {
            self.under_way.retain(|_, it| it.at + BLAME_WINDOW > now);
        }
        if self.under_way.len() >= UNDER_WAY_MOST {
            return None;
        }
        let stranger = self.trust(&sender, now).0 > Trust::Full;
        let by = match sender {
            Sender::Clients(clients) => clients,
            Sender::Harmless | Sender::Unknown => Vec::new(),
        };
        if stranger && !self.suspects(&names) {
            // As if it had been under way at one end by now.
            self.suspect(names.iter().copied(), &by, now);
        }
        let suspect = self.suspects(&names);
        let number = self.given;
        self.under_way
            .insert(thing, UnderWay { names, by, bytes, number, at: now, refused: false });
        suspect.then(|| {
            self.tried = Some(thing);
            now + BLAME_WINDOW
        })
    }

    /// The relay has answered it. True: the next suspect may be sent.
    pub(super) fn answered(&mut self, thing: Thing) -> bool {
        self.serves = true;
        if let Some(under_way) = self.under_way.get_mut(&thing) {
            self.known.extend(under_way.by.drain(..));
        }
        self.acquit(thing)
    }

    fn acquit(&mut self, thing: Thing) -> bool {
        let Some(UnderWay { names, .. }) = self.under_way.remove(&thing) else { return false };
        for name in names {
            self.suspects.remove(&name);
        }
        self.tried.take_if(|tried| *tried == thing).is_some()
    }

    /// The relay has refused it.
    pub(super) fn refused(&mut self, thing: Thing) {
        if let Some(under_way) = self.under_way.get_mut(&thing) {
            under_way.refused = true;
        }
    }

    /// Time has passed: what is being tried does no harm.
    pub(super) fn look(&mut self, now: Duration) {
        let tried = self.tried.and_then(|tried| Some((tried, self.under_way.get(&tried)?.at)));
        if let Some((tried, _)) = tried.filter(|(_, at)| *at + BLAME_WINDOW <= now) {
            self.acquit(tried);
        }
    }

    /// The connection has ended, with so many of its messages unsent. What over, if that is known.
    pub(super) fn link_down(
        &mut self,
        how: Ending,
        unsent: usize,
        now: Duration,
    ) -> Option<Culprit> {
        self.tried = None;
        let written = self.given.saturating_sub(unsent);
        let mut under_way: Vec<(Thing, UnderWay)> = self.under_way.drain().collect();
        under_way.retain(|(_, it)| it.number <= written);
        under_way.sort_unstable_by_key(|(_, it)| it.number);
        match how {
            Ending::TooBig => {
                under_way.retain(|(_, it)| !it.refused);
                let largest = under_way.into_iter().max_by_key(|(_, it)| it.bytes);
                largest.map(|(thing, it)| self.convict(thing, &it, now))
            }
            Ending::Broken => {
                under_way.retain(|(_, it)| it.at + BLAME_WINDOW > now);
                if !under_way.is_empty() {
                    self.ends.push_back(now);
                    self.ends.drain(..self.ends.len().saturating_sub(ENDS_WARY));
                }
                let again = under_way.iter().position(|(_, it)| self.suspects(&it.names));
                let Some((thing, it)) = again.map(|at| under_way.swap_remove(at)) else {
                    for (_, it) in under_way {
                        self.suspect(it.names.iter().copied(), &it.by, now);
                    }
                    return None;
                };
                // No other suspect was sent beside it, and what is new is not suspect for this.
                self.suspect(it.names.iter().copied(), &it.by, now);
                let ends = it.names.iter().filter_map(|name| Some(self.suspects.get(name)?.ends));
                let enough = if self.serves { ENDS_MOST } else { ENDS_MOST_SERVING_NOBODY };
                ends.max().is_some_and(|ends| ends >= enough).then(|| self.convict(thing, &it, now))
            }
            Ending::Innocent => None,
            Ending::Anew => {
                self.forgive_all();
                None
            }
        }
    }

    fn suspect(&mut self, names: impl Iterator<Item = Name>, by: &[ClientId], now: Duration) {
        for name in names {
            if self.suspects.len() < SUSPECTS_MOST || self.suspects.contains_key(&name) {
                let new = || Suspect { ends: 0, until: now, by: by.to_vec() };
                let suspect = self.suspects.entry(name).or_insert_with(new);
                suspect.ends += 1;
                suspect.until = now + QUARANTINE;
            }
        }
    }

    fn convict(&mut self, thing: Thing, under_way: &UnderWay, now: Duration) -> Culprit {
        let mut by = under_way.by.clone();
        for name in &under_way.names {
            by.extend(self.suspects.remove(name).into_iter().flat_map(|suspect| suspect.by));
        }
        // Over which of several it was is not known.
        self.note_culprit(if under_way.names.len() > 1 { Vec::new() } else { by }, now);
        if let Some(name) = under_way.names.last() {
            self.quarantined.insert(*name, now + QUARANTINE);
        }
        if self.quarantined.len() > QUARANTINE_MOST {
            let oldest = self.quarantined.iter().min_by_key(|(name, until)| (**until, **name));
            if let Some(oldest) = oldest.map(|(name, _)| *name) {
                self.quarantined.remove(&oldest);
            }
        }
        Culprit { thing, bytes: under_way.bytes }
    }

    fn note_culprit(&mut self, by: Vec<ClientId>, now: Duration) {
        for client in &by {
            self.known.remove(client);
        }
        self.culprits.retain(|(at, _)| *at + CULPRITS_REMEMBERED > now);
        if self.culprits.len() >= QUARANTINE_MOST {
            self.culprits.pop_front();
        }
        self.culprits.push_back((now, by));
    }

    /// It may be sent once more.
    pub(super) fn forgive(&mut self, name: &Name) {
        self.suspects.remove(name);
        self.quarantined.remove(name);
    }

    /// The same for all there is.
    pub(super) fn forgive_all(&mut self) {
        self.suspects.clear();
        self.quarantined.clear();
        self.culprits.clear();
        self.ends.clear();
    }
}
