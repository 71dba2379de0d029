//! Clients: who is there, who they are (`signing_in`), and the limits on what they ask for (rule 5.2).
//!
//! [`Clients`] owns what is known of each from its coming to its going, the names of its subscriptions
//! and counts among that. These themselves belong to others.

mod signing_in;

use std::sync::Arc;

use crate::base::hash::Map;
use crate::base::secret::Secret;
use crate::base::time::{Now, TokenBucket};
use crate::constants::{
    MAX_FILTER_BYTES, MAX_INSIDE_FILTER_BYTES, MAX_INSIDE_SUBSCRIPTIONS, RATE_WINDOW,
};
use crate::ids::{ClientId, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::message::{ClientMessage, RelayNews, Reply};
use crate::nostr::reason::{Prefix, Reason};
use crate::stats::ClientStats;

use super::relays::Relays;
use super::terms::{Limits, Role};
use super::turn::Turn;

pub(super) use signing_in::Hearing;
use signing_in::{Gate, Identity};

/// See the module's own page.
#[derive(Debug)]
pub(super) struct Clients {
    all: Map<ClientId, Client>,
    limits: Limits,
    gate: Gate,
    /// What challenges are made of.
    secret: Secret,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Client {
    role: Role,
    /// The only relays it wants; `None`: those the owner has configured.
    relays: Option<Box<[RelayId]>>,
    /// Its subscriptions: its own id to our key.
    subscriptions: Map<Box<str>, SubscriptionKey>,
    /// Its open COUNTs, the same.
    counts: Map<Box<str>, RequestNumber>,
    /// Bytes of their filters.
    filter_bytes: usize,
    /// Its numbers.
    stats: Arc<ClientStats>,
    identity: Identity,
    rate: TokenBucket,
}

impl Client {
    /// Where it is.
    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// The relays it has named, if it has.
    pub(super) fn relays(&self) -> Option<&[RelayId]> {
        self.relays.as_deref()
    }

    fn show_subscriptions(&self) {
        self.stats.subscriptions.set(self.subscriptions.len());
    }
}

impl Clients {
    pub(super) fn new(limits: Limits, secret: Secret) -> Self {
        Self { all: Map::default(), limits, gate: Gate::default(), secret }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// To be looked at.
    pub(super) fn get(&self, client: ClientId) -> Option<&Client> {
        self.all.get(&client)
    }

    // --- Coming and going -----------------------------------------------------------------

    /// A client has come. It hears at once if nothing is served before it says who it is.
    pub(super) fn join(
        &mut self,
        client: ClientId,
        role: Role,
        stats: Arc<ClientStats>,
        turn: &mut Turn<'_>,
    ) {
        let rate = u32::try_from(self.limits.max_messages_per_second).unwrap_or(u32::MAX);
        let rate = TokenBucket::new(rate, rate.saturating_mul(RATE_WINDOW));
        let joined = Client {
            role,
            relays: None,
            subscriptions: Map::default(),
            counts: Map::default(),
            filter_bytes: 0,
            stats,
            identity: Identity::default(),
            rate,
        };
        self.all.insert(client, joined);
        self.barred(client, turn);
    }

    /// A client inside names its relays, and wants no others from now on. Those it wanted before; `None`:
    /// it is not there.
    pub(super) fn name_relays(
        &mut self,
        client: ClientId,
        relays: &[RelayId],
    ) -> Option<Box<[RelayId]>> {
        let before = self.all.get_mut(&client)?.relays.replace(relays.into());
        Some(before.unwrap_or_default())
    }

    /// A client is gone. What it had open is the caller's to end.
    pub(super) fn leave(
        &mut self,
        client: ClientId,
    ) -> Option<(Vec<SubscriptionKey>, Vec<RequestNumber>)> {
        let gone = self.all.remove(&client)?;
        gone.stats.subscriptions.set(0);
        let subscriptions = gone.subscriptions.into_values().collect();
        Some((subscriptions, gone.counts.into_values().collect()))
    }

    // --- What it asks for -----------------------------------------------------------------

    /// Whether it may say one more thing now. A CLOSE is always heard: it takes load off.
    pub(super) fn takes(&mut self, client: ClientId, message: &ClientMessage, now: Now) -> bool {
        self.all.get_mut(&client).is_some_and(|sender| {
            sender.role == Role::Inside
                || sender.rate.take(now.mono)
                || matches!(message, ClientMessage::Close { .. })
        })
    }

    /// What it is told if it may not.
    pub(super) fn too_fast(&self) -> Reason {
        let max = self.limits.max_messages_per_second;
        Reason::new(Prefix::RateLimited, format_args!("more than {max} messages a second"))
    }

    /// Why this client may not open one more subscription or count with filters of so many bytes, if it
    /// may not.
    pub(super) fn exceeds(&self, client: ClientId, bytes: usize) -> Option<Reason> {
        let asker = self.get(client)?;
        let (max, max_bytes) = match asker.role {
            Role::Inside => (MAX_INSIDE_SUBSCRIPTIONS, MAX_INSIDE_FILTER_BYTES),
            _ => (self.limits.max_subscriptions, MAX_FILTER_BYTES),
        };
        if asker.subscriptions.len() + asker.counts.len() >= max {
            Some(Reason::new(Prefix::Restricted, format_args!("at most {max} subscriptions")))
        } else if asker.filter_bytes + bytes > max_bytes {
            let too_long = format_args!("filters of more than {max_bytes} bytes in all");
            Some(Reason::new(Prefix::Restricted, too_long))
        } else {
            None
        }
    }

    /// A subscription of this client begins, with filters of so many bytes.
    pub(super) fn opened(
        &mut self,
        client: ClientId,
        id: &str,
        key: SubscriptionKey,
        bytes: usize,
    ) {
        let Some(subscriber) = self.all.get_mut(&client) else { return };
        subscriber.filter_bytes += bytes;
        subscriber.subscriptions.insert(id.into(), key);
        subscriber.show_subscriptions();
    }

    /// A subscription of this client has ended.
    pub(super) fn closed(&mut self, client: ClientId, id: &str, bytes: usize) {
        let Some(subscriber) = self.all.get_mut(&client) else { return };
        subscriber.filter_bytes = subscriber.filter_bytes.saturating_sub(bytes);
        subscriber.subscriptions.remove(id);
        subscriber.show_subscriptions();
    }

    /// Its subscription of this id.
    pub(super) fn subscription(&self, client: ClientId, id: &str) -> Option<SubscriptionKey> {
        self.get(client)?.subscriptions.get(id).copied()
    }

    /// The ids of its subscriptions.
    pub(super) fn subscriptions(&self, client: ClientId) -> Vec<Box<str>> {
        let ids = self.get(client).map(|subscriber| subscriber.subscriptions.keys().cloned());
        ids.into_iter().flatten().collect()
    }

    /// A COUNT of this client is open, with filters of so many bytes.
    pub(super) fn counts(
        &mut self,
        client: ClientId,
        id: &str,
        number: RequestNumber,
        bytes: usize,
    ) {
        let Some(asker) = self.all.get_mut(&client) else { return };
        asker.filter_bytes += bytes;
        asker.counts.insert(id.into(), number);
    }

    /// A COUNT of this client has ended.
    pub(super) fn counted(&mut self, client: ClientId, id: &str, bytes: usize) {
        let Some(asker) = self.all.get_mut(&client) else { return };
        asker.filter_bytes = asker.filter_bytes.saturating_sub(bytes);
        asker.counts.remove(id);
    }

    /// Its COUNT of this id.
    pub(super) fn count(&self, client: ClientId, id: &str) -> Option<RequestNumber> {
        self.get(client)?.counts.get(id).copied()
    }

    /// It has published one more event that was found true.
    pub(super) fn published(&self, client: ClientId) {
        if let Some(publisher) = self.get(client) {
            publisher.stats.published.add();
        }
    }

    // --- What it is told ------------------------------------------------------------------

    /// Tells the clients inside that use this relay something about it.
    pub(super) fn tell_inside(
        &self,
        relay: RelayId,
        news: &RelayNews,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        for (client, inside) in self.all.iter().filter(|(_, to)| to.role == Role::Inside) {
            let wants = match &inside.relays {
                Some(named) => named.contains(&relay),
                None => relays.is_owners(relay),
            };
            if wants {
                turn.tell(*client, Reply::Relay { relay, news: news.clone() });
            }
        }
    }
}
