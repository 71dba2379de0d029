//! NIP-04: the content of a direct message, `<base64>?iv=<base64>`, AES-256 in CBC mode.
//!
//! Called by [`Keys`](super::Keys), which brings the secret that both ends can make.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};

use crate::constants::MAX_NIP04_CONTENT;

const SEPARATOR: &str = "?iv=";
const BLOCK: usize = 16;

/// Why a direct message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    /// Longer than [`MAX_NIP04_CONTENT`].
    #[error("The message is too long to be decrypted.")]
    Long,
    /// No `?iv=`.
    #[error("The message is not encrypted as NIP-04 says: ?iv= is missing.")]
    Form,
    /// One of the halves is no base64, to the letter.
    #[error("The message is not encrypted as NIP-04 says: it is not base64.")]
    Base64,
    /// The second half has another length than 16 bytes.
    #[error("The message is not encrypted as NIP-04 says: its iv must be 16 bytes.")]
    Iv,
    /// The first half has a length that no encryption gives.
    #[error("The message is not encrypted as NIP-04 says: it must be whole blocks of 16 bytes.")]
    Blocks,
    /// Wrong padding, or no UTF-8. Which of them is not told: answers that tell them apart help
    /// someone who sends damaged copies of a message to find out its text.
    #[error("The message was not encrypted for these keys, or it is damaged.")]
    Keys,
}

/// The content for this text.
pub(super) fn encrypt(secret: [u8; 32], iv: [u8; BLOCK], text: &str) -> String {
    let encrypted = cbc::Encryptor::<Aes256>::new(&secret.into(), &iv.into())
        .encrypt_padded_vec::<Pkcs7>(text.as_bytes());
    format!("{}{SEPARATOR}{}", STANDARD.encode(encrypted), STANDARD.encode(iv))
}

/// The text of this content.
pub(super) fn decrypt(secret: [u8; 32], content: &str) -> Result<String, MessageError> {
    if content.len() > MAX_NIP04_CONTENT {
        return Err(MessageError::Long);
    }
    let (encrypted, iv) = content.split_once(SEPARATOR).ok_or(MessageError::Form)?;
    let iv = STANDARD.decode(iv).map_err(|_| MessageError::Base64)?;
    let iv: [u8; BLOCK] = iv.try_into().map_err(|_| MessageError::Iv)?;
    let encrypted = STANDARD.decode(encrypted).map_err(|_| MessageError::Base64)?;
    // An empty text is a block of padding.
    if encrypted.is_empty() || encrypted.len() % BLOCK != 0 {
        return Err(MessageError::Blocks);
    }
    let text = cbc::Decryptor::<Aes256>::new(&secret.into(), &iv.into())
        .decrypt_padded_vec::<Pkcs7>(&encrypted)
        .map_err(|_| MessageError::Keys)?;
    String::from_utf8(text).map_err(|_| MessageError::Keys)
}
