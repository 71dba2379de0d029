//! Many clients connect at once, and each asks for something: clients a second, from the first
//! TCP connection to the last EOSE. Beside it, bare ones of `LNbits`' own, which ask for nothing:
//! nobody who is let in by `LNbits` gets in faster.

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{leave, next, own_filter, subscribers};
use crate::client::Client;
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::Result;
use crate::goals::BARE;
use crate::parameters as p;
use crate::report::{Figures, per_second};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let once = async |contender: &Contender, events: &Events| {
        let mut figures = Figures::new();
        if contender.who == Who::Ours {
            let endpoint = contender.lnbits()?.bare();
            figures.push((BARE.to_owned(), bare(&endpoint, p::CONNECTING).await?));
        }
        let started = Instant::now();
        let filter = |number| own_filter(events.number() + number);
        let all = subscribers(contender, p::CONNECTING, p::CONNECTING, events, filter).await?;
        let rate = per_second(p::CONNECTING, started.elapsed());
        leave(all).await;
        figures.push(("connect to first EOSE, clients/s".to_owned(), rate));
        Ok(figures)
    };
    stage.in_turn("connect", &Who::ALL, p::ROUNDS, p::CONNECTING, once).await
}

/// Connections of so many clients at once, accepted in a second.
pub(super) async fn bare(endpoint: &str, clients: usize) -> Result<f64> {
    let started = Instant::now();
    let mut arriving = JoinSet::new();
    for _ in 0..clients {
        let endpoint = endpoint.to_owned();
        arriving.spawn(async move { Client::connect(&endpoint).await });
    }
    let mut all = Vec::new();
    while let Some(client) = next(&mut arriving).await? {
        all.push(client);
    }
    let rate = per_second(clients, started.elapsed());
    leave(all).await;
    Ok(rate)
}
