//! Every deadline and every bound of the core, with its unit and its reason.
//!
//! Everything that waits has a deadline and everything that holds has a bound; both stand here, so
//! that one page tells what the core can cost and how long it can keep anybody waiting.

use std::time::Duration;

// --- Publishing (rule 1.3) -----------------------------------------------------------------------

/// How long an EVENT waits for a relay's answer. NDK gives up at 2.5 s, nostr-tools at 4.4 s.
pub(crate) const OK_DEADLINE: Duration = Duration::from_secs(2);
/// EVENTs sent to relays and not answered yet, in all. What comes on top waits unsent.
pub(crate) const MAX_UNANSWERED_EVENTS: usize = 1_000;
/// An EVENT that gets its place with less time than this to its deadline is not sent any more: no
/// relay could answer in time, and its sender would be left in doubt.
pub(crate) const SEND_LEAST: Duration = Duration::from_millis(500);
/// EVENTs waiting unsent for one of those places, in all. Past it: refused at once.
pub(crate) const MAX_WAITING_EVENTS: usize = 10_000;
/// Bytes of the EVENTs waiting unsent, in all.
pub(crate) const MAX_WAITING_BYTES: usize = 64 << 20;
/// Events answered `true` that are remembered, so that publishing one again is never answered
/// `false`.
pub(crate) const MAX_EARLIER_EVENTS: usize = 10_000;

// --- The outbox (rules 2) ------------------------------------------------------------------------

/// Default number of events that may wait for a relay.
pub(crate) const OUTBOX_SIZE: usize = 100;
/// Events in doubt that may be kept on top of those, and those on their way there.
pub(crate) const MAX_IN_DOUBT: usize = MAX_UNANSWERED_EVENTS;
/// Rejected events kept for the owner to see; past it the oldest is dropped.
pub(crate) const MAX_REJECTED: usize = 100;
/// How long the answer about an event that has had its time (`OK_DEADLINE`) may wait for the
/// database. NDK gives up at 2.5 s.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_millis(400);
/// After a failure the database is tried again this much later.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(2);
/// Rows given to the database in one transaction.
pub(crate) const STORE_BATCH: usize = 500;
/// Rows whose writing or removal may be outstanding before nothing more is queued.
pub(crate) const LEDGER_MOST: usize = 2_000;
/// The same in bytes.
pub(crate) const STORE_BATCH_BYTES: usize = 4 << 20;
/// Bytes of all events of the outbox. Past it nothing more is queued, and nothing more sent that
/// might come into doubt.
pub(crate) const OUTBOX_BYTES: usize = 64 << 20;
/// Events of the outbox given to a relay's line ahead of what it has written.
pub(crate) const OUTBOX_AHEAD: usize = 256;
/// A relay that was sent a waiting event and does not answer, or asks for patience, is tried again
/// after this …
pub(crate) const OUTBOX_RETRY_FIRST: Duration = Duration::from_secs(5);
/// … doubling up to this.
pub(crate) const OUTBOX_RETRY_MOST: Duration = Duration::from_mins(10);
/// Events of the outbox that answer one REQ, the newest first: giving them holds the router for some
/// milliseconds. Relays give no more at a time either.
pub(crate) const OUTBOX_ANSWERS: usize = 500;
/// Events in doubt that a relay is asked for in one REQ.
pub(crate) const OUTBOX_ASK: usize = 100;
/// How long its answer is waited for.
pub(crate) const OUTBOX_ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// An event that was sent and that no relay ever answered is given up after this (seconds) …
pub(crate) const NEVER_ANSWERED: u64 = 24 * 60 * 60;
/// … but not before it was tried for this long: the clock may have jumped.
pub(crate) const NEVER_ANSWERED_LEAST: Duration = Duration::from_mins(10);
/// Events kept for one relay that others have and it has not. Past it the oldest are dropped.
pub(crate) const BACKLOG_EVENTS: usize = 100;
/// The same in bytes.
pub(crate) const BACKLOG_BYTES: usize = 8 << 20;
/// Events written to one relay whose answer is remembered to be missing.
pub(crate) const IN_FLIGHT_EVENTS: usize = MAX_UNANSWERED_EVENTS;

