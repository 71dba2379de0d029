//! The outbox as dictionaries: what the database is to write, and what it has read.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ids::{BatchNumber, Position};
use crate::nostr::event::{EventId, is_ephemeral};
use crate::nostr::hex;
use crate::nostr::reason::Reason;
use crate::nostr::verify;
use crate::router::{Batch, EntryView, Reasons, Row, State, Stored};
use crate::runtime::StoreTask;

use super::wrong;

/// The `StoreTask` of `shapes.py`.
pub(super) fn store_task<'py>(py: Python<'py>, task: &StoreTask) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let nothing = Batch::default();
    let (number, batch) = match task {
        StoreTask::Load => (None, &nothing),
        StoreTask::Write(batch) => (Some(batch.number), batch),
    };
    let rows =
        |rows: &[Row]| rows.iter().map(|row| write_row(py, row)).collect::<PyResult<Vec<_>>>();
    dict.set_item("number", number.map(|BatchNumber(number)| number))?;
    dict.set_item("insert", rows(&batch.insert)?)?;
    dict.set_item("update", rows(&batch.update)?)?;
    let names = |ids: &[EventId]| ids.iter().map(|id| hex::encode(id)).collect::<Vec<_>>();
    dict.set_item("delete", names(&batch.delete))?;
    dict.set_item("undo", names(&batch.undo))?;
    dict.set_item("within", batch.within.map(|within| within.as_secs_f64()))?;
    Ok(dict)
}

fn write_row<'py>(py: Python<'py>, row: &Row) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", hex::encode(row.event.id()))?;
    dict.set_item("event", row.event.json())?;
    dict.set_item("state", row.state.name())?;
    dict.set_item("position", row.position.0)?;
    dict.set_item("queued_at", row.queued_at)?;
    dict.set_item("reasons", reasons(py, &row.reasons)?)?;
    Ok(dict)
}

/// The `OutboxEntry` of `shapes.py`.
pub(super) fn entry<'py>(py: Python<'py>, entry: &EntryView) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", hex::encode(entry.event.id()))?;
    dict.set_item("kind", entry.event.kind())?;
    dict.set_item("pubkey", hex::encode(entry.event.pubkey()))?;
    dict.set_item("state", entry.state.name())?;
    dict.set_item("queued_at", entry.queued_at)?;
    dict.set_item("reasons", reasons(py, &entry.reasons)?)?;
    let codes = PyDict::new(py);
    for (url, why) in &entry.reasons {
        codes.set_item(&**url, why.code())?;
    }
    dict.set_item("reason_codes", codes)?;
    Ok(dict)
}

fn reasons<'py>(py: Python<'py>, reasons: &Reasons) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (url, why) in reasons {
        dict.set_item(&**url, why.as_str())?;
    }
    Ok(dict)
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
