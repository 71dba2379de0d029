//! How long `LNbits`' own API takes while something else goes on.

use std::thread;
use std::time::Instant;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::failure::{Failure, Result};
use crate::http;
use crate::parameters as p;
use crate::report::{Figures, millis, times};

/// Do `meanwhile`, and call the API at an even pace until that has ended: a call goes out whether
/// the one before was answered or not, or a server that stands still would hardly be seen. The
/// calls have a thread of their own, so that clients of ours do not hold them up.
pub(crate) async fn watched<T>(
    address: &str,
    measure: &str,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<(T, Figures)> {
    let (end, ended) = oneshot::channel();
    let (give, given) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let address = address.to_owned();
    thread::Builder::new().name("api".to_owned()).spawn(move || {
        // Nobody waits for it where the rest has failed.
        let _ = give.send(runtime.block_on(call_until(ended, address)));
    })?;
    let result = meanwhile.await?;
    drop(end);
    let taken = given.await.map_err(|error| Failure::Setup(error.to_string()))?;
    Ok((result, times(&format!("{measure}: LNbits' API meanwhile"), taken)))
}

async fn call_until(mut ended: oneshot::Receiver<()>, address: String) -> Vec<f64> {
    let mut pace = interval(p::API_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut ended => return calls.join_all().await,
            _ = pace.tick() => { calls.spawn(call(address.clone())); }
        }
    }
}

/// Milliseconds. What is never answered counts as long as was waited.
async fn call(address: String) -> f64 {
    let sent = Instant::now();
    let answer = http::request(&address, "GET", "/api/v1/health", "", "");
    match timeout(p::API_PATIENCE, answer).await {
        Ok(Ok(_)) => millis(sent.elapsed()),
        _ => millis(p::API_PATIENCE),
    }
}
