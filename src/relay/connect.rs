//! Reaching a relay: TCP, through the owner's proxy where that is the way, TLS where the url says
//! so, and the WebSocket handshake, within one time limit. [`Dial`] is the seam at which tests put
//! a network of their own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::USER_AGENT;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};
use url::Url;

use crate::constants::{
    CONNECT_TIMEOUT, MAX_RELAY_MESSAGE, MAX_WRITE_BUFFER, PROXIED_CONNECT_TIMEOUT,
};
use crate::stats::Trouble;

use super::proxy::{CLOSED, Routes, Way};
use super::sieve::{END_MOST, Sieve};
use super::socks;

/// A way to reach relays.
pub(crate) trait Dial: Send + Sync + 'static {
    /// What the WebSocket runs over.
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Connects to a normalised url.
    fn dial(
        &self,
        url: &str,
    ) -> impl Future<Output = Result<WebSocketStream<Sieve<Self::Socket>>, DialError>> + Send;

    /// How long that may take.
    fn time_limit(&self, _url: &str) -> Duration {
        CONNECT_TIMEOUT
    }
}

/// Why there is no connection: a sentence for the relay's list of errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The relay, or what stands before it, answered the handshake with this HTTP status.
    #[error("the relay refused the connection (HTTP {0})")]
    Refused(u16),
    /// There is no way to it.
    #[error("{CLOSED}")]
    NoProxy,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl DialError {
    /// Its kind in the relay's log.
    pub(super) const fn kind(&self) -> Trouble {
        match self {
            Self::Refused(_) => Trouble::TurnedAway,
            Self::NoProxy => Trouble::NoProxy,
            Self::Failed(_) => Trouble::Unreachable,
        }
    }
}

impl From<String> for DialError {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// The real network, and the owner's ways into it.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Read at every attempt.
    routes: watch::Sender<Routes>,
}

impl Network {
    /// What the owner has set.
    pub(crate) fn routes(&self) -> Routes {
        self.routes.borrow().clone()
    }

    /// From the next attempt on. Returns what was set before.
    pub(crate) fn set_routes(&self, routes: Routes) -> Routes {
        self.routes.send_replace(routes)
    }
}

impl Dial for Network {
    type Socket = MaybeTlsStream<TcpStream>;

    async fn dial(&self, url: &str) -> Result<WebSocketStream<Sieve<Self::Socket>>, DialError> {
        dial(url, &self.routes()).await
    }

    fn time_limit(&self, url: &str) -> Duration {
        match self.routes.borrow().way(url) {
            Way::Through(_) => PROXIED_CONNECT_TIMEOUT,
            Way::Direct | Way::Closed => CONNECT_TIMEOUT,
        }
    }
}

/// Within the time limit, by any network.
pub(super) async fn connect<D: Dial>(
    dial: &D,
    url: &str,
) -> Result<WebSocketStream<Sieve<D::Socket>>, DialError> {
    let limit = dial.time_limit(url);
    timeout(limit, dial.dial(url))
        .await
        .unwrap_or_else(|_| Err(format!("no connection within {} s", limit.as_secs()).into()))
}

async fn dial(
    url: &str,
    routes: &Routes,
) -> Result<WebSocketStream<Sieve<MaybeTlsStream<TcpStream>>>, DialError> {
    let parsed = Url::parse(url).map_err(|error| error.to_string())?;
    let host = parsed.host_str().ok_or_else(|| "the url has no host".to_owned())?;
    let port = parsed.port_or_known_default().ok_or_else(|| "the url has no port".to_owned())?;
    // An IPv6 host stands in brackets in a url and without them everywhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = match routes.way(url) {
        Way::Direct => TcpStream::connect((host, port))
            .await
            .map_err(|error| format!("no connection: {error}"))?,
        Way::Through(proxy) => socks::connect(proxy, host, port).await?,
        Way::Closed => return Err(DialError::NoProxy),
    };
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = if parsed.scheme() == "wss" {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connected = TlsConnector::from(tls()).connect(name, stream).await;
        MaybeTlsStream::Rustls(connected.map_err(|error| no_web_socket(Error::Io(error)))?)
    } else {
        MaybeTlsStream::Plain(stream)
    };
    shake_hands(url, stream).await.map_err(no_web_socket)
}

/// The WebSocket handshake over a standing connection.
pub(crate) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    url: &str,
    stream: S,
) -> Result<WebSocketStream<Sieve<S>>, Error> {
    let mut request = url.into_client_request()?;
    let agent = concat!("nostrclient/", env!("CARGO_PKG_VERSION"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
    let (socket, _) = client_async_with_config(request, Sieve::new(stream), Some(config())).await?;
    Ok(socket)
}

fn no_web_socket(error: Error) -> DialError {
    match error {
        Error::Http(answer) => DialError::Refused(answer.status().as_u16()),
        _ => DialError::Failed(format!("no WebSocket: {error}")),
    }
}

/// The bounds of a connection to a relay. What is longer than a message may be does not come so far.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_RELAY_MESSAGE + END_MOST))
        .max_frame_size(Some(MAX_RELAY_MESSAGE))
        .max_write_buffer_size(MAX_WRITE_BUFFER)
}

/// Trusts the authorities that browsers trust.
fn tls() -> Arc<ClientConfig> {
    static TLS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = TLS.get_or_init(|| {
        install_crypto();
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Arc::new(config)
    });
    Arc::clone(config)
}

/// rustls has no cryptography of its own and panics at the first `wss://` if none was chosen.
fn install_crypto() {
    // An error says that one is installed already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What answers is no TLS server: the attempt must fail with a sentence, not a panic.
    #[tokio::test]
    async fn tls_has_its_cryptography() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { drop(listener.accept().await) });
        let error =
            connect(&Network::default(), &format!("wss://127.0.0.1:{port}")).await.unwrap_err();
        assert!(matches!(error, DialError::Failed(_)));
        assert!(error.to_string().starts_with("no WebSocket: "), "{error}");
        server.await.unwrap();
    }

    /// A relay that does not want us, or a web server that knows of no relay.
    #[tokio::test]
    async fn an_http_status_instead_of_a_web_socket_is_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            for status in ["403 Forbidden", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                // To its end: the answer would be lost with what was not read.
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let url = format!("ws://127.0.0.1:{port}");
        for status in [403, 200] {
            let error = connect(&Network::default(), &url).await.unwrap_err();
            let sentence = format!("the relay refused the connection (HTTP {status})");
            assert_eq!(error.to_string(), sentence);
            assert!(matches!(error, DialError::Refused(_)));
        }
        server.await.unwrap();
    }
}
