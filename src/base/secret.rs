//! What nobody else may guess, without drawing it.

use sha2::{Digest, Sha256};

/// Random bytes that nobody else knows. Whoever runs the state machine draws them and hands them in;
/// what must not be guessed is derived from them, so that nothing else has to be drawn.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

/// Shows nothing.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// These bytes.
    pub(crate) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Bytes for this purpose and number; others for any other. They tell nothing of the secret.
    pub(crate) fn bytes_for(&self, purpose: &str, number: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(number.to_be_bytes());
        hash.update(purpose);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_and_number_has_its_own_bytes_and_nobody_sees_the_secret() {
        let secret = Secret::new([7; 32]);
        assert_eq!(secret.bytes_for("a", 1), secret.clone().bytes_for("a", 1));
        let all = [("a", 1), ("a", 2), ("b", 1)].map(|(purpose, n)| secret.bytes_for(purpose, n));
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        assert!(secret.bytes_for("a", 1) != Secret::new([8; 32]).bytes_for("a", 1));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
