//! The Python module `nostrclient_core._native`: the only place where Python and the core meet.
//!
//! What it offers is described in `python/nostrclient_core/_native.pyi`. No Rust thread waits for
//! Python here: messages are fetched by Python (`drain`) after a file descriptor has called it.

mod client;
mod core;
mod keys;
mod memory;
mod outbox;
mod shapes;

use std::os::fd::{BorrowedFd, OwnedFd};

use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::nostr::keys::KeyError;
use crate::runtime::CoreError;

create_exception!(nostrclient_core, CoreStopped, PyRuntimeError);
create_exception!(nostrclient_core, TooManyClients, PyRuntimeError);
create_exception!(nostrclient_core, CoreBusy, PyRuntimeError);
create_exception!(nostrclient_core, WrongInput, PyValueError);

impl From<CoreError> for PyErr {
    fn from(error: CoreError) -> Self {
        let text = error.to_string();
        let raised = match error {
            CoreError::Stopped => CoreStopped::new_err(text),
            CoreError::Busy => CoreBusy::new_err(text),
            CoreError::TooManyClients(_) => TooManyClients::new_err(text),
            CoreError::Url(_) | CoreError::NoProxy | CoreError::Key(_) | CoreError::Limit => {
                WrongInput::new_err(text)
            }
            CoreError::System(_) => PyRuntimeError::new_err(text),
        };
        coded(raised, error.code())
    }
}

impl From<KeyError> for PyErr {
    fn from(error: KeyError) -> Self {
        wrong(error.code(), error.to_string())
    }
}

/// A descriptor of our own for a socket of Python's.
#[expect(unsafe_code, reason = "Python has no other name for a socket than its number")]
fn own_descriptor(number: i32) -> PyResult<OwnedFd> {
    if number < 0 {
        return Err(wrong("descriptor", "This is no open socket."));
    }
    // SAFETY: it is borrowed for this call only, which duplicates it; a number that is no open descriptor
    // makes that fail.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?)
}

/// What is given is no good. `code`: which part of it.
fn wrong(code: &'static str, text: impl Into<String>) -> PyErr {
    coded(WrongInput::new_err(text.into()), code)
}

/// With its code beside its text, by which nobody has to decide then.
fn coded(error: PyErr, code: &'static str) -> PyErr {
    // Every exception takes attributes.
    let _ = Python::attach(|py| error.value(py).setattr("code", code));
    error
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::core::{Core, normalize_relay_url, read_proxy_url};
    #[pymodule_export]
    use super::keys::{
        decrypt_nip04, encrypt_nip04, event_id, from_npub, from_nsec, generate_key,
        normalize_public_key, public_key, serialize_event, shared_secret, sign_event, sign_hash,
        to_npub, to_nsec, verify_event, verify_hash,
    };
    #[pymodule_export]
    use super::memory::Memory;
    #[pymodule_export]
    use super::{CoreBusy, CoreStopped, TooManyClients, WrongInput};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // Fails if another copy of this module has done it already, which will do.
        let _ = pyo3_log::try_init();
        module.add("STORE", super::core::STORE)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
