//! Where the router leaves what the database is to write, and whoever writes it (Python: it alone
//! knows the server's database) picks it up.
//!
//! One batch at a time lies here; the router makes the next one when it has heard what became of the
//! last. The bell names [`Caller::Store`] when there is something to pick up.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ids::BatchNumber;
use crate::nostr::event::EventId;
use crate::router::Input;
use crate::router::{Batch, EntryView, Row, Written};
use crate::runtime::mailbox::{Bell, Caller};

use super::{Core, CoreError, ToRouter, lock};

/// Something to be done with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreTask {
    /// Read the rows of earlier runs and hand them to [`Core::adopt`].
    Load,
    /// Write this, and say so with [`Core::batch_written`].
    Write(Batch),
}

/// Something the owner wants to know of the outbox, or to do.
#[derive(Debug)]
pub(crate) enum OutboxCall {
    /// What is in it.
    View(oneshot::Sender<Vec<EntryView>>),
    /// Try this event again. Whether it is there.
    Retry(EventId, oneshot::Sender<bool>),
    /// Remove this event. Whether it was there.
    Delete(EventId, oneshot::Sender<bool>),
}

#[derive(Debug)]
pub(super) struct Desk {
    /// Whether the rows are to be read, and what is to be written after that, put here when.
    tasks: Mutex<(bool, Option<(Batch, Instant)>)>,
    bell: Arc<Bell>,
}

impl Desk {
    pub(super) fn new(bell: &Arc<Bell>) -> Self {
        Self { tasks: Mutex::default(), bell: Arc::clone(bell) }
    }

    /// A new router begins: it knows no rows, and an earlier one's batch is nobody's.
    pub(super) fn load(&self) {
        *lock(&self.tasks) = (true, None);
        self.bell.call(Caller::Store);
    }

    pub(super) fn write(&self, batch: Batch) {
        lock(&self.tasks).1 = Some((batch, Instant::now()));
        self.bell.call(Caller::Store);
    }

    pub(super) fn take(&self) -> Option<StoreTask> {
        let (load, batch) = &mut *lock(&self.tasks);
        if std::mem::take(load) {
            return Some(StoreTask::Load);
        }
        let (mut batch, since) = batch.take()?;
        batch.within = batch.within.map(|within| within.saturating_sub(since.elapsed()));
        Some(StoreTask::Write(batch))
    }
}

/// What the owner of the outbox's rows has to do with the core.
impl Core {
    /// What is to be done with the database, once [`Core::ready`] has said
    /// [`Caller::Store`]. To be called
    /// until there is nothing.
    pub(crate) fn store_task(&self) -> Option<StoreTask> {
        self.shared.desk.take()
    }

    /// What became of the batch of this number.
    ///
    /// # Errors
    /// [`CoreError::Stopped`] or [`CoreError::Busy`], and so below.
    pub(crate) fn batch_written(
        &self,
        number: BatchNumber,
        result: Written,
    ) -> Result<(), CoreError> {
        self.call(ToRouter::Input(Input::OutboxWritten(number, result)))
    }

    /// Takes over rows of the outbox. From the first call on, even with none, events are queued.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn adopt(&self, rows: Vec<Row>) -> Result<(), CoreError> {
        self.call(ToRouter::Input(Input::OutboxRows(rows)))
    }

    /// Lets go of rows that are this node's no longer.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn let_go(&self, ids: Vec<EventId>) -> Result<(), CoreError> {
        self.call(ToRouter::Input(Input::OutboxGone(ids)))
    }

    /// How long from now on what waits may be sent. `None`: as long as the core runs.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn set_lease(&self, lease: Option<Duration>) -> Result<(), CoreError> {
        self.call(ToRouter::Input(Input::OutboxLease(lease)))
    }

    /// How many events may be queued from now on.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn set_outbox_size(&self, size: usize) -> Result<(), CoreError> {
        self.change_settings(|settings| settings.outbox_size = size)
    }

    /// How many events may be queued.
    pub(crate) fn outbox_size(&self) -> usize {
        lock(&self.shared.settings).outbox_size
    }

    /// What is in the outbox. Waits for the router, and so do the next two.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn outbox(&self) -> Result<Vec<EntryView>, CoreError> {
        self.ask(OutboxCall::View)
    }

    /// Tries an event of the outbox again. False: it is not there.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn outbox_retry(&self, id: EventId) -> Result<bool, CoreError> {
        self.ask(|reply| OutboxCall::Retry(id, reply))
    }

    /// Removes an event from the outbox. False: it is not there.
    ///
    /// # Errors
    /// See [`Self::batch_written`].
    pub(crate) fn outbox_delete(&self, id: EventId) -> Result<bool, CoreError> {
        self.ask(|reply| OutboxCall::Delete(id, reply))
    }

    fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> OutboxCall) -> Result<T, CoreError> {
        let (reply, answer) = oneshot::channel();
        self.call(ToRouter::Outbox(call(reply)))?;
        // A router that fell over has not answered; the next one will.
        answer.blocking_recv().map_err(|_| CoreError::Busy)
    }

    pub(super) fn call(&self, call: ToRouter) -> Result<(), CoreError> {
        let running = lock(&self.running);
        let calls = &running.as_ref().ok_or(CoreError::Stopped)?.calls;
        calls.try_send(call).map_err(|_| CoreError::Busy)
    }
}
