//! The way from the router to the clients' side: one bounded mailbox per client, one wake for all.
//!
//! The router posts ([`Mailbox`]); the client's side drains ([`Slot`]). A mailbox that gets mail names
//! itself on a list once, and the first name on the list makes a file descriptor readable, so a burst
//! of any size costs the other side one wake-up and no polling ([`Bell`]). Nothing here blocks, and no
//! lock is ends between the two sides.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::Notify;

use crate::constants::{
    DRAIN_BYTES, MAILBOX_BYTES, MAILBOX_BYTES_ALL, MAILBOX_BYTES_SHARE, MAILBOX_MESSAGES,
};
use crate::ids::ClientId;
use crate::nostr::message::Reply;
use crate::stats::Counter;

/// WebSocket close code: the server ends.
pub(crate) const CLOSE_AWAY: u16 = 1001;
/// WebSocket close code: somebody here does not want the client.
pub(crate) const CLOSE_POLICY: u16 = 1008;
/// WebSocket close code: the server restarts or stops.
pub(crate) const CLOSE_RESTART: u16 = 1012;
/// WebSocket close code: try again later.
pub(crate) const CLOSE_TRY_LATER: u16 = 1013;

/// Who has something to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A client, from its mailbox.
    Client(ClientId),
    /// Whoever writes the database, from the desk.
    Store,
}

/// Tells the clients' side that there is something to fetch. Shared by all mailboxes.
#[derive(Debug)]
pub(crate) struct Bell {
    names: Sender<Caller>,
    list: Receiver<Caller>,
    /// Whether the descriptor is readable already.
    rung: AtomicBool,
    ring: UnixStream,
    hear: UnixStream,
    /// Bytes in all mailboxes.
    bytes: AtomicUsize,
    /// The core ends because `LNbits` does.
    away: AtomicBool,
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (ring, hear) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        hear.set_nonblocking(true)?;
        // Bounded by the number of clients: each is on the list once for its mail, once for being
        // closed, and once for each time its reader was asked to wait; and by one task for the database.
        let (names, list) = unbounded();
        let (rung, away, bytes) = Default::default();
        Ok(Self { names, list, rung, ring, hear, bytes, away })
    }

    /// Becomes readable when [`Bell::answer`] has something to tell.
    pub(crate) fn fd(&self) -> RawFd {
        self.hear.as_raw_fd()
    }

    /// Who has something to fetch since the last call. Silences the descriptor.
    pub(crate) fn answer(&self) -> Vec<Caller> {
        let mut scratch = [0; 16];
        loop {
            match (&self.hear).read(&mut scratch) {
                Ok(0) => break,
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        // From here on a new name rings again, so none can be missed between the list and the bell.
        self.rung.store(false, SeqCst);
        self.list.try_iter().collect()
    }

    /// Whoever is closed because the core ends is told from now on that `LNbits` does.
    pub(crate) fn go_away(&self) {
        self.away.store(true, SeqCst);
    }

    /// Puts a name on the list.
    pub(crate) fn call(&self, caller: Caller) {
        // The receiver lives in `self`: this cannot fail.
        let _ = self.names.send(caller);
        if !self.rung.swap(true, SeqCst) {
            // A full pipe is readable too, which is all that is needed.
            let _ = (&self.ring).write(&[1]);
        }
    }
}

/// Who is called when a client has something to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rings {
    /// Whoever hears the bell.
    TheBell,
    /// The task that serves this client.
    ItsTask,
}

#[derive(Debug)]
struct Ends {
    client: ClientId,
    bell: Arc<Bell>,
    rings: Rings,
    task: Notify,
    /// Whether the client was called and has not come yet.
    listed: AtomicBool,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Events it was given.
    delivered: Counter,
    closed: OnceLock<(u16, Cow<'static, str>)>,
}

impl Ends {
    fn call(&self) {
        if !self.listed.swap(true, SeqCst) {
            self.ring();
        }
    }

