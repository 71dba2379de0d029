//! How servers of this extension tell each other in a WebSocket's handshake, and each one itself, by
//! whatever name, proxy or path a connection came (rule 4.6).
//!
//! A badge is a random number and what only those can make of it who know the server's secret. It is
//! another one each time: the server itself knows it, and so do the other nodes of its database, and to
//! everybody else one says no more than the next. So a relay cannot tell by it that a connection which
//! came through Tor is of the server whose name it knows.
//!
//! It is shown on both ways, and either will do to know oneself: in the `User-Agent` of the request,
//! which every proxy passes on, and in a header of the answer. Whoever repeats a badge that was shown to
//! him is turned away, and nobody else.

use crate::base::secret::Secret;
use crate::nostr::hex;

/// What shows, before the badge in the `User-Agent`, that a client is such a server.
const AGENT: &str = "nostrclient/";
/// What of the number's bytes …
const NUMBER: usize = size_of::<u64>();
/// … and of those that are made of it is in a badge.
const PROOF: usize = 16;

/// The answer's header.
pub(crate) const HEADER: &str = "nostrclient";

/// Makes a server's badges and knows them again.
#[derive(Debug, Clone)]
pub(crate) struct Badge(Secret);

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// This server, or another node of it.
    Itself,
    /// Another server of this extension.
    Sibling,
    /// Anybody else.
    Other,
}

impl Badge {
    /// Of the server with this secret.
    pub(crate) const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// One that was never shown. Where the system has no randomness to give, it is one that was.
    pub(crate) fn show(&self) -> String {
        let number = getrandom::u64().unwrap_or_default();
        self.of(number)
    }

    fn of(&self, number: u64) -> String {
        let proof = self.0.bytes_for("badge", number);
        hex::encode(&number.to_be_bytes()) + &hex::encode(&proof[..PROOF])
    }

    fn is_own(&self, text: &str) -> bool {
        let number = text.get(..NUMBER * 2).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.is_some_and(|number| self.of(number) == text)
    }

    /// What this server calls itself to a relay.
    pub(crate) fn agent(&self) -> String {
        format!("{AGENT}{} ({})", env!("CARGO_PKG_VERSION"), self.show())
    }

    /// The client that calls itself this.
    pub(crate) fn client(&self, agent: &str) -> Peer {
        let badge = agent.rsplit_once('(').and_then(|(_, badge)| badge.strip_suffix(')'));
        match badge {
            Some(badge) if self.is_own(badge) => Peer::Itself,
            // Version 2.0.0 has no badge.
            _ if agent.starts_with(AGENT) => Peer::Sibling,
            _ => Peer::Other,
        }
    }

    /// The relay that shows this.
    pub(crate) fn relay(&self, badge: Option<&str>) -> Peer {
        match badge {
            Some(badge) if self.is_own(badge) => Peer::Itself,
            Some(_) => Peer::Sibling,
            None => Peer::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn badge(byte: u8) -> Badge {
        Badge::new(Secret::new([byte; 32]))
    }

    #[test]
    fn a_server_knows_itself_and_its_siblings() {
        let (own, other) = (badge(1), badge(2));
        assert_eq!(own.client(&own.agent()), Peer::Itself);
        assert_eq!(own.relay(Some(&own.show())), Peer::Itself);
        // Another node of the same database.
        assert_eq!(badge(1).client(&own.agent()), Peer::Itself);
        assert_eq!(own.client(&other.agent()), Peer::Sibling);
        assert_eq!(own.relay(Some(&other.show())), Peer::Sibling);
        assert_eq!(own.client("nostrclient/2.0.0"), Peer::Sibling);
        for stranger in ["", "Mozilla/5.0 (X11)", "a nostrclient/2.0.0", "((", "é)"] {
            assert_eq!(own.client(stranger), Peer::Other, "{stranger}");
        }
        assert_eq!(own.relay(None), Peer::Other);
    }

    #[test]
    fn two_badges_have_nothing_in_common() {
        let own = badge(1);
        let (one, next) = (own.show(), own.show());
        assert_eq!(one.len(), 2 * (NUMBER + PROOF));
        assert_ne!(one[..NUMBER * 2], next[..NUMBER * 2]);
        assert_ne!(one[NUMBER * 2..], next[NUMBER * 2..]);
    }

    #[test]
    fn nobody_makes_one_of_another() {
        let own = badge(1);
        let shown = own.show();
        let cut = &shown[..shown.len() - 1];
        for forged in [cut, "", "é", &shown.to_uppercase(), &format!("{shown}0")] {
            // A number without letters stays what it is.
            assert!(forged == shown || own.relay(Some(forged)) == Peer::Sibling, "{forged}");
        }
    }
}
