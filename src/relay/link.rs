//! One connection to a relay: reads and writes at the same time, pings, and notices when it is dead.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::base::clock::{unix_now, unix_seconds};
use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::constants::{
    CLOSE_TIMEOUT, MAX_CHALLENGE, MAX_RELAY_MESSAGE, MISSED_PINGS, PING_INTERVAL, RELAY_BATCH,
    RELAY_LOG_TEXT, WRITE_TIMEOUT,
};
use crate::ids::LinkId;
use crate::nostr::message::RelayMessage;
use crate::nostr::reason::Reason;
use crate::router::{Ending, Frame, Input, Outgoing};
use crate::runtime::budget::Budget;
use crate::stats::Trouble;

use super::sieve::{Skipped, SkippedOnes};
use super::{Dial, Over, RelayTask, Sieve};

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The connection broke, or the relay ended it. The reason, for its log, and for the router.
    Lost(Trouble, String, Ending),
    /// The router ended it and has said why.
    Cut,
    /// The owner wants another connection instead.
    Anew,
    /// The owner wants the relay no more, or the core stops.
    Over,
}

/// Serves the connection until it ends, or until the owner wants another one (`unwanted`).
pub(super) async fn run<D: Dial>(
    relay: &RelayTask<D>,
    link: LinkId,
    socket: WebSocketStream<Sieve<D::Socket>>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    heard: &AtomicU64,
    unwanted: impl Future<Output = ()>,
) -> End {
    let skipped = socket.get_ref().skipped();
    let (mut sink, stream) = socket.split();
    let alive = AtomicBool::new(true);
    let epoch = Instant::now();
    let end = {
        let mut owner = relay.wish.clone();
        let reader = Reader {
            relay,
            link,
            stream,
            skipped,
            budget: Budget::new(),
            batch: Vec::new(),
            alive: &alive,
            heard,
            epoch,
        };
        let writer = Writer { relay, link, sink: &mut sink, alive: &alive, epoch };
        tokio::select! {
            end = reader.run() => end,
            end = writer.run(outgoing) => end,
            end = watch_owner(relay, &mut owner) => end,
            () = unwanted => End::Anew,
        }
    };
    if !matches!(end, End::Lost(..)) {
        let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
    }
    end
}

/// Passes the owner's changes on; returns when there is no owner any more.
async fn watch_owner<D: Dial>(
    relay: &RelayTask<D>,
    owner: &mut tokio::sync::watch::Receiver<super::Wish>,
) -> End {
    while owner.changed().await.is_ok() {
        let wish = owner.borrow_and_update().clone();
        if relay.tell_wish(wish).await.is_err() {
            break;
        }
    }
    End::Over
}

struct Reader<'a, D: Dial> {
    relay: &'a RelayTask<D>,
    link: LinkId,
    stream: SplitStream<WebSocketStream<Sieve<D::Socket>>>,
    skipped: SkippedOnes,
    /// Bytes of events that may be in the core at a time: a relay that sends faster than they are
    /// verified is read no further.
    budget: Arc<Budget>,
    batch: Vec<Frame>,
    alive: &'a AtomicBool,
    /// Unix seconds of the last sign of life.
    heard: &'a AtomicU64,
    epoch: Instant,
}

