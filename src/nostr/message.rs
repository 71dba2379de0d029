//! The messages of NIP-01, both ways: what clients say, what relays say, and what is written to
//! either.
//!
//! Client messages are read in full. Of a relay's EVENT only the envelope is looked at, because
//! most are copies of events already known; see [`RelayMessage::scan`].

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::constants::MAX_SUBSCRIPTION_ID;
use crate::ids::{Origin, RelayId, RequestNumber};
use crate::nostr::count::Counted;
use crate::nostr::event::{Event, EventId};
use crate::nostr::filter::Filter;
use crate::nostr::hex;
use crate::nostr::json;
use crate::nostr::reason::{Prefix, Reason};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// `["EVENT", event]`. Nothing is checked yet but the id's form, where there is one.
    Event {
        /// The id it claims, if that can be read.
        id: Option<EventId>,
        /// The event as JSON text.
        json: Box<str>,
    },
    /// `["REQ", id, filter, …]`
    Req {
        /// 1 to 64 characters.
        id: Box<str>,
        /// One or more.
        filters: Vec<Filter>,
        /// Only from inside this process.
        resumed: Option<Resumed>,
    },
    /// `["COUNT", id, filter, …]`
    Count {
        /// 1 to 64 characters.
        id: Box<str>,
        /// One or more.
        filters: Vec<Filter>,
    },
    /// `["CLOSE", id]`
    Close {
        /// Any string.
        id: Box<str>,
    },
    /// `["AUTH", event]` (NIP-42). Nothing is checked yet but the id's form.
    Auth {
        /// The id it claims: the one to answer for.
        id: EventId,
        /// The event as JSON text.
        json: Box<str>,
    },
    /// `["NEG-CLOSE", id]` (NIP-77): the end of a sync that was never begun. It has no answer.
    NegClose,
    /// A message that gets just one answer, whatever the state: something malformed, too large or
    /// not supported.
    Refused(Reply),
}

/// A REQ goes on with an earlier one that has had its EOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Unix seconds: events since then may have been missed, or it was opened then.
    pub since: u64,
    /// Whether all that came before has been delivered. If not, it is asked for from the beginning.
    pub whole: bool,
}

impl ClientMessage {
    /// Reads a client's message. What cannot be read comes back as the answer it gets.
    pub fn parse(text: &str, max_filters: usize) -> Self {
        Self::read(text, max_filters).unwrap_or_else(Self::Refused)
    }

    /// A message that is no text.
    pub fn binary() -> Self {
        let why = Reason::new(Prefix::Invalid, "binary frames are not understood");
        Self::Refused(Reply::Notice(why.to_string()))
    }

    /// What a message over the size limit gets: refused by its id, where the first part of it,
    /// `head`, shows one.
    pub fn too_long(head: &str, max: usize) -> Self {
        let why = Reason::new(Prefix::Restricted, format_args!("message longer than {max} bytes"));
        let head = json::without_mark(head).trim_start();
        let Some(rest) = head.strip_prefix('[') else {
            return Self::Refused(Reply::Notice(why.to_string()));
        };
        let (verb, rest) = leading_string(rest).unwrap_or_default();
        let rest = rest.trim_start().strip_prefix(',').unwrap_or_default().trim_start();
        Self::Refused(match &*verb {
            "REQ" | "COUNT" => match leading_string(rest) {
                Some((id, _)) => Reply::Closed { id: id.into(), why },
                None => Reply::Notice(why.to_string()),
            },
            "EVENT" | "AUTH" => match scan_id(rest) {
                Some(id) => refusal(id, why),
                None => Reply::Notice(why.to_string()),
            },
            "NEG-OPEN" | "NEG-MSG" => match leading_string(rest) {
                Some((id, _)) => Reply::NegErr { id: id.into(), why },
                None => Reply::Notice(why.to_string()),
            },
            _ => Reply::Notice(why.to_string()),
        })
    }

