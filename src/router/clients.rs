//! Clients: their coming and going, and the limits on what they ask for.

use std::sync::Arc;

use crate::base::hash::Map;
use crate::base::ticket::Ticket;
use crate::base::time::{Now, TokenBucket};
use crate::constants::{
    MAX_CLIENTS, MAX_FILTER_BYTES, MAX_FILTERS, MAX_INSIDE_FILTER_BYTES, MAX_INSIDE_SUBSCRIPTIONS,
    MAX_MESSAGE_LENGTH, MAX_MESSAGES_PER_SECOND, MAX_SUBSCRIPTIONS, RATE_WINDOW,
};
use crate::ids::{ClientId, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::message::{ClientMessage, RelayNews, Reply};
use crate::router::subscription::Subscription;
use crate::stats::ClientStats;

use super::authenticate::Identity;
use super::relays::Relay;
use super::{Effects, Router};

/// What the endpoint enforces (rule 5.2). NIP-11's names where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "NIP-11's names")]
pub(crate) struct Limits {
    /// Bytes of one message.
    pub max_message_length: usize,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Filters of one REQ.
    pub max_filters: usize,
    /// Clients in all.
    pub max_clients: usize,
    /// Messages per second of one client, on average over [`RATE_WINDOW`] seconds.
    pub max_messages_per_second: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_length: MAX_MESSAGE_LENGTH,
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_filters: MAX_FILTERS,
            max_clients: MAX_CLIENTS,
            max_messages_per_second: MAX_MESSAGES_PER_SECOND,
        }
    }
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// At the other end of a WebSocket, by the endpoint whose address is a secret.
    Outside,
    /// The same, by the one that is open to everybody, or to those on the owner's list. It does not
    /// read through connections that are authenticated as the owner, unless he says so.
    Public,
    /// In this process: other extensions, which [`Limits`] are not meant for. It is told what its
    /// relays say for people, and when they connect.
    Inside,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) role: Role,
    /// The only relays it wants; `None`: those the owner has configured.
    pub(super) relays: Option<Box<[RelayId]>>,
    /// Its subscriptions: its own id to our number.
    pub(super) subscriptions: Map<Box<str>, SubscriptionKey>,
    /// Its open COUNTs, the same.
    pub(super) counts: Map<Box<str>, RequestNumber>,
    /// Bytes of their filters.
    pub(super) filter_bytes: usize,
    /// Its numbers.
    pub(super) stats: Arc<ClientStats>,
    pub(super) identity: Identity,
    rate: TokenBucket,
}

impl Client {
    /// Its subscriptions have become more or fewer.
    pub(super) fn count(&self) {
        self.stats.subscriptions.set(self.subscriptions.len());
    }

    /// What counts against the limit of subscriptions.
    pub(super) fn open(&self) -> usize {
        self.subscriptions.len() + self.counts.len()
    }

    fn wants(&self, id: RelayId, relay: &Relay) -> bool {
        match &self.relays {
            Some(relays) => relays.contains(&id),
            None => relay.read || relay.write,
        }
    }
}

impl Router {
    pub(super) fn client_joined(&mut self, client: ClientId, role: Role, stats: Arc<ClientStats>) {
        let rate = u32::try_from(self.limits.max_messages_per_second).unwrap_or(u32::MAX);
        let rate = TokenBucket::new(rate, rate.saturating_mul(RATE_WINDOW));
        let (subscriptions, counts) = (Map::default(), Map::default());
        let identity = Identity::default();
        let joined = Client {
            role,
            relays: None,
            subscriptions,
            counts,
            filter_bytes: 0,
            stats,
            identity,
            rate,
        };
        self.clients.insert(client, joined);
    }

    /// An inside client names its relays: its subscriptions leave the others, and go on at those.
    pub(super) fn client_relays(
        &mut self,
        client: ClientId,
        relays: &[RelayId],
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(named_by) = self.clients.get_mut(&client) else { return };
        let before = named_by.relays.replace(relays.into()).unwrap_or_default();
        self.each_subscription(now, fx, |subscription| {
            if subscription.client == client {
                subscription.only = Some(relays.into());
                for relay in relays {
                    subscription.add_relay(*relay);
                }
            }
        });
        for relay in &before {
            let left = |other: &Subscription| other.client == client && !relays.contains(relay);
            self.leave(*relay, left, now, fx);
        }
        for relay in relays.iter().filter(|relay| !before.contains(relay)) {
            self.want_all(*relay, now, fx);
        }
    }

