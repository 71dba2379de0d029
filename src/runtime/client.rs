//! A client's end of the core: what it says goes through a task of its own, which reads the
//! messages (JSON is read here, not on the caller's thread) and passes them to the router.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use crate::base::clock::unix_now;
use crate::base::ticket::Ticket;
use crate::constants::{CLOSE_REASON, INBOX_BYTES, INBOX_MESSAGES, MAX_INSIDE_CLIENTS};
use crate::ids::{ClientId, RelayId};
use crate::nostr::message::{ClientMessage, Reply, Resumed};
use crate::router::{Input, Limits, Role, Said};
use crate::runtime::mailbox::{CLOSE_POLICY, CLOSE_TRY_LATER, Slot, mailbox};
use crate::stats::ClientStats;

use super::budget::Budget;
use super::clock::Clock;
use super::reading::Reading;
use super::{CoreError, Shared, ToRouter, lock};

/// How much of a message that is too long is looked at for its id.
const HEAD: usize = 16 << 10;

/// One connected client. Dropping it means the client is gone.
#[derive(Debug)]
pub(crate) struct ClientHandle {
    /// Names the client in [`super::Core::ready`].
    pub id: ClientId,
    role: Role,
    inbox: mpsc::Sender<Text>,
    door: Arc<Door>,
    shared: Arc<Shared>,
    stats: Arc<ClientStats>,
    reading: Mutex<Reading>,
    /// Unix seconds.
    since: f64,
}

/// One client, as the owner sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClientView {
    /// In this process.
    pub inside: bool,
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

/// What the handle and the client's task share.
#[derive(Debug)]
struct Door {
    slot: Slot,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The reader was asked to wait.
    paused: AtomicBool,
    /// When it was last asked to go on, in milliseconds.
    resumed: AtomicU64,
    clock: Arc<Clock>,
    gone: Notify,
    left: AtomicBool,
}

/// What waits in a client's inbox.
#[derive(Debug)]
enum Text {
    /// And when it was read; `None`: it may have lain there for long before.
    Whole(Box<str>, Option<Duration>),
    TooLong(Box<str>),
    Binary,
    /// A REQ that goes on with an earlier one.
    Resumed(Box<str>, Resumed),
    /// The relays the client wants from now on.
    Relays(Box<[RelayId]>),
    /// The hosts by which it may have reached us.
    Reached(Box<[Box<str>]>),
}

pub(super) fn connect(
    shared: &Arc<Shared>,
    role: Role,
    runtime: &Handle,
) -> Result<ClientHandle, CoreError> {
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
    let (mailbox, slot) = mailbox(id, &shared.bell);
    let door = Arc::new(Door {
        slot,
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        paused: AtomicBool::new(false),
        resumed: AtomicU64::new(0),
        clock: Arc::clone(&shared.clock),
        gone: Notify::new(),
        left: AtomicBool::new(false),
    });
    // Twice the bound at which the reader is asked to wait: who does not wait is cut off.
    let (inbox, messages) = mpsc::channel(INBOX_MESSAGES * 2);
    let router = lock(&shared.router).clone();
    let stats = Arc::<ClientStats>::default();
    let joined = ToRouter::Joined(id, role, Arc::clone(&stats), mailbox);
    runtime.spawn(serve(id, joined, Arc::clone(&door), messages, shared.limits, router));
    let (shared, since) = (Arc::clone(shared), unix_now());
    let reading = Mutex::new(Reading::new(shared.clock.elapsed()));
    Ok(ClientHandle { id, role, inbox, door, shared, stats, reading, since })
}

/// Where clients of this role are counted.
const fn place(role: Role) -> usize {
    matches!(role, Role::Inside) as usize
}

impl ClientHandle {
    /// Hands over one message that was just read. False: call no more until [`Self::is_writable`].
    pub(crate) fn feed(&self, text: &str) -> bool {
        let max = self.shared.limits.max_message_length;
        let read = self.read();
        self.hand_over(if text.len() > max {
            Text::TooLong(text[..text.floor_char_boundary(HEAD.min(max))].into())
        } else {
            Text::Whole(text.into(), read)
        })
    }

