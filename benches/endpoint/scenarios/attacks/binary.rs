//! A client that never reads, and for whom more waits than its line holds, sends something binary,
//! which is answered, and then messages of 15 MiB each, deflated into 15 kB.

use tokio::time::{sleep, timeout};

use super::{attacked, audience, publish_large};
use crate::failure::Result;
use crate::parameters as p;
use crate::raw::{BINARY, deflated};
use crate::stage::Stage;

pub(crate) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let endpoint = stage.only()?.endpoint.clone();
    let message = deflated(&vec![b' '; p::INFLATED])?;
    let attack = async {
        let mut attackers = audience(&endpoint, 1).await?;
        publish_large(&endpoint, p::UNREAD_EVENTS, p::SETTLE).await?;
        let flood = async {
            for attacker in &mut attackers {
                attacker.send(BINARY, &[0]).await?;
                for _ in 0..p::BEHIND_BINARY {
                    attacker.send_deflated(&message).await?;
                }
            }
            Ok(())
        };
        // The server may end it, or leave off reading: both are its right.
        let _: std::result::Result<Result<()>, _> = timeout(p::ATTACK, flood).await;
        sleep(p::ATTACK / 2).await;
        Ok(())
    };
    attacked(stage, "unread answer", attack).await
}
