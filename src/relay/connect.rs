//! Reaching a relay: TCP, TLS where the url says so, and the WebSocket handshake, within one time
//! limit. [`Dial`] is the seam at which tests put a network of their own.

use std::sync::Once;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::USER_AGENT;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::Url;

use crate::constants::{CONNECT_TIMEOUT, MAX_RELAY_MESSAGE, MAX_WRITE_BUFFER};

/// A way to reach relays.
pub trait Dial: Send + Sync + 'static {
    /// What the WebSocket runs over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Connects to a normalised url. An error is a sentence for the relay's list of errors.
    fn dial(
        &self,
        url: &str,
    ) -> impl Future<Output = Result<WebSocketStream<Self::Stream>, String>> + Send;
}

/// The real network.
#[derive(Debug, Clone, Copy)]
pub struct Network;

impl Dial for Network {
    type Stream = MaybeTlsStream<TcpStream>;

    async fn dial(&self, url: &str) -> Result<WebSocketStream<Self::Stream>, String> {
        dial(url).await
    }
}

/// Within the time limit, by any network.
pub(super) async fn connect<D: Dial>(
    dial: &D,
    url: &str,
) -> Result<WebSocketStream<D::Stream>, String> {
    timeout(CONNECT_TIMEOUT, dial.dial(url))
        .await
        .unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))
}

async fn dial(url: &str) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, String> {
    install_crypto();
    let parsed = Url::parse(url).map_err(|error| error.to_string())?;
    let host = parsed.host_str().ok_or("the url has no host")?;
    let port = parsed.port_or_known_default().ok_or("the url has no port")?;
    // An IPv6 host stands in brackets in a url and without them everywhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("no connection: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut request = url.into_client_request().map_err(|error| error.to_string())?;
    let agent = concat!("nostrclient/", env!("CARGO_PKG_VERSION"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
    let (socket, _) = client_async_tls_with_config(request, stream, Some(config()), None)
        .await
        .map_err(|error| format!("no WebSocket: {error}"))?;
    Ok(socket)
}

/// The bounds of a connection to a relay.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_RELAY_MESSAGE))
        .max_frame_size(Some(MAX_RELAY_MESSAGE))
        .max_write_buffer_size(MAX_WRITE_BUFFER)
}

/// rustls has no cryptography of its own and panics at the first `wss://` if none was chosen.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that one is installed already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What answers is no TLS server: the attempt must fail with a sentence, not a panic.
    #[tokio::test]
    async fn tls_has_its_cryptography() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { drop(listener.accept().await) });
        let error = connect(&Network, &format!("wss://127.0.0.1:{port}")).await.unwrap_err();
        assert!(error.starts_with("no WebSocket: "), "{error}");
        server.await.unwrap();
    }
}
