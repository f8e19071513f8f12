//! Replay: a handler run again over what its records say, in a space of its own, and held to what they say came of it.

mod compare;
mod fresh;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::Handler;
use super::cache::Cache;
use super::context::Whose;
use super::error::HandlerError;
use super::follow::{Engine, How, Inputs, Ran, Records, Stored};
use super::logic::{Calls, Logic};
use super::overlay::{Overlay, Sums};
use super::own::is_own;
use super::prove::{bookmark_of, sums_of};
use super::spec::HandlerSpec;
use crate::journal::Journal;
use crate::view::{Digest, MemoryView, View};
use crate::{Event, Offset, Timestamp};

pub(super) use compare::Shown;
pub use compare::{Difference, Put};

/// Where a replay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// With the handler's last record.
    #[default]
    End,
    /// When all events below an offset are handled.
    Offset(Offset),
    /// When all events that the log took up to a time are handled.
    Time(Timestamp),
}

/// What becomes of what a replay puts out. Nothing is ever appended, and no effect is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outputs {
    /// It is thrown away, and nothing is compared: only the state is wanted.
    Suppress,
    /// State, outputs and effects have to be what the records say.
    #[default]
    Compare,
}

/// What a replay says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// State and outputs behind every record are what the record says.
    Verified,
    /// They are not: see [`ReplayReport::difference`].
    Differs,
    /// There was nothing to compare: no event was handled.
    NotChecked,
    /// The state was made, and nothing compared, as asked.
    Made,
    /// Failures were decided anew, so the records were not looked at.
    Fresh,
}

/// What came of a replay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplayReport {
    /// The handler.
    pub handler: String,
    /// The generation whose records were followed.
    pub generation: u32,
    /// In short.
    pub verdict: Verdict,
    /// The first difference.
    pub difference: Option<Difference>,
    /// All events before it are handled, set aside or passed over.
    pub cursor: Offset,
    /// Records that were held against what the handler does now.
    pub records: u64,
    /// Events that were handled.
    pub events: u64,
    /// Events that were put out, and thrown away.
    pub outputs: u64,
    /// Streams that are set aside at the end.
    pub parked: u64,
    /// Rows of state at the end.
    pub rows: u64,
    /// What they add up to.
    pub digest: Digest,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReplayProgress {
    /// All events before it are done with.
    pub cursor: Offset,
    /// Where the log ends.
    pub end: Offset,
    /// Events handled so far.
    pub events: u64,
}

/// A handler that is to be run again over its log.
///
/// It follows the handler's records: which events were handled, in which order, where each step ended, what was set
/// aside, passed over and taken up again. So it needs no clock and no luck to come to the same, and whatever is not
/// the same is the first [`Difference`]. Costs about what handling the events costs, and memory for the rows unless
/// it is given a view.
pub struct Replay {
    journal: Arc<dyn Journal>,
    spec: HandlerSpec,
    logic: Box<dyn Logic>,
    view: Arc<dyn View>,
    from: Offset,
    until: Until,
    outputs: Outputs,
    fresh: bool,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("spec", &self.spec).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Replay {
    /// From the first record to the last one, comparing all.
    pub fn new(journal: impl Journal + 'static, spec: HandlerSpec, handler: impl Handler) -> Self {
        Replay::with_logic(Arc::new(journal), spec, Box::new(Calls::new(handler)))
    }

    pub(crate) fn with_logic(journal: Arc<dyn Journal>, spec: HandlerSpec, logic: Box<dyn Logic>) -> Self {
        Replay {
            journal,
            spec,
            logic,
            view: Arc::new(MemoryView::new()),
            from: Offset::default(),
            until: Until::End,
            outputs: Outputs::Compare,
            fresh: false,
        }
    }

    /// Takes what the records say of the events below an offset as it is, and begins with the step behind it.
    #[must_use]
    pub fn from(mut self, from: Offset) -> Self {
        self.from = from;
        self
    }

    /// Where it ends. Between two records nothing says what the state was: what is run behind the last whole step is
    /// not compared.
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// Whether anything is compared.
    #[must_use]
    pub fn outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    /// Decides failures anew, by the log's time, instead of following the records: what would the handler do now?
    /// Such a replay is never [`Verdict::Verified`].
    #[must_use]
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// Where the state is made. What the view holds of the space of this handler and generation is removed first, so
    /// it must not be the view of the handler itself. Default: in memory.
    #[must_use]
    pub fn into_view(mut self, view: impl View + 'static) -> Self {
        self.view = Arc::new(view);
        self
    }

    /// Runs it. Nothing is appended, and no effect is run.
    ///
    /// # Errors
    /// [`HandlerError::Unknown`] when there is no record to follow, [`HandlerError::Changed`] when the settings are
    /// others, and whatever reading the log and keeping the rows can meet.
    pub fn run(self, mut progress: impl FnMut(ReplayProgress)) -> Result<ReplayReport, HandlerError> {
        self.spec.check()?;
        self.view.clear(&self.spec.space())?;
        if self.fresh { fresh::run(self, &mut progress) } else { Running::new(self).run(&mut progress) }
    }

    fn engine(journal: &Arc<dyn Journal>, spec: HandlerSpec, logic: Box<dyn Logic>, view: Arc<dyn View>) -> Engine {
        let whose =
            Whose { name: Arc::clone(&spec.name), log: journal.id(), epoch: 0, hops_max: spec.hops_max, silent: false };
        let cache = Cache::new(view, spec.space(), spec.cache_bytes);
        Engine { journal: Arc::clone(journal), spec, logic, whose, cache }
    }
}

/// A replay on its way.
struct Running {
    engine: Engine,
    from: Offset,
    until: Until,
    outputs: Outputs,
    sums: Sums,
    report: ReplayReport,
}

impl Running {
    fn new(replay: Replay) -> Self {
        let Replay { journal, mut spec, logic, view, from, until, outputs, .. } = replay;
        // One write for each row is enough to compare.
        spec.exact = false;
        let report = ReplayReport {
            handler: spec.name.as_ref().to_owned(),
            generation: spec.generation,
            verdict: Verdict::NotChecked,
            difference: None,
            cursor: Offset::default(),
            records: 0,
            events: 0,
            outputs: 0,
            parked: 0,
            rows: 0,
            digest: Digest::EMPTY,
        };
        let engine = Replay::engine(&journal, spec, logic, view);
        Running { engine, from, until, outputs, sums: Sums::default(), report }
    }

