//! A client's end of the core: what it says goes through a task of its own, which reads the
//! messages (JSON is read here, not on the caller's thread) and passes them to the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::constants::{INBOX_BYTES, INBOX_MESSAGES, SOURCE_BUDGET, SOURCE_EVENT_COST};
use crate::hub::{ClientId, Input, Limits, Ticket};
use crate::mailbox::{CLOSE_TRY_LATER, Mailbox, Slot, mailbox};
use crate::message::ClientMessage;

use super::{Arrival, CoreError, Shared, lock};

/// How much of a message that is too long is looked at for its id.
const HEAD: usize = 16 << 10;

/// One connected client. Dropping it means the client is gone.
#[derive(Debug)]
pub struct ClientHandle {
    /// Names the client in [`super::Core::ready`].
    pub id: ClientId,
    inbox: mpsc::Sender<Text>,
    door: Arc<Door>,
    shared: Arc<Shared>,
}

/// What the handle and the client's task share.
#[derive(Debug)]
struct Door {
    slot: Slot,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// The reader was asked to wait.
    paused: AtomicBool,
    gone: Notify,
    left: AtomicBool,
}

#[derive(Debug)]
enum Text {
    Whole(Box<str>),
    TooLong(Box<str>),
}

pub(super) fn connect(shared: &Arc<Shared>, runtime: &Handle) -> Result<ClientHandle, CoreError> {
    let max = shared.limits.max_clients;
    if shared.connected.fetch_add(1, SeqCst) >= max {
        shared.connected.fetch_sub(1, SeqCst);
        return Err(CoreError::TooManyClients(max));
    }
    let id = shared.numbers.fetch_add(1, SeqCst);
    let (mailbox, slot) = mailbox(id, &shared.bell);
    let door = Arc::new(Door {
        slot,
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        paused: AtomicBool::new(false),
        gone: Notify::new(),
        left: AtomicBool::new(false),
    });
    // Twice the bound at which the reader is asked to wait: who does not wait is cut off.
    let (inbox, messages) = mpsc::channel(INBOX_MESSAGES * 2);
    let router = lock(&shared.router).clone();
    runtime.spawn(serve(id, Arc::clone(&door), messages, mailbox, shared.limits, router));
    Ok(ClientHandle { id, inbox, door, shared: Arc::clone(shared) })
}

impl ClientHandle {
    /// Hands over one message. False: call no more until [`Self::is_writable`].
    pub fn feed(&self, text: &str) -> bool {
        let Door { slot, messages, bytes, paused, .. } = &*self.door;
        let max = self.shared.limits.max_message_length;
        let text = if text.len() > max {
            Text::TooLong(text[..text.floor_char_boundary(HEAD.min(max))].into())
        } else {
            Text::Whole(text.into())
        };
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
    pub fn is_writable(&self) -> bool {
        !self.door.paused.load(SeqCst)
    }

    /// The messages waiting for this client, oldest first, at most `most`.
    pub fn drain(&self, most: usize) -> Vec<String> {
        self.door.slot.drain(most)
    }

    /// Close code and reason, once the core has ended the connection.
    pub fn closed(&self) -> Option<(u16, &'static str)> {
        self.door.slot.closed()
    }

    /// The client is gone. What it said before still counts.
    pub fn disconnect(&self) {
        if !self.door.left.swap(true, SeqCst) {
            self.shared.connected.fetch_sub(1, SeqCst);
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
            Self::Whole(text) | Self::TooLong(text) => text.len(),
        }
    }
}

/// The client's task.
async fn serve(
    id: ClientId,
    door: Arc<Door>,
    mut inbox: mpsc::Receiver<Text>,
    mailbox: Mailbox,
    limits: Limits,
    router: mpsc::Sender<Arrival>,
) {
    let budget = Arc::new(Semaphore::new(SOURCE_BUDGET));
    // A router that is gone has closed the client's mailbox, which is all there is to do.
    let mut open = router.send(Arrival::Joined(id, mailbox)).await.is_ok();
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
        let message = match text {
            Text::Whole(text) => ClientMessage::parse(&text, limits.max_filters),
            Text::TooLong(head) => ClientMessage::too_long(&head, limits.max_message_length),
        };
        let ticket = ticket(&budget, &message).await;
        let said = Arrival::Input(Input::ClientSaid(id, message, ticket));
        open = router.send(said).await.is_ok();
        door.settle(size);
    }
    let _ = router.send(Arrival::Input(Input::ClientLeft(id))).await;
}

impl Door {
    /// One message is through; half the room is free again, and a reader that waits may go on.
    fn settle(&self, size: usize) {
        let count = self.messages.fetch_sub(1, SeqCst) - 1;
        let waiting = self.bytes.fetch_sub(size, SeqCst) - size;
        let room = count <= INBOX_MESSAGES / 2 && waiting <= INBOX_BYTES / 2;
        if room && self.paused.swap(false, SeqCst) {
            self.slot.nudge();
        }
    }
}

/// Unverified events take their share of the client's budget, so that one client's flood waits in
/// its own inbox.
async fn ticket(budget: &Arc<Semaphore>, message: &ClientMessage) -> Ticket {
    let ClientMessage::Event { json, .. } = message else { return None };
    let cost = json.len().clamp(SOURCE_EVENT_COST, SOURCE_BUDGET);
    Arc::clone(budget).acquire_many_owned(u32::try_from(cost).unwrap_or(u32::MAX)).await.ok()
}
