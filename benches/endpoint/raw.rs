//! A WebSocket client by hand, for what no library would do: it offers compression as browsers
//! do, sends what it likes, and reads when it likes.

use std::io;
use std::net::SocketAddr;

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Duration, sleep};
use url::Url;

use crate::failure::{Failure, Result, check};
use crate::parameters as p;

/// Opcodes.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
/// The bit of a compressed message.
const COMPRESSED: u8 = 0x40;
const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Stand for lengths of two and of eight bytes.
const SHORT: u8 = 0x7e;
const LONG: u8 = 0x7f;
/// What the socket keeps for a client that does not read.
const SMALL_BUFFER: u32 = 4 << 10;

pub(crate) struct Raw {
    stream: TcpStream,
    /// Whether the server has taken up the offer.
    compresses: bool,
}

impl Raw {
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let url = Url::parse(endpoint).map_err(|error| Failure::Setup(error.to_string()))?;
        let address = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        let to: SocketAddr = address.parse().map_err(io::Error::other)?;
        let mut stream = socket.connect(to).await?;
        let path = url.path();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        check(head.starts_with("http/1.1 101"), || format!("no WebSocket: {head}"))?;
        Ok(Self { stream, compresses: head.contains("permessage-deflate") })
    }

    /// One message. It goes out as compressed where the server takes that.
    pub(crate) async fn send_deflated(&mut self, deflated: &[u8]) -> Result<()> {
        let compressed = if self.compresses { COMPRESSED } else { 0 };
        self.write(TEXT | compressed, deflated).await
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.write(opcode, payload).await
    }

    async fn write(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![LAST | first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..126), _) => frame.push(MASKED | length),
            (_, Ok(length)) => {
                frame.push(MASKED | SHORT);
                frame.extend(length.to_be_bytes());
            }
            _ => {
                frame.push(MASKED | LONG);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend([0; 4]);
        frame.extend(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Read whatever comes until the other side ends it: how many bytes.
    pub(crate) async fn drain(&mut self) -> usize {
        let mut buffer = vec![0; 64 << 10];
        let mut read = 0;
        while let Ok(some @ 1..) = self.stream.read(&mut buffer).await {
            read += some;
        }
        read
    }

    /// The same, as slowly as over a bad line.
    pub(crate) async fn drain_slowly(&mut self) {
        let mut buffer = vec![0; p::SLOW_BYTES / 10];
        while let Ok(1..) = self.stream.read(&mut buffer).await {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A message as permessage-deflate has it.
pub(crate) fn deflated(message: &[u8]) -> Result<Vec<u8>> {
    let mut deflated = Vec::with_capacity(message.len() / 2 + 1_024);
    Compress::new(Compression::best(), false)
        .compress_vec(message, &mut deflated, FlushCompress::Sync)
        .map_err(io::Error::other)?;
    // What every such message ends with is left out (RFC 7692).
    let length = deflated.len().saturating_sub(4);
    check(deflated[length..] == [0, 0, 0xff, 0xff], || "not deflated".to_owned())?;
    deflated.truncate(length);
    Ok(deflated)
}
