//! `Core`: the running multiplexer.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::base::secret::Secret;
use crate::ids::{BatchNumber, ClientId};
use crate::nostr::hex;
use crate::nostr::limits::RelayLimits;
use crate::nostr::url;
use crate::relay::{Peer, Proxy};
use crate::router::Switches;
use crate::router::{Limits, Role};
use crate::runtime::{About, Caller, Core as Running, Offer, RelayView};

use super::client::Client;
use super::keys::Text;
use super::outbox::{self, StoredRow};
use super::{own_descriptor, shapes, wrong};

/// Among those that are ready: the database's turn has come. No client's name.
pub(super) const STORE: u64 = 0;

/// The running multiplexer.
#[pyclass(frozen, module = "nostrclient_core._native")]
pub(super) struct Core(Running);

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (limits=None, secret=None))]
    fn new(
        py: Python<'_>,
        limits: Option<&Bound<'_, PyDict>>,
        secret: Option<[u8; 32]>,
    ) -> PyResult<Self> {
        let limits = limits.map(read_limits).transpose()?.unwrap_or_default();
        Ok(Self(py.detach(|| Running::start(limits, secret.map(Secret::new)))?))
    }

    #[getter]
    fn badge(&self) -> String {
        self.0.badge().show()
    }

    fn peer(&self, agent: &str) -> &'static str {
        match self.0.badge().client(agent) {
            Peer::Itself => "itself",
            Peer::Sibling => "sibling",
            Peer::Other => "other",
        }
    }

    #[getter]
    fn wake_fd(&self) -> i32 {
        self.0.wake_fd()
    }

    #[getter]
    fn limits(&self) -> shapes::Limits {
        self.0.limits().into()
    }

    fn ready(&self) -> Vec<u64> {
        let number = |caller| match caller {
            Caller::Client(ClientId(id)) => id,
            Caller::Store => STORE,
        };
        self.0.ready().into_iter().map(number).collect()
    }

    fn beat(&self) {
        self.0.beat();
    }

    #[pyo3(signature = (public=true, hosts=Vec::new(), sibling=false, about=None))]
    fn connect(
        &self,
        public: bool,
        hosts: Vec<String>,
        sibling: bool,
        about: Option<shapes::About>,
    ) -> PyResult<Client> {
        let client = self.0.connect(role(public, sibling), about.into())?;
        client.reached_by(hosts);
        Ok(client.into())
    }

    #[pyo3(signature = (offer, *, public=true, hosts=Vec::new(), sibling=false, about=None))]
    fn serve(
        &self,
        offer: shapes::Offer,
        public: bool,
        hosts: Vec<String>,
        sibling: bool,
        about: Option<shapes::About>,
    ) -> PyResult<u64> {
        let (descriptor, read, answer) = offer;
        let socket = own_descriptor(descriptor)?;
        let offer = Offer { socket, read, answer };
        let ClientId(token) = self.0.serve(role(public, sibling), about.into(), hosts, offer)?;
        Ok(token)
    }

    fn clients(&self) -> Vec<shapes::OutsideClient> {
        self.0.clients().into_iter().map(Into::into).collect()
    }

    fn cut_off(&self, token: u64, why: &str) -> bool {
        self.0.cut_off(ClientId(token), why)
    }

    #[expect(clippy::needless_pass_by_value, reason = "Python's list is converted into ours")]
    fn set_public_allowed(&self, keys: Vec<String>) -> PyResult<()> {
        let keys: Option<Vec<_>> = keys.iter().map(|key| hex::decode(key)).collect();
        let keys = keys.ok_or_else(|| {
            wrong("public_key", "A public key is 64 lowercase hexadecimal characters.")
        })?;
        Ok(self.0.set_public_allowed(keys)?)
    }

    fn connect_inside(&self) -> PyResult<Client> {
        Ok(self.0.connect(Role::Inside, About::default())?.into())
    }

    #[expect(clippy::needless_pass_by_value, reason = "Python's list is converted into ours")]
    fn use_relays(&self, client: &Client, urls: Vec<String>) -> PyResult<()> {
        Ok(self.0.use_relays(&client.0, &urls)?)
    }

    #[pyo3(signature = (url, read=true, write=true))]
    fn add_relay(&self, url: &str, read: bool, write: bool) -> PyResult<bool> {
        Ok(self.0.add_relay(url, Switches { read, write })?)
    }

    #[pyo3(signature = (url, private_key=None))]
    fn set_relay_key(&self, url: &str, private_key: Option<Text<'_>>) -> PyResult<()> {
        Ok(self.0.set_relay_key(url, private_key.map(|Text(key)| key))?)
    }

    fn set_public_reads(&self, on: bool) -> PyResult<()> {
        Ok(self.0.set_public_reads(on)?)
    }

    fn remove_relay(&self, url: &str) -> PyResult<bool> {
        Ok(self.0.remove_relay(url)?)
    }

    #[pyo3(signature = (url=None, anew=false))]
    fn reconnect(&self, url: Option<&str>, anew: bool) -> PyResult<()> {
        Ok(self.0.reconnect(url, anew)?)
    }

    #[pyo3(signature = (
        url, *, max_subscriptions=None, max_filters=None, max_message_length=None, max_limit=None,
        nips=None
    ))]
    fn set_relay_limits(
        &self,
        url: &str,
        max_subscriptions: Option<i64>,
        max_filters: Option<i64>,
        max_message_length: Option<i64>,
        max_limit: Option<i64>,
        nips: Option<Vec<u32>>,
    ) -> PyResult<()> {
        let nips = nips.map(Vec::into_boxed_slice);
        let limits = RelayLimits::new(
            max_subscriptions,
            max_filters,
            max_message_length,
            max_limit,
            nips.as_deref(),
        );
        Ok(self.0.set_relay_limits(url, limits)?)
    }

    fn set_relay_sibling(&self, url: &str, sibling: bool) -> PyResult<()> {
        Ok(self.0.set_relay_sibling(url, sibling)?)
    }

    fn set_proxy(&self, url: Option<&str>, for_all: bool) -> PyResult<()> {
        let proxy = url.map(Proxy::parse).transpose().map_err(|why| wrong("proxy", why))?;
        self.0.set_proxy(proxy, for_all);
        Ok(())
    }

    fn proxy_for(&self, url: &str) -> PyResult<Option<String>> {
        Ok(self.0.proxy_for(url)?.map(|proxy| proxy.url()))
    }

    fn relays<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.0.relays().iter().map(|relay| relay_status(py, relay)).collect()
    }

    fn relay<'py>(&self, py: Python<'py>, url: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.0.relay(url).map(|relay| relay_status(py, &relay)).transpose()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = numbers(py, &self.0.stats().counts())?;
        dict.set_item("outbox", self.outbox_stats(py)?)?;
        Ok(dict)
    }

    fn history(&self) -> Vec<(u64, u64, u64, u64)> {
        let seconds = self.0.stats().history().into_iter();
        seconds.map(|(at, sum)| (at, sum.received, sum.delivered, sum.published)).collect()
    }

    fn store_task(&self) -> Option<shapes::StoreTask> {
        self.0.store_task().map(|task| outbox::store_task(&task))
    }

    #[pyo3(signature = (number, error=None, certain=true, elsewhere=Vec::new()))]
    #[expect(clippy::needless_pass_by_value, reason = "Python's list is converted into ours")]
    fn outbox_stored(
        &self,
        number: u64,
        error: Option<String>,
        certain: bool,
        elsewhere: Vec<String>,
    ) -> PyResult<()> {
        Ok(self
            .0
            .batch_written(BatchNumber(number), outbox::result(error, certain, &elsewhere)?)?)
    }

    fn outbox_adopt(
        &self,
        py: Python<'_>,
        rows: Vec<StoredRow>,
    ) -> PyResult<Vec<(String, String)>> {
        let (rows, unreadable) = py.detach(|| outbox::read_rows(rows));
        self.0.adopt(rows)?;
        Ok(unreadable)
    }

    #[expect(clippy::needless_pass_by_value, reason = "Python's list is converted into ours")]
    fn outbox_let_go(&self, ids: Vec<String>) -> PyResult<()> {
        Ok(self.0.let_go(outbox::ids(&ids)?)?)
    }

    fn outbox_lease(&self, seconds: Option<f64>) -> PyResult<()> {
        Ok(self.0.set_lease(outbox::seconds(seconds)?)?)
    }

    #[getter]
    fn outbox_size(&self) -> usize {
        self.0.outbox_size()
    }

    fn set_outbox_size(&self, size: usize) -> PyResult<()> {
        Ok(self.0.set_outbox_size(size)?)
    }

    fn outbox(&self, py: Python<'_>) -> PyResult<Vec<shapes::OutboxEntry>> {
        let entries = py.detach(|| self.0.outbox())?;
        Ok(entries.iter().map(outbox::entry).collect())
    }

    fn outbox_retry(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        let id = outbox::id(id)?;
        Ok(py.detach(|| self.0.outbox_retry(id))?)
    }

    fn outbox_delete(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        let id = outbox::id(id)?;
        Ok(py.detach(|| self.0.outbox_delete(id))?)
    }

    #[pyo3(signature = (away=false))]
    fn stop(&self, py: Python<'_>, away: bool) {
        py.detach(|| self.0.stop(away));
    }
}

