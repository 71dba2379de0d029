//! What a scenario runs on: those who are measured, started with relays behind them, and their
//! turns.

use tokio::time::timeout;

use crate::contender::{Contender, Who};
use crate::events::{Events, Supply};
use crate::failure::{Failure, Result};
use crate::parameters as p;
use crate::report::{Figures, Report};

pub(crate) struct Stage<'a> {
    contenders: Vec<Contender>,
    /// How many relays are behind each.
    pub(crate) relays: usize,
    supply: &'a mut Supply,
    pub(crate) report: &'a mut Report,
}

impl<'a> Stage<'a> {
    /// Start those. One that does not start is missing, and the report says so.
    pub(crate) async fn start(
        whom: &[Who],
        relays: usize,
        supply: &'a mut Supply,
        report: &'a mut Report,
    ) -> Self {
        Self::start_with(whom, relays, None, supply, report).await
    }

    /// The same with relays that say how many subscriptions they take.
    pub(crate) async fn start_with(
        whom: &[Who],
        relays: usize,
        places: Option<usize>,
        supply: &'a mut Supply,
        report: &'a mut Report,
    ) -> Self {
        let mut contenders = Vec::new();
        for &who in whom {
            match Contender::start(who, relays, places).await {
                Ok(contender) => contenders.push(contender),
                Err(failure) => report.fault(who, failure.to_string()),
            }
        }
        Self { contenders, relays, supply, report }
    }

    /// The one there is.
    pub(crate) fn only(&self) -> Result<&Contender> {
        match &self.contenders[..] {
            [contender] => Ok(contender),
            _ => Err(not_started()),
        }
    }

    /// The one there is, and events that it has not seen.
    pub(crate) fn only_with_supply(&mut self) -> Result<(&Contender, &mut Supply)> {
        match &self.contenders[..] {
            [contender] => Ok((contender, self.supply)),
            _ => Err(not_started()),
        }
    }

    /// Measure each of `whom` `rounds` times, one after the other, so that whatever else the
    /// machine does hits all of them. In a round all get the same `events` new events. Who
    /// fails is not asked again.
    pub(crate) async fn in_turn<F>(
        &mut self,
        name: &str,
        whom: &[Who],
        rounds: usize,
        events: usize,
        mut once: F,
    ) -> Result<()>
    where
        F: AsyncFnMut(&Contender, &Events) -> Result<Figures>,
    {
        let mut failed = Vec::new();
        for _ in 0..rounds {
            let events = self.supply.take(events)?;
            for contender in &self.contenders {
                let who = contender.who;
                if !whom.contains(&who) || failed.contains(&who) {
                    continue;
                }
                contender.relays.set_stored(None).await;
                let late = Failure::Check(format!("not finished after {:?}", p::TURN));
                match timeout(p::TURN, once(contender, &events)).await.unwrap_or(Err(late)) {
                    Ok(figures) => self.report.add(who, figures),
                    Err(failure) => {
                        failed.push(who);
                        self.report.fault(who, format!("{name}: {failure}"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn not_started() -> Failure {
    Failure::Setup("it was not started".to_owned())
}
