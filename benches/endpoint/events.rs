//! Signed kind-1 events of one size, the same in every run.
//!
//! Signing a million events takes half a minute, so they are kept in one file under the target
//! folder: records of `RECORD` bytes without separators, event `n` at `n * RECORD`. A run that
//! needs more than the file has signs the rest with all cores and appends it.

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
pub(crate) const RECORD: usize = 688;
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
}

impl Events {
    pub(crate) fn len(&self) -> usize {
        self.text.len() / RECORD
    }

    /// JSON text of the event at `position`, counted from 0.
    pub(crate) fn get(&self, position: usize) -> &str {
        &self.text[position * RECORD..(position + 1) * RECORD]
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
    /// Open the file and bring it up to `total` events.
    pub(crate) fn open(total: usize) -> Result<Self> {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("events-v{VERSION}"));
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut present = records(&file)?;
        // A record cut short by an interrupted run is written again.
        file.set_len((present * RECORD) as u64)?;
        file.seek(SeekFrom::End(0))?;
        if present < total {
            eprintln!("signing {} events, once, into {}", total - present, path.display());
        }
        while present < total {
            let chunk = present..total.min(present + CHUNK);
            present = chunk.end;
            for part in sign_on_all_cores(&chunk)? {
                file.write_all(part.as_bytes())?;
            }
        }
        Ok(Self { file, next: 0 })
    }

    /// The next `count` events nobody had in this run.
    pub(crate) fn take(&mut self, count: usize) -> Result<Events> {
        let first = self.next;
        let mut bytes = vec![0; count * RECORD];
        self.file.seek(SeekFrom::Start((first * RECORD) as u64))?;
        self.file.read_exact(&mut bytes)?;
        self.next += count;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        let events = Events { text: Arc::new(text), first };
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
        let tags = r#"[["t","speed"],["client","endpoint"]]"#;
        let public_key = &self.public_key;
        let before = format!(
            r#""pubkey":"{public_key}","created_at":{created_at},"kind":1,"tags":{tags},"content":""#
        );
        // Filled up to the length of a record. With a line break: escapes are part of the work.
        let mut content = format!("{CONTENT_START}{number:08}\\n");
        let around = r#"{"id":"","#.len() + 64 + before.len() + r#"","sig":""}"#.len() + 128;
        let words = "The quick brown fox jumps over the lazy dog. ".chars().cycle();
        content.extend(words.take(RECORD - around - content.len()));

        let hashed = format!(r#"[0,"{public_key}",{created_at},1,{tags},"{content}"]"#);
        let id: [u8; 32] = Sha256::digest(hashed).into();
        let signature = self.keys.sign_schnorr_no_aux_rand(&id).to_byte_array();
        let (id, signature) = (hex(&id), hex(&signature));
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{{"id":"{id}",{before}{content}","sig":"{signature}"}}"#);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
