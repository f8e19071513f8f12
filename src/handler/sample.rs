//! A sample of events is handled twice on the same state, so that what is not deterministic is found where it runs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Context;
use super::check::what_differs;
use super::failure::Failure;
use super::replay::Put;
use super::spec::OnViolation;
use super::window::Window;
use crate::Event;

/// Which events are in the sample, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    every: u32,
    pauses: bool,
    /// Events since the last one of the sample.
    since: u32,
    /// How many came to two results.
    pub violations: u64,
}

/// What a handling of an event would change.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    rows: BTreeMap<Bytes, Option<Bytes>>,
    outputs: Vec<Put>,
    skipped: bool,
}

impl Sample {
    pub fn new(wanted: Option<(u32, OnViolation)>) -> Self {
        let (every, on_violation) = wanted.unwrap_or((0, OnViolation::Warn));
        Sample { every, pauses: on_violation == OnViolation::Pause, since: 0, violations: 0 }
    }

    /// Whether the next event is in it.
    fn takes(&mut self) -> bool {
        if self.every == 0 {
            return false;
        }
        self.since += 1;
        let takes = self.since >= self.every;
        if takes {
            self.since = 0;
        }
        takes
    }
}

impl Window<'_> {
    /// Runs an admitted event; when it is in the sample, once before and for nothing. `None`: the two came to different
    /// results, and the handler pauses before the event.
    pub fn call_sampled(
        &mut self,
        index: usize,
        run: impl Fn(&Event, &mut Context<'_>) -> Result<(), Failure>,
    ) -> Option<Result<(), Failure>> {
        if !self.sample.as_deref_mut().is_some_and(Sample::takes) {
            return Some(self.call(index, run));
        }
        let outcome = self.call(index, &run);
        let first = self.result(&outcome);
        self.overlay.roll_back();
        let outcome = self.call(index, run);
        let second = self.result(&outcome);
        let (Some(first), Some(second)) = (first, second) else { return Some(outcome) };
        if first == second {
            return Some(outcome);
        }
        let events = self.events();
        let at = events.get(index).map(Event::offset).unwrap_or_default();
        let found = what_differs(at, &first.rows, &second.rows, &first.outputs, &second.outputs);
        let Some(sample) = self.sample.as_deref_mut() else { return Some(outcome) };
        sample.violations += 1;
        tracing::warn!(handler = %self.spec.name, event = at.raw(), found, "an event came to two results");
        if !sample.pauses {
            return Some(outcome);
        }
        self.overlay.roll_back();
        self.pause = Some(found);
        None
    }

    /// What the event that was run last would change; `None` when it failed, and so changes nothing.
    fn result(&self, outcome: &Result<(), Failure>) -> Option<Ran> {
        let skipped = match outcome {
            Ok(()) => false,
            Err(Failure::Skip(_)) => true,
            Err(_) => return None,
        };
        let outputs = self.put_out().iter().map(Put::of_new).collect();
        Some(Ran { rows: self.overlay.changes_of_event(), outputs, skipped })
    }
}
