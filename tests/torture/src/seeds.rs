//! Seeds run by several threads until there are enough or the time is over: one seed is one run, and every so manyth
//! runs twice and has to do the same.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::oracle::Broken;
use crate::summary::Summary;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many runs; without a number 1,000, or as many as the seconds allow.
    #[arg(long)]
    runs: Option<u64>,
    /// Stops after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs at the same time.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Shows one run: its faults, what it does, and every call on the disk.
    #[arg(long)]
    trace: bool,
}

/// Every so manyth seed runs twice, and has to do the same.
const TWICE: u64 = 100;

/// What a run did.
pub trait Tally: Default + Send {
    /// Of all that it did, in order, where that was asked for.
    fn hash(&self) -> u64;
    fn add(&mut self, other: &Self);
    /// What is shown of it.
    fn counts(&self) -> Vec<(&'static str, u64)>;
}

/// Runs one seed; whether what it does is hashed, and whether it is shown.
pub type Run<T> = fn(u64, bool, bool) -> Result<T, Broken>;

/// Runs the seeds of a layer.
pub fn run<T: Tally>(layer: &'static str, args: &Args, run: Run<T>) -> Summary {
    let runs = match (args.runs, args.seconds, args.trace) {
        (Some(runs), _, _) => runs,
        (None, _, true) => 1,
        (None, Some(_), false) => u64::MAX,
        (None, None, false) => 1000,
    };
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new((Summary::new(layer), T::default(), 0u64, 0u64));
    let work = || {
        while !stop.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= runs {
                break;
            }
            let seed = args.seed.wrapping_add(at);
            let outcome = one(seed, args.trace, run);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            let (summary, tally, seeds, twice) = &mut *found;
            *seeds += 1;
            *twice += u64::from(seed.is_multiple_of(TWICE));
            match outcome {
                Ok(one) => tally.add(&one),
                Err(broken) => {
                    summary.violation(format!("seed {seed}: {broken}; tools/torture {layer} --seed {seed} --trace"));
                    if summary.violations() >= 10 {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(work);
        }
    });
    let (mut summary, tally, seeds, twice) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rate = seeds as f64 / summary.seconds().max(0.001);
    summary.count("seeds", seeds);
    summary.count("of them twice", twice);
    for (what, n) in tally.counts() {
        summary.count(what, n);
    }
    summary.count("seeds a second", rate as u64);
    summary
}

/// The first broken promise from a seed on: how many seeds it took, and what it was.
#[allow(dead_code)] // asked by the layer of planted bugs
pub fn first_violation<T: Tally>(seed: u64, runs: u64, run: Run<T>) -> Option<(u64, String)> {
    (0..runs).find_map(|at| one(seed.wrapping_add(at), false, run).err().map(|broken| (at + 1, broken)))
}

/// Runs a seed, twice where it is due.
fn one<T: Tally>(seed: u64, shown: bool, run: Run<T>) -> Result<T, Broken> {
    let twice = seed.is_multiple_of(TWICE);
    let tally = run(seed, twice, shown)?;
    if twice && !shown {
        let again = run(seed, true, false)?;
        if again.hash() != tally.hash() {
            return Err(format!("the same seed is another run: {:x} and {:x}", tally.hash(), again.hash()));
        }
    }
    Ok(tally)
}
