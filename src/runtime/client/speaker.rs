//! The way of what one client says to the router.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::ticket::Ticket;
use crate::ids::ClientId;
use crate::nostr::message::ClientMessage;
use crate::router::{Input, Limits, Said};

use super::super::ToRouter;
use super::super::budget::Budget;

/// One client's.
#[derive(Debug)]
pub(super) struct Speaker {
    client: ClientId,
    limits: Limits,
    budget: Arc<Budget>,
    router: mpsc::Sender<ToRouter>,
}

/// The router is gone. It has closed the client's mailbox, which is all there is to do.
#[derive(Debug)]
pub(super) struct Gone;

impl Speaker {
    pub(super) fn new(client: ClientId, limits: Limits, router: mpsc::Sender<ToRouter>) -> Self {
        Self { client, limits, budget: Budget::new(), router }
    }

    /// The client is there.
    pub(super) async fn join(&self, joined: ToRouter) -> Result<(), Gone> {
        self.router.send(joined).await.map_err(|_| Gone)
    }

    /// A text of its own, read at that time.
    pub(super) async fn text(&self, text: &str, read: Option<Duration>) -> Result<(), Gone> {
        self.say(ClientMessage::parse(text, self.limits.max_filters), read).await
    }

    /// A message that is no text.
    pub(super) async fn binary(&self, read: Option<Duration>) -> Result<(), Gone> {
        self.say(ClientMessage::binary(), read).await
    }

    /// A message that is too long; the first bytes of it.
    pub(super) async fn too_long(&self, head: &str, read: Option<Duration>) -> Result<(), Gone> {
        self.say(ClientMessage::too_long(head, self.limits.max_message_length), read).await
    }

    /// Unverified events take their share of the client's budget, so that one client's flood waits at
    /// its own door.
    pub(super) async fn say(
        &self,
        message: ClientMessage,
        read: Option<Duration>,
    ) -> Result<(), Gone> {
        let ticket = match &message {
            ClientMessage::Event { json, .. } | ClientMessage::Auth { json, .. } => {
                self.budget.take(json.len()).await
            }
            _ => Ticket::default(),
        };
        self.tell(Input::ClientSaid(self.client, Said { message, read, ticket })).await
    }

    /// Something about it.
    pub(super) async fn tell(&self, input: Input) -> Result<(), Gone> {
        self.router.send(ToRouter::Input(input)).await.map_err(|_| Gone)
    }

    /// It is gone.
    pub(super) async fn leave(&self) {
        let _ = self.tell(Input::ClientLeft(self.client)).await;
    }

    /// Until the router is gone.
    pub(super) async fn alone(&self) {
        self.router.closed().await;
    }

    pub(super) fn parse(&self, text: &str) -> ClientMessage {
        ClientMessage::parse(text, self.limits.max_filters)
    }
}
