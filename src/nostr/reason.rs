//! Why something is refused, or what is to be said of something accepted: the last string of an OK and
//! a CLOSED (NIP-01).
//!
//! What a reason means is decided by its [`Prefix`] and here alone; its text is for people. One a relay
//! has given is read once, where its message is, and passed on to the letter, but for the prefix that a
//! refusal must have.

use std::fmt;

/// A reason's first word, which is for machines: NIP-01's, and some of our own. One that is no
/// word of these tells no more than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// The message itself is wrong.
    Invalid,
    /// The event needs more proof of work (NIP-13).
    Pow,
    /// Its author is not wanted.
    Blocked,
    /// It is not for this client, or more than is allowed.
    Restricted,
    /// It may be for this client, once that one has said who it is (NIP-42).
    AuthRequired,
    /// Too much at a time.
    RateLimited,
    /// Something does not work.
    Error,
    /// It is there already, which is as good as accepted.
    Duplicate,
    /// Nobody has heard it.
    Mute,
    /// It is not done here (NIP-45).
    Unsupported,
    /// There is no sync of this id (NIP-77).
    Closed,
    /// Ours: it waits for a relay.
    Queued,
    /// Ours: a newer event has made it void.
    Replaced,
    /// Ours: no relay has it, but a client of this server.
    Local,
}

impl Prefix {
    const ALL: [Self; 14] = [
        Self::Invalid,
        Self::Pow,
        Self::Blocked,
        Self::Restricted,
        Self::AuthRequired,
        Self::RateLimited,
        Self::Error,
        Self::Duplicate,
        Self::Mute,
        Self::Unsupported,
        Self::Closed,
        Self::Queued,
        Self::Replaced,
        Self::Local,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Pow => "pow",
            Self::Blocked => "blocked",
            Self::Restricted => "restricted",
            Self::AuthRequired => "auth-required",
            Self::RateLimited => "rate-limited",
            Self::Error => "error",
            Self::Duplicate => "duplicate",
            Self::Mute => "mute",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Queued => "queued",
            Self::Replaced => "replaced",
            Self::Local => "local",
        }
    }

    /// Its code, for Python and the page.
    const fn code(self) -> &'static str {
        match self {
            Self::AuthRequired => "auth_required",
            Self::RateLimited => "rate_limited",
            _ => self.as_str(),
        }
    }

    /// The one at the beginning of this text.
    fn read(text: &str) -> Option<Self> {
        let (word, _) = text.split_once(':')?;
        Self::ALL.into_iter().find(|prefix| prefix.as_str() == word)
    }
}

/// What one of our own reasons is about, where its prefix does not tell those who decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The owner has configured no relay.
    NoRelay,
    /// The rows of the outbox have not been read yet.
    OutboxClosed,
    /// The outbox takes no more.
    OutboxFull,
    /// The database does not keep what it is to keep.
    Database,
    /// It was sent, and nobody has answered.
    Unanswered,
    /// The relay ends the connection over it.
    EndsConnection,
    /// No relay serves the subscription: these are a relay's words.
    NotServed,
}

impl Cause {
    /// Its code, for Python and the page.
    const fn code(self) -> &'static str {
        match self {
            Self::NoRelay => "no_relay",
            Self::OutboxClosed => "outbox_closed",
            Self::OutboxFull => "outbox_full",
            Self::Database => "database",
            Self::Unanswered => "unanswered",
            Self::EndsConnection => "ends_connection",
            Self::NotServed => "not_served",
        }
    }
}

/// Why something is refused, or what is to be said of something accepted. Keeps its whole text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reason {
    prefix: Option<Prefix>,
    cause: Option<Cause>,
    /// The whole of it, prefix included.
    text: Box<str>,
}

impl Reason {
    /// Ours.
    pub(crate) fn new(prefix: Prefix, text: impl fmt::Display) -> Self {
        let text = format!("{}: {text}", prefix.as_str()).into();
        Self { prefix: Some(prefix), cause: None, text }
    }

    /// As somebody has given it.
    pub(crate) fn read(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        Self { prefix: Prefix::read(&text), cause: None, text }
    }

    /// As a relay gives it for an `OK false` or a `CLOSED`. NIP-01 wants a word for machines in front,
    /// by which clients decide; where there is none, it is `error:`.
    pub(crate) fn of_refusal(text: &str) -> Self {
        let has_word = text.split_once(": ").is_some_and(|(word, _)| {
            let part =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !word.is_empty() && word.bytes().all(part)
        });
        if has_word || Prefix::read(text).is_some() {
            Self::read(text)
        } else if text.trim().is_empty() {
            Self::new(Prefix::Error, "the relay gave no reason")
        } else {
            Self::new(Prefix::Error, text)
        }
    }