    fn run(mut self, progress: &mut dyn FnMut(ReplayProgress)) -> Result<ReplayReport, HandlerError> {
        let journal = Arc::clone(&self.engine.journal);
        let generation = self.engine.spec.generation;
        let mut records = Records::both(&*journal, &self.engine.spec, journal.head());
        let mut inputs: Option<Inputs> = None;
        while let Some(stored) = records.next()? {
            if stored.record.head.generation != generation {
                continue;
            }
            let inputs = match &mut inputs {
                Some(inputs) => inputs,
                None => {
                    self.report.cursor = self.first_cursor(&stored)?;
                    inputs.insert(Inputs::new(Arc::clone(&journal), &self.engine.spec.filter, self.report.cursor))
                }
            };
            let events = inputs.below(stored.record.head.cursor, usize::MAX)?;
            let on = if stored.record.head.cursor <= self.from {
                self.take_as_recorded(&stored)?
            } else {
                self.run_again(&stored, events)?
            };
            progress(ReplayProgress {
                cursor: self.report.cursor,
                end: journal.durable_end(),
                events: self.report.events,
            });
            if !on {
                break;
            }
        }
        if inputs.is_none() {
            let name = self.engine.spec.name.as_ref().to_owned();
            return Err(HandlerError::Unknown { name, generation });
        }
        self.ended()
    }

    /// Where the first record that is left begins. What came before it must not be missing.
    fn first_cursor(&self, stored: &Stored) -> Result<Offset, HandlerError> {
        let head = &stored.record.head;
        let name = || self.engine.spec.name.as_ref().to_owned();
        if head.fingerprint != self.engine.spec.fingerprint() {
            return Err(HandlerError::Changed { name: name(), generation: head.generation });
        }
        match head.previous {
            Some(before) if before < self.engine.journal.head() => {
                Err(HandlerError::Trimmed { name: name(), cursor: before, head: self.engine.journal.head() })
            }
            _ => Ok(head.cursor),
        }
    }

    /// Takes the rows of a record as they are; they have to add up.
    fn take_as_recorded(&mut self, stored: &Stored) -> Result<bool, HandlerError> {
        let mut kept = Overlay::new(false);
        self.keep(&mut kept, stored, |_| true)?;
        self.settle(kept, stored)?;
        if self.sums != sums_of(&stored.record.head) {
            let name = self.engine.spec.name.as_ref().to_owned();
            return Err(HandlerError::Digest { name, at: stored.at });
        }
        Ok(true)
    }

