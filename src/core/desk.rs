//! Where the router leaves what the database is to write, and whoever writes it (Python: it alone
//! knows the server's database) picks it up.
//!
//! One batch at a time lies here; the router makes the next one when it has heard what became of the
//! last. The bell names [`STORE`] when there is something to pick up.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::event::EventId;
use crate::hub::ClientId;
use crate::mailbox::Bell;
use crate::outbox::{Batch, EntryView};

use super::lock;

/// What [`super::Core::ready`] says when [`super::Core::store_task`] has something. No client's name.
pub const STORE: ClientId = 0;

/// Something to be done with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreTask {
    /// Read the rows of earlier runs and hand them to [`super::Core::adopt`].
    Load,
    /// Write this, and say so with [`super::Core::stored`].
    Write(Batch),
}

/// Something the owner wants to know of the outbox, or to do.
#[derive(Debug)]
pub enum OutboxCall {
    /// What is in it.
    View(oneshot::Sender<Vec<EntryView>>),
    /// Try this event again. Whether it is there.
    Retry(EventId, oneshot::Sender<bool>),
    /// Remove this event. Whether it was there.
    Delete(EventId, oneshot::Sender<bool>),
}

#[derive(Debug)]
pub(super) struct Desk {
    /// Whether the rows are to be read, and what is to be written after that.
    tasks: Mutex<(bool, Option<Batch>)>,
    bell: Arc<Bell>,
}

impl Desk {
    pub(super) fn new(bell: &Arc<Bell>) -> Self {
        Self { tasks: Mutex::default(), bell: Arc::clone(bell) }
    }

    /// A new router begins: it knows no rows, and an earlier one's batch is nobody's.
    pub(super) fn load(&self) {
        *lock(&self.tasks) = (true, None);
        self.bell.call(STORE);
    }

    pub(super) fn write(&self, batch: Batch) {
        lock(&self.tasks).1 = Some(batch);
        self.bell.call(STORE);
    }

    pub(super) fn take(&self) -> Option<StoreTask> {
        let (load, batch) = &mut *lock(&self.tasks);
        if std::mem::take(load) {
            return Some(StoreTask::Load);
        }
        batch.take().map(StoreTask::Write)
    }
}
