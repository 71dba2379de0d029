//! A Nostr event as NIP-01 defines it: its shape, its serialisation and its id.
//!
//! An [`Event`] is made by [`Unverified::verify`] and in no other way, so whoever holds one holds a
//! verified one. It keeps the JSON text it came in, which is what is delivered.

use std::borrow::Cow;

use secp256k1::XOnlyPublicKey;
use secp256k1::schnorr::{self, Signature};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::nostr::hex;
use crate::nostr::json;

/// An event's id: the SHA-256 of its NIP-01 serialisation.
pub type EventId = [u8; 32];

/// Kind of a NIP-42 authentication event: for relays, never published.
pub(crate) const KIND_AUTH: u16 = 22_242;
/// Kinds of reposts (NIP-18), which carry the event they are about as JSON text.
const KINDS_REPOST: [u16; 2] = [6, 16];
/// Kind of a NIP-59 gift wrap, whose `created_at` is set back on purpose.
pub(crate) const KIND_GIFT_WRAP: u16 = 1_059;

/// Whether relays do not store events of this kind (NIP-01, NIP-16).
pub(crate) const fn is_ephemeral(kind: u16) -> bool {
    kind >= 20_000 && kind < 30_000
}

/// Why a text is no valid event. The texts follow `invalid: ` in answers to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// No JSON object with the seven fields in their types.
    #[error("not a Nostr event: {0}")]
    Shape(Cow<'static, str>),
    /// A field that must be lowercase hex of a fixed length is not.
    #[error("{0} must be {1} lowercase hex characters")]
    Hex(&'static str, usize),
    /// `id` is not the hash of the event.
    #[error("id is not the hash of the event")]
    Id,
    /// The signature does not fit the id and the public key.
    #[error("signature does not match")]
    Signature,
}

/// A tag as filters look at it: its name and its first value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The first element, for example `e`.
    pub name: Box<str>,
    /// The second element, where there is one.
    pub value: Option<Box<str>>,
}

/// A verified event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    id: EventId,
    pubkey: [u8; 32],
    created_at: u64,
    kind: u16,
    tags: Vec<Tag>,
    guardians: Box<[[u8; 32]]>,
    json: Box<str>,
}

impl Event {
    /// SHA-256 of the NIP-01 serialisation.
    pub const fn id(&self) -> &EventId {
        &self.id
    }

    /// x-only public key of the author, who has signed it.
    pub const fn pubkey(&self) -> &[u8; 32] {
        &self.pubkey
    }

    /// Unix seconds, as the author says.
    pub const fn created_at(&self) -> u64 {
        self.created_at
    }

    /// The event's kind.
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// Names and first values of all tags, in order.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The event as JSON text, as it came in.
    pub const fn json(&self) -> &str {
        &self.json
    }

    /// One that nobody has checked, or signed.
    #[cfg(test)]
    pub(crate) fn unverified_for_tests(
        id: EventId,
        pubkey: [u8; 32],
        created_at: u64,
        kind: u16,
        tags: Vec<Tag>,
        json: &str,
    ) -> Self {
        let guardians = Box::default();
        Self { id, pubkey, created_at, kind, tags, guardians, json: json.into() }
    }

    /// NIP-40: unix seconds after which the event must not be delivered.
    pub fn expiration(&self) -> Option<u64> {
        self.tags
            .iter()
            .find(|tag| &*tag.name == "expiration")
            .and_then(|tag| tag.value.as_ref()?.parse().ok())
    }

    /// NIP-70: those without whom it may not be published. Its author, if it is protected, and the
    /// author of a protected event that it reposts.
    pub fn guardians(&self) -> &[[u8; 32]] {
        &self.guardians
    }
}

/// The seven fields, checked for their types and their hex, with nothing said yet about truth.
#[derive(Debug)]
pub struct Unverified<'a> {
    /// The id it claims.
    pub id: EventId,
    /// The author it claims.
    pub pubkey: [u8; 32],
    /// The BIP-340 signature it carries.
    pub sig: [u8; 64],
    pubkey_hex: Cow<'a, str>,
    created_at: u64,
    kind: u16,
    tags: &'a RawValue,
    content: &'a RawValue,
    json: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    pubkey: Cow<'a, str>,
    created_at: u64,
    kind: u16,
    #[serde(borrow)]
    tags: &'a RawValue,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Lenient<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    pubkey: Cow<'a, str>,
    created_at: u64,
    kind: u16,
    #[serde(borrow)]
    tags: &'a RawValue,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

