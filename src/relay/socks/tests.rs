use std::future::pending;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::join;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_tungstenite::accept_async;

use super::server::{CONNECTED, Server, Target, greet, read_login, read_offer, read_target};
use super::*;
use crate::base::secret::Secret;
use crate::constants::PROXIED_CONNECT_TIMEOUT;
use crate::relay::connect;
use crate::relay::{Badge, Network, Routes};

const LOGIN: &str = "me:hunter2";
const PASSWORD: &str = "hunter2";

/// What the client says of a proxy that lets it in and then answers so.
async fn refusal(answer: &[u8]) -> String {
    let server = Server::start().await;
    let proxy = server.proxy(None);
    let serve = async {
        let (mut line, _) = server.asked().await;
        line.write_all(answer).await.unwrap();
    };
    let (result, ()) = join!(connect(&proxy, "relay.example", 443), serve);
    result.unwrap_err()
}

/// And of one that answers so to its first words.
async fn greeting(login: Option<&str>, answer: &[u8]) -> String {
    let server = Server::start().await;
    let proxy = server.proxy(login);
    let serve = async {
        let mut line = server.line().await;
        read_offer(&mut line).await;
        line.write_all(answer).await.unwrap();
    };
    let (result, ()) = join!(connect(&proxy, "relay.example", 443), serve);
    result.unwrap_err()
}

/// Names are the proxy's to resolve, whatever they are; addresses need no resolving.
#[tokio::test]
async fn the_host_reaches_the_proxy_as_it_is() {
    let server = Server::start().await;
    let proxy = server.proxy(None);
    for (host, target) in [
        ("abcdef.onion", Target::Name("abcdef.onion".to_owned(), 7)),
        ("no.such.host.invalid", Target::Name("no.such.host.invalid".to_owned(), 7)),
        ("192.0.2.1", Target::Address(vec![192, 0, 2, 1], 7)),
        ("::1", Target::Address([vec![0; 15], vec![1]].concat(), 7)),
    ] {
        let (line, (mut there, asked)) = join!(connect(&proxy, host, 7), server.connected());
        assert_eq!(asked, target);
        let mut line = line.unwrap();
        line.write_all(b"ping").await.unwrap();
        there.write_all(b"pong").await.unwrap();
        let mut bytes = [[0; 4]; 2];
        there.read_exact(&mut bytes[0]).await.unwrap();
        line.read_exact(&mut bytes[1]).await.unwrap();
        assert_eq!(bytes, [*b"ping", *b"pong"]);
    }
}

#[tokio::test]
async fn user_name_and_password() {
    let server = Server::start().await;
    let proxy = server.proxy(Some("m%C3%A9:hunter%3A2"));
    let serve = async {
        for verdict in [0, 1] {
            let mut line = server.line().await;
            let login = read_login(&mut line).await;
            assert_eq!(login, ("mé".to_owned(), "hunter:2".to_owned()));
            line.write_all(&[1, verdict]).await.unwrap();
            if verdict == 0 {
                read_target(&mut line).await;
                line.write_all(&CONNECTED).await.unwrap();
            }
        }
    };
    let dial = async {
        connect(&proxy, "relay.example", 443).await.unwrap();
        connect(&proxy, "relay.example", 443).await.unwrap_err()
    };
    let (why, ()) = join!(dial, serve);
    assert_eq!(why, "the proxy refuses the user name and password");

    let wants = "the proxy asks for a user name and password";
    assert_eq!(greeting(None, &[5, 0xff]).await, wants);
    assert_eq!(greeting(None, &[5, 2]).await, wants);
    let neither = "the proxy takes no user name and password, and none without";
    assert_eq!(greeting(Some(LOGIN), &[5, 0xff]).await, neither);
}

#[tokio::test]
async fn refusals_are_the_proxys_or_the_relays() {
    for (code, words) in [
        (1, "the proxy could not connect to the relay"),
        (2, "the proxy does not allow connections to this relay"),
        (3, "the proxy cannot reach the relay's network"),
        (4, "the proxy cannot find or reach the relay's host"),
        (5, "the relay refused the connection that the proxy made"),
        (6, "the proxy got no answer from the relay in time"),
        (7, "the proxy does not make connections"),
        (8, "the proxy does not take addresses of this kind"),
        (9, "what answers at the proxy's address does not speak SOCKS5"),
        (255, "what answers at the proxy's address does not speak SOCKS5"),
    ] {
        assert_eq!(refusal(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await, words);
    }
}

#[tokio::test]
async fn what_is_no_socks_proxy() {
    let no_proxy = "what answers at the proxy's address does not speak SOCKS5";
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n"[..], &[4, 0], &[5, 1], &[0, 0]] {
        assert_eq!(greeting(Some(LOGIN), answer).await, no_proxy);
    }
    for answer in [&[4, 90, 0, 0][..], &[5, 0, 1, 1], &[5, 0, 0, 2], b"SSH-2.0-x\r\n"] {
        assert_eq!(refusal(answer).await, no_proxy);
    }
    // Cut off at any point.
    let broke = "the proxy broke the connection off";
    for count in [0, 1] {
        let why = greeting(None, &[5, 0][..count]).await;
        assert!(why.starts_with(broke), "{why}");
    }
    for count in [0, 1, 4, 9] {
        let why = refusal(&CONNECTED[..count]).await;
        assert!(why.starts_with(broke), "{why}");
    }
    let long = connect(&Server::start().await.proxy(None), &"x".repeat(256), 443).await;
    assert_eq!(long.unwrap_err(), "the relay's name is too long for a proxy");
}

