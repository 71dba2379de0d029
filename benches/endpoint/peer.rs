//! Another multiplexer to be measured beside ours: `proxy-nostr-relay`, as `make bench` has
//! installed it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::time::{Duration, Instant, sleep};

use crate::failure::{Failure, Result, check};
use crate::http;

const START: Duration = Duration::from_secs(30);
/// `bench:bench`, in base64.
const LOGIN: &str = "Authorization: Basic YmVuY2g6YmVuY2g=\r\n";

/// The running server. Ended when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) endpoint: String,
}

impl Peer {
    /// Start one with an empty database, these relays, and leave for everybody to publish.
    pub(crate) async fn start(relays: &[&str]) -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = repository.join("target/peers/bin/proxy-nostr-relay");
        check(program.exists(), || "not installed: `make bench` does that".to_owned())?;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("peer");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
        let child = Command::new(program)
            .current_dir(&folder)
            .env("ADMIN_USER", "bench")
            .env("ADMIN_PASS", "bench")
            .env("BIND_ADDR", &address)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let peer = Self { child, endpoint: format!("ws://{address}/") };
        until_up(&address).await?;
        let relays = relays.iter().map(|url| format!(r#"{{"url":"{url}","enabled":true}}"#));
        let relays = relays.collect::<Vec<_>>().join(",");
        let relays = format!(r#"{{"relays":[{relays}]}}"#);
        http::request(&address, "PUT", "/api/relay", LOGIN, &relays).await?;
        let everybody = r#"{"policy":"denylist"}"#;
        http::request(&address, "PUT", "/api/post-policy", LOGIN, everybody).await?;
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until_up(address: &str) -> Result<()> {
    let deadline = Instant::now() + START;
    while let Err(failure) = http::request(address, "GET", "/healthz", "", "").await {
        if Instant::now() > deadline {
            return Err(Failure::Setup(format!("did not start: {failure}")));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
