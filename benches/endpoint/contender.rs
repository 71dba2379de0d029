//! Who is measured: a relay alone, and servers with relays of their own behind them.

use crate::client::Subscription;
use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::peer::Peer;
use crate::process;
use crate::relay::Relays;
use crate::server::LnBits;

/// One of them. The order is that of the table's columns, and of the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// One relay of the benchmark's own, with nothing before it.
    Relay,
    /// Another multiplexer: `proxy-nostr-relay` of crates.io.
    Peer,
    /// This extension in `LNbits`.
    Ours,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Relay, Self::Peer, Self::Ours];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Relay => "one relay directly",
            Self::Peer => "proxy-nostr-relay",
            Self::Ours => "nostrclient",
        }
    }
}

/// One that is running. Everybody has relays of his own: what one is sent the others never see.
pub(crate) struct Contender {
    pub(crate) who: Who,
    /// Where clients connect.
    pub(crate) endpoint: String,
    pub(crate) relays: Relays,
    server: Server,
}

/// What runs behind the endpoint, until this is dropped.
enum Server {
    None,
    Peer(Peer),
    LnBits(LnBits),
}

impl Contender {
    /// Start it with so many relays behind it, who may say how many subscriptions they take.
    pub(crate) async fn start(who: Who, relays: usize, places: Option<usize>) -> Result<Self> {
        let relays = Relays::start(if who == Who::Relay { 1 } else { relays }, places)?;
        let urls = relays.urls();
        let (endpoint, server) = match who {
            Who::Relay => (urls[0].to_owned(), Server::None),
            Who::Peer => {
                let peer = Peer::start(&urls).await?;
                (peer.endpoint.clone(), Server::Peer(peer))
            }
            Who::Ours => {
                let lnbits = LnBits::start(&urls)?;
                (lnbits.endpoint.clone(), Server::LnBits(lnbits))
            }
        };
        Ok(Self { who, endpoint, relays, server })
    }

    /// A subscription to `events`. Of others a copy or a second EOSE is only counted.
    pub(crate) fn subscription(&self, id: &str, filter: &str, events: &Events) -> Subscription {
        Subscription::new(id, filter, events.clone(), self.who == Who::Peer)
    }

    /// Resident memory in MiB. None: it runs in this process.
    pub(crate) fn memory(&self) -> Result<Option<f64>> {
        self.pid().map(process::memory).transpose()
    }

    /// The process behind the endpoint.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.server {
            Server::None => None,
            Server::Peer(peer) => Some(peer.pid()),
            Server::LnBits(lnbits) => Some(lnbits.pid),
        }
    }

    pub(crate) fn lnbits(&self) -> Result<&LnBits> {
        match &self.server {
            Server::LnBits(lnbits) => Ok(lnbits),
            _ => Err(Failure::Setup("only LNbits has that".to_owned())),
        }
    }
}
