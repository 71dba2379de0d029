//! Whatever a relay sends, in whatever pieces it comes: what the library is given is the same without
//! the messages that are too long.

use std::task::Waker;

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::*;

const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
/// What the empty message is that stands for one that was skipped.
const STANDS_FOR_IT: &[u8] = &[0x82, 0];

/// A line that gives its bytes in pieces of these sizes, again and again.
struct Pieces {
    bytes: VecDeque<u8>,
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes[self.turn % self.sizes.len()].min(out.remaining());
        self.turn += 1;
        let most = size.min(self.bytes.len());
        let taken: Vec<u8> = self.bytes.drain(..most).collect();
        out.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

/// All that comes through, read in pieces of these sizes, and what was taken out.
fn strained(sent: &[u8], sizes: &[usize], reads: &[usize]) -> io::Result<(Vec<u8>, Vec<Skipped>)> {
    let line = Pieces { bytes: sent.iter().copied().collect(), sizes: sizes.to_vec(), turn: 0 };
    let mut sieve = Sieve::new(line);
    let mut context = Context::from_waker(Waker::noop());
    let mut got = Vec::new();
    for size in reads.iter().cycle() {
        let mut buffer = vec![0; *size];
        let mut out = ReadBuf::new(&mut buffer);
        match Pin::new(&mut sieve).poll_read(&mut context, &mut out) {
            Poll::Ready(Ok(())) if out.filled().is_empty() => break,
            Poll::Ready(Ok(())) => got.extend_from_slice(out.filled()),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => unreachable!("the line always has something"),
        }
    }
    let skipped = std::iter::from_fn(|| sieve.skipped.next()).collect();
    Ok((got, skipped))
}

fn frame(opcode: OpCode, last: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final: last, opcode, ..FrameHeader::default() };
    let mut out = Vec::new();
    header.format(payload.len() as u64, &mut out).unwrap();
    out.extend_from_slice(payload);
    out
}

fn ping(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Control(Control::Ping), true, payload)
}

/// A text message in these parts.
fn parted(text: &[u8], at: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts = vec![0];
    cuts.extend(at.iter().map(|at| at % (text.len() + 1)));
    cuts.push(text.len());
    cuts.sort_unstable();
    let parts = cuts.len() - 1;
    let part = |number: usize| {
        let opcode = OpCode::Data(if number == 0 { Data::Text } else { Data::Continue });
        frame(opcode, number + 1 == parts, &text[cuts[number]..cuts[number + 1]])
    };
    (0..parts).map(part).collect()
}

/// A text of characters of every width, of about this many bytes.
fn text(bytes: usize) -> String {
    "[\"EVENT\",\"12\",aé€🦩"
        .chars()
        .cycle()
        .scan(0, |length, next| {
            *length += next.len_utf8();
            (*length <= bytes).then_some(next)
        })
        .collect()
}

#[test]
fn a_message_that_is_too_long_is_told_of_and_what_comes_beside_it_passes() {
    let long = text(2 * MAX_RELAY_MESSAGE);
    let most = vec![b'a'; MAX_RELAY_MESSAGE];
    let short = parted(b"[\"NOTICE\",\"hello\"]", &[]).concat();
    let as_long_as_may_be = parted(&most, &[]).concat();
    let too_long = parted(long.as_bytes(), &[]).concat();
    let sent = [RESPONSE, &short, &too_long, &as_long_as_may_be, &too_long, &short].concat();
    let expected =
        [RESPONSE, &short, STANDS_FOR_IT, &as_long_as_may_be, STANDS_FOR_IT, &short].concat();
    let (got, skipped) = strained(&sent, &[100_000], &[128 << 10]).unwrap();
    assert!(got == expected);
    assert_eq!(skipped.len(), 2);
    for one in skipped {
        assert_eq!((one.bytes, &*one.head), (long.len(), &long.as_bytes()[..SKIPPED_HEAD]));
    }
}

#[test]
fn one_that_has_begun_to_pass_ends_with_a_whole_character() {
    for cut in 0..8 {
        let long = text(MAX_RELAY_MESSAGE + 10);
        let at = MAX_RELAY_MESSAGE - 100 + cut;
        let parts = parted(long.as_bytes(), &[at, at + 1]);
        let sent = [RESPONSE, &parts[0], &ping(b"!"), &parts[1], &parts[2], &ping(b"?")].concat();
        let (got, skipped) = strained(&sent, &[usize::MAX], &[128 << 10]).unwrap();
        let passed = [RESPONSE, &parts[0], &ping(b"!"), &parts[1]].concat();
        let rest = got.strip_prefix(&*passed).unwrap();
        let end = usize::from(rest[1]);
        assert_eq!(rest[0], 0x80);
        assert_eq!(rest[2 + end..], [STANDS_FOR_IT, &ping(b"?")].concat());
        let begun = [&long.as_bytes()[..=at], &rest[2..2 + end]].concat();
        assert!(end <= END_MOST && String::from_utf8(begun).is_ok(), "{cut}: {rest:?}");
        assert_eq!(skipped[0].bytes, long.len());
        assert_eq!(skipped[0].head, &long.as_bytes()[..SKIPPED_HEAD]);
    }
    // The first bytes of the characters after which not every next byte may come.
    for first in ["ࠀ", "퟿", "𐀀", "\u{10ffff}"] {
        for had in 1..first.len() {
            let made = end_of(&first.as_bytes()[..had]);
            let whole = [&first.as_bytes()[..had], &made[2..]].concat();
            assert!(std::str::from_utf8(&whole).is_ok(), "{whole:?}");
        }
    }
}

