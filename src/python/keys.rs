//! Keys, signatures, NIP-19 and NIP-04, as functions.
//!
//! Whatever is no good raises `ValueError` with a sentence that never quotes what was given: it may
//! be a private key.
#![expect(clippy::needless_pass_by_value, reason = "Python's lists are converted into ours")]

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::nostr::keys::{self, KeyError, Keys};
use crate::nostr::{event, hex, verify};

use super::shapes::KeyPair;
use super::wrong;

/// A Python string. Python's own error about one that is no UTF-8 carries the whole of it.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl<'a> FromPyObject<'a, '_> for Text<'a> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, '_, PyAny>) -> PyResult<Self> {
        <&str>::extract(object)
            .map(Self)
            .map_err(|_| wrong("text", "Keys, messages and events must be texts in UTF-8."))
    }
}

fn created_at(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    value.extract().map_err(|_| {
        wrong("created_at", "An event's created_at is a whole number of seconds since 1970.")
    })
}

fn kind(value: &Bound<'_, PyAny>) -> PyResult<u16> {
    value.extract().map_err(|_| wrong("kind", "An event's kind is a whole number from 0 to 65535."))
}

fn tags(value: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<String>>> {
    value.extract().map_err(|_| wrong("tags", "An event's tags are a list of lists of texts."))
}

fn hash(value: &Bound<'_, PyAny>) -> PyResult<[u8; 32]> {
    let bytes = value.extract::<Cow<'_, [u8]>>().ok();
    bytes
        .and_then(|bytes| bytes.as_ref().try_into().ok())
        .ok_or_else(|| wrong("hash", "What is signed must be a hash of 32 bytes."))
}

#[pyfunction]
pub(super) fn generate_key() -> PyResult<KeyPair> {
    let keys = Keys::generate()?;
    Ok(KeyPair { private_key: keys.private_hex(), public_key: keys.public_hex() })
}

#[pyfunction]
pub(super) fn public_key(private_key: Text<'_>) -> PyResult<String> {
    Ok(Keys::from_hex(private_key.0)?.public_hex())
}

#[pyfunction]
pub(super) fn normalize_public_key(text: Text<'_>) -> PyResult<String> {
    Ok(keys::normalize_public_key(text.0)?)
}

#[pyfunction]
pub(super) fn to_nsec(private_key: Text<'_>) -> PyResult<String> {
    Ok(Keys::from_hex(private_key.0)?.nsec()?)
}

#[pyfunction]
pub(super) fn from_nsec(nsec: Text<'_>) -> PyResult<String> {
    Ok(Keys::from_nsec(nsec.0)?.private_hex())
}

#[pyfunction]
pub(super) fn to_npub(public_key: Text<'_>) -> PyResult<String> {
    Ok(keys::npub(public_key.0)?)
}

#[pyfunction]
pub(super) fn from_npub(npub: Text<'_>) -> PyResult<String> {
    Ok(keys::from_npub(npub.0)?)
}

#[pyfunction]
pub(super) fn shared_secret<'py>(
    py: Python<'py>,
    private_key: Text<'_>,
    public_key: Text<'_>,
) -> PyResult<Bound<'py, PyBytes>> {
    let secret = Keys::from_hex(private_key.0)?.shared_secret(public_key.0)?;
    Ok(PyBytes::new(py, &secret))
}

#[pyfunction]
pub(super) fn encrypt_nip04(
    private_key: Text<'_>,
    public_key: Text<'_>,
    text: Text<'_>,
) -> PyResult<String> {
    Ok(Keys::from_hex(private_key.0)?.encrypt_nip04(public_key.0, text.0)?)
}

#[pyfunction]
pub(super) fn decrypt_nip04(
    private_key: Text<'_>,
    public_key: Text<'_>,
    content: Text<'_>,
) -> PyResult<String> {
    Ok(Keys::from_hex(private_key.0)?.decrypt_nip04(public_key.0, content.0)?)
}

#[pyfunction]
pub(super) fn sign_hash(
    private_key: Text<'_>,
    #[pyo3(from_py_with = hash)] message_hash: [u8; 32],
) -> PyResult<String> {
    Ok(Keys::from_hex(private_key.0)?.sign_hash(&message_hash)?)
}

#[pyfunction]
pub(super) fn verify_hash(
    message_hash: Text<'_>,
    signature: Text<'_>,
    public_key: Text<'_>,
) -> bool {
    keys::verify_hash(message_hash.0, signature.0, public_key.0)
}

#[pyfunction]
pub(super) fn serialize_event(
    public_key: Text<'_>,
    #[pyo3(from_py_with = created_at)] created_at: u64,
    #[pyo3(from_py_with = kind)] kind: u16,
    #[pyo3(from_py_with = tags)] tags: Vec<Vec<String>>,
    content: Text<'_>,
) -> PyResult<String> {
    event::serialize(public_key.0, created_at, kind, &tags, content.0)
        .map_err(|_| KeyError::Event.into())
}

#[pyfunction]
pub(super) fn event_id(
    public_key: Text<'_>,
    #[pyo3(from_py_with = created_at)] created_at: u64,
    #[pyo3(from_py_with = kind)] kind: u16,
    #[pyo3(from_py_with = tags)] tags: Vec<Vec<String>>,
    content: Text<'_>,
) -> PyResult<String> {
    event::event_id(public_key.0, created_at, kind, &tags, content.0)
        .map(|id| hex::encode(&id))
        .map_err(|_| KeyError::Event.into())
}

#[pyfunction]
pub(super) fn sign_event(
    private_key: Text<'_>,
    #[pyo3(from_py_with = created_at)] created_at: u64,
    #[pyo3(from_py_with = kind)] kind: u16,
    #[pyo3(from_py_with = tags)] tags: Vec<Vec<String>>,
    content: Text<'_>,
) -> PyResult<String> {
    Ok(Keys::from_hex(private_key.0)?.sign_event(created_at, kind, &tags, content.0)?)
}

#[pyfunction]
pub(super) fn verify_event(event: Text<'_>) -> bool {
    verify::check(event.0).is_ok()
}
