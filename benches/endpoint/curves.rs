//! How it grows: with relays, with clients, with subscriptions. Drawn into docs/images.

use std::path::PathBuf;

use plotters::prelude::*;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::contender::{Contender, Who};
use crate::events::Supply;
use crate::failure::{Failure, Result};
use crate::parameters as p;
use crate::report::{Report, float, number};
use crate::scenarios::{fan_out, live, next, own_filter, stored, subscribers};
use crate::stage::Stage;

const SIZE: (u32, u32) = (720, 400);

/// One picture: lines over a number that grows by factors.
struct Picture {
    file: &'static str,
    title: &'static str,
    across: &'static str,
    up: &'static str,
    lines: Vec<Line>,
}

struct Line {
    label: String,
    points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    Relays,
    Clients,
    Subscriptions,
}

impl Curve {
    pub(crate) const ALL: [Self; 3] = [Self::Relays, Self::Clients, Self::Subscriptions];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relays => "over-relays",
            Self::Clients => "over-clients",
            Self::Subscriptions => "over-subscriptions",
        }
    }

    /// Measure it and draw it, as far as it could be measured. What went wrong is in `report`.
    pub(crate) async fn draw(self, supply: &mut Supply, report: &mut Report) -> Result<()> {
        let picture = match self {
            Self::Relays => over_relays(supply, report).await?,
            Self::Clients => over_clients(supply, report).await?,
            Self::Subscriptions => over_subscriptions(supply, report).await?,
        };
        picture.draw()
    }
}

/// Stored events a second with more and more relays that all have the same ones.
async fn over_relays(supply: &mut Supply, report: &mut Report) -> Result<Picture> {
    let whom = [Who::Peer, Who::Ours];
    for relays in p::CURVE_RELAYS {
        eprintln!("  {relays} relays");
        let mut stage = Stage::start(&whom, relays, supply, report).await;
        let once =
            async |contender: &Contender, events: &_| stored::once(contender, events, relays).await;
        stage.in_turn("stored", &whom, p::CURVE_ROUNDS, p::STORED, once).await?;
    }
    let measure = |relays| format!("stored, {relays} relays, unique events/s");
    Ok(Picture {
        file: "stored-over-relays.svg",
        title: "Stored events to one client",
        across: "relays, all with the same 20,000 events",
        up: "unique events a second",
        lines: lines(report, &whom, &p::CURVE_RELAYS, measure),
    })
}

/// Deliveries a second to more and more clients.
async fn over_clients(supply: &mut Supply, report: &mut Report) -> Result<Picture> {
    let whom = [Who::Relay, Who::Ours];
    let mut stage = Stage::start(&whom, p::RELAYS, supply, report).await;
    let name = |clients| format!("fan-out to {clients}");
    for clients in p::CURVE_CLIENTS {
        eprintln!("  {clients} clients");
        let events = (p::CURVE_DELIVERIES / clients).min(5_000);
        let once = async |contender: &Contender, events: &_| {
            fan_out::once(contender, events, clients, &name(clients)).await
        };
        stage.in_turn("fan-out", &whom, p::CURVE_ROUNDS, events, once).await?;
    }
    let measure = |clients| format!("{}, deliveries/s", name(clients));
    Ok(Picture {
        file: "fan-out-over-clients.svg",
        title: "Live events to many clients",
        across: "clients with a subscription each",
        up: "deliveries a second",
        lines: lines(report, &whom, &p::CURVE_CLIENTS, measure),
    })
}

/// Live latency of one client while others have more and more subscriptions that wait.
async fn over_subscriptions(supply: &mut Supply, report: &mut Report) -> Result<Picture> {
    let mut stage =
        Stage::start_with(&[Who::Ours], p::RELAYS, Some(p::CURVE_PLACES), supply, report).await;
    let mut waiting = Vec::new();
    let mut there = 0;
    for subscriptions in p::CURVE_SUBSCRIPTIONS {
        eprintln!("  {subscriptions} subscriptions");
        let endpoint = stage.only()?.endpoint.clone();
        waiting.extend(wait_for_nothing(&endpoint, there..subscriptions - 1).await?);
        there = subscriptions - 1;
        let once = async |contender: &Contender, events: &crate::events::Events| {
            let filter = |_| own_filter(events.number());
            let one = subscribers(contender, 1, 1, events, filter).await?;
            let taken = live::latencies(contender, events, 200, one).await?;
            Ok(crate::report::times(&format!("with {subscriptions}"), taken))
        };
        stage.in_turn("live", &[Who::Ours], p::CURVE_ROUNDS, p::CURVE_LIVE, once).await?;
    }
    let measured = ["p50 ms", "p99 ms"].map(|which| {
        let measure = |subscriptions| format!("with {subscriptions}, {which}");
        let line = lines(report, &[Who::Ours], &p::CURVE_SUBSCRIPTIONS, measure);
        line.into_iter().map(move |line| Line { label: which.to_owned(), ..line })
    });
    Ok(Picture {
        file: "live-over-subscriptions.svg",
        title: "From the relay to the client, 200 events a second",
        across: "subscriptions open, of which one matches",
        up: "milliseconds",
        lines: measured.into_iter().flatten().collect(),
    })
}

/// Clients with subscriptions that nothing matches.
async fn wait_for_nothing(endpoint: &str, numbers: std::ops::Range<usize>) -> Result<Vec<Client>> {
    let (mut opening, mut waiting) = (JoinSet::new(), Vec::new());
    for first in numbers.clone().step_by(p::CURVE_EACH) {
        let own = first..numbers.end.min(first + p::CURVE_EACH);
        let endpoint = endpoint.to_owned();
        opening.spawn(async move {
            let mut client = Client::connect(&endpoint).await?;
            client.wait_for_nobody(own).await?;
            Ok(client)
        });
        if opening.len() == 10 {
            waiting.extend(next(&mut opening).await?);
        }
    }
    while let Some(client) = next(&mut opening).await? {
        waiting.push(client);
    }
    Ok(waiting)
}

/// What was measured of each, as far as it was.
fn lines(
    report: &Report,
    whom: &[Who],
    numbers: &[usize],
    measure: impl Fn(usize) -> String,
) -> Vec<Line> {
    let line = |&who: &Who| {
        let point = |&number: &usize| Some((float(number), report.median(who, &measure(number))?));
        let points = numbers.iter().filter_map(point).collect();
        Line { label: who.title().to_owned(), points }
    };
    whom.iter().map(line).collect()
}

impl Picture {
    fn draw(&self) -> Result<()> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(self.file);
        self.draw_into(&path).map_err(|error| Failure::Setup(error.to_string()))?;
        eprintln!("{}", path.display());
        Ok(())
    }

    fn draw_into(
        &self,
        path: &std::path::Path,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(1e-3, f64::max);
        let least = points().map(|(_, y)| y).fold(f64::INFINITY, f64::min);
        let across = 1.0..most(&mut points().map(|(x, _)| x));
        let top = most(&mut points().map(|(_, y)| y));
        // The labels stand above the lines.
        let up = least / 2.0..top * (2.0 * top / least).powf(0.4);

        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .margin_right(40)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(across.log_scale(), up.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.across)
            .y_desc(self.up)
            .light_line_style(WHITE)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()?;
        for (number, line) in self.lines.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let marks = line.points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?
                .label(&line.label)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
            chart.draw_series(marks)?;
        }
        let labels = SeriesLabelPosition::UpperRight;
        chart
            .configure_series_labels()
            .position(labels)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
        Ok(())
    }
}
