//! Keys, signatures, NIP-19's spelling of keys and NIP-04 messages, for the REST API's test message
//! and for other extensions.
//!
//! Nothing here is logged, kept or shown: a private key comes in, is used and is dropped.

mod nip04;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use secp256k1::ecdh::shared_secret_point;
use secp256k1::schnorr::{self, Signature};
use secp256k1::{Keypair, Parity, PublicKey, SecretKey, XOnlyPublicKey};

use crate::nostr::event::event_id;
use crate::nostr::hex;

pub(crate) use nip04::MessageError;

const NSEC: Hrp = Hrp::parse_unchecked("nsec");
const NPUB: Hrp = Hrp::parse_unchecked("npub");

/// Why a key cannot be used, or what was asked of it cannot be done. Never tells the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// Not 64 hex characters, or no valid secret.
    #[error("The private key must be 64 hexadecimal characters.")]
    Private,
    /// Neither 64 hex characters nor an `npub1…` (NIP-19), or not on the curve.
    #[error("The public key must be 64 hexadecimal characters or begin with npub1.")]
    Public,
    /// No `nsec1…` (NIP-19), or one with a mistake in it.
    #[error("This is no private key that begins with nsec1, or there is a mistake in it.")]
    Nsec,
    /// No `npub1…` (NIP-19), or one with a mistake in it.
    #[error("This is no public key that begins with npub1, or there is a mistake in it.")]
    Npub,
    /// The system has no randomness to give.
    #[error("The system has no random numbers.")]
    Random,
    /// The event does not serialise.
    #[error("The event cannot be written as JSON.")]
    Event,
    /// A direct message cannot be read.
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl KeyError {
    /// Its code, for Python.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Private => "private_key",
            Self::Public => "public_key",
            Self::Nsec => "nsec",
            Self::Npub => "npub",
            Self::Random => "random",
            Self::Event => "event",
            Self::Message(_) => "message",
        }
    }
}

/// A private key and its public key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys(Keypair);

/// Shows the public key and no more.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keys").field(&self.public_hex()).finish()
    }
}

impl Keys {
    /// New random ones.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub(crate) fn generate() -> Result<Self, KeyError> {
        loop {
            // All but a vanishing part of random numbers are valid secrets.
            if let Ok(secret) = SecretKey::from_secret_bytes(random()?) {
                return Ok(Self(secret.keypair()));
            }
        }
    }

    /// From 64 hex characters, upper or lower case.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub(crate) fn from_hex(text: &str) -> Result<Self, KeyError> {
        let secret = hex::decode(&text.to_ascii_lowercase()).ok_or(KeyError::Private)?;
        let secret = SecretKey::from_secret_bytes(secret).map_err(|_| KeyError::Private)?;
        Ok(Self(secret.keypair()))
    }

    /// From `nsec1…` (NIP-19).
    ///
    /// # Errors
    /// [`KeyError::Nsec`].
    pub(crate) fn from_nsec(text: &str) -> Result<Self, KeyError> {
        let secret = read_bech32(text, NSEC).ok_or(KeyError::Nsec)?;
        let secret = SecretKey::from_secret_bytes(secret).map_err(|_| KeyError::Nsec)?;
        Ok(Self(secret.keypair()))
    }

    /// `nsec1…`. A secret.
    ///
    /// # Errors
    /// None in practice: 32 bytes always fit.
    pub(crate) fn nsec(&self) -> Result<String, KeyError> {
        let secret = self.0.secret_key().to_secret_bytes();
        bech32::encode::<Bech32>(NSEC, &secret).map_err(|_| KeyError::Private)
    }

    /// 64 hex characters. A secret.
    pub(crate) fn private_hex(&self) -> String {
        hex::encode(&self.0.secret_key().to_secret_bytes())
    }

    /// 64 hex characters.
    pub(crate) fn public_hex(&self) -> String {
        hex::encode(&self.0.x_only_public_key().0.to_byte_array())
    }

    /// A BIP-340 signature of this hash, 128 hex characters. Never the same twice.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub(crate) fn sign_hash(&self, hash: &[u8; 32]) -> Result<String, KeyError> {
        Ok(self.sign_hash_with(hash, &random()?))
    }

    fn sign_hash_with(&self, hash: &[u8; 32], secret: &[u8; 32]) -> String {
        let signature = schnorr::sign_with_aux_rand(hash, &self.0, secret);
        hex::encode(signature.as_byte_array())
    }

    /// A signed event as JSON text (NIP-01).
    ///
    /// # Errors
    /// [`KeyError::Event`] or [`KeyError::Random`].
    pub(crate) fn sign_event(
        &self,
        created_at: u64,
        kind: u16,
        tags: &[Vec<String>],
        content: &str,
    ) -> Result<String, KeyError> {
        self.sign_event_with(created_at, kind, tags, content, &random()?)
    }

    /// The same with a secret of the caller's in place of random bytes (BIP-340's auxiliary ones:
    /// the signature is good with any). Nothing is drawn.
    ///
    /// # Errors
    /// [`KeyError::Event`].
    pub(crate) fn sign_event_with(
        &self,
        created_at: u64,
        kind: u16,
        tags: &[Vec<String>],
        content: &str,
        secret: &[u8; 32],
    ) -> Result<String, KeyError> {
        let pubkey = self.public_hex();
        let json = |error: serde_json::Error| {
            let _ = error;
            KeyError::Event
        };
        let id = event_id(&pubkey, created_at, kind, tags, content).map_err(json)?;
        let sig = self.sign_hash_with(&id, secret);
        Ok(format!(
            r#"{{"id":"{}","pubkey":"{pubkey}","created_at":{created_at},"kind":{kind},"tags":{},"content":{},"sig":"{sig}"}}"#,
            hex::encode(&id),
            serde_json::to_string(tags).map_err(json)?,
            serde_json::to_string(content).map_err(json)?,
        ))
    }

    /// The secret that this key and the owner of that public key (64 hex) can both make, and nobody
    /// else: the x coordinate of their ECDH point, not hashed. NIP-04 encrypts with it.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub(crate) fn shared_secret(&self, public_hex: &str) -> Result<[u8; 32], KeyError> {
        let key = hex::decode(public_hex).ok_or(KeyError::Public)?;
        let key = XOnlyPublicKey::from_byte_array(key).map_err(|_| KeyError::Public)?;
        let key = PublicKey::from_x_only_public_key(key, Parity::Even);
        let point = shared_secret_point(&key, &self.0.secret_key());
        let mut secret = [0; 32];
        secret.copy_from_slice(&point[..32]);
        Ok(secret)
    }

    /// A NIP-04 content for the owner of this public key (64 hex): `base64?iv=base64`.
    ///
    /// # Errors
    /// [`KeyError::Public`] or [`KeyError::Random`].
    pub(crate) fn encrypt_nip04(&self, public_hex: &str, text: &str) -> Result<String, KeyError> {
        let secret = self.shared_secret(public_hex)?;
        Ok(nip04::encrypt(secret, random()?, text))
    }

    /// The text of a NIP-04 content that the owner of this public key (64 hex) has encrypted for
    /// this key, or the other way round.
    ///
    /// # Errors
    /// [`KeyError::Public`] or [`KeyError::Message`].
    pub(crate) fn decrypt_nip04(
        &self,
        public_hex: &str,
        content: &str,
    ) -> Result<String, KeyError> {
        Ok(nip04::decrypt(self.shared_secret(public_hex)?, content)?)
    }
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], KeyError> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