// --- Subscriptions (rules 3.1, 3.2, 3.4, 3.7) ----------------------------------------------------

/// Longest subscription id, in characters (NIP-01).
pub(crate) const MAX_SUBSCRIPTION_ID: usize = 64;
/// After the first relay's EOSE, this long without a stored event ends the wait for the others.
pub(crate) const EOSE_QUIET: Duration = Duration::from_millis(1_500);
/// A relay that has sent nothing for a REQ is not waited for any longer.
pub(crate) const EOSE_SILENT: Duration = Duration::from_secs(4);
/// A relay that still streams stored events is waited for this long.
pub(crate) const EOSE_STREAMING: Duration = Duration::from_secs(30);
/// How far before the loss of a relay a repeated REQ reaches back, in seconds: the clocks of wallets
/// are slow, and what they send later has to match it too.
pub(crate) const REPLAY_MARGIN: u64 = 60 * 60;
/// The same where gift wraps (kind 1059) can match: NIP-59 sets them back up to two days.
pub(crate) const REPLAY_MARGIN_GIFT_WRAP: u64 = 3 * 24 * 60 * 60;
/// A relay that refuses a subscription for a reason that passes is asked again after this …
pub(crate) const REFUSED_FIRST: Duration = Duration::from_secs(1);
/// … doubling up to this …
pub(crate) const REFUSED_MOST: Duration = Duration::from_mins(5);
/// … and one that refuses it for good, in case something has changed, after this.
pub(crate) const REFUSED_FOR_GOOD: Duration = Duration::from_mins(30);
/// What was served for so long before begins anew with the first of these pauses: some relays end what is
/// idle, every time.
pub(crate) const REFUSED_RESET: Duration = Duration::from_secs(30);
/// A relay that has given so many stored events for one filter may have cut them there, whatever its document
/// says: the older ones are asked for too …
pub(crate) const PAGE_LEAST: u64 = 10;
/// … up to so many times.
pub(crate) const PAGES_MOST: u32 = 50;
/// A client whose subscription no relay serves is told so by a NOTICE after this.
pub(crate) const UNSERVED_NOTICE: Duration = Duration::from_mins(1);
/// A request that has had no EOSE for this long counts as one that will have none.
pub(crate) const REPLAY_WINDOW: Duration = Duration::from_secs(30);

/// Bytes of stored events one subscription holds until it is their turn; past it they go out as
/// they come. A quarter of what its client's mailbox takes.
pub(crate) const HELD_BYTES: usize = 4 << 20;
/// What each of those counts on top of its text.
pub(crate) const HELD_EVENT_COST: usize = 256;
/// The same for all subscriptions together.
pub(crate) const HELD_BYTES_ALL: usize = 64 << 20;
/// Replaceable events of which one subscription remembers the newest version it was given.
pub(crate) const VERSIONS: usize = 1_024;

// --- What relays are asked (rule 4.3) ------------------------------------------------------------

/// Subscriptions open at a time at a relay whose document says nothing of it, or was not read on this
/// connection. What strfry takes where nobody has set it, and it need not say so.
pub(crate) const RELAY_SUBSCRIPTIONS: usize = 20;
/// The least that is used of a relay, whatever it says: one to gather the others into, one for the
/// outbox, two to ask.
pub(crate) const RELAY_SUBSCRIPTIONS_LEAST: usize = 4;
/// Filters in one REQ of several subscriptions, the same.
pub(crate) const RELAY_FILTERS: usize = 10;
/// Bytes of one REQ of several subscriptions, the same.
pub(crate) const RELAY_MESSAGE: usize = 64 << 10;
/// Subscriptions that are tried in vain to be asked for together with others, before that is put off.
pub(crate) const COMBINE_FEW: usize = 256;
/// Requests that are tried as the first of those that are asked for together.
pub(crate) const COMBINE_BEGINNINGS: usize = 8;
/// Members up to which a request's are tried one by one instead of by the index.
pub(crate) const REQUEST_FEW_MEMBERS: usize = 16;
/// A request that was closed because its members have another one passes on what comes for this
/// long: what the relay had sent before it read of the end, and what is being verified.
pub(crate) const REQUEST_LINGER: Duration = Duration::from_secs(10);
/// Where places run short and nothing can be done now, the plan is looked at again after this …
pub(crate) const PLAN_AGAIN: Duration = Duration::from_secs(1);
/// … and where a relay has refused a combined request, another one is tried after the same, doubled each
/// time up to this.
pub(crate) const GATHER_RETRY: Duration = Duration::from_secs(30);

