//! What Linux says about a process: memory, processor time, its child.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::interval;

use crate::failure::{Failure, Result};

/// `/proc/<pid>/stat` counts in hundredths of a second on every Linux we run on.
const TICK: Duration = Duration::from_millis(10);

/// Resident memory of a process, in MiB.
pub(crate) fn memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| unreadable(pid))
}

/// Do `meanwhile`: the most memory of the process until that has ended, in MiB.
pub(crate) async fn highest_memory<T>(
    pid: u32,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<(T, f64)> {
    let mut highest = memory(pid)?;
    let mut pace = interval(Duration::from_millis(50));
    tokio::pin!(meanwhile);
    loop {
        tokio::select! {
            ended = &mut meanwhile => return Ok((ended?, highest)),
            _ = pace.tick() => highest = highest.max(memory(pid)?),
        }
    }
}

/// Let this process, and those that it starts, have so many open files, or as many as it may.
pub(crate) fn raise_open_files(wanted: u64) {
    let now = getrlimit(Resource::Nofile);
    // None stands for no limit. More than the hard one only root may have, and not everywhere.
    let maximum = now.maximum.map(|most| most.max(wanted));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_err() {
        let most = now.maximum.unwrap_or(wanted);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..now });
        eprintln!("open files: {most}, not {wanted}: some clients may not get in");
    }
}

/// Processor time a process has used, all threads together.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    // utime and stime.
    Ok(TICK * (stat(pid, 14)? + stat(pid, 15)?))
}

/// The process that `parent` has started.
pub(crate) fn only_child(parent: u32) -> Result<u32> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // Others come and go meanwhile.
        children.extend(pid.filter(|&pid| stat(pid, 4).is_ok_and(|of| of == parent)));
    }
    match children[..] {
        [child] => Ok(child),
        _ => Err(Failure::Setup(format!("the launcher's processes: {children:?}, not one"))),
    }
}

/// A field of `/proc/<pid>/stat`, numbered as in proc(5).
fn stat(pid: u32, number: usize) -> Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces. The first field after it is number 3.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let field = fields.and_then(|fields| fields.split_whitespace().nth(number - 3));
    field.and_then(|field| field.parse().ok()).ok_or_else(|| unreadable(pid))
}

fn unreadable(pid: u32) -> Failure {
    Failure::Setup(format!("cannot read the figures of process {pid}"))
}