impl<D: Dial> Reader<'_, D> {
    async fn run(mut self) -> End {
        loop {
            // Wait for one message, take with it what is there already, pass all on at once.
            let mut next = self.stream.next().await;
            if matches!(next, Some(Ok(_))) {
                self.heard.store(unix_seconds(), Relaxed);
            }
            loop {
                match next {
                    Some(Ok(message)) => {
                        self.alive.store(true, Relaxed);
                        match self.take(message).await {
                            Ok(None) => {}
                            Ok(Some(end)) => return self.finish(end).await,
                            Err(Over) => return End::Over,
                        }
                    }
                    Some(Err(error)) => return self.finish(described(&error)).await,
                    None => {
                        let why = "the relay closed the connection".to_owned();
                        let end = End::Lost(Trouble::Closed, why, Ending::Broken);
                        return self.finish(end).await;
                    }
                }
                if self.batch.len() >= RELAY_BATCH {
                    break;
                }
                match self.stream.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
            if self.pass_on().await.is_err() {
                return End::Over;
            }
        }
    }

    /// What was read before the end still counts.
    async fn finish(&mut self, end: End) -> End {
        if self.pass_on().await.is_err() { End::Over } else { end }
    }

    async fn pass_on(&mut self) -> Result<(), Over> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.relay.tell(Input::RelaySaid(self.relay.id, self.link, batch)).await
    }

    async fn take(&mut self, message: Message) -> Result<Option<End>, Over> {
        match message {
            Message::Text(text) => self.take_text(text).await?,
            Message::Binary(data) => {
                let skipped = if data.is_empty() { self.skipped.next() } else { None };
                let frame = skipped.map_or_else(|| self.binary(), |it| self.too_long(&it));
                self.batch.push(frame);
            }
            Message::Pong(payload) => {
                if let Ok(sent) = <[u8; 8]>::try_from(&payload[..]) {
                    let sent = Duration::from_micros(u64::from_be_bytes(sent));
                    let took = self.epoch.elapsed().saturating_sub(sent).as_micros();
                    let took = u64::try_from(took).unwrap_or(u64::MAX).max(1);
                    self.relay.stats.ping_micros.store(took, Relaxed);
                }
            }
            Message::Close(frame) => {
                let how = match frame.as_ref().map(|frame| frame.code) {
                    Some(CloseCode::Size) => Ending::TooBig,
                    Some(CloseCode::Away | CloseCode::Restart | CloseCode::Again) => {
                        Ending::Innocent
                    }
                    _ => Ending::Broken,
                };
                let why = frame.map_or_else(String::new, |frame| {
                    format!(" ({} {})", u16::from(frame.code), frame.reason)
                });
                let why = format!("the relay closed the connection{why}");
                return Ok(Some(End::Lost(Trouble::Closed, why, how)));
            }
            Message::Ping(_) | Message::Frame(_) => {}
        }
        Ok(None)
    }

    fn binary(&self) -> Frame {
        self.relay.stats.error(unix_now(), Trouble::BadMessage, "sent a binary message");
        Frame::Junk
    }

    /// A message that was too long was skipped: what it stood in is not complete, and goes on.
    fn too_long(&self, Skipped { bytes, head }: &Skipped) -> Frame {
        let number = RelayMessage::too_long(&String::from_utf8_lossy(head));
        let what = number.map_or_else(
            || "a message".to_owned(),
            |number| format!("an event for our subscription {number}"),
        );
        let most = MAX_RELAY_MESSAGE;
        let why = format!("sent {what} of {bytes} bytes: skipped, the most is {most}");
        self.relay.stats.error(unix_now(), Trouble::TooLong, &why);
        Frame::TooLong { number, bytes: *bytes }
    }

    async fn take_text(&mut self, text: Utf8Bytes) -> Result<(), Over> {
        let stats = &self.relay.stats;
        let frame = match RelayMessage::scan(&text) {
            Ok(RelayMessage::Event { number, id, json }) => {
                let ticket = self.ticket(json.len()).await?;
                let json = Text::part(text.as_ref(), json);
                Frame::Event { number, id, json, ticket }
            }
            Ok(RelayMessage::Eose(number, hint)) => Frame::Eose(number, hint),
            Ok(RelayMessage::Count(number, counted)) => Frame::Count(number, counted),
            Ok(RelayMessage::Closed(number, why)) => {
                Frame::Closed(number, Reason::of_refusal(&shortened(&why)))
            }
            Ok(RelayMessage::Ok(id, true, why)) => {
                Frame::Ok(id, true, Reason::read(shortened(&why)))
            }
            Ok(RelayMessage::Ok(id, false, why)) => {
                Frame::Ok(id, false, Reason::of_refusal(&shortened(&why)))
            }
            Ok(RelayMessage::Notice(notice)) => {
                stats.notice(unix_now(), &notice);
                Frame::Notice(shortened(&notice))
            }
            Ok(RelayMessage::Auth(challenge)) if challenge.len() <= MAX_CHALLENGE => {
                Frame::Auth(challenge)
            }
            Ok(RelayMessage::Auth(_)) => {
                stats.error(unix_now(), Trouble::BadMessage, "sent a challenge that is too long");
                Frame::Junk
            }
            Err(why) => {
                stats.error(unix_now(), Trouble::BadMessage, why);
                Frame::Junk
            }
        };
        self.batch.push(frame);
        Ok(())
    }

    async fn ticket(&mut self, bytes: usize) -> Result<Ticket, Over> {
        if let Some(ticket) = self.budget.try_take(bytes) {
            return Ok(ticket);
        }
        // The budget comes back only for what the router has seen.
        self.pass_on().await?;
        Ok(self.budget.take(bytes).await)
    }
}