/// What a relay does for the subscriptions is counted this long after something has changed: counting takes
/// a look at each of them, and the page shows no more than one state a second.
pub(crate) const CENSUS: Duration = Duration::from_secs(1);

/// A relay may refuse a request after its EOSE, by a message that names nothing: it is known to serve a
/// request when it has said nothing against it for this long.
pub(crate) const PROOF: Duration = Duration::from_secs(1);
/// A relay that has one EOSE for each filter of a request has the second one ready this soon. So long is the
/// first one held, where nothing is known of the relay yet.
pub(crate) const SECOND_EOSE: Duration = Duration::from_millis(100);
/// A relay that says without a name that there are too many requests may say so of several: so long it is
/// listened to before anything is made of it.
pub(crate) const CROWD_SETTLES: Duration = Duration::from_millis(500);
/// It speaks of what was asked, or was given its EOSE, within this before.
pub(crate) const CROWD_LOOKS_BACK: Duration = Duration::from_secs(5);
/// A relay that says without a name that too much comes at a time is asked nothing for so long …
pub(crate) const PACE_REST: Duration = Duration::from_secs(1);
/// … doubling up to this, as long as it says so of the first thing that comes then. Most count for ten
/// seconds or a minute, and count what they did not read too.
pub(crate) const PACE_REST_MOST: Duration = Duration::from_secs(20);
/// What has no answer of its own (a CLOSE) it has borne if it does not complain of it for this long.
pub(crate) const PACE_TRIAL: Duration = Duration::from_secs(1);
/// What it was sent so long before it complained it may not have read …
pub(crate) const PACE_LOOKS_BACK: Duration = Duration::from_secs(2);
/// … and so many CLOSEs of that are kept.
pub(crate) const PACE_CLOSES: usize = 1_000;
/// What a relay has shown that it takes, and does not say, is believed for this long.
pub(crate) const LESSON: Duration = Duration::from_hours(1);
/// The same of what is only guessed from its silence.
pub(crate) const LESSON_GUESSED: Duration = Duration::from_mins(2);
/// A live request is asked again after this, whatever it has brought: relays forget …
pub(crate) const RENEW: Duration = Duration::from_hours(1);
/// … and up to so much later, so that not all are asked at once.
pub(crate) const RENEW_SPREAD: Duration = Duration::from_mins(20);
/// An event of ours that a relay has taken comes back over a live request that it matches within this, or
/// the request is asked again …
pub(crate) const ECHO: Duration = Duration::from_secs(5);
/// … but not more often than this.
pub(crate) const ECHO_REST: Duration = Duration::from_mins(10);
/// Events of ours of which it is remembered, for each relay, that requests are to bring them back.
pub(crate) const ECHO_EVENTS: usize = 64;
/// Events that a live request remembers to have brought, for its echoes.
pub(crate) const ECHO_MEMORY: usize = 8;
/// Kinds of which it is remembered that a request has brought back our own.
pub(crate) const ECHO_KINDS: usize = 16;
/// How early a request that is answered by a complaint alone counts as refused: before the EOSE's time, so
/// that there is time to ask again.
pub(crate) const COMPLAINT: Duration = Duration::from_millis(1_500);
/// The same where that has happened before, or the words leave no doubt.
pub(crate) const COMPLAINT_AT_ONCE: Duration = Duration::from_millis(500);

// --- COUNT (rule 3.8) ----------------------------------------------------------------------------

/// COUNTs a relay is sent at once before it has answered one …
pub(crate) const COUNT_PROBES: u32 = 64;
/// … and per second: if it complains about each, that stays far below `JUNK_PER_SECOND`.
pub(crate) const COUNT_PROBES_PER_SECOND: u32 = 4;
/// So many left unanswered in a row, and a relay is not asked …
pub(crate) const COUNT_UNANSWERED: u32 = 3;
/// … for this long; nor after it said that it does not count.
pub(crate) const COUNT_REST: Duration = Duration::from_mins(5);

