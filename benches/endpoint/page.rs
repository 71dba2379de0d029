//! docs/performance.md, as far as it is written by the benchmark: the tables of the last run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, Result};

const BEGIN: &str = "<!-- measured: `make bench KEEP=1` writes what follows -->\n";
const END: &str = "<!-- measured: end -->";

/// Put the tables in the place of those of the run before.
pub(crate) fn keep(machine: &str, tables: &str) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let page = fs::read_to_string(&path)?;
    let missing = || Failure::Setup(format!("{} has lost its markers", path.display()));
    let (before, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    fs::write(&path, format!("{before}{BEGIN}\n{machine}.\n\n{tables}\n{END}{after}"))?;
    Ok(())
}

/// Day, machine and version, and how busy it is with other things.
pub(crate) fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "{}, version {}: {}, {cores} threads, {} GiB, load before {}",
        said_by("date", &["+%Y-%m-%d"]),
        env!("CARGO_PKG_VERSION"),
        model.unwrap_or("an unnamed processor"),
        kib.unwrap_or(0) >> 20,
        load.split(' ').next().unwrap_or_default(),
    ))
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or(String::new(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
