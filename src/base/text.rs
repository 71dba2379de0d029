//! A part of a text as it came over a line: shared with the line's buffer, not copied.

use bytes::Bytes;

/// Bytes of a text that was found to be UTF-8 as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Text(Bytes);

impl Text {
    /// `part` of the text that is in `whole`. None of it, if it is no part of that text.
    pub(crate) fn part(whole: &Bytes, part: &str) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let is_within = start <= whole.len() && part.len() <= whole.len() - start;
        Self(if is_within { whole.slice(start..start + part.len()) } else { Bytes::new() })
    }

    /// Its UTF-8.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A copy that keeps no buffer alive.
    pub(crate) fn copied(&self) -> Box<str> {
        // Whole characters are in it, since it was cut as a `str`.
        str::from_utf8(&self.0).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_just_that_part() {
        let whole = Bytes::from_static("[\"EVENT\",{\"ä\":1}]".as_bytes());
        let text = str::from_utf8(&whole).unwrap();
        let part = Text::part(&whole, &text[9..18]);
        assert_eq!(part.as_bytes(), "{\"ä\":1}]".as_bytes());
        assert_eq!(&*part.copied(), "{\"ä\":1}]");
        assert_eq!(&*Text::part(&whole, &text[18..]).copied(), "");
        assert_eq!(&*Text::part(&whole, "from elsewhere").copied(), "");
    }
}
