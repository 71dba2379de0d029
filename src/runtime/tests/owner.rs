//! What the owner sees of relays and clients, and what he does with them.

use super::*;
use crate::base::clock::unix_seconds;

const URL: &str = "ws://relay0";

fn stats_of(pool: &Pool) -> Arc<RelayStats> {
    Arc::clone(&lock(&pool.shared.relays)[URL].stats)
}

fn is_connected(pool: &Pool) -> bool {
    matches!(pool.states()[..], [RelayState::Connected(_)])
}

async fn a_moment() {
    sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn one_in_a_hurry_does_not_wait_for_the_next_attempt() {
    for anew in [false, true] {
        let pool = Pool::new(1);
        *lock(&pool.relays[0].reachable) = false;
        seconds(600).await;
        *lock(&pool.relays[0].reachable) = true;
        pool.shared.reconnect(Some(URL), anew);
        a_moment().await;
        assert!(is_connected(&pool));
    }
}

/// Whatever it is doing, and without a wait.
#[tokio::test(start_paused = true)]
async fn a_relay_with_another_way_connects_anew() {
    let pool = Pool::new(2);
    *lock(&pool.relays[0].reachable) = false;
    seconds(600).await;
    *lock(&pool.relays[0].reachable) = true;
    pool.shared.reroute(|url| url == URL);
    a_moment().await;
    assert!(pool.states().iter().all(|state| matches!(state, RelayState::Connected(_))));
    pool.shared.reroute(|url| url == URL);
    a_moment().await;
    assert!(pool.states().iter().all(|state| matches!(state, RelayState::Connected(_))));
    assert_eq!(lock(&pool.relays[0].dialled)[..].iter().filter(|at| **at == 600).count(), 2);
    assert_eq!(lock(&pool.relays[1].dialled).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_stands_is_not_cut_by_one_in_a_hurry() {
    let pool = Pool::new(1);
    a_moment().await;
    pool.shared.reconnect(None, false);
    seconds(10).await;
    assert!(is_connected(&pool));
    assert_eq!(lock(&pool.relays[0].dialled).len(), 1);
}

/// What is under way goes the way of every lost line: nothing is missing, nothing comes twice.
#[tokio::test(start_paused = true)]
async fn a_relay_connects_anew_at_once_and_politely() {
    let pool = Pool::new(2);
    let client = pool.client();
    client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    seconds(1).await;
    assert_eq!(drain(&client), [json!(["EOSE", "a"])]);
    let (published, live) = (event("published"), event("live"));
    client.feed(&json!(["EVENT", published]).to_string());
    pool.shared.reconnect(Some(URL), true);
    a_moment().await;
    assert!(pool.states().iter().all(|state| matches!(state, RelayState::Connected(_))));
    let dialled = |relay: usize| lock(&pool.relays[relay].dialled).clone();
    assert_eq!(
        (dialled(0), dialled(1)),
        (vec![0, 1], vec![0]),
        "without a wait, and only this one"
    );
    assert_eq!(*lock(&pool.relays[0].goodbyes), 1);
    assert_eq!(stats_of(&pool).errors().1, [] as [String; 0]);
    pool.relays[0].publish(&live);
    seconds(5).await;
    let heard = drain(&client);
    let count = |what: &Value| heard.iter().filter(|message| *message == what).count();
    assert_eq!(count(&json!(["OK", published["id"], true, ""])), 1, "{heard:?}");
    assert_eq!(count(&json!(["EVENT", "a", published])), 1, "{heard:?}");
    assert_eq!(count(&json!(["EVENT", "a", live])), 1, "{heard:?}");
    assert!(lock(&pool.relays[0].store).contains(&published));
}

#[tokio::test(start_paused = true)]
async fn asked_again_and_again_a_relay_connects_and_stays_connected() {
    let pool = Pool::new(1);
    a_moment().await;
    for _ in 0..100 {
        pool.shared.reconnect(None, true);
        tokio::task::yield_now().await;
    }
    seconds(1).await;
    assert!(is_connected(&pool));
    let dialled = lock(&pool.relays[0].dialled).len();
    assert!(dialled > 1);
    seconds(120).await;
    assert!(is_connected(&pool));
    assert_eq!(lock(&pool.relays[0].dialled).len(), dialled, "no call is left over");
    // The first wait after it is short, as after a start.
    *lock(&pool.relays[0].reachable) = false;
    pool.shared.reconnect(None, true);
    a_moment().await;
    *lock(&pool.relays[0].reachable) = true;
    seconds(1).await;
    assert!(is_connected(&pool));
}

/// Every EVENT gets one answer and reaches every relay, but no order reaches one twice.
#[tokio::test(start_paused = true)]
async fn what_is_published_while_relays_connect_anew_is_not_lost() {
    const ORDER: u16 = 23_194;
    let pool = Pool::new(3);
    let client = pool.client();
    let keys = Keys::from_hex(&"7".repeat(64)).unwrap();
    a_moment().await;
    let mut published = Vec::new();
    for number in 0..600_u16 {
        sleep(Duration::from_micros(u64::from(number) * 7_919 % 9_000)).await;
        let kind = if number % 4 == 0 { ORDER } else { 1 };
        let event = keys.sign_event(unix_seconds(), kind, &[], &number.to_string()).unwrap();
        client.feed(&format!("[\"EVENT\",{event}]"));
        pool.shared.reconnect(Some(&format!("ws://relay{}", number / 2 % 3)), true);
        published.push(serde_json::from_str::<Value>(&event).unwrap());
    }
    seconds(60).await;
    let answers = drain(&client);
    assert_eq!(answers.len(), published.len());
    for event in &published {
        let ok = answers.iter().find(|answer| answer[1] == event["id"]).unwrap();
        assert_eq!(ok[2], true, "{ok}");
        let at = |relay: &Arc<TestRelay>| {
            lock(&relay.store).iter().filter(|stored| stored["id"] == event["id"]).count()
        };
        let counts: Vec<usize> = pool.relays.iter().map(at).collect();
        if event["kind"] == ORDER {
            assert!(counts.iter().all(|count| *count <= 1), "{counts:?}");
        } else {
            assert!(counts.iter().all(|count| *count >= 1), "{counts:?}");
        }
    }
    assert!(lock(&pool.relays[0].dialled).len() > 100);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_reads_nothing_connects_anew_all_the_same() {
    let pool = Pool::new(2);
    *lock(&pool.relays[0].mute) = true;
    a_moment().await;
    let long = event(&"longer than the line takes".repeat(1_000));
    pool.client().feed(&json!(["EVENT", long]).to_string());
    a_moment().await;
    *lock(&pool.relays[0].mute) = false;
    pool.shared.reconnect(Some(URL), true);
    seconds(1).await;
    assert_eq!(lock(&pool.relays[0].dialled).len(), 2);
    assert_eq!(*lock(&pool.relays[0].store), [long], "what it has not read is sent again");
}

#[tokio::test(start_paused = true)]
async fn since_when_a_relay_is_away_and_whether_it_refuses() {
    let pool = Pool::new(1);
    let stats = stats_of(&pool);
    let relay = &pool.relays[0];
    let away = || stats.state().1;
    *lock(&relay.refuses) = true;
    let start = away();
    assert!(start.is_some());
    seconds(100).await;
    assert_eq!(away(), start, "attempts that fail do not move it");
    assert!(stats.refused.load(SeqCst));
    let sentence = "the relay refused the connection (HTTP 403)";
    assert_eq!(stats.errors().1.last().unwrap(), sentence);
    *lock(&relay.reachable) = false;
    seconds(100).await;
    assert!(!stats.refused.load(SeqCst), "it failed in another way");
    *lock(&relay.reachable) = true;
    seconds(100).await;
    assert!(stats.refused.load(SeqCst));
    *lock(&relay.refuses) = false;
    seconds(61).await;
    assert!(!stats.refused.load(SeqCst));
    assert_eq!(away(), None);
    *lock(&relay.reachable) = false;
    relay.cut();
    a_moment().await;
    let lost = away();
    assert!(lost > start);
    seconds(100).await;
    assert_eq!(away(), lost);
}

#[tokio::test(start_paused = true)]
async fn everything_is_counted_where_it_belongs() {
    let pool = Pool::new(2);
    let (client, inside) = (pool.client(), pool.inside(&[URL]));
    for reader in [&client, &inside] {
        reader.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    }
    client.feed(r#"["REQ","b",{"kinds":[2]}]"#);
    seconds(1).await;
    client.feed(&json!(["EVENT", event("published")]).to_string());
    let mut forged = event("forged");
    forged["content"] = json!("another");
    client.feed(&json!(["EVENT", forged]).to_string());
    seconds(1).await;
    let stats = &pool.shared.stats;
    // Both relays are sent it; both subscriptions are given it once, however many send it back.
    assert_eq!((stats.published.get(), stats.sent.get()), (1, 2));
    assert_eq!((stats.delivered.get(), inside.view().delivered), (2, 1));
    let received = stats.received.get();
    assert!(received > 0);
    let view = client.view();
    assert_eq!((view.inside, inside.view().inside), (false, true));
    assert_eq!((view.subscriptions, view.published, view.delivered), (2, 1, 1));
    let waiting = drain(&client);
    assert_eq!(view.waiting, waiting.len());
    assert!(view.waiting_bytes > waiting.iter().map(|message| message.to_string().len()).sum());
    let view = client.view();
    assert_eq!((view.waiting, view.waiting_bytes, view.delivered), (0, 0, 1));
    client.feed(r#"["CLOSE","b"]"#);
    // A removed relay takes nothing along.
    lock(&pool.shared.relays).clear();
    seconds(1).await;
    assert_eq!(client.view().subscriptions, 1);
    assert_eq!((stats.received.get(), stats.sent.get()), (received, 2));
    let history = stats.history();
    let sum = |count: fn(&crate::stats::history::Counts) -> u64| {
        history.iter().map(|(_, counts)| count(counts)).sum::<u64>()
    };
    let sums = (sum(|all| all.received), sum(|all| all.delivered), sum(|all| all.published));
    assert_eq!(sums, (received, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_is_gone_and_what_it_said_counts() {
    let pool = Pool::new(1);
    let (client, other) = (pool.client(), pool.client());
    client.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    seconds(1).await;
    let last = event("last words");
    client.feed(&json!(["EVENT", last]).to_string());
    client.cut_off("by the owner");
    client.cut_off("once more");
    client.feed(&json!(["EVENT", event("too late")]).to_string());
    seconds(5).await;
    assert_eq!(client.closed(), Some((1008, "by the owner")));
    assert_eq!(other.closed(), None);
    assert_eq!(*lock(&pool.relays[0].store), [last]);
    let stats = &pool.shared.stats;
    assert_eq!((stats.clients.get(), stats.subscriptions.get()), (1, 0));
    assert_eq!(client.view().subscriptions, 0);
    let delivered = client.view().delivered;
    pool.relays[0].publish(&event("for nobody"));
    seconds(1).await;
    assert_eq!(client.view().delivered, delivered);
    // It has its place until its socket is gone.
    assert_eq!(pool.shared.connected[0].load(SeqCst), 2);
    drop(client);
    assert_eq!(pool.shared.connected[0].load(SeqCst), 1);

    // Mail that nobody fetches, and a reason of any length.
    let reason = "é".repeat(80);
    other.feed(r#"["REQ","a",{"kinds":[1]}]"#);
    seconds(1).await;
    other.cut_off(&reason);
    seconds(1).await;
    assert_eq!(other.closed(), Some((1008, &reason[..100])));
    assert_eq!(stats.clients.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_relays_key_is_known_before_the_relay_is_and_to_the_next_router() {
    let mut pool = Pool::new(0);
    let key = |digit: &str| Keys::from_hex(&digit.repeat(64)).unwrap();
    pool.shared.set_relay_key(URL, Some(key("5")));
    pool.add_relay(URL);
    let relay = Arc::clone(&pool.relays[0]);
    *lock(&relay.asks) = true;
    seconds(1).await;
    let stats = stats_of(&pool);
    let mut known = vec![json!(key("5").public_hex())];
    assert_eq!(*lock(&relay.knows), known);
    assert!(stats.authenticated.load(SeqCst));

    let router = lock(&pool.shared.router).clone();
    router.send(ToRouter::Bug).await.unwrap();
    seconds(5).await;
    known.push(json!(key("5").public_hex()));
    assert_eq!(*lock(&relay.knows), known);

    for digit in ["6", "6"] {
        pool.shared.set_relay_key(URL, Some(key(digit)));
        seconds(5).await;
    }
    known.push(json!(key("6").public_hex()));
    assert_eq!(*lock(&relay.knows), known, "by another connection, once");

    pool.shared.set_relay_key(URL, None);
    seconds(5).await;
    assert_eq!(*lock(&relay.knows), known);
    assert!(stats.authentication_required.load(SeqCst) && !stats.authenticated.load(SeqCst));
}
