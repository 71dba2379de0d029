//! A connection through a SOCKS5 proxy (RFC 1928, 1929), and what went wrong in words that tell
//! the proxy's fault from the relay's. The relay's host is given to the proxy as it is.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_socks::Error;
use tokio_socks::tcp::Socks5Stream;

use crate::constants::CONNECT_TIMEOUT;

use super::proxy::Proxy;

/// Until the proxy has connected to the relay. It has to answer at all within [`CONNECT_TIMEOUT`];
/// how long it may take for the rest is the caller's to say.
pub(super) async fn connect(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, String> {
    let silent = || format!("the proxy does not answer within {} s", CONNECT_TIMEOUT.as_secs());
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(proxy.address()))
        .await
        .map_err(|_| silent())?
        .map_err(|error| format!("the proxy cannot be reached: {error}"))?;
    let heard = AtomicBool::new(false);
    let socket = Socket { stream, heard: &heard };
    let login = proxy.login();
    let handshake = async {
        match &login {
            None => Socks5Stream::connect_with_socket(socket, (host, port)).await,
            Some((user, password)) => {
                let target = (host, port);
                Socks5Stream::connect_with_password_and_socket(socket, target, user, password).await
            }
        }
    };
    tokio::pin!(handshake);
    let result = tokio::select! {
        result = &mut handshake => result,
        () = sleep(CONNECT_TIMEOUT) => {
            if !heard.load(Relaxed) {
                return Err(silent());
            }
            handshake.await
        }
    };
    match result {
        Ok(connected) => Ok(connected.into_inner().stream),
        Err(error) => Err(in_words(&error, login.is_some())),
    }
}

fn in_words(error: &Error, with_login: bool) -> String {
    let words = match error {
        Error::Io(error) => return format!("the proxy broke the connection off: {error}"),
        Error::InvalidTargetAddress(_) => "the relay's name is too long for a proxy",
        Error::NoAcceptableAuthMethods if with_login => {
            "the proxy takes no user name and password, and none without"
        }
        Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => {
            "the proxy asks for a user name and password"
        }
        Error::PasswordAuthFailure(_) => "the proxy refuses the user name and password",
        Error::GeneralSocksServerFailure => "the proxy could not connect to the relay",
        Error::ConnectionNotAllowedByRuleset => {
            "the proxy does not allow connections to this relay"
        }
        Error::NetworkUnreachable => "the proxy cannot reach the relay's network",
        Error::HostUnreachable => "the proxy cannot find or reach the relay's host",
        Error::ConnectionRefused => "the relay refused the connection that the proxy made",
        Error::TtlExpired => "the proxy got no answer from the relay in time",
        Error::CommandNotSupported => "the proxy does not make connections",
        Error::AddressTypeNotSupported => "the proxy does not take addresses of this kind",
        _ => "what answers at the proxy's address does not speak SOCKS5",
    };
    words.to_owned()
}

/// The line to the proxy, which remembers whether anything has come.
struct Socket<'a> {
    stream: TcpStream,
    heard: &'a AtomicBool,
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Socket<'_> {
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
pub(crate) mod server;
#[cfg(test)]
mod tests;
