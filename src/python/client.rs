//! `Client`: one WebSocket's end of the core.

use pyo3::prelude::*;

use crate::core::ClientHandle;

/// One client's connection to the multiplexer.
#[pyclass(frozen, module = "nostrclient_core._native")]
pub(super) struct Client(ClientHandle);

impl From<ClientHandle> for Client {
    fn from(handle: ClientHandle) -> Self {
        Self(handle)
    }
}

#[pymethods]
impl Client {
    #[getter]
    const fn token(&self) -> u64 {
        self.0.id
    }

    #[getter]
    fn writable(&self) -> bool {
        self.0.is_writable()
    }

    #[getter]
    fn closed(&self) -> Option<(u16, &'static str)> {
        self.0.closed()
    }

    fn feed(&self, text: &str) -> bool {
        self.0.feed(text)
    }

    fn drain(&self, most: usize) -> Vec<String> {
        self.0.drain(most)
    }

    fn disconnect(&self) {
        self.0.disconnect();
    }
}
