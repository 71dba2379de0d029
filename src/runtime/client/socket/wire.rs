//! What crosses from one core to the next, for one client: pieces over a Unix socket pair, as
//! `docs/handover.md` describes them. The two may be of different versions of this extension, in one
//! process, so nothing here may change its meaning without another [`FORMAT`].

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::constants::{HANDOVER_ENTRIES, HANDOVER_PIECE};
use crate::nostr::event::Unverified;
use crate::nostr::hex;
use crate::router::{Bequest, Estate, Legacy, Proven, Role, Seen, SeenEntry, SeenHead};

use super::frames::Skipping;

/// Of all this. A core hands its clients over only to one that asks by this number.
pub(crate) const FORMAT: u32 = 1;
/// What the next core says once it has understood everything: the client is its own.
const TAKEN: u8 = 1;
/// Bytes of a [`SeenEntry`].
const ENTRY: usize = 16;

/// A piece's kind, its first byte. Four bytes with its length follow, little-endian, and then it. Those of
/// a kind that is not known are skipped.
mod kind {
    /// [`super::Head`] as JSON: the first one.
    pub(super) const HEAD: u8 = 1;
    /// What was read of the client and not understood yet.
    pub(super) const UNREAD: u8 = 2;
    /// What is to be written first.
    pub(super) const UNSENT: u8 = 3;
    /// [`super::Subscription`] as JSON.
    pub(super) const SUBSCRIPTION: u8 = 4;
    /// Entries of its memory: date and fingerprint, each eight bytes, little-endian.
    pub(super) const SEEN: u8 = 5;
    /// A message for the client.
    pub(super) const MAIL: u8 = 6;
    /// That is all. The next core answers with a byte; what comes then is mail for it to weigh.
    pub(super) const READY: u8 = 7;
}

/// Who the client is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The number of its socket's descriptor, which is open until the next core has answered.
    pub(super) socket: i32,
    /// Through the public endpoint.
    pub(super) public: bool,
    /// Another server of this extension.
    pub(super) sibling: bool,
    /// Unix seconds.
    pub(super) since: f64,
    pub(super) address: Option<String>,
    pub(super) forwarded_for: Option<String>,
    pub(super) agent: Option<String>,
    /// By which it may have reached us.
    pub(super) hosts: Vec<Box<str>>,
    /// What it was sent to be signed.
    pub(super) challenge: Option<Box<str>>,
    /// The public keys it has proved to have.
    pub(super) keys: Vec<String>,
    /// The message that is coming is too long.
    pub(super) skipping: Option<Skipping>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Subscription {
    id: Box<str>,
    filters: Vec<Box<RawValue>>,
    complete: bool,
    /// By url.
    served: Vec<(Box<str>, u64)>,
    /// What its memory's fingerprints are made with.
    key: [u64; 2],
    forgotten: Option<u64>,
    present: u64,
}

/// All that one client takes along.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    pub(super) head: Head,
    pub(super) unread: Bytes,
    pub(super) unsent: Bytes,
    pub(super) estate: Estate,
}

impl Head {
    pub(super) const fn role(&self) -> Role {
        match (self.sibling, self.public) {
            (true, public) => Role::Sibling { public },
            (false, true) => Role::Public,
            (false, false) => Role::Private,
        }
    }
}

/// The earlier core's end.
#[derive(Debug)]
pub(super) struct Sending(UnixStream);

impl Sending {
    pub(super) const fn new(pipe: UnixStream) -> Self {
        Self(pipe)
    }

    /// Until the next core has answered. Whether it has the client.
    pub(super) async fn taken(&mut self) -> bool {
        let mut answer = [0];
        self.0.read_exact(&mut answer).await.is_ok() && answer == [TAKEN]
    }

    /// Until the next core has gone.
    pub(super) async fn closed(&self) {
        while self.0.readable().await.is_ok() {
            match self.0.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => {}
                _ => return,
            }
        }
    }

    /// Everything, until [`kind::READY`].
    pub(super) async fn crossing(&mut self, crossing: Crossing) -> io::Result<()> {
        let Crossing { mut head, unread, unsent, estate } = crossing;
        let Estate { proven, subscriptions, mail } = estate;
        head.hosts = proven.hosts;
        head.challenge = proven.challenge;
        head.keys = proven.keys.iter().map(|key| hex::encode(key)).collect();
        self.piece(kind::HEAD, &serde_json::to_vec(&head)?).await?;
        self.piece(kind::UNREAD, &unread).await?;
        self.piece(kind::UNSENT, &unsent).await?;
        for bequest in subscriptions {
            self.subscription(bequest).await?;
        }
        for text in mail {
            self.mail(&text).await?;
        }
        self.piece(kind::READY, &[]).await
    }

    async fn subscription(&mut self, bequest: Bequest) -> io::Result<()> {
        let Bequest { id, filters, complete, served, seen } = bequest;
        let filters: Result<_, _> =
            filters.into_iter().map(|filter| RawValue::from_string(filter.into())).collect();
        let SeenHead { key, forgotten, present } = seen.head();
        let subscription =
            Subscription { id, filters: filters?, complete, served, key, forgotten, present };
        self.piece(kind::SUBSCRIPTION, &serde_json::to_vec(&subscription)?).await?;
        let mut piece = BytesMut::new();
        for (date, fingerprint) in seen.entries() {
            piece.put_u64_le(date);
            piece.put_u64_le(fingerprint);
            if piece.len() >= HANDOVER_ENTRIES * ENTRY {
                self.piece(kind::SEEN, &piece).await?;
                piece.clear();
            }
        }
        if piece.is_empty() { Ok(()) } else { self.piece(kind::SEEN, &piece).await }
    }

    /// A message for the client.
    pub(super) async fn mail(&mut self, text: &str) -> io::Result<()> {
        self.piece(kind::MAIL, text.as_bytes()).await
    }

    async fn piece(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&length.to_le_bytes());
        self.0.write_all(&head).await?;
        self.0.write_all(bytes).await
    }
}

