//! The running core: threads, tasks and queues around the state machine of [`crate::router`].
//!
//! One [`Core`] has one tokio runtime, one router task, one task per relay and per client, and the
//! verifying threads. [`Core::stop`], or dropping it, ends all of them.

pub(crate) mod budget;
mod client;
mod clock;
mod desk;
mod driver;
mod keys;
pub(crate) mod mailbox;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use crate::base::secret::Secret;
use crate::constants::{CONTROL_QUEUE, PULSE, ROUTER_QUEUE, STOP_TIMEOUT};
use crate::ids::{ClientId, LinkId, RelayId};
use crate::nostr::keys::{KeyError, Keys};
use crate::nostr::limits::RelayLimits;
use crate::nostr::url;
use crate::relay::{Badge, Dial, Network, Proxy, RelayTask, Routes, ToLink, Wish, proxy};
use crate::router::{Input, Limits, Role, Settings, Switches};
use crate::runtime::mailbox::{Bell, Mailbox};
use crate::stats::{ClientStats, CoreStats, RelayStats};

use client::Seat;
pub(crate) use client::{About, ClientHandle, ClientView, Offer};
use clock::Clock;
use desk::Desk;
pub(crate) use desk::{OutboxCall, StoreTask};
pub(crate) use mailbox::Caller;
use reading::Pulse;

/// What the router's queue takes.
#[derive(Debug)]
pub(crate) enum ToRouter {
    /// Something for the state machine.
    Input(Input),
    /// [`Input::LinkUp`], and how to reach the connection.
    LinkUp(RelayId, LinkId, ToLink),
    /// [`Input::ClientJoined`], and how to reach the client.
    Joined(ClientId, Role, Arc<ClientStats>, Mailbox),
    /// A call of the owner's.
    Outbox(OutboxCall),
    /// A bug, for the test that one does not take the process down.
    #[cfg(test)]
    Bug,
}

/// Why the core does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CoreError {
    /// It has been stopped.
    #[error("nostrclient's core has been stopped")]
    Stopped,
    /// No more clients are taken.
    #[error("nostrclient serves {0} clients already")]
    TooManyClients(usize),
    /// The url of a relay is wrong. A sentence for a person.
    #[error("{0}")]
    Url(String),
    /// The relay is reached only through a proxy, and there is none. A sentence for a person.
    #[error("{}.", proxy::CLOSED)]
    NoProxy,
    /// The key for a relay is none. Never tells the key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A limit is zero.
    #[error("a limit must be greater than zero")]
    Limit,
    /// Too many calls wait.
    #[error("nostrclient's core is too busy; try again")]
    Busy,
    /// The system refuses a thread or a file descriptor.
    #[error("nostrclient's core cannot start: {0}")]
    System(String),
}

impl CoreError {
    /// Its code, for Python.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::TooManyClients(_) => "too_many_clients",
            Self::Url(_) => "url",
            Self::NoProxy => "no_proxy",
            Self::Key(error) => error.code(),
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::System(_) => "system",
        }
    }
}

/// A relay, as the owner sees it.
#[derive(Debug, Clone)]
pub(crate) struct RelayView {
    /// Normalised.
    pub url: String,
    /// What goes to it.
    pub switches: Switches,
    /// Whether the owner has configured it; else it is there for clients that named it.
    pub listed: bool,
    /// What its document says it takes.
    pub limits: RelayLimits,
    /// Its numbers.
    pub stats: Arc<RelayStats>,
}

#[derive(Debug)]
struct Registration {
    id: RelayId,
    stats: Arc<RelayStats>,
    /// The owner's, all switches off if he has not configured it. Its end tells the relay's task to
    /// stop.
    wish: watch::Sender<Wish>,
    /// What the relay's document says. Its task tells every router that comes.
    limits: watch::Sender<RelayLimits>,
    hurry: Arc<Notify>,
    anew: Arc<Notify>,
    rerouted: Arc<Notify>,
    listed: bool,
    /// Inside clients that want this relay, whatever the owner has configured.
    users: BTreeSet<ClientId>,
}

