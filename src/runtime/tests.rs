//! The pool under a paused clock, over lines that are cut: real tasks, real `WebSocket`s, no network.

mod owner;
mod proxy;
mod storm;

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::nostr::keys::Keys;
use crate::relay::{DialError, Reached, connect};
use crate::stats::RelayState;

/// A relay: it stores, answers REQs with what is stored, and sends what comes to everybody.
#[derive(Debug)]
struct TestRelay {
    store: Mutex<Vec<Value>>,
    live: broadcast::Sender<Value>,
    /// When its lines were dialled, in seconds.
    dialled: Mutex<Vec<u64>>,
    /// The current line; cut by aborting it.
    line: Mutex<Option<JoinHandle<()>>>,
    reachable: Mutex<bool>,
    /// Answers the handshake with an HTTP status.
    refuses: Mutex<bool>,
    /// Lines that were ended with a close frame.
    goodbyes: Mutex<usize>,
    /// Answers neither REQ nor ping.
    mute: Mutex<bool>,
    /// Asks who we are.
    asks: Mutex<bool>,
    /// The public keys it was answered with.
    knows: Mutex<Vec<Value>>,
    epoch: tokio::time::Instant,
}

impl TestRelay {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::default(),
            live: broadcast::Sender::new(10_000),
            dialled: Mutex::default(),
            line: Mutex::default(),
            reachable: Mutex::new(true),
            refuses: Mutex::new(false),
            goodbyes: Mutex::default(),
            mute: Mutex::new(false),
            asks: Mutex::new(false),
            knows: Mutex::default(),
            epoch: tokio::time::Instant::now(),
        })
    }

    fn publish(&self, event: &Value) {
        lock(&self.store).push(event.clone());
        let _ = self.live.send(event.clone());
    }

    /// In the middle of whatever it was doing.
    fn cut(&self) {
        if let Some(line) = lock(&self.line).take() {
            line.abort();
        }
    }

    async fn serve(self: Arc<Self>, stream: DuplexStream) {
        let mut socket = accept_async(stream).await.unwrap();
        let mut live = self.live.subscribe();
        let mut subscriptions: Vec<Value> = Vec::new();
        if *lock(&self.asks) {
            socket.feed(Message::text("[\"AUTH\",\"who are you\"]")).await.unwrap();
        }
        socket.flush().await.unwrap();
        loop {
            if *lock(&self.mute) {
                std::future::pending::<()>().await;
            }
            let out = tokio::select! {
                event = live.recv() => {
                    let event = event.unwrap();
                    subscriptions.iter().map(|id| json!(["EVENT", id, event])).collect()
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        self.answer(&message, &mut subscriptions)
                    }
                    Some(Ok(Message::Close(_))) => {
                        *lock(&self.goodbyes) += 1;
                        Vec::new()
                    }
                    Some(Ok(_)) => Vec::new(),
                    _ => return,
                },
            };
            for message in out {
                if socket.send(Message::text(message.to_string())).await.is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&self, message: &Value, subscriptions: &mut Vec<Value>) -> Vec<Value> {
        match message[0].as_str() {
            Some("REQ") => {
                subscriptions.push(message[1].clone());
                let since = message[2]["since"].as_u64().unwrap_or_default();
                let mut out: Vec<Value> = lock(&self.store)
                    .iter()
                    .filter(|event| event["created_at"].as_u64() >= Some(since))
                    .map(|event| json!(["EVENT", message[1], event]))
                    .collect();
                out.push(json!(["EOSE", message[1]]));
                out
            }
            Some("EVENT") => {
                self.publish(&message[1]);
                vec![json!(["OK", message[1]["id"], true, ""])]
            }
            Some("AUTH") => {
                lock(&self.knows).push(message[1]["pubkey"].clone());
                vec![json!(["OK", message[1]["id"], true, ""])]
            }
            Some("CLOSE") => {
                subscriptions.retain(|id| *id != message[1]);
                Vec::new()
            }
            _ => panic!("{message}"),
        }
    }
}

#[derive(Debug, Default)]
struct TestNetwork(Mutex<BTreeMap<String, Arc<TestRelay>>>);

impl Dial for TestNetwork {
    type Socket = DuplexStream;

