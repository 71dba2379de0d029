//! The local loop (rule 1.6): what a client here publishes goes at once to every other subscription here
//! that it matches, with or without relays. A relay's echo of it is a copy like any other.
//!
//! Clients that have named their relays are left out on both sides: they want what is at those.

use std::sync::Arc;

use crate::base::time::Now;
use crate::ids::{ClientId, Origin};
use crate::nostr::event::Event;
use crate::router::part::Came;

use super::intake::Offered;
use super::{Effects, Role, Router};

impl Router {
    /// Gives a checked event to the subscriptions here. Whether somebody else than its publisher has
    /// it by that.
    pub(super) fn hand_over(
        &mut self,
        publisher: ClientId,
        event: &Arc<Event>,
        now: Now,
        fx: &mut Effects,
    ) -> bool {
        self.intake.note(event);
        // One inside stands for any number of extensions, which pay each other too.
        let many = self.clients.get(&publisher).is_some_and(|it| it.role == Role::Inside);
        let mut keys = std::mem::take(&mut self.matching);
        self.index.matching(event, &mut keys);
        let mut others = false;
        for key in &keys {
            let Some(target) = self.subscriptions.get(key) else { continue };
            // What a search finds only a relay can tell.
            let takes = target.only.is_none()
                && target.filters.iter().any(|it| it.search.is_none() && it.matches(event));
            if takes {
                let other = many || target.client != publisher;
                let offered = self.offer(*key, event, Origin::Here, Came::Live, now, fx);
                others |= other && offered != Offered::Dropped;
            }
        }
        self.matching = keys;
        others
    }
}
