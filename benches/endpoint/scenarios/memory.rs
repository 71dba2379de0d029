//! A great many different events through one subscription: how much resident memory the process
//! behind the endpoint has more than before.

use tokio::time::Instant;

use super::{Stage, per_second};
use crate::client::{Client, Subscription};
use crate::failure::{Failure, Result};
use crate::parameters as p;
use crate::process;
use crate::report::Row;

const NAME: &str = "memory";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<Row>> {
    let pid = stage.pid.ok_or_else(|| Failure::Setup("needs LNbits".to_owned()))?;
    let total = p::memory_events();
    let mut client = Client::connect(&stage.endpoint).await?;
    let filter = r#"{"kinds":[1],"since":10}"#;
    let mut nothing = Subscription::new(NAME, filter, stage.supply.take(0)?);
    client.subscribe(&mut nothing).await?;

    let before = process::memory(pid)?;
    let mut highest = before;
    let started = Instant::now();
    let mut done = 0;
    while done < total {
        let events = stage.supply.take(p::MEMORY_BATCH.min(total - done))?;
        let mut subscription = Subscription::new(NAME, filter, events.clone());
        let publish = async {
            for position in 0..events.len() {
                stage.relays.publish(&events, position).await;
            }
            Ok(())
        };
        let receive = client.receive_all(&mut subscription, |_| {});
        tokio::try_join!(publish, receive)?;
        done += events.len();
        highest = highest.max(process::memory(pid)?);
    }
    let rate = per_second(total, started.elapsed());
    let after = process::memory(pid)?;
    client.close().await;

    let measure = format!("MiB more after {total} events");
    Ok(vec![
        Row::at_most(NAME, measure, after - before, p::MEMORY_GOAL),
        Row::note(NAME, "MiB more at most meanwhile", format!("{:.2}", highest - before)),
        Row::note(NAME, "unique events/s meanwhile", format!("{rate:.0}")),
    ])
}
