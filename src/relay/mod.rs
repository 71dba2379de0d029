//! One relay: a task that keeps one connection to it, for as long as it is configured.
//!
//! The task tells the router what the owner has set for the relay, its connection's coming and going
//! and all it says; the router answers over the [`ToLink`] that comes with each connection. It ends when
//! the sender of the owner's wish is dropped, and says goodbye to the router and the relay then. It ends too
//! when the router does.

mod backoff;
pub(crate) mod badge;
pub(crate) mod connect;
mod link;
pub(crate) mod proxy;
mod retry_after;
mod sieve;
pub(crate) mod socks;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::base::clock::{unix_now, unix_seconds};
use crate::constants::{BACKOFF_FIRST, ITSELF_RETRY, RELAY_WINDOW};
use crate::ids::{LinkId, RelayId};
use crate::nostr::keys::Keys;
use crate::nostr::limits::RelayLimits;
use crate::router::{Ending, Input, Outgoing, Switches};
use crate::runtime::ToRouter;
use crate::stats::{CoreStats, RelayState, RelayStats, Trouble};

use backoff::Backoff;
pub(crate) use badge::{Badge, Peer};
pub(crate) use connect::{Dial, DialError, Network, Reached};
use link::End;
pub(crate) use proxy::{Proxy, Routes};
pub(crate) use sieve::Sieve;

/// All that the owner has set for a relay.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// What it is used for.
    pub switches: Switches,
    /// Who we are to it, if it asks (NIP-42).
    pub key: Option<Keys>,
}

impl Wish {
    /// What the router is told.
    pub(crate) fn inputs(
        self,
        relay: RelayId,
        url: Arc<str>,
        stats: Arc<RelayStats>,
    ) -> [Input; 2] {
        let Self { switches: Switches { read, write }, key } = self;
        [Input::RelaySet { relay, url, read, write, stats }, Input::RelayKey(relay, key)]
    }
}

/// The router's way to a connection. Dropped, the connection ends.
pub(crate) type ToLink = mpsc::Sender<Outgoing>;

/// A relay's task.
#[derive(Debug)]
pub(crate) struct RelayTask<D> {
    /// Names the relay to the router.
    pub id: RelayId,
    /// Normalised.
    pub url: Arc<str>,
    /// Its numbers; the task writes state, ping, errors and what it sent.
    pub stats: Arc<RelayStats>,
    /// The whole core's numbers; the task adds what it sent.
    pub total: Arc<CoreStats>,
    /// The owner's wish, and by its end the sign to stop.
    pub wish: watch::Receiver<Wish>,
    /// What the relay's own document says it takes.
    pub limits: watch::Receiver<RelayLimits>,
    /// The owner does not want to wait for the next attempt.
    pub hurry: Arc<Notify>,
    /// The owner wants another connection instead of the one that stands.
    pub anew: Arc<Notify>,
    /// Another way leads to it from now on: whatever it is doing, it connects anew.
    pub rerouted: Arc<Notify>,
    /// The router's queue.
    pub router: mpsc::Sender<ToRouter>,
    /// How relays are reached.
    pub dial: Arc<D>,
}

/// The router, or the owner's interest in this relay, is gone.
#[derive(Debug)]
struct Over;

impl<D: Dial> RelayTask<D> {
    /// Connects, serves, waits, and connects again.
    pub(crate) async fn run(mut self) {
        // `Over` is the only way out of the loop, and not an error.
        let _ = self.keep_connected().await;
        self.tell(Input::RelayRemoved(self.id)).await.ok();
    }

