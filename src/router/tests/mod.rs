//! The rules, one by one, with hand-made inputs and a hand-moved clock.

mod attacker;
mod auth;
mod authenticate;
mod backlog;
mod blame;
mod budget;
mod census;
mod characters;
mod clocks;
mod counting;
mod culprits;
mod deferred;
mod doubt;
mod filters;
mod handover;
mod hostile;
mod hunted;
mod inside;
mod intake;
mod merge;
mod model;
mod named;
mod outbox;
mod pace;
mod publish;
mod races;
mod relays;
mod restarts;
mod search;
mod siblings;
mod store;
mod stored;
mod subscribe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::base::secret::Secret;
use crate::base::text::Text;
use crate::base::ticket::Ticket;
use crate::base::time::Now;
use crate::ids::{ClientId, LinkId, RelayId};
use crate::nostr::event::EventId;
use crate::nostr::keys::Keys;
use crate::nostr::message::{ClientMessage, RelayMessage};
use crate::nostr::reason::Reason;
use crate::nostr::verify::Job;
use crate::router::Switches;
use crate::router::{Batch, Row, Written};
use crate::router::{Effects, Ending, Frame, Input, Limits, Role, Router, Said, Settings};
use crate::stats::{CoreStats, RelayStats};

use super::Errand;

const CLIENT: u64 = 1;
const OTHER_CLIENT: u64 = 2;
const SECRET: Secret = Secret::new([7; 32]);
const UNIX: u64 = 1_800_000_000;

/// A state machine with everything around it played by the test.
struct World {
    router: Router,
    settings: Settings,
    now: Now,
    stats: Vec<Arc<RelayStats>>,
    /// What each client was told since last asked.
    told: Vec<(u64, Value)>,
    /// What each relay was sent since last asked.
    sent: Vec<(u64, Value)>,
    cut: Vec<u64>,
    /// Verifications not done yet, while `hold` is set.
    held: Vec<Job<Errand>>,
    hold: bool,
    /// Relays report what they wrote, unless stalled.
    stalled: bool,
    /// What the database holds.
    rows: BTreeMap<EventId, Row>,
    /// Batches not written yet, while `database` says nothing.
    unwritten: Option<Batch>,
    /// What the database does with the next batches.
    database: Database,
}

/// What the database does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Writes,
    Hangs,
    Fails,
    /// Loses its connection at the commit: it may have written or not.
    Breaks {
        wrote: bool,
    },
}

impl World {
    /// Two clients and this many relays, connected, for reading and writing.
    fn new(relays: u64) -> Self {
        let mut world = Self {
            router: Router::new(Limits::default(), Arc::new(CoreStats::default()), 4, SECRET),
            settings: Settings::default(),
            now: Now { mono: Duration::from_secs(100), unix: UNIX, nanos: 0 },
            stats: Vec::new(),
            told: Vec::new(),
            sent: Vec::new(),
            cut: Vec::new(),
            held: Vec::new(),
            hold: false,
            stalled: false,
            rows: BTreeMap::new(),
            unwritten: None,
            database: Database::Writes,
        };
        world.input(Input::OutboxRows(Vec::new()));
        for relay in 0..relays {
            world.add_relay(relay, true, true);
            world.up(relay, 1);
        }
        world.input(Input::ClientJoined(ClientId(CLIENT), Role::Private, Arc::default()));
        world.input(Input::ClientJoined(ClientId(OTHER_CLIENT), Role::Private, Arc::default()));
        world
    }

    fn add_relay(&mut self, relay: u64, read: bool, write: bool) {
        self.stats.push(Arc::default());
        self.switch(relay, Switches { read, write });
    }

    fn switch(&mut self, relay: u64, Switches { read, write }: Switches) {
        let stats = Arc::clone(self.stats_of(relay));
        let url = format!("ws://relay{relay}").into();
        self.input(Input::RelaySet { relay: RelayId(relay), url, read, write, stats });
    }

    fn stats_of(&self, relay: u64) -> &Arc<RelayStats> {
        &self.stats[usize::try_from(relay).unwrap()]
    }

    fn up(&mut self, relay: u64, link: u64) {
        self.input(Input::LinkUp(RelayId(relay), LinkId(link)));
    }

    /// A relay that is configured and away.
    fn away(&mut self, relay: u64) {
        self.add_relay(relay, true, true);
    }

    /// A connection is gone, over nothing that was sent.
    fn down(&mut self, relay: u64, link: u64) {
        self.ended(relay, link, Ending::Innocent);
    }

    fn ended(&mut self, relay: u64, link: u64, how: Ending) {
        let heard = self.now.unix;
        self.input(Input::LinkDown {
            relay: RelayId(relay),
            link: LinkId(link),
            unsent: Vec::new(),
            heard,
            how,
        });
    }

    fn input(&mut self, input: Input) {
        let mut fx = Effects::default();
        self.router.handle(self.now, input, &mut fx);
        self.carry_out(fx);
    }

