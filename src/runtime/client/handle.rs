//! A client whose messages are handed over one by one: one inside this process, or one whose socket
//! the web server keeps. What it says goes through a task of its own, which reads the messages (JSON is
//! read here, not on the caller's thread) and passes them to the router.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::constants::{INBOX_BYTES, INBOX_MESSAGES, MESSAGE_HEAD};
use crate::ids::{ClientId, RelayId};
use crate::nostr::message::{ClientMessage, Reply, Resumed};
use crate::router::{Input, Role};
use crate::runtime::mailbox::{CLOSE_TRY_LATER, Rings};

use super::super::reading::Reading;
use super::super::{CoreError, Shared, ToRouter, lock};
use super::seat::{About, ClientView, Seat};
use super::speaker::{Gone, Speaker};

/// One connected client. Dropping it means the client is gone.
#[derive(Debug)]
pub(crate) struct ClientHandle {
    seat: Arc<Seat>,
    inbox: mpsc::Sender<Text>,
    door: Arc<Door>,
    reading: Mutex<Reading>,
}

/// How far the client's task is behind its reader.
#[derive(Debug, Default)]
struct Door {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The reader was asked to wait.
    paused: AtomicBool,
    /// When it was last asked to go on, in milliseconds.
    resumed: AtomicU64,
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

pub(in crate::runtime) fn connect(
    shared: &Arc<Shared>,
    role: Role,
    about: About,
    runtime: &Handle,
) -> Result<ClientHandle, CoreError> {
    let (seat, joined) = Seat::take(shared, role, about, Rings::TheBell)?;
    let door = Arc::<Door>::default();
    // Twice the bound at which the reader is asked to wait: who does not wait is cut off.
    let (inbox, messages) = mpsc::channel(INBOX_MESSAGES * 2);
    let speaker = Speaker::new(seat.id, shared.limits, lock(&shared.router).clone());
    runtime.spawn(serve(Arc::clone(&seat), joined, Arc::clone(&door), messages, speaker));
    let reading = Mutex::new(Reading::new(shared.clock.elapsed()));
    Ok(ClientHandle { seat, inbox, door, reading })
}

impl ClientHandle {
    /// Names the client in [`super::super::Core::ready`].
    pub(crate) fn id(&self) -> ClientId {
        self.seat.id
    }

    /// Hands over one message that was just read. False: call no more until [`Self::is_writable`].
    pub(crate) fn feed(&self, text: &str) -> bool {
        let max = self.seat.shared.limits.max_message_length;
        let read = self.read();
        self.hand_over(if text.len() > max {
            Text::TooLong(text[..text.floor_char_boundary(MESSAGE_HEAD.min(max))].into())
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
        let now = self.seat.shared.clock.elapsed();
        if self.seat.role == Role::Inside {
            return Some(now); // there is no socket
        }
        let resumed = Duration::from_millis(self.door.resumed.load(SeqCst));
        let late = lock(&self.reading).is_late(now, resumed, &self.seat.shared.pulse);
        (!late).then_some(now)
    }

    /// Hands over a REQ that goes on with one that has had its EOSE, on an earlier connection. Only
    /// for clients inside.
    pub(crate) fn resume(&self, req: &str, how: Resumed) -> bool {
        self.hand_over(Text::Resumed(req.into(), how))
    }

    pub(in crate::runtime) fn use_relays(&self, relays: Box<[RelayId]>) {
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
        let Door { messages, bytes, paused, .. } = &*self.door;
        let slot = &self.seat.slot;
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
        self.seat.slot.drain(most)
    }

    /// The same as they are, with the urls of the relays they came from or are about.
    pub(crate) fn drain_parts(&self, most: usize) -> Vec<(Reply, String)> {
        let replies = self.seat.slot.drain_replies(most);
        let urls = if replies.is_empty() { Vec::new() } else { self.seat.shared.urls() };
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
        self.seat.slot.closed()
    }

    /// Its numbers.
    pub(crate) fn view(&self) -> ClientView {
        self.seat.view()
    }

    /// As [`Seat::cut_off`].
    pub(crate) fn cut_off(&self, why: &str) {
        self.seat.cut_off(why);
    }

    /// The client is gone. What it said before still counts.
    pub(crate) fn disconnect(&self) {
        self.seat.leave();
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
    seat: Arc<Seat>,
    joined: ToRouter,
    door: Arc<Door>,
    mut inbox: mpsc::Receiver<Text>,
    speaker: Speaker,
) {
    let mut open = speaker.join(joined).await.is_ok();
    while open {
        let text = tokio::select! {
            biased;
            text = inbox.recv() => text,
            () = seat.gone.notified() => {
                inbox.close();
                continue;
            }
            () = speaker.alone() => break,
        };
        let Some(text) = text else { break };
        let size = text.size();
        open = pass_on(&seat, &speaker, text).await.is_ok();
        door.settle(size, &seat);
    }
    speaker.leave().await;
}

async fn pass_on(seat: &Seat, speaker: &Speaker, text: Text) -> Result<(), Gone> {
    let now = Some(seat.shared.clock.elapsed());
    match text {
        Text::Whole(text, read) => speaker.text(&text, read).await,
        Text::Binary => speaker.binary(now).await,
        Text::TooLong(head) => speaker.too_long(&head, now).await,
        Text::Resumed(text, how) => {
            let mut message = speaker.parse(&text);
            if let ClientMessage::Req { resumed, .. } = &mut message {
                *resumed = Some(how);
            }
            speaker.say(message, now).await
        }
        Text::Relays(relays) => speaker.tell(Input::ClientRelays(seat.id, relays)).await,
        Text::Reached(hosts) => speaker.tell(Input::ClientReached(seat.id, hosts)).await,
    }
}

impl Door {
    /// One message is through; half the room is free again, and a reader that waits may go on.
    fn settle(&self, size: usize, seat: &Seat) {
        let count = self.messages.fetch_sub(1, SeqCst) - 1;
        let waiting = self.bytes.fetch_sub(size, SeqCst) - size;
        let room = count <= INBOX_MESSAGES / 2 && waiting <= INBOX_BYTES / 2;
        if room && self.paused.swap(false, SeqCst) {
            let now = u64::try_from(seat.shared.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.resumed.store(now, SeqCst);
            seat.slot.nudge();
        }
    }
}
