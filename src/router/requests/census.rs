//! What a relay does for the subscriptions here, as the owner is shown it: how many it serves, does not
//! serve, and has not been asked for yet, and why. Counted anew, [`CENSUS`] after something has changed.

use crate::constants::CENSUS;
use crate::ids::RelayId;
use crate::router::relays::Relays;
use crate::router::subscriptions::Subscriptions;
use crate::router::turn::{Timer, Turn};

use super::Requests;

impl Requests {
    /// What the relay does for a subscription may have changed.
    pub(super) fn count_soon(&self, id: RelayId, turn: &mut Turn<'_>) {
        if self.upstreams.contains_key(&id) {
            turn.timers.set_by(Timer::Census(id), turn.now.mono + CENSUS);
        }
    }

    /// It is time to count.
    pub(in crate::router) fn count(
        &self,
        id: RelayId,
        subscriptions: &Subscriptions,
        relays: &Relays,
        turn: &Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get(&id) else { return };
        let census = subscriptions.census(id);
        let why = if census.refused > 0 || !upstream.pace.is_free() {
            let refusal = upstream.refusal.as_ref().map(ToString::to_string);
            refusal.unwrap_or_else(|| "it does not answer".to_owned())
        } else {
            format!("it takes {} at a time", self.most(id, relays, turn))
        };
        relays.counted(id, census, &why, turn);
    }
}