    /// The same for a binary one.
    pub(crate) fn feed_binary(&self) -> bool {
        self.read();
        self.hand_over(Text::Binary)
    }

    /// Something is read from it. When; `None`: it may have lain there for long.
    fn read(&self) -> Option<Duration> {
        let now = self.shared.clock.elapsed();
        if self.role == Role::Inside {
            return Some(now); // there is no socket
        }
        let resumed = Duration::from_millis(self.door.resumed.load(SeqCst));
        let late = lock(&self.reading).is_late(now, resumed, &self.shared.pulse);
        (!late).then_some(now)
    }

    /// Hands over a REQ that goes on with one that has had its EOSE, on an earlier connection. Only
    /// for clients inside.
    pub(crate) fn resume(&self, req: &str, how: Resumed) -> bool {
        self.hand_over(Text::Resumed(req.into(), how))
    }

    pub(super) fn use_relays(&self, relays: Box<[RelayId]>) {
        self.hand_over(Text::Relays(relays));
    }

    /// The hosts by which this client may have reached us, each a url or `host[:port]`: what it
    /// has to name to authenticate (NIP-42). To be said before it says anything.
    pub(crate) fn reached_by(&self, hosts: Vec<String>) {
        if !hosts.is_empty() {
            let hosts = hosts.into_iter().map(String::into_boxed_str).collect();
            self.hand_over(Text::Reached(hosts));
        }
    }

    fn hand_over(&self, text: Text) -> bool {
        let Door { slot, messages, bytes, paused, .. } = &*self.door;
        if slot.closed().is_some() {
            return true; // nobody listens any more
        }
        let waiting = bytes.fetch_add(text.size(), SeqCst) + text.size();
        let count = messages.fetch_add(1, SeqCst) + 1;
        let full = count >= INBOX_MESSAGES || waiting >= INBOX_BYTES;
        if full {
            // Before the hand-over, or the task could be through with everything and not see it.
            paused.store(true, SeqCst);
        }
        if self.inbox.try_send(text).is_err() {
            slot.close(CLOSE_TRY_LATER, "too many messages at once");
        }
        !full
    }

    /// Whether [`Self::feed`] may be called.
    pub(crate) fn is_writable(&self) -> bool {
        !self.door.paused.load(SeqCst)
    }

    /// The messages waiting for this client, oldest first, at most `most`.
    pub(crate) fn drain(&self, most: usize) -> Vec<String> {
        self.door.slot.drain(most)
    }

    /// The same as they are, with the urls of the relays they came from or are about.
    pub(crate) fn drain_parts(&self, most: usize) -> Vec<(Reply, String)> {
        let replies = self.door.slot.drain_replies(most);
        let urls = if replies.is_empty() { Vec::new() } else { self.shared.urls() };
        let url_of = |reply: &Reply| {
            let relay = match reply {
                Reply::Event { from, .. } => from.relay()?,
                Reply::Relay { relay, .. } => *relay,
                _ => return None,
            };
            urls.iter().find(|(id, _)| *id == relay).map(|(_, url)| url.clone())
        };
        replies
            .into_iter()
            .map(|reply| {
                let url = url_of(&reply).unwrap_or_default();
                (reply, url)
            })
            .collect()
    }

    /// Close code and reason, once the core has ended the connection.
    pub(crate) fn closed(&self) -> Option<(u16, &str)> {
        self.door.slot.closed()
    }

    /// Its numbers.
    pub(crate) fn view(&self) -> ClientView {
        let slot = &self.door.slot;
        let (waiting, waiting_bytes) = slot.waiting();
        ClientView {
            inside: self.role == Role::Inside,
            connected_since: self.since,
            subscriptions: self.stats.subscriptions.get(),
            published: self.stats.published.get(),
            delivered: slot.delivered(),
            waiting,
            waiting_bytes,
        }
    }

