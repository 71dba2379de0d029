//! Ten thousand clients with a subscription each: how many are let in and answered, and are then
//! given an event.

use std::time::Instant;

use tokio::task::JoinSet;

use super::own_filter;
use crate::client::Client;
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Result, check};
use crate::parameters as p;
use crate::report::{Figures, float, per_second};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    stage.in_turn("crowd", &[Who::Ours], 1, 1, once).await
}

async fn once(contender: &Contender, events: &Events) -> Result<Figures> {
    let before = contender.memory()?.unwrap_or(0.0);
    let started = Instant::now();
    let (mut arriving, mut there) = (JoinSet::new(), Vec::new());
    let mut why = None;
    let mut ended = |result: Option<std::result::Result<Result<_>, _>>| match result {
        Some(Ok(Ok(subscriber))) => there.push(subscriber),
        Some(Ok(Err(failure))) => why = Some(format!("{failure}")),
        _ => {}
    };
    for number in 0..p::CROWD {
        let filter = own_filter(events.number() + number);
        let mut subscription = contender.subscription("feed", &filter, events);
        let endpoint = contender.endpoint.clone();
        arriving.spawn(async move {
            let mut client = Client::connect(&endpoint).await?;
            client.subscribe(&mut subscription).await?;
            Ok((client, subscription))
        });
        if arriving.len() == p::ARRIVING {
            ended(arriving.join_next().await);
        }
    }
    while let Some(result) = arriving.join_next().await {
        ended(Some(result));
    }
    let rate = per_second(there.len(), started.elapsed());
    let after = contender.memory()?.unwrap_or(0.0);

    let mut readers = JoinSet::new();
    for (mut client, mut subscription) in there {
        readers.spawn(async move {
            client.receive_all(&mut subscription, |_| {}).await?;
            // Kept: thousands that leave now would hold up those that wait.
            Ok::<_, crate::failure::Failure>(client)
        });
    }
    let published = Instant::now();
    contender.relays.publish(events, 0).await;
    let mut given = Vec::new();
    while let Some(result) = readers.join_next().await {
        match result {
            Ok(Ok(client)) => given.push(client),
            Ok(Err(failure)) => why = Some(failure.to_string()),
            Err(_) => {}
        }
    }
    let seconds = published.elapsed().as_secs_f64();
    let count = given.len();
    drop(given);
    check(count > 0, || why.clone().unwrap_or_default())?;
    if let Some(why) = why {
        eprintln!("  crowd: {count} of {}: {why}", p::CROWD);
    }
    let kib = (after - before) * 1024.0 / float(count);
    let figure = |measure: &str, value| (format!("10,000 clients: {measure}"), value);
    Ok(vec![
        figure("asked and answered, an event each", float(count)),
        figure("clients/s", rate),
        figure("KiB each", kib),
        figure("seconds until the last has the event", seconds),
    ])
}