    /// The same, about this.
    pub(crate) fn about(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// What it is, for Python and the page, which decide by this and never by the text: what it is
    /// about, or its prefix; empty if it has none that is known.
    pub(crate) fn code(&self) -> &'static str {
        match (self.cause, self.prefix) {
            (Some(cause), _) => cause.code(),
            (None, Some(prefix)) => prefix.code(),
            (None, None) => "",
        }
    }

    /// Nothing is to be said.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Its prefix, if it has one that is known.
    pub const fn prefix(&self) -> Option<Prefix> {
        self.prefix
    }

    /// The whole text, as it is written.
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether nothing is said.
    pub(crate) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether what is refused may be accepted once we have said who we are.
    pub(crate) fn wants_auth(&self) -> bool {
        self.prefix == Some(Prefix::AuthRequired)
    }

    /// Whether the same may be accepted later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.prefix, Some(Prefix::RateLimited | Prefix::AuthRequired))
    }

    /// Whether a relay that has refused a REQ with this may serve the same a moment later. One without a
    /// word that is known says nothing of it being for good.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.prefix, None | Some(Prefix::RateLimited | Prefix::Error))
    }

    /// Whether a relay that has answered an event with this has it. `accepted`: what its OK says.
    pub(crate) fn has_it(&self, accepted: bool) -> bool {
        accepted || self.prefix == Some(Prefix::Duplicate)
    }

    /// Whether a relay does not do at all what it is asked.
    pub(crate) fn is_unsupported(&self) -> bool {
        self.prefix == Some(Prefix::Unsupported)
    }

    /// Whether a relay says that it has too many requests of ours open. There is no word for it: these are
    /// what strfry, nostr-rs-relay, nostream and others write, in a CLOSED or in a NOTICE.
    pub(crate) fn is_of_crowd(&self) -> bool {
        let text = own_words(&self.text);
        is_too_much(&text)
            && !text.contains("filter")
            && ["req", "subscription"].iter().any(|what| text.contains(what))
    }

    /// Whether it says so of filters: of those in one request, or of all that are open.
    pub(crate) fn is_of_filters(&self) -> bool {
        let text = own_words(&self.text);
        text.contains("filter") && (is_too_much(&text) || self.is_unsupported())
    }

    /// Whether it says that too much came at a time, so that the same has to wait a little.
    pub(crate) fn is_of_rate(&self) -> bool {
        let text = own_words(&self.text);
        ["rate limit", "rate-limit", "slow down"].iter().any(|rate| text.contains(rate))
    }

    /// Of two refusals the one that tells a client more about what to do: what is wrong with the
    /// message itself tells most, what is wrong with the relay least.
    pub(crate) fn more_telling(kept: Option<Self>, new: &Self) -> Self {
        match kept {
            Some(kept) if kept.weight() >= new.weight() => kept,
            _ => new.clone(),
        }
    }

    fn weight(&self) -> u8 {
        match self.prefix {
            Some(Prefix::Invalid) => 8,
            Some(Prefix::Pow) => 7,
            Some(Prefix::Blocked) => 6,
            Some(Prefix::Restricted) => 5,
            Some(Prefix::AuthRequired) => 4,
            Some(Prefix::RateLimited) => 3,
            Some(Prefix::Error) => 2,
            _ => u8::from(!self.is_empty()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a relay says itself, in lower case: what it complains of it may repeat, and that is some client's text.
fn own_words(text: &str) -> String {
    let repeats = |(_, char): &(usize, char)| matches!(char, '{' | '[' | '"' | '`');
    // One at the very beginning is the relay's.
    let end = text.char_indices().skip(1).find(repeats).map_or(text.len(), |(at, _)| at);
    text[..end].to_ascii_lowercase()
}

/// Whether a NOTICE says at once that too much comes at a time.
pub(crate) fn asks_for_less(notice: &str) -> bool {
    let text = own_words(notice);
    let said = ["rate-limited:", "error:", "notice:", "blocked:", "you are being", "you have been"];
    let words = said
        .iter()
        .fold(text.trim(), |text, before| text.strip_prefix(before).unwrap_or(text).trim_start());
    ["rate limit", "rate-limit", "slow down", "too fast", "too many messages"]
        .iter()
        .any(|begin| words.starts_with(begin))
}

fn is_too_much(text: &str) -> bool {
    ["too many", "maximum", "too big"].iter().any(|much| text.contains(much))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_repeats_it_does_not_say() {
        for said in ["too many subscriptions", "too many filters", "rate limited", "slow down"] {
            let own = Reason::read(format!("error: {said}"));
            let repeated = Reason::read(format!("error: cannot read {{\"#t\":[\"{said}\"]}}"));
            let means = |it: &Reason| it.is_of_crowd() || it.is_of_filters() || it.is_of_rate();
            assert!(means(&own) && !means(&repeated), "{said}");
        }
        assert!(Reason::read("[relay] ERROR: too many concurrent REQs").is_of_crowd());
        assert!(!Reason::read("[\"REQ\",\"too many subscriptions\"]").is_of_crowd());
        assert!(asks_for_less("rate limited") && asks_for_less("ERROR: Slow down, please"));
        for other in ["our rate limit is 100 a minute", "bad req: \"slow down\"", "", "hello"] {
            assert!(!asks_for_less(other), "{other}");
        }
    }

    #[test]
    fn what_a_relay_says_is_kept_to_the_letter_whatever_is_read_from_it() {
        for (text, prefix) in [
            ("blocked: no", Some(Prefix::Blocked)),
            ("blocked:no", Some(Prefix::Blocked)),
            ("auth-required:", Some(Prefix::AuthRequired)),
            ("rate-limited: slow: down", Some(Prefix::RateLimited)),
            ("Blocked: no", None),
            (" blocked: no", None),
            ("blocked", None),
            ("full: no place", None),
            ("", None),
        ] {
            let reason = Reason::read(text);
            assert_eq!((reason.prefix(), reason.as_str()), (prefix, text));
            assert_eq!(reason.code().is_empty(), prefix.is_none());
        }
    }

    #[test]
    fn what_is_refused_without_a_word_for_machines_is_an_error() {
        for (text, passed_on) in [
            ("blocked: no", "blocked: no"),
            ("blocked:no", "blocked:no"),
            ("auth-required:", "auth-required:"),
            ("full: no place", "full: no place"),
            ("no place", "error: no place"),
            ("Blocked: no", "error: Blocked: no"),
            ("not here: go away", "error: not here: go away"),
            (": no", "error: : no"),
            ("http://go.away", "error: http://go.away"),
            ("", "error: the relay gave no reason"),
            (" ", "error: the relay gave no reason"),
        ] {
            let reason = Reason::of_refusal(text);
            assert_eq!(reason.as_str(), passed_on);
            assert_eq!(reason, Reason::read(passed_on));
        }
    }

    #[test]
    fn ours_is_read_as_what_it_is() {
        for prefix in Prefix::ALL {
            let ours = Reason::new(prefix, "so: it is");
            assert_eq!(ours.as_str(), format!("{}: so: it is", prefix.as_str()));
            assert_eq!(Reason::read(ours.as_str()), ours);
            assert_eq!(ours.code(), prefix.as_str().replace('-', "_"));
            assert_eq!(ours.about(Cause::Database).code(), "database");
        }
    }

    #[test]
    fn what_relays_mean() {
        let is = |what: fn(&Reason) -> bool, text: &str| what(&Reason::read(text));
        assert!(is(Reason::wants_auth, "auth-required: who are you"));
        assert!(!is(Reason::wants_auth, "restricted: auth-required"));
        assert!(
            is(Reason::passes, "rate-limited: later") && is(Reason::passes, "auth-required: a")
        );
        assert!(!is(Reason::passes, "blocked: never"));
        assert!(Reason::read("duplicate: have it").has_it(false));
        assert!(Reason::none().has_it(true) && !Reason::read("error: full").has_it(false));
        for crowd in ["ERROR: too many concurrent REQs", "error: too many subscriptions"] {
            assert!(is(Reason::is_of_crowd, crowd));
        }
        assert!(is(Reason::is_of_crowd, "Maximum concurrent subscription count reached"));
        assert!(!is(Reason::is_of_crowd, "error: too many filters"));
        for filters in [
            "Too many filters: Number of filters per susbscription must be less",
            "Maximum number of filters (10) exceeded.",
            "unsupported: multi-filter REQs aren't supported",
        ] {
            assert!(is(Reason::is_of_filters, filters) && !is(Reason::is_of_crowd, filters));
        }
        assert!(!is(Reason::is_of_filters, "blocked: not this filter"));
        for passing in ["rate-limited: a", "error: database is locked", "whatever"] {
            assert!(is(Reason::may_pass, passing));
        }
        assert!(!is(Reason::may_pass, "restricted: no") && !is(Reason::may_pass, "invalid: no"));
    }

    #[test]
    fn the_most_telling_refusal_is_kept() {
        let order = [
            "invalid: a",
            "pow: a",
            "blocked: a",
            "restricted: a",
            "auth-required: a",
            "rate-limited: a",
            "error: a",
            "whatever",
            "",
        ];
        let more_telling = |kept: Option<&str>, new: &str| {
            Reason::more_telling(kept.map(Reason::read), &Reason::read(new)).to_string()
        };
        for (more, telling) in order.iter().enumerate() {
            assert_eq!(more_telling(None, telling), *telling);
            for less in &order[more..] {
                assert_eq!(more_telling(Some(*telling), less), *telling);
                assert_eq!(more_telling(Some(*less), telling), *telling);
            }
        }
        assert_eq!(more_telling(Some("pow: first"), "pow: second"), "pow: first");
        assert_eq!(more_telling(Some("mute: a"), "no prefix"), "mute: a");
    }
}
