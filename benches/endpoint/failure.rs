//! The one error of the benchmark. Whatever goes wrong ends the scenario, not the program.

use std::io;

use tokio_tungstenite::tungstenite;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a scenario gave no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The endpoint did something it must not do.
    #[error("{0}")]
    Check(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("WebSocket: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The benchmark cannot go on: a wrong argument, `LNbits` that does not start.
    #[error("{0}")]
    Setup(String),
}

impl From<tungstenite::Error> for Failure {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// Fails the scenario with the sentence `complaint` makes, unless `holds`.
pub(crate) fn check(holds: bool, complaint: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Failure::Check(complaint())) }
}