/// Whether this is the BIP-340 signature (128 hex characters) of that hash by the owner of that
/// public key (64 each), upper or lower case. What is malformed is no signature.
pub(crate) fn verify_hash(hash: &str, signature: &str, public_key: &str) -> bool {
    let verify = || {
        let hash: [u8; 32] = hex::decode(&hash.to_ascii_lowercase())?;
        let signature = Signature::from_byte_array(hex::decode(&signature.to_ascii_lowercase())?);
        let key = hex::decode(&public_key.to_ascii_lowercase())?;
        let key = XOnlyPublicKey::from_byte_array(key).ok()?;
        schnorr::verify(&signature, &hash, &key).ok()
    };
    verify().is_some()
}

/// A public key (64 hex characters, upper or lower case) as `npub1…` (NIP-19).
///
/// # Errors
/// [`KeyError::Public`].
pub(crate) fn npub(public_hex: &str) -> Result<String, KeyError> {
    let key = hex::decode(&public_hex.to_ascii_lowercase()).ok_or(KeyError::Public)?;
    XOnlyPublicKey::from_byte_array(key).map_err(|_| KeyError::Public)?;
    bech32::encode::<Bech32>(NPUB, &key).map_err(|_| KeyError::Public)
}

/// A public key given as `npub1…` (NIP-19), as 64 lowercase hex characters.
///
/// # Errors
/// [`KeyError::Npub`].
pub(crate) fn from_npub(text: &str) -> Result<String, KeyError> {
    let key = read_bech32(text, NPUB).ok_or(KeyError::Npub)?;
    XOnlyPublicKey::from_byte_array(key).map_err(|_| KeyError::Npub)?;
    Ok(hex::encode(&key))
}

/// A public key given as 64 hex characters or as `npub1…`, as 64 lowercase hex characters.
///
/// # Errors
/// [`KeyError::Public`].
pub(crate) fn normalize_public_key(text: &str) -> Result<String, KeyError> {
    let text = text.trim().to_ascii_lowercase();
    if text.starts_with("npub1") {
        return from_npub(&text).map_err(|_| KeyError::Public);
    }
    let bytes = hex::decode(&text).ok_or(KeyError::Public)?;
    XOnlyPublicKey::from_byte_array(bytes).map_err(|_| KeyError::Public)?;
    Ok(hex::encode(&bytes))
}

/// 32 bytes in NIP-19's spelling, white space around them taken away.
fn read_bech32(text: &str, prefix: Hrp) -> Option<[u8; 32]> {
    let parsed = CheckedHrpstring::new::<Bech32>(text.trim()).ok()?;
    if parsed.hrp() != prefix {
        return None;
    }
    let bytes: Vec<u8> = parsed.byte_iter().collect();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
