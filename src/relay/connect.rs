//! Reaching a relay: TCP, through the owner's proxy where that is the way, TLS where the url says
//! so, and the WebSocket handshake, within one time limit. [`Dial`] is the seam at which tests put
//! a network of their own.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::header::{RETRY_AFTER, USER_AGENT};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};
use url::Url;

use crate::constants::{
    CONNECT_TIMEOUT, MAX_RELAY_MESSAGE, MAX_WRITE_BUFFER, PROXIED_CONNECT_TIMEOUT,
};
use crate::stats::Trouble;

use super::badge::{Badge, HEADER, Peer};
use super::proxy::{CLOSED, Routes, Way};
use super::retry_after::retry_after;
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
    ) -> impl Future<Output = Result<Reached<Self::Socket>, DialError>> + Send;

    /// How long that may take.
    fn time_limit(&self, _url: &str) -> Duration {
        CONNECT_TIMEOUT
    }
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Reached<S> {
    /// It.
    pub socket: WebSocketStream<Sieve<S>>,
    /// Another server of this extension is at its other end.
    pub sibling: bool,
}

/// Why there is no connection: a sentence for the relay's list of errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The relay, or what stands before it, answered the handshake with this HTTP status, and perhaps
    /// with how long not to come again.
    #[error("the relay refused the connection (HTTP {0})")]
    Refused(u16, Option<Duration>),
    /// There is no way to it.
    #[error("{CLOSED}")]
    NoProxy,
    /// This server has reached itself.
    #[error("it is this server itself, and no relay")]
    Itself,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl DialError {
    /// Its kind in the relay's log.
    pub(super) const fn kind(&self) -> Trouble {
        match self {
            Self::Refused(..) => Trouble::TurnedAway,
            Self::NoProxy => Trouble::NoProxy,
            Self::Itself => Trouble::Itself,
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
#[derive(Debug)]
pub(crate) struct Network {
    /// Read at every attempt.
    routes: watch::Sender<Routes>,
    /// By which this server knows itself.
    badge: Badge,
}

impl Network {
    /// Without a proxy.
    pub(crate) fn new(badge: Badge) -> Self {
        Self { routes: watch::Sender::default(), badge }
    }

    /// By which this server knows itself.
    pub(crate) const fn badge(&self) -> &Badge {
        &self.badge
    }

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

    async fn dial(&self, url: &str) -> Result<Reached<Self::Socket>, DialError> {
        dial(url, &self.routes(), &self.badge).await
    }

    fn time_limit(&self, url: &str) -> Duration {
        match self.routes.borrow().way(url) {
            Way::Through(_) => PROXIED_CONNECT_TIMEOUT,
            Way::Direct | Way::Closed => CONNECT_TIMEOUT,
        }
    }
}

/// Within the time limit, by any network.
pub(super) async fn connect<D: Dial>(dial: &D, url: &str) -> Result<Reached<D::Socket>, DialError> {
    let limit = dial.time_limit(url);
    timeout(limit, dial.dial(url))
        .await
        .unwrap_or_else(|_| Err(format!("no connection within {} s", limit.as_secs()).into()))
}

async fn dial(
    url: &str,
    routes: &Routes,
    badge: &Badge,
) -> Result<Reached<MaybeTlsStream<TcpStream>>, DialError> {
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
        MaybeTlsStream::Rustls(connected.map_err(|error| no_web_socket(&Error::Io(error)))?)
    } else {
        MaybeTlsStream::Plain(stream)
    };
    let mut request = url.into_client_request().map_err(|error| error.to_string())?;
    let agent = HeaderValue::try_from(badge.agent()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(USER_AGENT, agent);
    let peer = |headers: &HeaderMap| {
        badge.relay(headers.get(HEADER).map(|shown| shown.to_str().unwrap_or_default()))
    };
    match shake_hands(request, stream).await {
        Ok((socket, answer)) => match peer(answer.headers()) {
            Peer::Itself => Err(DialError::Itself),
            sibling => Ok(Reached { socket, sibling: sibling == Peer::Sibling }),
        },
        Err(Error::Http(answer)) if peer(answer.headers()) == Peer::Itself => {
            Err(DialError::Itself)
        }
        Err(error) => Err(no_web_socket(&error)),
    }
}

/// The WebSocket handshake over a standing connection, and the answer to it.
pub(crate) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    request: impl IntoClientRequest + Unpin,
    stream: S,
) -> Result<(WebSocketStream<Sieve<S>>, Response), Error> {
    client_async_with_config(request, Sieve::new(stream), Some(config())).await
}

fn no_web_socket(error: &Error) -> DialError {
    match error {
        Error::Http(answer) => {
            let value = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = value.and_then(|value| retry_after(value, SystemTime::now()));
            DialError::Refused(answer.status().as_u16(), retry_after)
        }
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
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    use super::*;
    use crate::base::secret::Secret;

    fn network() -> Network {
        Network::new(Badge::new(Secret::new([0; 32])))
    }

    /// What answers is no TLS server: the attempt must fail with a sentence, not a panic.
    #[tokio::test]
    async fn tls_has_its_cryptography() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { drop(listener.accept().await) });
        let error = connect(&network(), &format!("wss://127.0.0.1:{port}")).await.unwrap_err();
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
            for status in [
                "403 Forbidden",
                "200 OK",
                "429 Too Many Requests\r\nRetry-After: 90",
                "503 Service Unavailable\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT",
                "503 Service Unavailable\r\nRetry-After: soon",
            ] {
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
        let (url, network) = (format!("ws://127.0.0.1:{port}"), network());
        let past = Some(0);
        for (status, retry_after) in
            [(403, None), (200, None), (429, Some(90)), (503, past), (503, None)]
        {
            let error = connect(&network, &url).await.unwrap_err();
            let sentence = format!("the relay refused the connection (HTTP {status})");
            assert_eq!(error.to_string(), sentence);
            let DialError::Refused(_, wait) = error else { panic!("{error:?}") };
            assert_eq!(wait, retry_after.map(Duration::from_secs));
        }
        server.await.unwrap();
    }

    /// Whatever its name: a proxy may drop the header of the request, and never that of the answer as well.
    #[tokio::test]
    async fn a_server_that_reaches_itself_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, other) = (network(), Badge::new(Secret::new([1; 32])));
        let own = network.badge().clone();
        let server = tokio::spawn(async move {
            let mut agents = Vec::new();
            for (status, badge) in [
                ("101 Switching Protocols", own.show()),
                ("508 Loop Detected", own.show()),
                ("508 Loop Detected", other.show()),
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap();
                let header = |name: &str| {
                    let line = request.lines().find_map(|line| line.split_once(name)).unwrap().1;
                    line.trim_start_matches(": ").to_owned()
                };
                agents.push(own.client(&header("user-agent")));
                let accept = derive_accept_key(header("Sec-WebSocket-Key").as_bytes());
                let answer = format!(
                    "HTTP/1.1 {status}\r\nNostrclient: {badge}\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
                     Content-Length: 0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            agents
        });
        let url = format!("ws://127.0.0.1:{port}");
        for _ in 0..2 {
            let error = connect(&network, &url).await.unwrap_err();
            assert!(matches!(error, DialError::Itself), "{error}");
        }
        let error = connect(&network, &url).await.unwrap_err();
        assert!(matches!(error, DialError::Refused(508, _)), "{error}");
        assert_eq!(server.await.unwrap(), [Peer::Itself; 3]);
    }
}
