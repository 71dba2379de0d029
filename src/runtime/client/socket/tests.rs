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
use crate::router::{Bequest, Estate, Legacy, Limits, Proven, Said, Seen};
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

/// Another core, which takes a client over from the first.
struct Heir {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<ToRouter>,
    id: ClientId,
    mailbox: Mailbox,
    estate: Estate,
}

impl Heir {
    /// The client says nothing while it goes over. What its router leaves, and how many messages lie in
    /// its mailbox then.
    async fn of(bed: &mut Bed, estate: Estate, waiting: usize) -> Self {
        Self::after(&bed.shared, &mut bed.queue, bed.id, estate, waiting).await
    }

    async fn after(
        before: &Arc<Shared>,
        before_queue: &mut mpsc::Receiver<ToRouter>,
        client: ClientId,
        estate: Estate,
        waiting: usize,
    ) -> Self {
        let (shared, mut queue) = Shared::new(Limits::default()).unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        inherit(&shared, theirs.into(), &Handle::current()).unwrap();
        lock(&before.outside)[&client].call_over(ours.into());
        let Some(ToRouter::HandOver(id, reply)) = before_queue.recv().await else {
            panic!("it asks what it takes along");
        };
        assert_eq!(id, client);
        reply.send((estate, waiting)).unwrap();
        let next = timeout(Duration::from_secs(10), queue.recv()).await.unwrap();
        let Some(ToRouter::Inherited(id, Role::Public, _, mailbox, estate)) = next else {
            panic!("it is there");
        };
        let about = lock(&shared.outside)[&id].view().about;
        assert_eq!(about.address.as_deref(), Some("here"));
        Self { shared, queue, id, mailbox, estate: *estate }
    }

