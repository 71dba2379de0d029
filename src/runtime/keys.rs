//! Who we are to relays that want to know (NIP-42), and what that means for public clients: the
//! owner's wish, kept for relays and routers to come. The router acts on it (`router::relays::signing_in`).

use crate::nostr::keys::Keys;
use crate::nostr::url;

use super::{Core, CoreError, Shared, lock};

impl Shared {
    /// From now on we are this one to a relay that asks, or nobody.
    pub(super) fn set_relay_key(&self, url: &str, key: Option<Keys>) {
        let mut relays = lock(&self.relays);
        match key.clone() {
            Some(key) => lock(&self.keys).insert(url.to_owned(), key),
            None => lock(&self.keys).remove(url),
        };
        if let Some(entry) = relays.get_mut(url) {
            entry.wish.send_if_modified(|wish| {
                let changed = wish.key != key;
                wish.key = key;
                changed
            });
        }
    }
}

impl Core {
    /// Who we are to a relay that wants to know (NIP-42), for as long as the core runs: the owner of
    /// this private key (64 hex characters), or nobody. Counts for a relay that is added later too.
    ///
    /// # Errors
    /// [`CoreError::Url`] or [`CoreError::Key`].
    pub(crate) fn set_relay_key(&self, text: &str, secret: Option<&str>) -> Result<(), CoreError> {
        let url = url::normalize(text).map_err(CoreError::Url)?;
        let key = secret.map(Keys::from_hex).transpose()?;
        self.shared.set_relay_key(&url, key);
        Ok(())
    }

    /// Whether clients of the public endpoint read, from now on, through connections that are
    /// authenticated as the owner.
    ///
    /// # Errors
    /// [`CoreError::Stopped`] or [`CoreError::Busy`].
    pub(crate) fn set_public_reads(&self, on: bool) -> Result<(), CoreError> {
        self.change_settings(|settings| settings.public_reads = on)
    }
}