    /// The owner changes what he has set.
    fn set(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.input(Input::Settings(self.settings.clone()));
    }

    fn carry_out(&mut self, mut fx: Effects) {
        while !fx.is_empty() {
            let doing = std::mem::take(&mut fx);
            let mut wrote: Vec<(RelayId, LinkId)> = Vec::new();
            for (relay, link, outgoing) in doing.to_relay {
                self.sent.push((relay.0, serde_json::from_str(&outgoing.text).unwrap()));
                wrote.push((relay, link));
            }
            for (client, reply) in doing.to_client {
                self.told.push((client.0, serde_json::from_str(&reply.to_json()).unwrap()));
            }
            self.cut.extend(doing.cut.into_iter().map(|(relay, _)| relay.0));
            if let Some(batch) = doing.write {
                assert_eq!(self.unwritten.replace(batch), None, "one batch at a time");
            }
            self.write(&mut fx);
            self.held.extend(doing.verify);
            if !self.hold {
                for job in std::mem::take(&mut self.held) {
                    self.router.handle(self.now, Input::Verified(job.run()), &mut fx);
                }
            }
            if !self.stalled {
                for (relay, link) in wrote {
                    self.router.handle(self.now, Input::LinkWrote(relay, link, 1), &mut fx);
                }
            }
        }
    }

    /// The database does what it does with the batch it has.
    fn write(&mut self, fx: &mut Effects) {
        let Some(batch) = self.unwritten.take_if(|_| self.database != Database::Hangs) else {
            return;
        };
        let result = match self.database {
            Database::Writes | Database::Hangs => Written::Done(Vec::new()),
            Database::Fails => Written::Failed("disk full".to_owned()),
            Database::Breaks { .. } => Written::Unknown("connection lost".to_owned()),
        };
        if matches!(self.database, Database::Writes | Database::Breaks { wrote: true }) {
            for row in batch.insert {
                self.rows.insert(*row.event.id(), row);
            }
            for row in batch.update {
                assert!(self.rows.insert(*row.event.id(), row).is_some(), "it was there");
            }
            for id in batch.delete.into_iter().chain(batch.undo) {
                self.rows.remove(&id);
            }
        }
        self.router.handle(self.now, Input::OutboxWritten(batch.number, result), fx);
    }

    /// From now on the database does this.
    fn database(&mut self, does: Database) {
        self.database = does;
        let mut fx = Effects::default();
        self.write(&mut fx);
        self.carry_out(fx);
    }

    /// Does the verifications held back, the latest first: threads keep no order.
    fn release(&mut self) {
        self.hold = false;
        let mut fx = Effects::default();
        for job in std::mem::take(&mut self.held).into_iter().rev() {
            self.router.handle(self.now, Input::Verified(job.run()), &mut fx);
        }
        self.carry_out(fx);
    }

