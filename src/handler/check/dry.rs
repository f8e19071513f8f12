//! Laws that need no runtime: an event handled on a state in memory, and what that would change.

use std::sync::Arc;

use super::Subject;
use super::report::{Kept, Law, RowDifference, Violation, difference, differences, is_asked_for, without};
use crate::handler::cache::Cache;
use crate::handler::commit::DecisionKind;
use crate::handler::context::Whose;
use crate::handler::error::HandlerError;
use crate::handler::logic::Logic;
use crate::handler::overlay::{Overlay, Sums};
use crate::handler::queues::Queues;
use crate::handler::replay::Put;
use crate::handler::window::{Came, Window};
use crate::view::MemoryView;
use crate::{Event, LogId};

/// What handling some events changed.
struct Ran {
    overlay: Overlay,
    /// Every row that was written.
    written: Kept,
    outputs: Vec<Put>,
    /// Events that were passed over, and why.
    passed: Vec<Box<str>>,
    /// One of them failed, or was not reached.
    failed: bool,
}

/// What the laws of this file came to.
#[derive(Default)]
pub(super) struct Dry {
    pub determinism: Tried,
    pub idempotence: Tried,
    pub commutation: Tried,
    /// Events that failed.
    pub failed: u64,
    /// Rows and outputs that the events made.
    pub made: u64,
}

/// How often a law was tried, and where it did not hold first.
#[derive(Default)]
pub(super) struct Tried {
    pub checks: u64,
    pub violation: Option<Violation>,
}

/// The state between the events.
struct Bench<'s> {
    subject: &'s Subject,
    whose: Whose,
    logic: Box<dyn Logic>,
    cache: Cache,
}

/// Handles the events one after the other, each more than once, and holds what comes of it to the laws.
pub(super) fn try_laws(subject: &Subject, log: LogId, events: &[Event]) -> Result<Dry, HandlerError> {
    let spec = &subject.spec;
    let whose = Whose { name: Arc::clone(&spec.name), log, epoch: 1, hops_max: spec.hops_max, silent: false };
    let cache = Cache::new(Arc::new(MemoryView::new()), spec.space(), usize::MAX);
    let mut bench = Bench { subject, whose, logic: (subject.logic)(), cache };
    let mut dry = Dry::default();
    for (index, event) in events.iter().enumerate() {
        let upto = events.get(..=index).unwrap_or(events);
        bench.commutes(event, upto, events.get(index + 1), &mut dry)?;
        bench.twice(event, upto, &mut dry)?;
    }
    Ok(dry)
}

