//! Random workloads on a simulated disk that crashes and fails; one seed is one run.

pub mod clock;
pub mod disk;
pub mod drive;
pub mod machine;
pub mod swarm;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::oracle::Broken;
use crate::seeds;
use crate::summary::Summary;
use drive::Tally;

pub fn run(args: &seeds::Args) -> Summary {
    quiet_panics();
    seeds::run("sim", args, caught)
}

/// The first broken promise from a seed on: how many seeds it took, and what it was.
#[allow(dead_code)] // asked by the layer of planted bugs
pub fn first_violation(seed: u64, runs: u64) -> Option<(u64, String)> {
    quiet_panics();
    seeds::first_violation(seed, runs, caught)
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A panic is told with the seed, not on its own.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| PANIC.with(|last| *last.borrow_mut() = info.to_string())));
}

/// Runs a seed; a panic is a broken promise.
fn caught(seed: u64, hashed: bool, shown: bool) -> Result<Tally, Broken> {
    without_panic(|| {
        let (swarm, outcome) = drive::run(seed, hashed, shown);
        outcome.map_err(|broken| format!("{broken}; {swarm:?}"))
    })
}

/// Does something of which a panic is a broken promise.
pub fn without_panic<T>(does: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    catch_unwind(AssertUnwindSafe(does)).unwrap_or_else(|_| Err(format!("a panic: {}", PANIC.with(|last| last.take()))))
}

impl seeds::Tally for Tally {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn add(&mut self, other: &Tally) {
        self.deeds += other.deeds;
        self.crashes += other.crashes;
        self.calls += other.calls;
        self.faults += other.faults;
        self.cuts += other.cuts;
        self.refused += other.refused;
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("operations", self.deeds),
            ("crashes", self.crashes),
            ("disk calls", self.calls),
            ("faults", self.faults),
            ("torn tails", self.cuts),
            ("refused as damaged", self.refused),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_run_and_another_seed_another_run() {
        let hash = |seed| caught(seed, true, false).unwrap().hash;
        assert_eq!(hash(7), hash(7));
        assert_ne!(hash(7), hash(8));
    }

    #[test]
    fn a_panic_is_a_broken_promise() {
        quiet_panics();
        let broken = without_panic::<()>(|| panic!("of this kind")).unwrap_err();
        assert!(broken.contains("of this kind"), "{broken}");
    }
}
