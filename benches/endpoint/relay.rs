//! Fast relays to measure with: they hold signed events as text and check nothing.
//!
//! All of them live on one thread of their own, so the client that measures has another.
//! A relay answers any REQ with the events set by `set_stored`, newest first, and EOSE; sends
//! what `publish` gives it to every subscription; and answers EVENT with OK `true`. Of filters it
//! understands so much: one that names authors matches nothing.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc as std_mpsc};
use std::thread;
use std::time::Instant;

use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::events::Events;
use crate::failure::{Failure, Result};

/// Live events on their way to one connection. When full, `publish` waits: a multiplexer that
/// reads slowly slows the relays down, and all of them stay close together.
const LIVE_QUEUE: usize = 1024;

/// Connections that wait to be accepted. Whom there is no room for tries again after a second, and that
/// would be measured.
const BACKLOG: u32 = 4_096;

/// What a relay answers a REQ with.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) events: Events,
    /// Before every so many'th event comes a copy of it with a wrong signature. 0: never.
    pub(crate) forged_every: usize,
}

/// One event for every subscription of every relay.
#[derive(Clone)]
struct Live {
    events: Events,
    position: usize,
    sent: Arc<OnceLock<Instant>>,
}

/// The relays. Their thread ends with the program.
pub(crate) struct Relays {
    relays: Vec<Arc<Relay>>,
}

#[derive(Default)]
struct Relay {
    url: String,
    /// Subscriptions it takes, if it says so in its document (NIP-11).
    places: Option<usize>,
    stored: Mutex<Option<Stored>>,
    connections: Mutex<Vec<mpsc::Sender<Live>>>,
    /// EVENT messages received since the start.
    received: AtomicUsize,
    /// When the first REQ came since `take_asked`.
    asked: Mutex<Option<Instant>>,
}

impl Relays {
    /// Start `count` relays on free ports of the loopback interface. `places`: the subscriptions
    /// they say they take, if they have a document.
    pub(crate) fn start(count: usize, places: Option<usize>) -> Result<Self> {
        let (ready, listening) = std_mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("relays".to_owned()).spawn(move || {
            runtime.block_on(async move {
                for _ in 0..count {
                    let _ = ready.send(Relay::listen(places));
                }
                std::future::pending::<()>().await;
            });
        })?;
        let relays = listening.iter().take(count).collect::<io::Result<_>>()?;
        Ok(Self { relays })
    }

    pub(crate) fn urls(&self) -> Vec<&str> {
        self.relays.iter().map(|relay| relay.url.as_str()).collect()
    }

    /// What every relay answers a REQ with from now on.
    pub(crate) async fn set_stored(&self, stored: Option<Stored>) {
        for relay in &self.relays {
            *relay.stored.lock().await = stored.clone();
        }
    }

    /// Hand one event to every connection of every relay. The cell gets the time at which the
    /// first relay sends it.
    pub(crate) async fn publish(&self, events: &Events, position: usize) -> Arc<OnceLock<Instant>> {
        let sent = Arc::new(OnceLock::new());
        for relay in &self.relays {
            let connections = relay.connections.lock().await.clone();
            for connection in connections {
                let live = Live { events: events.clone(), position, sent: Arc::clone(&sent) };
                // An error means that the connection has just ended.
                let _ = connection.send(live).await;
            }
        }
        sent
    }

    /// When the first of the relays was sent a REQ, since this was asked last.
    pub(crate) async fn take_asked(&self) -> Option<Instant> {
        let mut first: Option<Instant> = None;
        for relay in &self.relays {
            let asked = relay.asked.lock().await.take();
            first = first.into_iter().chain(asked).min();
        }
        first
    }

    /// Open connections of each relay.
    pub(crate) async fn connections(&self) -> Vec<usize> {
        let mut counts = Vec::new();
        for relay in &self.relays {
            counts.push(relay.connections.lock().await.len());
        }
        counts
    }

    /// EVENT messages each relay has received so far.
    pub(crate) fn received(&self) -> Vec<usize> {
        self.relays.iter().map(|relay| relay.received.load(Ordering::Relaxed)).collect()
    }
}

