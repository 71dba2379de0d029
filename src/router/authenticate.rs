//! Who a client is (NIP-42), and what that decides: whether it may use the public endpoint, where the
//! owner has set a list of those who may, and whether it may publish a protected event (NIP-70).
//!
//! `clients` lets every message through [`Router::admit`] and hands each AUTH to [`Router::check_auth`];
//! `publish` asks [`Router::not_its_author`]. An AUTH is verified like any event, in the background; what
//! the client says after it waits for the verdict, so that nothing is refused for coming too early.
//! What a client has said about itself is its [`Identity`], which ends with the connection. Clients
//! in this process have no use for one.
//!
//! The challenge is sent at once where nothing is served without, else before the first refusal that
//! calls for it, so that clients that never need it never see it.

use std::sync::Arc;

use url::Url;

use crate::base::ticket::Ticket;
use crate::base::time::Now;
use crate::constants::{
    AUTH_HELD_BYTES, AUTH_HELD_MESSAGES, AUTH_WINDOW, CHALLENGE_BYTES, MAX_CLIENT_KEYS,
};
use crate::ids::ClientId;
use crate::nostr::event::{Event, EventError, EventId, KIND_AUTH};
use crate::nostr::hex;
use crate::nostr::message::{ClientMessage, Reply};
use crate::nostr::reason::{Prefix, Reason};

use super::clients::Client;
use super::intake::{Source, Tag};
use super::publish::accept;
use super::{Effects, Role, Router};

const WHO_ARE_YOU: &str = "this relay is for those its owner has listed";
const NOT_LISTED: &str = "the owner of this relay has not listed your public key";
const AUTHOR_WANTED: &str = "a protected event (NIP-70) is taken from its author only";
const NO_CHALLENGE: &str = "nobody has asked this connection to authenticate";
const TOO_MANY_KEYS: &str = "no more public keys are taken on this connection";

/// What is known of who a client is.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The hosts by which it may have reached us.
    hosts: Vec<Host>,
    /// What it was sent to be signed; good for as long as it is connected.
    challenge: Option<Box<str>>,
    /// The public keys it has proved to have.
    keys: Vec<[u8; 32]>,
    /// AUTHs that are being verified.
    checking: usize,
    /// What was said since.
    held: Vec<(ClientMessage, Ticket)>,
    held_bytes: usize,
}

/// A server's name, and the port where one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: Box<str>,
    port: Option<u16>,
}

impl Identity {
    /// Whether it is one of those on the owner's list, which is sorted; with nobody on it, everybody
    /// is.
    fn is_listed(&self, allowed: &[[u8; 32]]) -> bool {
        allowed.is_empty() || self.keys.iter().any(|key| allowed.binary_search(key).is_ok())
    }

    /// Whether this event, a verified one, proves who has made it.
    fn judge(&self, event: &Event, now: Now) -> Result<(), Reason> {
        let invalid = |text: &str| Err(Reason::new(Prefix::Invalid, text));
        let has = |name: &str, is_right: &dyn Fn(&str) -> bool| {
            event
                .tags()
                .iter()
                .any(|tag| &*tag.name == name && tag.value.as_deref().is_some_and(is_right))
        };
        let Some(challenge) = &self.challenge else {
            return Err(Reason::new(Prefix::Restricted, NO_CHALLENGE));
        };
        if event.kind() != KIND_AUTH {
            invalid("an authentication event is of kind 22242")
        } else if event.created_at().abs_diff(now.unix) > AUTH_WINDOW {
            invalid("created_at is more than 10 minutes from the present")
        } else if !has("challenge", &|value| *value == **challenge) {
            invalid("the challenge is not the one that was sent on this connection")
        } else if !has("relay", &|url| self.is_us(url)) {
            invalid("the relay named is not this one")
        } else if self.keys.len() >= MAX_CLIENT_KEYS && !self.keys.contains(event.pubkey()) {
            Err(Reason::new(Prefix::Restricted, TOO_MANY_KEYS))
        } else {
            Ok(())
        }
    }

    /// Whether a message of this size can wait for a verdict.
    fn has_room(&self, size: usize) -> bool {
        self.held.len() < AUTH_HELD_MESSAGES && self.held_bytes + size <= AUTH_HELD_BYTES
    }

