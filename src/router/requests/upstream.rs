//! One relay's requests: which are open, whose turn it is, and what was learned of its limits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::fair::FairQueue;
use crate::base::hash::Map;
use crate::constants::{LESSON, LESSON_GUESSED, RELAY_FILTERS, RELAY_SUBSCRIPTIONS_LEAST};
use crate::ids::{ClientId, RequestNumber, SubscriptionKey};
use crate::nostr::event::EventId;
use crate::nostr::reason::Reason;

use super::pace::Pace;

/// A relay's complaints that there are too many requests.
#[derive(Debug)]
pub(super) struct Crowd {
    /// When the first came.
    pub(super) since: Duration,
    /// How many requests the relay had been asked then.
    pub(super) asked: usize,
    /// How many of them named theirs, …
    pub(super) named: usize,
    /// … and how many others there were when those were asked.
    pub(super) most: usize,
    /// How many of them named none: one for each request that it does not serve.
    pub(super) unnamed: usize,
    /// The first of them.
    pub(super) why: Reason,
}

/// What a relay has shown that it takes, though its document says otherwise or nothing. Outlives its
/// connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lesson {
    /// Requests open at a time, and until when that is believed.
    most: Option<(usize, Duration)>,
    /// It takes so many filters in a request, or serves no more of them.
    pub(super) filters: Option<usize>,
}

impl Lesson {
    /// It serves no more requests than this, as far as is known until then.
    pub(super) fn learn_most(&mut self, most: usize, until: Duration) {
        self.most = Some((most.max(RELAY_SUBSCRIPTIONS_LEAST), until));
    }

    /// The same, where only its silence says so: for a short time, and when that is over and it seems so
    /// again, for as long as what it has shown.
    pub(super) fn guess_most(&mut self, most: usize, now: Duration) {
        let most = most.max(RELAY_SUBSCRIPTIONS_LEAST);
        let again = self.most.is_some_and(|(before, until)| before == most && until <= now);
        self.learn_most(most, now + if again { LESSON } else { LESSON_GUESSED });
    }

    /// Whether it serves as many as it ever did when it seemed to serve no more.
    pub(super) fn seems_full(&self, served: usize) -> bool {
        self.most.is_some_and(|(most, _)| served >= most)
    }

    /// It takes fewer filters than this in one request.
    pub(super) fn learn_filters(&mut self, refused: usize) {
        self.filters = Some(if refused > RELAY_FILTERS { RELAY_FILTERS } else { 1 });
    }

    /// How many it serves, where it says so many.
    pub(super) fn most(&self, said: usize, now: Duration) -> usize {
        self.most.filter(|(_, until)| now < *until).map_or(said, |(most, _)| most.min(said))
    }
}

/// Of one connection: nothing of it is left when that is gone.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Those that take one of the places the relay has.
    pub(super) open: BTreeSet<RequestNumber>,
    /// How many of them the relay has been asked.
    pub(super) asked: usize,
    /// Subscriptions that wait for a place. May name some that are gone.
    pub(super) turns: FairQueue<ClientId, SubscriptionKey>,
    /// How many those are, about.
    pub(super) dead: usize,
    /// Live requests by what their members ask for.
    by_name: Map<[u8; 32], RequestNumber>,
    /// The same the other way round.
    names: Map<RequestNumber, [u8; 32]>,
    /// Requests that are to ask for another page, and wait for a place.
    pub(super) pages: VecDeque<RequestNumber>,
    /// The request that is to bring what several others do, and since when.
    pub(super) gathering: Option<(RequestNumber, Duration)>,
    /// No other one before this.
    pub(super) gather_after: Duration,
    /// So many in a row were not to be had.
    pub(super) gather_failures: u32,
    /// Live requests that are to be asked again when there is a place.
    pub(super) stale: BTreeSet<RequestNumber>,
    /// Nothing fitted together; it takes long to find that out, and is not tried before this.
    pub(super) combine_after: Duration,
    /// How fast it is asked.
    pub(super) pace: Pace,
    /// The relay says that there are too many requests.
    pub(super) crowd: Option<Crowd>,
    /// So many requests were open at a time, and served.
    pub(super) proven: usize,
    /// A request with several filters was served.
    pub(super) proven_filters: bool,
    /// Events of ours that live requests are to bring back, the latest.
    pub(super) echoes: VecDeque<EventId>,
    /// The latest of the requests that it has answered, by the order in which they were made.
    pub(super) answered_latest: u64,
    /// When it has answered a request last, or connected.
    pub(super) answered: Duration,
    /// Why it did not serve the subscription that it did not serve last. `None`: it gave no answer.
    pub(super) refusal: Option<Reason>,
    /// Subscriptions that it has ended because it does not know who we are, and its words. They are
    /// asked for again should it know one day.
    pub(super) ended: BTreeMap<SubscriptionKey, Reason>,
}

impl Upstream {
    /// Of a relay that has connected at this time.
    pub(super) fn new(connected: Duration) -> Self {
        Self { answered: connected, ..Self::default() }
    }

    /// Requests that may be open at a time, where the relay says it takes so many. One more is the
    /// outbox's, for its questions.
    pub(super) fn places(said: usize) -> usize {
        said.max(RELAY_SUBSCRIPTIONS_LEAST) - 1
    }

    /// Places that are free.
    pub(super) fn free(&self, said: usize) -> usize {
        Self::places(said).saturating_sub(self.open.len())
    }

    /// The live request whose members ask for this.
    pub(super) fn named(&self, name: &[u8; 32]) -> Option<RequestNumber> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&mut self, name: [u8; 32], number: RequestNumber) {
        if let Some(before) = self.by_name.insert(name, number) {
            self.names.remove(&before);
        }
        self.names.insert(number, name);
    }

    /// A request takes no place any more.
    pub(super) fn forget(&mut self, number: RequestNumber) {
        self.open.remove(&number);
        self.stale.remove(&number);
        if let Some(name) = self.names.remove(&number) {
            self.by_name.remove(&name);
        }
        if self.gathering.is_some_and(|(gathering, _)| gathering == number) {
            self.gathering = None;
        }
    }
}
