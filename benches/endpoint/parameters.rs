//! Every number of the benchmark: what is measured, how much of it, and what must be reached.

use std::time::Duration;

/// Relays behind the endpoint.
pub(crate) const RELAYS: usize = 4;
/// Runs of a scenario that is over in a second or two. The median counts: single figures move
/// by 10 to 30 % from run to run. Every run has events of its own.
pub(crate) const RUNS: usize = 5;
/// Time limit of one step of a scenario. Nothing near it is a result.
pub(crate) const STEP: Duration = Duration::from_mins(1);
/// Time limit of a whole scenario.
pub(crate) const SCENARIO: Duration = Duration::from_mins(10);
/// How long a scenario listens on for what must not come (a copy, an event too many).
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// Stored events: how many each relay holds, all of them the same.
pub(crate) const STORED: usize = 20_000;
/// Before every so many'th of them, each relay sends a forged copy. None may come through.
pub(crate) const FORGED_EVERY: usize = 1_000;
/// The last time limit a multiplexer may close a subscription's first part with is 4.0 s. Until
/// then, counted from the REQ, a second EOSE would show.
pub(crate) const LATE_EOSE: Duration = Duration::from_millis(4_500);
pub(crate) const STORED_GOAL: f64 = 12_000.0;

/// Live events: one at a time, this many in a second, for so long.
pub(crate) const LIVE_PER_SECOND: usize = 200;
pub(crate) const LIVE: usize = 10 * LIVE_PER_SECOND;
/// Milliseconds.
pub(crate) const LIVE_P50_GOAL: f64 = 1.0;
pub(crate) const LIVE_P99_GOAL: f64 = 10.0;

/// Fan-out: clients with a subscription each, and live events sent in one go.
pub(crate) const FANOUT_CLIENTS: usize = 50;
pub(crate) const FANOUT: usize = 200;
pub(crate) const FANOUT_GOAL: f64 = 30_000.0;
/// Connections each relay has meanwhile.
pub(crate) const SOCKETS_GOAL: f64 = 1.0;

/// Publishing: events from one client, and how many of them may be unanswered at a time (a
/// thousand is what the endpoint has room for).
pub(crate) const PUBLISH: usize = 20_000;
pub(crate) const PUBLISH_WINDOW: usize = 900;

/// Memory: different events through one subscription. `BENCH_MEMORY_EVENTS` sets another count.
pub(crate) const MEMORY: usize = 1_000_000;
/// Events the memory scenario has in its own memory at a time.
pub(crate) const MEMORY_BATCH: usize = 10_000;
/// MiB.
pub(crate) const MEMORY_GOAL: f64 = 64.0;

/// Events of the memory scenario.
pub(crate) fn memory_events() -> usize {
    let wanted = std::env::var("BENCH_MEMORY_EVENTS").ok();
    wanted.and_then(|count| count.parse().ok()).unwrap_or(MEMORY)
}
