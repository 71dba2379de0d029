//! Ten messages a second of 15 MiB each, deflated into 15 kB, each over a connection of its own:
//! whoever sends such a message may be shown the door, and what he sends then is read by nobody.

use tokio::time::{Instant, interval};

use super::attacked;
use crate::failure::Result;
use crate::parameters as p;
use crate::raw::{Raw, deflated};
use crate::stage::Stage;

pub(crate) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let endpoint = stage.only()?.endpoint.clone();
    let message = deflated(&vec![b' '; p::INFLATED])?;
    let attack = async {
        let end = Instant::now() + p::ATTACK;
        let mut pace = interval(std::time::Duration::from_secs(1) / p::INFLATED_PER_SECOND);
        let mut attackers = Vec::new();
        while pace.tick().await < end {
            let mut attacker = Raw::connect(&endpoint).await?;
            attacker.send_deflated(&message).await?;
            attackers.push(attacker);
        }
        Ok(())
    };
    attacked(stage, "15 MiB in 15 kB", attack).await
}
