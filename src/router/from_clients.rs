//! What clients say and what becomes of it: what they publish, what they ask for, and who they say
//! they are.

use std::sync::Arc;
use std::time::Duration;

use crate::constants::OK_DEADLINE;
use crate::ids::{ClientId, Position, RelayId, SubscriptionKey};
use crate::nostr::count::Counted;
use crate::nostr::event::{Event, EventError, EventId, KIND_AUTH, is_ephemeral};
use crate::nostr::filter::Filter;
use crate::nostr::message::{ClientMessage, Hint, Reply, Resumed};
use crate::nostr::reason::{Cause, Prefix, Reason};

use super::Keepers;
use super::answers::accept;
use super::clients::{Client, Hearing};
use super::counting::{CountQuery, Ended};
use super::input::Said;
use super::subscriptions::{Look, Opening, Searching, Source};
use super::terms::{Purpose, Role};
use super::turn::Turn;

impl Keepers {
    /// A client inside names its relays: its subscriptions leave the others, and go on at those.
    pub(super) fn name_relays(&mut self, client: ClientId, named: &[RelayId], turn: &mut Turn<'_>) {
        let Some(before) = self.clients.name_relays(client, named) else { return };
        self.subscriptions.name_relays(client, named, turn);
        for relay in before.iter().filter(|relay| !named.contains(relay)) {
            self.drop_parts(*relay, |subscription| subscription.client() == client, turn);
        }
        for relay in named.iter().filter(|relay| !before.contains(relay)) {
            self.requests.want_all(*relay, &mut self.subscriptions, turn);
        }
    }

    /// The owner has changed his list. Who is not on it any more loses its subscriptions.
    pub(super) fn allow(&mut self, keys: Vec<[u8; 32]>, turn: &mut Turn<'_>) {
        self.clients.set_allowed(keys);
        for (client, why) in self.clients.all_barred(turn) {
            for id in self.clients.subscriptions(client) {
                self.unsubscribe(client, &id, turn);
                turn.tell(client, Reply::Closed { id, why: why.clone() });
            }
        }
    }

    pub(super) fn client_left(&mut self, client: ClientId, turn: &mut Turn<'_>) {
        self.hear_out(client, turn);
        let Some((subscriptions, counts)) = self.clients.leave(client) else { return };
        self.relays.client_left(client);
        for key in subscriptions {
            self.end_subscription(key, turn);
        }
        for number in counts {
            self.counting.close(number, &mut self.relays, turn);
        }
    }

    pub(super) fn client_said(&mut self, client: ClientId, said: Said, turn: &mut Turn<'_>) {
        if self.clients.get(client).is_none() {
            return;
        }
        if !self.clients.takes(client, &said.message, turn.now) {
            return self.hear_too_fast(client, said.message, turn);
        }
        let said = match self.clients.hold(client, said) {
            Hearing::Later => return,
            Hearing::Now(said) => said,
            Hearing::AfterTheOthers(said) => {
                self.hear_out(client, turn);
                said
            }
        };
        self.hear(client, said, turn);
    }

    /// What waited for a verdict on who the client is waits no more.
    fn hear_out(&mut self, client: ClientId, turn: &mut Turn<'_>) {
        for said in self.clients.take_held(client) {
            if self.clients.takes(client, &said.message, turn.now) {
                self.hear(client, said, turn);
            } else {
                self.hear_too_fast(client, said.message, turn);
            }
        }
    }

    fn hear(&mut self, client: ClientId, said: Said, turn: &mut Turn<'_>) {
        let Said { message, read, ticket } = said;
        // What gets the same answer whoever asks.
        let open = matches!(
            message,
            ClientMessage::Auth { .. }
                | ClientMessage::Close { .. }
                | ClientMessage::NegClose
                | ClientMessage::Refused(_)
        );
        // Asked for of all, since it may send a challenge.
        if let Some(why) = self.clients.barred(client, turn).filter(|_| !open) {
            return self.hear_refused(client, message, &why, turn);
        }
        match message {
            ClientMessage::Event { id, json } => {
                let position = self.publishing.next_position(turn.now);
                let purpose = Purpose::Published { client, id, position, read, ticket };
                self.intake.take_from_client(client, purpose, json);
            }
            ClientMessage::Req { id, filters, resumed } => {
                self.subscribe(client, &id, filters, resumed, turn);
            }
            ClientMessage::Count { id, filters } => self.count(client, &id, filters, turn),
            ClientMessage::Close { id } => self.close(client, &id, turn),
            ClientMessage::Auth { id, json } => {
                self.clients.signs_in(client);
                let purpose = Purpose::Auth(client, id, ticket);
                self.intake.take_from_client(client, purpose, json);
            }
            ClientMessage::NegClose => {}
            ClientMessage::Refused(reply) => self.pass_on(client, reply, turn),
        }
    }

