//! A client's place in the core, and what the owner sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::Notify;

use crate::base::clock::unix_now;
use crate::constants::{CLOSE_REASON, MAX_INSIDE_CLIENTS};
use crate::ids::ClientId;
use crate::router::Role;
use crate::runtime::mailbox::{CLOSE_POLICY, Rings, Slot, mailbox};
use crate::stats::ClientStats;

use super::super::{CoreError, Shared, ToRouter, lock};

/// What is known of a client outside, beside what it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// Where its connection comes from.
    pub address: Option<String>,
    /// Where a proxy says that it comes from.
    pub forwarded_for: Option<String>,
    /// The program, as it says.
    pub agent: Option<String>,
}

/// One client's place, until it leaves.
#[derive(Debug)]
pub(in crate::runtime) struct Seat {
    pub(super) id: ClientId,
    pub(super) role: Role,
    pub(super) slot: Slot,
    /// The client was cut off or has disconnected.
    pub(super) gone: Notify,
    pub(super) shared: Arc<Shared>,
    stats: Arc<ClientStats>,
    about: About,
    left: AtomicBool,
    /// Unix seconds.
    since: f64,
}

/// One client, as the owner sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClientView {
    /// Never used again.
    pub id: ClientId,
    /// In this process.
    pub inside: bool,
    /// Through the public endpoint.
    pub public: bool,
    /// What is known of it.
    pub about: About,
    /// Unix seconds.
    pub connected_since: f64,
    /// How many it has.
    pub subscriptions: u64,
    /// Events it has published that were found true.
    pub published: u64,
    /// Events it was given.
    pub delivered: u64,
    /// Messages in its mailbox.
    pub waiting: usize,
    /// The same in bytes.
    pub waiting_bytes: usize,
}

impl Seat {
    /// Admits a client; the second is for the router to learn of it.
    ///
    /// # Errors
    /// [`CoreError::TooManyClients`].
    pub(super) fn take(
        shared: &Arc<Shared>,
        role: Role,
        about: About,
        rings: Rings,
    ) -> Result<(Arc<Self>, ToRouter), CoreError> {
        let max = match role {
            Role::Inside => MAX_INSIDE_CLIENTS,
            _ => shared.limits.max_clients,
        };
        let connected = &shared.connected[place(role)];
        if connected.fetch_add(1, SeqCst) >= max {
            connected.fetch_sub(1, SeqCst);
            return Err(CoreError::TooManyClients(max));
        }
        let id = ClientId(shared.numbers.fetch_add(1, SeqCst));
        let (mailbox, slot) = mailbox(id, &shared.bell, rings);
        let stats = Arc::<ClientStats>::default();
        let joined = ToRouter::Joined(id, role, Arc::clone(&stats), mailbox);
        let seat = Arc::new(Self {
            id,
            role,
            slot,
            gone: Notify::new(),
            shared: Arc::clone(shared),
            stats,
            about,
            left: AtomicBool::new(false),
            since: unix_now(),
        });
        // Whoever is outside is shown to the owner.
        if role != Role::Inside {
            lock(&seat.shared.outside).insert(id, Arc::clone(&seat));
        }
        Ok((seat, joined))
    }

    /// Its line is closed. What it said before still counts.
    pub(super) fn leave(&self) {
        if self.left.swap(true, SeqCst) {
            return;
        }
        if self.role == Role::Inside {
            self.shared.release_relays(self.id);
        } else {
            lock(&self.shared.outside).remove(&self.id);
        }
        self.shared.connected[place(self.role)].fetch_sub(1, SeqCst);
        self.gone.notify_one();
    }

    /// Its numbers.
    pub(in crate::runtime) fn view(&self) -> ClientView {
        let (waiting, waiting_bytes) = self.slot.waiting();
        ClientView {
            id: self.id,
            inside: self.role == Role::Inside,
            public: matches!(self.role, Role::Public | Role::Sibling { public: true }),
            about: self.about.clone(),
            connected_since: self.since,
            subscriptions: self.stats.subscriptions.get(),
            published: self.stats.published.get(),
            delivered: self.slot.delivered(),
            waiting,
            waiting_bytes,
        }
    }

    /// The owner wants this client no more: the core lets go of it, as if it had gone. What it said
    /// before still counts, what it says from now on does not. It has its place among the clients
    /// until its line is closed.
    pub(in crate::runtime) fn cut_off(&self, why: &str) {
        let why = &why[..why.floor_char_boundary(CLOSE_REASON)];
        self.slot.close(CLOSE_POLICY, why.to_owned());
        self.gone.notify_one();
    }
}

/// Where clients of this role are counted.
const fn place(role: Role) -> usize {
    matches!(role, Role::Inside) as usize
}