/// Seconds by which an order to pay may seem older than the REQ that it comes to.
pub(crate) const SLOW_CLOCK: u64 = 60;

// --- What was delivered (rules 3.3, 6.2) ---------------------------------------------------------

/// Events remembered by one subscription, in some 30 bytes each.
pub const SEEN_MOST: usize = 1 << 20;
/// The same for all subscriptions together (some 100 MiB). Past it, each keeps no more than an even
/// share …
pub(crate) const SEEN_ALL: usize = 3 << 20;
/// … but this many at least.
pub(crate) const SEEN_LEAST: usize = 4_096;
/// Of what is too many, so much is forgotten with each event that is given: a share that has become
/// smaller is no reason to stand still.
pub(crate) const SEEN_SHED: usize = 64;
/// How many are kept in one piece. Longer ones take longer to be added to, shorter ones to be let go.
pub(crate) const SEEN_RUN: usize = 256;
/// Events remembered of what an inside client was given for one subscription id, over all cores of
/// the process.
pub(crate) const INSIDE_MEMORY: usize = 65_536;
/// New events of which is remembered that everybody has them, times the relays that bring them.
pub(crate) const SPREAD_EVENTS: usize = 2_048;
/// Verified events kept for the copies that other subscriptions will be sent, in all.
pub(crate) const RECENT_EVENTS: usize = 8_192;
/// The same in bytes.
pub(crate) const RECENT_BYTES: usize = 8 << 20;

// --- Verification --------------------------------------------------------------------------------

/// Events in the hands of each verifying thread. Small, so that a newcomer waits at most about
/// 32 × 53 µs behind a flood; large enough to keep the thread busy while verdicts travel.
pub(crate) const VERIFY_DEPTH: usize = 32;
/// Bytes of an event that the router verifies itself where nothing else waits: what comes meanwhile is held
/// up about as long as two threads need to wake each other.
pub(crate) const VERIFIED_HERE: usize = 8 << 10;
/// Bytes of unverified events one source (a relay or a client) may have in the core.
pub(crate) const SOURCE_BUDGET: usize = 2 << 20;
/// What each of those counts at least, which bounds their number to 512.
pub(crate) const SOURCE_EVENT_COST: usize = 4 << 10;

// --- Relays (rules 4.1, 4.2) ---------------------------------------------------------------------

