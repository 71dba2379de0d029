//! Events at a steady pace, a copy from every relay, to one client or many: time from the moment
//! the first relay sends an event to the moment a client has read it.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::interval;

use super::{Subscriber, leave, next, own_filter, subscribers};
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::Result;
use crate::parameters as p;
use crate::report::{Figures, millis, times};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let relays = stage.relays;
    for (clients, pace) in p::LIVE {
        if clients > 1 && relays != p::RELAYS {
            continue;
        }
        let s = if clients == 1 { "" } else { "s" };
        let measure = format!("live, {relays} relays, {clients} client{s}, {pace}/s");
        // What it cannot keep up with would only queue up: it takes about a thousand a second.
        let whom = if clients * pace > 500 { &[Who::Relay, Who::Ours][..] } else { &Who::ALL };
        let rounds = if clients > 50 { 1 } else { p::ROUNDS };
        let once = async |contender: &Contender, events: &Events| {
            let filter = |number| own_filter(events.number() + number);
            let arrived = subscribers(contender, clients, p::ARRIVING, events, filter).await?;
            let taken = latencies(contender, events, pace, arrived).await?;
            Ok::<Figures, _>(times(&measure, taken))
        };
        stage.in_turn(&measure, whom, rounds, p::LIVE_SECONDS * pace, once).await?;
    }
    Ok(())
}

/// Milliseconds each event took to each of the clients, which then leave.
pub(crate) async fn latencies(
    contender: &Contender,
    events: &Events,
    per_second: usize,
    subscribers: Vec<Subscriber>,
) -> Result<Vec<f64>> {
    let mut readers = JoinSet::new();
    for (client, subscription) in subscribers {
        readers.spawn(read_all((client, subscription)));
    }
    let mut pace = interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(1));
    let mut sent = Vec::with_capacity(events.len());
    for position in 0..events.len() {
        pace.tick().await;
        sent.push(contender.relays.publish(events, position).await);
    }
    let (mut taken, mut gone) = (Vec::new(), Vec::new());
    while let Some((subscriber, read)) = next(&mut readers).await? {
        let times = read.into_iter().filter_map(|(position, read): (usize, Instant)| {
            Some(millis(read.saturating_duration_since(*sent[position].get()?)))
        });
        taken.extend(times);
        gone.push(subscriber);
    }
    leave(gone).await;
    Ok(taken)
}

/// When each event came.
async fn read_all(
    (mut client, mut subscription): Subscriber,
) -> Result<(Subscriber, Vec<(usize, Instant)>)> {
    let mut read = Vec::new();
    client.receive_all(&mut subscription, |position| read.push((position, Instant::now()))).await?;
    let settle = tokio::time::Instant::now() + p::SETTLE;
    client.nothing_more(&mut subscription, settle).await?;
    Ok(((client, subscription), read))
}
