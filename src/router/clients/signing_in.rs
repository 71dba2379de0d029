//! Who a client is (NIP-42), and what that decides: whether it may use the public endpoint, where the
//! owner has set a list of those who may, and whether it may publish a protected event (NIP-70).
//!
//! An AUTH is verified like any event, in the background; what the client says after it waits for the
//! verdict, so that nothing is refused for coming too early. What a client has said about itself is its
//! [`Identity`], which ends with the connection. Clients in this process have no use for one.
//!
//! The challenge is sent at once where nothing is served without, else before the first refusal that
//! calls for it, so that clients that never need it never see it.

use std::sync::Arc;

use url::Url;

use crate::base::time::Now;
use crate::constants::{
    AUTH_HELD_BYTES, AUTH_HELD_MESSAGES, AUTH_WINDOW, CHALLENGE_BYTES, MAX_CLIENT_KEYS,
};
use crate::ids::ClientId;
use crate::nostr::event::{Event, EventError, KIND_AUTH};
use crate::nostr::hex;
use crate::nostr::message::{ClientMessage, Reply};
use crate::nostr::reason::{Prefix, Reason};
use crate::router::input::Said;
use crate::router::turn::Turn;

use super::{Client, Clients, Role};

const WHO_ARE_YOU: &str = "this relay is for those its owner has listed";
const NOT_LISTED: &str = "the owner of this relay has not listed your public key";
const AUTHOR_WANTED: &str =
    "a protected event (NIP-70), or a repost of one, is taken from its author only";
const NO_CHALLENGE: &str = "nobody has asked this connection to authenticate";
const TOO_MANY_KEYS: &str = "no more public keys are taken on this connection";

/// The owner's list for the public endpoint.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Sorted. None: everybody may.
    allowed: Vec<[u8; 32]>,
}

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
    held: Vec<Said>,
    held_bytes: usize,
}

/// A server's name, and the port where one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: Box<str>,
    port: Option<u16>,
}

impl Gate {
    fn is_open(&self) -> bool {
        self.allowed.is_empty()
    }

    fn lets_in(&self, identity: &Identity) -> bool {
        self.is_open() || identity.keys.iter().any(|key| self.allowed.binary_search(key).is_ok())
    }
}

impl Identity {
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

/// What becomes of something that a client has said.
#[derive(Debug)]
pub(in crate::router) enum Hearing {
    /// It waits for the verdict on an AUTH.
    Later,
    /// It is heard now.
    Now(Said),
    /// It is heard now, but first all that waits, for which there is no more room.
    AfterTheOthers(Said),
}

impl Clients {
    /// Who may use the public endpoint; none: everybody may.
    pub(in crate::router) fn set_allowed(&mut self, mut keys: Vec<[u8; 32]>) {
        keys.sort_unstable();
        keys.dedup();
        self.gate.allowed = keys;
    }

    /// Those who may not use it any more, and what they are told.
    pub(in crate::router) fn all_barred(&mut self, turn: &mut Turn<'_>) -> Vec<(ClientId, Reason)> {
        let clients: Vec<ClientId> = self.all.keys().copied().collect();
        let barred = |client| Some((client, self.barred(client, turn)?));
        clients.into_iter().filter_map(barred).collect()
    }

    /// The hosts by which a client may have reached us.
    pub(in crate::router) fn reached(&mut self, client: ClientId, hosts: &[Box<str>]) {
        if let Some(client) = self.all.get_mut(&client) {
            client.identity.hosts = hosts.iter().filter_map(|host| Host::read(host)).collect();
        }
    }

    /// Why this client is not served, if it is not. It has its challenge then.
    pub(in crate::router) fn barred(
        &mut self,
        client: ClientId,
        turn: &mut Turn<'_>,
    ) -> Option<Reason> {
        let barred = self.all.get(&client)?;
        if !barred.role.is_public() || self.gate.lets_in(&barred.identity) {
            return None;
        }
        let is_known = !barred.identity.keys.is_empty();
        self.challenge(client, turn);
        Some(if is_known {
            Reason::new(Prefix::Restricted, NOT_LISTED)
        } else {
            Reason::new(Prefix::AuthRequired, WHO_ARE_YOU)
        })
    }

