//! Every call on the disk fails, once and from then on: what is said to be done is done, and once the faults are gone
//! the log is whole.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sim::disk::{How, Planned};
use crate::sim::drive::run_planned;
use crate::sim::swarm::Swarm;
use crate::sim::{quiet_panics, without_panic};
use crate::summary::Summary;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many failing calls are tried at most; without a number all.
    #[arg(long)]
    runs: Option<u64>,
    /// Where random numbers start: another number is another set of workloads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs at the same time.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Shows one failing call, by its number.
    #[arg(long)]
    trace: Option<u64>,
}

/// Appends of all kinds; rolls, seals and merges; consumers and readers.
fn workloads() -> [Swarm; 3] {
    [
        Swarm::plain(50, 3, [40, 10, 3, 5, 10, 5, 2, 0, 1, 0, 1, 1, 2, 4, 2, 0]),
        Swarm::plain(40, 60, [40, 10, 3, 2, 20, 5, 2, 1, 1, 1, 1, 1, 1, 2, 2, 0]),
        Swarm::plain(45, 5, [20, 5, 1, 2, 8, 8, 1, 1, 1, 1, 1, 3, 3, 30, 3, 0]),
    ]
}

/// One failing call of one workload.
struct Case {
    workload: usize,
    planned: Planned,
}

/// All failing calls, and how many calls the workloads make.
fn cases(seed: u64) -> Result<(Vec<Case>, u64), String> {
    let (mut cases, mut calls) = (Vec::new(), 0);
    for (workload, swarm) in workloads().iter().enumerate() {
        let count = run_planned(swarm, seed + workload as u64, None, false)?;
        calls += count;
        for nth in 0..count {
            for how in [How::Eio, How::Full, How::Short, How::Handles] {
                for forever in [false, true] {
                    cases.push(Case { workload, planned: Planned { nth, forever, how } });
                }
            }
        }
    }
    Ok((cases, calls))
}

fn try_case(seed: u64, case: &Case, shown: bool) -> Result<(), String> {
    let swarm = &workloads()[case.workload];
    let run = || run_planned(swarm, seed + case.workload as u64, Some(case.planned), shown);
    without_panic(run).map(drop).map_err(|broken| format!("workload {}, {:?}: {broken}", case.workload, case.planned))
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("sweep");
    quiet_panics();
    let (cases, calls) = match cases(args.seed) {
        Ok(cases) => cases,
        Err(broken) => {
            summary.violation(format!("without a fault: {broken}"));
            return summary;
        }
    };
    let chosen: Vec<(usize, &Case)> = match args.trace {
        Some(number) => cases.iter().enumerate().skip(number as usize).take(1).collect(),
        None => cases.iter().enumerate().take(args.runs.unwrap_or(u64::MAX) as usize).collect(),
    };
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                while let Some((number, case)) = chosen.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(broken) = try_case(args.seed, case, args.trace.is_some()) {
                        found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*number, broken));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort();
    for (number, broken) in &found {
        summary.violation(format!("{broken}; tools/torture sweep --seed {} --trace {number}", args.seed));
    }
    summary.count("workloads", workloads().len() as u64);
    summary.count("call sites", calls);
    summary.count("failing calls", chosen.len() as u64);
    summary
}

/// The first broken promise: how many failing calls it took, and what it was.
#[allow(dead_code)] // asked by the layer of planted bugs
pub fn first_violation(seed: u64, runs: u64) -> Option<(u64, String)> {
    quiet_panics();
    let (cases, _) = match without_panic(|| cases(seed)) {
        Ok(cases) => cases,
        Err(broken) => return Some((1, format!("without a fault: {broken}"))),
    };
    // Spread over all calls, so that few tries see many of them.
    let step = (cases.len() / runs.max(1) as usize).max(1);
    let tried = cases.iter().step_by(step).zip(1..);
    tried
        .take(runs as usize)
        .find_map(|(case, number)| try_case(seed, case, false).err().map(|broken| (number, broken)))
}
