//! One client asks for what every relay has stored: time from its REQ to its EOSE.

use tokio::time::Instant;

use super::{Stage, per_second};
use crate::client::{Client, Subscription};
use crate::failure::{Result, check};
use crate::parameters as p;
use crate::relay::Stored;
use crate::report::Row;

const NAME: &str = "stored";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<Row>> {
    let mut rates = Vec::new();
    let before = stage.processor_time()?;
    // A relay talked to directly passes forged events on: it checks nothing.
    let forged_every = if stage.pid.is_some() { p::FORGED_EVERY } else { 0 };
    for run in 0..p::RUNS {
        let events = stage.supply.take(p::STORED)?;
        let stored = Stored { events: events.clone(), forged_every };
        stage.relays.set_stored(Some(stored)).await;

        let mut client = Client::connect(&stage.endpoint).await?;
        // A filter of its own: nothing is left over from the run before.
        let filter = format!(r#"{{"kinds":[1],"since":{run}}}"#);
        let mut subscription = Subscription::new(&format!("stored-{run}"), &filter, events);
        let asked = Instant::now();
        client.subscribe(&mut subscription).await?;
        rates.push(per_second(p::STORED, asked.elapsed()));

        let unique = subscription.unique();
        check(subscription.all(), || format!("{unique} of {} events before EOSE", p::STORED))?;
        client.nothing_more(&mut subscription, asked + p::LATE_EOSE).await?;
        client.close().await;
    }

    let mut rows = vec![Row::rate(NAME, "unique events/s to EOSE", rates, Some(p::STORED_GOAL))];
    rows.extend(stage.cost(NAME, before, p::RUNS * p::STORED)?);
    Ok(rows)
}
