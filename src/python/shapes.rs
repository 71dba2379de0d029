//! The dictionaries of `python/nostrclient_core/shapes.py`, as far as they are no lists of numbers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;

use crate::nostr::limits::RelayLimits as Said;
use crate::router::Limits as Set;
use crate::router::Reasons as Kept;
use crate::runtime::{About as Known, ClientView, RelayView};
use crate::stats::{RelayState, Trouble};

#[derive(IntoPyObject)]
#[expect(clippy::struct_field_names, reason = "NIP-11's names")]
pub(super) struct Limits {
    max_message_length: usize,
    max_subscriptions: usize,
    max_filters: usize,
    max_clients: usize,
    max_messages_per_second: usize,
}

impl From<Set> for Limits {
    fn from(limits: Set) -> Self {
        let Set {
            max_message_length,
            max_subscriptions,
            max_filters,
            max_clients,
            max_messages_per_second,
        } = limits;
        Self {
            max_message_length,
            max_subscriptions,
            max_filters,
            max_clients,
            max_messages_per_second,
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct RelayLimits {
    max_subscriptions: Option<usize>,
    max_filters: Option<usize>,
    max_message_length: Option<usize>,
    max_limit: Option<u64>,
    counts: Option<bool>,
    sibling: bool,
    searches: Option<bool>,
}

impl From<Said> for RelayLimits {
    fn from(limits: Said) -> Self {
        let Said {
            max_subscriptions,
            max_filters,
            max_message_length,
            max_limit,
            counts,
            sibling,
            searches,
            outdated: _,
        } = limits;
        Self {
            max_subscriptions,
            max_filters,
            max_message_length,
            max_limit,
            counts,
            sibling,
            searches,
        }
    }
}

/// Less what is counted, and what is so or not.
#[derive(IntoPyObject)]
pub(super) struct RelayStatus {
    url: String,
    read: bool,
    write: bool,
    listed: bool,
    limits: RelayLimits,
    state: &'static str,
    next_attempt: Option<f64>,
    connected_since: Option<f64>,
    disconnected_since: Option<f64>,
    unserved_since: Option<f64>,
    unserved_reason: Option<String>,
    ping: Option<u64>,
    errors: Vec<String>,
    error_times: Vec<f64>,
    error_codes: Vec<&'static str>,
    notices: Vec<String>,
    notice_times: Vec<f64>,
}

impl From<&RelayView> for RelayStatus {
    fn from(relay: &RelayView) -> Self {
        let stats = &relay.stats;
        let (state, disconnected_since) = stats.state();
        let (state, connected_since, next_attempt) = match state {
            RelayState::Connecting => ("connecting", None, None),
            RelayState::Connected(since) => ("connected", Some(since), None),
            RelayState::Waiting(next) => ("waiting", None, Some(next)),
        };
        let (unserved_since, unserved_reason) = stats.unserved().unzip();
        let micros = stats.ping_micros.load(Relaxed);
        let (error_times, errors, kinds) = stats.errors();
        let (notice_times, notices) = stats.notices();
        Self {
            url: relay.url.clone(),
            read: relay.switches.read,
            write: relay.switches.write,
            listed: relay.listed,
            limits: relay.limits.into(),
            state,
            next_attempt,
            connected_since,
            disconnected_since,
            unserved_since,
            unserved_reason,
            ping: (micros > 0).then(|| micros.div_ceil(1_000)),
            errors,
            error_times,
            error_codes: kinds.into_iter().map(Trouble::as_str).collect(),
            notices,
            notice_times,
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct ClientStatus {
    inside: bool,
    connected_since: f64,
    subscriptions: u64,
    published: u64,
    delivered: u64,
    waiting: usize,
    waiting_bytes: usize,
}

impl From<ClientView> for ClientStatus {
    fn from(client: ClientView) -> Self {
        let ClientView {
            inside,
            connected_since,
            subscriptions,
            published,
            delivered,
            waiting,
            waiting_bytes,
            id: _,
            public: _,
            about: _,
        } = client;
        Self {
            inside,
            connected_since,
            subscriptions,
            published,
            delivered,
            waiting,
            waiting_bytes,
        }
    }
}

/// `Offer` of `shapes.py`.
pub(super) type Offer = (i32, Vec<u8>, Vec<u8>);

/// `About` of `shapes.py`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct About {
    address: Option<String>,
    forwarded_for: Option<String>,
    agent: Option<String>,
}

impl From<Option<About>> for Known {
    fn from(about: Option<About>) -> Self {
        about.map_or_else(Self::default, |About { address, forwarded_for, agent }| Self {
            address,
            forwarded_for,
            agent,
        })
    }
}

#[derive(IntoPyObject)]
pub(super) struct OutsideClient {
    token: u64,
    public: bool,
    address: Option<String>,
    forwarded_for: Option<String>,
    agent: Option<String>,
    status: ClientStatus,
}

impl From<ClientView> for OutsideClient {
    fn from(mut client: ClientView) -> Self {
        let Known { address, forwarded_for, agent } = std::mem::take(&mut client.about);
        Self {
            token: client.id.0,
            public: client.public,
            address,
            forwarded_for,
            agent,
            status: client.into(),
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct KeyPair {
    pub(super) private_key: String,
    pub(super) public_key: String,
}

#[derive(IntoPyObject)]
pub(super) struct StoreTask {
    pub(super) number: Option<u64>,
    pub(super) insert: Vec<OutboxRow>,
    pub(super) update: Vec<OutboxRow>,
    pub(super) delete: Vec<String>,
    pub(super) undo: Vec<String>,
    pub(super) within: Option<f64>,
}

#[derive(IntoPyObject)]
pub(super) struct OutboxRow {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) state: &'static str,
    pub(super) position: u64,
    pub(super) queued_at: u64,
    pub(super) reasons: BTreeMap<String, String>,
}

#[derive(IntoPyObject)]
pub(super) struct OutboxEntry {
    pub(super) id: String,
    pub(super) kind: u16,
    pub(super) pubkey: String,
    pub(super) state: &'static str,
    pub(super) queued_at: u64,
    pub(super) reasons: BTreeMap<String, String>,
    pub(super) reason_codes: BTreeMap<String, &'static str>,
}

/// What relays said, by their urls.
pub(super) fn reasons(kept: &Kept) -> BTreeMap<String, String> {
    kept.iter().map(|(url, why)| (url.to_string(), why.to_string())).collect()
}

/// The same as codes.
pub(super) fn reason_codes(kept: &Kept) -> BTreeMap<String, &'static str> {
    kept.iter().map(|(url, why)| (url.to_string(), why.code())).collect()
}