    fn is_us(&self, url: &str) -> bool {
        Host::read(url).is_some_and(|host| self.hosts.iter().any(|own| own.may_be(&host)))
    }
}

impl Host {
    /// From a url or `host[:port]`.
    fn read(text: &str) -> Option<Self> {
        let url = if text.contains("://") {
            Url::parse(text).ok()?
        } else {
            Url::parse(&format!("ws://{text}")).ok()?
        };
        let name = url.host_str()?;
        Some(Self { name: name.strip_suffix('.').unwrap_or(name).into(), port: url.port() })
    }

    /// A proxy before the server may have hidden the port, so it only counts where both name one.
    fn may_be(&self, other: &Self) -> bool {
        let ports_differ = matches!((self.port, other.port), (Some(own), Some(its)) if own != its);
        self.name == other.name && !ports_differ
    }
}

impl Router {
    /// The owner has changed his list. Who is not on it any more loses its subscriptions.
    pub(super) fn end_barred(&mut self, now: Now, fx: &mut Effects) {
        let clients: Vec<ClientId> = self.clients.keys().copied().collect();
        for client in clients {
            let Some(why) = self.barred(client, fx) else { continue };
            let Some(subscriber) = self.clients.get(&client) else { continue };
            let ids: Vec<Box<str>> = subscriber.subscriptions.keys().cloned().collect();
            for id in ids {
                self.unsubscribe(client, &id, now, fx);
                fx.to_client.push((client, Reply::Closed { id, why: why.clone() }));
            }
        }
    }

