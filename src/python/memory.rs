//! `Memory`: which events somebody has been given already.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::base::clock::unix_seconds;
use crate::constants::INSIDE_MEMORY;
use crate::nostr::hex;
use crate::router::Seen;

use super::wrong;

/// Outlives a core: what was given before an upgrade is not given again after it.
#[pyclass(frozen, module = "nostrclient_core._native")]
pub(super) struct Memory(Mutex<Seen>);

#[pymethods]
impl Memory {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn insert(&self, id: &str, created_at: u64) -> PyResult<bool> {
        let id = hex::decode(id).ok_or_else(|| wrong("event_id", "not an event's id"))?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.insert(&id, created_at, unix_seconds(), INSIDE_MEMORY))
    }
}