    /// Moves the clock, stopping at every deadline on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        let start = self.now;
        while let Some(at) = self.router.next_deadline().filter(|at| *at <= end) {
            self.now.mono = at.max(self.now.mono);
            let mut fx = Effects::default();
            self.router.tick(self.now, &mut fx);
            self.carry_out(fx);
        }
        self.now = Now { mono: end, unix: start.unix + time.as_secs(), nanos: 0 };
    }

    fn pass_ms(&mut self, milliseconds: u64) {
        self.pass(Duration::from_millis(milliseconds));
    }

    /// A client inside this process, for these relays or for the owner's.
    fn join_inside(&mut self, client: u64, relays: Option<&[u64]>) {
        self.input(Input::ClientJoined(ClientId(client), Role::Inside, Arc::default()));
        if let Some(relays) = relays {
            self.input(Input::ClientRelays(
                ClientId(client),
                relays.iter().copied().map(RelayId).collect(),
            ));
        }
    }

    fn say(&mut self, client: u64, message: &Value) {
        let message = ClientMessage::parse(&message.to_string(), 100);
        self.says(client, message);
    }

    fn says(&mut self, client: u64, message: ClientMessage) {
        self.says_read(client, message, Some(self.now.mono));
    }

    /// The same for what was read at this time.
    fn says_read(&mut self, client: u64, message: ClientMessage, read: Option<Duration>) {
        let said = Said { message, read, ticket: Ticket::default() };
        self.input(Input::ClientSaid(ClientId(client), said));
    }

    fn relay_says(&mut self, relay: u64, message: &Value) {
        let link = 1;
        self.relay_says_over(relay, link, message);
    }

    fn relay_says_over(&mut self, relay: u64, link: u64, message: &Value) {
        let text = Bytes::from(message.to_string());
        let frame = match RelayMessage::scan(str::from_utf8(&text).unwrap()) {
            Ok(RelayMessage::Event { number, id, json }) => {
                let json = Text::part(&text, json);
                Frame::Event { number, id, json, ticket: Ticket::default() }
            }
            Ok(RelayMessage::Eose(subscription, hint)) => Frame::Eose(subscription, hint),
            Ok(RelayMessage::Count(subscription, counted)) => Frame::Count(subscription, counted),
            Ok(RelayMessage::Closed(subscription, why)) => {
                Frame::Closed(subscription, Reason::read(why))
            }
            Ok(RelayMessage::Ok(id, accepted, why)) => Frame::Ok(id, accepted, Reason::read(why)),
            Ok(RelayMessage::Notice(text)) => Frame::Notice(text),
            Ok(RelayMessage::Auth(challenge)) => Frame::Auth(challenge),
            _ => Frame::Junk,
        };
        self.input(Input::RelaySaid(RelayId(relay), LinkId(link), vec![frame]));
    }

    /// What the first client was told since last asked.
    fn heard(&mut self) -> Vec<Value> {
        self.heard_by(CLIENT)
    }

    fn heard_by(&mut self, client: u64) -> Vec<Value> {
        let (mine, others) = self.told.drain(..).partition(|(to, _)| *to == client);
        self.told = others;
        mine.into_iter().map(|(_, message)| message).collect()
    }

    /// What a relay was sent since last asked.
    fn got(&mut self, relay: u64) -> Vec<Value> {
        let (its, others) = self.sent.drain(..).partition(|(to, _)| *to == relay);
        self.sent = others;
        its.into_iter().map(|(_, message)| message).collect()
    }

    /// The events a relay was sent since last asked.
    fn got_events(&mut self, relay: u64) -> Vec<Value> {
        let events = self.got(relay).into_iter().filter(|message| message[0] == "EVENT");
        events.map(|message| message[1].clone()).collect()
    }

    /// The last REQ a relay was sent since last asked: its number and the ids it is about.
    fn got_question(&mut self, relay: u64) -> (String, Vec<Value>) {
        let question = self.got(relay).into_iter().rfind(|message| message[0] == "REQ").unwrap();
        let ids = question[2]["ids"].as_array().unwrap().clone();
        (question[1].as_str().unwrap().to_owned(), ids)
    }

    /// Publishes and gives the answer, if there is one yet.
    fn publish(&mut self, event: &Value) -> Option<Value> {
        self.say(CLIENT, &json!(["EVENT", event]));
        self.heard().pop()
    }

    /// The owner retries or deletes an event.
    fn owner(&mut self, what: impl FnOnce(&mut Router, Now, &mut Effects) -> bool) -> bool {
        let mut fx = Effects::default();
        let done = what(&mut self.router, self.now, &mut fx);
        self.carry_out(fx);
        done
    }

    /// The process dies: what another one finds.
    fn restarted(self) -> Self {
        let mut world = Self::new(0);
        world.now = self.now;
        world.rows = self.rows;
        let mut rows: Vec<Row> = world.rows.values().cloned().collect();
        rows.sort_by_key(|row| row.position);
        world.input(Input::OutboxRows(rows));
        world
    }

    /// Subscribes the first client and gives the number the relays know it by.
    #[expect(clippy::needless_pass_by_value, reason = "made on the spot, for this call")]
    fn subscribe(&mut self, id: &str, filter: Value) -> String {
        self.say(CLIENT, &json!(["REQ", id, filter]));
        let number = self
            .sent
            .iter()
            .rev()
            .find(|(_, message)| message[0] == "REQ")
            .map(|(_, message)| message[1].as_str().unwrap().to_owned());
        number.unwrap_or_default()
    }

    fn nothing_is_left(&self) -> bool {
        let Router { keepers, timers, .. } = &self.router;
        keepers.subscriptions.is_empty()
            && keepers.requests.is_empty()
            && keepers.counting.is_empty()
            && keepers.publishing.unanswered() == 0
            && timers.is_empty()
            && keepers.outbox.is_idle()
            && self.rows.is_empty()
    }
}

/// The seeds to draw from: these, or with `NOSTRCLIENT_SEEDS=1000..1500` those.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("NOSTRCLIENT_SEEDS") else { return usual };
    let (from, to) = wanted.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

/// A world with one relay that is configured and away.
fn offline() -> World {
    let mut world = World::new(0);
    world.away(0);
    world
}

/// A signed event.
fn event(kind: u16, created_at: u64, tags: &Value, content: &str) -> Value {
    let keys = Keys::from_hex(&"7".repeat(64)).unwrap();
    let tags: Vec<Vec<String>> = serde_json::from_value(tags.clone()).unwrap();
    serde_json::from_str(&keys.sign_event(created_at, kind, &tags, content).unwrap()).unwrap()
}

fn note(content: &str) -> Value {
    event(1, UNIX, &json!([]), content)
}

/// The same claimed id, another content: a forgery.
fn forged(event: &Value) -> Value {
    let mut forged = event.clone();
    forged["content"] = json!("forged");
    forged
}

fn ok(event: &Value, accepted: bool, why: &str) -> Value {
    json!(["OK", event["id"], accepted, why])
}

fn id_of(event: &Value) -> EventId {
    crate::nostr::hex::decode(event["id"].as_str().unwrap()).unwrap()
}