    /// It has said more in a second than it may.
    fn hear_too_fast(&mut self, client: ClientId, message: ClientMessage, turn: &mut Turn<'_>) {
        match message {
            ClientMessage::NegClose | ClientMessage::Close { .. } => {}
            ClientMessage::Refused(reply) => self.pass_on(client, reply, turn),
            _ => {
                let why = self.clients.too_fast();
                self.hear_refused(client, message, &why, turn);
            }
        }
    }

    /// What it asks for is refused, whatever it is.
    fn hear_refused(
        &mut self,
        client: ClientId,
        message: ClientMessage,
        why: &Reason,
        turn: &mut Turn<'_>,
    ) {
        match message {
            ClientMessage::Event { id: Some(id), .. } | ClientMessage::Auth { id, .. } => {
                self.refuse_unread(client, id, why, turn);
            }
            ClientMessage::Req { id, .. } | ClientMessage::Count { id, .. } => {
                self.close_with(client, id, why.clone(), turn);
            }
            _ => turn.tell(client, Reply::Notice(why.to_string())),
        }
    }

    /// What was refused before it came here, for its length or its shape.
    fn pass_on(&mut self, client: ClientId, reply: Reply, turn: &mut Turn<'_>) {
        match reply {
            Reply::Ok { id, why, .. } => self.refuse_unread(client, id, &why, turn),
            Reply::Closed { id, why } => self.close_with(client, id, why, turn),
            reply => turn.tell(client, reply),
        }
    }

    /// The verdict on a client's AUTH.
    pub(super) fn signed_in(
        &mut self,
        client: ClientId,
        id: EventId,
        result: &Result<Arc<Event>, EventError>,
        turn: &mut Turn<'_>,
    ) {
        let Some((judged, was_last)) = self.clients.signed_in(client, result, turn.now) else {
            return;
        };
        match judged {
            Ok(()) => accept(&[client], id, &Reason::none(), turn),
            // Some other event may have been sent by mistake, and be in good hands.
            Err(why) => self.refuse_unread(client, id, &why, turn),
        }
        if was_last {
            self.hear_out(client, turn);
        }
    }

    /// The verdict on a client's EVENT.
    pub(super) fn published(
        &mut self,
        client: ClientId,
        id: Option<EventId>,
        position: Position,
        read: Option<Duration>,
        result: Result<Arc<Event>, EventError>,
        turn: &mut Turn<'_>,
    ) {
        let event = match result {
            Ok(event) => event,
            Err(error) => {
                let why = Reason::new(Prefix::Invalid, error);
                let reply = match id {
                    Some(id) => Reply::Ok { id, accepted: false, why },
                    None => Reply::Notice(why.to_string()),
                };
                return turn.tell(client, reply);
            }
        };
        turn.stats.published.add();
        self.clients.published(client);
        let refusal = if event.kind() == KIND_AUTH {
            "kind 22242 is for authentication and never published"
        } else if event.expiration().is_some_and(|at| at <= turn.now.unix) {
            "expired"
        } else if is_ephemeral(event.kind())
            && read.is_none_or(|read| turn.now.mono > read + OK_DEADLINE)
        {
            // Who sent it may have given up on it: an order that comes late pays what was paid otherwise.
            return self.refuse_unread(client, *event.id(), &late(), turn);
        } else if let Some(why) = self.clients.not_its_author(client, &event, turn) {
            return self.refuse_unread(client, *event.id(), &why, turn);
        } else {
            return self.publish_true(client, event, position, turn);
        };
        let refusal = Reason::new(Prefix::Invalid, refusal);
        self.publish(turn, |_, means| means.refuse(&[client], *event.id(), &refusal));
    }

