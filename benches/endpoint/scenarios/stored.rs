//! One client asks for what every relay has stored: unique events a second, from its REQ to its
//! EOSE. And what verifying the same events takes alone, which is the wall.

use std::thread;
use std::time::Instant as Clock;

use nostrclient_core::measured;
use tokio::time::Instant;

use crate::client::Client;
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Failure, Result, check};
use crate::goals::VERIFY;
use crate::parameters as p;
use crate::relay::Stored;
use crate::report::{Figures, per_second};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let relays = stage.relays;
    let once = async |contender: &Contender, events: &Events| {
        let wall = if contender.who == Who::Ours { Some(verify(events)?) } else { None };
        let mut figures = once(contender, events, relays).await?;
        figures.extend(wall.map(|rate| (VERIFY.to_owned(), rate)));
        Ok(figures)
    };
    stage.in_turn("stored", &Who::ALL, p::ROUNDS, p::STORED, once).await
}

pub(crate) async fn once(contender: &Contender, events: &Events, relays: usize) -> Result<Figures> {
    let most = if contender.who == Who::Peer { p::PEER_FRAMES / relays } else { events.len() };
    let events = events.first(most);
    // Only we check.
    let forged_every = if contender.who == Who::Ours { p::FORGED_EVERY } else { 0 };
    contender.relays.set_stored(Some(Stored { events: events.clone(), forged_every })).await;

    let mut client = Client::connect(&contender.endpoint).await?;
    // A filter of its own: nothing is left over from the round before.
    let filter = format!(r#"{{"kinds":[1],"since":{}}}"#, events.number());
    let mut subscription = contender.subscription("stored", &filter, &events);
    let asked = Instant::now();
    client.subscribe(&mut subscription).await?;
    let rate = per_second(events.len(), asked.elapsed());

    let unique = subscription.unique();
    check(subscription.all(), || format!("{unique} of {} events before EOSE", events.len()))?;
    if contender.who == Who::Ours {
        client.nothing_more(&mut subscription, asked + p::LATE_EOSE).await?;
    }
    client.close().await;
    let mut figures = vec![(format!("stored, {relays} relays, unique events/s"), rate)];
    if subscription.surplus() > 0 {
        let measure = format!("stored, {relays} relays, copies and EOSEs too many");
        figures.push((measure, crate::report::float(subscription.surplus())));
    }
    Ok(figures)
}

/// How many of these events all threads together verify in a second.
pub(super) fn verify(events: &Events) -> Result<f64> {
    let threads = thread::available_parallelism()?.get();
    let started = Clock::now();
    let share = |first: usize| {
        (first..events.len())
            .step_by(threads)
            .all(|position| measured::check(events.get(position)).is_ok())
    };
    let all_true = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        let gone = |_| Failure::Setup("a verifying thread panicked".to_owned());
        workers
            .into_iter()
            .try_fold(true, |all, worker| Ok::<_, Failure>(worker.join().map_err(gone)? && all))
    })?;
    check(all_true, || "an event is not true".to_owned())?;
    Ok(per_second(events.len(), started.elapsed()))
}
