//! JSON as it comes from peers, where serde's derived readers say too little or take too much: they
//! take a list of values for an object, and tell what is wrong in words of Rust.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object in their order, those that stand there twice too. `None`: it is none.
pub(crate) fn fields(text: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Fields;

    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some(field) = map.next_entry()? {
                fields.push(field);
            }
            Ok(fields)
        }
    }

    let mut json = serde_json::Deserializer::from_str(text);
    let fields = json.deserialize_map(Fields).ok()?;
    json.end().ok()?;
    Some(fields)
}

/// Whether a JSON text is an object's.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

/// Without the byte order mark that some put before a text (RFC 8259 lets a reader skip it).
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