    /// The relays this client has named, if it has.
    pub(super) fn named_by(&self, client: ClientId) -> Option<Box<[RelayId]>> {
        self.clients.get(&client)?.relays.clone()
    }

    /// How many subscriptions this client may have, and bytes of filters.
    pub(super) fn subscription_limits(&self, client: &Client) -> (usize, usize) {
        match client.role {
            Role::Outside | Role::Public => (self.limits.max_subscriptions, MAX_FILTER_BYTES),
            Role::Inside => (MAX_INSIDE_SUBSCRIPTIONS, MAX_INSIDE_FILTER_BYTES),
        }
    }

    /// Tells the inside clients of this relay something about it.
    pub(super) fn tell_inside(&self, id: RelayId, news: &RelayNews, fx: &mut Effects) {
        let Some(relay) = self.relays.get(&id) else { return };
        for (client, inside) in self.clients.iter().filter(|(_, to)| to.role == Role::Inside) {
            if inside.wants(id, relay) {
                fx.to_client.push((*client, Reply::Relay { relay: id, news: news.clone() }));
            }
        }
    }

    pub(super) fn client_left(&mut self, client: ClientId, now: Now, fx: &mut Effects) {
        self.hear_out(client, now, fx);
        let Some(gone) = self.clients.remove(&client) else { return };
        gone.stats.subscriptions.set(0);
        for key in gone.subscriptions.into_values() {
            self.end_subscription(key, now, fx);
        }
        for key in gone.counts.into_values() {
            self.end_count(key, now, fx);
        }
    }

    pub(super) fn client_said(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        ticket: Ticket,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(sender) = self.clients.get_mut(&client) else { return };
        // A CLOSE is always heard: it takes load off.
        let allowed = sender.role == Role::Inside
            || sender.rate.take(now.mono)
            || matches!(message, ClientMessage::Close { .. });
        let (message, ticket) = if allowed {
            let Some(admitted) = self.admit(client, message, ticket, now, fx) else { return };
            admitted
        } else {
            (message, ticket)
        };
        let too_fast = || {
            let max = self.limits.max_messages_per_second;
            format!("rate-limited: more than {max} messages a second")
        };
        let reply = match message {
            ClientMessage::Event { id, json } if allowed => {
                return self.check_published(client, id, json, ticket, now);
            }
            ClientMessage::Req { id, filters, resumed } if allowed => {
                return self.subscribe(client, &id, filters, resumed, now, fx);
            }
            ClientMessage::Count { id, filters } if allowed => {
                return self.count(client, &id, filters, now, fx);
            }
            ClientMessage::Close { id } => {
                self.end_count_of(client, &id, now, fx);
                return self.unsubscribe(client, &id, now, fx);
            }
            ClientMessage::Auth { id, json } if allowed => {
                return self.check_auth(client, id, json, ticket);
            }
            ClientMessage::NegClose => return,
            ClientMessage::Event { id: Some(id), .. } | ClientMessage::Auth { id, .. } => {
                let why = too_fast();
                return self.refuse_unread(client, id, &why, fx);
            }
            // Too long: the same holds.
            ClientMessage::Refused(Reply::Ok { id, why, .. }) => {
                return self.refuse_unread(client, id, &why, fx);
            }
            ClientMessage::Req { id, .. } | ClientMessage::Count { id, .. } => {
                Reply::Closed { id, why: too_fast() }
            }
            ClientMessage::Refused(reply) => reply,
            ClientMessage::Event { id: None, .. } => Reply::Notice(too_fast()),
        };
        // To the client a CLOSED ends the subscription of that id, whatever it was meant for.
        if let Reply::Closed { id, .. } = &reply {
            self.end_count_of(client, id, now, fx);
            self.unsubscribe(client, id, now, fx);
        }
        fx.to_client.push((client, reply));
    }
}