/// TCP, TLS and WebSocket handshake together. A proxy has to answer at all within this, too.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same through a proxy: Tor first builds a way through several machines, which takes seconds,
/// and to a `.onion` relay often more than ten.
pub(crate) const PROXIED_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two pings.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Pings in a row without a sign of life after which a relay counts as dead.
pub(crate) const MISSED_PINGS: u32 = 2;
/// A write to a relay that makes no progress for this long means the connection is dead.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Time given to the closing handshake.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);
/// Full-jitter backoff: the first attempt waits up to this long …
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// … doubling up to this.
pub(crate) const BACKOFF_MOST: Duration = Duration::from_mins(1);
/// What is added to the wait where the relay turned out to be this server itself: its name may come to lead
/// elsewhere, but not within seconds.
pub(crate) const ITSELF_RETRY: Duration = Duration::from_mins(10);
/// A connection that lived this long resets the backoff.
pub(crate) const BACKOFF_RESET: Duration = Duration::from_secs(30);
/// A relay that refuses the handshake and says how long it wants to be left alone (`Retry-After`) is, up
/// to this. A relay may err by days, and nobody would see why nothing is tried.
pub(crate) const RETRY_AFTER_MOST: Duration = Duration::from_mins(5);
/// Errors and notices kept per relay.
pub(crate) const RELAY_LOG: usize = 50;
/// Characters kept of one of them.
pub(crate) const RELAY_LOG_TEXT: usize = 500;
/// Largest message taken from a relay, in bytes. What is longer is skipped …
pub(crate) const MAX_RELAY_MESSAGE: usize = 1 << 20;
/// … up to this; past it the connection ends. No relay keeps events of that size, and while one comes
/// nothing else does: a line too slow for it is given up for want of an answer to our pings.
pub(crate) const MAX_SKIPPED_MESSAGE: usize = 32 << 20;
/// Bytes kept of the beginning of one that is skipped, to tell what it was: a verb and our own number
/// take less than 40.
pub(crate) const SKIPPED_HEAD: usize = 256;
/// Bytes that may wait in a relay connection's write buffer (tungstenite's own part of it is
/// 128 KiB; one message must fit on top).
pub(crate) const MAX_WRITE_BUFFER: usize = 2 << 20;
/// Frames of one relay handed to the router at once.
pub(crate) const RELAY_BATCH: usize = 64;
/// Messages handed to a relay connection and not yet written.
pub(crate) const RELAY_WINDOW: usize = 64;
/// Bytes that a relay connection may have to write before an ephemeral event that it is given with them.
pub(crate) const ORDER_BEHIND: usize = 64 << 10;
/// Events waiting for a relay that reads more slowly than others: twice as many as can be
/// unanswered. Past it the oldest are dropped.
pub(crate) const RELAY_EVENTS: usize = 2 * MAX_UNANSWERED_EVENTS;
/// The same in bytes.
pub(crate) const RELAY_EVENT_BYTES: usize = 32 << 20;
/// REQs whose subscription has ended in the meantime; past it they are swept out of the line.
pub(crate) const RELAY_DEAD_ASKS: usize = 4_096;
/// Events of one connection whose `OK` is still expected: at most `MAX_UNANSWERED_EVENTS` are sent in
/// each `OK_DEADLINE`, so a relay may be 40 s behind. An `OK` for any other event is junk.
pub(crate) const AWAITED_OKS: usize = 20 * MAX_UNANSWERED_EVENTS;
/// The end of a connection is laid at the door of what was sent within so long before it. Relays answer
/// within a second; those that do not like something do not wait.
pub(crate) const BLAME_WINDOW: Duration = Duration::from_secs(5);
/// Suspects are sent so long after everything else: should the connection end before, it was not they.
pub(crate) const SUSPECT_PAUSE: Duration = Duration::from_secs(1);
/// Connections that may end over the same thing …
pub(crate) const ENDS_MOST: u32 = 2;
/// … and where the relay has answered nobody on the last of them, which may be any trouble of its own.
pub(crate) const ENDS_MOST_SERVING_NOBODY: u32 = 5;
/// How long what ends a relay's connection is not sent there, and what is suspect is remembered. An owner
/// of a relay may have mended it by then; once more costs two connections.
pub(crate) const QUARANTINE: Duration = Duration::from_hours(6);
/// Things of one relay that are not sent there. Past it the oldest are tried again.
pub(crate) const QUARANTINE_MOST: usize = 256;
/// After so many ends of its connections …
pub(crate) const ENDS_WARY: usize = 3;
/// … within this, a relay is sent what it has not answered before one by one.
pub(crate) const ENDS_REMEMBERED: Duration = Duration::from_mins(10);
/// Things of one client's over which a relay has ended its connection within [`CULPRITS_REMEMBERED`]: from
/// then on what else it sends has to wait …
pub(crate) const CULPRITS_OF_ONE: usize = 2;
/// … and of anybody's: then what comes from clients that the relay has never answered has to.
pub(crate) const CULPRITS_OF_ALL: usize = 3;
/// How long that is remembered.
pub(crate) const CULPRITS_REMEMBERED: Duration = Duration::from_hours(1);
/// Nothing of theirs is sent for so long after that; twice as long each time, …
pub(crate) const CULPRIT_PAUSE: Duration = Duration::from_secs(10);
/// … up to this.
pub(crate) const CULPRIT_PAUSE_MOST: Duration = Duration::from_mins(10);
/// Suspects of one relay. What does not fit is suspect the next time.
pub(crate) const SUSPECTS_MOST: usize = 256;
/// Names of one REQ for several subscriptions that are suspect with it.
pub(crate) const SUSPECTS_TOGETHER: usize = 64;
/// Things sent over one connection of which it is known that they are not answered.
pub(crate) const UNDER_WAY_MOST: usize = 2_048;
/// Frames a relay may send that nobody can use (forged, malformed, matching nothing): a burst …
pub(crate) const JUNK_BURST: u32 = 2_000;
/// … and per second. Past it the relay is cut off and waits for its backoff.
pub(crate) const JUNK_PER_SECOND: u32 = 50;
/// Notices do not count as such up to as many as there were messages for them to be about; of more than this a
/// relay has no need.
pub(crate) const NOTICES_DUE: usize = AWAITED_OKS;
/// A message that is skipped counts as one of those for each of so many bytes: 125 MiB at once, and
/// 3 MiB a second.
pub(crate) const JUNK_BYTES: usize = 64 << 10;

