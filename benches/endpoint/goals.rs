//! What is to be reached, each figure beside one of the same run: machines differ by a factor of
//! three.

use std::fmt;

use crate::contender::Who;
use crate::report::{Report, number};
use Bound::{AtLeast, AtMost};

/// What the figure is divided by.
enum Of {
    /// The same, measured of one relay directly.
    Relay,
    /// Another one of ours, and what it is called.
    Ours(&'static str, &'static str),
    /// Nothing: it is looked at as it is.
    Itself,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Goal {
    title: &'static str,
    measure: &'static str,
    of: Of,
    bound: Bound,
}

pub(crate) const VERIFY: &str = "verification alone, all threads, events/s";
pub(crate) const BARE: &str = "LNbits' own WebSocket, bare, connects/s";
const OF_VERIFY: Of = Of::Ours(VERIFY, "of verification alone");

const fn goal(title: &'static str, measure: &'static str, of: Of, bound: Bound) -> Goal {
    Goal { title, measure, of, bound }
}

static GOALS: [Goal; 21] = [
    goal("fan-out 50", "fan-out to 50 clients, deliveries/s", Of::Relay, AtLeast(0.4)),
    goal(
        "fan-out 1,000",
        "fan-out to 1,000 clients, deliveries/s",
        Of::Ours("fan-out to 50 clients, deliveries/s", "of that to 50"),
        AtLeast(0.9),
    ),
    goal("live p50", "live, 4 relays, 1 client, 200/s, p50 ms", Of::Relay, AtMost(4.0)),
    goal("live p99", "live, 4 relays, 1 client, 200/s, p99 ms", Of::Relay, AtMost(4.0)),
    goal("stored", "stored, 4 relays, unique events/s", OF_VERIFY, AtLeast(0.65)),
    goal("publish", "publish, 4 relays, OKs/s", OF_VERIFY, AtLeast(0.6)),
    goal(
        "connect",
        "connect to first EOSE, clients/s",
        Of::Ours(BARE, "of LNbits' own WebSocket"),
        AtLeast(0.9),
    ),
    goal("restart", "1,000 come back: LNbits' API meanwhile, p99 ms", Of::Itself, AtMost(100.0)),
    goal("client-memory", "KiB a client with one subscription", Of::Itself, AtMost(24.0)),
    goal(
        "crowd",
        "10,000 clients: asked and answered, an event each",
        Of::Itself,
        AtLeast(10_000.0),
    ),
    goal("rest", "at rest, % of a core", Of::Itself, AtMost(1.0)),
    goal("million", "a million events, MiB more", Of::Itself, AtMost(64.0)),
    goal("million, flat", "the last 200,000 of them, MiB more", Of::Itself, AtMost(4.0)),
    goal("inflate", "15 MiB in 15 kB: LNbits' API meanwhile, p99 ms", Of::Itself, AtMost(100.0)),
    goal("inflate, memory", "15 MiB in 15 kB: MiB more at most", Of::Itself, AtMost(64.0)),
    goal("binary", "unread answer: LNbits' API meanwhile, p99 ms", Of::Itself, AtMost(100.0)),
    goal("binary, memory", "unread answer: MiB more at most", Of::Itself, AtMost(64.0)),
    goal("compressed", "1.6 MB to 100: LNbits' API meanwhile, p99 ms", Of::Itself, AtMost(100.0)),
    goal("compressed, memory", "1.6 MB to 100: MiB more at most", Of::Itself, AtMost(256.0)),
    goal(
        "slow-readers",
        "48 slow readers: LNbits' API meanwhile, p99 ms",
        Of::Itself,
        AtMost(100.0),
    ),
    goal("slow-readers, memory", "48 slow readers: MiB more at most", Of::Itself, AtMost(320.0)),
];

/// A goal, and how far we are. None: what belongs to it could not be measured.
pub(crate) struct Judged {
    goal: &'static Goal,
    value: Option<f64>,
}

/// The goals of the scenarios that were played.
pub(crate) fn judged(report: &Report) -> Vec<Judged> {
    let played = |goal: &&Goal| report.has_played(goal.scenario());
    GOALS.iter().filter(played).map(|goal| Judged { goal, value: goal.value(report) }).collect()
}

impl Goal {
    /// The scenario it belongs to: the first word of its title.
    fn scenario(&self) -> &str {
        self.title.split([' ', ',']).next().unwrap_or_default()
    }

    fn value(&self, report: &Report) -> Option<f64> {
        let ours = report.median(Who::Ours, self.measure)?;
        let of = match self.of {
            Of::Relay => report.median(Who::Relay, self.measure)?,
            Of::Ours(measure, _) => report.median(Who::Ours, measure)?,
            Of::Itself => 1.0,
        };
        Some(ours / of)
    }
}

impl Judged {
    pub(crate) fn reached(&self) -> bool {
        self.value.is_some_and(|value| match self.goal.bound {
            AtLeast(bound) => value >= bound,
            AtMost(bound) => value <= bound,
        })
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal { title, measure, of, bound } = self.goal;
        let value = self.value.map_or("not measured".to_owned(), number);
        let value = match of {
            Of::Relay => format!("{value} of the relay directly"),
            Of::Ours(_, words) => format!("{value} {words}"),
            Of::Itself => format!("{measure}: {value}"),
        };
        let bound = match bound {
            AtLeast(bound) => format!("≥ {}", number(*bound)),
            AtMost(bound) => format!("≤ {}", number(*bound)),
        };
        let verdict = if self.reached() { "reached" } else { "NOT REACHED" };
        write!(out, "**{title}**: {value} (to reach: {bound}): {verdict}")
    }
}