/// What the tasks share with the handle. Nothing here is on the way of a message.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// For the routers.
    secret: Secret,
    bell: Arc<Bell>,
    stats: Arc<CoreStats>,
    /// The router's, and of those who note when something was read.
    clock: Arc<Clock>,
    /// Of whoever reads the clients' sockets that are not ours.
    pulse: Pulse,
    /// Of our own tasks, which read the others.
    own_pulse: Pulse,
    /// Bytes of messages that have come in part.
    unfinished: AtomicUsize,
    /// The relays by url. The owner's wish; the router has the state.
    relays: Mutex<BTreeMap<String, Registration>>,
    /// Who we are to relays that ask (NIP-42), by url, for those that are yet to be added too.
    keys: Mutex<BTreeMap<String, Keys>>,
    /// The queue of the router that runs now. Replaced if a router had to be started anew.
    router: Mutex<mpsc::Sender<ToRouter>>,
    desk: Desk,
    /// What the owner has set, for routers to come.
    settings: Mutex<Settings>,
    /// Clients outside and inside of this process.
    connected: [AtomicUsize; 2],
    /// Those outside.
    outside: Mutex<BTreeMap<ClientId, Arc<Seat>>>,
    numbers: AtomicU64,
}

impl Shared {
    fn new(limits: Limits) -> std::io::Result<(Arc<Self>, mpsc::Receiver<ToRouter>)> {
        let (router, queue) = mpsc::channel(ROUTER_QUEUE);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let bell = Arc::new(Bell::new()?);
        let shared = Self {
            limits,
            secret: Secret::new(secret),
            desk: Desk::new(&bell),
            settings: Mutex::default(),
            bell,
            stats: Arc::default(),
            clock: Arc::new(Clock::start()),
            pulse: Pulse::default(),
            own_pulse: Pulse::default(),
            unfinished: AtomicUsize::new(0),
            relays: Mutex::default(),
            keys: Mutex::default(),
            router: Mutex::new(router),
            connected: Default::default(),
            outside: Mutex::default(),
            numbers: AtomicU64::new(1),
        };
        Ok((Arc::new(shared), queue))
    }

    /// Has a relay kept connected by a task of the runtime. False: it was there already.
    fn add_relay<D: Dial>(
        &self,
        url: String,
        switches: Switches,
        runtime: &Handle,
        dial: &Arc<D>,
    ) -> bool {
        let mut relays = lock(&self.relays);
        if let Some(entry) = relays.get_mut(&url) {
            entry.wish.send_modify(|wish| wish.switches = switches);
            return !std::mem::replace(&mut entry.listed, true);
        }
        let entry = self.new_relay(&url, switches, runtime, dial);
        relays.insert(url, Registration { listed: true, ..entry });
        true
    }

    fn new_relay<D: Dial>(
        &self,
        url: &str,
        switches: Switches,
        runtime: &Handle,
        dial: &Arc<D>,
    ) -> Registration {
        let entry = Registration {
            id: RelayId(self.numbers.fetch_add(1, SeqCst)),
            stats: Arc::default(),
            wish: watch::Sender::new(Wish { switches, key: lock(&self.keys).get(url).cloned() }),
            limits: watch::Sender::new(RelayLimits::default()),
            hurry: Arc::default(),
            anew: Arc::default(),
            rerouted: Arc::default(),
            listed: false,
            users: BTreeSet::new(),
        };
        let router = lock(&self.router).clone();
        entry.introduce(url, &router);
        runtime.spawn(entry.task(url, &self.stats, router, dial));
        entry
    }

    /// The owner wants this relay no more. False: he did not.
    fn remove_relay(&self, url: &str) -> bool {
        let mut relays = lock(&self.relays);
        let Some(entry) = relays.get_mut(url) else { return false };
        let listed = std::mem::replace(&mut entry.listed, false);
        entry.wish.send_modify(|wish| wish.switches = Switches::OFF);
        relays.retain(|_, entry| entry.is_wanted());
        listed
    }

