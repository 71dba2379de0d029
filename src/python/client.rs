//! `Client`: one WebSocket's end of the core.

use pyo3::prelude::*;

use crate::nostr::hex;
use crate::nostr::message::{RelayNews, Reply, Resumed};
use crate::runtime::ClientHandle;

use super::shapes::ClientStatus;

/// One client's connection to the multiplexer.
#[pyclass(frozen, module = "nostrclient_core._native")]
pub(super) struct Client(pub(super) ClientHandle);

/// The `Told` of `shapes.py`.
type Told = (&'static str, String, String, String, String, u64);

impl From<ClientHandle> for Client {
    fn from(handle: ClientHandle) -> Self {
        Self(handle)
    }
}

#[pymethods]
impl Client {
    #[getter]
    fn token(&self) -> u64 {
        self.0.id().0
    }

    #[getter]
    fn writable(&self) -> bool {
        self.0.is_writable()
    }

    #[getter]
    fn closed(&self) -> Option<(u16, &str)> {
        self.0.closed()
    }

    fn feed(&self, text: &str) -> bool {
        self.0.feed(text)
    }

    fn feed_binary(&self) -> bool {
        self.0.feed_binary()
    }

    fn drain(&self, most: usize) -> Vec<String> {
        self.0.drain(most)
    }

    fn drain_parts(&self, most: usize) -> Vec<Told> {
        self.0.drain_parts(most).into_iter().map(|(reply, url)| told(reply, url)).collect()
    }

    fn resume(&self, req: &str, since: u64, whole: bool) -> bool {
        self.0.resume(req, Resumed { since, whole })
    }

    fn status(&self) -> ClientStatus {
        self.0.view().into()
    }

    fn cut_off(&self, why: &str) {
        self.0.cut_off(why);
    }

    fn disconnect(&self) {
        self.0.disconnect();
    }
}

fn told(reply: Reply, url: String) -> Told {
    let nothing = String::new;
    match reply {
        Reply::Event { id, event, .. } => {
            let (json, date) = (event.json().to_string(), event.created_at());
            ("EVENT", id.to_string(), json, url, hex::encode(event.id()), date)
        }
        Reply::Eose { id, .. } => ("EOSE", id.to_string(), nothing(), url, nothing(), 0),
        Reply::Ok { id, accepted, why } => {
            let verb = if accepted { "OK" } else { "REFUSED" };
            (verb, hex::encode(&id), why.to_string(), why.code().to_owned(), nothing(), 0)
        }
        Reply::NoId { id, why } => {
            ("REFUSED", id.into(), why.to_string(), why.code().to_owned(), nothing(), 0)
        }
        Reply::Count { id, counted } => {
            ("COUNT", id.into(), counted.to_json(), url, nothing(), counted.count)
        }
        Reply::Closed { id, why } => {
            ("CLOSED", id.into(), why.to_string(), why.code().to_owned(), nothing(), 0)
        }
        Reply::Whole { id, whole } => {
            let verb = if whole { "WHOLE" } else { "BEHIND" };
            (verb, id.to_string(), nothing(), url, nothing(), 0)
        }
        Reply::Notice(text) => ("NOTICE", nothing(), text, url, nothing(), 0),
        Reply::Auth { challenge } => ("AUTH", nothing(), challenge.into(), url, nothing(), 0),
        Reply::NegErr { why, .. } => ("NOTICE", nothing(), why.to_string(), url, nothing(), 0),
        Reply::Relay { news: RelayNews::Notice(text), .. } => {
            ("NOTICE", nothing(), text.into(), url, nothing(), 0)
        }
        Reply::Relay { news: RelayNews::Connected, .. } => {
            ("CONNECTED", nothing(), nothing(), url, nothing(), 0)
        }
    }
}
