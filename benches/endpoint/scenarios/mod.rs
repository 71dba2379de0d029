//! The scenarios, one a file: what each measures is said at its top.

mod fanout;
mod live;
mod memory;
mod publish;
mod stored;

use std::time::Duration;

use tokio::time::timeout;

use crate::events::Supply;
use crate::failure::Result;
use crate::parameters as p;
use crate::process;
use crate::relay::Relays;
use crate::report::Row;

/// Everything a scenario runs on.
pub(crate) struct Stage<'a> {
    pub(crate) endpoint: String,
    pub(crate) relays: &'a Relays,
    pub(crate) supply: &'a mut Supply,
    /// The process behind the endpoint. None: the endpoint is one of the relays.
    pub(crate) pid: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Stored,
    Live,
    Fanout,
    Publish,
    Memory,
}

impl Scenario {
    pub(crate) const ALL: [Self; 5] =
        [Self::Stored, Self::Live, Self::Fanout, Self::Publish, Self::Memory];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Live => "live",
            Self::Fanout => "fanout",
            Self::Publish => "publish",
            Self::Memory => "memory",
        }
    }

    /// Events it takes from the supply.
    pub(crate) fn events(self) -> usize {
        match self {
            Self::Stored => p::RUNS * p::STORED,
            Self::Live => p::LIVE,
            Self::Fanout => 2 * p::RUNS * p::FANOUT,
            Self::Publish => p::RUNS * p::PUBLISH,
            Self::Memory => p::memory_events(),
        }
    }

    /// Whether it must not run in a process others have used before.
    pub(crate) fn alone(self) -> bool {
        self == Self::Memory
    }

    /// Measure. A scenario that cannot be finished is a row of its own.
    pub(crate) async fn run(self, stage: &mut Stage<'_>) -> Vec<Row> {
        stage.relays.set_stored(None).await;
        let measure = async {
            match self {
                Self::Stored => stored::run(stage).await,
                Self::Live => live::run(stage).await,
                Self::Fanout => fanout::run(stage).await,
                Self::Publish => publish::run(stage).await,
                Self::Memory => memory::run(stage).await,
            }
        };
        let failure = match timeout(p::SCENARIO, measure).await {
            Ok(Ok(rows)) => return rows,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("not finished after {:?}", p::SCENARIO),
        };
        vec![Row::failure(self.name(), &failure)]
    }
}

impl Stage<'_> {
    /// Processor time the endpoint has used so far. Zero for a relay of our own.
    fn processor_time(&self) -> Result<Duration> {
        self.pid.map_or(Ok(Duration::ZERO), process::processor_time)
    }

    /// Processor time of all its threads per event, since it was `before`. It moves less than a
    /// rate when the machine has other work.
    fn cost(&self, scenario: &'static str, before: Duration, events: usize) -> Result<Option<Row>> {
        let used = self.processor_time()?.saturating_sub(before);
        let micros = format!("{:.1}", 1e6 / per_second(events, used));
        Ok(self.pid.map(|_| Row::note(scenario, "processor µs per event", micros)))
    }
}

/// `count` in `time`, a second.
fn per_second(count: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = count as f64;
    count / time.as_secs_f64()
}
