//! What a relay sends, without the messages that are too long (rule 4.3).
//!
//! The WebSocket library ends the connection over a message that is longer than its limit. A [`Sieve`]
//! lies below it, over the bare stream: it reads the headers of the frames (RFC 6455, 5.2) and takes the
//! frames of such a message out. In their place the library is given an empty binary message, which no
//! relay has a use for, and [`Skipped`] tells what it stands for. All else passes where it lies in the
//! reader's own buffer, untouched, control frames between the parts of a message among it.
//!
//! Nothing is bought by that but the message: whoever sends ever more of them is for the router to cut
//! off, and one of more than [`MAX_SKIPPED_MESSAGE`] ends the connection.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::constants::{MAX_RELAY_MESSAGE, MAX_SKIPPED_MESSAGE, SKIPPED_HEAD};

/// Bytes by which the end that is made for the begun part of a message may lengthen it.
pub(super) const END_MOST: usize = 3;
/// A frame's header at most, its mask left out: what comes to us has none.
const HEADER_MOST: usize = 10;
/// The end of the HTTP response after which the frames begin.
const HANDSHAKE_END: &[u8] = b"\r\n\r\n";

/// A message that was taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Its whole length.
    pub bytes: usize,
    /// Its first bytes.
    pub head: Vec<u8>,
}

/// Those that were taken out and not told of yet, in order: one for each empty binary message.
#[derive(Debug, Clone, Default)]
pub(super) struct SkippedOnes(Arc<Mutex<VecDeque<Skipped>>>);

impl SkippedOnes {
    /// What the empty binary message stands for. `None`: for itself.
    pub(super) fn next(&self) -> Option<Skipped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn push(&self, skipped: Skipped) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(skipped);
    }
}

/// See the module's own page.
#[derive(Debug)]
pub(crate) struct Sieve<S> {
    stream: S,
    frames: Frames,
    /// To be given to the reader before anything else.
    ready: VecDeque<u8>,
    /// Read, and not looked at.
    unread: VecDeque<u8>,
    skipped: SkippedOnes,
}

/// How far the frames were read.
#[derive(Debug, Default)]
struct Frames {
    at: At,
    /// The message whose frames come.
    message: Option<Message>,
}

#[derive(Debug)]
enum At {
    /// In the HTTP response; so much of its end has come.
    Handshake(usize),
    /// In a frame's header, of which this has come.
    Header([u8; HEADER_MOST], usize),
    /// In the rest of a frame.
    Payload { left: u64, frame: Frame },
}

impl Default for At {
    fn default() -> Self {
        Self::Handshake(0)
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// Part of a message, and not a control frame.
    data: bool,
    /// The last part.
    last: bool,
    skip: bool,
}

#[derive(Debug, Default)]
struct Message {
    bytes: u64,
    skip: bool,
    /// It has begun to pass in several parts, and may turn out too long yet.
    parted: bool,
    /// Its first bytes, where they may be needed.
    head: Vec<u8>,
    /// Its last bytes so far, the same.
    tail: Vec<u8>,
}

impl Message {
    fn note(&mut self, payload: &[u8]) {
        if self.skip || self.parted {
            let room = SKIPPED_HEAD - self.head.len();
            self.head.extend(payload.iter().take(room));
        }
        if self.parted {
            self.tail.extend_from_slice(&payload[payload.len().saturating_sub(4)..]);
            let from = self.tail.len().saturating_sub(4);
            self.tail.drain(..from);
        }
    }
}

impl<S> Sieve<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            ready: VecDeque::new(),
            unread: VecDeque::new(),
            skipped: SkippedOnes::default(),
        }
    }

    /// What it takes out.
    pub(super) fn skipped(&self) -> SkippedOnes {
        self.skipped.clone()
    }

    /// Takes out of what was just read what is not to be passed on. What remains; where the frames go
    /// on with something of our own, the rest is put back.
    fn strain(&mut self, read: &mut [u8]) -> io::Result<usize> {
        let (mut from, mut to) = (0, 0);
        while from < read.len() {
            let rest = &read[from..];
            let taken = match &mut self.frames.at {
                At::Handshake(matched) => {
                    let (taken, is_over) = through(HANDSHAKE_END, matched, rest);
                    if is_over {
                        self.frames.at = At::Header([0; HEADER_MOST], 0);
                    }
                    (from, to) = (from + taken, to + taken);
                    // If it is no WebSocket after all, the library asks for nothing more.
                    break;
                }
                At::Header(header, have) => {
                    let taken = complete(header, have, rest);
                    let Some(length) = announced(&header[..*have]) else {
                        from += taken;
                        continue;
                    };
                    let (header, have) = (*header, *have);
                    let made = self.frames.begin(header[0], length)?;
                    from += taken;
                    if !self.frames.skips() {
                        if have > from - to {
                            // A part of it came before: there is no room for it here.
                            self.ready.extend(&header[..have]);
                        } else {
                            read[to..to + have].copy_from_slice(&header[..have]);
                            to += have;
                        }
                    }
                    self.ready.extend(made);
                    self.end_frame();
                    if !self.ready.is_empty() {
                        break;
                    }
                    continue;
                }
                At::Payload { left, frame } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    let Frame { data, skip, .. } = *frame;
                    if let Some(message) = self.frames.message.as_mut().filter(|_| data) {
                        message.note(&rest[..taken]);
                    }
                    if !skip {
                        read.copy_within(from..from + taken, to);
                        to += taken;
                    }
                    taken
                }
            };
            from += taken;
            self.end_frame();
            if !self.ready.is_empty() {
                break;
            }
        }
        if from < read.len() {
            let mut rest: VecDeque<u8> = read[from..].iter().copied().collect();
            rest.append(&mut self.unread);
            self.unread = rest;
        }
        Ok(to)
    }

    /// Where a frame has come to its end, the next one begins; where a message has that was taken out,
    /// the empty one takes its place.
    fn end_frame(&mut self) {
        let At::Payload { left: 0, frame } = self.frames.at else { return };
        self.frames.at = At::Header([0; HEADER_MOST], 0);
        if let Some(message) = self.frames.message.take_if(|_| frame.data && frame.last)
            && message.skip
        {
            let bytes = usize::try_from(message.bytes).unwrap_or(usize::MAX);
            self.skipped.push(Skipped { bytes, head: message.head });
            self.ready.extend([0x82, 0]);
        }
    }
}

