//! Keys, signatures and NIP-04 messages, for the REST API's test message and for other extensions.
//!
//! Nothing here is logged, kept or shown: a private key comes in, is used and is dropped.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use secp256k1::ecdh::shared_secret_point;
use secp256k1::{Keypair, Parity, PublicKey, SecretKey, XOnlyPublicKey, schnorr};

use crate::event::event_id;
use crate::hex;

/// Why a key cannot be used. Never tells the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 hex characters, or no valid secret.
    #[error("The private key must be 64 hexadecimal characters.")]
    Private,
    /// Neither 64 hex characters nor an `npub1…` (NIP-19), or not on the curve.
    #[error("The public key must be 64 hexadecimal characters or begin with npub1.")]
    Public,
    /// The system has no randomness to give.
    #[error("The system has no random numbers.")]
    Random,
    /// The event does not serialise.
    #[error("The event cannot be written as JSON.")]
    Event,
}

/// A private key and its public key.
#[derive(Clone)]
pub struct Keys(Keypair);

impl Keys {
    /// New random ones.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = [0; 32];
        loop {
            getrandom::fill(&mut secret).map_err(|_| KeyError::Random)?;
            // All but a vanishing part of random numbers are valid secrets.
            if let Ok(secret) = SecretKey::from_secret_bytes(secret) {
                return Ok(Self(secret.keypair()));
            }
        }
    }

    /// From 64 hex characters, upper or lower case.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let secret = hex::decode(&text.to_ascii_lowercase()).ok_or(KeyError::Private)?;
        let secret = SecretKey::from_secret_bytes(secret).map_err(|_| KeyError::Private)?;
        Ok(Self(secret.keypair()))
    }

    /// 64 hex characters. A secret.
    pub fn private_hex(&self) -> String {
        hex::encode(&self.0.secret_key().to_secret_bytes())
    }

    /// 64 hex characters.
    pub fn public_hex(&self) -> String {
        hex::encode(&self.0.x_only_public_key().0.to_byte_array())
    }

    /// A signed event as JSON text (NIP-01).
    ///
    /// # Errors
    /// [`KeyError::Event`] or [`KeyError::Random`].
    pub fn sign_event(
        &self,
        created_at: u64,
        kind: u16,
        tags: &[Vec<String>],
        content: &str,
    ) -> Result<String, KeyError> {
        let pubkey = self.public_hex();
        let json = |error: serde_json::Error| {
            let _ = error;
            KeyError::Event
        };
        let id = event_id(&pubkey, created_at, kind, tags, content).map_err(json)?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|_| KeyError::Random)?;
        let sig = schnorr::sign_with_aux_rand(&id, &self.0, &random);
        Ok(format!(
            r#"{{"id":"{}","pubkey":"{pubkey}","created_at":{created_at},"kind":{kind},"tags":{},"content":{},"sig":"{}"}}"#,
            hex::encode(&id),
            serde_json::to_string(tags).map_err(json)?,
            serde_json::to_string(content).map_err(json)?,
            hex::encode(sig.as_byte_array()),
        ))
    }

    /// A NIP-04 content for the owner of this public key (64 hex): `base64?iv=base64`.
    ///
    /// # Errors
    /// [`KeyError::Public`] or [`KeyError::Random`].
    pub fn encrypt_nip04(&self, public_hex: &str, text: &str) -> Result<String, KeyError> {
        let key = hex::decode(public_hex).ok_or(KeyError::Public)?;
        let key = XOnlyPublicKey::from_byte_array(key).map_err(|_| KeyError::Public)?;
        let key = PublicKey::from_x_only_public_key(key, Parity::Even);
        let point = shared_secret_point(&key, &self.0.secret_key());
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).map_err(|_| KeyError::Random)?;
        let mut secret = [0; 32];
        secret.copy_from_slice(&point[..32]);
        let encrypted = cbc::Encryptor::<Aes256>::new(&secret.into(), &iv.into())
            .encrypt_padded_vec::<Pkcs7>(text.as_bytes());
        Ok(format!("{}?iv={}", STANDARD.encode(encrypted), STANDARD.encode(iv)))
    }
}

/// A public key given as 64 hex characters or as `npub1…`, as 64 lowercase hex characters.
///
/// # Errors
/// [`KeyError::Public`].
pub fn normalize_public_key(text: &str) -> Result<String, KeyError> {
    let text = text.trim().to_ascii_lowercase();
    let bytes: [u8; 32] = if text.starts_with("npub1") {
        let parsed = CheckedHrpstring::new::<Bech32>(&text).map_err(|_| KeyError::Public)?;
        if parsed.hrp().as_str() != "npub" {
            return Err(KeyError::Public);
        }
        let bytes: Vec<u8> = parsed.byte_iter().collect();
        bytes.try_into().map_err(|_| KeyError::Public)?
    } else {
        hex::decode(&text).ok_or(KeyError::Public)?
    };
    XOnlyPublicKey::from_byte_array(bytes).map_err(|_| KeyError::Public)?;
    Ok(hex::encode(&bytes))
}

#[cfg(test)]
mod tests;
