//! The router: the one owner of clients, subscriptions, publications and relays, as a state machine
//! without sockets, clocks or threads.
//!
//! [`Router::handle`] takes one [`Input`] at a time and writes what is to be done into [`Effects`];
//! [`Router::next_deadline`] says when [`Router::tick`] is due if nothing else happens. Who moves the
//! bytes and keeps the time is `runtime`; tests do it by hand. The rules by file:
//!
//! - `clients`: who is there, and what their limits are (SPEC 5.2)
//! - `settings`: what the owner has set
//! - `authenticate`: who they say they are (NIP-42), and what is only for some of them
//! - `publish`: EVENT and OK (SPEC 1); `named`: the same for clients inside with relays of their own
//! - `outbox`: what no relay has taken yet (SPEC 2); `flush`: its way to the relays; `ledger`: what the
//!   database has to be told of it, `store`: what it says; `owner`: what the owner asks
//! - `backlog`: what one relay should have and may not (SPEC 2.5)
//! - `subscribe`: REQ, CLOSE, EOSE, CLOSED (SPEC 3)
//! - `upstream`: what relays are asked for that (SPEC 4.3); `budget`: within what each of them allows;
//!   `gather`: making place; `arrivals`: the way back
//! - `counting`: COUNT (SPEC 3.8)
//! - `intake`: what relays send: dropped, verified, delivered (SPEC 3.3, 6)
//! - `handover`: from client to client, without any relay (SPEC 1.6)
//! - `relays`: connections that come and go (SPEC 4.1), `line`: what is sent over them (SPEC 3.7)
//! - `auth`: who we are to a relay that asks (SPEC 4.4), `deferred`: what it refused until it knows
//!
//! and by what they keep, each of which knows nothing of the others' files: `subscription`, one client's,
//! of `part`s, one for each relay, and what it was given (`merge`, `seen`); `index`, which subscriptions an
//! event matches; `combine`, many filters as few; `publication`, one event on its way; `entry`, one that
//! waits; `recent`, what was verified last.

mod arrivals;
mod auth;
mod authenticate;
mod backlog;
mod budget;
mod clients;
mod combine;
mod counting;
mod deferred;
pub(crate) mod entry;
mod flush;
mod gather;
mod handover;
pub(crate) mod index;
mod intake;
mod ledger;
mod line;
pub(crate) mod merge;
mod named;
mod outbox;
mod owner;
mod part;
mod publication;
mod publish;
pub(crate) mod recent;
mod relays;
pub(crate) mod seen;
mod settings;
mod store;
mod subscribe;
mod subscription;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::hash::Map;
use crate::base::secret::Secret;
use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::base::time::Now;
use crate::ids::{BatchNumber, ClientId, LinkId, Numbers, RelayId, RequestNumber, SubscriptionKey};
use crate::nostr::count::Counted;
use crate::nostr::event::EventId;
use crate::nostr::keys::Keys;
use crate::nostr::limits::RelayLimits;
use crate::nostr::message::{ClientMessage, Hint, Reply};
use crate::nostr::reason::Reason;
use crate::nostr::verify::{Job, Verdict};
use crate::router::entry::{Batch, Row, Stored};
use crate::router::index::Index;
use crate::router::publication::Publication;
use crate::router::subscription::Subscription;
use crate::stats::{ClientStats, CoreStats, RelayStats};

pub(crate) use clients::{Limits, Role};
pub(crate) use intake::Tag;
pub(crate) use relays::Switches;
pub(crate) use settings::Settings;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A relay was configured, or its switches were changed.
    RelaySet {
        /// Which.
        relay: RelayId,
        /// Normalised.
        url: Arc<str>,
        /// Subscriptions go to it.
        read: bool,
        /// Events are published to it.
        write: bool,
        /// Its numbers.
        stats: Arc<RelayStats>,
    },
    /// Who we are to a relay that asks, from now on.
    RelayKey(RelayId, Option<Keys>),
    /// What a relay's own document says it takes (NIP-11).
    RelayLimits(RelayId, RelayLimits),
    /// A relay is no longer configured.
    RelayRemoved(RelayId),
    /// A relay's connection stands.
    LinkUp(RelayId, LinkId),
    /// A relay's connection has written so many messages and takes as many more.
    LinkWrote(RelayId, LinkId, usize),
    /// A relay's connection is gone.
    LinkDown {
        /// Whose.
        relay: RelayId,
        /// Which.
        link: LinkId,
        /// Events it never wrote.
        unsent: Vec<EventId>,
        /// Unix seconds of its last sign of life: it may have been dead for long.
        heard: u64,
    },
    /// What a relay said, in order.
    RelaySaid(RelayId, LinkId, Vec<Frame>),
    /// A client has connected; these are its numbers.
    ClientJoined(ClientId, Role, Arc<ClientStats>),
    /// The hosts by which a client may have reached us, for a client that is to authenticate.
    ClientReached(ClientId, Box<[Box<str>]>),
    /// An inside client wants these relays and no others from now on.
    ClientRelays(ClientId, Box<[RelayId]>),
    /// A client's message, and its share of the client's budget.
    ClientSaid(ClientId, ClientMessage, Ticket),
    /// A client is gone.
    ClientLeft(ClientId),
    /// An event handed out for verification is back.
    Verified(Verdict<Tag>),
    /// What the owner has set, from now on.
    Settings(Settings),
    /// How long from now this node may send what is in the outbox; `None`: as long as it lives.
    OutboxLease(Option<Duration>),
    /// Rows of the outbox that are this node's from now on.
    OutboxRows(Vec<Row>),
    /// Rows that are this node's no longer.
    OutboxGone(Vec<EventId>),
    /// What became of the batch of this number.
    OutboxStored(BatchNumber, Stored),
}

