//! A thousand clients lose their connections and come back at once, as after a restart: seconds
//! until the last has its EOSE, and how long `LNbits`' own API takes meanwhile. Beside it, as many
//! `WebSockets` of `LNbits`' own, which ask for nothing: its API takes as long as they are let in.

use std::time::Instant;

use super::{connect, leave, own_filter, subscribers};
use crate::api;
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::Result;
use crate::parameters as p;
use crate::report::Figures;
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let once = async |contender: &Contender, events: &Events| {
        let filter = |number| own_filter(events.number() + number);
        let there = subscribers(contender, p::RETURNING, p::ARRIVING, events, filter).await?;
        leave(there).await;
        let back = async {
            let started = Instant::now();
            let there = subscribers(contender, p::RETURNING, p::RETURNING, events, filter).await?;
            Ok((started.elapsed().as_secs_f64(), there))
        };
        let mut figures = Figures::new();
        let (seconds, there) = if contender.who == Who::Ours {
            let lnbits = contender.lnbits()?;
            let (address, endpoint) = (&lnbits.address, lnbits.bare());
            let bare = connect::bare(&endpoint, p::RETURNING);
            let (_, api) = api::watched(address, "1,000 bare ones come", bare).await?;
            figures.extend(api);
            let (back, api) = api::watched(address, "1,000 come back", back).await?;
            figures.extend(api);
            back
        } else {
            back.await?
        };
        leave(there).await;
        figures.push(("1,000 come back, seconds to the last EOSE".to_owned(), seconds));
        Ok(figures)
    };
    stage.in_turn("restart", &Who::ALL, 1, p::RETURNING, once).await
}
