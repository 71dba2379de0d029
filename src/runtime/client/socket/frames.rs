//! What a client sends, cut into messages that are whole (RFC 6455, 5.2).
//!
//! The WebSocket library is given a message when all of it is there. So between two messages it holds
//! nothing of this client, a message that is too long never reaches it (rule 5.2 has it answered, not
//! the connection closed), and what has come of the next one lies here.

use std::io::{self, ErrorKind};

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;

use crate::constants::{CLIENT_READ, MAX_FRAGMENTS, MAX_SKIPPED_CLIENT_MESSAGE, MESSAGE_HEAD};

/// The most a control frame may carry.
const CONTROL_MOST: u64 = 125;
const PROTOCOL: (u16, &str) = (1002, "this is no WebSocket frame");
const TOO_BIG: (u16, &str) = (1009, "message too big");
const TOO_MANY: (u16, &str) = (1008, "too many fragments");

/// What has come of one client's messages.
#[derive(Debug)]
pub(super) struct Frames {
    /// Read, and not looked at.
    raw: BytesMut,
    /// The frames of the message that is coming, whole ones. Those of one that is too long are dropped.
    begun: BytesMut,
    message: Option<Message>,
    /// Of a frame that is dropped: so many bytes are to come.
    dropping: u64,
    /// Bytes of one message at most.
    most: usize,
}

/// The message that is coming.
#[derive(Debug, Default)]
struct Message {
    bytes: u64,
    fragments: usize,
    /// Its first bytes, where it may turn out too long.
    head: Vec<u8>,
    too_long: bool,
    /// The frame that is being dropped is its last.
    ends: bool,
}

/// The next one of what a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All frames of a message, or a control frame.
    Whole(BytesMut),
    /// A message that was too long. Its first bytes.
    TooLong(String),
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    control: bool,
    last: bool,
    /// Bytes of the header.
    length: usize,
    payload: u64,
    mask: [u8; 4],
}

impl Header {
    /// `None`: not all of it has come.
    fn read(raw: &[u8]) -> Option<Self> {
        let (first, rest) = raw.split_first()?;
        let (second, rest) = rest.split_first()?;
        let (length, payload) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)),
            short => (2, u64::from(short)),
        };
        let (length, mask) = if second & 0x80 == 0 {
            (length, [0; 4]) // the library is to find it
        } else {
            (length + 4, raw.get(length..length + 4)?.try_into().ok()?)
        };
        Some(Self { control: first & 0x08 != 0, last: first & 0x80 != 0, length, payload, mask })
    }
}

impl Frames {
    /// `read`: what was read of the stream before. Messages may have `most` bytes each.
    pub(super) fn new(read: &[u8], most: usize) -> Self {
        Self { raw: read.into(), begun: BytesMut::new(), message: None, dropping: 0, most }
    }

    /// Bytes of the message that is coming.
    pub(super) fn held(&self) -> usize {
        self.raw.len() + self.begun.len()
    }

