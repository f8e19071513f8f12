//! Bits flipped, files cut, swapped and replaced by older ones: nothing of it is silent, nothing panics, and nothing
//! takes more memory than it may.

mod answers;
mod flips;
mod judge;
mod memory;
mod store;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::summary::Summary;
use flips::Flip;
use store::Store;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many bits are flipped, evenly over all files.
    #[arg(long, alias = "runs", default_value_t = 10_000)]
    flips: u64,
    /// Every bit of every file, and every cut.
    #[arg(long)]
    complete: bool,
    /// Where random numbers start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// One flip alone, as a violation names it: STORE/FILE:BYTE.BIT.
    #[arg(long, value_name = "FLIP")]
    only: Option<String>,
}

/// Counts, summed over all threads.
#[derive(Debug, Default)]
struct Counts(Mutex<Vec<(&'static str, u64)>>);

impl Counts {
    fn add(&self, what: &'static str, n: u64) {
        self.with(what, |sum| *sum += n);
    }

    fn with(&self, what: &'static str, change: impl FnOnce(&mut u64)) {
        let mut counts = self.0.lock().expect("nobody panics while counting");
        match counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, sum)) => change(sum),
            None => {
                let mut sum = 0;
                change(&mut sum);
                counts.push((what, sum));
            }
        }
    }
}

pub fn run(args: &Args) -> Summary {
    let mut summary = Summary::new("bytes");
    let stores = match store::all() {
        Ok(stores) => stores,
        Err(failed) => {
            summary.violation(failed);
            return summary;
        }
    };
    summary.count("stores", stores.len() as u64);
    if let Some(name) = &args.only {
        match Flip::named(&stores, name) {
            Some(flip) => note(&mut summary, flips::check(&flip, judge::Depth::Deep, &Counts::default()).err()),
            None => summary.violation(format!("there is no flip {name:?}")),
        }
        return summary;
    }
    flip_all(args, &stores, &mut summary);
    summary
}

fn note(summary: &mut Summary, violation: Option<String>) {
    if let Some(violation) = violation {
        summary.violation(violation);
    }
}

/// How many violations are enough to stop for.
const ENOUGH: usize = 20;

/// Does numbered work on several threads, tells progress, and gathers counts and violations.
fn in_parallel(
    args: &Args,
    what: &'static str,
    runs: Range<u64>,
    summary: &mut Summary,
    work: impl Fn(u64, &Counts) -> Result<(), String> + Sync,
) {
    let (counts, violations) = (Counts::default(), Mutex::new(Vec::new()));
    let next = AtomicU64::new(runs.start);
    let told = (runs.end - runs.start).div_ceil(20).max(20_000);
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs.end || violations.lock().expect("nobody panics here").len() >= ENOUGH {
                        return;
                    }
                    if let Err(violation) = work(run, &counts) {
                        violations.lock().expect("nobody panics here").push(violation);
                    }
                    if (run + 1) % told == 0 {
                        eprintln!("torture bytes: {} of {} {what}", run + 1, runs.end);
                    }
                }
            });
        }
    });
    summary.count(what, next.into_inner().min(runs.end) - runs.start);
    for (what, n) in counts.0.into_inner().expect("nobody panics while counting") {
        summary.count(what, n);
    }
    violations.into_inner().expect("nobody panics here").into_iter().for_each(|violation| summary.violation(violation));
}

fn flip_all(args: &Args, stores: &[Store], summary: &mut Summary) {
    if args.complete {
        for store in stores {
            in_parallel(args, "flips", 0..store.bits(), summary, |run, counts| {
                flips::check(&Flip::numbered(store, run), flips::depth_of(run), counts)
            });
        }
        return;
    }
    in_parallel(args, "flips", 0..args.flips, summary, |run, counts| {
        flips::check(&Flip::sampled(stores, args.seed, run), flips::depth_of(run), counts)
    });
}

/// The first run of so many flips that breaks a promise, and how. For trying what this layer catches.
#[allow(dead_code, reason = "called by the layer of planted bugs")]
pub fn first_violation(seed: u64, runs: u64) -> Option<(u64, String)> {
    let stores = match judge::caught(store::all) {
        Ok(Ok(stores)) => stores,
        Ok(Err(failed)) => return Some((0, failed)),
        Err(panic) => return Some((0, format!("panic while a store was made: {panic}"))),
    };
    let counts = Counts::default();
    (0..runs).find_map(|run| {
        let flip = Flip::sampled(&stores, seed, run);
        Some((run, flips::check(&flip, flips::depth_of(run), &counts).err()?))
    })
}