    fn read(text: &str, max_filters: usize) -> Result<Self, Reply> {
        let invalid = |why: &str| Reason::new(Prefix::Invalid, why);
        let notice = |why: &str| Reply::Notice(invalid(why).to_string());
        let parts: Vec<&RawValue> = serde_json::from_str(json::without_mark(text))
            .map_err(|_| notice("a message is a JSON array"))?;
        let verb: String = parts
            .first()
            .and_then(|verb| serde_json::from_str(verb.get()).ok())
            .ok_or_else(|| notice("a message begins with its type, a string"))?;
        let id = parts.get(1).and_then(|id| serde_json::from_str::<Box<str>>(id.get()).ok());
        match verb.as_str() {
            "EVENT" => match parts.get(1) {
                Some(event) => match claimed_id(event.get()) {
                    Some(id) if hex::decode::<32>(&id).is_none() => {
                        Err(refusal(&id, invalid(NOT_LOWERCASE)))
                    }
                    id => {
                        let id = id.and_then(|id| hex::decode(&id));
                        Ok(Self::Event { id, json: event.get().into() })
                    }
                },
                None => Err(notice("EVENT carries an event")),
            },
            "REQ" | "COUNT" => {
                let id = id.ok_or_else(|| {
                    notice(&format!("{verb} carries a subscription id, a string"))
                })?;
                let closed = |why: Reason| Reply::Closed { id: id.clone(), why };
                let length = id.chars().count();
                if length == 0 || length > MAX_SUBSCRIPTION_ID {
                    return Err(closed(invalid(&format!(
                        "a subscription id has 1 to {MAX_SUBSCRIPTION_ID} characters"
                    ))));
                }
                if parts.len() < 3 {
                    return Err(closed(invalid(&format!("{verb} carries one filter or more"))));
                }
                if parts.len() - 2 > max_filters {
                    return Err(closed(Reason::new(
                        Prefix::Restricted,
                        format_args!("at most {max_filters} filters"),
                    )));
                }
                let filters: Result<_, String> =
                    parts[2..].iter().map(|filter| Filter::of_client(filter)).collect();
                match filters {
                    Ok(filters) if verb == "COUNT" => Ok(Self::Count { id, filters }),
                    Ok(filters) => Ok(Self::Req { id, filters, resumed: None }),
                    Err(why) => Err(closed(invalid(&why))),
                }
            }
            "CLOSE" => match id {
                Some(id) => Ok(Self::Close { id }),
                None => Err(notice("CLOSE carries a subscription id, a string")),
            },
            "AUTH" => {
                let event = parts.get(1).ok_or_else(|| notice("AUTH carries an event"))?;
                let id = claimed_id(event.get())
                    .ok_or_else(|| notice("AUTH carries an event with an id"))?;
                let id = hex::decode(&id).ok_or_else(|| refusal(&id, invalid(NOT_LOWERCASE)))?;
                Ok(Self::Auth { id, json: event.get().into() })
            }
            "NEG-CLOSE" if id.is_some() => Ok(Self::NegClose),
            "NEG-OPEN" | "NEG-MSG" | "NEG-CLOSE" => Err(match id {
                Some(id) if verb == "NEG-OPEN" => {
                    Reply::NegErr { id, why: Reason::new(Prefix::Blocked, NO_SYNC) }
                }
                Some(id) => Reply::NegErr { id, why: Reason::new(Prefix::Closed, NO_SUCH_SYNC) },
                None => notice(&format!("{verb} carries a subscription id, a string")),
            }),
            _ => Err(notice("unknown message type")),
        }
    }
}

