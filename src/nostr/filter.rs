//! NIP-01 filters: read once, matched against every event, written to relays as the client sent
//! them, or narrowed for a repeated REQ.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::nostr::event::{Event, EventId, KIND_GIFT_WRAP, is_ephemeral};
use crate::nostr::hex;
use crate::nostr::json;

/// One filter. A field that is `None` accepts everything.
///
/// An empty list accepts nothing: the filter is then [`Filter::matches_nothing`] and no relay is
/// asked. `search` (NIP-50) is the relay's to judge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Sorted.
    pub ids: Option<Vec<EventId>>,
    /// Sorted.
    pub authors: Option<Vec<[u8; 32]>>,
    /// Sorted.
    pub kinds: Option<Vec<u16>>,
    /// Tag name, one letter, and sorted values; all of them must be met.
    pub tags: Vec<(Box<str>, Vec<Box<str>>)>,
    /// Unix seconds, inclusive.
    pub since: Option<u64>,
    /// Unix seconds, inclusive.
    pub until: Option<u64>,
    /// How many stored events at most.
    pub limit: Option<u64>,
    /// NIP-50, for the relay to judge.
    pub search: Option<Box<str>>,
    /// The filter as the client wrote it.
    pub json: Box<str>,
}

impl Filter {
    /// Reads one filter as a client sends it: NIP-01 has the values of `#e` and `#p` be ids and
    /// keys, and relays that insist would refuse the whole REQ for one that is none.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_client(raw: &RawValue) -> Result<Self, String> {
        let filter = Self::parse(raw)?;
        let is_hex = |value: &str| hex::decode::<32>(value).is_some();
        for (name, values) in &filter.tags {
            if matches!(&**name, "e" | "p") && !values.iter().all(|value| is_hex(value)) {
                return Err(no_hex_list(&format!("#{name}")));
            }
        }
        Ok(filter)
    }

    /// Reads one filter.
    ///
    /// # Errors
    /// A sentence saying which field is wrong, to follow `invalid: `.
    pub fn parse(raw: &RawValue) -> Result<Self, String> {
        let fields =
            json::fields(raw.get()).ok_or_else(|| "a filter must be an object".to_owned())?;
        let mut filter = Self { json: raw.get().into(), ..Self::default() };
        for (at, (name, value)) in fields.iter().enumerate() {
            // Which of the two counts, every relay would decide for itself.
            if fields[..at].iter().any(|(before, _)| before == name) {
                return Err(format!("a filter has {} only once", shown(name)));
            }
            // What cannot be read, as it is too deep, is of no field's type.
            let value = &serde_json::from_str(value.get()).unwrap_or_default();
            match name.as_str() {
                "ids" => filter.ids = Some(sorted(hex_list(name, value)?)),
                "authors" => filter.authors = Some(sorted(hex_list(name, value)?)),
                "kinds" => filter.kinds = Some(sorted(list(name, value, kind)?)),
                "since" => filter.since = Some(number(name, value)?),
                "until" => filter.until = Some(number(name, value)?),
                "limit" => filter.limit = Some(number(name, value)?),
                "search" => {
                    let text = value.as_str().ok_or("search must be a string")?;
                    filter.search = Some(text.into());
                }
                _ => match name.strip_prefix('#') {
                    Some(tag) if matches!(tag.as_bytes(), [letter] if letter.is_ascii_alphabetic()) =>
                    {
                        let values = list(name, value, |value| value.as_str().map(Into::into))?;
                        filter.tags.push((tag.into(), sorted(values)));
                    }
                    _ => return Err(format!("unknown filter field {}", shown(name))),
                },
            }
        }
        filter.tags.sort_unstable();
        Ok(filter)
    }

    /// Whether the event meets every field but `limit` and `search`.
    pub fn matches(&self, event: &Event) -> bool {
        among(self.ids.as_deref(), event.id())
            && among(self.authors.as_deref(), event.pubkey())
            && among(self.kinds.as_deref(), &event.kind())
            && self.since.is_none_or(|since| event.created_at() >= since)
            && self.until.is_none_or(|until| event.created_at() <= until)
            && self.tags.iter().all(|(name, values)| {
                event.tags().iter().any(|tag| {
                    let value = tag.value.as_ref().filter(|_| tag.name == *name);
                    value.is_some_and(|value| values.binary_search(value).is_ok())
                })
            })
    }

    /// Whether no event can ever match.
    pub fn matches_nothing(&self) -> bool {
        self.ids.as_ref().is_some_and(Vec::is_empty)
            || self.authors.as_ref().is_some_and(Vec::is_empty)
            || self.kinds.as_ref().is_some_and(Vec::is_empty)
            || self.tags.iter().any(|(_, values)| values.is_empty())
            || !self.reaches(self.since)
    }

    /// How many stored events it can have at most, where that is known: its limit, or one for each
    /// of its ids.
    pub fn most(&self) -> Option<u64> {
        let ids = self.ids.as_ref().map(|ids| ids.len() as u64);
        [self.limit, ids].into_iter().flatten().min()
    }

    /// Whether gift wraps (NIP-59), with their dates set back, can match.
    pub fn takes_gift_wraps(&self) -> bool {
        among(self.kinds.as_deref(), &KIND_GIFT_WRAP)
    }

    /// Whether it asks for ephemeral kinds alone, which relays do not store.
    pub fn is_ephemeral(&self) -> bool {
        let kinds = self.kinds.as_deref().unwrap_or_default();
        !kinds.is_empty() && kinds.iter().all(|kind| is_ephemeral(*kind))
    }

    /// Whether this is a client's liveness ping (rule 3.9): ids nobody has, asked for once.
    /// nostr-tools sends the id `aaaa…` with `limit` 1, earlier versions with `limit` 0.
    pub fn is_ping(&self) -> bool {
        let Some(ids) = &self.ids else { return false };
        match self.limit {
            Some(0) => true,
            Some(1) => ids.iter().all(|id| id.iter().all(|byte| *byte == 0xaa)),
            _ => false,
        }
    }

    /// Whether it asks for anything from this date on.
    pub fn reaches(&self, since: Option<u64>) -> bool {
        !matches!((since, self.until), (Some(since), Some(until)) if until < since)
    }

    /// The filter for a REQ that repeats an earlier one: no `limit`, and this `since` if it is to have
    /// another. `None` where that leaves nothing to ask for.
    pub fn repeated(&self, since: Option<u64>) -> Option<String> {
        if !self.reaches(since) {
            return None;
        }
        let mut fields: Map<String, Value> = serde_json::from_str(&self.json).ok()?;
        fields.remove("limit");
        if let Some(since) = since {
            fields.insert("since".to_owned(), since.into());
        }
        Some(Value::Object(fields).to_string())
    }

    /// The same as a filter.
    pub(crate) fn again(&self, since: Option<u64>) -> Option<Self> {
        let json = self.repeated(since)?.into();
        let since = since.or(self.since);
        Some(Self { since, limit: None, json, ..self.clone() })
    }
}