    /// Asks the client who it is, once.
    fn challenge(&mut self, client: ClientId, turn: &mut Turn<'_>) {
        let Some(asked) = self.all.get_mut(&client) else { return };
        if asked.identity.challenge.is_some() {
            return;
        }
        let bytes = self.secret.bytes_for("challenge", client.0);
        let challenge: Box<str> = hex::encode(&bytes[..CHALLENGE_BYTES]).into();
        asked.identity.challenge = Some(challenge.clone());
        turn.tell(client, Reply::Auth { challenge });
    }

    /// Keeps what has to wait for the verdict on an AUTH.
    pub(in crate::router) fn hold(&mut self, client: ClientId, said: Said) -> Hearing {
        let Some(Client { identity, .. }) = self.all.get_mut(&client) else {
            return Hearing::Now(said);
        };
        if identity.checking == 0 {
            return Hearing::Now(said);
        }
        let size = match &said.message {
            ClientMessage::Event { json, .. } => json.len(),
            ClientMessage::Req { filters, .. } | ClientMessage::Count { filters, .. } => {
                filters.iter().map(|filter| filter.json.len()).sum()
            }
            ClientMessage::Close { id } => {
                identity.held.retain(|held| match &held.message {
                    ClientMessage::Req { id: asked, .. }
                    | ClientMessage::Count { id: asked, .. } => asked != id,
                    _ => true,
                });
                return Hearing::Now(said);
            }
            _ => return Hearing::Now(said),
        };
        if !identity.has_room(size) {
            return Hearing::AfterTheOthers(said);
        }
        identity.held_bytes += size;
        identity.held.push(said);
        Hearing::Later
    }

    /// What has waited, and waits no more.
    pub(in crate::router) fn take_held(&mut self, client: ClientId) -> Vec<Said> {
        let Some(Client { identity, .. }) = self.all.get_mut(&client) else { return Vec::new() };
        identity.checking = 0;
        identity.held_bytes = 0;
        std::mem::take(&mut identity.held)
    }

    /// An AUTH of this client is being verified.
    pub(in crate::router) fn signs_in(&mut self, client: ClientId) {
        if let Some(Client { identity, .. }) = self.all.get_mut(&client) {
            identity.checking += 1;
        }
    }

    /// The verdict on a client's AUTH: what it is told, and whether it was the last that what it has said
    /// since waits for. `None`: it has gone.
    pub(in crate::router) fn signed_in(
        &mut self,
        client: ClientId,
        result: &Result<Arc<Event>, EventError>,
        now: Now,
    ) -> Option<(Result<(), Reason>, bool)> {
        let Client { identity, .. } = self.all.get_mut(&client)?;
        identity.checking = identity.checking.saturating_sub(1);
        let judged = match result {
            Ok(event) => identity.judge(event, now).map(|()| *event.pubkey()),
            Err(error) => Err(Reason::new(Prefix::Invalid, error)),
        };
        let judged = judged.map(|key| {
            if !identity.keys.contains(&key) {
                identity.keys.push(key);
            }
        });
        Some((judged, identity.checking == 0))
    }

    /// Why this client may not publish the event, if it may not: it is protected, or reposts one that is
    /// (NIP-70). It has its challenge then.
    pub(in crate::router) fn not_its_author(
        &mut self,
        client: ClientId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Option<Reason> {
        if event.guardians().is_empty() {
            return None;
        }
        // It may have gone meanwhile.
        let Some(Client { role, identity, .. }) = self.all.get(&client) else {
            return Some(Reason::new(Prefix::Restricted, AUTHOR_WANTED));
        };
        if event.guardians().iter().all(|key| identity.keys.contains(key)) {
            None
        } else if !identity.keys.is_empty() || *role == Role::Inside {
            Some(Reason::new(Prefix::Restricted, AUTHOR_WANTED))
        } else {
            self.challenge(client, turn);
            Some(Reason::new(Prefix::AuthRequired, AUTHOR_WANTED))
        }
    }
}