#[tokio::test]
async fn nobody_there() {
    let proxy = Server::start().await.proxy(Some(LOGIN));
    let why = connect(&proxy, "relay.example", 443).await.unwrap_err();
    assert!(why.starts_with("the proxy cannot be reached: "), "{why}");
    assert!(!why.contains(PASSWORD));
}

/// One that takes connections and says nothing is at fault itself; one that has spoken waits for
/// the relay, and may take longer.
#[tokio::test(start_paused = true)]
async fn silence() {
    let server = Server::start().await;
    let network = Network::new(Badge::new(Secret::new([0; 32])));
    network.set_routes(Routes { proxy: Some(server.proxy(None)), for_all: true });
    let dial = || async {
        let started = Instant::now();
        let error = connect::connect(&network, "ws://relay.example").await.unwrap_err();
        (error.to_string(), started.elapsed())
    };
    let mute = async {
        let _line = server.line().await;
        pending::<()>().await;
    };
    let (why, took) = tokio::select! { result = dial() => result, () = mute => unreachable!() };
    assert_eq!(why, "the proxy does not answer within 10 s");
    assert!(took < CONNECT_TIMEOUT + Duration::from_secs(1), "{took:?}");

    let polite = async {
        let mut line = server.line().await;
        greet(&mut line).await;
        pending::<()>().await;
    };
    let (why, took) = tokio::select! { result = dial() => result, () = polite => unreachable!() };
    assert_eq!(why, "no connection within 30 s");
    assert!(took >= PROXIED_CONNECT_TIMEOUT, "{took:?}");
}

/// The whole way, with TLS for the relay's name on top.
#[tokio::test]
async fn the_web_socket_runs_through_it() {
    let server = Server::start().await;
    let network = Network::new(Badge::new(Secret::new([0; 32])));
    network.set_routes(Routes { proxy: Some(server.proxy(None)), for_all: false });
    let serve = async {
        let (line, target) = server.connected().await;
        accept_async(line).await.unwrap();
        target
    };
    let (socket, target) = join!(connect::connect(&network, "ws://abcdef.onion"), serve);
    socket.unwrap();
    assert_eq!(target, Target::Name("abcdef.onion".to_owned(), 80));

    let serve = async {
        let (mut line, target) = server.connected().await;
        let mut hello = vec![0; 512];
        let length = line.read(&mut hello).await.unwrap();
        assert_eq!(hello[0], 0x16, "no TLS");
        assert!(hello[..length].windows(12).any(|part| part == b"abcdef.onion"), "no name");
        target
    };
    let (socket, target) = join!(connect::connect(&network, "wss://abcdef.onion"), serve);
    assert!(socket.unwrap_err().to_string().starts_with("no WebSocket: "));
    assert_eq!(target, Target::Name("abcdef.onion".to_owned(), 443));
}

/// Without a proxy, or with one for others: not a byte leaves, and no resolver hears the name.
#[tokio::test]
async fn an_onion_without_a_proxy_fails_at_once() {
    let network = Network::new(Badge::new(Secret::new([0; 32])));
    for url in ["ws://abcdef.onion", "wss://abcdef.onion./x"] {
        let error = connect::connect(&network, url).await.unwrap_err().to_string();
        assert!(error.starts_with("A .onion relay is reached only through a proxy"), "{error}");
        assert!(error.contains("socks5://127.0.0.1:9050"), "{error}");
    }
}

/// This machine's own relays mean another machine's to the proxy.
#[tokio::test]
async fn a_relay_on_this_machine_is_reached_directly() {
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://127.0.0.1:{}", relay.local_addr().unwrap().port());
    let network = Network::new(Badge::new(Secret::new([0; 32])));
    let proxy = Server::start().await.proxy(None); // gone by now
    network.set_routes(Routes { proxy: Some(proxy), for_all: true });
    let serve = async { accept_async(relay.accept().await.unwrap().0).await.unwrap() };
    let (socket, _) = join!(connect::connect(&network, &url), serve);
    socket.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes instead of an answer: a sentence, or a connection, and no panic.
    #[test]
    fn noise(
        first in prop::sample::select(vec![vec![5, 0], vec![5, 2], vec![5], vec![]]),
        noise in prop::collection::vec(prop_oneof![any::<u8>(), 0..6_u8], 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start().await;
            let proxy = server.proxy(Some(LOGIN));
            let serve = async {
                let mut line = server.line().await;
                // Its end may be that of the connection already.
                let _ = line.write_all(&[first, noise].concat()).await;
            };
            let (result, ()) = join!(connect(&proxy, "relay.example", 443), serve);
            if let Err(why) = result {
                assert!(why.contains("proxy") && !why.contains(PASSWORD), "{why}");
            }
        });
    }
}
