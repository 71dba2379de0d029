//! The scenarios, one a file: what each measures is said at its top.

mod attacks;
mod connect;
mod crowd;
pub(crate) mod fan_out;
pub(crate) mod live;
mod million;
mod publish;
mod request;
mod rest;
mod restart;
pub(crate) mod stored;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, Subscription};
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::parameters as p;
use crate::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Stored,
    Live,
    Publish,
    FanOut,
    Request,
    Connect,
    Restart,
    ClientMemory,
    Rest,
    Crowd,
    Million,
    Inflate,
    Binary,
    Compressed,
    SlowReaders,
}

impl Scenario {
    pub(crate) const ALL: [Self; 15] = [
        Self::Stored,
        Self::Live,
        Self::Publish,
        Self::FanOut,
        Self::Request,
        Self::Connect,
        Self::Restart,
        Self::ClientMemory,
        Self::Rest,
        Self::Crowd,
        Self::Million,
        Self::Inflate,
        Self::Binary,
        Self::Compressed,
        Self::SlowReaders,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Live => "live",
            Self::Publish => "publish",
            Self::FanOut => "fan-out",
            Self::Request => "request",
            Self::Connect => "connect",
            Self::Restart => "restart",
            Self::ClientMemory => "client-memory",
            Self::Rest => "rest",
            Self::Crowd => "crowd",
            Self::Million => "million",
            Self::Inflate => "inflate",
            Self::Binary => "binary",
            Self::Compressed => "compressed",
            Self::SlowReaders => "slow-readers",
        }
    }

    /// How many relays it is measured with, one number after the other.
    pub(crate) fn relays(self) -> &'static [usize] {
        match self {
            Self::Stored | Self::Live | Self::Publish | Self::Request => &[p::RELAYS, 1, 20],
            Self::Rest => &[p::REST_RELAYS],
            _ => &[p::RELAYS],
        }
    }

    /// Of whom it is measured.
    pub(crate) fn whom(self) -> &'static [Who] {
        match self {
            Self::ClientMemory | Self::Rest => &[Who::Peer, Who::Ours],
            Self::Crowd
            | Self::Million
            | Self::Inflate
            | Self::Binary
            | Self::Compressed
            | Self::SlowReaders => &[Who::Ours],
            _ => &Who::ALL,
        }
    }

    /// Whether it has to be measured in processes that have done nothing else: where memory is
    /// looked at, or little may be left of the server.
    pub(crate) fn alone(self) -> bool {
        self.whom() != Who::ALL
    }

    pub(crate) async fn run(self, stage: &mut Stage<'_>) -> Result<()> {
        match self {
            Self::Stored => stored::run(stage).await,
            Self::Live => live::run(stage).await,
            Self::Publish => publish::run(stage).await,
            Self::FanOut => fan_out::run(stage).await,
            Self::Request => request::run(stage).await,
            Self::Connect => connect::run(stage).await,
            Self::Restart => restart::run(stage).await,
            Self::ClientMemory => rest::memory(stage).await,
            Self::Rest => rest::processor(stage).await,
            Self::Crowd => crowd::run(stage).await,
            Self::Million => million::run(stage).await,
            Self::Inflate => attacks::inflate(stage).await,
            Self::Binary => attacks::binary(stage).await,
            Self::Compressed => attacks::compressed(stage).await,
            Self::SlowReaders => attacks::slow_readers(stage).await,
        }
    }
}

/// A client and its subscription.
pub(crate) type Subscriber = (Client, Subscription);

/// So many clients, each with a subscription to `events` that has had its EOSE. `filter` gives
/// each its own; `at_once` of them connect at the same time.
pub(crate) async fn subscribers(
    contender: &Contender,
    count: usize,
    at_once: usize,
    events: &Events,
    filter: impl Fn(usize) -> String,
) -> Result<Vec<Subscriber>> {
    let mut ready = Vec::with_capacity(count);
    let mut arriving = JoinSet::new();
    for number in 0..count {
        let mut subscription = contender.subscription("feed", &filter(number), events);
        let endpoint = contender.endpoint.clone();
        arriving.spawn(async move {
            let mut client = Client::connect(&endpoint).await?;
            client.subscribe(&mut subscription).await?;
            Ok((client, subscription))
        });
        if arriving.len() == at_once {
            ready.extend(next(&mut arriving).await?);
        }
    }
    while let Some(subscriber) = next(&mut arriving).await? {
        ready.push(subscriber);
    }
    Ok(ready)
}

/// What the next of these tasks to end gives.
pub(crate) async fn next<T: 'static>(tasks: &mut JoinSet<Result<T>>) -> Result<Option<T>> {
    match tasks.join_next().await {
        Some(ended) => ended.map_err(|error| Failure::Setup(error.to_string()))?.map(Some),
        None => Ok(None),
    }
}

/// A filter for all that is published, like no other.
pub(crate) fn own_filter(number: usize) -> String {
    format!(r#"{{"kinds":[1],"since":{}}}"#, 1_000 + number)
}

/// Clients that go away take the server some time.
pub(crate) async fn leave<T>(clients: Vec<T>) {
    drop(clients);
    sleep(p::SETTLE).await;
}
