//! 1.6 MB are published while a hundred clients listen that offer compression, as browsers do.

use std::time::Duration;

use tokio::time::sleep;

use super::{attacked, audience, in_background, publish_large};
use crate::failure::Result;
use crate::parameters as p;
use crate::stage::Stage;

pub(crate) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let endpoint = stage.only()?.endpoint.clone();
    let audience = audience(&endpoint, p::COMPRESSING).await?;
    sleep(p::SETTLE).await;
    let attack = async {
        let _reading = in_background(audience.into_iter().map(|mut client| async move {
            client.drain().await;
        }));
        publish_large(&endpoint, p::LARGE_EVENTS, Duration::ZERO).await?;
        sleep(p::ATTACK).await;
        Ok(())
    };
    attacked(stage, "1.6 MB to 100", attack).await
}