impl Bench<'_> {
    fn run(&mut self, events: Vec<Event>) -> Result<Ran, HandlerError> {
        let mut queues = Queues::default();
        let wanted = events.len();
        let now_us = events.last().map_or(0, |event| event.recorded().as_micros());
        let mut window = Window::new(&self.cache, &mut queues, &self.subject.spec, &self.whose, now_us);
        window.go_on_with(events, Came::InTurn);
        self.logic.run(&mut window)?;
        let Window { mut overlay, outputs, decisions, done, pause, .. } = window;
        let failed = pause.is_some() || done < wanted || decisions.iter().any(|d| d.kind == DecisionKind::SetAside);
        let writes = overlay.finish(self.whose.log, Sums::default()).0;
        let written = writes.into_iter().filter(|w| is_asked_for(&w.key)).map(|w| (w.key, w.value)).collect();
        let outputs = outputs.iter().map(Put::of_new).collect();
        Ok(Ran { overlay, written, outputs, passed: decisions.into_iter().map(|d| d.reason).collect(), failed })
    }

    fn outside(&self) -> Option<Vec<u8>> {
        self.subject.observe.as_ref().map(|observe| observe())
    }

    /// An event on the same state twice, and once more behind itself.
    fn twice(&mut self, event: &Event, upto: &[Event], dry: &mut Dry) -> Result<(), HandlerError> {
        let before = self.outside();
        let first = self.run(vec![event.clone()])?;
        let between = self.outside();
        let second = self.run(vec![event.clone()])?;
        let touched = before != between || between != self.outside();
        if touched {
            let what = "handling it changed something outside, beside its rows and outputs".to_owned();
            dry.determinism.found(self.violation(Law::Determinism, what, upto));
        }
        if first.failed || second.failed {
            dry.failed += 1;
            return self.go_on(first);
        }
        dry.made += (first.written.len() + first.outputs.len()) as u64;
        dry.determinism.checks += 1;
        let same = first.written == second.written && first.passed == second.passed;
        if !same || first.outputs != second.outputs {
            let what = "handled twice on the same state it came to two results".to_owned();
            let mut violation = self.violation(Law::Determinism, what, upto);
            violation.rows = differences(&first.written, &second.written);
            violation.outputs_missing = without(&first.outputs, &second.outputs);
            violation.outputs_added = without(&second.outputs, &first.outputs);
            if violation.rows.is_empty() && violation.outputs_missing.is_empty() && violation.outputs_added.is_empty() {
                violation.what.push_str(": the same in another order, or passed over for another reason");
            }
            dry.determinism.found(violation);
        }
        let outputs = first.outputs.clone();
        self.go_on(first)?;
        let again = self.run(vec![event.clone()])?;
        if again.failed {
            return Ok(());
        }
        dry.idempotence.checks += 1;
        let rows = self.changed(&again)?;
        let added = without(&again.outputs, &outputs);
        if !rows.is_empty() || !added.is_empty() {
            let what = "handled again behind itself it changed something".to_owned();
            let violation = self.violation(Law::RawIdempotence, what, upto);
            dry.idempotence.found(Violation { rows, outputs_added: added, ..violation });
        }
        Ok(())
    }

    /// Two neighbours of different streams in both orders.
    fn commutes(
        &mut self,
        event: &Event,
        upto: &[Event],
        next: Option<&Event>,
        dry: &mut Dry,
    ) -> Result<(), HandlerError> {
        let Some(next) = next.filter(|next| next.stream() != event.stream() && dry.commutation.violation.is_none())
        else {
            return Ok(());
        };
        let forth = self.run(vec![event.clone(), next.clone()])?;
        let back = self.run(vec![next.clone(), event.clone()])?;
        if forth.failed || back.failed {
            return Ok(());
        }
        dry.commutation.checks += 1;
        let (one, other) = (self.state_behind(&forth, &back)?, self.state_behind(&back, &forth)?);
        let rows = differences(&one, &other);
        let (missing, added) = (without(&forth.outputs, &back.outputs), without(&back.outputs, &forth.outputs));
        if !rows.is_empty() || !missing.is_empty() || !added.is_empty() {
            let what = "it and the one behind it, of another stream, came to another result when they changed places";
            let mut violation = self.violation(Law::LaneCommutation, what.to_owned(), upto);
            violation.events.push((next.offset(), Put::of(next)));
            violation.at = next.offset();
            dry.commutation.found(Violation { rows, outputs_missing: missing, outputs_added: added, ..violation });
        }
        Ok(())
    }

    /// The rows that either of two runs wrote, as the one leaves them.
    fn state_behind(&self, ran: &Ran, other: &Ran) -> Result<Kept, HandlerError> {
        let mut rows = Kept::new();
        for key in ran.written.keys().chain(other.written.keys()) {
            let value = match ran.written.get(key) {
                Some(value) => value.clone(),
                None => self.cache.get(key)?,
            };
            rows.insert(key.clone(), value);
        }
        Ok(rows)
    }

    /// What a run changed of the state as it is.
    fn changed(&self, ran: &Ran) -> Result<Vec<RowDifference>, HandlerError> {
        let mut rows = Vec::new();
        for (key, value) in &ran.written {
            let before = self.cache.get(key)?;
            if before != *value {
                rows.push(difference(key, Some(&before), Some(value)));
            }
        }
        Ok(rows)
    }

    fn go_on(&mut self, ran: Ran) -> Result<(), HandlerError> {
        ran.overlay.settle(&mut self.cache);
        Ok(())
    }

    fn violation(&self, law: Law, what: String, upto: &[Event]) -> Violation {
        self.subject.violation(law, what, upto)
    }
}

impl Tried {
    /// Keeps the first one.
    fn found(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }
}