impl Frames {
    fn skips(&self) -> bool {
        matches!(self.at, At::Payload { frame: Frame { skip: true, .. }, .. })
    }

    /// A frame begins. What is to be passed on before it.
    fn begin(&mut self, first: u8, length: u64) -> io::Result<Vec<u8>> {
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        let mut frame = Frame { data: opcode < 8, last, skip: false };
        let mut made = Vec::new();
        if frame.data {
            let message = self.message.get_or_insert_default();
            message.bytes = message.bytes.saturating_add(length);
            if message.bytes > MAX_SKIPPED_MESSAGE as u64 {
                let why = format!("it sent a message of {} bytes", message.bytes);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if !message.skip && message.bytes > MAX_RELAY_MESSAGE as u64 {
                message.skip = true;
                if message.parted {
                    made = end_of(&message.tail);
                }
            }
            message.parted |= !message.skip && !last;
            frame.skip = message.skip;
        }
        self.at = At::Payload { left: length, frame };
        Ok(made)
    }
}

/// Looks for the end of the response: how many bytes belong to it, and whether it is there.
fn through(end: &[u8], matched: &mut usize, bytes: &[u8]) -> (usize, bool) {
    for (at, byte) in bytes.iter().enumerate() {
        *matched = if *byte == end[*matched] { *matched + 1 } else { usize::from(*byte == end[0]) };
        if *matched == end.len() {
            return (at + 1, true);
        }
    }
    (bytes.len(), false)
}

/// Adds to a header what has come of it. How much that was.
fn complete(header: &mut [u8; HEADER_MOST], have: &mut usize, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while taken < bytes.len() && announced(&header[..*have]).is_none() {
        header[*have] = bytes[taken];
        *have += 1;
        taken += 1;
    }
    taken
}

/// How long the rest of the frame is. `None`: its header is not complete.
fn announced(header: &[u8]) -> Option<u64> {
    let (second, rest) = header.get(1..)?.split_first()?;
    // A mask is of no use from a server's side and an error to the library, which is to find it.
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let length = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)),
        127 => u64::from_be_bytes(rest.get(..8)?.try_into().ok()?),
        short => u64::from(short),
    };
    Some(length.saturating_add(mask))
}

/// The last part of a message that is to be passed on no further. It completes a character of which
/// only the first bytes have passed: a text of broken characters would be the end of the connection.
fn end_of(tail: &[u8]) -> Vec<u8> {
    let first = tail.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(tail.len());
    let bytes = &tail[first..];
    let whole = match bytes.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xff) => 4,
        _ => bytes.len(),
    };
    let mut made: Vec<u8> = vec![0x80; whole.saturating_sub(bytes.len())];
    if let Some(next) = made.first_mut() {
        match bytes {
            [0xe0] => *next = 0xa0,
            [0xf0] => *next = 0x90,
            _ => {}
        }
    }
    let length = u8::try_from(made.len()).unwrap_or_default();
    [vec![0x80, length], made].concat()
}

/// As much of the queue as there is room for.
fn pour(queue: &mut VecDeque<u8>, out: &mut ReadBuf<'_>) {
    let most = out.remaining().min(queue.len());
    for slice in [queue.as_slices().0, queue.as_slices().1] {
        out.put_slice(&slice[..slice.len().min(out.remaining())]);
    }
    queue.drain(..most);
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        // A whole read may be taken out; nothing read would be the end.
        while out.remaining() > 0 && out.filled().len() == before {
            if !this.ready.is_empty() {
                pour(&mut this.ready, out);
                break;
            }
            if this.unread.is_empty() {
                ready!(Pin::new(&mut this.stream).poll_read(context, out))?;
            } else {
                pour(&mut this.unread, out);
            }
            if out.filled().len() == before {
                break; // the end
            }
            let left = this.strain(&mut out.filled_mut()[before..])?;
            out.set_filled(before + left);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieve<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
