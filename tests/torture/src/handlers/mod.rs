//! Random handlers on the simulated disk, held against the fold of the log in the order that their records say; one seed
//! is one run.

#![allow(clippy::type_complexity)] // rows as pairs of bytes: a name would hide more than it says

mod drive;
mod logic;
mod oracle;
mod records;
mod swarm;
mod view;

use crate::oracle::Broken;
use crate::seeds;
use crate::sim::{quiet_panics, without_panic};
use crate::summary::Summary;
use drive::Tally;

pub fn run(args: &seeds::Args) -> Summary {
    quiet_panics();
    seeds::run("handlers", args, caught)
}

/// Runs a seed; a panic is a broken promise.
fn caught(seed: u64, hashed: bool, shown: bool) -> Result<Tally, Broken> {
    without_panic(|| {
        let (swarm, outcome) = drive::run(seed, hashed, shown);
        outcome.map_err(|broken| format!("{broken}; {swarm:?}"))
    })
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
        self.records += other.records;
        self.outputs += other.outputs;
        self.decisions += other.decisions;
        self.fenced += other.fenced;
        self.rebuilt += other.rebuilt;
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("operations", self.deeds),
            ("crashes", self.crashes),
            ("disk calls", self.calls),
            ("faults", self.faults),
            ("records", self.records),
            ("outputs", self.outputs),
            ("decisions", self.decisions),
            ("fenced", self.fenced),
            ("damaged views", self.rebuilt),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_run_and_another_seed_another_run() {
        quiet_panics();
        let hash = |seed| caught(seed, true, false).unwrap().hash;
        assert_eq!(hash(7), hash(7));
        assert_ne!(hash(7), hash(8));
    }
}
