//! Subscriptions that a relay has ended because it does not know who we are (rule 4.4): they are asked
//! for again when it does, and count as refused if it does not, or has said nothing for
//! [`AUTH_PATIENCE`]. If it knows us later, those that are left are asked for again.
//!
//! [`AUTH_PATIENCE`]: crate::constants::AUTH_PATIENCE

use crate::ids::{RelayId, SubscriptionKey};
use crate::nostr::reason::Reason;
use crate::router::relays::{Hope, Relays};
use crate::router::subscriptions::{Part, Refusal, Subscriptions};
use crate::router::turn::Turn;
use crate::stats::Trouble;

use super::Requests;

impl Requests {
    /// The relay has ended a subscription because it does not know who we are. Where that may change, it
    /// is asked again; else its refusal counts, and is the caller's to pass on.
    pub(super) fn defer(
        &mut self,
        id: RelayId,
        key: SubscriptionKey,
        why: &Reason,
        hope: Hope,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        if hope.has_key {
            upstream.ended.insert(key, why.clone());
            if upstream.ended.len() > 2 * subscriptions.len() + 64 {
                upstream.ended.retain(|key, _| subscriptions.contains(*key));
            }
        }
        if hope.is_any() {
            subscriptions.ask_again(key, id, false, turn);
        }
        if hope.asked_before {
            // It did not know us when it was asked, and does now.
            self.want(id, key, subscriptions, turn);
        }
    }

    /// The relay knows who we are: what it has ended is asked for again.
    pub(in crate::router) fn ask_deferred(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get_mut(&id) else { return };
        for key in std::mem::take(&mut upstream.ended).into_keys() {
            subscriptions.forgive(key, id);
            self.want(id, key, subscriptions, turn);
        }
        turn.due.plan.insert(id);
    }

    /// The relay does not know who we are: what waited for that is refused.
    pub(in crate::router) fn refuse_deferred(
        &mut self,
        id: RelayId,
        subscriptions: &mut Subscriptions,
        relays: &Relays,
        turn: &mut Turn<'_>,
    ) {
        let Some(upstream) = self.upstreams.get(&id) else { return };
        // They stay known: the relay may change its mind.
        for (key, why) in upstream.ended.clone() {
            let part = subscriptions.get(key).and_then(|member| member.part_of(id));
            if part.is_some_and(Part::is_idle) {
                relays.refused_unknown(
                    id,
                    Trouble::EndedSubscription,
                    &format!("ended a subscription: {why}"),
                    turn,
                );
                self.refuse(id, key, (&why, Refusal::ForGood), subscriptions, turn);
            }
        }
    }
}
