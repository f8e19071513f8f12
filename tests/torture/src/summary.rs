//! What a layer did, in one line.

use std::process::ExitCode;
use std::time::Instant;

/// Counts of one layer, and what went wrong.
#[derive(Debug)]
pub struct Summary {
    layer: &'static str,
    start: Instant,
    counts: Vec<(&'static str, u64)>,
    /// Why the layer could not run at all.
    skipped: Option<String>,
    violations: Vec<String>,
}

impl Summary {
    pub fn new(layer: &'static str) -> Summary {
        Summary { layer, start: Instant::now(), counts: Vec::new(), skipped: None, violations: Vec::new() }
    }

    /// A layer that cannot run here.
    pub fn skipped(layer: &'static str, why: impl Into<String>) -> Summary {
        Summary { skipped: Some(why.into()), ..Summary::new(layer) }
    }

    /// Counts something, shown in the order of first mention.
    pub fn count(&mut self, what: &'static str, n: u64) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, so_far)) => *so_far += n,
            None => self.counts.push((what, n)),
        }
    }

    /// A broken promise, told at once: what, and the command that shows it again.
    pub fn violation(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("torture {}: VIOLATION: {what}", self.layer);
        self.violations.push(what);
    }

    pub fn violations(&self) -> usize {
        self.violations.len()
    }

    /// Seconds since the layer began.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Prints the one line; the exit code says whether all promises held.
    pub fn print(&self) -> ExitCode {
        if let Some(why) = &self.skipped {
            println!("torture {}: skipped: {why}", self.layer);
            return ExitCode::SUCCESS;
        }
        let counts: String = self.counts.iter().map(|(what, n)| format!("{n} {what}, ")).collect();
        println!("torture {}: {counts}{} violations, {:.1} s", self.layer, self.violations.len(), self.seconds());
        if self.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
