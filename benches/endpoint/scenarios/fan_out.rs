//! Many clients with a subscription each, no filter twice, and live events in one go: deliveries
//! in a second, from the first event a relay sends to the last a client reads. And how many sockets
//! a relay has meanwhile.

use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Subscriber, leave, next, own_filter, subscribers};
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Result, check};
use crate::parameters as p;
use crate::report::{Figures, float, number, per_second};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    for (clients, events) in p::FAN_OUT {
        let to = number(float(clients));
        let name = format!("fan-out to {to} clients");
        // Each round anew, but for a thousand that take long to connect.
        let rounds = if clients > 100 { 1 } else { p::ROUNDS };
        let once = async |contender: &Contender, events: &Events| {
            once(contender, events, clients, &name).await
        };
        stage.in_turn(&name, &Who::ALL, rounds, events, once).await?;
    }
    Ok(())
}

pub(crate) async fn once(
    contender: &Contender,
    events: &Events,
    clients: usize,
    name: &str,
) -> Result<Figures> {
    let most = (p::FAN_OUT_DELIVERIES_PEER / clients).max(2);
    let events = if contender.who == Who::Peer { events.first(most) } else { events.clone() };
    let filter = |number| own_filter(events.number() + number);
    let subscribers = subscribers(contender, clients, p::ARRIVING, &events, filter).await?;
    let sockets = contender.relays.connections().await.into_iter().max().unwrap_or(0);
    let rate = deliver(contender, &events, subscribers).await?;
    let mut figures = vec![(format!("{name}, deliveries/s"), rate)];
    if contender.who != Who::Relay {
        figures.push((format!("{name}, sockets of a relay"), float(sockets)));
    }
    Ok(figures)
}

/// All the events to all of them, who then leave: deliveries in a second.
async fn deliver(
    contender: &Contender,
    events: &Events,
    subscribers: Vec<Subscriber>,
) -> Result<f64> {
    let clients = subscribers.len();
    let mut readers = JoinSet::new();
    for subscriber in subscribers {
        readers.spawn(read_all(subscriber));
    }
    let first = publish_all(contender, events).await?;
    let (mut last, mut gone) = (first, Vec::new());
    while let Some((subscriber, at)) = next(&mut readers).await? {
        last = last.max(at);
        gone.push(subscriber);
    }
    leave(gone).await;
    Ok(per_second(clients * events.len(), last - first))
}

/// When the first event was sent.
async fn publish_all(contender: &Contender, events: &Events) -> Result<Instant> {
    let mut cells = Vec::new();
    for position in 0..events.len() {
        cells.push(contender.relays.publish(events, position).await);
    }
    // Sent by another thread: it may be a moment behind.
    let deadline = tokio::time::Instant::now() + p::STEP;
    loop {
        if let Some(first) = cells.first().and_then(|cell| cell.get()) {
            return Ok(*first);
        }
        check(tokio::time::Instant::now() < deadline, || "no relay has a connection".to_owned())?;
        sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// When the last event came.
async fn read_all((mut client, mut subscription): Subscriber) -> Result<(Subscriber, Instant)> {
    client.receive_all(&mut subscription, |_| {}).await?;
    let last = Instant::now();
    let settle = tokio::time::Instant::now() + p::SETTLE;
    client.nothing_more(&mut subscription, settle).await?;
    Ok(((client, subscription), last))
}
