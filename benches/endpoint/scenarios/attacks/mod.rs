//! What a stranger can do to the server, one attack a file: how long `LNbits`' own API takes
//! meanwhile, and how much memory the server takes at most.

mod binary;
mod compressed;
mod inflate;
mod slow_readers;

pub(super) use binary::run as binary;
pub(super) use compressed::run as compressed;
pub(super) use inflate::run as inflate;
pub(super) use slow_readers::run as slow_readers;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api;
use crate::client::Client;
use crate::contender::Who;
use crate::events;
use crate::failure::Result;
use crate::parameters as p;
use crate::process;
use crate::raw::{Raw, TEXT};
use crate::stage::Stage;

/// Attack, and wait for what it leaves behind.
async fn attacked(
    stage: &mut Stage<'_>,
    measure: &str,
    attack: impl Future<Output = Result<()>>,
) -> Result<()> {
    let (pid, address) = {
        let lnbits = stage.only()?.lnbits()?;
        (lnbits.pid, lnbits.address.clone())
    };
    let before = process::memory(pid)?;
    let attack = Box::pin(attack);
    let aftermath = async {
        attack.await?;
        sleep(p::AFTERMATH).await;
        Ok(())
    };
    let watched = api::watched(&address, measure, aftermath);
    let (((), mut figures), highest) = process::highest_memory(pid, watched).await?;
    let after = process::memory(pid)?;
    figures.push((format!("{measure}: MiB more at most"), highest - before));
    figures.push((format!("{measure}: MiB more afterwards"), after - before));
    stage.report.add(Who::Ours, figures);
    Ok(())
}

/// Clients that ask for everything and offer compression, as browsers do.
async fn audience(endpoint: &str, count: usize) -> Result<Vec<Raw>> {
    let mut audience = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Raw::connect(endpoint).await?;
        client.send(TEXT, br#"["REQ","feed",{"kinds":[1],"since":5}]"#).await?;
        audience.push(client);
    }
    Ok(audience)
}

/// One client publishes so many large events, evenly over so long.
async fn publish_large(endpoint: &str, count: usize, over: Duration) -> Result<()> {
    let events = events::large(count, p::LARGE)?;
    let mut client = Client::connect(endpoint).await?;
    let pause = over / u32::try_from(count).unwrap_or(1);
    for event in events {
        client.send(format!(r#"["EVENT",{event}]"#)).await?;
        sleep(pause).await;
    }
    client.close().await;
    Ok(())
}

/// Tasks that go on until they are dropped.
fn in_background(
    tasks: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>,
) -> JoinSet<()> {
    tasks.collect()
}
