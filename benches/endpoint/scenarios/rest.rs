//! Clients that only wait: what each takes of the server's memory, and what all of them together
//! take of a processor.

use tokio::time::sleep;

use super::{own_filter, subscribers};
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::parameters as p;
use crate::process;
use crate::report::{Figures, float};
use crate::stage::Stage;

const WHOM: [Who; 2] = [Who::Peer, Who::Ours];

/// Resident memory that a thousand clients add, divided by their number. The first hundred do not
/// count: what the server loads with its first clients is not theirs.
pub(super) async fn memory(stage: &mut Stage<'_>) -> Result<()> {
    let once = async |contender: &Contender, events: &Events| {
        let early = p::AT_REST / 10;
        let filter = |number| own_filter(events.number() + number);
        let first = subscribers(contender, early, p::ARRIVING, events, filter).await?;
        sleep(p::SETTLE).await;
        let before = contender.memory()?.unwrap_or(0.0);
        let filter = |number| own_filter(events.number() + early + number);
        let others = subscribers(contender, p::AT_REST, p::ARRIVING, events, filter).await?;
        sleep(4 * p::SETTLE).await;
        let after = contender.memory()?.unwrap_or(0.0);
        drop((first, others));
        let kib = (after - before) * 1024.0 / float(p::AT_REST);
        Ok::<Figures, _>(vec![("KiB a client with one subscription".to_owned(), kib)])
    };
    stage.in_turn("client-memory", &WHOM, 1, 1, once).await
}

/// Processor time of a server whose clients have all been answered, and that is sent nothing.
pub(super) async fn processor(stage: &mut Stage<'_>) -> Result<()> {
    let once = async |contender: &Contender, events: &Events| {
        let filter = |number| own_filter(events.number() + number);
        let mut clients = subscribers(contender, p::AT_REST, p::ARRIVING, events, filter).await?;
        for (number, (client, _)) in clients.iter_mut().enumerate() {
            for more in 1..p::REST_SUBSCRIPTIONS {
                let filter = own_filter(events.number() + more * p::AT_REST + number);
                let mut subscription = contender.subscription(&more.to_string(), &filter, events);
                client.subscribe(&mut subscription).await?;
            }
        }
        sleep(4 * p::SETTLE).await;
        let pid = contender.pid().ok_or_else(|| Failure::Setup("no process".to_owned()))?;
        let before = process::processor_time(pid)?;
        sleep(p::REST).await;
        let used = process::processor_time(pid)?.saturating_sub(before);
        drop(clients);
        let share = 100.0 * used.as_secs_f64() / p::REST.as_secs_f64();
        Ok::<Figures, _>(vec![("at rest, % of a core".to_owned(), share)])
    };
    stage.in_turn("rest", &WHOM, 1, 1, once).await
}