/// A relay's message, as much of it as the router needs.
#[derive(Debug)]
pub(crate) enum Frame {
    /// An event, not verified.
    Event {
        /// Our number for the request; `None` for an id that is none of ours.
        number: Option<RequestNumber>,
        /// The id it claims.
        id: EventId,
        /// The event as JSON text.
        json: Text,
        /// Its share of the relay's budget.
        ticket: Ticket,
    },
    /// The end of stored events.
    Eose(Option<RequestNumber>, Hint),
    /// How many events match; `None` for what is no number.
    Count(Option<RequestNumber>, Option<Counted>),
    /// The relay has ended a subscription.
    Closed(Option<RequestNumber>, Reason),
    /// The answer to an event.
    Ok(EventId, bool, Reason),
    /// A sentence for a person.
    Notice(String),
    /// A challenge: the relay wants to know who we are (NIP-42).
    Auth(String),
    /// Something nobody can use.
    Junk,
}

/// What is written to a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The message.
    pub text: String,
    /// The event it publishes, if it does.
    pub event: Option<EventId>,
}

/// What is to be done after an input. The owner empties it and hands it in again.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Messages for relays, in order.
    pub to_relay: Vec<(RelayId, LinkId, Outgoing)>,
    /// Connections to end.
    pub cut: Vec<(RelayId, LinkId)>,
    /// Messages for clients, in order.
    pub to_client: Vec<(ClientId, Reply)>,
    /// Events to verify.
    pub verify: Vec<Job<Tag>>,
    /// Changes for the database. The next ones come when it has answered to these.
    pub store: Option<Batch>,
}

impl Effects {
    /// Whether nothing is to be done.
    pub(crate) const fn is_empty(&self) -> bool {
        self.to_relay.is_empty()
            && self.cut.is_empty()
            && self.to_client.is_empty()
            && self.verify.is_empty()
            && self.store.is_none()
    }
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Look at a subscription's EOSE.
    Eose(SubscriptionKey),
    /// Answer a COUNT.
    Count(RequestNumber),
    /// Answer a publication.
    Answer(EventId),
    /// Answer one of a client inside with relays of its own.
    AnswerNamed(EventId, ClientId),
    /// Refuse an event that has waited unsent for too long.
    Waiting(EventId),
    /// Answer for an event whose row is not written yet.
    Store(EventId),
    /// Look at what a relay is asked for.
    Plan(RelayId),
    /// Forget a request that is closed.
    Retired(RelayId, RequestNumber),
    /// What waits for an authentication at this relay has waited long enough.
    Auth(RelayId),
}

/// The state. See the module's own page.
#[derive(Debug)]
pub(crate) struct Router {
    limits: Limits,
    settings: Settings,
    stats: Arc<CoreStats>,
    secret: Secret,
    clients: Map<ClientId, clients::Client>,
    relays: Map<RelayId, relays::Relay>,
    subscriptions: Map<SubscriptionKey, Subscription>,
    /// Which of them an event matches.
    index: Index,
    /// For its memory, what it said last.
    matching: Vec<SubscriptionKey>,
    requests: Map<(RelayId, RequestNumber), upstream::Request>,
    /// Relays at which something has changed for the plan of what they are asked.
    replan: BTreeSet<RelayId>,
    /// Bytes of stored events held by all subscriptions together.
    held: usize,
    /// Of subscriptions and requests.
    numbers: Numbers,
    counts: counting::Counts,
    /// Of requests: numbers are used again.
    last_serial: upstream::Serial,
    /// Ids remembered by all subscriptions together.
    remembered: usize,
    publications: Map<EventId, Publication>,
    named: named::Named,
    outbound: publish::Outbound,
    outbox: outbox::Outbox,
    intake: intake::Intake,
    timers: BTreeSet<(Duration, Timer)>,
}