    fn ring(&self) {
        match self.rings {
            Rings::TheBell => self.bell.call(Caller::Client(self.client)),
            Rings::ItsTask => self.task.notify_one(),
        }
    }

    fn close(&self, code: u16, why: Cow<'static, str>) {
        if self.closed.set((code, why)).is_ok() {
            self.ring();
        }
    }
}

impl Drop for Ends {
    /// Both ends are gone: what nobody fetched counts no longer.
    fn drop(&mut self) {
        self.bell.bytes.fetch_sub(self.bytes.load(SeqCst), SeqCst);
    }
}

/// The router's end. Dropped without [`Mailbox::close`], it closes with 1012, the core has stopped, or
/// with 1001, so has `LNbits`.
#[derive(Debug)]
pub(crate) struct Mailbox {
    ends: Arc<Ends>,
    queue: Sender<Reply>,
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Slot {
    ends: Arc<Ends>,
    queue: Receiver<Reply>,
}

/// A new mailbox for this client.
pub(crate) fn mailbox(client: ClientId, bell: &Arc<Bell>, rings: Rings) -> (Mailbox, Slot) {
    // Bounded by what `post` counts.
    let (sender, receiver) = unbounded();
    let ends = Arc::new(Ends {
        client,
        bell: Arc::clone(bell),
        rings,
        task: Notify::new(),
        listed: AtomicBool::new(false),
        messages: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        delivered: Counter::default(),
        closed: OnceLock::new(),
    });
    (Mailbox { ends: Arc::clone(&ends), queue: sender }, Slot { ends, queue: receiver })
}

impl Mailbox {
    /// Puts a message in. False: the client does not keep up, its bound is reached, and it must be
    /// cut off.
    pub(crate) fn post(&self, reply: Reply) -> bool {
        let Ends { bell, messages, bytes, delivered, .. } = &*self.ends;
        if matches!(reply, Reply::Event { .. }) {
            delivered.add();
        }
        let size = reply.size();
        let mine = bytes.fetch_add(size, SeqCst) + size;
        let all = bell.bytes.fetch_add(size, SeqCst) + size;
        let count = messages.fetch_add(1, SeqCst) + 1;
        let sent = self.queue.send(reply).is_ok();
        self.ends.call();
        sent && count <= MAILBOX_MESSAGES
            && mine <= MAILBOX_BYTES
            && (all <= MAILBOX_BYTES_ALL || mine <= MAILBOX_BYTES_SHARE)
    }

    /// Ends the client's connection with this close code. The first call counts.
    pub(crate) fn close(&self, code: u16, why: &'static str) {
        self.ends.close(code, why.into());
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if self.ends.bell.away.load(SeqCst) {
            self.close(CLOSE_AWAY, "LNbits has stopped");
        } else {
            self.close(CLOSE_RESTART, "nostrclient has stopped");
        }
    }
}

impl Slot {
    /// The oldest waiting messages as JSON, at most `most` and none after [`DRAIN_BYTES`]: what is
    /// fetched counts no longer, and whoever has it may be unable to pass it on. The client is named
    /// again when more come; what is left over is for the caller to fetch without being called.
    pub(crate) fn drain(&self, most: usize) -> Vec<String> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < most
            && bytes < DRAIN_BYTES
            && let Some(reply) = self.next()
        {
            bytes += reply.size();
            found.push(reply.to_json());
        }
        found
    }

    /// The same as they are.
    pub(crate) fn drain_replies(&self, most: usize) -> Vec<Reply> {
        std::iter::from_fn(|| self.next()).take(most).collect()
    }

    /// The oldest waiting message. The client is called again when more come; `None`: there is none.
    pub(crate) fn next(&self) -> Option<Reply> {
        let Ends { bell, listed, messages, bytes, .. } = &*self.ends;
        listed.store(false, SeqCst);
        let reply = self.queue.try_recv().ok()?;
        let size = reply.size();
        messages.fetch_sub(1, SeqCst);
        bytes.fetch_sub(size, SeqCst);
        bell.bytes.fetch_sub(size, SeqCst);
        Some(reply)
    }

