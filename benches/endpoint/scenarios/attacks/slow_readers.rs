//! 25 MB are published while 48 clients listen that hardly read.

use tokio::time::sleep;

use super::{attacked, audience, in_background, publish_large};
use crate::failure::Result;
use crate::parameters as p;
use crate::stage::Stage;

pub(crate) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let endpoint = stage.only()?.endpoint.clone();
    let audience = audience(&endpoint, p::SLOW_READERS).await?;
    sleep(p::SETTLE).await;
    let attack = async {
        let _reading = in_background(audience.into_iter().map(|mut client| async move {
            client.drain_slowly().await;
        }));
        publish_large(&endpoint, p::SLOW_EVENTS, p::ATTACK).await
    };
    attacked(stage, "48 slow readers", attack).await
}