    /// A true event that its client may publish.
    fn publish_true(
        &mut self,
        client: ClientId,
        event: Arc<Event>,
        position: Position,
        turn: &mut Turn<'_>,
    ) {
        let publisher = self.clients.get(client);
        if let Some(named) = publisher.and_then(|publisher| publisher.relays()) {
            let named: Box<[RelayId]> = named.into();
            return self.publish(turn, |publishing, means| {
                publishing.publish_named(client, &event, &named, position, means);
            });
        }
        self.intake.note(&event);
        // One inside stands for any number of extensions, which pay each other too.
        let role = publisher.map(Client::role);
        let many = role == Some(Role::Inside);
        if self.subscriptions.hand_over(client, many, &event, turn) {
            self.answers.remember_here(*event.id());
        }
        self.publish(turn, |publishing, means| {
            if role.is_some_and(Role::is_sibling) {
                publishing.publish_passed(client, &event, position, means);
            } else {
                publishing.take_in(client, event, position, means);
            }
        });
    }

    /// An EVENT that is refused for who sent it, or not even looked at. The event of that id may be in
    /// good hands all the same.
    fn refuse_unread(&mut self, client: ClientId, id: EventId, why: &Reason, turn: &mut Turn<'_>) {
        self.publish(turn, |publishing, means| {
            if !publishing.join(client, &id, means.outbox, means.turn) {
                means.refuse(&[client], id, why);
            }
        });
    }

    fn subscribe(
        &mut self,
        client: ClientId,
        id: &str,
        filters: Vec<Filter>,
        resumed: Option<Resumed>,
        turn: &mut Turn<'_>,
    ) {
        self.unsubscribe(client, id, turn);
        let bytes = filters.iter().map(|filter| filter.json.len()).sum();
        if let Some(why) = self.clients.exceeds(client, bytes) {
            return turn.tell(client, Reply::Closed { id: id.into(), why });
        }
        let Some(subscriber) = self.clients.get(client) else { return };
        let filters: Arc<[Filter]> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.iter().all(Filter::is_ping) {
            if resumed.is_none() {
                turn.tell(client, Reply::Eose { id: id.into(), hint: Hint::None });
            }
            return;
        }
        let (only, role) = (subscriber.relays().map(Box::from), subscriber.role());
        let readable = self.relays.readable(only.as_deref(), role);
        let (searching, relays) = self.sources(&readable, &filters);
        let bytes = filters.iter().map(|filter| filter.json.len()).sum();
        let key = turn.numbers.subscription();
        self.clients.opened(client, id, key, bytes);
        let id = id.into();
        let opening = Opening { client, role, id, filters, only, searching, relays, resumed };
        self.subscriptions.open(key, opening, turn);
        let Self { outbox, answers, subscriptions, relays, .. } = self;
        outbox.answer(key, resumed.map(|it| it.since), answers, subscriptions, relays, turn);
        for relay in readable {
            self.requests.want(relay, key, &mut self.subscriptions, turn);
            turn.due.plan.insert(relay);
        }
    }

    /// Where a subscription with these filters is asked for, and whom it asks for what it searches
    /// (rule 3.8): the relays that say they know it, if one of them is connected.
    fn sources(&self, readable: &[RelayId], filters: &[Filter]) -> (Searching, Vec<Source>) {
        let source = |relay: &RelayId| Source {
            relay: *relay,
            away: self.relays.is_away(*relay),
            searches: self.relays.limits(*relay).searches == Some(true),
        };
        let sources: Vec<Source> = readable.iter().map(source).collect();
        let knows = |source: &Source| source.searches && self.relays.is_linked(source.relay);
        let searching = if filters.iter().all(|filter| filter.search.is_none()) {
            Searching::Nothing
        } else if sources.iter().any(knows) {
            Searching::Known
        } else {
            Searching::Anywhere
        };
        (searching, sources)
    }

    fn unsubscribe(&mut self, client: ClientId, id: &str, turn: &mut Turn<'_>) {
        if let Some(key) = self.clients.subscription(client, id) {
            self.end_subscription(key, turn);
        }
    }

