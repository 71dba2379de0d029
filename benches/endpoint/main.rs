//! Speed of the endpoint inside `LNbits`, beside what it has to be compared with:
//! `cargo bench --bench endpoint -- [SCENARIO…] [--keep]`, or `make bench`, which installs that.
//!
//! Starts relays of its own, an `LNbits` and another multiplexer that use such relays, and talks to
//! all of them as any Nostr client does, checking every message. Prints a table of what was measured
//! and the list of what is to be reached. Ends with 1 when a goal is missed or we did something wrong.
//! Without names all scenarios run. `--keep` puts the tables into docs/performance.md. `curves`, or
//! the name of one, draws those in docs/images instead.

mod api;
mod client;
mod contender;
mod curves;
mod events;
mod failure;
mod goals;
mod http;
mod page;
mod parameters;
mod peer;
mod process;
mod raw;
mod relay;
mod report;
mod scenarios;
mod server;
mod stage;

use std::process::ExitCode;
use std::time::Instant;

use contender::Who;
use curves::Curve;
use events::Supply;
use failure::{Failure, Result};
use report::Report;
use scenarios::Scenario;
use stage::Stage;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every goal was reached.
fn run() -> Result<bool> {
    let options = Options::parse(std::env::args().skip(1))?;
    process::raise_open_files(parameters::OPEN_FILES);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut supply = Supply::open()?;
    let machine = page::machine()?;
    eprintln!("{machine} (figures need a quiet one)");
    let mut report = Report::default();
    if !options.curves.is_empty() {
        runtime.block_on(draw(&options.curves, &mut supply, &mut report));
        println!("\n{}", report.text());
        return Ok(report.passed());
    }
    runtime.block_on(measure(&options.scenarios, &mut supply, &mut report));
    println!("\n{}", report.text());
    if options.keep {
        page::keep(&machine, &report.text())?;
    }
    Ok(report.passed())
}

/// One scenario after the other. Those that can share what is started for them.
async fn measure(scenarios: &[Scenario], supply: &mut Supply, report: &mut Report) {
    let counts = [parameters::RELAYS, 1, parameters::REST_RELAYS];
    for relays in counts {
        let here = |scenario: &&Scenario| scenario.relays().contains(&relays);
        let (alone, together): (Vec<&Scenario>, Vec<&Scenario>) =
            scenarios.iter().filter(here).partition(|scenario| scenario.alone());
        for scenario in alone {
            let mut stage = Stage::start(scenario.whom(), relays, supply, report).await;
            play(*scenario, &mut stage).await;
        }
        if !together.is_empty() {
            let mut stage = Stage::start(&Who::ALL, relays, supply, report).await;
            for scenario in together {
                play(*scenario, &mut stage).await;
            }
        }
    }
}

/// One curve after the other.
async fn draw(curves: &[Curve], supply: &mut Supply, report: &mut Report) {
    for curve in curves {
        let started = Instant::now();
        eprintln!("{} …", curve.name());
        if let Err(failure) = curve.draw(supply, report).await {
            report.fault(Who::Ours, format!("{}: {failure}", curve.name()));
        }
        eprintln!("  {:.0} s", started.elapsed().as_secs_f64());
    }
}

async fn play(scenario: Scenario, stage: &mut Stage<'_>) {
    let started = Instant::now();
    eprintln!("{}, {} relays …", scenario.name(), stage.relays);
    stage.report.played(scenario.name());
    if let Err(failure) = scenario.run(stage).await {
        stage.report.fault(Who::Ours, format!("{}: {failure}", scenario.name()));
    }
    eprintln!("  {:.0} s", started.elapsed().as_secs_f64());
}

/// What the command line asks for.
struct Options {
    scenarios: Vec<Scenario>,
    keep: bool,
    curves: Vec<Curve>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { scenarios: Vec::new(), keep: false, curves: Vec::new() };
        // cargo adds `--bench`.
        for argument in arguments.filter(|argument| argument != "--bench") {
            let named = Scenario::ALL.into_iter().find(|scenario| scenario.name() == argument);
            let curve = Curve::ALL.into_iter().find(|curve| curve.name() == argument);
            match (named, curve, argument.as_str()) {
                (Some(scenario), _, _) => options.scenarios.push(scenario),
                (_, Some(curve), _) => options.curves.push(curve),
                (_, _, "--keep") => options.keep = true,
                (_, _, "curves") => options.curves = Curve::ALL.to_vec(),
                _ => {
                    let scenarios = Scenario::ALL.map(Scenario::name);
                    let curves = Curve::ALL.map(Curve::name);
                    let names = [&scenarios[..], &curves[..]].concat().join(", ");
                    let complaint = format!("no scenario {argument}: there are {names}");
                    return Err(Failure::Setup(complaint));
                }
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = Scenario::ALL.to_vec();
        }
        Ok(options)
    }
}
