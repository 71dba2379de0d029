//! What ends a relay's connection (rule 2.7), and is not sent there again.
//!
//! Some relays answer an event or a REQ that they do not like with the end of the connection, which all
//! clients share. [`Blame`] knows what was sent over it and is not answered. Where the relay ends it shortly
//! after, all of that is *suspect*. On the next connection suspects go last and one by one, each until it
//! is answered or has done no harm for a while; everything else goes at once. What is under way at such an end
//! for the second time is *quarantined*. A relay that says why (close code 1009) is believed the first time. One
//! that has answered nobody on that connection may be in trouble of its own, and is believed later.
//!
//! An answer that is no refusal acquits. A refusal does not: some relays say why they end the connection.

use std::time::Duration;

use crate::base::hash::Map;
use crate::constants::{
    BLAME_WINDOW, ENDS_MOST, ENDS_MOST_SERVING_NOBODY, QUARANTINE, QUARANTINE_MOST, SUSPECT_PAUSE,
    SUSPECTS_MOST, UNDER_WAY_MOST,
};
use crate::ids::RequestNumber;
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
}

#[derive(Debug)]
struct Suspect {
    /// How many connections have ended with it under way.
    ends: u32,
    /// Until when that is remembered.
    until: Duration,
}

#[derive(Debug)]
struct UnderWay {
    /// What it asks for. Of a REQ for several subscriptions each of theirs, and last the whole.
    names: Vec<Name>,
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
        (self.given, self.serves, self.calm) = (0, false, now + SUSPECT_PAUSE);
        (!self.suspects.is_empty()).then_some(self.calm)
    }

    /// Whether anything may have to wait.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether one of these is suspect.
    pub(super) fn suspects(&self, names: &[Name]) -> bool {
        self.has_suspects() && names.iter().any(|name| self.suspects.contains_key(name))
    }

    /// Whether this is to wait: it is suspect, and another one is being tried.
    pub(super) fn holds(&self, names: &[Name], now: Duration) -> bool {
        (self.tried.is_some() || now < self.calm) && self.suspects(names)
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
        thing: Option<(Thing, Vec<Name>)>,
        bytes: usize,
        now: Duration,
    ) -> Option<Duration> {
        self.given += 1;
        let (thing, names) = thing?;
        if self.under_way.len() >= UNDER_WAY_MOST {
            self.under_way.retain(|_, it| it.at + BLAME_WINDOW > now);
        }
        if self.under_way.len() >= UNDER_WAY_MOST {
            return None;
        }
        let suspect = self.suspects(&names);
        let number = self.given;
        self.under_way.insert(thing, UnderWay { names, bytes, number, at: now, refused: false });
        suspect.then(|| {
            self.tried = Some(thing);
            now + BLAME_WINDOW
        })
    }

    /// The relay has answered it. True: the next suspect may be sent.
    pub(super) fn answered(&mut self, thing: Thing) -> bool {
        self.serves = true;
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
                let again = under_way.iter().position(|(_, it)| self.suspects(&it.names));
                let Some((thing, it)) = again.map(|at| under_way.swap_remove(at)) else {
                    self.suspect(under_way.into_iter().flat_map(|(_, it)| it.names), now);
                    return None;
                };
                // No other suspect was sent beside it, and what is new is not suspect for this.
                self.suspect(it.names.iter().copied(), now);
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

    fn suspect(&mut self, names: impl Iterator<Item = Name>, now: Duration) {
        for name in names {
            if self.suspects.len() < SUSPECTS_MOST || self.suspects.contains_key(&name) {
                let new = Suspect { ends: 0, until: now };
                let suspect = self.suspects.entry(name).or_insert(new);
                suspect.ends += 1;
                suspect.until = now + QUARANTINE;
            }
        }
    }

    fn convict(&mut self, thing: Thing, under_way: &UnderWay, now: Duration) -> Culprit {
        for name in &under_way.names {
            self.suspects.remove(name);
        }
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

    /// It may be sent once more.
    pub(super) fn forgive(&mut self, name: &Name) {
        self.suspects.remove(name);
        self.quarantined.remove(name);
    }

    /// The same for all there is.
    pub(super) fn forgive_all(&mut self) {
        self.suspects.clear();
        self.quarantined.clear();
    }
}
