//! An `LNbits` of its own for the benchmark, started by the launcher behind `make run`.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::failure::{Failure, Result};
use crate::process;

/// A first start takes about twelve seconds.
const START: Duration = Duration::from_mins(3);
/// The launcher gives `LNbits` fifteen seconds before it ends it the hard way.
const STOP: Duration = Duration::from_secs(30);
/// What the launcher prints.
const ENDPOINT_LINE: &str = "Public endpoint:";
const READY_LINE: &str = "Relays connected:";

/// The running server. Stopped when dropped.
pub(crate) struct LnBits {
    launcher: Child,
    /// The public WebSocket endpoint.
    pub(crate) endpoint: String,
    /// The process that serves it.
    pub(crate) pid: u32,
    /// `host:port` of its API.
    pub(crate) address: String,
}

impl LnBits {
    /// Start one with an empty data folder, and wait until it is connected to `relays`.
    pub(crate) fn start(relays: &[&str]) -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lnbits");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        // `make` says which environment; the usual one otherwise.
        let environment =
            std::env::var_os("VIRTUAL_ENV").map_or_else(|| repository.join(".venv"), PathBuf::from);
        let python = environment.join("bin/python");
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut launcher = Command::new(&python)
            .args(["-m", "scripts.run"])
            .current_dir(repository)
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("LNBITS_DATA_FOLDER", folder.join("data"))
            .env("LNBITS_EXTENSIONS_PATH", folder.join("extensions"))
            .env("NOSTRCLIENT_RELAYS", relays.join(","))
            .env("NOSTRCLIENT_PUBLIC_WS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let python = python.display();
                Failure::Setup(format!("{python}: {error}. `make dev` sets it up."))
            })?;
        let output = launcher.stdout.take();
        let address = format!("127.0.0.1:{port}");
        let mut server = Self { launcher, endpoint: String::new(), pid: 0, address };
        // From here on a failure stops what was started.
        let lines = lines(output.ok_or_else(|| Failure::Setup("no output".to_owned()))?);
        server.endpoint = read_endpoint(&lines)?;
        server.pid = process::only_child(server.launcher.id())?;
        Ok(server)
    }

    /// A WebSocket of `LNbits`' own, with nothing behind it.
    pub(crate) fn bare(&self) -> String {
        format!("ws://{}/api/v1/ws/bench", self.address)
    }

    fn stop(&mut self) -> io::Result<()> {
        let signal = format!("kill -TERM {}", self.launcher.id());
        Command::new("sh").args(["-c", &signal]).status()?;
        let deadline = Instant::now() + STOP;
        while self.launcher.try_wait()?.is_none() {
            if Instant::now() > deadline {
                // Its own children end with it.
                self.launcher.kill()?;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for LnBits {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("LNbits was not stopped: {error}");
        }
    }
}

/// The lines of `output`, read by a thread that ends with it. The launcher never has to wait.
fn lines(output: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(io::Result::ok) {
            // Nobody listens any more once it is up.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The endpoint the launcher announces. Returns once the relays are connected.
fn read_endpoint(lines: &Receiver<String>) -> Result<String> {
    let deadline = Instant::now() + START;
    let mut endpoint = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines
            .recv_timeout(left)
            .map_err(|_| Failure::Setup("LNbits did not start".to_owned()))?;
        if let Some(url) = line.strip_prefix(ENDPOINT_LINE) {
            endpoint = Some(url.trim().to_owned());
        }
        if line.starts_with(READY_LINE) {
            let missing = || Failure::Setup("the launcher names no endpoint".to_owned());
            return endpoint.ok_or_else(missing);
        }
    }
}
