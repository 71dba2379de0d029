//! Real sockets, a real client's library or bytes by hand, and the router's end in the test's hands.

use std::net::TcpListener;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{self, WebSocketConfig};

use crate::constants::{MAILBOX_BYTES, MAX_MESSAGE_LENGTH, UNFINISHED, UNFINISHED_BYTES_ALL};
use crate::nostr::message::{ClientMessage, Reply};
use crate::router::{Limits, Said};
use crate::runtime::mailbox::{CLOSE_POLICY, CLOSE_TRY_LATER, Mailbox};

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// One client and what stands for the router.
struct Bed {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<ToRouter>,
    id: ClientId,
    client: TcpStream,
}

impl Bed {
    /// A client whose socket had so much read of it.
    fn new(read: &[u8]) -> Self {
        let (shared, queue) = Shared::new(Limits::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let offer = Offer { socket: served.into(), read: read.to_vec(), answer: ANSWER.to_vec() };
        let about = About { address: Some("here".into()), ..About::default() };
        let hosts = vec!["example.com".to_owned()];
        let id = serve(&shared, Role::Public, about, hosts, offer, &Handle::current()).unwrap();
        Self { shared, queue, id, client: TcpStream::from_std(client).unwrap() }
    }

    /// What it says first.
    async fn joined(&mut self) -> Mailbox {
        let Some(ToRouter::Joined(id, Role::Public, _, mailbox)) = self.queue.recv().await else {
            panic!("it joins first");
        };
        assert_eq!(id, self.id);
        let Some(ToRouter::Input(Input::ClientReached(_, hosts))) = self.queue.recv().await else {
            panic!("then it tells how it has reached us");
        };
        assert_eq!(&*hosts[0], "example.com");
        mailbox
    }

    async fn said(&mut self) -> ClientMessage {
        match timeout(Duration::from_secs(10), self.queue.recv()).await.unwrap() {
            Some(ToRouter::Input(Input::ClientSaid(_, Said { message, read, .. }))) => {
                assert!(read.is_some(), "it was read when it came");
                message
            }
            other => panic!("{other:?}"),
        }
    }

    async fn is_gone(&mut self) -> bool {
        let next = timeout(Duration::from_secs(10), self.queue.recv()).await.unwrap();
        matches!(next, Some(ToRouter::Input(Input::ClientLeft(_))))
    }

    /// A client's library on the line.
    async fn library(client: &mut TcpStream) -> WebSocketStream<&mut TcpStream> {
        let mut answer = [0; ANSWER.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        WebSocketStream::from_raw_socket(client, protocol::Role::Client, Some(config)).await
    }
}

/// A frame without its mask's effect: the mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn notice(text: &str) -> Reply {
    Reply::Notice(text.to_owned())
}

async fn code(client: &mut TcpStream) -> u16 {
    let mut all = Vec::new();
    timeout(Duration::from_secs(10), client.read_to_end(&mut all)).await.unwrap().unwrap();
    let mut close = all.strip_prefix(ANSWER).unwrap();
    while let Some(rest) = close.strip_prefix(&[0x89, 0]) {
        close = rest; // a ping
    }
    assert_eq!(close[0], 0x88, "{close:?}");
    u16::from_be_bytes([close[2], close[3]])
}

#[tokio::test]
async fn what_was_read_with_the_request_is_not_lost() {
    let whole = [frame(0x81, br#"["CLOSE","a"]"#), frame(0x81, br#"["CLOSE","b"]"#)].concat();
    for cut in [0, 1, 3, 10, 19, 20, 25, whole.len()] {
        let mut bed = Bed::new(&whole[..cut]);
        bed.client.write_all(&whole[cut..]).await.unwrap();
        let _mailbox = bed.joined().await;
        for id in ["a", "b"] {
            let said = bed.said().await;
            assert!(
                matches!(&said, ClientMessage::Close { id: name } if name.to_string() == id),
                "{said:?}"
            );
        }
    }
}

#[tokio::test]
async fn messages_go_both_ways_and_a_long_one_is_refused() {
    let mut bed = Bed::new(&[]);
    let mailbox = bed.joined().await;
    let mut client = std::mem::replace(&mut bed.client, other().await);
    let mut library = Bed::library(&mut client).await;
    library.send(Message::text(r#"["CLOSE","a"]"#)).await.unwrap();
    assert!(matches!(bed.said().await, ClientMessage::Close { .. }));
    library.send(Message::binary(vec![1])).await.unwrap();
    let binary = bed.said().await;
    let said_of_binary = format!("{:?}", ClientMessage::binary());
    assert_eq!(format!("{binary:?}"), said_of_binary);
    library.send(Message::text("x".repeat(MAX_MESSAGE_LENGTH + 1))).await.unwrap();
    let too_long = format!("{:?}", ClientMessage::too_long("x", MAX_MESSAGE_LENGTH));
    assert_eq!(format!("{:?}", bed.said().await), too_long);
    library.send(Message::text("y".repeat(MAX_MESSAGE_LENGTH))).await.unwrap();
    assert_ne!(format!("{:?}", bed.said().await), too_long);
    // And the other way, much more than is ready at a time.
    let text = "n".repeat(10_000);
    for _ in 0..100 {
        assert!(mailbox.post(notice(&text)));
    }
    for _ in 0..100 {
        assert_eq!(library.next().await.unwrap().unwrap(), Message::text(notice(&text).to_json()));
    }
    library.send(Message::Ping(vec![7].into())).await.unwrap();
    assert_eq!(library.next().await.unwrap().unwrap(), Message::Pong(vec![7].into()));
    library.close(None).await.unwrap();
    assert!(bed.is_gone().await);
    assert!(matches!(library.next().await, Some(Ok(Message::Close(_))) | None));
    drop(library);
    until_left(&bed.shared).await;
}

/// A part of a message that has twice as much, and is longer than a client's share.
fn part(length: u64) -> Vec<u8> {
    let header = [&[0x81, 0xff][..], &(2 * length).to_be_bytes(), &[0; 4]].concat();
    [header, vec![b'x'; usize::try_from(length).unwrap()]].concat()
}

#[tokio::test]
async fn what_has_come_in_part_is_bounded_for_all_together() {
    for (length, is_closed) in [(100_000, true), (20_000, false)] {
        let mut bed = Bed::new(&[]);
        let _mailbox = bed.joined().await;
        bed.shared.unfinished.fetch_add(UNFINISHED_BYTES_ALL, SeqCst);
        bed.client.write_all(&part(length)).await.unwrap();
        if is_closed {
            assert!(bed.is_gone().await);
            assert_eq!(code(&mut bed.client).await, CLOSE_TRY_LATER);
        } else {
            // Others' messages are not its concern, as long as its own is short.
            bed.client.write_all(&vec![b'x'; 20_000]).await.unwrap();
            bed.said().await;
        }
        drop(bed.client);
        until_left(&bed.shared).await;
        assert_eq!(bed.shared.unfinished.load(SeqCst), UNFINISHED_BYTES_ALL, "there is room again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_message_has_its_time_to_come() {
    let mut bed = Bed::new(&part(100_000));
    let _mailbox = bed.joined().await;
    let began = Instant::now();
    assert!(matches!(bed.queue.recv().await, Some(ToRouter::Input(Input::ClientLeft(_)))));
    assert!(began.elapsed() >= UNFINISHED && began.elapsed() < UNFINISHED * 3 / 2);
    assert_eq!(code(&mut bed.client).await, CLOSE_POLICY);
}

/// Any socket.
async fn other() -> TcpStream {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
}

async fn until_left(shared: &Shared) {
    for _ in 0..1_000 {
        if lock(&shared.outside).is_empty() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("its place is taken for ever");
}

#[tokio::test]
async fn who_cannot_be_understood_is_told_so() {
    let unmasked = [&[0x81, 2][..], b"[]"].concat();
    let compressed = frame(0xc1, b"[]");
    let no_text = frame(0x81, &[0xff, 0xfe]);
    let huge = [&[0x81, 0xff][..], &(64_u64 << 20).to_be_bytes(), &[0; 4], b"x"].concat();
    for (bytes, expected) in [(unmasked, 1002), (compressed, 1002), (no_text, 1007), (huge, 1009)] {
        let mut bed = Bed::new(&bytes);
        let _mailbox = bed.joined().await;
        assert!(bed.is_gone().await);
        assert_eq!(code(&mut bed.client).await, expected);
        drop(bed.client);
        until_left(&bed.shared).await;
    }
}

#[tokio::test]
async fn what_waits_is_written_before_the_end() {
    for (code_wanted, ends) in [(CLOSE_TRY_LATER, true), (CLOSE_RESTART, false)] {
        let mut bed = Bed::new(&[]);
        let mailbox = bed.joined().await;
        assert!(mailbox.post(notice(&"n".repeat(300_000))));
        if ends {
            mailbox.close(CLOSE_TRY_LATER, "slow");
        }
        drop(mailbox); // which is the end of the core
        let mut library = Bed::library(&mut bed.client).await;
        assert!(library.next().await.unwrap().unwrap().is_text());
        let Message::Close(Some(close)) = library.next().await.unwrap().unwrap() else {
            panic!("it is told");
        };
        assert_eq!(u16::from(close.code), code_wanted);
        assert!(bed.is_gone().await);
    }
}

#[tokio::test]
async fn the_owner_sees_it_and_cuts_it_off() {
    let mut bed = Bed::new(&[]);
    let _mailbox = bed.joined().await;
    let seat = lock(&bed.shared.outside).values().next().cloned().unwrap();
    let view = seat.view();
    assert_eq!((view.id, view.public, view.about.address), (bed.id, true, Some("here".into())));
    seat.cut_off("no more");
    assert!(bed.is_gone().await);
    assert_eq!(code(&mut bed.client).await, 1008);
    drop(bed.client);
    until_left(&bed.shared).await;
}

#[tokio::test]
async fn who_does_not_read_is_read_no_further_and_costs_little() {
    let mut bed = Bed::new(&[]);
    let mailbox = bed.joined().await;
    let pings = frame(0x89, &[7; 125]).repeat(1_000);
    let mut sent = 0;
    let stuck = timeout(Duration::from_secs(20), async {
        loop {
            match timeout(Duration::from_secs(1), bed.client.write_all(&pings)).await {
                Ok(written) => written.unwrap(),
                Err(_) => return,
            }
            sent += pings.len();
            // What lies in the sockets' own buffers, both ways, and twice what we have ready.
            assert!(sent < 64 << 20, "it is read on and on");
        }
    });
    stuck.await.unwrap();
    // What it does not fetch is in its mailbox, under the bounds of that.
    assert!(!mailbox.post(notice(&"n".repeat(MAILBOX_BYTES + 1))));
}

#[tokio::test(start_paused = true)]
async fn a_dead_one_is_noticed() {
    let mut bed = Bed::new(&[]);
    let _mailbox = bed.joined().await;
    let began = Instant::now();
    assert!(matches!(bed.queue.recv().await, Some(ToRouter::Input(Input::ClientLeft(_)))));
    let took = began.elapsed();
    assert!(took >= CLIENT_PING * (CLIENT_MISSED_PINGS), "{took:?}");
    assert!(took <= CLIENT_PING * (CLIENT_MISSED_PINGS + 1), "{took:?}");
}
