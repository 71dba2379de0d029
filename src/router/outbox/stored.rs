//! What waits in the outbox answers requests as if a relay had it (rule 2.8): a wallet that connects
//! while no relay can be reached finds its service all the same.
//!
//! Each REQ is answered from here once, when it comes; what comes here later its subscription was handed
//! by the local loop (rule 1.6). The relays' echo is a copy.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::constants::{HELD_BYTES, HELD_EVENT_COST, OUTBOX_ANSWERS};
use crate::ids::{Origin, RelayId, SubscriptionKey};
use crate::nostr::event::Event;
use crate::nostr::filter::Filter;
use crate::router::answers::Answers;
use crate::router::relays::Relays;
use crate::router::subscriptions::{Came, Index, Offered, Subscription, Subscriptions, rank};
use crate::router::terms::Role;
use crate::router::turn::Turn;

use super::Outbox;
use super::entry::{At, Entry, EntryStage};

impl Outbox {
    /// Answers a REQ that has just come. `since` (unix seconds): it goes on with an earlier one, which was
    /// given what was here before that.
    pub(in crate::router) fn answer(
        &self,
        key: SubscriptionKey,
        since: Option<u64>,
        answers: &mut Answers,
        subscriptions: &mut Subscriptions,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(asking) = subscriptions.get(key).filter(|_| !self.order.is_empty()) else {
            return;
        };
        let client = asking.client();
        // One inside stands for any number of extensions.
        let many = asking.role() == Role::Inside;
        let mut bytes = 0;
        for entry in self.asked_for(key, asking, relays) {
            let event = &entry.event;
            let is_expired = event.expiration().is_some_and(|at| at <= turn.now.unix);
            if is_expired || since.is_some_and(|since| entry.queued_at < since) {
                continue;
            }
            bytes += event.json().len() + HELD_EVENT_COST;
            if bytes > HELD_BYTES {
                return; // more than one subscription holds
            }
            let EntryStage::Writing { waiters, .. } = &entry.stage else {
                let came = if since.is_some() { Came::Live } else { Came::Stored };
                subscriptions.offer(key, event, Origin::Here, came, turn);
                continue;
            };
            // Published a moment ago and not answered: as by the local loop, which came too early.
            let offered = subscriptions.offer(key, event, Origin::Here, Came::Live, turn);
            if offered == Offered::Given && (many || waiters.iter().any(|waiter| *waiter != client))
            {
                answers.remember_here(*event.id());
            }
        }
    }

    /// What waits here and this subscription asks for, the newest first. What is too much for one answer
    /// comes when a relay has it.
    fn asked_for(
        &self,
        key: SubscriptionKey,
        asking: &Subscription,
        relays: &Relays,
    ) -> Vec<&Entry> {
        // Of many filters each event is tested against few.
        let (mut index, mut keys) = (Index::default(), Vec::new());
        index.insert(key, Arc::clone(asking.filters()));
        // Who wants nothing that is stored is given it when a relay has it, as something new.
        let takes = |filter: &Filter| filter.search.is_none() && filter.limit != Some(0);
        let mut matches = |event: &Event| {
            index.matching(event, &mut keys);
            let mut filters = asking.filters().iter();
            !keys.is_empty() && filters.any(|filter| takes(filter) && filter.matches(event))
        };
        let writable = relays.writable(false);
        let mut found: Vec<&Entry> = self
            .in_order()
            .filter(|entry| !matches!(entry.stage, EntryStage::Undoing { .. }))
            .filter(|entry| matches(&entry.event) && shows(entry, asking, &writable, relays))
            .collect();
        found.sort_unstable_by_key(|entry| {
            Reverse(rank(entry.event.created_at(), *entry.event.id()))
        });
        found.truncate(OUTBOX_ANSWERS);
        found
    }
}

/// Whether the event waits for a relay that the subscription's client may read from: of those it has
/// named, where it has (rule 1.6), and not one that knows us, where it is a public one (rule 4.4).
fn shows(entry: &Entry, asking: &Subscription, writable: &[RelayId], relays: &Relays) -> bool {
    let reads = |relay: &RelayId| {
        asking.wants(*relay, true) && !(asking.role() == Role::Public && relays.bars_public(*relay))
    };
    let mut waits_for =
        writable.iter().filter(|relay| entry.at(**relay) != Some(&At::Refused)).peekable();
    (waits_for.peek().is_none() && !asking.names_relays()) || waits_for.any(reads)
}
