//! Keys, signatures and NIP-04, as functions.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::keys::{self, Keys};

#[pyfunction]
pub(super) fn generate_key(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let keys = Keys::generate()?;
    let dict = PyDict::new(py);
    dict.set_item("private_key", keys.private_hex())?;
    dict.set_item("public_key", keys.public_hex())?;
    Ok(dict)
}

#[pyfunction]
pub(super) fn public_key(private_key: &str) -> PyResult<String> {
    Ok(Keys::from_hex(private_key)?.public_hex())
}

#[pyfunction]
pub(super) fn normalize_public_key(text: &str) -> PyResult<String> {
    Ok(keys::normalize_public_key(text)?)
}

#[pyfunction]
pub(super) fn encrypt_nip04(private_key: &str, public_key: &str, text: &str) -> PyResult<String> {
    Ok(Keys::from_hex(private_key)?.encrypt_nip04(public_key, text)?)
}

#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "Python's list is converted into ours")]
pub(super) fn sign_event(
    private_key: &str,
    created_at: u64,
    kind: u16,
    tags: Vec<Vec<String>>,
    content: &str,
) -> PyResult<String> {
    Ok(Keys::from_hex(private_key)?.sign_event(created_at, kind, &tags, content)?)
}
