//! One client publishes signed events, always with as many unanswered as the endpoint has room
//! for: time from the first EVENT to the last OK. Every relay must have got every event once.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Stage, per_second};
use crate::client::{Client, until};
use crate::events::Events;
use crate::failure::{Failure, Result, check};
use crate::parameters as p;
use crate::report::Row;

const NAME: &str = "publish";

pub(super) async fn run(stage: &mut Stage<'_>) -> Result<Vec<Row>> {
    let mut rates = Vec::new();
    let before = stage.processor_time()?;
    for _ in 0..p::RUNS {
        let events = stage.supply.take(p::PUBLISH)?;
        let received = stage.relays.received();
        // Its own client each time: the endpoint limits messages per second and client.
        let mut client = Client::connect(&stage.endpoint).await?;
        let started = Instant::now();
        let finished = publish(&mut client, &events).await?;
        rates.push(per_second(p::PUBLISH, finished - started));
        arrived(stage, &received).await?;
        client.close().await;
    }
    let mut rows = vec![Row::rate(NAME, "events/s to the last OK", rates, None)];
    rows.extend(stage.cost(NAME, before, p::RUNS * p::PUBLISH)?);
    Ok(rows)
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
        let answered = client
            .read_until(Instant::now() + p::STEP, |text| {
                answers.take(text)?;
                Ok(until(answers.count >= enough))
            })
            .await?;
        check(answered, || format!("{} of {} answered", answers.count, events.len()))?;
    }
    let finished = Instant::now();
    client
        .read_until(finished + p::SETTLE, |text| answers.take(text).map(|()| until(false)))
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

    fn take(&mut self, text: &str) -> Result<()> {
        let unexpected = || Failure::Check(format!("unexpected answer: {text}"));
        let (verb, id, accepted, message): (String, String, bool, String) =
            serde_json::from_str(text).map_err(|_| unexpected())?;
        // The relays answer at once: "unanswered" would be a lost answer.
        let good = verb == "OK" && accepted && !message.contains("unanswered");
        if !good || self.unanswered.remove(id.as_str()).is_none() {
            return Err(unexpected());
        }
        self.count += 1;
        Ok(())
    }
}

/// Wait until every relay has got the events of this run. An OK comes when the first one has.
async fn arrived(stage: &Stage<'_>, before: &[usize]) -> Result<()> {
    let deadline = Instant::now() + p::STEP;
    loop {
        let now = stage.relays.received();
        let counts: Vec<_> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        // One relay when it is talked to directly, else all.
        let wanted = if stage.pid.is_some() { counts.len() } else { 1 };
        if counts.iter().filter(|&&count| count == p::PUBLISH).count() == wanted {
            return Ok(());
        }
        check(Instant::now() < deadline, || format!("events the relays got: {counts:?}"))?;
        sleep(Duration::from_millis(10)).await;
    }
}