    /// Reads what there is. How many bytes; zero: the client has closed its side.
    ///
    /// # Errors
    /// The line's.
    pub(super) async fn read_from(&mut self, stream: &TcpStream) -> io::Result<usize> {
        loop {
            if self.raw.is_empty() {
                self.raw = BytesMut::new(); // whoever says nothing needs no room
            }
            stream.readable().await?;
            self.raw.reserve(CLIENT_READ);
            match stream.try_read_buf(&mut self.raw) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// The next that is whole. `None`: more must be read.
    ///
    /// # Errors
    /// Close code and reason, for a client that sends what nobody can go on with.
    pub(super) fn next(&mut self) -> Result<Option<Part>, (u16, &'static str)> {
        loop {
            if self.dropping > 0 && !self.drop_on() {
                return Ok(None);
            }
            if let Some(message) = self.message.take_if(|message| message.ends) {
                return Ok(Some(Part::TooLong(String::from_utf8_lossy(&message.head).into())));
            }
            let Some(header) = Header::read(&self.raw) else { return Ok(None) };
            let frame = if header.control {
                if header.payload > CONTROL_MOST {
                    return Err(PROTOCOL);
                }
                self.whole(header)
            } else {
                self.data(header)?
            };
            match frame {
                Some(frame) if header.control => return Ok(Some(Part::Whole(frame))),
                Some(frame) => {
                    if let Some(message) = self.add(header, frame) {
                        return Ok(Some(Part::Whole(message)));
                    }
                }
                None if self.dropping > 0 => {}
                None => return Ok(None),
            }
        }
    }

    /// A frame of a message, once all of it is there; or the message turns out too long.
    fn data(&mut self, header: Header) -> Result<Option<BytesMut>, (u16, &'static str)> {
        let message = self.message.get_or_insert_default();
        let bytes = message.bytes.saturating_add(header.payload);
        if bytes > MAX_SKIPPED_CLIENT_MESSAGE {
            return Err(TOO_BIG);
        }
        if message.fragments >= MAX_FRAGMENTS {
            return Err(TOO_MANY);
        }
        if !message.too_long && bytes <= self.most as u64 {
            return Ok(self.whole(header));
        }
        // Its head is needed before the payload is dropped: it is read with the first bytes of it.
        let wanted = (MESSAGE_HEAD - message.head.len()).min(self.most);
        let wanted = header.length + wanted.min(usize::try_from(header.payload).unwrap_or(wanted));
        if self.raw.len() < wanted {
            return Ok(None);
        }
        note(&mut message.head, header, &self.raw[header.length..wanted]);
        message.too_long = true;
        message.ends = header.last;
        message.bytes = bytes;
        message.fragments += 1;
        self.begun = BytesMut::new();
        self.dropping = header.length as u64 + header.payload;
        Ok(None)
    }

    /// Takes a frame that is all there.
    fn whole(&mut self, header: Header) -> Option<BytesMut> {
        let payload = usize::try_from(header.payload).ok()?;
        let length = header.length.checked_add(payload)?;
        (self.raw.len() >= length).then(|| self.raw.split_to(length))
    }

    /// A frame of the message that is coming. All of it, if that was the last.
    fn add(&mut self, header: Header, frame: BytesMut) -> Option<BytesMut> {
        if header.last && self.begun.is_empty() {
            self.message = None;
            return Some(frame); // as nearly all do, it has one frame
        }
        let message = self.message.get_or_insert_default();
        message.bytes += header.payload;
        message.fragments += 1;
        note(&mut message.head, header, &frame[header.length..]);
        self.begun.extend_from_slice(&frame);
        if !header.last {
            return None;
        }
        self.message = None;
        Some(std::mem::take(&mut self.begun))
    }

    /// Drops what is there of a frame that is dropped. Whether that was all of it.
    fn drop_on(&mut self) -> bool {
        let here = self.raw.len().min(usize::try_from(self.dropping).unwrap_or(usize::MAX));
        self.raw.advance(here);
        self.dropping -= here as u64;
        self.dropping == 0
    }
}

/// Adds to a message's head what a frame has of it.
fn note(head: &mut Vec<u8>, header: Header, payload: &[u8]) {
    let room = MESSAGE_HEAD - head.len();
    let mask = header.mask.iter().cycle();
    head.extend(payload.iter().take(room).zip(mask).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 300;
    const MASK: [u8; 4] = [1, 2, 3, 250];

    /// A frame as clients send it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 0x7e);
                frame.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// What comes out of bytes that come in pieces of these sizes.
    fn parts(bytes: &[u8], sizes: &[usize]) -> Result<Vec<Part>, (u16, &'static str)> {
        let mut frames = Frames::new(&[], MOST);
        let (mut found, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
        while !rest.is_empty() {
            let size = (*sizes.next().unwrap()).min(rest.len());
            frames.raw.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            while let Some(part) = frames.next()? {
                found.push(part);
            }
        }
        assert!(frames.raw.is_empty() && frames.begun.is_empty() && frames.message.is_none());
        Ok(found)
    }

    fn whole(bytes: &[u8]) -> Part {
        Part::Whole(bytes.into())
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_in_whatever_pieces_they_come(
            sizes in prop::collection::vec(1_usize..400, 1..5),
        ) {
            let one = frame(0x81, b"[\"CLOSE\",\"a\"]");
            let ping = frame(0x89, b"p");
            let parted = [frame(0x01, b"ab"), frame(0x00, b""), frame(0x80, &[b'c'; 200])];
            let (long, parted_long) =
                (frame(0x81, &[b'x'; 301]), [frame(0x01, &[b'y'; 200]), frame(0x80, &[b'z'; 101])]);
            let bytes = [
                &one[..], &parted[0], &ping, &parted[1], &parted[2], &long, &one, &parted_long[0], &ping,
                &parted_long[1], &ping,
            ].concat();
            let too_long = |text: String| Part::TooLong(text);
            prop_assert_eq!(parts(&bytes, &sizes).unwrap(), [
                whole(&one), whole(&ping), whole(&parted.concat()), too_long("x".repeat(300)),
                whole(&one), whole(&ping),
                too_long(format!("{}{}", "y".repeat(200), "z".repeat(101))), whole(&ping),
            ]);
        }
    }

    #[test]
    fn the_longest_that_is_taken() {
        let long = frame(0x81, &[b'x'; MOST]);
        assert_eq!(parts(&long, &[1_000]).unwrap(), [whole(&long)]);
    }

    #[test]
    fn what_cannot_be_gone_on_with() {
        let huge = [&[0x81, 0xff][..], &(64_u64 << 20).to_be_bytes(), &MASK, b"x"].concat();
        assert_eq!(parts(&huge, &[1_000]), Err(TOO_BIG));
        let endless = [&[0x81, 0xff][..], &u64::MAX.to_be_bytes(), &MASK, b"x"].concat();
        assert_eq!(parts(&endless, &[1_000]), Err(TOO_BIG));
        assert_eq!(parts(&frame(0x89, &[0; 126]), &[1_000]), Err(PROTOCOL));
        let many = [frame(0x01, b""), frame(0x00, b"").repeat(MAX_FRAGMENTS)].concat();
        assert_eq!(parts(&many, &[1_000]), Err(TOO_MANY));
    }
}