/// What a relay's document (NIP-11) can make us believe of its limits: subscriptions on a connection
/// at most, …
pub(crate) const RELAY_SUBSCRIPTIONS_MOST: usize = 100_000;
/// … filters in a REQ at most, …
pub(crate) const RELAY_FILTERS_MOST: usize = 10_000;
/// … bytes of a message at least (no event is much smaller) …
pub(crate) const RELAY_MESSAGE_LEAST: usize = 512;
/// … and at most, …
pub(crate) const RELAY_MESSAGE_MOST: usize = 64 << 20;
/// … and events for one filter at most.
pub(crate) const RELAY_LIMIT_MOST: u64 = 10_000_000;

// --- Authentication towards relays (rule 4.4) ----------------------------------------------------

/// Longest challenge that is answered, in bytes. Most are a few dozen.
pub(crate) const MAX_CHALLENGE: usize = 1_024;
/// Challenges answered on one connection. Signing is cheap, but not for a relay that never ends.
pub(crate) const AUTH_ANSWERS: usize = 16;
/// How long what a relay refused for want of an authentication waits for one. Publications do not
/// wait beyond their own `OK_DEADLINE`, which is as long.
pub(crate) const AUTH_PATIENCE: Duration = Duration::from_secs(2);

// --- Clients (rules 5.1, 5.2) --------------------------------------------------------------------

