//! One client asks for one thing after the other, none of it asked for before: time from its REQ
//! to the moment the first relay has one.

use std::time::Instant;

use crate::client::Client;
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Result, check};
use crate::parameters as p;
use crate::report::{Figures, millis, times};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let measure = format!("REQ to relay, {} relays", stage.relays);
    // The events are taken for their numbers: no round asks for what another has asked for.
    let once = async |contender: &Contender, events: &Events| {
        Ok::<Figures, _>(times(&measure, once(contender, events).await?))
    };
    stage.in_turn(&measure, &Who::ALL, p::ROUNDS, p::REQUESTS, once).await
}

/// Milliseconds.
async fn once(contender: &Contender, events: &Events) -> Result<Vec<f64>> {
    let mut client = Client::connect(&contender.endpoint).await?;
    let mut taken = Vec::with_capacity(p::REQUESTS);
    for number in 0..p::REQUESTS {
        let filter = format!(r#"{{"kinds":[1],"since":{}}}"#, events.number() + number + 1);
        let mut subscription = contender.subscription(&number.to_string(), &filter, events);
        contender.relays.take_asked().await;
        let sent = Instant::now();
        client.subscribe(&mut subscription).await?;
        let asked = contender.relays.take_asked().await;
        taken.extend(asked.map(|asked| millis(asked.saturating_duration_since(sent))));
        client.unsubscribe(&subscription).await?;
    }
    client.close().await;
    let asked = taken.len();
    check(asked > p::REQUESTS / 2, || format!("relays had {asked} of {}", p::REQUESTS))?;
    Ok(taken)
}