    async fn keep_connected(&mut self) -> Result<(), Over> {
        self.tell_news().await?;
        let mut backoff = Backoff::default();
        for link in (1..).map(LinkId) {
            self.stats.set_state(RelayState::Connecting);
            let started = Instant::now();
            let (dial, url) = (Arc::clone(&self.dial), Arc::clone(&self.url));
            let rerouted = Arc::clone(&self.rerouted);
            // Listens before the way is chosen, and until the next one is: no change is missed.
            let mut rerouted = pin!(rerouted.notified());
            let dialled = self
                .unless_over(async {
                    tokio::select! {
                        dialled = connect::connect(&*dial, &url) => Some(dialled),
                        () = &mut rerouted => None,
                    }
                })
                .await?;
            let (mut failed, mut retry_after) = (false, Duration::ZERO);
            let end = match dialled {
                None => End::Anew,
                Some(Ok(reached)) => self.serve(link, reached, rerouted.as_mut()).await?,
                Some(Err(error)) => {
                    failed = true;
                    if let DialError::Refused(_, wait) = &error {
                        retry_after = wait.unwrap_or_default();
                    }
                    self.stats.refused.store(matches!(error, DialError::Refused(..)), Relaxed);
                    self.stats.itself.store(matches!(error, DialError::Itself), Relaxed);
                    End::Lost(error.kind(), error.to_string(), Ending::Innocent)
                }
            };
            match end {
                End::Lost(kind, why, _) => self.stats.error(unix_now(), kind, &why),
                End::Cut | End::Over => {}
                End::Anew => {
                    backoff = Backoff::default();
                    continue;
                }
            }
            let mut wait = backoff.next(started.elapsed(), retry_after);
            if self.stats.itself.load(Relaxed) {
                wait += ITSELF_RETRY;
            }
            // One that was lost is about to be tried again, unless it is lost again and again.
            if failed || wait > BACKOFF_FIRST {
                self.tell(Input::LinkFailed(self.id)).await?;
            }
            let hurry = Arc::clone(&self.hurry);
            // Listens before anybody can see that it waits.
            let hurried = hurry.notified();
            self.stats.set_state(RelayState::Waiting(unix_now() + wait.as_secs_f64()));
            let anew = self
                .unless_over(async {
                    tokio::select! {
                        () = sleep(wait) => false,
                        () = hurried => false,
                        () = rerouted => true,
                    }
                })
                .await?;
            if anew {
                backoff = Backoff::default();
            }
        }
        Ok(())
    }

    /// One connection, from its first message to its end.
    async fn serve(
        &mut self,
        link: LinkId,
        Reached { socket, sibling }: Reached<D::Socket>,
        rerouted: impl Future<Output = ()>,
    ) -> Result<End, Over> {
        let (line, mut outgoing) = mpsc::channel(RELAY_WINDOW);
        let anew = Arc::clone(&self.anew);
        // Listens before anybody can see that it is connected.
        let asked = anew.notified();
        let unwanted = async {
            tokio::select! {
                () = asked => {}
                () = rerouted => {}
            }
        };
        self.stats.refused.store(false, Relaxed);
        self.stats.itself.store(false, Relaxed);
        self.tell_limits().await?;
        self.tell(Input::RelaySibling(self.id, sibling)).await?;
        self.stats.set_state(RelayState::Connected(unix_now()));
        self.send(ToRouter::LinkUp(self.id, link, line)).await?;
        // A bug in what follows may cost this connection, not the relay.
        let heard = AtomicU64::new(unix_seconds());
        let end = AssertUnwindSafe(link::run(self, link, socket, &mut outgoing, &heard, unwanted))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                let why = "internal error".to_owned();
                End::Lost(Trouble::Internal, why, Ending::Innocent)
            });
        outgoing.close();
        let mut unsent = Vec::new();
        while let Ok(Outgoing { event, .. }) = outgoing.try_recv() {
            unsent.push(event);
        }
        let heard = heard.into_inner();
        // Should it come back, it may not be what it was.
        self.limits.mark_unchanged();
        let how = match &end {
            End::Lost(_, _, how) => *how,
            End::Cut | End::Over => Ending::Innocent,
            End::Anew => Ending::Anew,
        };
        self.tell(Input::LinkDown { relay: self.id, link, unsent, heard, how }).await?;
        if matches!(end, End::Over) { Err(Over) } else { Ok(end) }
    }

    /// Waits for `work`, and meanwhile for the owner.
    async fn unless_over<R>(&mut self, work: impl Future<Output = R>) -> Result<R, Over> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Ok(result),
                changed = self.wish.changed() => {
                    changed.map_err(|_| Over)?;
                    self.tell_news().await?;
                }
            }
        }
    }

    async fn tell_news(&mut self) -> Result<(), Over> {
        let wish = self.wish.borrow_and_update().clone();
        self.tell_wish(wish).await
    }

    async fn tell_wish(&self, wish: Wish) -> Result<(), Over> {
        for input in wish.inputs(self.id, Arc::clone(&self.url), Arc::clone(&self.stats)) {
            self.tell(input).await?;
        }
        Ok(())
    }

    /// The router knows the limits before it has a connection to send anything over. They are outdated
    /// unless they were read since the last one ended.
    async fn tell_limits(&mut self) -> Result<(), Over> {
        loop {
            let limits = {
                let said = self.limits.borrow_and_update();
                RelayLimits { outdated: !said.has_changed(), ..*said }
            };
            self.tell(Input::RelayLimits(self.id, limits)).await?;
            // What was set while this waited for the queue may have arrived before it.
            if !self.limits.has_changed().unwrap_or(false) {
                return Ok(());
            }
        }
    }

    async fn tell(&self, input: Input) -> Result<(), Over> {
        self.send(ToRouter::Input(input)).await
    }

    async fn send(&self, arrival: ToRouter) -> Result<(), Over> {
        self.router.send(arrival).await.map_err(|_| Over)
    }
}