const NOT_LOWERCASE: &str = "id must be 64 lowercase hex characters";
const NO_SYNC: &str = "this relay keeps no events of its own to compare with";
const NO_SUCH_SYNC: &str = "no sync of this id is open";

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An event for a subscription.
    Event {
        /// The client's own id for the subscription.
        id: Arc<str>,
        /// A verified event.
        event: Arc<Event>,
        /// Where it came from first.
        from: Origin,
    },
    /// The end of stored events.
    Eose {
        /// The client's own id for the subscription.
        id: Arc<str>,
        /// Whether that is all there is.
        hint: Hint,
    },
    /// The answer to a COUNT.
    Count {
        /// The client's own id for it.
        id: Box<str>,
        /// The answer.
        counted: Counted,
    },
    /// The answer to an EVENT.
    Ok {
        /// The event's id.
        id: EventId,
        /// Whether it is in safe hands (the one rule).
        accepted: bool,
        /// The reason; empty if there is none.
        why: Reason,
    },
    /// The same, `false`, where what the client sent as an id is one but for its case.
    NoId {
        /// As it was sent: what the client waits for.
        id: Box<str>,
        /// The reason.
        why: Reason,
    },
    /// The end of a subscription that the client did not end itself.
    Closed {
        /// The client's own id for the subscription.
        id: Box<str>,
        /// The reason.
        why: Reason,
    },
    /// A sentence for a person.
    Notice(String),
    /// Who the client is may matter: it may say so with this (NIP-42).
    Auth {
        /// To be signed. Plain text.
        challenge: Box<str>,
    },
    /// A sync (NIP-77) is refused.
    NegErr {
        /// The client's own id for it.
        id: Box<str>,
        /// The reason.
        why: Reason,
    },
    /// For clients inside this process only: whether the subscription has from every relay what it
    /// stores, and is sent what comes.
    Whole {
        /// The client's own id for the subscription.
        id: Arc<str>,
        /// Whether it is so from now on, or not.
        whole: bool,
    },
    /// Something about a relay, for clients inside this process only.
    Relay {
        /// Which.
        relay: RelayId,
        /// What.
        news: RelayNews,
    },
}

/// What an EOSE says of the stored events (NIP-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    None,
    /// The relay has no more that match.
    Finish,
    /// It has more than it sent.
    More,
}

impl Hint {
    /// Of a list of hints those that are known. Who says both says nothing.
    fn read(hints: &[String]) -> Self {
        let says = |hint| hints.iter().any(|it| it == hint);
        match (says("finish"), says("more")) {
            (true, false) => Self::Finish,
            (false, true) => Self::More,
            _ => Self::None,
        }
    }

    /// How it stands in an EOSE.
    const fn written(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Finish => ",[\"finish\"]",
            Self::More => ",[\"more\"]",
        }
    }
}

/// What clients inside this process are told about a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayNews {
    /// It takes events and subscriptions from now on.
    Connected,
    /// It has said something for people.
    Notice(Box<str>),
}

impl Reply {
    /// About how many bytes [`Reply::to_json`] takes.
    pub fn size(&self) -> usize {
        24 + match self {
            Self::Event { id, event, .. } => id.len() + event.json().len(),
            Self::Eose { id, hint } => id.len() + hint.written().len(),
            Self::Whole { id, .. } => id.len(),
            Self::Count { id, counted } => id.len() + 64 + counted.hll.as_ref().map_or(0, |_| 512),
            Self::Ok { why, .. } | Self::NoId { why, .. } => 64 + why.as_str().len(),
            Self::Closed { id, why } | Self::NegErr { id, why } => id.len() + why.as_str().len(),
            Self::Notice(text) => text.len(),
            Self::Auth { challenge } => challenge.len(),
            Self::Relay { news: RelayNews::Notice(text), .. } => text.len(),
            Self::Relay { news: RelayNews::Connected, .. } => 0,
        }
    }

    /// The message as it is sent.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.size() + 8);
        match self {
            Self::Event { id, event, .. } => {
                out.push_str("[\"EVENT\",");
                push_string(id, &mut out);
                out.push(',');
                out.push_str(event.json());
            }
            Self::Eose { id, hint } => {
                out.push_str("[\"EOSE\",");
                push_string(id, &mut out);
                out.push_str(hint.written());
            }
            Self::Count { id, counted } => {
                out.push_str("[\"COUNT\",");
                push_string(id, &mut out);
                out.push(',');
                out.push_str(&counted.to_json());
            }
            Self::Ok { id, accepted, why } => {
                out.push_str("[\"OK\",\"");
                hex::push(id, &mut out);
                out.push_str(if *accepted { "\",true," } else { "\",false," });
                push_string(why.as_str(), &mut out);
            }
            Self::NoId { id, why } => {
                out.push_str("[\"OK\",");
                push_string(id, &mut out);
                out.push_str(",false,");
                push_string(why.as_str(), &mut out);
            }
            Self::Closed { id, why } => {
                out.push_str("[\"CLOSED\",");
                push_string(id, &mut out);
                out.push(',');
                push_string(why.as_str(), &mut out);
            }
            Self::Notice(text) => {
                out.push_str("[\"NOTICE\",");
                push_string(text, &mut out);
            }
            Self::Auth { challenge } => {
                out.push_str("[\"AUTH\",");
                push_string(challenge, &mut out);
            }
            Self::NegErr { id, why } => {
                out.push_str("[\"NEG-ERR\",");
                push_string(id, &mut out);
                out.push(',');
                push_string(why.as_str(), &mut out);
            }
            // Nobody outside is sent these.
            Self::Whole { id, whole } => {
                out.push_str(if *whole { "[\"WHOLE\"," } else { "[\"BEHIND\"," });
                push_string(id, &mut out);
            }
            Self::Relay { news, .. } => {
                out.push_str("[\"RELAY\",");
                let text = match news {
                    RelayNews::Connected => "connected",
                    RelayNews::Notice(text) => text,
                };
                push_string(text, &mut out);
            }
        }
        out.push(']');
        out
    }
}

