//! Signed kind-1 events of one size, the same in every run.
//!
//! Signing a million events takes half a minute, so they are kept in one file under the target
//! folder: records of `RECORD` bytes without separators, event `n` at `n * RECORD`. What is
//! wanted and not there yet is signed with all cores and appended.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use secp256k1::Keypair;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Result};

/// Bytes of one event's JSON text. 688 is what the figures in our notes were measured with.
const RECORD: usize = 688;
/// Part of the file's name: to be counted up when the text of an event changes.
const VERSION: u32 = 1;
/// Authors the events are spread over.
const AUTHORS: usize = 16;
/// `created_at` of event 0. The events of one second stand next to each other, the newest last.
const FIRST_CREATED_AT: usize = 1_700_000_000;
const EVENTS_PER_SECOND: usize = 20;
/// Where the digits of an event's number are in its text.
const NUMBER: Range<usize> = 243..251;
/// What comes before the number in an event's content.
const CONTENT_START: &str = "note ";
/// Events signed and written in one go.
const CHUNK: usize = 50_000;

/// Events `first..first + len` of the file, in memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    text: Arc<String>,
    first: usize,
    len: usize,
}

impl Events {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// JSON text of the event at `position`, counted from 0.
    pub(crate) fn get(&self, position: usize) -> &str {
        &self.text[position * RECORD..(position + 1) * RECORD]
    }

    /// A number that no others have: that of the first.
    pub(crate) fn number(&self) -> usize {
        self.first
    }

    /// The first `count` of them.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self { len: count.min(self.len), ..self.clone() }
    }

    /// Hex id of the event at `position`.
    pub(crate) fn id(&self, position: usize) -> &str {
        &self.get(position)[7..71]
    }

    /// The position of an event given as JSON text, if it is one of these, to the last byte.
    pub(crate) fn position(&self, event: &str) -> Option<usize> {
        let position = self.numbered(event.get(NUMBER)?)?;
        (self.get(position) == event).then_some(position)
    }

    /// The same, value for value.
    pub(crate) fn position_parsed(&self, event: &Value) -> Option<usize> {
        let content = event["content"].as_str()?.strip_prefix(CONTENT_START)?;
        let position = self.numbered(content.get(..NUMBER.len())?)?;
        let expected: Value = serde_json::from_str(self.get(position)).ok()?;
        (expected == *event).then_some(position)
    }

    fn numbered(&self, digits: &str) -> Option<usize> {
        let position = digits.parse::<usize>().ok()?.checked_sub(self.first)?;
        (position < self.len()).then_some(position)
    }
}

/// Hands out events, each one only once in a run: the endpoint has never seen what it gets.
pub(crate) struct Supply {
    file: File,
    next: usize,
}

impl Supply {
    pub(crate) fn open() -> Result<Self> {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("events-v{VERSION}"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file, next: 0 })
    }

    /// Bring the file up to `total` events.
    fn grow(&mut self, total: usize) -> Result<()> {
        let mut present = records(&self.file)?;
        if present >= total {
            return Ok(());
        }
        // A record cut short by an interrupted run is written again.
        self.file.set_len((present * RECORD) as u64)?;
        self.file.seek(SeekFrom::End(0))?;
        while present < total {
            eprintln!("  signing {CHUNK} events, to be kept");
            let chunk = present..present + CHUNK;
            present = chunk.end;
            for part in sign_on_all_cores(&chunk)? {
                self.file.write_all(part.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The next `count` events nobody had in this run.
    pub(crate) fn take(&mut self, count: usize) -> Result<Events> {
        let first = self.next;
        self.grow(first + count)?;
        let mut bytes = vec![0; count * RECORD];
        self.file.seek(SeekFrom::Start((first * RECORD) as u64))?;
        self.file.read_exact(&mut bytes)?;
        self.next += count;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        let events = Events { text: Arc::new(text), first, len: count };
        if count > 0 && events.position(events.get(count - 1)) != Some(count - 1) {
            return Err(Failure::Setup("the file of events is damaged: delete it".to_owned()));
        }
        Ok(events)
    }
}

fn records(file: &File) -> Result<usize> {
    let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    Ok(bytes / RECORD)
}

fn sign_on_all_cores(range: &Range<usize>) -> Result<Vec<String>> {
    let cores = thread::available_parallelism()?.get();
    let share = range.len().div_ceil(cores);
    thread::scope(|scope| {
        let workers: Vec<_> = range
            .clone()
            .step_by(share)
            .map(|first| scope.spawn(move || sign(first..range.end.min(first + share))))
            .collect();
        let gone = |_| Failure::Setup("a signing thread panicked".to_owned());
        workers.into_iter().map(|worker| worker.join().map_err(gone)?).collect()
    })
}

fn sign(range: Range<usize>) -> Result<String> {
    let authors: Vec<Author> = (0..AUTHORS).map(Author::new).collect::<Result<_>>()?;
    let mut text = String::with_capacity(range.len() * RECORD);
    for number in range {
        authors[number % AUTHORS].write_event(number, &mut text);
    }
    Ok(text)
}

/// One author's key. Made from a number, so that every run has the same events.
struct Author {
    keys: Keypair,
    public_key: String,
}

impl Author {
    fn new(number: usize) -> Result<Self> {
        let secret = Sha256::digest(format!("author {number} of the endpoint benchmark"));
        let keys = Keypair::from_secret_bytes(secret.into()).map_err(io::Error::other)?;
        let public_key = hex(&keys.x_only_public_key().0.to_byte_array());
        Ok(Self { keys, public_key })
    }

    /// Append the event to `text`: `RECORD` bytes.
    fn write_event(&self, number: usize, text: &mut String) {
        let created_at = FIRST_CREATED_AT + number / EVENTS_PER_SECOND;
        // Filled up to the length of a record. With a line break: escapes are part of the work.
        let mut content = format!("{CONTENT_START}{number:08}\\n");
        let around = self.signed(created_at, "").len();
        let words = "The quick brown fox jumps over the lazy dog. ".chars().cycle();
        content.extend(words.take(RECORD - around - content.len()));
        text.push_str(&self.signed(created_at, &content));
    }

    /// An event with that content, which is JSON already.
    fn signed(&self, created_at: usize, content: &str) -> String {
        let tags = r#"[["t","speed"],["client","endpoint"]]"#;
        let public_key = &self.public_key;
        let hashed = format!(r#"[0,"{public_key}",{created_at},1,{tags},"{content}"]"#);
        let id: [u8; 32] = Sha256::digest(hashed).into();
        let signature = self.keys.sign_schnorr_no_aux_rand(&id).to_byte_array();
        let (id, signature) = (hex(&id), hex(&signature));
        format!(
            r#"{{"id":"{id}","pubkey":"{public_key}","created_at":{created_at},"kind":1,"tags":{tags},"content":"{content}","sig":"{signature}"}}"#
        )
    }
}

/// Events of so many bytes each, of which next to nothing is left to be compressed.
pub(crate) fn large(count: usize, bytes: usize) -> Result<Vec<String>> {
    let author = Author::new(0)?;
    let around = author.signed(FIRST_CREATED_AT, "").len();
    let event = |number: usize| {
        let mut content = String::with_capacity(bytes);
        let mut block = Sha256::digest(format!("large event {number}"));
        while content.len() < bytes - around {
            content.push_str(&hex(&block));
            block = Sha256::digest(block);
        }
        content.truncate(bytes - around);
        author.signed(FIRST_CREATED_AT + number, &content)
    };
    Ok((0..count).map(event).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