    /// An inside client wants these relays and no others. Those nobody wanted are connected to,
    /// those nobody wants any more are let go.
    fn use_relays<D: Dial>(
        &self,
        client: ClientId,
        urls: &BTreeSet<String>,
        runtime: &Handle,
        dial: &Arc<D>,
    ) -> Box<[RelayId]> {
        let mut relays = lock(&self.relays);
        for url in urls {
            let new = || self.new_relay(url, Switches::OFF, runtime, dial);
            relays.entry(url.clone()).or_insert_with(new).users.insert(client);
        }
        relays.retain(|url, entry| {
            if !urls.contains(url) {
                entry.users.remove(&client);
            }
            entry.is_wanted()
        });
        let used = relays.values().filter(|entry| entry.users.contains(&client));
        used.map(|entry| entry.id).collect()
    }

    /// An inside client is gone.
    fn release_relays(&self, client: ClientId) {
        lock(&self.relays).retain(|_, entry| !entry.users.remove(&client) || entry.is_wanted());
    }

    /// One relay, or all, try now if they wait. `anew`: those that are connected do so again.
    fn reconnect(&self, one: Option<&str>, anew: bool) {
        for (url, entry) in &*lock(&self.relays) {
            if one.is_none_or(|one| one == url) {
                entry.hurry.notify_waiters();
                if anew {
                    entry.anew.notify_waiters();
                }
            }
        }
    }

    /// Changes what is kept of a relay's document. Which one it is; `None`: nobody wants that relay.
    fn change_relay_limits(
        &self,
        url: &str,
        change: impl FnOnce(&mut RelayLimits),
    ) -> Option<(RelayId, RelayLimits)> {
        let relays = lock(&self.relays);
        let entry = relays.get(url)?;
        entry.limits.send_modify(change);
        let limits = *entry.limits.borrow();
        Some((entry.id, limits))
    }

    /// Another way leads to these relays: they connect anew, whatever they are doing.
    fn reroute(&self, affected: impl Fn(&str) -> bool) {
        for (url, entry) in &*lock(&self.relays) {
            if affected(url) {
                entry.rerouted.notify_waiters();
            }
        }
    }

    /// The relays' urls by their names.
    fn urls(&self) -> Vec<(RelayId, String)> {
        lock(&self.relays).iter().map(|(url, entry)| (entry.id, url.clone())).collect()
    }
}

/// The handle to a running core. All methods return at once, but `stop`.
#[derive(Debug)]
pub(crate) struct Core {
    shared: Arc<Shared>,
    /// Of all relays' tasks.
    network: Arc<Network>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    runtime: Runtime,
    /// Its end tells the router, and who keeps the pulse, to stop.
    _router: watch::Sender<()>,
    calls: mpsc::Sender<ToRouter>,
}