    /// Puts rows of a record, as it has them.
    fn keep(&self, kept: &mut Overlay, stored: &Stored, which: impl Fn(&[u8]) -> bool) -> Result<(), HandlerError> {
        for write in stored.record.writes.iter().filter(|write| which(&write.key)) {
            kept.begin(write.at);
            let stream = stored.record.streams.get(write.stream as usize).map_or("", |stream| stream);
            kept.put(&self.engine.cache, &write.key, write.value.clone(), stream)?;
        }
        Ok(())
    }

    fn settle(&mut self, mut kept: Overlay, stored: &Stored) -> Result<(), HandlerError> {
        let (_, _, sums) = kept.finish(self.engine.journal.id(), self.sums);
        kept.settle(&mut self.engine.cache);
        self.sums = sums;
        self.report.cursor = stored.record.head.cursor;
        self.report.parked = u64::from(stored.record.head.parked);
        if self.engine.cache.is_full() {
            self.engine.cache.apply(&bookmark_of(&*self.engine.journal, stored.at, &sums))?;
        }
        Ok(())
    }

    /// Runs the events of a record again; returns whether it goes on behind it.
    fn run_again(&mut self, stored: &Stored, mut events: Vec<Event>) -> Result<bool, HandlerError> {
        let end = self.end_within(stored, &events);
        if let Some(end) = end {
            events.truncate(end);
        }
        self.engine.whose.epoch = stored.record.head.epoch;
        let how = How { waited_done: end.is_some(), ..How::default() };
        let mut ran = self.engine.follow(stored, self.report.cursor, events, how)?;
        let writes = ran.overlay.finish(self.engine.journal.id(), self.sums).0;
        self.report.events += ran.handled;
        self.report.outputs += ran.outputs.len() as u64;
        let whole = end.is_none();
        if ran.failed.is_some() || !ran.rest.is_empty() || (whole && self.outputs == Outputs::Compare) {
            self.report.difference = compare::first_difference(&self.engine, stored, &ran, &writes, whole)?;
            if self.report.difference.is_some() {
                return Ok(false);
            }
        }
        let mut kept = Overlay::new(false);
        for write in writes.iter().filter(|write| !is_own(&write.key)) {
            kept.begin(write.at);
            kept.put(&self.engine.cache, &write.key, write.value.clone(), "")?;
        }
        if whole {
            self.keep(&mut kept, stored, is_own)?;
        }
        let reached = ran_to(&ran, self.report.cursor);
        self.settle(kept, stored)?;
        if !whole {
            self.report.cursor = match self.until {
                Until::Offset(until) => until,
                Until::End | Until::Time(_) => reached,
            };
            return Ok(false);
        }
        if self.outputs == Outputs::Compare {
            self.report.records += 1;
            self.report.difference = compare::sums(stored, &self.sums);
        }
        Ok(self.report.difference.is_none())
    }

    /// How many of a record's events are still wanted, when not all are.
    fn end_within(&self, stored: &Stored, events: &[Event]) -> Option<usize> {
        let is_wanted = |event: &&Event| match self.until {
            Until::End => true,
            Until::Offset(until) => event.offset() < until,
            Until::Time(until) => event.recorded() <= until,
        };
        let wanted = events.iter().take_while(is_wanted).count();
        let ends = match self.until {
            Until::End => false,
            Until::Offset(until) => stored.record.head.cursor > until,
            Until::Time(_) => wanted < events.len(),
        };
        ends.then_some(wanted)
    }

    fn ended(mut self) -> Result<ReplayReport, HandlerError> {
        self.report.verdict = match &self.report.difference {
            Some(_) => Verdict::Differs,
            None if self.outputs == Outputs::Suppress => Verdict::Made,
            None if self.report.events == 0 || self.report.records == 0 => Verdict::NotChecked,
            None => Verdict::Verified,
        };
        (self.report.rows, self.report.digest) = (self.sums.rows, self.sums.digest);
        let last = Offset::from_raw(self.report.cursor.raw().saturating_sub(1));
        self.engine.cache.apply(&bookmark_of(&*self.engine.journal, last, &self.sums))?;
        Ok(self.report)
    }
}

/// Where a run ended.
fn ran_to(ran: &Ran, before: Offset) -> Offset {
    ran.order.iter().max().map_or(before, |last| last.plus(1).max(before))
}

/// A value without the codec byte in front.
pub(super) fn plain(value: &Bytes) -> Bytes {
    value.slice(1.min(value.len())..)
}
