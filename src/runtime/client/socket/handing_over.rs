//! A client goes from one core to the next (`docs/handover.md`): the end of it in the earlier core, and
//! the beginning in the next.

use std::future::pending;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::base::descriptor;
use crate::constants::{HANDOVER_PATIENCE, LEGACY_MOST};
use crate::ids::ClientId;
use crate::router::{Input, Legacy};
use crate::runtime::mailbox::CLOSE_RESTART;

use super::super::super::{CoreError, Shared, ToRouter};
use super::super::seat::{About, Seat};
use super::super::speaker::Speaker;
use super::frames::Frames;
use super::wire::{Crossing, Head, Receiving, Sending};
use super::{Client, End};

/// A Unix socket of ours, as the runtime reads it.
fn pipe(pipe: OwnedFd) -> std::io::Result<UnixStream> {
    let pipe = std::os::unix::net::UnixStream::from(pipe);
    pipe.set_nonblocking(true)?;
    UnixStream::from_std(pipe)
}

// --- In the earlier core -------------------------------------------------------------------------

impl Client {
    /// Hands this client over: from here on the next core reads and writes its socket. What it is told
    /// here goes there, until one of the two ends. `before`: where a still earlier one says something.
    pub(super) async fn hand_over(
        self,
        heir: OwnedFd,
        frames: Frames,
        mut before: Option<Receiving>,
    ) {
        // The next core has as long from about now on, and must not find a descriptor closed.
        let given = timeout(2 * HANDOVER_PATIENCE, self.give(heir, &frames)).await;
        let Ok(Some(heir)) = given else {
            self.seat.0.slot.close(CLOSE_RESTART, "nostrclient has stopped");
            self.speaker.leave().await;
            return self.say_goodbye(End::Ours).await;
        };
        let Self { stream, speaker, seat, .. } = self;
        drop(stream); // the next core has a descriptor of its own
        tokio::select! {
            () = pass_on(&seat.0, heir) => {}
            () = hear_legacy(&speaker, seat.0.id, &mut before) => {}
        }
        speaker.leave().await;
    }

    /// Tells the next core all there is to know, and waits until it has the client.
    async fn give(&self, heir: OwnedFd, frames: &Frames) -> Option<Sending> {
        let Seat { id, slot, role, about, since, .. } = &*self.seat.0;
        let (reply, estate) = oneshot::channel();
        self.speaker.send(ToRouter::HandOver(*id, reply)).await.ok()?;
        let (mut estate, waiting) = estate.await.ok()?;
        // All of it: whatever is left would count as told after that, and as known.
        let mail = std::iter::from_fn(|| slot.next()).take(waiting);
        estate.mail = mail.map(|reply| reply.to_json().into_boxed_str()).collect();
        let (unread, skipping) = frames.left();
        let head = Head {
            socket: self.stream.as_raw_fd(),
            public: role.is_public(),
            sibling: role.is_sibling(),
            since: *since,
            address: about.address.clone(),
            forwarded_for: about.forwarded_for.clone(),
            agent: about.agent.clone(),
            skipping,
            ..Head::default()
        };
        let unsent = self.talk().unsent().to_vec().into();
        let mut heir = Sending::new(pipe(heir).ok()?);
        heir.crossing(Crossing { head, unread, unsent, estate }).await.ok()?;
        heir.taken().await.then_some(heir)
    }
}

/// Whatever the client is told here.
async fn pass_on(seat: &Seat, mut heir: Sending) {
    loop {
        while let Some(reply) = seat.slot.next() {
            if heir.mail(&reply.to_json()).await.is_err() {
                return;
            }
        }
        if seat.slot.closed().is_some() {
            return;
        }
        tokio::select! {
            () = seat.slot.called() => {}
            () = heir.closed() => return,
        }
    }
}

// --- In the next core ----------------------------------------------------------------------------

/// Admits a client of another core's, of which everything comes over this pipe.
pub(in crate::runtime) fn inherit(
    shared: &Arc<Shared>,
    from: OwnedFd,
    runtime: &Handle,
) -> Result<(), CoreError> {
    let from = {
        let _context = runtime.enter();
        pipe(from).map_err(|error| CoreError::System(error.to_string()))?
    };
    let coming = Coming::new(shared);
    let end = Instant::now() + HANDOVER_PATIENCE;
    runtime.spawn(async move {
        let mut from = Receiving::new(from);
        // Where it fails, the earlier core closes the client.
        let received = timeout_at(end, receive(&coming.0, &mut from, end)).await;
        drop(coming);
        match received {
            Ok(Ok((client, joined, frames))) => client.run(joined, None, frames, Some(from)).await,
            Ok(Err(error)) => log::warn!("nostrclient: a client could not be taken over: {error}"),
            Err(_) => log::warn!("nostrclient: a client was not handed over in time"),
        }
    });
    Ok(())
}

/// A client that is about to have a place here.
struct Coming(Arc<Shared>);

impl Coming {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.coming.fetch_add(1, SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, SeqCst);
    }
}

async fn receive(
    shared: &Arc<Shared>,
    from: &mut Receiving,
    end: Instant,
) -> Result<(Client, ToRouter, Frames), CoreError> {
    let system = |error: std::io::Error| CoreError::System(error.to_string());
    let Crossing { head, unread, unsent, estate } = from.crossing().await.map_err(system)?;
    if Instant::now() >= end {
        // The earlier core may not wait any more, and its descriptor be another one's.
        return Err(system(std::io::ErrorKind::TimedOut.into()));
    }
    let socket = descriptor::own(head.socket).map_err(system)?;
    let role = head.role();
    let Head { since, address, forwarded_for, agent, skipping, .. } = head;
    let about = About { address, forwarded_for, agent };
    let (client, joined) = Client::new(shared, role, about, since, socket, &unsent)?;
    let ToRouter::Joined(id, role, stats, mailbox) = joined else {
        return Err(CoreError::Stopped); // a seat always says that
    };
    let joined = ToRouter::Inherited(id, role, stats, mailbox, Box::new(estate));
    let mut frames = Frames::new(&unread, shared.limits.max_message_length);
    frames.go_on(skipping);
    from.take().await.map_err(system)?;
    Ok((client, joined, frames))
}

/// What an earlier core still says about a client, to the router. May be dropped at any time.
pub(super) async fn hear_legacy(speaker: &Speaker, id: ClientId, before: &mut Option<Receiving>) {
    let end = Instant::now() + LEGACY_MOST;
    while let Some(from) = before {
        let ready = timeout_at(end, from.ready()).await;
        let Ok(place) = speaker.reserve().await else { break };
        let legacy = if let Ok(Ok(())) = ready {
            from.next()
        } else {
            *before = None;
            Some(Legacy::Over)
        };
        if let Some(legacy) = legacy {
            place.send(ToRouter::Input(Input::ClientLegacy(id, legacy)));
        }
    }
    pending::<()>().await;
}
