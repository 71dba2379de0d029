//! The outbox as dictionaries: what the database is to write, and what it has read.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use crate::ids::{BatchNumber, Position};
use crate::nostr::event::{EventId, is_ephemeral};
use crate::nostr::hex;
use crate::nostr::reason::Reason;
use crate::nostr::verify;
use crate::router::{Batch, EntryView, Row, State, Stored};
use crate::runtime::StoreTask as Task;

use super::shapes::{OutboxEntry, OutboxRow, StoreTask, reason_codes, reasons};
use super::wrong;

pub(super) fn store_task(task: &Task) -> StoreTask {
    let nothing = Batch::default();
    let (number, batch) = match task {
        Task::Load => (None, &nothing),
        Task::Write(batch) => (Some(batch.number), batch),
    };
    let rows = |rows: &[Row]| rows.iter().map(row).collect();
    let names = |ids: &[EventId]| ids.iter().map(|id| hex::encode(id)).collect();
    StoreTask {
        number: number.map(|BatchNumber(number)| number),
        insert: rows(&batch.insert),
        update: rows(&batch.update),
        delete: names(&batch.delete),
        undo: names(&batch.undo),
        within: batch.within.map(|within| within.as_secs_f64()),
    }
}

fn row(row: &Row) -> OutboxRow {
    OutboxRow {
        id: hex::encode(row.event.id()),
        event: row.event.json().to_owned(),
        state: row.state.name(),
        position: row.position.0,
        queued_at: row.queued_at,
        reasons: reasons(&row.reasons),
    }
}

pub(super) fn entry(entry: &EntryView) -> OutboxEntry {
    OutboxEntry {
        id: hex::encode(entry.event.id()),
        kind: entry.event.kind(),
        pubkey: hex::encode(entry.event.pubkey()),
        state: entry.state.name(),
        queued_at: entry.queued_at,
        reasons: reasons(&entry.reasons),
        reason_codes: reason_codes(&entry.reasons),
    }
}

/// A row as the database has it, nothing of it checked yet.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct StoredRow {
    id: String,
    event: String,
    state: String,
    position: u64,
    queued_at: u64,
    reasons: std::collections::BTreeMap<String, String>,
}

/// The rows that are what they should be, and of the others the id and what is wrong.
pub(super) fn read_rows(rows: Vec<StoredRow>) -> (Vec<Row>, Vec<(String, String)>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for row in rows {
        let id = row.id.clone();
        match read_row(row) {
            Ok(row) => good.push(row),
            Err(why) => bad.push((id, why)),
        }
    }
    (good, bad)
}

fn read_row(row: StoredRow) -> Result<Row, String> {
    let StoredRow { id, event, state, position, queued_at, reasons } = row;
    let state = State::named(&state).ok_or_else(|| "its state is unknown".to_owned())?;
    let event = verify::check(&event).map_err(|error| error.to_string())?;
    if hex::encode(event.id()) != id {
        return Err("it is another event than its id says".to_owned());
    }
    if is_ephemeral(event.kind()) {
        return Err("events of its kind are never kept".to_owned());
    }
    let reasons = reasons.into_iter().map(|(url, why)| (url.into(), Reason::read(why))).collect();
    Ok(Row { event: Arc::new(event), state, position: Position(position), queued_at, reasons })
}

/// What `Core.outbox_stored` is told.
pub(super) fn result(
    error: Option<String>,
    certain: bool,
    elsewhere: &[String],
) -> PyResult<Stored> {
    Ok(match error {
        None => Stored::Done(ids(elsewhere)?),
        Some(why) if certain => Stored::Failed(why),
        Some(why) => Stored::Unknown(why),
    })
}

pub(super) fn ids(texts: &[String]) -> PyResult<Vec<EventId>> {
    texts.iter().map(|text| id(text)).collect()
}

pub(super) fn id(text: &str) -> PyResult<EventId> {
    hex::decode(text).ok_or_else(|| wrong("event_id", "an event's id is 64 hex characters"))
}

pub(super) fn seconds(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let wrong = |_| wrong("lease", "a lease is a positive number of seconds");
    seconds.map(Duration::try_from_secs_f64).transpose().map_err(wrong)
}
