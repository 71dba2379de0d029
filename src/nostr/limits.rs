//! What a relay's own document (NIP-11) says it takes, as far as it can be believed.
//!
//! The extension fetches the document and hands the numbers to [`crate::runtime::Core`], which keeps
//! them for as long as it knows the relay and tells the router before each of the relay's
//! connections stands. Documents lie: what makes no sense counts as not said.

use crate::constants::{
    RELAY_FILTERS, RELAY_FILTERS_MOST, RELAY_LIMIT_MOST, RELAY_MESSAGE_LEAST, RELAY_MESSAGE_MOST,
    RELAY_SUBSCRIPTIONS, RELAY_SUBSCRIPTIONS_MOST,
};

/// The NIP of COUNT, and that of `search`.
const NIP_COUNT: u32 = 45;
const NIP_SEARCH: u32 = 50;

/// A relay's limits. `None`: not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RelayLimits {
    /// Subscriptions open at a time on one connection.
    pub max_subscriptions: Option<usize>,
    /// Filters in one REQ.
    pub max_filters: Option<usize>,
    /// Bytes of one message.
    pub max_message_length: Option<usize>,
    /// The most events it sends for one filter, whatever that one's `limit`.
    pub max_limit: Option<u64>,
    /// Whether it answers COUNT (NIP-45).
    pub counts: Option<bool>,
    /// Whether it is another server of this extension.
    pub sibling: bool,
    /// Whether it knows `search` (NIP-50).
    pub searches: Option<bool>,
    /// It said so on an earlier connection, and may take less by now.
    pub outdated: bool,
}

impl RelayLimits {
    /// What can be used of what was said. Zero and less count as not said, and so does a message
    /// length in which no event fits; what is larger than anything we would do is cut down.
    pub(crate) fn new(
        max_subscriptions: Option<i64>,
        max_filters: Option<i64>,
        max_message_length: Option<i64>,
        max_limit: Option<i64>,
        nips: Option<&[u32]>,
    ) -> Self {
        let knows = |nip| nips.map(|nips| nips.contains(&nip));
        Self {
            max_subscriptions: within(max_subscriptions, 1, RELAY_SUBSCRIPTIONS_MOST),
            max_filters: within(max_filters, 1, RELAY_FILTERS_MOST),
            max_message_length: within(max_message_length, RELAY_MESSAGE_LEAST, RELAY_MESSAGE_MOST),
            max_limit: max_limit
                .and_then(|said| u64::try_from(said).ok())
                .filter(|said| *said > 0)
                .map(|said| said.min(RELAY_LIMIT_MOST)),
            counts: knows(NIP_COUNT),
            sibling: false,
            searches: knows(NIP_SEARCH),
            outdated: false,
        }
    }

    /// Whether it says something else than these. A document that is read for the first time, or once more,
    /// does not.
    pub(crate) fn says_else(self, than: Self) -> bool {
        let said = |limits: Self| Self { outdated: false, ..limits };
        said(self) != said(than) && said(self) != Self::default()
    }

    /// How many subscriptions it can be trusted to take.
    pub(crate) fn subscriptions(&self) -> usize {
        self.trusted(self.max_subscriptions, RELAY_SUBSCRIPTIONS)
    }

    /// The same of filters in a REQ that several share.
    pub(crate) fn filters(&self) -> usize {
        self.trusted(self.max_filters, RELAY_FILTERS)
    }

    fn trusted(&self, said: Option<usize>, usual: usize) -> usize {
        let said = said.unwrap_or(usual);
        if self.outdated { said.min(usual) } else { said }
    }
}

fn within(said: Option<i64>, least: usize, most: usize) -> Option<usize> {
    let said = said.filter(|said| *said > 0)?;
    let said = usize::try_from(said).unwrap_or(usize::MAX);
    (said >= least).then_some(said.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_sense_is_kept() {
        let said = RelayLimits::new(Some(20), Some(10), Some(65_536), Some(500), Some(&[45]));
        let kept = RelayLimits {
            max_subscriptions: Some(20),
            max_filters: Some(10),
            max_message_length: Some(65_536),
            max_limit: Some(500),
            counts: Some(true),
            searches: Some(false),
            ..RelayLimits::default()
        };
        assert_eq!(said, kept);
        let nothing = RelayLimits::new(None, None, None, None, None);
        assert_eq!(nothing, RelayLimits::default());
    }

    #[test]
    fn what_makes_no_sense_was_not_said() {
        for lie in [0, -1, i64::MIN] {
            let said = RelayLimits::new(Some(lie), Some(lie), Some(lie), Some(lie), None);
            assert_eq!(said, RelayLimits::default(), "{lie}");
        }
        let said = RelayLimits::new(None, None, Some(100), None, None);
        assert_eq!(said, RelayLimits::default());
        let most = Some(i64::MAX);
        let said = RelayLimits::new(most, most, most, most, None);
        assert_eq!(said.max_subscriptions, Some(RELAY_SUBSCRIPTIONS_MOST));
        assert_eq!(said.max_filters, Some(RELAY_FILTERS_MOST));
        assert_eq!(said.max_message_length, Some(RELAY_MESSAGE_MOST));
        assert_eq!(said.max_limit, Some(RELAY_LIMIT_MOST));
    }

    #[test]
    fn what_was_said_earlier_is_trusted_where_it_is_less_than_usual() {
        let said = |most| RelayLimits::new(Some(most), Some(most), None, None, None);
        let trusted = |limits: RelayLimits| (limits.subscriptions(), limits.filters());
        assert_eq!(trusted(RelayLimits::default()), (20, 10));
        assert_eq!(trusted(said(200)), (200, 200));
        assert_eq!(trusted(RelayLimits { outdated: true, ..said(200) }), (20, 10));
        assert_eq!(trusted(RelayLimits { outdated: true, ..said(5) }), (5, 5));
    }
}
