//! Many clients with a subscription each, and live events in one go: deliveries in a second, from
//! the first event a relay sends to the last a client reads. And how many sockets a relay has
//! meanwhile.

use std::time::Instant;

use tokio::task::JoinSet;

use super::{Stage, per_second};
use crate::client::{Client, Subscription};
use crate::events::Events;
use crate::failure::{Failure, Result, check};
use crate::parameters as p;
use crate::report::Row;

const NAME: &str = "fanout";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<Row>> {
    let mut same = Vec::new();
    let mut different = Vec::new();
    let mut sockets = 0.0_f64;
    for run in 0..p::RUNS {
        let common = format!(r#"{{"kinds":[1],"since":{}}}"#, 200 + run);
        let (rate, most) = once(stage, |_| common.clone()).await?;
        same.push(rate);
        sockets = sockets.max(most);
        let own = |client| format!(r#"{{"kinds":[1],"since":{}}}"#, 1000 * (run + 1) + client);
        let (rate, most) = once(stage, own).await?;
        different.push(rate);
        sockets = sockets.max(most);
    }
    let measure = format!("deliveries/s to {} clients", p::FANOUT_CLIENTS);
    let mut rows = vec![
        Row::rate(NAME, &measure, same, Some(p::FANOUT_GOAL)),
        Row::rate(NAME, format!("{measure}, no filter twice"), different, None),
    ];
    if stage.pid.is_some() {
        rows.push(Row::at_most(NAME, "sockets of a relay", sockets, p::SOCKETS_GOAL));
    }
    Ok(rows)
}

/// One run, with the filter `filter` gives each client: deliveries in a second, and the most
/// sockets a relay has.
async fn once(stage: &mut Stage<'_>, filter: impl Fn(usize) -> String) -> Result<(f64, f64)> {
    let events = stage.supply.take(p::FANOUT)?;
    let mut clients = Vec::new();
    for number in 0..p::FANOUT_CLIENTS {
        let mut client = Client::connect(&stage.endpoint).await?;
        let mut subscription = Subscription::new("feed", &filter(number), events.clone());
        client.subscribe(&mut subscription).await?;
        clients.push((client, subscription));
    }
    let sockets = stage.relays.connections().await.into_iter().max();

    let mut readers = JoinSet::new();
    for (client, subscription) in clients {
        readers.spawn(read_all(client, subscription));
    }
    let first = publish_all(stage, &events).await?;
    let mut last = first;
    while let Some(finished) = readers.join_next().await {
        let at = finished.map_err(|error| Failure::Setup(error.to_string()))??;
        last = last.max(at);
    }
    let rate = per_second(p::FANOUT_CLIENTS * p::FANOUT, last - first);
    let sockets = u32::try_from(sockets.unwrap_or(0)).map_or(f64::INFINITY, f64::from);
    Ok((rate, sockets))
}

/// When the first event was sent.
async fn publish_all(stage: &Stage<'_>, events: &Events) -> Result<Instant> {
    let mut cells = Vec::new();
    for position in 0..events.len() {
        cells.push(stage.relays.publish(events, position).await);
    }
    // Sent by another thread: it may be a moment behind.
    let deadline = tokio::time::Instant::now() + p::STEP;
    loop {
        if let Some(first) = cells.first().and_then(|cell| cell.get()) {
            return Ok(*first);
        }
        check(tokio::time::Instant::now() < deadline, || "no relay has a connection".to_owned())?;
        tokio::task::yield_now().await;
    }
}

/// When the last event came.
async fn read_all(mut client: Client, mut subscription: Subscription) -> Result<Instant> {
    client.receive_all(&mut subscription, |_| {}).await?;
    let last = Instant::now();
    let settle = tokio::time::Instant::now() + p::SETTLE;
    client.nothing_more(&mut subscription, settle).await?;
    client.close().await;
    Ok(last)
}
