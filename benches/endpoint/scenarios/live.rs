//! One subscription, events at a steady pace, a copy from every relay: time from the moment the
//! first relay sends an event to the moment the client has read it.

use std::time::{Duration, Instant};

use tokio::time::interval;

use super::Stage;
use crate::client::{Client, Subscription};
use crate::failure::Result;
use crate::parameters as p;
use crate::report::{Row, quantile};

const NAME: &str = "live";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<Row>> {
    let events = stage.supply.take(p::LIVE)?;
    let mut client = Client::connect(&stage.endpoint).await?;
    let mut subscription = Subscription::new(NAME, r#"{"kinds":[1],"since":100}"#, events.clone());
    client.subscribe(&mut subscription).await?;

    let publish = async {
        let mut pace =
            interval(Duration::from_secs(1) / u32::try_from(p::LIVE_PER_SECOND).unwrap_or(1));
        let mut sent = Vec::with_capacity(events.len());
        for position in 0..events.len() {
            pace.tick().await;
            sent.push(stage.relays.publish(&events, position).await);
        }
        Ok(sent)
    };
    let mut read = Vec::with_capacity(events.len());
    let receive = client.receive_all(&mut subscription, |position| {
        read.push((position, Instant::now()));
    });
    let (sent, ()) = tokio::try_join!(publish, receive)?;
    let settle = tokio::time::Instant::now() + p::SETTLE;
    client.nothing_more(&mut subscription, settle).await?;
    client.close().await;

    let mut millis: Vec<f64> = read
        .into_iter()
        .filter_map(|(position, read)| Some(read - *sent[position].get()?))
        .map(|latency| latency.as_secs_f64() * 1e3)
        .collect();
    millis.sort_by(f64::total_cmp);
    let highest = format!("{:.2}", quantile(&millis, 1.0));
    Ok(vec![
        Row::at_most(NAME, "p50 ms", quantile(&millis, 0.5), p::LIVE_P50_GOAL),
        Row::at_most(NAME, "p99 ms", quantile(&millis, 0.99), p::LIVE_P99_GOAL),
        Row::note(NAME, "highest ms", highest),
    ])
}