impl<'a> Unverified<'a> {
    /// Reads the seven fields. Fields beyond them are dropped, since no signature covers them.
    ///
    /// # Errors
    /// [`EventError::Shape`] or [`EventError::Hex`].
    pub fn parse(text: &'a str) -> Result<Self, EventError> {
        // Derived readers take a list of values for an object.
        if !json::is_object(text) {
            return Err(misshapen(text));
        }
        let (wire, extra_fields) = match serde_json::from_str::<Strict>(text) {
            Ok(wire) => (wire, false),
            Err(_) => match serde_json::from_str::<Lenient>(text) {
                Ok(Lenient { id, pubkey, created_at, kind, tags, content, sig }) => {
                    (Strict { id, pubkey, created_at, kind, tags, content, sig }, true)
                }
                Err(_) => return Err(misshapen(text)),
            },
        };
        if !wire.content.get().starts_with('"') {
            return Err(EventError::Shape(NO_TEXT.into()));
        }
        let id = hex::decode(&wire.id).ok_or(EventError::Hex("id", 64))?;
        let pubkey = hex::decode(&wire.pubkey).ok_or(EventError::Hex("pubkey", 64))?;
        let sig = hex::decode(&wire.sig).ok_or(EventError::Hex("sig", 128))?;
        let json = if extra_fields { Cow::Owned(rewrite(&wire)) } else { Cow::Borrowed(text) };
        Ok(Self {
            id,
            pubkey,
            sig,
            pubkey_hex: wire.pubkey,
            created_at: wire.created_at,
            kind: wire.kind,
            tags: wire.tags,
            content: wire.content,
            json,
        })
    }

    /// Checks the id and the signature: the event, now known to be true.
    ///
    /// # Errors
    /// [`EventError::Id`] or [`EventError::Signature`]; or [`EventError::Shape`] where `tags` is not a
    /// list of lists of strings.
    pub(crate) fn verify(self) -> Result<Event, EventError> {
        let signature = Signature::from_byte_array(self.sig);
        let event = self.with_true_id()?;
        XOnlyPublicKey::from_byte_array(event.pubkey)
            .and_then(|author| schnorr::verify(&signature, &event.id, &author))
            .map_err(|_| EventError::Signature)?;
        Ok(event)
    }

    fn with_true_id(self) -> Result<Event, EventError> {
        // Texts written the way NIP-01 serialises can be hashed as they stand. Others are read and
        // written again: `\u00e9` for `é` is good JSON, but not what the author hashed.
        let (tags, id) = match canonical_tags(self.tags.get()) {
            Some(tags) if is_canonical_string(self.content.get()) => {
                (tags, self.hash(self.tags.get(), self.content.get()))
            }
            _ => self.read_and_hash()?,
        };
        if id != self.id {
            return Err(EventError::Id);
        }
        Ok(Event {
            id,
            pubkey: self.pubkey,
            created_at: self.created_at,
            kind: self.kind,
            guardians: self.guardians(&tags),
            tags,
            json: self.json.into_owned().into_boxed_str(),
        })
    }

    fn read_and_hash(&self) -> Result<(Vec<Tag>, EventId), EventError> {
        let shape = |why: &'static str| EventError::Shape(why.into());
        let tags: Vec<Vec<Cow<str>>> =
            serde_json::from_str(self.tags.get()).map_err(|_| shape(NO_TAGS))?;
        let content: Cow<str> =
            serde_json::from_str(self.content.get()).map_err(|_| shape(NO_TEXT))?;
        let id = self.hash(
            &serde_json::to_string(&tags).map_err(|_| shape(NO_TAGS))?,
            &serde_json::to_string(&content).map_err(|_| shape(NO_TEXT))?,
        );
        let tags = tags
            .iter()
            .filter_map(|tag| {
                let (name, values) = tag.split_first()?;
                let value = values.first().map(|value| (**value).into());
                Some(Tag { name: (**name).into(), value })
            })
            .collect();
        Ok((tags, id))
    }

    /// See [`Event::guardians`].
    fn guardians(&self, tags: &[Tag]) -> Box<[[u8; 32]]> {
        let protected = tags.iter().any(|tag| &*tag.name == "-");
        let mut guardians = Vec::from_iter(protected.then_some(self.pubkey));
        if KINDS_REPOST.contains(&self.kind)
            && let Ok(text) = serde_json::from_str::<String>(self.content.get())
        {
            add_guardians(&text, &mut guardians);
        }
        guardians.into()
    }

    fn hash(&self, tags: &str, content: &str) -> EventId {
        let mut hash = Sha256::new();
        hash.update("[0,\"");
        hash.update(&*self.pubkey_hex);
        hash.update(format!("\",{},{},", self.created_at, self.kind));
        hash.update(tags);
        hash.update(",");
        hash.update(content);
        hash.update("]");
        hash.finalize().into()
    }
}

/// What an event's id is the hash of (NIP-01): lowercase hex public key, unix seconds, kind, tags,
/// content.
///
/// # Errors
/// None in practice: strings always serialise.
pub(crate) fn serialize(
    pubkey_hex: &str,
    created_at: u64,
    kind: u16,
    tags: &[Vec<String>],
    content: &str,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&(0, pubkey_hex, created_at, kind, tags, content))
}

/// The id of an event with these fields, as [`serialize`] takes them.
///
/// # Errors
/// None in practice: strings always serialise.
pub fn event_id(
    pubkey_hex: &str,
    created_at: u64,
    kind: u16,
    tags: &[Vec<String>],
    content: &str,
) -> Result<EventId, serde_json::Error> {
    let text = serialize(pubkey_hex, created_at, kind, tags, content)?;
    Ok(Sha256::digest(text).into())
}

