//! A client whose socket is ours: one task reads it and writes it, and nobody else touches a message.
//!
//! Reading and writing do not wait for each other. A client that is not through with what it said
//! before is read no further (its [`Speaker`] waits), one that does not read keeps its mail in its
//! mailbox, whose bounds the router keeps: here lies no more than [`CLIENT_WRITE`] and a message.

mod frames;
mod talk;
#[cfg(test)]
mod tests;
mod unfinished;

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::constants::{
    CLIENT_FLUSH, CLIENT_GOODBYE, CLIENT_MISSED_PINGS, CLIENT_PING, CLIENT_STOP, CLIENT_WRITE,
};
use crate::ids::ClientId;
use crate::router::{Input, Role};
use crate::runtime::mailbox::{CLOSE_AWAY, CLOSE_RESTART, Rings};

use super::super::reading::Reading;
use super::super::{CoreError, Shared, ToRouter, lock};
use super::seat::{About, Seat};
use super::speaker::{Gone, Speaker};
use frames::{Frames, Part};
use talk::{Heard, Talk};
use unfinished::Unfinished;

/// A socket whose client has asked for a WebSocket.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Nobody else reads or writes it from now on.
    pub socket: OwnedFd,
    /// What was read after the request.
    pub read: Vec<u8>,
    /// The answer to the request, all of it.
    pub answer: Vec<u8>,
}

/// How serving a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The line is dead, or the client has closed it.
    Lost,
    /// The client, or what it sent, has ended the WebSocket. What is unsent says so.
    Theirs,
    /// The core has.
    Ours,
}

/// Admits a client and serves it in a task of the runtime's.
pub(in crate::runtime) fn serve(
    shared: &Arc<Shared>,
    role: Role,
    about: About,
    hosts: Vec<String>,
    offer: Offer,
    runtime: &Handle,
) -> Result<ClientId, CoreError> {
    let Offer { socket, read, answer } = offer;
    let system = |error: std::io::Error| CoreError::System(error.to_string());
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true).map_err(system)?;
    let stream = {
        let _context = runtime.enter();
        TcpStream::from_std(stream).map_err(system)?
    };
    let _ = stream.set_nodelay(true); // it is a socket of another kind then
    let (seat, joined) = Seat::take(shared, role, about, Rings::ItsTask)?;
    let id = seat.id;
    let most = shared.limits.max_message_length;
    let speaker = Speaker::new(id, shared.limits, lock(&shared.router).clone());
    let client = Client {
        talk: Mutex::new(Talk::new(&answer, most)),
        stream,
        speaker,
        alive: AtomicBool::new(true),
        heard: Notify::new(),
        written: Notify::new(),
        seat: Seated(seat),
    };
    runtime.spawn(client.run(joined, hosts, Frames::new(&read, most)));
    Ok(id)
}

/// Its place is free when its task ends, however it ends.
struct Seated(Arc<Seat>);

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.leave();
    }
}

struct Client {
    stream: TcpStream,
    /// Locked by one task only, never for longer than a message.
    talk: Mutex<Talk>,
    speaker: Speaker,
    /// Something was read since this was last looked at.
    alive: AtomicBool,
    /// What was read has an answer of the protocol's own, which is to be written.
    heard: Notify,
    /// Something was written.
    written: Notify,
    seat: Seated,
}

impl Client {
    async fn run(self, joined: ToRouter, hosts: Vec<String>, frames: Frames) {
        let end = tokio::select! {
            end = self.read(joined, hosts, frames) => end,
            end = self.write() => end,
        };
        // The router need not wait for the goodbye.
        self.speaker.leave().await;
        self.say_goodbye(end).await;
    }

    /// Reads until the client has ended.
    async fn read(&self, joined: ToRouter, hosts: Vec<String>, mut frames: Frames) -> End {
        let Err(end) = self.listen(joined, hosts, &mut frames).await;
        match end {
            Some(end) => end,
            // The router is gone and has closed the mailbox: that is for the writer.
            None => std::future::pending().await,
        }
    }

    async fn listen(
        &self,
        joined: ToRouter,
        hosts: Vec<String>,
        frames: &mut Frames,
    ) -> Result<std::convert::Infallible, Option<End>> {
        let gone = |Gone| None;
        let Seat { id, shared, .. } = &*self.seat.0;
        self.speaker.join(joined).await.map_err(gone)?;
        if !hosts.is_empty() {
            let hosts = hosts.into_iter().map(String::into_boxed_str).collect();
            self.speaker.tell(Input::ClientReached(*id, hosts)).await.map_err(gone)?;
        }
        let mut resumed = shared.clock.elapsed();
        let mut reading = Reading::new(resumed);
        let mut read = Some(resumed);
        let mut unfinished = Unfinished::new(shared);
        loop {
            while let Some(part) = self.part(frames)? {
                unfinished.is_finished();
                let said = match part {
                    Part::TooLong(head) => self.speaker.too_long(&head, read).await,
                    Part::Whole(bytes) => match self.hear(bytes)? {
                        Heard::Text(text) => self.speaker.text(&text, read).await,
                        Heard::Binary => self.speaker.binary(read).await,
                        Heard::Life | Heard::End => Ok(()),
                    },
                };
                said.map_err(gone)?;
                self.until_it_reads().await;
                // Not all that it may send is anything the router has to be told, …
                consume_budget().await;
            }
            // … and some of it is dropped as it comes.
            consume_budget().await;
            resumed = resumed.max(shared.clock.elapsed());
            let went_on = unfinished.goes_on(frames.held(), frames.read_from(&self.stream));
            match went_on.await.map_err(|(code, why)| Some(self.end(code, why)))? {
                Ok(0) | Err(_) => return Err(Some(End::Lost)),
                Ok(_) => {}
            }
            self.alive.store(true, Relaxed);
            let now = shared.clock.elapsed();
            let late = reading.is_late(now, resumed, &shared.own_pulse);
            read = (!late).then_some(now);
            resumed = now;
        }
    }