    async fn dial(&self, url: &str) -> Result<Reached<DuplexStream>, DialError> {
        let relay = Arc::clone(&lock(&self.0)[url]);
        lock(&relay.dialled).push(relay.epoch.elapsed().as_secs());
        if !*lock(&relay.reachable) {
            return Err("nobody there".to_owned().into());
        }
        if *lock(&relay.refuses) {
            return Err(DialError::Refused(403, None));
        }
        let (ours, theirs) = duplex(4 << 10);
        let line = tokio::spawn(Arc::clone(&relay).serve(theirs));
        *lock(&relay.line) = Some(line);
        connect::shake_hands(url, ours)
            .await
            .map(|(socket, _)| Reached { socket, sibling: false })
            .map_err(|error| error.to_string().into())
    }
}

struct Pool {
    shared: Arc<Shared>,
    network: Arc<TestNetwork>,
    relays: Vec<Arc<TestRelay>>,
    _stop: watch::Sender<()>,
}

impl Pool {
    fn new(count: usize) -> Self {
        let (shared, queue) = Shared::new(Limits::default()).unwrap();
        let (stop, stopped) = watch::channel(());
        let network = Arc::new(TestNetwork::default());
        // No verifying threads: a real one would work while the paused clock runs ahead.
        let router =
            driver::supervise(Arc::clone(&shared), queue, stopped, 0, Arc::clone(&network));
        tokio::spawn(router);
        let mut pool = Self { shared, network, relays: Vec::new(), _stop: stop };
        for number in 0..count {
            pool.add_relay(&format!("ws://relay{number}"));
        }
        pool
    }

    fn add_relay(&mut self, url: &str) {
        let relay = TestRelay::new();
        lock(&self.network.0).insert(url.to_owned(), Arc::clone(&relay));
        self.relays.push(relay);
        let switches = Switches { read: true, write: true };
        self.shared.add_relay(url.to_owned(), switches, &Handle::current(), &self.network);
    }

    fn client(&self) -> ClientHandle {
        client::connect(&self.shared, Role::Private, About::default(), &Handle::current()).unwrap()
    }

    /// A client inside with relays of its own.
    fn inside(&self, urls: &[&str]) -> ClientHandle {
        let client =
            client::connect(&self.shared, Role::Inside, About::default(), &Handle::current())
                .unwrap();
        self.name(&client, urls);
        client
    }

    fn name(&self, client: &ClientHandle, urls: &[&str]) {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        let relays = self.shared.use_relays(client.id(), &urls, &Handle::current(), &self.network);
        client.use_relays(relays);
    }

    fn listed(&self) -> Vec<(String, bool)> {
        lock(&self.shared.relays).iter().map(|(url, entry)| (url.clone(), entry.listed)).collect()
    }

    fn states(&self) -> Vec<RelayState> {
        lock(&self.shared.relays).values().map(|entry| entry.stats.state().0).collect()
    }
}