    /// Until the client was called ([`Rings::ItsTask`]).
    pub(crate) async fn called(&self) {
        self.ends.task.notified().await;
    }

    /// Has the client's side look at its state, even if it has mail that it has not fetched: it
    /// may be unable to.
    pub(crate) fn nudge(&self) {
        self.ends.ring();
    }

    /// Ends the connection from this side, as [`Mailbox::close`] does from the other.
    pub(crate) fn close(&self, code: u16, why: impl Into<Cow<'static, str>>) {
        self.ends.close(code, why.into());
    }

    /// Close code and reason, once the core has ended the connection.
    pub(crate) fn closed(&self) -> Option<(u16, &str)> {
        self.ends.closed.get().map(|(code, why)| (*code, &**why))
    }

    /// Events the client was given so far, those that wait among them.
    pub(crate) fn delivered(&self) -> u64 {
        self.ends.delivered.get()
    }

    /// What waits: how many messages, and bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.ends.messages.load(SeqCst), self.ends.bytes.load(SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller = Caller::Client(ClientId(7));

    fn notice(length: usize) -> Reply {
        Reply::Notice("x".repeat(length))
    }

    #[test]
    fn what_is_fetched_at_once_is_bounded_in_bytes() {
        let bell = Arc::new(Bell::new().unwrap());
        let (mailbox, slot) = mailbox(ClientId(7), &bell, Rings::TheBell);
        assert!((0..5).all(|_| mailbox.post(notice(DRAIN_BYTES / 2))));
        assert_eq!([(); 4].map(|()| slot.drain(60).len()), [2, 2, 1, 0]);
        assert!(mailbox.post(notice(2 * DRAIN_BYTES)));
        assert_eq!(slot.drain(60).len(), 1, "one that is longer is fetched too");
    }

    #[test]
    fn a_burst_rings_once_and_nothing_is_missed() {
        let bell = Arc::new(Bell::new().unwrap());
        let (mailbox, slot) = mailbox(ClientId(7), &bell, Rings::TheBell);
        assert!((0..100).all(|_| mailbox.post(notice(1))));
        assert_eq!(bell.answer(), [CALLER]);
        assert_eq!(bell.answer(), []);
        assert_eq!(slot.drain(60).len(), 60);
        assert!(mailbox.post(notice(1)));
        assert_eq!(bell.answer(), [CALLER], "called again after a drain");
        assert_eq!(slot.drain(60).len(), 41);
        drop(mailbox);
        assert_eq!(bell.answer(), [CALLER]);
        assert_eq!(slot.closed().map(|(code, _)| code), Some(CLOSE_RESTART));
    }

    #[test]
    fn a_client_that_cannot_fetch_its_mail_still_learns_that_it_is_closed() {
        let bell = Arc::new(Bell::new().unwrap());
        let (mailbox, slot) = mailbox(ClientId(7), &bell, Rings::TheBell);
        mailbox.post(notice(1));
        assert_eq!(bell.answer(), [CALLER]);
        mailbox.close(CLOSE_TRY_LATER, "too slow");
        assert_eq!(bell.answer(), [CALLER], "though the mail was not fetched");
        slot.nudge();
        assert_eq!(bell.answer(), [CALLER]);
    }

    #[test]
    fn bounded_by_count_and_bytes_and_empty_after_use() {
        let bell = Arc::new(Bell::new().unwrap());
        let (by_count, slot) = mailbox(ClientId(1), &bell, Rings::TheBell);
        assert!((0..MAILBOX_MESSAGES).all(|_| by_count.post(notice(1))));
        assert!(!by_count.post(notice(1)));
        drop((by_count, slot));
        let (by_bytes, slot) = mailbox(ClientId(2), &bell, Rings::TheBell);
        assert!(by_bytes.post(notice(MAILBOX_BYTES / 2)));
        assert!(!by_bytes.post(notice(MAILBOX_BYTES / 2)));
        drop((by_bytes, slot));
        assert_eq!(bell.bytes.load(SeqCst), 0);
    }
}