fn rewrite(wire: &Strict) -> String {
    format!(
        r#"{{"id":"{}","pubkey":"{}","created_at":{},"kind":{},"tags":{},"content":{},"sig":"{}"}}"#,
        wire.id, wire.pubkey, wire.created_at, wire.kind, wire.tags, wire.content, wire.sig
    )
}

const NO_OBJECT: &str = "it must be a JSON object";
const NO_TAGS: &str = "tags must be a list of lists of strings";
const NO_TEXT: &str = "content must be a string";

/// What is wrong with a text whose seven fields cannot be read.
fn misshapen(text: &str) -> EventError {
    let Some(fields) = json::fields(text) else { return EventError::Shape(NO_OBJECT.into()) };
    for name in ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"] {
        let mut found = fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
        let (Some(value), None) = (found.next(), found.next()) else {
            return EventError::Shape(format!("it must have {name} once").into());
        };
        let (is_right, wanted) = match name {
            "created_at" => (
                serde_json::from_str::<u64>(value.get()).is_ok(),
                format!("a whole number from 0 to {}", u64::MAX),
            ),
            "kind" => (
                serde_json::from_str::<u16>(value.get()).is_ok(),
                format!("a whole number from 0 to {}", u16::MAX),
            ),
            "tags" | "content" => continue,
            _ => (serde_json::from_str::<Cow<str>>(value.get()).is_ok(), "a string".to_owned()),
        };
        if !is_right {
            return EventError::Shape(format!("{name} must be {wanted}").into());
        }
    }
    EventError::Shape("it cannot be read".into())
}

/// Adds the author of the event that a repost carries, if that one is protected, and so on if it is a
/// repost itself. Nothing about it is checked: where it is not true there is nothing to protect, and the
/// repost no loss.
fn add_guardians(carried: &str, guardians: &mut Vec<[u8; 32]>) {
    // Of a field that stands there twice the last one counts, as for most clients.
    let Ok(Value::Object(event)) = serde_json::from_str(carried) else { return };
    let text = |name| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let tags = event.get("tags").and_then(Value::as_array);
    if tags.into_iter().flatten().any(|tag| tag.get(0).is_some_and(|name| name == "-")) {
        guardians.extend(hex::decode(text("pubkey")));
    }
    let kind = event.get("kind").and_then(Value::as_u64);
    if KINDS_REPOST.iter().any(|repost| kind == Some((*repost).into())) {
        // Shorter each time, by its own quotes at least.
        add_guardians(text("content"), guardians);
    }
}

/// Reads `[["name","value",…],…]` written without white space and with canonical strings.
/// `None` where it is anything else, which may still be valid JSON.
fn canonical_tags(text: &str) -> Option<Vec<Tag>> {
    let mut rest = text.strip_prefix('[')?;
    let mut tags = Vec::new();
    if rest == "]" {
        return Some(tags);
    }
    loop {
        rest = rest.strip_prefix('[')?;
        let mut elements = 0;
        let mut tag = Tag { name: "".into(), value: None };
        if let Some(after) = rest.strip_prefix(']') {
            rest = after;
        } else {
            loop {
                let end = canonical_string_end(rest)?;
                match elements {
                    0 => tag.name = unescape(&rest[..end])?,
                    1 => tag.value = Some(unescape(&rest[..end])?),
                    _ => {}
                }
                elements += 1;
                rest = &rest[end..];
                if let Some(after) = rest.strip_prefix(',') {
                    rest = after;
                } else {
                    rest = rest.strip_prefix(']')?;
                    break;
                }
            }
        }
        if elements > 0 {
            tags.push(tag);
        }
        if rest == "]" {
            return Some(tags);
        }
        rest = rest.strip_prefix(',')?;
    }
}

fn is_canonical_string(text: &str) -> bool {
    canonical_string_end(text) == Some(text.len())
}

/// The length of the JSON string at the start of `text`, quotes included, if it escapes just what
/// NIP-01 escapes: `\" \\ \n \r \t \b \f`, and other control characters as `\u00xx`, which is how
/// every known implementation writes them.
fn canonical_string_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        match bytes.get(at + 1)? {
            b'"' | b'\\' | b'n' | b'r' | b't' | b'b' | b'f' => at += 2,
            b'u' => {
                let code: [u8; 2] = hex::decode(text.get(at + 2..at + 6)?)?;
                let short_form = matches!(code[1], 8 | 9 | 10 | 12 | 13);
                if code[0] != 0 || code[1] >= 0x20 || short_form {
                    return None;
                }
                at += 6;
            }
            _ => return None,
        }
    }
}

/// The string a JSON string literal stands for.
fn unescape(literal: &str) -> Option<Box<str>> {
    let inner = &literal[1..literal.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(inner.into());
    }
    serde_json::from_str::<String>(literal).ok().map(String::into_boxed_str)
}

#[cfg(test)]
mod tests;