    /// The owner wants this client no more: the core lets go of it, as if it had gone. What it said
    /// before still counts, what it says from now on does not. It has its place among the clients
    /// until it is disconnected.
    pub(crate) fn cut_off(&self, why: &str) {
        let why = &why[..why.floor_char_boundary(CLOSE_REASON)];
        self.door.slot.close(CLOSE_POLICY, why.to_owned());
        self.door.gone.notify_one();
    }

    /// The client is gone. What it said before still counts.
    pub(crate) fn disconnect(&self) {
        if !self.door.left.swap(true, SeqCst) {
            if self.role == Role::Inside {
                self.shared.release_relays(self.id);
            }
            self.shared.connected[place(self.role)].fetch_sub(1, SeqCst);
            self.door.gone.notify_one();
        }
    }
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.disconnect();
    }
}

impl Text {
    const fn size(&self) -> usize {
        match self {
            Self::Whole(text, _) | Self::TooLong(text) | Self::Resumed(text, _) => text.len(),
            Self::Binary => 0,
            Self::Relays(relays) => size_of_val(&**relays),
            Self::Reached(hosts) => size_of_val(&**hosts),
        }
    }
}

/// The client's task.
async fn serve(
    id: ClientId,
    joined: ToRouter,
    door: Arc<Door>,
    mut inbox: mpsc::Receiver<Text>,
    limits: Limits,
    router: mpsc::Sender<ToRouter>,
) {
    let budget = Budget::new();
    // A router that is gone has closed the client's mailbox, which is all there is to do.
    let mut open = router.send(joined).await.is_ok();
    while open {
        let text = tokio::select! {
            biased;
            text = inbox.recv() => text,
            () = door.gone.notified() => {
                inbox.close();
                continue;
            }
            () = router.closed() => break,
        };
        let Some(text) = text else { break };
        let size = text.size();
        let mut read = Some(door.clock.elapsed());
        let message = match text {
            Text::Whole(text, when) => {
                read = when;
                Some(ClientMessage::parse(&text, limits.max_filters))
            }
            Text::Binary => Some(ClientMessage::binary()),
            Text::TooLong(head) => Some(ClientMessage::too_long(&head, limits.max_message_length)),
            Text::Resumed(text, how) => {
                let mut message = ClientMessage::parse(&text, limits.max_filters);
                if let ClientMessage::Req { resumed, .. } = &mut message {
                    *resumed = Some(how);
                }
                Some(message)
            }
            Text::Relays(relays) => {
                let wanted = Input::ClientRelays(id, relays);
                open = router.send(ToRouter::Input(wanted)).await.is_ok();
                None
            }
            Text::Reached(hosts) => {
                let reached = Input::ClientReached(id, hosts);
                open = router.send(ToRouter::Input(reached)).await.is_ok();
                None
            }
        };
        if let Some(message) = message {
            let ticket = ticket(&budget, &message).await;
            let said = Input::ClientSaid(id, Said { message, read, ticket });
            open = router.send(ToRouter::Input(said)).await.is_ok();
        }
        door.settle(size);
    }
    let _ = router.send(ToRouter::Input(Input::ClientLeft(id))).await;
}

impl Door {
    /// One message is through; half the room is free again, and a reader that waits may go on.
    fn settle(&self, size: usize) {
        let count = self.messages.fetch_sub(1, SeqCst) - 1;
        let waiting = self.bytes.fetch_sub(size, SeqCst) - size;
        let room = count <= INBOX_MESSAGES / 2 && waiting <= INBOX_BYTES / 2;
        if room && self.paused.swap(false, SeqCst) {
            let now = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.resumed.store(now, SeqCst);
            self.slot.nudge();
        }
    }
}

/// Unverified events take their share of the client's budget, so that one client's flood waits in
/// its own inbox.
async fn ticket(budget: &Arc<Budget>, message: &ClientMessage) -> Ticket {
    let (ClientMessage::Event { json, .. } | ClientMessage::Auth { json, .. }) = message else {
        return Ticket::default();
    };
    budget.take(json.len()).await
}
