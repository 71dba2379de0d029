//! Every number of the benchmark: how much is measured. What must be reached is in `goals.rs`.

use std::time::Duration;

/// How often each of them is measured, in turn. The median counts: single figures move by 10 to
/// 30 % from run to run.
pub(crate) const ROUNDS: usize = 3;
/// Time limit of one step of a scenario. Nothing near it is a result.
pub(crate) const STEP: Duration = Duration::from_mins(1);
/// Time limit of one turn of one of them.
pub(crate) const TURN: Duration = Duration::from_mins(2);
/// How long a scenario listens on for what must not come (a copy, an event too many), and waits
/// for what has gone to be gone.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// Relays behind a multiplexer where nothing else is said.
pub(crate) const RELAYS: usize = 4;
/// Open files: 10,000 clients have a socket here, and so has a relay of ours for each if they are
/// connected directly.
pub(crate) const OPEN_FILES: u64 = 24_576;
/// The work one turn of the other multiplexer may be, in frames from its relays: it does some
/// thousand a second.
pub(crate) const PEER_FRAMES: usize = 12_000;

/// Stored events: how many each relay holds, all of them the same.
pub(crate) const STORED: usize = 20_000;
/// Before every so many'th of them, each relay sends a forged copy. None may come through.
pub(crate) const FORGED_EVERY: usize = 1_000;
/// The last time limit a multiplexer may close a subscription's first part with is 4.0 s. Until
/// then, counted from the REQ, a second EOSE would show.
pub(crate) const LATE_EOSE: Duration = Duration::from_millis(4_500);

/// Live events: how long each pace is kept up.
pub(crate) const LIVE_SECONDS: usize = 5;
/// Clients, and events a second to each of them. A thousand get fewer: 200 would be more than any
/// of these servers can send.
pub(crate) const LIVE: [(usize, usize); 3] = [(1, 200), (50, 200), (1_000, 20)];

/// Fan-out: to so many clients so many live events, sent in one go. (The longer that goes on, the more
/// a relay alone gains by sending many at once: what is to be reached was said of 200 events.)
pub(crate) const FAN_OUT: [(usize, usize); 2] = [(50, 200), (1_000, 50)];
/// Deliveries in one turn of the other multiplexer.
pub(crate) const FAN_OUT_DELIVERIES_PEER: usize = 2_000;

/// Publishing: events from one client, and how many of them may be unanswered at a time (a
/// thousand is what the endpoint has room for).
pub(crate) const PUBLISH: usize = 20_000;
pub(crate) const PUBLISH_WINDOW: usize = 900;
/// Events published at an even pace, for the time to their OK.
pub(crate) const PACED: usize = 800;
pub(crate) const PACED_PER_SECOND: usize = 200;

/// REQs sent one after another, for the time until a relay has them.
pub(crate) const REQUESTS: usize = 100;

/// Clients that connect at once and ask for something.
pub(crate) const CONNECTING: usize = 500;
/// Clients that come back at once.
pub(crate) const RETURNING: usize = 1_000;
/// Clients that stay and wait.
pub(crate) const AT_REST: usize = 1_000;
/// For how long processor time at rest is counted.
pub(crate) const REST: Duration = Duration::from_secs(10);
/// Relays and each client's subscriptions meanwhile.
pub(crate) const REST_RELAYS: usize = 20;
pub(crate) const REST_SUBSCRIPTIONS: usize = 3;
/// A crowd: clients that are all to be served.
pub(crate) const CROWD: usize = 10_000;
/// Clients that connect at the same time where only the end counts.
pub(crate) const ARRIVING: usize = 100;

/// Different events through one subscription, and how many of them are in our own memory at a
/// time. By the last of these parts the server's memory has to be flat.
pub(crate) const MILLION: usize = 1_000_000;
pub(crate) const MILLION_PART: usize = 10_000;
pub(crate) const MILLION_LAST: usize = 20;

/// `LNbits`' API is called so often, whether it has answered or not.
pub(crate) const API_PACE: Duration = Duration::from_millis(20);
/// And given up after this.
pub(crate) const API_PATIENCE: Duration = Duration::from_secs(30);

/// An attack goes on for so long …
pub(crate) const ATTACK: Duration = Duration::from_secs(8);
/// … and is looked back at for so long, for what it leaves behind.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(4);
/// Inflated bytes of a message, and how many are sent a second.
pub(crate) const INFLATED: usize = 15 << 20;
pub(crate) const INFLATED_PER_SECOND: u32 = 10;
/// Large events that fill a line of which nobody reads, and messages sent behind the binary frame
/// that comes then.
pub(crate) const UNREAD_EVENTS: usize = 16;
pub(crate) const BEHIND_BINARY: usize = 140;
/// Large events: their bytes, how many go out to how many clients that offer compression …
pub(crate) const LARGE: usize = 400_000;
pub(crate) const LARGE_EVENTS: usize = 4;
pub(crate) const COMPRESSING: usize = 100;
/// … and how many to how many that hardly read.
pub(crate) const SLOW_EVENTS: usize = 64;
pub(crate) const SLOW_READERS: usize = 48;
/// Bytes a second that those read.
pub(crate) const SLOW_BYTES: usize = 4_096;

/// What the curves are drawn over.
pub(crate) const CURVE_RELAYS: [usize; 6] = [1, 2, 5, 10, 20, 50];
pub(crate) const CURVE_CLIENTS: [usize; 7] = [1, 10, 50, 200, 1_000, 3_000, 10_000];
pub(crate) const CURVE_SUBSCRIPTIONS: [usize; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
/// Deliveries at a point of the one over clients.
pub(crate) const CURVE_DELIVERIES: usize = 50_000;
/// Rounds at a point: what a curve is for is its shape, over factors of ten.
pub(crate) const CURVE_ROUNDS: usize = 1;
/// Subscriptions of one client there.
pub(crate) const CURVE_EACH: usize = 200;
/// The authors those ask for, each of them many times.
pub(crate) const CURVE_AUTHORS: usize = 500;
/// Subscriptions that the relays there say they take: none has to wait for a place.
pub(crate) const CURVE_PLACES: usize = 100_000;
/// Live events at a point of that curve.
pub(crate) const CURVE_LIVE: usize = 400;