fn drain(client: &ClientHandle) -> Vec<Value> {
    client.drain(100_000).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn event(content: &str) -> Value {
    let keys = Keys::from_hex(&"7".repeat(64)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    serde_json::from_str(&keys.sign_event(now, 1, &[], content).unwrap()).unwrap()
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_line_loses_nothing_and_repeats_nothing() {
    let pool = Pool::new(1);
    let client = pool.client();
    client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    let (before, missed, after) = (event("before"), event("missed"), event("after"));
    pool.relays[0].publish(&before);
    seconds(1).await;
    assert_eq!(drain(&client), [json!(["EVENT", "a", before]), json!(["EOSE", "a"])]);
    pool.relays[0].cut();
    pool.relays[0].publish(&missed);
    seconds(5).await;
    pool.relays[0].publish(&after);
    seconds(1).await;
    assert_eq!(drain(&client), [json!(["EVENT", "a", missed]), json!(["EVENT", "a", after])]);
    assert_eq!(lock(&pool.relays[0].dialled).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_relay_is_never_given_up_and_tried_at_least_every_minute() {
    let pool = Pool::new(1);
    *lock(&pool.relays[0].reachable) = false;
    seconds(4 * 60 * 60).await;
    let dialled = lock(&pool.relays[0].dialled).clone();
    assert!(dialled.windows(2).all(|two| two[1] - two[0] <= 61), "{dialled:?}");
    assert!(dialled.len() < 2_000, "with full jitter about one in 30 s: {}", dialled.len());
    *lock(&pool.relays[0].reachable) = true;
    seconds(61).await;
    assert!(matches!(pool.states()[..], [RelayState::Connected(_)]));
}

#[tokio::test(start_paused = true)]
async fn a_dead_line_is_noticed_within_a_minute() {
    let pool = Pool::new(1);
    seconds(30).await;
    *lock(&pool.relays[0].mute) = true;
    pool.relays[0].publish(&event("wakes it up to fall silent"));
    seconds(61).await;
    assert!(lock(&pool.relays[0].dialled).len() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_line_is_kept_for_days() {
    let pool = Pool::new(1);
    seconds(3 * 24 * 60 * 60).await;
    assert_eq!(lock(&pool.relays[0].dialled).len(), 1);
}

/// Two that name the same relay, the owner who configures it and lets it go: one connection, for as
/// long as anybody wants it.
#[tokio::test(start_paused = true)]
async fn relays_of_clients_inside_are_shared_and_let_go() {
    const OWNERS: &str = "ws://relay0";
    const NAMED: &str = "ws://relay1";
    let mut pool = Pool::new(2);
    pool.shared.remove_relay(NAMED);
    let (one, two) = (pool.inside(&[NAMED]), pool.inside(&[NAMED, OWNERS]));
    let outside = pool.client();
    for client in [&one, &two, &outside] {
        client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    }
    seconds(5).await;
    for client in [&one, &two, &outside] {
        drain(client);
    }
    let (at_owners, at_named) = (event("at the owner's"), event("at the named"));
    pool.relays[0].publish(&at_owners);
    pool.relays[1].publish(&at_named);
    seconds(1).await;
    assert_eq!(drain(&one), [json!(["EVENT", "a", at_named])]);
    assert_eq!(drain(&two).len(), 2);
    assert_eq!(drain(&outside), [json!(["EVENT", "a", at_owners])]);
    assert_eq!(pool.listed(), [(OWNERS.to_owned(), true), (NAMED.to_owned(), false)]);

    drop(one);
    seconds(1).await;
    pool.shared.add_relay(
        NAMED.to_owned(),
        Switches { read: true, write: true },
        &Handle::current(),
        &pool.network,
    );
    assert!(!pool.shared.remove_relay("ws://none"));
    pool.name(&two, &[OWNERS]);
    assert!(pool.shared.remove_relay(NAMED), "the owner wanted it");
    seconds(1).await;
    assert_eq!(pool.listed(), [(OWNERS.to_owned(), true)]);
    assert!(lock(&pool.relays[1].line).as_ref().is_some_and(JoinHandle::is_finished));
    pool.shared.remove_relay(OWNERS);
    assert_eq!(pool.listed(), [(OWNERS.to_owned(), false)], "somebody uses it");
    two.disconnect();
    seconds(1).await;
    assert!(pool.listed().is_empty());
    pool.add_relay("ws://relay2");
    assert_eq!(lock(&pool.relays[0].dialled).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_relay_is_left_and_nothing_of_it_stays() {
    let pool = Pool::new(2);
    let client = pool.client();
    client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    seconds(1).await;
    lock(&pool.shared.relays).remove("ws://relay0");
    seconds(1).await;
    assert!(lock(&pool.relays[0].line).as_ref().is_some_and(JoinHandle::is_finished));
    drain(&client);
    pool.relays[0].publish(&event("not heard"));
    pool.relays[1].publish(&event("heard"));
    seconds(1).await;
    assert_eq!(drain(&client).len(), 1);
}

/// Four relays whose lines are cut at random or made anew by the owner, each event on two of them:
/// every one is delivered, none twice.
#[tokio::test(start_paused = true)]
async fn through_a_storm_of_cut_lines_every_event_arrives_once() {
    for seed in 1..=5_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 33).unwrap() % below
        };
        let pool = Pool::new(4);
        let client = pool.client();
        client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
        let mut published: Vec<Value> = Vec::new();
        for number in 0..300 {
            sleep(Duration::from_millis(roll(3_000) as u64)).await;
            match roll(6) {
                0 | 1 => pool.relays[roll(4)].cut(),
                2 => pool.shared.reconnect(Some(&format!("ws://relay{}", roll(4))), true),
                _ => {}
            }
            let event = event(&format!("{seed}/{number}"));
            let first = roll(4);
            pool.relays[first].publish(&event);
            pool.relays[(first + 1 + roll(3)) % 4].publish(&event);
            published.push(event["id"].clone());
        }
        seconds(120).await;
        let heard = drain(&client);
        let eoses = heard.iter().filter(|message| message[0] == "EOSE").count();
        let mut delivered: Vec<Value> = heard
            .iter()
            .filter(|message| message[0] == "EVENT")
            .map(|message| message[2]["id"].clone())
            .collect();
        delivered.sort_by_key(ToString::to_string);
        published.sort_by_key(ToString::to_string);
        assert_eq!(delivered, published, "seed {seed}");
        assert_eq!(eoses, 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bug_in_the_router_closes_the_clients_and_starts_anew() {
    let pool = Pool::new(1);
    let client = pool.client();
    seconds(1).await;
    let router = lock(&pool.shared.router).clone();
    router.send(ToRouter::Bug).await.unwrap();
    seconds(10).await;
    assert_eq!(client.closed().map(|(code, _)| code), Some(1012));
    let again = pool.client();
    again.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    seconds(1).await;
    assert_eq!(drain(&again), [json!(["EOSE", "a"])]);
}

/// What the relay task was told before it connected, and what it is told while it is, is there for
/// whichever router runs.
#[tokio::test(start_paused = true)]
async fn a_router_knows_a_relays_limits_before_its_connection() {
    let (shared, _queue) = Shared::new(Limits::default()).unwrap();
    let network = Arc::new(TestNetwork::default());
    lock(&network.0).insert("ws://a".to_owned(), TestRelay::new());
    let limits = RelayLimits { max_subscriptions: Some(3), ..RelayLimits::default() };
    let set = || shared.change_relay_limits("ws://a", |kept| *kept = limits);
    assert_eq!(set(), None, "nobody wants it yet");
    shared.add_relay("ws://a".to_owned(), Switches::OFF, &Handle::current(), &network);
    assert!(set().is_some());
    // A router that was started anew.
    let (router, mut queue) = mpsc::channel(ROUTER_QUEUE);
    tokio::spawn(lock(&shared.relays)["ws://a"].task("ws://a", &shared.stats, router, &network));
    let mut told = None;
    loop {
        match queue.recv().await.unwrap() {
            ToRouter::Input(Input::RelayLimits(_, limits)) => told = Some(limits),
            ToRouter::LinkUp(..) => break,
            _ => {}
        }
    }
    assert_eq!(told, Some(RelayLimits { outdated: true, ..limits }));
}

/// Rule 3.2: nobody waits for it any longer.
#[tokio::test(start_paused = true)]
async fn a_router_is_told_when_a_relay_was_tried_in_vain() {
    let (shared, _queue) = Shared::new(Limits::default()).unwrap();
    let network = Arc::new(TestNetwork::default());
    let relay = TestRelay::new();
    *lock(&relay.reachable) = false;
    lock(&network.0).insert("ws://a".to_owned(), relay);
    shared.add_relay("ws://a".to_owned(), Switches::OFF, &Handle::current(), &network);
    let (router, mut queue) = mpsc::channel(ROUTER_QUEUE);
    let relay = lock(&shared.relays)["ws://a"].task("ws://a", &shared.stats, router, &network);
    tokio::spawn(relay);
    let mut told = queue.recv().await.unwrap();
    while !matches!(told, ToRouter::Input(Input::LinkFailed(_))) {
        assert!(!matches!(told, ToRouter::LinkUp(..)));
        told = queue.recv().await.unwrap();
    }
}

#[test]
fn limits_are_taken_for_relays_in_any_spelling() {
    let core = Core::start(Limits::default(), None).unwrap();
    core.add_relay("ws://127.0.0.1:9", Switches::OFF).unwrap();
    let limits = RelayLimits { max_filters: Some(1), ..RelayLimits::default() };
    core.set_relay_limits("WS://127.0.0.1:9/", limits).unwrap();
    assert_eq!(*lock(&core.shared.relays)["ws://127.0.0.1:9"].limits.borrow(), limits);
    assert_eq!(core.set_relay_limits("ws://127.0.0.1:10", limits), Ok(()));
    assert!(matches!(core.set_relay_limits("http://x", limits), Err(CoreError::Url(_))));
    core.stop(false);
    assert_eq!(core.set_relay_limits("ws://127.0.0.1:9", limits), Ok(()), "it has no relays");
}

/// On real threads: started, used and stopped ten times, without a trace.
#[test]
fn stop_is_quick_and_complete() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let (threads_before, descriptors_before) = (threads(), descriptors());
    for _ in 0..10 {
        let core = Core::start(Limits::default(), None).unwrap();
        core.add_relay("ws://127.0.0.1:9", Switches { read: true, write: true }).unwrap();
        let client = core.connect(Role::Private, About::default()).unwrap();
        client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
        let started = Instant::now();
        core.stop(false);
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(client.closed().map(|(code, _)| code), Some(1012));
        assert_eq!(core.connect(Role::Private, About::default()).unwrap_err(), CoreError::Stopped);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    // Other tests run beside this one: what must not stay is ten times of anything.
    while threads() > threads_before + 8 || descriptors() > descriptors_before + 8 {
        assert!(Instant::now() < deadline, "{} threads, {} descriptors", threads(), descriptors());
        thread::yield_now();
    }
}