const fn role(public: bool, sibling: bool) -> Role {
    match (sibling, public) {
        (true, public) => Role::Sibling { public },
        (false, true) => Role::Public,
        (false, false) => Role::Private,
    }
}

impl Core {
    fn outbox_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = &self.0.stats().outbox;
        let oldest = stats.oldest.get();
        let dict = numbers(py, &stats.counts())?;
        dict.set_item("size", self.0.outbox_size())?;
        dict.set_item("oldest", (oldest > 0).then_some(oldest))?;
        Ok(dict)
    }
}

/// The one spelling of a relay's url.
#[pyfunction]
pub(super) fn normalize_relay_url(url: &str) -> PyResult<String> {
    url::normalize(url).map_err(|why| wrong("url", why))
}

/// A proxy's url without its password, and the password as it stands in a url.
#[pyfunction]
pub(super) fn read_proxy_url(url: &str) -> PyResult<(String, Option<String>)> {
    let proxy = Proxy::read(url).map_err(|why| wrong("proxy", why))?;
    Ok((proxy.shown(), proxy.password().map(str::to_owned)))
}

fn read_limits(dict: &Bound<'_, PyDict>) -> PyResult<Limits> {
    let defaults = Limits::default();
    let read = |name: &str, default: usize| match dict.get_item(name)? {
        Some(value) => value
            .extract::<usize>()
            .map_err(|_| wrong("limit", format!("{name} must be a whole number"))),
        None => Ok(default),
    };
    Ok(Limits {
        max_message_length: read("max_message_length", defaults.max_message_length)?,
        max_subscriptions: read("max_subscriptions", defaults.max_subscriptions)?,
        max_filters: read("max_filters", defaults.max_filters)?,
        max_clients: read("max_clients", defaults.max_clients)?,
        max_messages_per_second: read("max_messages_per_second", defaults.max_messages_per_second)?,
    })
}

fn numbers<'py>(py: Python<'py>, counts: &[(&str, u64)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, count) in counts {
        dict.set_item(name, count)?;
    }
    Ok(dict)
}

fn relay_status<'py>(py: Python<'py>, relay: &RelayView) -> PyResult<Bound<'py, PyDict>> {
    let dict = shapes::RelayStatus::from(relay).into_pyobject(py)?;
    for (name, count) in relay.stats.counts() {
        dict.set_item(name, count)?;
    }
    for (name, is_so) in relay.stats.flags() {
        dict.set_item(name, is_so)?;
    }
    Ok(dict)
}
