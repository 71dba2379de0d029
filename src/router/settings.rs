//! What the owner has set, but for each relay's own.

use crate::base::time::Now;
use crate::constants::OUTBOX_SIZE;

use super::{Effects, Router};

/// All of it, as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How many events may be queued.
    pub outbox_size: usize,
    /// Whether public clients read through connections that are authenticated as the owner.
    pub public_reads: bool,
    /// The x-only public keys that may use the public endpoint; none: everybody may.
    pub public_allowed: Vec<[u8; 32]>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { outbox_size: OUTBOX_SIZE, public_reads: false, public_allowed: Vec::new() }
    }
}

impl Router {
    /// What follows from what has changed.
    pub(super) fn set(&mut self, mut settings: Settings, now: Now, fx: &mut Effects) {
        // For `Identity::is_listed`.
        settings.public_allowed.sort_unstable();
        settings.public_allowed.dedup();
        let before = std::mem::replace(&mut self.settings, settings);
        if self.settings.public_reads != before.public_reads {
            self.change_public_reads(now, fx);
        }
        if self.settings.public_allowed != before.public_allowed {
            self.end_barred(now, fx);
        }
    }
}
