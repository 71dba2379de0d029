//! A client goes over from one core to the next (`docs/handover.md`): what it leaves, and how it goes on
//! there.
//!
//! The earlier core stays for a while and goes on bringing events of the subscriptions that were opened
//! there, and the answers it owes. So nothing is missed until the relays have been asked here; what comes
//! twice is given once.

use std::sync::Arc;

use crate::ids::ClientId;
use crate::nostr::event::Event;
use crate::nostr::message::{ClientMessage, Reply, Resumed};
use crate::nostr::reason::{Prefix, Reason};
use crate::stats::ClientStats;

use super::Keepers;
use super::clients::Proven;
use super::subscriptions::Seen;
use super::terms::Role;
use super::turn::Turn;

/// What a client has in a core, and takes along.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// Who it is.
    pub(crate) proven: Proven,
    /// What it has open.
    pub(crate) subscriptions: Vec<Bequest>,
    /// What the earlier core has said and the client has not been sent, as it is.
    pub(crate) mail: Vec<Box<str>>,
}

/// One of its subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Bequest {
    /// The client's own id for it.
    pub(crate) id: Box<str>,
    /// As JSON objects.
    pub(crate) filters: Vec<Box<str>>,
    /// Its EOSE was sent.
    pub(crate) complete: bool,
    /// The relays that have given what they store, by url, and since when (unix seconds) they may have
    /// had more.
    pub(crate) served: Vec<(Box<str>, u64)>,
    /// What it was given.
    pub(crate) seen: Seen,
}

/// What the earlier core says after that.
#[derive(Debug)]
pub(crate) enum Legacy {
    /// An event for a subscription.
    Event {
        /// The client's own id for the subscription.
        id: Box<str>,
        /// It was verified there.
        event: Arc<Event>,
    },
    /// An EOSE for the subscription of this id, as it is.
    Eose(Box<str>, Box<str>),
    /// The subscription or the COUNT of this id has ended; the message as it is.
    Closed(Box<str>, Box<str>),
    /// An answer, as it is.
    Answer(Box<str>),
    /// It says nothing more.
    Over,
}

impl Keepers {
    /// The client goes on in another core from now on. Here it says nothing more, but is told whatever
    /// it would be told.
    pub(super) fn bequeath(&mut self, client: ClientId, turn: &Turn<'_>) -> Option<Estate> {
        let proven = self.clients.proven(client)?;
        let mut subscriptions = Vec::new();
        for id in self.clients.subscriptions(client) {
            let Some(key) = self.clients.subscription(client, &id) else { continue };
            let Some(subscription) = self.subscriptions.get(key) else { continue };
            let filters = subscription.filters().iter().map(|filter| (*filter.json).into());
            let served = subscription.served_since(turn.now).into_iter();
            let served = served.map(|(relay, since)| ((*self.relays.url(relay)).into(), since));
            let bequest = Bequest {
                id,
                filters: filters.collect(),
                complete: subscription.is_live() && !subscription.awaits_another_core(),
                served: served.collect(),
                seen: Seen::default(),
            };
            subscriptions.push(Bequest { seen: self.subscriptions.bequeath_seen(key), ..bequest });
        }
        subscriptions.sort_by(|one, other| one.id.cmp(&other.id));
        Some(Estate { proven, subscriptions, mail: Vec::new() })
    }

    /// A client comes from another core.
    pub(super) fn inherit(
        &mut self,
        client: ClientId,
        role: Role,
        stats: Arc<ClientStats>,
        estate: Estate,
        turn: &mut Turn<'_>,
    ) {
        let Estate { proven, subscriptions, mail } = estate;
        for text in mail {
            turn.tell(client, Reply::Text(text));
        }
        self.clients.admit(client, role, stats);
        self.clients.inherit(client, proven);
        let why = self.clients.barred(client, turn);
        for bequest in subscriptions {
            match &why {
                None => self.go_on(client, bequest, turn),
                Some(why) => {
                    turn.tell(client, Reply::Closed { id: bequest.id, why: why.clone() });
                }
            }
        }
    }

    fn go_on(&mut self, client: ClientId, bequest: Bequest, turn: &mut Turn<'_>) {
        let Bequest { id, filters, complete, served, seen } = bequest;
        let name = serde_json::Value::from(&*id);
        let text = format!("[\"REQ\",{name},{}]", filters.join(","));
        let ClientMessage::Req { filters, .. } = ClientMessage::parse(&text, usize::MAX) else {
            let why = Reason::new(Prefix::Error, "the subscription did not outlive an upgrade");
            return turn.tell(client, Reply::Closed { id, why });
        };
        let resumed = Some(Resumed { since: turn.now.unix, whole: true });
        let Some((key, relays)) = self.open(client, &id, filters, resumed, turn) else { return };
        let known = &self.relays;
        self.subscriptions.inherit(key, seen, complete, |relay| {
            let url = known.url(relay);
            served.iter().find(|(served, _)| **served == *url).map(|(_, since)| *since)
        });
        // What it has been given it is given by nobody here, the outbox included.
        self.ask_for(key, &relays, resumed, turn);
    }

    /// The core from which a client has come says more.
    pub(super) fn hear_legacy(&mut self, client: ClientId, legacy: Legacy, turn: &mut Turn<'_>) {
        match legacy {
            Legacy::Event { id, event } => {
                if let Some(key) = self.clients.subscription(client, &id) {
                    self.subscriptions.pass_on(key, &event, turn);
                }
            }
            Legacy::Eose(id, text) => {
                if let Some(key) = self.clients.subscription(client, &id)
                    && self.subscriptions.complete(key)
                {
                    turn.tell(client, Reply::Text(text));
                }
            }
            // Of what is asked for here the relays tell us themselves.
            Legacy::Closed(id, text) => {
                if self.clients.subscription(client, &id).is_none() {
                    turn.tell(client, Reply::Text(text));
                }
            }
            Legacy::Answer(text) => turn.tell(client, Reply::Text(text)),
            Legacy::Over => {
                for id in self.clients.subscriptions(client) {
                    if let Some(key) = self.clients.subscription(client, &id)
                        && self.subscriptions.complete(key)
                    {
                        let hint = crate::nostr::message::Hint::None;
                        turn.tell(client, Reply::Eose { id: (*id).into(), hint });
                    }
                }
            }
        }
    }
}