/// A filter over so many times what a relay takes is not divided. Two long lists make many more pieces, since
/// each of one goes with each of the other.
const PIECES_MOST: usize = 8;

/// A filter, as JSON, in several that fit into so many bytes each and match the same together: its longest
/// list is divided. As it is where it fits, where no list is left to divide, where it searches (the order of
/// what is found is that of the whole), and where it is longer than [`PIECES_MOST`] of them.
pub(crate) fn in_pieces(json: &str, most: usize) -> Vec<String> {
    let whole = || vec![json.to_owned()];
    if json.len() <= most || json.len() > most.saturating_mul(PIECES_MOST) {
        return whole();
    }
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(json) else { return whole() };
    let lists = fields.iter().filter_map(|(name, value)| Some((name, value.as_array()?)));
    let Some((name, values)) = lists.max_by_key(|(_, values)| values.len()) else { return whole() };
    if values.len() < 2 || fields.contains_key("search") {
        return whole();
    }
    let pieces = json.len().div_ceil(most).min(values.len());
    let piece = |values: &[Value]| {
        let mut piece = fields.clone();
        piece.insert(name.clone(), values.into());
        in_pieces(&Value::Object(piece).to_string(), most)
    };
    values.chunks(values.len().div_ceil(pieces)).flat_map(piece).collect()
}

fn among<T: Ord>(accepted: Option<&[T]>, value: &T) -> bool {
    accepted.is_none_or(|accepted| accepted.binary_search(value).is_ok())
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

fn list<T>(
    name: &str,
    value: &Value,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, String> {
    value.as_array().and_then(|values| values.iter().map(read).collect()).ok_or_else(
        || match name {
            "kinds" => "kinds must be a list of whole numbers from 0 to 65535".to_owned(),
            "ids" | "authors" => no_hex_list(name),
            _ => format!("{} must be a list of strings", shown(name)),
        },
    )
}

fn no_hex_list(name: &str) -> String {
    format!("{name} must be a list of strings of 64 lowercase hex characters")
}

fn hex_list(name: &str, value: &Value) -> Result<Vec<[u8; 32]>, String> {
    list(name, value, |value| hex::decode(value.as_str()?))
}

fn kind(value: &Value) -> Option<u16> {
    value.as_u64()?.try_into().ok()
}

fn number(name: &str, value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{name} must be a whole number from 0 to {}", u64::MAX))
}

/// A client's own text, cut to a length fit for an answer.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
pub(crate) mod tests;