impl Core {
    /// Starts a core without relays and clients. `secret`: by which this server knows itself; without one
    /// no other process is this server.
    ///
    /// # Errors
    /// [`CoreError::Limit`] or [`CoreError::System`].
    pub(crate) fn start(limits: Limits, secret: Option<Secret>) -> Result<Self, CoreError> {
        let Limits {
            max_message_length,
            max_subscriptions,
            max_filters,
            max_clients,
            max_messages_per_second,
        } = limits;
        let all = [
            max_message_length,
            max_subscriptions,
            max_filters,
            max_clients,
            max_messages_per_second,
        ];
        if all.contains(&0) {
            return Err(CoreError::Limit);
        }
        let system = |error: std::io::Error| CoreError::System(error.to_string());
        let (shared, queue) = Shared::new(limits).map_err(system)?;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.min(4))
            .thread_name("nostrclient")
            .enable_io()
            .enable_time()
            .build()
            .map_err(system)?;
        let (running, stop) = watch::channel(());
        let secret = secret.unwrap_or_else(|| shared.secret.clone());
        let network = Arc::new(Network::new(Badge::new(secret)));
        let dial = Arc::clone(&network);
        runtime.spawn(beat(Arc::clone(&shared), stop.clone()));
        runtime.spawn(driver::supervise(Arc::clone(&shared), queue, stop, threads, dial));
        let (calls, queue) = mpsc::channel(CONTROL_QUEUE);
        runtime.spawn(pass_on(Arc::clone(&shared), queue));
        let running = Running { runtime, _router: running, calls };
        Ok(Self { shared, network, running: Mutex::new(Some(running)) })
    }

    /// Readable when [`Core::ready`] has something to tell.
    pub(crate) fn wake_fd(&self) -> RawFd {
        self.shared.bell.fd()
    }

    /// Who has something to fetch since the last call: clients that have messages waiting, may be fed
    /// again or were closed; and the database.
    pub(crate) fn ready(&self) -> Vec<Caller> {
        self.shared.bell.answer()
    }

    /// Whoever reads the clients' sockets is at it. To be called several times in two seconds, or what
    /// clients send counts as having lain there.
    pub(crate) fn beat(&self) {
        self.shared.pulse.beat(self.shared.clock.elapsed());
    }

    /// By which this server knows itself, and others of its kind.
    pub(crate) fn badge(&self) -> &Badge {
        self.network.badge()
    }

    /// The limits it was started with.
    pub(crate) fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Admits a client whose messages somebody else reads and writes.
    ///
    /// # Errors
    /// [`CoreError::Stopped`] or [`CoreError::TooManyClients`].
    pub(crate) fn connect(&self, role: Role, about: About) -> Result<ClientHandle, CoreError> {
        let running = lock(&self.running);
        let running = running.as_ref().ok_or(CoreError::Stopped)?;
        client::connect(&self.shared, role, about, running.runtime.handle())
    }

    /// Admits a client with its socket. `hosts`: as [`ClientHandle::reached_by`].
    ///
    /// # Errors
    /// [`CoreError::Stopped`], [`CoreError::TooManyClients`] or [`CoreError::System`].
    pub(crate) fn serve(
        &self,
        role: Role,
        about: About,
        hosts: Vec<String>,
        socket: Offer,
    ) -> Result<ClientId, CoreError> {
        let running = lock(&self.running);
        let running = running.as_ref().ok_or(CoreError::Stopped)?;
        client::serve(&self.shared, role, about, hosts, socket, running.runtime.handle())
    }

    /// The clients outside of this process.
    pub(crate) fn clients(&self) -> Vec<ClientView> {
        lock(&self.shared.outside).values().map(|seat| seat.view()).collect()
    }

    /// Closes such a client's line, as the owner wants. False: it is not there.
    pub(crate) fn cut_off(&self, client: ClientId, why: &str) -> bool {
        let seat = lock(&self.shared.outside).get(&client).cloned();
        seat.inspect(|seat| seat.cut_off(why)).is_some()
    }

    /// Who may use the public endpoint from now on, by x-only public keys; none: everybody. Those
    /// who may no more are told so, and their subscriptions end.
    ///
    /// # Errors
    /// [`CoreError::Stopped`] or [`CoreError::Busy`].
    pub(crate) fn set_public_allowed(&self, keys: Vec<[u8; 32]>) -> Result<(), CoreError> {
        self.change_settings(|settings| settings.public_allowed = keys)
    }

    /// The router that runs hears of it at once, those to come when they begin.
    fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<(), CoreError> {
        // Held until the router is told: two changes reach it in the order they were made.
        let mut settings = lock(&self.shared.settings);
        change(&mut settings);
        self.call(ToRouter::Input(Input::Settings(settings.clone())))
    }

    /// From now on this client, one inside, subscribes at these relays and publishes to them, and
    /// to no others.
    ///
    /// # Errors
    /// [`CoreError::Stopped`] or [`CoreError::Url`]; nothing has changed then.
    pub(crate) fn use_relays(
        &self,
        client: &ClientHandle,
        urls: &[String],
    ) -> Result<(), CoreError> {
        let urls: Result<BTreeSet<String>, String> =
            urls.iter().map(|text| url::normalize(text)).collect();
        let urls = urls.map_err(CoreError::Url)?;
        let running = lock(&self.running);
        let running = running.as_ref().ok_or(CoreError::Stopped)?;
        let runtime = running.runtime.handle();
        let relays = self.shared.use_relays(client.id(), &urls, runtime, &self.network);
        client.use_relays(relays);
        Ok(())
    }

    /// Connects to a relay and keeps it connected. False: it is there already, and only its switches
    /// are set.
    ///
    /// # Errors
    /// [`CoreError::Stopped`] or [`CoreError::Url`].
    pub(crate) fn add_relay(&self, text: &str, switches: Switches) -> Result<bool, CoreError> {
        let url = url::normalize(text).map_err(CoreError::Url)?;
        let running = lock(&self.running);
        let running = running.as_ref().ok_or(CoreError::Stopped)?;
        let runtime = running.runtime.handle();
        Ok(self.shared.add_relay(url, switches, runtime, &self.network))
    }

    /// Forgets a relay, unless an inside client has named it. False: the owner had not configured it.
    ///
    /// # Errors
    /// [`CoreError::Url`].
    pub(crate) fn remove_relay(&self, text: &str) -> Result<bool, CoreError> {
        let url = url::normalize(text).map_err(CoreError::Url)?;
        Ok(self.shared.remove_relay(&url))
    }

    /// Has relays that wait for their next attempt try now: one, or all. `anew`: has those that are
    /// connected disconnect and connect again at once.
    ///
    /// # Errors
    /// [`CoreError::Url`].
    pub(crate) fn reconnect(&self, text: Option<&str>, anew: bool) -> Result<(), CoreError> {
        let one = text.map(url::normalize).transpose().map_err(CoreError::Url)?;
        self.shared.reconnect(one.as_deref(), anew);
        Ok(())
    }

    /// What a relay's own document says it takes, from now on. Of a relay that nobody wants nothing
    /// is kept.
    ///
    /// # Errors
    /// [`CoreError::Url`], [`CoreError::Stopped`] or [`CoreError::Busy`].
    pub(crate) fn set_relay_limits(
        &self,
        text: &str,
        limits: RelayLimits,
    ) -> Result<(), CoreError> {
        self.change_relay_limits(text, |kept| {
            *kept = RelayLimits { sibling: kept.sibling, ..limits };
        })
    }

    /// Whether a relay's own document says that it is another server of this extension.
    ///
    /// # Errors
    /// As [`Self::set_relay_limits`].
    pub(crate) fn set_relay_sibling(&self, text: &str, sibling: bool) -> Result<(), CoreError> {
        self.change_relay_limits(text, |kept| kept.sibling = sibling)
    }

    fn change_relay_limits(
        &self,
        text: &str,
        change: impl FnOnce(&mut RelayLimits),
    ) -> Result<(), CoreError> {
        let url = url::normalize(text).map_err(CoreError::Url)?;
        match self.shared.change_relay_limits(&url, change) {
            Some((relay, limits)) => self.call(ToRouter::Input(Input::RelayLimits(relay, limits))),
            None => Ok(()),
        }
    }

    /// The proxy for `.onion` relays, and for all others that are not on this machine if it is for
    /// all. Relays to which another way leads now connect anew at once.
    pub(crate) fn set_proxy(&self, proxy: Option<Proxy>, for_all: bool) {
        let now = Routes { proxy, for_all };
        let before = self.network.set_routes(now.clone());
        self.shared.reroute(|url| before.way(url) != now.way(url));
    }

    /// The proxy through which a relay is reached. None: it is reached directly.
    ///
    /// # Errors
    /// [`CoreError::Url`]; or [`CoreError::NoProxy`] for a `.onion` relay while there is none.
    pub(crate) fn proxy_for(&self, text: &str) -> Result<Option<Proxy>, CoreError> {
        let url = url::normalize(text).map_err(CoreError::Url)?;
        match self.network.routes().way(&url) {
            proxy::Way::Direct => Ok(None),
            proxy::Way::Through(proxy) => Ok(Some(proxy.clone())),
            proxy::Way::Closed => Err(CoreError::NoProxy),
        }
    }

    /// The relays, by url.
    pub(crate) fn relays(&self) -> Vec<RelayView> {
        lock(&self.shared.relays).iter().map(|(url, entry)| entry.view(url)).collect()
    }

    /// One relay, however its url is spelled.
    pub(crate) fn relay(&self, text: &str) -> Option<RelayView> {
        let url = url::normalize(text).ok()?;
        lock(&self.shared.relays).get(&url).map(|entry| entry.view(&url))
    }

    /// Numbers over the whole core.
    pub(crate) fn stats(&self) -> &CoreStats {
        &self.shared.stats
    }

    /// Closes clients and relays and ends every thread, within [`STOP_TIMEOUT`] and a little. `away`:
    /// `LNbits` ends.
    pub(crate) fn stop(&self, away: bool) {
        if away {
            self.shared.bell.go_away();
        }
        let Some(Running { runtime, _router: router, calls }) = lock(&self.running).take() else {
            return;
        };
        let deadline = Instant::now() + STOP_TIMEOUT;
        // Without these, the relays' tasks say goodbye and end; then the router does.
        lock(&self.shared.relays).clear();
        drop((router, calls));
        while runtime.metrics().num_alive_tasks() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        runtime.shutdown_timeout(Duration::from_millis(200));
    }
}