/// What a relay says. `T` is the message's own text, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayMessage<'a> {
    /// An event for a subscription.
    Event {
        /// Our number for the request; `None` for an id that is none of ours.
        number: Option<RequestNumber>,
        /// The id the event claims. Good for a drop, never for a pass.
        id: EventId,
        /// The event as JSON text.
        json: &'a str,
    },
    /// The end of stored events.
    Eose(Option<RequestNumber>, Hint),
    /// How many events match. `None`: it is no number.
    Count(Option<RequestNumber>, Option<Counted>),
    /// The end of a subscription, by the relay's will.
    Closed(Option<RequestNumber>, String),
    /// The answer to an EVENT.
    Ok(EventId, bool, String),
    /// A sentence for a person.
    Notice(String),
    /// The relay wants to know who we are, and gives the challenge to sign (NIP-42).
    Auth(String),
}

impl<'a> RelayMessage<'a> {
    /// Reads a relay's message. An EVENT in the usual form costs no JSON parser: the subscription
    /// and the claimed id are found by looking for them. What that overlooks can only make the
    /// event fail its verification later.
    ///
    /// # Errors
    /// A sentence for the relay's list of errors.
    pub fn scan(text: &'a str) -> Result<Self, &'static str> {
        if let Some(message) = Self::scan_event(text) {
            return Ok(message);
        }
        Self::parse(json::without_mark(text).trim())
    }

    /// The request whose event a message is that was too long to be read, going by its first part.
    pub(crate) fn too_long(head: &str) -> Option<RequestNumber> {
        let (verb, rest) = leading_string(head.trim_start().strip_prefix('[')?)?;
        let (number, _) = leading_string(rest.trim_start().strip_prefix(',')?)?;
        RequestNumber::read(&number).filter(|_| verb == "EVENT")
    }

    fn scan_event(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("[\"EVENT\",\"")?;
        let (subscription, json) = rest.split_once("\",")?;
        let json = json.strip_suffix(']')?;
        // Whatever stands behind the event is not read for a part of it.
        let is_all =
            json.ends_with('}') && memchr::memchr_iter(b'{', json.as_bytes()).nth(1).is_none();
        let id = hex::decode(scan_id(json)?).filter(|_| is_all)?;
        Some(Self::Event { number: RequestNumber::read(subscription), id, json })
    }

    fn parse(text: &'a str) -> Result<Self, &'static str> {
        let malformed = "sent a malformed message";
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| malformed)?;
        let string = |at: usize| {
            parts.get(at).and_then(|part| serde_json::from_str::<String>(part.get()).ok())
        };
        let number = || string(1).and_then(|id| RequestNumber::read(&id));
        match string(0).as_deref() {
            Some("EVENT") => {
                let json = parts.get(2).ok_or(malformed)?.get();
                let id = claimed_id(json)
                    .and_then(|id| hex::decode(&id))
                    .ok_or("sent an event without an id")?;
                Ok(Self::Event { number: number(), id, json })
            }
            Some("EOSE") => {
                let hints: Option<Vec<String>> =
                    parts.get(2).and_then(|hints| serde_json::from_str(hints.get()).ok());
                Ok(Self::Eose(number(), Hint::read(&hints.unwrap_or_default())))
            }
            Some("COUNT") => {
                let counted = parts.get(2).and_then(|counted| Counted::parse(counted.get()));
                Ok(Self::Count(number(), counted))
            }
            Some("CLOSED") => Ok(Self::Closed(number(), string(2).unwrap_or_default())),
            Some("OK") => {
                let id = string(1).and_then(|id| hex::decode(&id)).ok_or(malformed)?;
                let accepted = match parts.get(2).map(|part| part.get()) {
                    Some("true") => true,
                    Some("false") => false,
                    _ => return Err(malformed),
                };
                Ok(Self::Ok(id, accepted, string(3).unwrap_or_default()))
            }
            Some("NOTICE") => Ok(Self::Notice(string(1).unwrap_or_default())),
            Some("AUTH") => Ok(Self::Auth(string(1).ok_or(malformed)?)),
            Some(_) => Err("sent a message of an unknown type"),
            None => Err(malformed),
        }
    }
}

/// `["REQ", …]` for a relay, under our own number. `filters` are JSON objects.
pub(crate) fn req<'a>(number: RequestNumber, filters: impl Iterator<Item = &'a str>) -> String {
    query("REQ", number, filters)
}

