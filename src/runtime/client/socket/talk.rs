//! The WebSocket protocol with one client, between its frames and its messages. Nothing here waits.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes, WebSocket};

/// Bytes the library reads at a time, of what is in memory already.
const CHUNK: usize = 1 << 10;
/// Whoever has sent or was sent this much at once gets a fresh library, and its buffers are free.
const LARGE: usize = 64 << 10;

/// One client's.
#[derive(Debug)]
pub(super) struct Talk {
    library: WebSocket<Wire>,
    most: usize,
}

/// What a client's frames were.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(Utf8Bytes),
    Binary,
    /// A sign of life, which the library has answered if there is anything to answer.
    Life,
    /// It has closed, or can be understood no longer. What is unsent says so.
    End,
}

/// Where the library reads and writes.
#[derive(Debug, Default)]
struct Wire {
    heard: BytesMut,
    unsent: BytesMut,
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.heard.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = out.len().min(self.heard.len());
        self.heard.copy_to_slice(&mut out[..most]);
        Ok(most)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unsent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Talk {
    /// With a client whose messages may have `most` bytes. `first` goes before all frames.
    pub(super) fn new(first: &[u8], most: usize) -> Self {
        let wire = Wire { heard: BytesMut::new(), unsent: first.into() };
        Self { library: library(wire, most), most }
    }

    /// Reads a message, or a control frame; all of it.
    pub(super) fn hear(&mut self, frames: BytesMut) -> Heard {
        let large = frames.len() > LARGE;
        self.library.get_mut().heard = frames;
        let heard = match self.library.read() {
            Ok(Message::Text(text)) => Heard::Text(text),
            Ok(Message::Binary(_)) => Heard::Binary,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Heard::Life,
            Ok(Message::Close(_)) => Heard::End,
            Err(error) => {
                self.close(code(&error), "");
                Heard::End
            }
        };
        // In memory it does not fail but for a connection that is over.
        let over = self.library.flush().is_err();
        if large && !over && heard != Heard::End {
            self.refresh();
        }
        heard
    }

    /// Has a text sent.
    pub(super) fn say(&mut self, text: String) {
        let large = text.len() > LARGE;
        // It fails only after a close frame, and nothing is said then.
        if self.library.write(Message::text(text)).is_ok() && large {
            self.refresh();
        }
    }

    /// Has a ping sent.
    pub(super) fn ping(&mut self) {
        let _ = self.library.write(Message::Ping(Bytes::new()));
    }

    /// Has a close frame sent, once.
    pub(super) fn close(&mut self, code: u16, why: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: why.to_owned().into() };
        let _ = self.library.close(Some(frame));
    }

    /// What is to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.library.get_ref().unsent
    }

    /// So many bytes of it were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        let unsent = &mut self.library.get_mut().unsent;
        unsent.advance(bytes);
        if unsent.is_empty() {
            *unsent = BytesMut::new();
        }
    }

    /// The library's buffers grow with the messages and do not shrink. To be called between two
    /// messages of a client that is not closed.
    fn refresh(&mut self) {
        let unsent = std::mem::take(&mut self.library.get_mut().unsent);
        let wire = Wire { heard: BytesMut::new(), unsent };
        self.library = library(wire, self.most);
    }
}

fn library(wire: Wire, most: usize) -> WebSocket<Wire> {
    let config = WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(0)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    WebSocket::from_raw_socket(wire, Role::Server, Some(config))
}

/// What a client is told that sends this.
fn code(error: &Error) -> u16 {
    match error {
        Error::Utf8(_) => 1007,
        Error::Capacity(_) => 1009,
        _ => 1002,
    }
}