/// The next core's end.
#[derive(Debug)]
pub(super) struct Receiving {
    pipe: UnixStream,
    read: BytesMut,
}

impl Receiving {
    pub(super) fn new(pipe: UnixStream) -> Self {
        Self { pipe, read: BytesMut::new() }
    }

    /// Everything, until [`kind::READY`].
    ///
    /// # Errors
    /// The pipe's, or what comes makes no sense.
    pub(super) async fn crossing(&mut self) -> io::Result<Crossing> {
        let (kind, head) = self.piece().await?;
        if kind != kind::HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut head: Head = serde_json::from_slice(&head)?;
        let keys: Option<Vec<[u8; 32]>> = head.keys.iter().map(|key| hex::decode(key)).collect();
        let proven = Proven {
            hosts: std::mem::take(&mut head.hosts),
            challenge: head.challenge.take(),
            keys: keys.ok_or(io::ErrorKind::InvalidData)?,
        };
        let mut crossing = Crossing { head, ..Crossing::default() };
        crossing.estate.proven = proven;
        loop {
            let (kind, piece) = self.piece().await?;
            let Estate { subscriptions, mail, .. } = &mut crossing.estate;
            match kind {
                kind::UNREAD => crossing.unread = piece,
                kind::UNSENT => crossing.unsent = piece,
                kind::SUBSCRIPTION => subscriptions.push(bequest(&piece)?),
                kind::SEEN => {
                    let last = subscriptions.last_mut().ok_or(io::ErrorKind::InvalidData)?;
                    entries(piece).for_each(|entry| last.seen.recall(entry));
                }
                kind::MAIL => mail.push(text(&piece)?.into()),
                kind::READY => return Ok(crossing),
                _ => {}
            }
        }
    }

    /// The client is ours.
    pub(super) async fn take(&mut self) -> io::Result<()> {
        self.pipe.write_all(&[TAKEN]).await
    }

    /// Until the next piece is there, or the earlier core is gone: [`Self::next`] has it then. May be
    /// dropped at any time.
    pub(super) async fn ready(&mut self) -> io::Result<()> {
        while self.length()?.is_none_or(|length| self.read.len() < length) {
            if self.read.is_empty() {
                self.read = BytesMut::new();
            }
            self.read.reserve(1 << 12);
            loop {
                self.pipe.readable().await?;
                match self.pipe.try_read_buf(&mut self.read) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What the earlier core says, if all of it is there. `None`: nothing that concerns anybody.
    pub(super) fn next(&mut self) -> Option<Legacy> {
        let (kind, piece) = self.take_piece()?;
        if kind != kind::MAIL {
            return None;
        }
        legacy(text(&piece).ok()?)
    }

    async fn piece(&mut self) -> io::Result<(u8, Bytes)> {
        self.ready().await?;
        self.take_piece().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn take_piece(&mut self) -> Option<(u8, Bytes)> {
        let length = self.length().ok()?.filter(|length| self.read.len() >= *length)?;
        let mut piece = self.read.split_to(length).freeze();
        let kind = piece.get_u8();
        piece.advance(4);
        Some((kind, piece))
    }

    /// Of the piece that is coming, with its head.
    fn length(&self) -> io::Result<Option<usize>> {
        let Some(length) = self.read.get(1..5).and_then(|it| it.try_into().ok()) else {
            return Ok(None);
        };
        match usize::try_from(u32::from_le_bytes(length)) {
            Ok(length) if length <= HANDOVER_PIECE => Ok(Some(5 + length)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn bequest(piece: &[u8]) -> io::Result<Bequest> {
    let Subscription { id, filters, complete, served, key, forgotten, present } =
        serde_json::from_slice(piece)?;
    let seen = Seen::with_head(SeenHead { key, forgotten, present });
    let filters = filters.iter().map(|filter| filter.get().into()).collect();
    Ok(Bequest { id, filters, complete, served, seen })
}

fn entries(mut piece: Bytes) -> impl Iterator<Item = SeenEntry> {
    std::iter::from_fn(move || {
        (piece.len() >= ENTRY).then(|| (piece.get_u64_le(), piece.get_u64_le()))
    })
}

fn text(piece: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(piece).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// What a message of the earlier core's is. `None`: it is of that core alone.
fn legacy(text: &str) -> Option<Legacy> {
    let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let string =
        |at: usize| -> Option<Box<str>> { serde_json::from_str(parts.get(at)?.get()).ok() };
    Some(match &*string(0)? {
        "EVENT" => {
            let event = Unverified::parse(parts.get(2)?.get()).ok()?.trusted().ok()?;
            Legacy::Event { id: string(1)?, event: event.into() }
        }
        "EOSE" => Legacy::Eose(string(1)?, text.into()),
        "CLOSED" => Legacy::Closed(string(1)?, text.into()),
        "AUTH" => return None, // its challenge is not ours
        _ => Legacy::Answer(text.into()),
    })
}