/// `["COUNT", …]` for a relay, the same.
pub(crate) fn count<'a>(number: RequestNumber, filters: impl Iterator<Item = &'a str>) -> String {
    query("COUNT", number, filters)
}

fn query<'a>(verb: &str, number: RequestNumber, filters: impl Iterator<Item = &'a str>) -> String {
    let mut out = format!("[\"{verb}\",\"{number}\"");
    for filter in filters {
        out.push(',');
        out.push_str(filter);
    }
    out.push(']');
    out
}

/// `["CLOSE", …]` for a relay.
pub(crate) fn close(number: RequestNumber) -> String {
    format!("[\"CLOSE\",\"{number}\"]")
}

/// `["EVENT", …]` for a relay.
pub(crate) fn publish(event: &Event) -> String {
    format!("[\"EVENT\",{}]", event.json())
}

/// `["AUTH", …]` for a relay: our answer to its challenge, a signed event as JSON text.
pub(crate) fn auth(event: &str) -> String {
    format!("[\"AUTH\",{event}]")
}

/// An EVENT or AUTH is refused by its id, as it was sent.
fn refusal(id: &str, why: Reason) -> Reply {
    match hex::decode(id) {
        Some(id) => Reply::Ok { id, accepted: false, why },
        None => Reply::NoId { id: id.into(), why },
    }
}

/// The `id` of an event given as JSON, read properly, if it is one but for its case.
fn claimed_id(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    if let Some(id) = scan_id(json) {
        return Some(id.into());
    }
    let Event { id } =
        serde_json::from_str(Some(json).filter(|json| json::is_object(json))?).ok()?;
    Some(id).filter(|id| is_id(id))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The first `"id":"…"` of a JSON object, where that is surely the outermost object's: no other
/// brace comes before it, and it does not begin with an escaped quote.
fn scan_id(json: &str) -> Option<&str> {
    let at = memchr::memmem::find(json.as_bytes(), b"\"id\":\"")?;
    let before = json.as_bytes()[..at].trim_ascii_start().strip_prefix(b"{")?;
    let is_outermost = memchr::memchr(b'{', before).is_none();
    let is_name = before.last() != Some(&b'\\');
    json.get(at + 6..at + 70).filter(|id| is_id(id) && is_outermost && is_name)
}

/// The date an event given as JSON claims, in unix seconds: only good for its place among others. No
/// string can hold what is looked for, since its quotes would be escaped.
pub(crate) fn scan_date(json: &[u8]) -> Option<u64> {
    let name = "\"created_at\":";
    let at = memchr::memmem::find(json, name.as_bytes())?;
    let digits = json.get(at + name.len()..)?.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// A JSON string at the start of `text`, and what follows it.
fn leading_string(text: &str) -> Option<(String, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = values.next()?.ok()?;
    Some((string, &text[values.byte_offset()..]))
}

fn push_string(text: &str, out: &mut String) {
    // Plain text, which nearly all of it is, needs no escaping.
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A string always serialises; an empty one would still be valid JSON.
        out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
    }
}

#[cfg(test)]
mod tests;