    async fn next(&mut self) -> Input {
        match timeout(Duration::from_secs(10), self.queue.recv()).await.unwrap() {
            Some(ToRouter::Input(input)) => input,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_goes_over_with_all_that_it_has() {
    let keys = crate::nostr::keys::Keys::generate().unwrap();
    let event = keys.sign_event(1_800_000_000, 1, &[], "hello").unwrap();
    let message = frame(0x81, br#"["CLOSE","a"]"#);
    for cut in [0, 1, 3, 10, message.len()] {
        let mut bed = Bed::new(&[]);
        let mailbox = bed.joined().await;
        let mut client = std::mem::replace(&mut bed.client, other().await);
        let mut answer = [0; ANSWER.len()];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(&message[..cut]).await.unwrap();
        if cut == message.len() {
            assert!(matches!(bed.said().await, ClientMessage::Close { .. }));
        }
        // It does not read, so most of this is unsent or in the mailbox when it goes.
        let texts: Vec<Reply> =
            (0..400).map(|n| notice(&format!("{n}{}", "x".repeat(30_000)))).collect();
        let (before, after) = texts.split_at(350);
        for text in before {
            assert!(mailbox.post(text.clone()));
        }
        sleep(Duration::from_millis(100)).await;
        let mut seen = Seen::default();
        for number in 0..10_000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            seen.insert(&id, u64::from(number), 20_000, 20_000);
        }
        let bequest = Bequest {
            id: "s".into(),
            filters: vec![r#"{"kinds":[1]}"#.into()],
            complete: true,
            served: vec![("ws://relay".into(), 17)],
            seen: seen.clone(),
        };
        let proven = Proven {
            hosts: vec!["here.com:81".into()],
            challenge: Some("sign".into()),
            keys: vec![[7; 32]],
        };
        let estate =
            Estate { proven: proven.clone(), subscriptions: vec![bequest], mail: Vec::new() };
        let mut heir = Heir::of(&mut bed, estate, mailbox.waiting()).await;

        assert_eq!(heir.estate.proven, proven);
        let [its] = &heir.estate.subscriptions[..] else { panic!("{:?}", heir.estate) };
        assert_eq!((&*its.id, its.complete, &*its.filters[0]), ("s", true, r#"{"kinds":[1]}"#));
        assert_eq!(its.served, [("ws://relay".into(), 17)]);
        assert!(its.seen.entries().eq(seen.entries()) && its.seen.head() == seen.head());
        // What lay there is posted by the router, and then it goes on.
        assert!(!heir.estate.mail.is_empty());
        for text in std::mem::take(&mut heir.estate.mail) {
            assert!(heir.mailbox.post(Reply::Text(text)));
        }
        for text in after {
            assert!(heir.mailbox.post(text.clone()));
        }
        let mut library = WebSocketStream::from_raw_socket(
            &mut client,
            protocol::Role::Client,
            Some(WebSocketConfig::default().max_message_size(None).max_frame_size(None)),
        )
        .await;
        for text in &texts {
            let next = library.next().await.unwrap().unwrap();
            assert!(next == Message::text(text.to_json()), "each once, in order");
        }
        library.get_mut().write_all(&message[cut..]).await.unwrap();
        if cut < message.len() {
            let said = heir.next().await;
            let Input::ClientSaid(id, Said { message, read: Some(_), .. }) = said else {
                panic!("{said:?}");
            };
            assert!(id == heir.id && matches!(message, ClientMessage::Close { .. }));
        }

        // The first core's word is heard on.
        for text in [format!(r#"["EVENT","s",{event}]"#), r#"["OK","x",true,""]"#.to_owned()] {
            assert!(mailbox.post(Reply::Text(text.into())));
        }
        let Input::ClientLegacy(_, Legacy::Event { id, event: heard }) = heir.next().await else {
            panic!("the event");
        };
        assert_eq!((&*id, heard.json()), ("s", &*event));
        assert!(matches!(heir.next().await, Input::ClientLegacy(_, Legacy::Answer(_))));
        drop(mailbox);
        assert!(bed.is_gone().await);
        assert!(matches!(heir.next().await, Input::ClientLegacy(_, Legacy::Over)));
        until_left(&bed.shared).await;
        library.close(None).await.unwrap();
        assert!(matches!(heir.next().await, Input::ClientLeft(_)));
    }
}

#[tokio::test]
async fn what_the_first_of_three_cores_says_goes_through_the_second() {
    let mut bed = Bed::new(&[]);
    let mailbox = bed.joined().await;
    let mut second = Heir::of(&mut bed, Estate::default(), 0).await;
    let answer = |text: &str| Reply::Text(format!(r#"["OK","{text}",true,""]"#).into());
    // Said before the client goes on, and heard after.
    assert!(mailbox.post(answer("first")));
    let Heir { shared, queue, id, .. } = &mut second;
    let Input::ClientLegacy(_, Legacy::Answer(text)) = (match queue.recv().await {
        Some(ToRouter::Input(input)) => input,
        other => panic!("{other:?}"),
    }) else {
        panic!("the answer");
    };
    let mut third = Heir::after(shared, queue, *id, Estate::default(), 0).await;
    assert!(second.mailbox.post(Reply::Text(text.clone())));
    let Input::ClientLegacy(_, Legacy::Answer(told)) = third.next().await else { panic!("it") };
    assert_eq!(told, text);
    assert!(mailbox.post(answer("second")));
    assert!(matches!(second.next().await, Input::ClientLegacy(_, Legacy::Answer(_))));
    drop(mailbox);
    assert!(bed.is_gone().await);
    assert!(matches!(second.next().await, Input::ClientLegacy(_, Legacy::Over)));
    // Not its end: the second speaks for itself until it ends.
    assert!(second.mailbox.post(answer("third")));
    assert!(matches!(third.next().await, Input::ClientLegacy(_, Legacy::Answer(_))));
    let Heir { shared, mut queue, mailbox, .. } = second;
    drop(mailbox);
    assert!(matches!(queue.recv().await, Some(ToRouter::Input(Input::ClientLeft(_)))));
    assert!(matches!(third.next().await, Input::ClientLegacy(_, Legacy::Over)));
    until_left(&shared).await;
    let mut library = Bed::library(&mut bed.client).await;
    library.close(None).await.unwrap();
    assert!(matches!(third.next().await, Input::ClientLeft(_)));
}

#[tokio::test]
async fn a_message_that_is_too_long_goes_over_in_the_middle() {
    let mut bed = Bed::new(&[]);
    let _mailbox = bed.joined().await;
    let length = MAX_MESSAGE_LENGTH + 10;
    let head = [&[0x81, 0xff][..], &(length as u64).to_be_bytes(), &[0; 4]].concat();
    bed.client.write_all(&head).await.unwrap();
    bed.client.write_all(&vec![b'x'; 2_000]).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let mut heir = Heir::of(&mut bed, Estate::default(), 0).await;
    bed.client.write_all(&vec![b'x'; length - 2_000]).await.unwrap();
    let Input::ClientSaid(_, Said { message, .. }) = heir.next().await else { panic!("it") };
    let too_long = ClientMessage::too_long("x", MAX_MESSAGE_LENGTH);
    assert_eq!(format!("{message:?}"), format!("{too_long:?}"));
}

#[tokio::test]
async fn whom_nobody_takes_over_is_closed() {
    for says in [None, Some(9)] {
        let mut bed = Bed::new(&[]);
        let mailbox = bed.joined().await;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        lock(&bed.shared.outside)[&bed.id].call_over(ours.into());
        let Some(ToRouter::HandOver(_, reply)) = bed.queue.recv().await else { panic!("it asks") };
        reply.send((Estate::default(), mailbox.waiting())).unwrap();
        if let Some(byte) = says {
            std::io::Write::write_all(&mut theirs, &[byte]).unwrap();
        } else {
            drop(theirs);
        }
        assert!(bed.is_gone().await);
        assert_eq!(code(&mut bed.client).await, CLOSE_RESTART);
    }
}