    /// The hosts by which a client may have reached us.
    pub(super) fn client_reached(&mut self, client: ClientId, hosts: &[Box<str>]) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.identity.hosts = hosts.iter().filter_map(|host| Host::read(host)).collect();
        }
    }

    /// A client has come: it hears at once that nothing is served before it says who it is.
    pub(super) fn greet(&mut self, client: ClientId, fx: &mut Effects) {
        self.barred(client, fx);
    }

    /// Why this client is not served, if it is not. It has its challenge then.
    fn barred(&mut self, client: ClientId, fx: &mut Effects) -> Option<Reason> {
        let barred = self.clients.get(&client)?;
        if barred.role != Role::Public || barred.identity.is_listed(&self.settings.public_allowed) {
            return None;
        }
        let is_known = !barred.identity.keys.is_empty();
        self.challenge(client, fx);
        Some(if is_known {
            Reason::new(Prefix::Restricted, NOT_LISTED)
        } else {
            Reason::new(Prefix::AuthRequired, WHO_ARE_YOU)
        })
    }

    /// Asks the client who it is, once.
    fn challenge(&mut self, client: ClientId, fx: &mut Effects) {
        let Some(asked) = self.clients.get_mut(&client) else { return };
        if asked.identity.challenge.is_some() {
            return;
        }
        let bytes = self.secret.bytes_for("challenge", client.0);
        let challenge: Box<str> = hex::encode(&bytes[..CHALLENGE_BYTES]).into();
        asked.identity.challenge = Some(challenge.clone());
        fx.to_client.push((client, Reply::Auth { challenge }));
    }

    /// A client's message. `None`: it waits, or it is refused and answered.
    pub(super) fn admit(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        ticket: Ticket,
        now: Now,
        fx: &mut Effects,
    ) -> Option<(ClientMessage, Ticket)> {
        let (message, ticket) = self.hold(client, message, ticket, now, fx)?;
        let Some(why) = self.barred(client, fx) else { return Some((message, ticket)) };
        match message {
            ClientMessage::Event { id: Some(id), .. } => self.refuse_unread(client, id, &why, fx),
            ClientMessage::Event { id: None, .. } => {
                fx.to_client.push((client, Reply::Notice(why.to_string())));
            }
            ClientMessage::Req { id, .. } | ClientMessage::Count { id, .. } => {
                self.end_count_of(client, &id, now, fx);
                self.unsubscribe(client, &id, now, fx);
                fx.to_client.push((client, Reply::Closed { id, why: why.clone() }));
            }
            // What gets the same answer whoever asks.
            ClientMessage::Auth { .. }
            | ClientMessage::Close { .. }
            | ClientMessage::NegClose
            | ClientMessage::Refused(_) => return Some((message, ticket)),
        }
        None
    }

    /// Keeps what has to wait for the verdict on an AUTH.
    fn hold(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        ticket: Ticket,
        now: Now,
        fx: &mut Effects,
    ) -> Option<(ClientMessage, Ticket)> {
        let said = Some((message, ticket));
        let Some(Client { identity, .. }) = self.clients.get_mut(&client) else { return said };
        if identity.checking == 0 {
            return said;
        }
        let (message, ticket) = said?;
        let size = match &message {
            ClientMessage::Event { json, .. } => json.len(),
            ClientMessage::Req { filters, .. } | ClientMessage::Count { filters, .. } => {
                filters.iter().map(|filter| filter.json.len()).sum()
            }
            ClientMessage::Close { id } => {
                identity.held.retain(|(held, _)| match held {
                    ClientMessage::Req { id: asked, .. }
                    | ClientMessage::Count { id: asked, .. } => asked != id,
                    _ => true,
                });
                return Some((message, ticket));
            }
            _ => return Some((message, ticket)),
        };
        if identity.has_room(size) {
            identity.held_bytes += size;
            identity.held.push((message, ticket));
            return None;
        }
        self.hear_out(client, now, fx);
        Some((message, ticket))
    }

    /// What waited for a verdict waits no more.
    pub(super) fn hear_out(&mut self, client: ClientId, now: Now, fx: &mut Effects) {
        let Some(Client { identity, .. }) = self.clients.get_mut(&client) else { return };
        identity.checking = 0;
        identity.held_bytes = 0;
        for (message, ticket) in std::mem::take(&mut identity.held) {
            self.client_said(client, message, ticket, now, fx);
        }
    }

    /// An AUTH has come in: have it verified.
    pub(super) fn check_auth(
        &mut self,
        client: ClientId,
        id: EventId,
        json: Box<str>,
        ticket: Ticket,
    ) {
        self.intake.check(Source::Client(client), Tag::auth(client, id, ticket), None, json);
        if let Some(Client { identity, .. }) = self.clients.get_mut(&client) {
            identity.checking += 1;
        }
    }

    /// The verdict on a client's AUTH.
    pub(super) fn authenticate(
        &mut self,
        client: ClientId,
        id: EventId,
        result: &Result<Arc<Event>, EventError>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(Client { identity, .. }) = self.clients.get_mut(&client) else { return };
        identity.checking = identity.checking.saturating_sub(1);
        let was_last = identity.checking == 0;
        let judged = match result {
            Ok(event) => identity.judge(event, now).map(|()| *event.pubkey()),
            Err(error) => Err(Reason::new(Prefix::Invalid, error)),
        };
        match judged {
            Ok(key) => {
                if !identity.keys.contains(&key) {
                    identity.keys.push(key);
                }
                accept(&[client], id, &Reason::none(), fx);
            }
            // Some other event may have been sent by mistake, and be in good hands.
            Err(why) => self.refuse_unread(client, id, &why, fx),
        }
        if was_last {
            self.hear_out(client, now, fx);
        }
    }

    /// Why this client may not publish the event, if it may not (NIP-70). It has its challenge then.
    pub(super) fn not_its_author(
        &mut self,
        client: ClientId,
        event: &Event,
        fx: &mut Effects,
    ) -> Option<Reason> {
        if !event.is_protected() {
            return None;
        }
        // It may have gone meanwhile.
        let Some(Client { role, identity, .. }) = self.clients.get(&client) else {
            return Some(Reason::new(Prefix::Restricted, AUTHOR_WANTED));
        };
        if identity.keys.contains(event.pubkey()) {
            None
        } else if !identity.keys.is_empty() || *role == Role::Inside {
            Some(Reason::new(Prefix::Restricted, AUTHOR_WANTED))
        } else {
            self.challenge(client, fx);
            Some(Reason::new(Prefix::AuthRequired, AUTHOR_WANTED))
        }
    }
}
