//! A million different events through one subscription: how much resident memory the server has
//! more than before, and whether that goes on growing.

use std::time::Instant;

use crate::client::Client;
use crate::contender::{Contender, Who};
use crate::failure::{Failure, Result};
use crate::parameters as p;
use crate::report::per_second;
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let (contender, supply) = stage.only_with_supply()?;
    let memory = |contender: &Contender| {
        contender.memory()?.ok_or_else(|| Failure::Setup("no process".to_owned()))
    };
    let filter = r#"{"kinds":[1],"since":10}"#;
    let mut client = Client::connect(&contender.endpoint).await?;
    let mut nothing = contender.subscription("million", filter, &supply.take(0)?);
    client.subscribe(&mut nothing).await?;

    let mut sizes = vec![memory(contender)?];
    let started = Instant::now();
    for _ in 0..p::MILLION / p::MILLION_PART {
        let events = supply.take(p::MILLION_PART)?;
        let mut subscription = contender.subscription("million", filter, &events);
        let publish = async {
            for position in 0..events.len() {
                contender.relays.publish(&events, position).await;
            }
            Ok(())
        };
        tokio::try_join!(publish, client.receive_all(&mut subscription, |_| {}))?;
        sizes.push(memory(contender)?);
    }
    let rate = per_second(p::MILLION, started.elapsed());
    client.close().await;
    let last = sizes[sizes.len() - 1];
    let figures = vec![
        ("a million events, MiB more".to_owned(), last - sizes[0]),
        (
            "the last 200,000 of them, MiB more".to_owned(),
            last - sizes[sizes.len() - 1 - p::MILLION_LAST],
        ),
        ("a million events, events/s".to_owned(), rate),
    ];
    stage.report.add(Who::Ours, figures);
    Ok(())
}
