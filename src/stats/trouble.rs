//! What a relay does wrong, or has against us: the kinds of entries in its log.

/// A kind of entry. The texts beside it are for people, and nothing is decided by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no connection to be had: no host, no TLS, no WebSocket …
    Unreachable,
    /// It, or what stands before it, answers with an HTTP status.
    TurnedAway,
    /// It is reached only through a proxy, and there is none.
    NoProxy,
    /// It is this server itself.
    Itself,
    /// It has ended the connection.
    Closed,
    /// The connection broke.
    Lost,
    /// It gave no sign of life.
    Silent,
    /// It does not read what it is sent.
    Stalled,
    /// A bug of ours has cost the connection.
    Internal,
    /// It has sent what is no message.
    BadMessage,
    /// It has sent a message that is too long, which was skipped.
    TooLong,
    /// It has sent an event with a wrong id or signature.
    ForgedEvent,
    /// It keeps sending what nobody asked for, and was cut off.
    CutOff,
    /// It ends the connection over something, which is not sent to it any more.
    EndsConnection,
    /// It was cut off to connect anew, because of what the owner has set.
    ConnectsAnew,
    /// It has refused an event.
    RefusedEvent,
    /// It has refused or ended a subscription.
    EndedSubscription,
    /// It says that too much comes at a time.
    SlowDown,
    /// It has refused to count.
    RefusedCount,
    /// It has refused our authentication.
    RefusedAuth,
    /// It does not answer our authentication.
    UnansweredAuth,
    /// It wants an authentication and gives no challenge.
    NoChallenge,
    /// Its challenge could not be answered.
    UnsignedAuth,
}

impl Trouble {
    /// Its code, for Python and the page.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TurnedAway => "turned_away",
            Self::NoProxy => "no_proxy",
            Self::Itself => "itself",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
            Self::Internal => "internal",
            Self::BadMessage => "bad_message",
            Self::TooLong => "too_long",
            Self::ForgedEvent => "forged_event",
            Self::CutOff => "cut_off",
            Self::EndsConnection => "ends_connection",
            Self::ConnectsAnew => "connects_anew",
            Self::RefusedEvent => "refused_event",
            Self::EndedSubscription => "ended_subscription",
            Self::SlowDown => "slow_down",
            Self::RefusedCount => "refused_count",
            Self::RefusedAuth => "refused_auth",
            Self::UnansweredAuth => "unanswered_auth",
            Self::NoChallenge => "no_challenge",
            Self::UnsignedAuth => "unsigned_auth",
        }
    }
}