    fn part(&self, frames: &mut Frames) -> Result<Option<Part>, Option<End>> {
        frames.next().map_err(|(code, why)| Some(self.end(code, why)))
    }

    /// Ends the WebSocket for what the client has sent.
    fn end(&self, code: u16, why: &str) -> End {
        self.talk().close(code, why);
        End::Theirs
    }

    fn hear(&self, bytes: bytes::BytesMut) -> Result<Heard, Option<End>> {
        let heard = self.talk().hear(bytes);
        match heard {
            Heard::End => return Err(Some(End::Theirs)),
            Heard::Life => self.heard.notify_one(),
            Heard::Text(_) | Heard::Binary => {}
        }
        Ok(heard)
    }

    /// Whoever pings and does not read what it is answered is not listened to meanwhile.
    async fn until_it_reads(&self) {
        while self.talk().unsent().len() > 2 * CLIENT_WRITE {
            self.written.notified().await;
        }
    }

    /// Writes until the core has closed the client.
    async fn write(&self) -> End {
        let Seat { slot, .. } = &*self.seat.0;
        let mut ping = interval_at(Instant::now() + CLIENT_PING, CLIENT_PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            consume_budget().await; // what it reads at once, and is sent, may have no end
            let filled = self.fill();
            if slot.closed().is_some() {
                return End::Ours;
            }
            if filled {
                match self.try_write() {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(_) => return End::Lost,
                }
            }
            tokio::select! {
                writable = self.stream.writable(), if filled => if writable.is_err() {
                    return End::Lost;
                },
                () = slot.called() => {}
                () = self.heard.notified() => {}
                _ = ping.tick() => {
                    missed = if self.alive.swap(false, Relaxed) { 0 } else { missed + 1 };
                    if missed >= CLIENT_MISSED_PINGS {
                        return End::Lost;
                    }
                    if missed > 0 {
                        self.talk().ping();
                    }
                }
            }
        }
    }

    /// Takes mail out of the mailbox, as long as there is room. Whether anything is to be written.
    fn fill(&self) -> bool {
        let mut talk = self.talk();
        while talk.unsent().len() < CLIENT_WRITE {
            let Some(reply) = self.seat.0.slot.next() else { break };
            talk.say(reply.to_json());
        }
        !talk.unsent().is_empty()
    }

    /// Writes what the socket takes. Whether it took anything.
    fn try_write(&self) -> std::io::Result<bool> {
        let mut talk = self.talk();
        match self.stream.try_write(talk.unsent()) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                talk.sent(bytes);
                self.written.notify_one();
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes what is left, ends the WebSocket, and lets go of the line so that the end arrives.
    async fn say_goodbye(mut self, end: End) {
        let closed = self.seat.0.slot.closed().map(|(code, why)| (code, why.to_owned()));
        let (flush, goodbye) = match &closed {
            Some((CLOSE_RESTART | CLOSE_AWAY, _)) => (CLIENT_STOP, CLIENT_STOP),
            _ => (CLIENT_FLUSH, CLIENT_GOODBYE),
        };
        let is_written = match end {
            End::Lost => false,
            End::Theirs => timeout(flush, self.drain()).await == Ok(true),
            End::Ours => {
                let written = timeout(flush, async {
                    while self.fill() {
                        if !self.drain().await {
                            return false;
                        }
                    }
                    true
                });
                let is_written = written.await == Ok(true);
                if is_written && let Some((code, why)) = closed {
                    self.talk().close(code, &why);
                }
                is_written && timeout(flush, self.drain()).await == Ok(true)
            }
        };
        if is_written && self.stream.shutdown().await.is_ok() {
            // A socket that is closed with something unread takes back what was written last.
            let _ = timeout(goodbye, self.until_closed()).await;
        }
    }

    /// Until the other side is closed too. What comes until then is dropped.
    async fn until_closed(&self) {
        let mut rest = [0; 1 << 10];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut rest) {
                Ok(0) => return,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return,
                _ => {}
            }
            consume_budget().await; // or there may be no end of it
        }
    }

    /// Writes all that is to be written. False: the line is lost.
    async fn drain(&self) -> bool {
        while !self.talk().unsent().is_empty() {
            match self.try_write() {
                Ok(true) => {}
                Ok(false) if self.stream.writable().await.is_ok() => {}
                _ => return false,
            }
        }
        true
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        lock(&self.talk)
    }
}
