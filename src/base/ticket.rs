//! A share of somebody's budget, given back when it is dropped.

use std::fmt::Debug;
use std::sync::Arc;

/// Where a ticket's share comes from.
pub(crate) trait Lender: Debug + Send + Sync {
    /// This much is free again.
    fn take_back(&self, share: u32);
}

/// The share itself; of nothing, by default. It is with what it was lent for.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<(Arc<dyn Lender>, u32)>);

impl Ticket {
    /// What its lender has lent.
    pub(crate) fn new(lender: Arc<dyn Lender>, share: u32) -> Self {
        Self(Some((lender, share)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((lender, share)) = &self.0 {
            lender.take_back(*share);
        }
    }
}