    /// Forgets a subscription and ends it at every relay that was asked.
    fn end_subscription(&mut self, key: SubscriptionKey, turn: &mut Turn<'_>) {
        let Some(ended) = self.subscriptions.close(key, turn) else { return };
        self.clients.closed(ended.client(), ended.id(), ended.filter_bytes());
        self.requests.owe_nothing(key);
        let Self { requests, subscriptions, relays, .. } = self;
        for part in ended.into_parts() {
            requests.leave(key, &part, subscriptions, relays, turn);
        }
    }

    /// Sends EOSE or CLOSED where it is due, and else sets the time to look again.
    pub(super) fn look_at_eose(&mut self, key: SubscriptionKey, turn: &mut Turn<'_>) {
        let Self { requests, subscriptions, relays, .. } = self;
        loop {
            match subscriptions.look(key, requests.owes(key), relays, turn) {
                Look::Waits => return,
                Look::Finishes(brought) => requests.owe(key, &brought),
                Look::Fills => requests.owe_nothing(key),
                Look::Over(parts) => {
                    for part in parts {
                        requests.leave(key, &part, subscriptions, relays, turn);
                    }
                    return;
                }
                Look::Refused(why) => {
                    let Some(ended) = subscriptions.get(key) else { return };
                    let (client, id) = (ended.client(), ended.id().as_ref().into());
                    self.end_subscription(key, turn);
                    let why = why.about(Cause::NotServed);
                    return turn.tell(client, Reply::Closed { id, why });
                }
            }
        }
    }

    fn count(&mut self, client: ClientId, id: &str, filters: Vec<Filter>, turn: &mut Turn<'_>) {
        self.end_count(client, id, turn);
        let bytes = filters.iter().map(|filter| filter.json.len()).sum();
        if let Some(why) = self.clients.exceeds(client, bytes) {
            return self.close_with(client, id.into(), why, turn);
        }
        let Some(asker) = self.clients.get(client) else { return };
        let filters: Vec<Filter> =
            filters.into_iter().filter(|filter| !filter.matches_nothing()).collect();
        if filters.is_empty() {
            let counted = Counted::exactly(0);
            return turn.tell(client, Reply::Count { id: id.into(), counted });
        }
        let readable = self.relays.readable(asker.relays(), asker.role());
        let question = CountQuery { client, role: asker.role(), id: id.into(), filters };
        let bytes = question.bytes();
        match self.counting.open(question, &readable, &mut self.relays, turn) {
            Ok(number) => self.clients.counts(client, id, number, bytes),
            Err(why) => self.close_with(client, id.into(), why, turn),
        }
    }

    /// A COUNT has ended by itself.
    pub(super) fn count_ended(&mut self, ended: Option<Ended>, turn: &mut Turn<'_>) {
        let Some(Ended { question, answer }) = ended else { return };
        let (client, id): (_, Box<str>) = (question.client, question.id.as_ref().into());
        self.clients.counted(client, &id, question.bytes());
        match answer {
            Ok(counted) => turn.tell(client, Reply::Count { id, counted }),
            Err(why) => self.close_with(client, id, why, turn),
        }
    }

    /// A client's COUNT of this id is wanted no more.
    fn end_count(&mut self, client: ClientId, id: &str, turn: &mut Turn<'_>) {
        let Some(number) = self.clients.count(client, id) else { return };
        if let Some(question) = self.counting.close(number, &mut self.relays, turn) {
            self.clients.counted(client, id, question.bytes());
        }
    }

    /// A client's CLOSE ends what it has under this id.
    fn close(&mut self, client: ClientId, id: &str, turn: &mut Turn<'_>) {
        self.end_count(client, id, turn);
        self.unsubscribe(client, id, turn);
    }

    /// The client is told CLOSED, which to it ends whatever it has under this id.
    fn close_with(&mut self, client: ClientId, id: Box<str>, why: Reason, turn: &mut Turn<'_>) {
        self.close(client, &id, turn);
        turn.tell(client, Reply::Closed { id, why });
    }
}

fn late() -> Reason {
    Reason::new(Prefix::Mute, "it had waited too long before it was read here, and is not sent")
}
