//! Bytes of unverified events that one relay or client may have in the core at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::base::ticket::{Lender, Ticket};
use crate::constants::{SOURCE_BUDGET, SOURCE_EVENT_COST};

/// One source's budget. It lives on in its tickets.
#[derive(Debug)]
pub(crate) struct Budget(Semaphore);

impl Budget {
    /// A whole one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Semaphore::new(SOURCE_BUDGET)))
    }

    /// Room for an event of so many bytes, if there is some.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Ticket> {
        let cost = cost(bytes);
        self.0.try_acquire_many(cost).ok()?.forget();
        Some(Ticket::new(Arc::clone(self) as Arc<dyn Lender>, cost))
    }

    /// The same, as soon as there is some: who comes first is served first.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> Ticket {
        let cost = cost(bytes);
        // Nobody closes it.
        let Ok(room) = self.0.acquire_many(cost).await else { return Ticket::default() };
        room.forget();
        Ticket::new(Arc::clone(self) as Arc<dyn Lender>, cost)
    }
}

impl Lender for Budget {
    fn take_back(&self, share: u32) {
        self.0.add_permits(share as usize);
    }
}

fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(SOURCE_EVENT_COST, SOURCE_BUDGET)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_is_free_again() {
        let budget = Budget::new();
        let most = SOURCE_BUDGET / SOURCE_EVENT_COST;
        let mut taken: Vec<_> = (0..most).map_while(|_| budget.try_take(1)).collect();
        assert_eq!(taken.len(), most);
        assert!(budget.try_take(1).is_none());
        let wait = Duration::from_secs(1);
        assert!(timeout(wait, budget.take(1)).await.is_err());
        taken.pop();
        assert!(timeout(wait, budget.take(1)).await.is_ok());
        drop(taken);
        // One that is larger than all of it takes all of it.
        let whole = timeout(wait, budget.take(SOURCE_BUDGET * 2)).await.unwrap();
        assert!(budget.try_take(1).is_none());
        drop(whole);
        assert!(budget.try_take(1).is_some());
    }
}