struct Writer<'a, D: Dial> {
    relay: &'a RelayTask<D>,
    link: LinkId,
    sink: &'a mut SplitSink<WebSocketStream<Sieve<D::Socket>>, Message>,
    alive: &'a AtomicBool,
    epoch: Instant,
}

impl<D: Dial> Writer<'_, D> {
    async fn run(mut self, outgoing: &mut mpsc::Receiver<Outgoing>) -> End {
        let mut ping = interval_at(self.epoch + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A first ping at once, so that the page need not wait 20 s for a round trip.
        let mut missed = 0;
        let mut result = self.ping().await;
        while result.is_ok() {
            result = tokio::select! {
                next = outgoing.recv() => match next {
                    None => Err(End::Cut),
                    Some(first) => self.write(first, outgoing).await,
                },
                _ = ping.tick() => {
                    missed = if self.alive.swap(false, Relaxed) { 0 } else { missed + 1 };
                    if missed < MISSED_PINGS {
                        self.ping().await
                    } else {
                        let why = "no sign of life, the connection is dead";
                        Err(End::Lost(Trouble::Silent, why.to_owned(), Ending::Innocent))
                    }
                }
            };
        }
        result.err().unwrap_or(End::Cut)
    }

    /// Writes what waits with one flush, and tells the router how much it was.
    async fn write(
        &mut self,
        first: Outgoing,
        outgoing: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<(), End> {
        let mut count = 0;
        let mut next = Some(first);
        while let Some(Outgoing { text, event }) = next {
            if event.is_some() {
                self.relay.stats.sent.add();
                self.relay.total.sent.add();
            }
            // Each message has its time: many large ones on a thin line are no stall.
            within_limit(self.sink.feed(Message::text(text))).await?;
            count += 1;
            next = outgoing.try_recv().ok();
        }
        within_limit(self.sink.flush()).await?;
        let wrote = Input::LinkWrote(self.relay.id, self.link, count);
        self.relay.tell(wrote).await.map_err(|Over| End::Over)
    }

    async fn ping(&mut self) -> Result<(), End> {
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or_default();
        let payload = now.to_be_bytes().to_vec();
        within_limit(self.sink.send(Message::Ping(payload.into()))).await
    }
}

async fn within_limit(work: impl Future<Output = Result<(), Error>>) -> Result<(), End> {
    match timeout(WRITE_TIMEOUT, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(described(&error)),
        Err(_) => {
            let why = "the relay does not read what it is sent";
            Err(End::Lost(Trouble::Stalled, why.to_owned(), Ending::Innocent))
        }
    }
}

/// A reason is passed on to clients and kept: a relay's novel becomes a sentence.
fn shortened(why: &str) -> String {
    why.chars().take(RELAY_LOG_TEXT).collect()
}

fn described(error: &Error) -> End {
    let by_relay = match error {
        // Any other error of the line is the network's.
        Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        ),
        _ => true,
    };
    let how = if by_relay { Ending::Broken } else { Ending::Innocent };
    End::Lost(Trouble::Lost, format!("connection lost: {error}"), how)
}