/// Default limit of one client message in bytes. NIP-47 needs 64 KiB.
pub(crate) const MAX_MESSAGE_LENGTH: usize = 512 << 10;
/// Default limit of subscriptions per client.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 256;
/// Default limit of filters per REQ.
pub(crate) const MAX_FILTERS: usize = 100;
/// Bytes of all filters of one client. Each is kept, and sent to every relay.
pub(crate) const MAX_FILTER_BYTES: usize = 1 << 20;
/// Clients inside this process, each standing for any number of other extensions.
pub(crate) const MAX_INSIDE_CLIENTS: usize = 256;
/// Subscriptions of one of them.
pub(crate) const MAX_INSIDE_SUBSCRIPTIONS: usize = 10_000;
/// Bytes of all its filters.
pub(crate) const MAX_INSIDE_FILTER_BYTES: usize = 16 << 20;
/// Default limit of clients in all.
pub(crate) const MAX_CLIENTS: usize = 2_000;
/// Default limit of messages per second and client, on average over `RATE_WINDOW`.
pub(crate) const MAX_MESSAGES_PER_SECOND: usize = 5_000;
/// Seconds' worth of messages a client may send in one burst.
pub(crate) const RATE_WINDOW: u32 = 10;
/// Public keys one client may authenticate with (NIP-42).
pub(crate) const MAX_CLIENT_KEYS: usize = 64;
/// How far from the present an authentication event may be dated (NIP-42), in seconds.
pub(crate) const AUTH_WINDOW: u64 = 10 * 60;
/// Messages of one client that wait for the verdict on its AUTH before them.
pub(crate) const AUTH_HELD_MESSAGES: usize = 64;
/// The same in bytes.
pub(crate) const AUTH_HELD_BYTES: usize = MAX_FILTER_BYTES;
/// Bytes of a challenge that nobody can guess.
pub(crate) const CHALLENGE_BYTES: usize = 16;
/// Messages waiting for a client; one that lets more pile up is cut off (code 1013).
pub(crate) const MAILBOX_MESSAGES: usize = 32_768;
/// The same in bytes.
pub(crate) const MAILBOX_BYTES: usize = 16 << 20;
/// Bytes waiting for all clients together; past it, whoever has more than its share is cut off.
pub(crate) const MAILBOX_BYTES_ALL: usize = 256 << 20;
/// That share.
pub(crate) const MAILBOX_BYTES_SHARE: usize = 1 << 20;
/// Bytes kept of the owner's reason to cut a client off. A close frame takes 123.
pub(crate) const CLOSE_REASON: usize = 100;
/// After a standstill, or a time in which a client was not read, this long without a message from it
/// means that it is read up to date: what is in its socket comes at once, what is still with it after
/// the round trip of a far client …
pub(crate) const CATCH_UP_QUIET: Duration = Duration::from_millis(500);
/// … if whoever reads the sockets was seen so often meanwhile …
pub(crate) const CATCH_UP_BEATS: u64 = 2;
/// … and after this it counts as such, should it never pause.
pub(crate) const CATCH_UP_MOST: Duration = Duration::from_secs(10);
/// Bytes fetched at once for a client whose socket is the web server's. They count no longer.
pub(crate) const DRAIN_BYTES: usize = 256 << 10;
/// How much of a message that is too long is looked at for its id.
pub(crate) const MESSAGE_HEAD: usize = 16 << 10;
/// A message that is longer than this is not even skipped: the connection ends (code 1009).
pub(crate) const MAX_SKIPPED_CLIENT_MESSAGE: u64 = 16 << 20;
/// Parts of one message.
pub(crate) const MAX_FRAGMENTS: usize = 1_024;
/// Bytes of messages that have come in part, of all clients together; past it, whoever has more than its
/// share of them is closed (code 1013) when more comes. A client's own are bounded by the message's limit.
pub(crate) const UNFINISHED_BYTES_ALL: usize = 64 << 20;
/// That share.
pub(crate) const UNFINISHED_BYTES_SHARE: usize = 64 << 10;
/// For so long more than that may lie here of one message: 9 KiB a second are enough for the longest.
pub(crate) const UNFINISHED: Duration = Duration::from_mins(1);
/// Bytes read from a client's socket at a time.
pub(crate) const CLIENT_READ: usize = 16 << 10;
/// Bytes ready for a client's socket, after which nothing more is taken from its mailbox. Twice as many
/// answers to its pings, and it is read no further.
pub(crate) const CLIENT_WRITE: usize = 64 << 10;
/// A client that has been silent for this long is pinged …
pub(crate) const CLIENT_PING: Duration = Duration::from_secs(30);
/// … and after so many times of that it is dead.
pub(crate) const CLIENT_MISSED_PINGS: u32 = 3;
/// What waits for a client that is closed is written for this long.
pub(crate) const CLIENT_FLUSH: Duration = Duration::from_secs(2);
/// Then it has this long to answer our close frame.
pub(crate) const CLIENT_GOODBYE: Duration = Duration::from_secs(5);
/// Both, when the core stops.
pub(crate) const CLIENT_STOP: Duration = Duration::from_millis(300);
/// How often is noted that sockets are read: several times in an `OK_DEADLINE`, and often enough for
/// [`CATCH_UP_BEATS`].
pub(crate) const PULSE: Duration = Duration::from_millis(250);
/// Messages of a client not yet looked at, after which its reader is asked to wait.
pub(crate) const INBOX_MESSAGES: usize = 256;
/// The same in bytes.
pub(crate) const INBOX_BYTES: usize = 1 << 20;

// --- Direct messages -----------------------------------------------------------------------------

/// Longest NIP-04 content that is decrypted, in bytes. No relay's message is longer.
pub(crate) const MAX_NIP04_CONTENT: usize = MAX_RELAY_MESSAGE;

// --- The router's own queues ---------------------------------------------------------------------

/// Batches and messages on their way to the router.
pub(crate) const ROUTER_QUEUE: usize = 256;
/// The owner's calls on their way to the router, answers of the database among them.
pub(crate) const CONTROL_QUEUE: usize = 256;
/// Inputs handled before the results are handed out.
pub(crate) const ROUTER_BATCH: usize = 256;
/// Seconds of which is remembered what happened in each, for the page's chart: as much as it shows.
/// A second takes 32 bytes.
pub(crate) const HISTORY_SECONDS: u64 = 300;
/// Time `stop` gives the core to say goodbye.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_millis(1_500);