impl Router {
    /// An empty one. `verify_depth`: how many events may be out for verification at a time.
    /// `secret`: of nobody else's knowledge, and never used for two routers with the same clients.
    pub(crate) fn new(
        limits: Limits,
        stats: Arc<CoreStats>,
        verify_depth: usize,
        secret: Secret,
    ) -> Self {
        Self {
            limits,
            settings: Settings::default(),
            stats,
            secret,
            clients: Map::default(),
            relays: Map::default(),
            subscriptions: Map::default(),
            index: Index::default(),
            matching: Vec::new(),
            requests: Map::default(),
            replan: BTreeSet::new(),
            held: 0,
            numbers: Numbers::default(),
            counts: counting::Counts::default(),
            last_serial: upstream::Serial::default(),
            remembered: 0,
            publications: Map::default(),
            named: named::Named::new(),
            outbound: publish::Outbound::default(),
            outbox: outbox::Outbox::default(),
            intake: intake::Intake::new(verify_depth),
            timers: BTreeSet::new(),
        }
    }

    /// Takes one input and says what follows from it.
    pub(crate) fn handle(&mut self, now: Now, input: Input, fx: &mut Effects) {
        match input {
            Input::RelaySet { relay, url, read, write, stats } => {
                self.set_relay(relay, &url, Switches { read, write }, stats, now, fx);
            }
            Input::RelayKey(relay, key) => self.set_key(relay, key, now, fx),
            Input::RelayLimits(relay, limits) => self.set_limits(relay, limits),
            Input::RelayRemoved(relay) => self.remove_relay(relay, now, fx),
            Input::LinkUp(relay, link) => self.link_up(relay, link, now, fx),
            Input::LinkWrote(relay, link, count) => self.link_wrote(relay, link, count, now, fx),
            Input::LinkDown { relay, link, unsent, heard } => {
                self.link_down(relay, link, &unsent, heard, now, fx);
            }
            Input::RelaySaid(relay, link, frames) => self.relay_said(relay, link, frames, now, fx),
            Input::ClientJoined(client, role, stats) => {
                self.client_joined(client, role, stats);
                self.greet(client, fx);
            }
            Input::ClientReached(client, hosts) => self.client_reached(client, &hosts),
            Input::ClientRelays(client, relays) => self.client_relays(client, &relays, now, fx),
            Input::ClientSaid(client, message, ticket) => {
                self.client_said(client, message, ticket, now, fx);
            }
            Input::ClientLeft(client) => self.client_left(client, now, fx),
            Input::Verified(verdict) => self.verified(verdict, now, fx),
            Input::Settings(settings) => self.set(settings, now, fx),
            Input::OutboxLease(lease) => self.set_lease(lease, now, fx),
            Input::OutboxRows(rows) => self.adopt(rows, now, fx),
            Input::OutboxGone(ids) => self.let_go(&ids),
            Input::OutboxStored(number, result) => self.stored(number, result, now, fx),
        }
        self.follow_up(now, fx);
    }

    /// When [`Self::tick`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.outbox.due, self.outbox.ledger.due()].into_iter().flatten().min()
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Now, fx: &mut Effects) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now.mono {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Eose(key) => self.look_at_eose(key, now, fx),
                Timer::Count(key) => self.count_deadline(key, now, fx),
                Timer::Answer(id) => self.answer_deadline(&id, now, fx),
                Timer::AnswerNamed(id, client) => self.named_deadline(id, client, fx),
                Timer::Waiting(id) => self.refuse_waiting(&id, fx),
                Timer::Store(id) => self.store_deadline(&id, now, fx),
                Timer::Plan(relay) => self.plan_due(relay, now, fx),
                Timer::Retired(relay, number) => self.drop_retired(relay, number, now, fx),
                Timer::Auth(relay) => self.auth_deadline(relay, now, fx),
            }
        }
        if self.outbox.due.is_some_and(|due| due <= now.mono) {
            self.look_at_outbox(now, fx);
        }
        self.follow_up(now, fx);
    }

    fn follow_up(&mut self, now: Now, fx: &mut Effects) {
        self.plan_all(now, fx);
        self.admit_waiting(now, fx);
        self.hand_out_jobs(fx);
        self.hand_out_batch(now, fx);
        self.stats.clients.set(self.clients.len());
        self.stats.subscriptions.set(self.subscriptions.len());
        let unanswered = self.publications.len() + self.named.len() + self.outbound.waiting();
        self.stats.pending_events.set(unanswered);
    }
}