#[test]
fn there_is_an_end_to_patience() {
    let header = |bytes: u64| [&[0x81, 127][..], &bytes.to_be_bytes()].concat();
    for bytes in [MAX_SKIPPED_MESSAGE as u64 + 1, u64::MAX] {
        let sent = [RESPONSE, &header(bytes)].concat();
        let error = strained(&sent, &[usize::MAX], &[4_096]).unwrap_err();
        assert_eq!(error.to_string(), format!("it sent a message of {bytes} bytes"));
    }
}

#[test]
fn what_is_no_web_socket_is_for_the_library_to_judge() {
    let sent = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(strained(sent, &[3], &[4_096]).unwrap().0, sent);
    let masked = [&[0x81, 0x80 | 3][..], b"mask", b"abc"].concat();
    let sent = [RESPONSE, &masked, &ping(b"after")].concat();
    assert_eq!(strained(&sent, &[3], &[4_096]).unwrap().0, sent);
}

/// A message, and whether it is too long.
fn message() -> impl Strategy<Value = (Vec<Vec<u8>>, bool)> {
    let bytes = prop_oneof![
        8 => 0_usize..300,
        1 => (MAX_RELAY_MESSAGE - 2)..=MAX_RELAY_MESSAGE,
        2 => (MAX_RELAY_MESSAGE + 1)..(MAX_RELAY_MESSAGE + 200_000),
    ];
    (bytes, prop::collection::vec(any::<usize>(), 0..4), any::<bool>()).prop_map(
        |(bytes, cuts, between)| {
            let mut frames = parted(&vec![b'x'; bytes], &cuts);
            if between {
                frames.insert(frames.len() / 2, ping(b"between"));
            }
            (frames, bytes > MAX_RELAY_MESSAGE)
        },
    )
}

/// What messages there are in these bytes: the length of each, and how many control frames.
fn read(mut bytes: &[u8]) -> (Vec<usize>, usize) {
    let (mut messages, mut controls, mut open) = (Vec::new(), 0, None);
    while !bytes.is_empty() {
        let mut cursor = io::Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        let from = usize::try_from(cursor.position()).unwrap();
        let length = usize::try_from(length).unwrap();
        bytes = &bytes[from + length..];
        match header.opcode {
            OpCode::Control(_) => controls += 1,
            OpCode::Data(data) => {
                assert_eq!(data == Data::Continue, open.is_some());
                let whole = open.take().unwrap_or_default() + length;
                if header.is_final {
                    messages.push(whole);
                } else {
                    open = Some(whole);
                }
            }
        }
    }
    assert_eq!(open, None, "no message is left open");
    (messages, controls)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn in_whatever_pieces_it_comes(
        messages in prop::collection::vec(message(), 1..6),
        sizes in prop::collection::vec(prop_oneof![1_usize..20, 1_usize..200_000], 1..8),
        reads in prop::collection::vec(prop_oneof![1_usize..20, 1_usize..200_000], 1..8),
        burst in 100_000_usize..400_000,
    ) {
        let sent: Vec<u8> =
            RESPONSE.iter().copied().chain(messages.iter().flat_map(|(it, _)| it.concat())).collect();
        // One large piece among them, so that the long ones come to an end.
        let (sizes, reads) = ([sizes, vec![burst]].concat(), [reads, vec![burst]].concat());
        let (got, skipped) = strained(&sent, &sizes, &reads).unwrap();
        let (whole, _) = strained(&sent, &[usize::MAX], &[128 << 10]).unwrap();
        prop_assert!(got == whole, "the pieces make no difference");
        prop_assert_eq!(skipped.len(), messages.iter().filter(|(_, long)| *long).count());
        let (lengths, controls) = read(got.strip_prefix(RESPONSE).unwrap());
        prop_assert!(lengths.iter().all(|length| *length <= MAX_RELAY_MESSAGE + END_MOST));
        let (all, all_controls) = read(sent.strip_prefix(RESPONSE).unwrap());
        prop_assert_eq!(controls, all_controls);
        let mut left = lengths.into_iter();
        for length in all {
            // Of one that is too long there is the part that passed, if any did, and what stands for it.
            if length > MAX_RELAY_MESSAGE {
                prop_assert!(left.any(|left| left == 0));
            } else {
                prop_assert_eq!(left.next(), Some(length));
            }
        }
        prop_assert_eq!(left.next(), None);
    }
}