impl Relay {
    fn listen(places: Option<usize>) -> io::Result<Arc<Self>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let url = format!("ws://{}", listener.local_addr()?);
        let relay = Arc::new(Self { url, places, ..Self::default() });
        tokio::spawn(Arc::clone(&relay).accept(listener));
        Ok(relay)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let relay = Arc::clone(&self);
            tokio::spawn(async move {
                if relay.tells_of_itself(&stream).await {
                    return relay.tell(stream).await;
                }
                let (live, events) = mpsc::channel(LIVE_QUEUE);
                relay.connections.lock().await.push(live.clone());
                match Connection::serve(&relay, stream, events).await {
                    // However the other side ended it: the count of connections tells.
                    Ok(()) | Err(Failure::WebSocket(_)) => {}
                    Err(failure) => eprintln!("{}: {failure}", relay.url),
                }
                relay.connections.lock().await.retain(|other| !other.same_channel(&live));
            });
        }
    }

    /// Whether this is a request for its document, and there is one.
    async fn tells_of_itself(&self, stream: &TcpStream) -> bool {
        let mut head = [0; 1_024];
        let length = match self.places {
            Some(_) => stream.peek(&mut head).await.unwrap_or(0),
            None => return false,
        };
        String::from_utf8_lossy(&head[..length]).contains("application/nostr+json")
    }

    async fn tell(&self, mut stream: TcpStream) {
        let places = self.places.unwrap_or_default();
        let document = format!(r#"{{"limitation":{{"max_subscriptions":{places}}}}}"#);
        let length = document.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/nostr+json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{document}"
        );
        // Read as well, or closing it could take the answer back.
        let _ = stream.read(&mut [0; 1_024]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// One connection to a relay. Ends when the other side closes it.
struct Connection<'a> {
    relay: &'a Relay,
    socket: WebSocketStream<TcpStream>,
    /// Subscription id to what an EVENT frame starts with, of those that match something.
    subscriptions: HashMap<String, String>,
}

impl<'a> Connection<'a> {
    async fn serve(
        relay: &'a Relay,
        stream: TcpStream,
        mut live: mpsc::Receiver<Live>,
    ) -> Result<()> {
        stream.set_nodelay(true)?;
        let socket = accept_async(stream).await?;
        let mut connection = Self { relay, socket, subscriptions: HashMap::new() };
        loop {
            tokio::select! {
                message = connection.socket.next() => {
                    let mut message = message;
                    // Answer everything that is there before one flush.
                    loop {
                        let Some(received) = message else { return Ok(()) };
                        if let Message::Text(text) = received? {
                            connection.answer(&text).await?;
                        }
                        let Some(next) = connection.socket.next().now_or_never() else { break };
                        message = next;
                    }
                }
                Some(event) = live.recv() => {
                    connection.forward(&event).await?;
                    while let Ok(event) = live.try_recv() {
                        connection.forward(&event).await?;
                    }
                }
            }
            connection.socket.flush().await?;
        }
    }

    async fn answer(&mut self, text: &str) -> Result<()> {
        if let Some(event) = text.strip_prefix(r#"["EVENT","#) {
            self.relay.received.fetch_add(1, Ordering::Relaxed);
            if let Some(id) = id_of(event) {
                return self.feed(format!(r#"["OK","{id}",true,""]"#)).await;
            }
        }
        let message: Value = serde_json::from_str(text)?;
        let id = &message[1];
        match (message[0].as_str(), id.as_str()) {
            (Some("REQ"), Some(name)) => {
                self.relay.asked.lock().await.get_or_insert_with(Instant::now);
                let mut filters = message.as_array().into_iter().flatten().skip(2);
                if filters.any(|filter| filter.get("authors").is_none()) {
                    let frame = format!(r#"["EVENT",{id},"#);
                    self.send_stored(&frame).await?;
                    self.subscriptions.insert(name.to_owned(), frame);
                }
                self.feed(format!(r#"["EOSE",{id}]"#)).await
            }
            (Some("CLOSE"), Some(name)) => {
                self.subscriptions.remove(name);
                Ok(())
            }
            _ => self.feed(r#"["NOTICE","not understood"]"#.to_owned()).await,
        }
    }

    async fn send_stored(&mut self, frame: &str) -> Result<()> {
        let Some(stored) = self.relay.stored.lock().await.clone() else {
            return Ok(());
        };
        for position in (0..stored.events.len()).rev() {
            let event = stored.events.get(position);
            if stored.forged_every > 0 && position % stored.forged_every == 0 {
                self.feed(format!("{frame}{}]", forged(event))).await?;
            }
            self.feed(format!("{frame}{event}]")).await?;
        }
        Ok(())
    }

    async fn forward(&mut self, live: &Live) -> Result<()> {
        let event = live.events.get(live.position);
        live.sent.get_or_init(Instant::now);
        for frame in self.subscriptions.values() {
            let text = format!("{frame}{event}]");
            self.socket.feed(Message::text(text)).await?;
        }
        Ok(())
    }

    /// Written to the socket's buffer, and on to the line when that is full.
    async fn feed(&mut self, text: String) -> Result<()> {
        Ok(self.socket.feed(Message::text(text)).await?)
    }
}

/// The id of an event, found without parsing it.
fn id_of(event: &str) -> Option<&str> {
    const FIELD: &str = r#""id":""#;
    let start = event.find(FIELD)? + FIELD.len();
    event.get(start..start + 64)
}

/// The event with the last digit of its signature changed.
fn forged(event: &str) -> String {
    let (rest, digit) = event.split_at(event.len() - 3);
    let other = if digit.starts_with('0') { '1' } else { '0' };
    format!(r#"{rest}{other}"}}"#)
}
