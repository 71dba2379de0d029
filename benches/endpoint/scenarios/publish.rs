//! One client publishes signed events. First always with as many unanswered as the endpoint has
//! room for: OKs a second; every relay must have got every event once. Then at an even pace: time
//! from the EVENT to its OK.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};

use super::stored::verify;
use crate::client::{Client, until};
use crate::contender::{Contender, Who};
use crate::events::Events;
use crate::failure::{Failure, Result, check};
use crate::goals::VERIFY;
use crate::parameters as p;
use crate::report::{Figures, millis, per_second, times};
use crate::stage::Stage;

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<()> {
    let relays = stage.relays;
    let name = format!("publish, {relays} relays");
    let once = async |contender: &Contender, events: &Events| {
        let wall = if contender.who == Who::Ours { Some(verify(events)?) } else { None };
        let most = if contender.who == Who::Peer { p::PEER_FRAMES / relays } else { p::PUBLISH };
        let events = events.first(most);
        let received = contender.relays.received();
        // Its own client each time: the endpoint limits messages per second and client.
        let mut client = Client::connect(&contender.endpoint).await?;
        let started = Instant::now();
        let finished = publish(&mut client, &events).await?;
        let rate = per_second(events.len(), finished - started);
        arrived(contender, &received, events.len()).await?;
        client.close().await;
        let mut figures = vec![(format!("{name}, OKs/s"), rate)];
        figures.extend(wall.map(|rate| (VERIFY.to_owned(), rate)));
        Ok::<Figures, _>(figures)
    };
    stage.in_turn(&name, &Who::ALL, p::ROUNDS, p::PUBLISH, once).await?;

    let measure = format!("{name}, {}/s, EVENT to OK", p::PACED_PER_SECOND);
    let once = async |contender: &Contender, events: &Events| {
        Ok::<Figures, _>(times(&measure, at_a_pace(contender, events).await?))
    };
    stage.in_turn(&measure, &Who::ALL, p::ROUNDS, p::PACED, once).await
}

/// Milliseconds from each EVENT to its OK.
async fn at_a_pace(contender: &Contender, events: &Events) -> Result<Vec<f64>> {
    let mut client = Client::connect(&contender.endpoint).await?;
    let mut answers = Answers::new(events);
    let mut pace =
        interval(Duration::from_secs(1) / u32::try_from(p::PACED_PER_SECOND).unwrap_or(1));
    let mut sent = Vec::with_capacity(events.len());
    let mut taken = Vec::with_capacity(events.len());
    while taken.len() < events.len() {
        let sending = sent.len() < events.len();
        let mut deadline = Instant::now() + p::STEP;
        if sending {
            deadline = pace.tick().await + pace.period();
            sent.push(Instant::now());
            client.send(format!(r#"["EVENT",{}]"#, events.get(sent.len() - 1))).await?;
        }
        let take = |text: &str| {
            taken.push(millis(sent[answers.take(text)?].elapsed()));
            Ok(until(taken.len() == events.len()))
        };
        let all = client.read_until(deadline, take).await?;
        check(all || sending, || format!("{} of {} answered", taken.len(), events.len()))?;
    }
    client.close().await;
    Ok(taken)
}

/// When the last OK came.
async fn publish(client: &mut Client, events: &Events) -> Result<Instant> {
    let mut answers = Answers::new(events);
    let mut sent = 0;
    while answers.count < events.len() {
        while sent < events.len() && sent - answers.count < p::PUBLISH_WINDOW {
            client.feed(format!(r#"["EVENT",{}]"#, events.get(sent))).await?;
            sent += 1;
        }
        client.flush().await?;
        // Go on with the next ones once a tenth of the window is free.
        let enough = events.len().min(answers.count + p::PUBLISH_WINDOW / 10);
        let take = |text: &str| {
            answers.take(text)?;
            Ok(until(answers.count >= enough))
        };
        let answered = client.read_until(Instant::now() + p::STEP, take).await?;
        check(answered, || format!("{} of {} answered", answers.count, events.len()))?;
    }
    let finished = Instant::now();
    client
        .read_until(finished + p::SETTLE, |text| answers.take(text).map(|_| until(false)))
        .await?;
    Ok(finished)
}

/// One OK `true` per event, and nothing else.
struct Answers<'a> {
    unanswered: HashMap<&'a str, usize>,
    count: usize,
}

impl<'a> Answers<'a> {
    fn new(events: &'a Events) -> Self {
        let unanswered = (0..events.len()).map(|position| (events.id(position), position));
        Self { unanswered: unanswered.collect(), count: 0 }
    }

    /// The position of the event that was answered.
    fn take(&mut self, text: &str) -> Result<usize> {
        let unexpected = || Failure::Check(format!("unexpected answer: {text}"));
        let (verb, id, accepted, message): (String, String, bool, String) =
            serde_json::from_str(text).map_err(|_| unexpected())?;
        // The relays answer at once: "unanswered" would be a lost answer.
        let good = verb == "OK" && accepted && !message.contains("unanswered");
        let position = self.unanswered.remove(id.as_str()).filter(|_| good);
        self.count += 1;
        position.ok_or_else(unexpected)
    }
}

/// Wait until every relay has got the events of this round. An OK comes when the first one has.
async fn arrived(contender: &Contender, before: &[usize], events: usize) -> Result<()> {
    let deadline = Instant::now() + p::STEP;
    loop {
        let now = contender.relays.received();
        let counts: Vec<_> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        if counts.iter().all(|&count| count == events) {
            return Ok(());
        }
        check(Instant::now() < deadline, || format!("events the relays got: {counts:?}"))?;
        sleep(Duration::from_millis(10)).await;
    }
}
