//! Speed of the endpoint inside `LNbits`: `cargo bench --bench endpoint -- [direct] [SCENARIO…]`.
//!
//! Starts relays of its own and an `LNbits` that uses them, talks to the endpoint as any Nostr
//! client does, checks every message, and prints a table of figures and goals. Ends with 1 when
//! a goal is missed or a check fails. Without names all scenarios run; `direct` runs them
//! against one of the relays itself, without `LNbits`, to see how fast the benchmark can be.

mod client;
mod events;
mod failure;
mod parameters;
mod process;
mod relay;
mod report;
mod scenarios;
mod server;

use std::process::ExitCode;

use events::Supply;
use failure::{Failure, Result};
use relay::Relays;
use report::{Report, Row};
use scenarios::{Scenario, Stage};
use server::LnBits;

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            report.print();
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Report> {
    let options = Options::parse(std::env::args().skip(1))?;
    let wanted = options.scenarios.iter().map(|scenario| scenario.events()).sum();
    let mut supply = Supply::open(wanted)?;
    let relays = Relays::start(parameters::RELAYS)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    eprintln!("load of the machine before: {load} (figures need a quiet one)");
    let mut report = Report::default();
    let mut lnbits = None;
    for scenario in options.scenarios {
        eprintln!("{} …", scenario.name());
        if !options.direct && (lnbits.is_none() || scenario.alone()) {
            // The old one first.
            drop(lnbits.take());
            match LnBits::start(&relays.urls()) {
                Ok(started) => lnbits = Some(started),
                Err(failure) => {
                    report.extend(vec![Row::failure(scenario.name(), &failure.to_string())]);
                    break;
                }
            }
        }
        let (endpoint, pid) = match &lnbits {
            Some(lnbits) => (lnbits.endpoint.clone(), Some(lnbits.pid)),
            None => (relays.urls()[0].to_owned(), None),
        };
        let mut stage = Stage { endpoint, relays: &relays, supply: &mut supply, pid };
        report.extend(runtime.block_on(scenario.run(&mut stage)));
    }
    Ok(report)
}

/// What the command line asks for.
struct Options {
    direct: bool,
    scenarios: Vec<Scenario>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { direct: false, scenarios: Vec::new() };
        // cargo adds `--bench`.
        for argument in arguments.filter(|argument| argument != "--bench") {
            let named = Scenario::ALL.into_iter().find(|scenario| scenario.name() == argument);
            match named {
                Some(scenario) => options.scenarios.push(scenario),
                None if argument == "direct" => options.direct = true,
                None => {
                    let names = Scenario::ALL.map(Scenario::name).join(", ");
                    let complaint = format!("no scenario {argument}: there are {names}");
                    return Err(Failure::Setup(complaint));
                }
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = Scenario::ALL.to_vec();
        }
        // Only a process of its own has a memory to measure.
        options.scenarios.retain(|&scenario| !(options.direct && scenario == Scenario::Memory));
        Ok(options)
    }
}
