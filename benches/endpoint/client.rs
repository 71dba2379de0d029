//! A Nostr client that does as little as it can per message, and still checks every one.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};
use url::Url;

use crate::events::Events;
use crate::failure::{Failure, Result, check};
use crate::parameters as p;

/// One connection to the endpoint.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let url = Url::parse(endpoint).map_err(|error| Failure::Setup(error.to_string()))?;
        let address = (url.host_str().unwrap_or_default(), url.port().unwrap_or(80));
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(endpoint, stream).await?;
        Ok(Self { socket })
    }

    /// Put a message into the socket's buffer.
    pub(crate) async fn feed(&mut self, text: String) -> Result<()> {
        Ok(self.socket.feed(Message::text(text)).await?)
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        Ok(self.socket.flush().await?)
    }

    pub(crate) async fn send(&mut self, text: String) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Give messages to `take` until it breaks. False: `deadline` came first.
    pub(crate) async fn read_until<F>(&mut self, deadline: Instant, mut take: F) -> Result<bool>
    where
        F: FnMut(&str) -> Result<ControlFlow<()>>,
    {
        loop {
            let Ok(message) = timeout_at(deadline, self.socket.next()).await else {
                return Ok(false);
            };
            let mut message = message;
            // A timer for each message would cost more than the message.
            loop {
                if let Some(text) = text_of(message)?
                    && take(&text)?.is_break()
                {
                    return Ok(true);
                }
                let Some(next) = self.socket.next().now_or_never() else {
                    break;
                };
                message = next;
            }
        }
    }

    /// Open a subscription and wait until everything stored has come.
    pub(crate) async fn subscribe(&mut self, subscription: &mut Subscription) -> Result<()> {
        self.send(subscription.request()).await?;
        let take = |text: &str| {
            subscription.take(text)?;
            Ok(until(subscription.complete()))
        };
        let complete = self.read_until(Instant::now() + p::STEP, take).await?;
        check(complete, || format!("no EOSE within {:?}", p::STEP))
    }

    /// Open subscriptions, all at once, to authors of whom nothing will come, and wait for their
    /// EOSEs.
    pub(crate) async fn wait_for_nobody(&mut self, numbers: Range<usize>) -> Result<()> {
        for number in numbers.clone() {
            let author = format!("{:064x}", number % p::CURVE_AUTHORS);
            let filter = format!(r#"{{"kinds":[1],"authors":["{author}"]}}"#);
            self.feed(format!(r#"["REQ","{number}",{filter}]"#)).await?;
        }
        self.flush().await?;
        let mut waiting: HashSet<_> =
            numbers.map(|number| format!(r#"["EOSE","{number}"]"#)).collect();
        let take = |text: &str| {
            check(waiting.remove(text), || format!("unexpected message: {}", shortened(text)))?;
            Ok(until(waiting.is_empty()))
        };
        let complete = self.read_until(Instant::now() + p::STEP, take).await?;
        check(complete, || format!("{} EOSEs missing after {:?}", waiting.len(), p::STEP))
    }

    /// Wait until all expected events have come. `arrived` is told the position of each.
    pub(crate) async fn receive_all(
        &mut self,
        subscription: &mut Subscription,
        mut arrived: impl FnMut(usize),
    ) -> Result<()> {
        let take = |text: &str| {
            if let Some(position) = subscription.take(text)? {
                arrived(position);
            }
            Ok(until(subscription.all()))
        };
        let all = self.read_until(Instant::now() + p::STEP, take).await?;
        let unique = subscription.unique();
        check(all, || format!("only {unique} live events within {:?}", p::STEP))
    }

    /// Listen until `deadline` for what must not come.
    pub(crate) async fn nothing_more(
        &mut self,
        subscription: &mut Subscription,
        deadline: Instant,
    ) -> Result<()> {
        let take = |text: &str| subscription.take(text).map(|_| until(false));
        self.read_until(deadline, take).await.map(drop)
    }

    /// End a subscription.
    pub(crate) async fn unsubscribe(&mut self, subscription: &Subscription) -> Result<()> {
        self.send(format!(r#"["CLOSE","{}"]"#, subscription.id)).await
    }

    /// Say goodbye. The subscriptions end with the connection.
    pub(crate) async fn close(mut self) {
        // The endpoint may be gone already.
        let _ = self.socket.close(None).await;
    }
}

/// For `read_until`: break once `done`.
pub(crate) fn until(done: bool) -> ControlFlow<()> {
    if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

type Received = Option<std::result::Result<Message, tokio_tungstenite::tungstenite::Error>>;

fn text_of(message: Received) -> Result<Option<Utf8Bytes>> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Close(frame))) => {
            Err(Failure::Check(format!("the endpoint closed the connection: {frame:?}")))
        }
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(error.into()),
        None => Err(Failure::Check("the connection ended".to_owned())),
    }
}

/// One subscription and what came for it.
pub(crate) struct Subscription {
    id: String,
    filter: String,
    /// What an EVENT message for this subscription starts with, if written without spaces.
    event_start: String,
    /// What is expected, and how often each has come.
    events: Events,
    copies: Vec<u8>,
    unique: usize,
    eose: usize,
    /// Whether a copy or a second EOSE is counted, and nothing else.
    lenient: bool,
    surplus: usize,
}

impl Subscription {
    pub(crate) fn new(id: &str, filter: &str, events: Events, lenient: bool) -> Self {
        Self {
            id: id.to_owned(),
            filter: filter.to_owned(),
            event_start: format!(r#"["EVENT","{id}","#),
            copies: vec![0; events.len()],
            events,
            unique: 0,
            eose: 0,
            lenient,
            surplus: 0,
        }
    }

    pub(crate) fn request(&self) -> String {
        format!(r#"["REQ","{}",{}]"#, self.id, self.filter)
    }

    /// Count one message. Returns the position of the event, if it was one.
    ///
    /// An event that is not, byte for byte or at least value for value, one of those the relays
    /// were given, or that comes twice, fails the scenario, and so does any other message.
    pub(crate) fn take(&mut self, text: &str) -> Result<Option<usize>> {
        let event = text.strip_prefix(&self.event_start).and_then(|rest| rest.strip_suffix(']'));
        let position = event.and_then(|event| self.events.position(event));
        let Some(position) = position.or_else(|| self.position_parsed(text)) else {
            let message: Value = serde_json::from_str(text)?;
            let ours = message[0] == "EOSE" && message[1] == self.id.as_str();
            check(ours, || format!("unexpected message: {}", shortened(text)))?;
            self.eose += 1;
            self.once(self.eose, || "a second EOSE".to_owned())?;
            return Ok(None);
        };
        self.copies[position] = self.copies[position].saturating_add(1);
        let copies = usize::from(self.copies[position]);
        let id = self.events.id(position).to_owned();
        if !self.once(copies, || format!("event {id} was delivered twice"))? {
            return Ok(None);
        }
        self.unique += 1;
        Ok(Some(position))
    }

    /// Whether something has come for the first time. A second time is too much.
    fn once(&mut self, times: usize, complaint: impl FnOnce() -> String) -> Result<bool> {
        if times > 1 {
            self.surplus += 1;
        }
        check(times == 1 || self.lenient, complaint)?;
        Ok(times == 1)
    }

    /// Copies and EOSEs too many.
    pub(crate) fn surplus(&self) -> usize {
        self.surplus
    }

    /// The position of an event that is spelled in another way than the relay's.
    fn position_parsed(&self, text: &str) -> Option<usize> {
        let message: Value = serde_json::from_str(text).ok()?;
        let ours = message[0] == "EVENT" && message[1] == self.id.as_str();
        if ours { self.events.position_parsed(&message[2]) } else { None }
    }

    /// Different events so far.
    pub(crate) fn unique(&self) -> usize {
        self.unique
    }

    /// Whether all expected events have come.
    pub(crate) fn all(&self) -> bool {
        self.unique == self.events.len()
    }

    /// Whether EOSE has come.
    pub(crate) fn complete(&self) -> bool {
        self.eose > 0
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
