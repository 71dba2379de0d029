//! The owner changes the way to his relays: a real core, real sockets, a proxy written by hand.

use std::future::pending;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

use super::*;
use crate::relay::socks::server::{Server, Target};

const ONION: &str = "ws://abcdef.onion";
/// Not of 127.0.0.0/8, so the proxy's; asked directly, it is this machine, and nobody answers.
const OTHER: &str = "ws://0.0.0.0:9";
const BOTH: Switches = Switches { read: true, write: true };
const SOON: Duration = Duration::from_secs(5);

/// A core, and a runtime for those it talks to.
struct Bench {
    core: Core,
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { core: Core::start(Limits::default(), None).unwrap(), runtime }
    }

    fn proxy(&self) -> Server {
        self.runtime.block_on(Server::start())
    }

    /// The relay that the core asks this proxy for, connected.
    fn relay(&self, proxy: &Server) -> (WebSocketStream<TcpStream>, Target) {
        self.soon(async {
            let (line, target) = proxy.connected().await;
            (accept_async(line).await.unwrap(), target)
        })
    }

    fn soon<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(SOON, work).await.unwrap() })
    }

    fn until(&self, url: &str, fits: impl Fn(&RelayView) -> bool) {
        self.soon(async {
            while !fits(&self.core.relay(url).unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
}

fn onion() -> Target {
    Target::Name("abcdef.onion".to_owned(), 80)
}

fn other() -> Target {
    Target::Address(vec![0; 4], 9)
}

fn is_connected(relay: &RelayView) -> bool {
    matches!(relay.stats.state().0, RelayState::Connected(_))
}

#[test]
fn a_relay_that_waits_tries_as_soon_as_there_is_a_way() {
    let bench = Bench::new();
    bench.core.add_relay(ONION, BOTH).unwrap();
    bench.until(ONION, |relay| {
        relay.stats.errors().1.iter().any(|error| error.starts_with("A .onion relay"))
    });
    assert!(bench.core.proxy_for(ONION).is_err());

    let proxy = bench.proxy();
    bench.core.set_proxy(Some(proxy.proxy(None)), false);
    let (_line, target) = bench.relay(&proxy);
    assert_eq!(target, onion());
    bench.until(ONION, is_connected);
    assert_eq!(bench.core.proxy_for(ONION).unwrap(), Some(proxy.proxy(None)));
    assert_eq!(bench.core.proxy_for(OTHER).unwrap(), None);
}

/// Those that stand, and those that are just being made: through another proxy from now on. The
/// same proxy once more changes nothing.
#[test]
fn connections_move_to_the_new_way() {
    let bench = Bench::new();
    let (first, second) = (bench.proxy(), bench.proxy());
    bench.core.set_proxy(Some(first.proxy(None)), true);
    bench.core.add_relay(ONION, BOTH).unwrap();
    let (mut onion_line, target) = bench.relay(&first);
    assert_eq!(target, onion());
    bench.core.add_relay(OTHER, BOTH).unwrap();
    // This one is on its way: the proxy does not say yet whether it gets there.
    let (_unanswered, target) = bench.soon(first.asked());
    assert_eq!(target, other());

    bench.core.set_proxy(Some(first.proxy(None)), true);
    bench.until(ONION, is_connected);
    bench.core.set_proxy(Some(second.proxy(None)), true);
    let mut moved = [bench.relay(&second), bench.relay(&second)];
    moved.sort_by_key(|(_, target)| *target == other());
    let [(_onion, first_target), (mut other_line, second_target)] = moved;
    assert_eq!([first_target, second_target], [onion(), other()]);
    // The old one was closed in order.
    bench.soon(async { while let Some(Ok(_)) = onion_line.next().await {} });

    // No more for all: it lets go of this one, and not of the other.
    bench.until(ONION, is_connected);
    bench.until(OTHER, is_connected);
    bench.core.set_proxy(Some(second.proxy(None)), false);
    bench.soon(async { while let Some(Ok(_)) = other_line.next().await {} });
    bench.until(OTHER, |relay| !is_connected(relay));
    bench.until(ONION, is_connected);
    bench.soon(async {
        tokio::select! {
            _ = second.line() => panic!("the other relay was asked of the proxy again"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    });
}

/// Nothing of the change is lost on a router that is started anew.
#[test]
fn the_way_is_kept_when_the_router_fails() {
    let bench = Bench::new();
    let proxy = bench.proxy();
    bench.core.set_proxy(Some(proxy.proxy(None)), true);
    bench.core.add_relay(OTHER, BOTH).unwrap();
    let _line = bench.relay(&proxy);
    lock(&bench.core.shared.router).try_send(ToRouter::Bug).unwrap();
    let (_line, target) = bench.relay(&proxy);
    assert_eq!(target, other());
}

/// A proxy that says nothing does not hold the core's end up.
#[test]
fn a_core_stops_while_a_proxy_is_silent() {
    let bench = Bench::new();
    let proxy = bench.proxy();
    bench.core.set_proxy(Some(proxy.proxy(None)), true);
    bench.core.add_relay(OTHER, BOTH).unwrap();
    bench.runtime.spawn(async move {
        let _line = proxy.line().await;
        pending::<()>().await;
    });
    bench.until(OTHER, |relay| relay.stats.state().0 == RelayState::Connecting);
    let started = Instant::now();
    bench.core.stop(false);
    assert!(started.elapsed() < STOP_TIMEOUT);
}
