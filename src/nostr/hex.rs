//! Lowercase hex of a fixed length, the only form NIP-01 knows for ids, keys and signatures.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Decodes exactly `N` bytes; `None` for a wrong length or any character but `0-9a-f`.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

/// Appends the hex of `bytes` to `out`.
pub fn push(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The hex of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push(bytes, &mut out);
    out
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lowercase_of_the_right_length() {
        assert_eq!(decode::<2>("00ff"), Some([0, 255]));
        assert_eq!(decode::<2>("00FF"), None);
        assert_eq!(decode::<2>("00f"), None);
        assert_eq!(decode::<2>("00fg"), None);
        assert_eq!(decode::<1>("é"), None);
        assert_eq!(encode(&[1, 171]), "01ab");
    }
}