/// Notes again and again that the sockets that are ours are read, until the core stops.
async fn beat(shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    let mut over = pin!(stop.changed());
    loop {
        shared.own_pulse.beat(shared.clock.elapsed());
        if timeout(PULSE, &mut over).await.is_ok() {
            return;
        }
    }
}

/// Passes the owner's calls on to the router that runs at the time, in order.
async fn pass_on(shared: Arc<Shared>, mut calls: mpsc::Receiver<ToRouter>) {
    while let Some(call) = calls.recv().await {
        let router = lock(&shared.router).clone();
        let _ = router.send(call).await;
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop(false);
    }
}

impl Registration {
    fn is_wanted(&self) -> bool {
        self.listed || !self.users.is_empty()
    }

    fn view(&self, url: &str) -> RelayView {
        RelayView {
            url: url.to_owned(),
            switches: self.wish.borrow().switches,
            listed: self.listed,
            limits: *self.limits.borrow(),
            stats: Arc::clone(&self.stats),
        }
    }

    /// Tells the router about the relay before anybody can subscribe, so that an EOSE waits for it.
    /// If the queue is full, the relay's task does so a moment later.
    fn introduce(&self, url: &str, router: &mpsc::Sender<ToRouter>) {
        let wish = self.wish.borrow().clone();
        for input in wish.inputs(self.id, url.into(), Arc::clone(&self.stats)) {
            let _ = router.try_send(ToRouter::Input(input));
        }
    }

    /// The task that keeps this relay connected, for a router's queue.
    fn task<D: Dial>(
        &self,
        url: &str,
        total: &Arc<CoreStats>,
        router: mpsc::Sender<ToRouter>,
        dial: &Arc<D>,
    ) -> impl Future<Output = ()> + Send + use<D> {
        let relay = RelayTask {
            id: self.id,
            url: url.into(),
            stats: Arc::clone(&self.stats),
            total: Arc::clone(total),
            wish: self.wish.subscribe(),
            limits: self.limits.subscribe(),
            hurry: Arc::clone(&self.hurry),
            anew: Arc::clone(&self.anew),
            rerouted: Arc::clone(&self.rerouted),
            router,
            dial: Arc::clone(dial),
        };
        relay.run()
    }
}

/// What is locked here is whole at any time, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
