//! Laws that need the runtime: the events in a log in memory, handled by real instances in one way and in another.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::report::{Kept, Law, Violation, differences, is_asked_for, without};
use super::{Input, Subject};
use crate::batch::Walk;
use crate::disk::{Clock, Env, SeededRandom};
use crate::handler::error::HandlerError;
use crate::handler::own::{EffectRow, is_own};
use crate::handler::replay::Put;
use crate::handler::runner::{Runner, Step};
use crate::journal::{Found, Journal, MemoryLog};
use crate::view::{Change, MemoryView, View};
use crate::{Append, Event, Filter, Offset, Timestamp};

/// So many waits for a retry end a run: the event fails for good.
const WAITS_MAX: usize = 200;
/// A law is tried at so many places of the events.
const PLACES: usize = 6;

/// A clock that shows what it is told to.
#[derive(Debug, Default)]
struct Told(AtomicI64);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed) / 1000).unwrap_or(0)
    }
}

/// Events in a log of their own.
pub(super) struct World<'s> {
    subject: &'s Subject,
    log: MemoryLog,
    clock: Arc<Told>,
    /// Behind the last of the events.
    end: Offset,
}

/// What came of handling them.
struct End {
    rows: Kept,
    outputs: Vec<Put>,
}

impl<'s> World<'s> {
    /// Equal inputs make equal worlds: ids, offsets and times.
    pub fn of<'i>(subject: &'s Subject, inputs: impl Iterator<Item = &'i Input>) -> Result<Self, HandlerError> {
        let clock = Arc::new(Told::default());
        let random = Arc::new(SeededRandom::new(subject.seed));
        let log = MemoryLog::with(&Env { clock: clock.clone(), random, ..Env::system() });
        for input in inputs {
            clock.0.fetch_max(input.recorded_us, Ordering::Relaxed);
            log.append(Append::new().events([input.event.clone()]))?.wait()?;
        }
        let end = log.durable_end();
        Ok(World { subject, log, clock, end })
    }

    pub fn log(&self) -> &MemoryLog {
        &self.log
    }

    /// The events that the handler wants.
    pub fn events(&self) -> Result<Vec<Event>, HandlerError> {
        events_of(&self.log, Offset::ZERO, self.end, &self.subject.spec.filter)
    }

    fn open(&self, view: &Arc<MemoryView>, window: usize) -> Result<Runner, HandlerError> {
        let spec = self.subject.spec.clone().window(window, 8 << 20).by_hand(true).effects_max(usize::MAX);
        let random = Arc::new(SeededRandom::new(self.subject.seed));
        let spec = spec.clock(self.clock.clone()).random(random);
        Runner::open_shared(Arc::new(self.log.clone()), view.clone(), spec, (self.subject.logic)())
    }

    /// Handles what is below an offset, by an instance of its own, which then ends without a word.
    fn run(&self, view: &Arc<MemoryView>, window: usize, until: Offset) -> Result<(), HandlerError> {
        let mut runner = self.open(view, window)?;
        runner.stop_at(until.min(self.end));
        for _ in 0..WAITS_MAX {
            match runner.run_to_end()? {
                Step::Idle { due_us: Some(due_us) } => drop(self.clock.0.fetch_max(due_us, Ordering::Relaxed)),
                _ => break,
            }
        }
        Ok(())
    }

    /// Handles all events in steps of so many.
    fn straight(&self, window: usize) -> Result<End, HandlerError> {
        let view = Arc::new(MemoryView::new());
        self.run(&view, window, self.end)?;
        self.ended(&view)
    }

    /// Handles what is below an offset; an instance that has an older view goes on from there. Where it was `lost` once,
    /// another one has handled the rest meanwhile, in a log that nobody sees any more.
    fn interrupted(&self, at: Offset, window: usize, lost: Option<&World<'_>>) -> Result<End, HandlerError> {
        let forgotten = Arc::new(MemoryView::new());
        if let Some(lost) = lost {
            lost.run(&forgotten, window, at)?;
        }
        let view = Arc::new(MemoryView::new());
        self.run(&view, window, Offset::from_raw(at.raw() / 2))?;
        let older = Arc::new(self.copy(&view)?);
        self.run(&view, window, at)?;
        if let Some(lost) = lost {
            lost.run(&forgotten, window, lost.end)?;
        }
        self.run(&older, window, self.end)?;
        self.ended(&older)
    }

    fn copy(&self, view: &MemoryView) -> Result<MemoryView, HandlerError> {
        let (space, copy) = (self.subject.spec.space(), MemoryView::new());
        if let Some(bookmark) = view.bookmark(&space)? {
            let rows = view.scan(&space, &[], &[]);
            let changes = rows.map(|row| row.map(|(key, value)| Change { key, value: Some(value) }));
            copy.apply(&space, &changes.collect::<Result<Vec<_>, _>>()?, &bookmark)?;
        }
        Ok(copy)
    }

    fn ended(&self, view: &MemoryView) -> Result<End, HandlerError> {
        let mut rows = Kept::new();
        for row in view.scan(&self.subject.spec.space(), &[], &[]) {
            let (key, value) = row?;
            if !is_asked_for(&key) {
                continue;
            }
            // Which instance asked for an effect does not count.
            let value = match EffectRow::decode(&value).filter(|_| is_own(&key)) {
                Some(effect) => EffectRow { epoch: 0, ..effect }.encode(),
                None => value,
            };
            rows.insert(key, Some(value));
        }
        let outputs = events_of(&self.log, self.end, self.log.durable_end(), &Filter::new())?;
        Ok(End { rows, outputs: outputs.iter().map(Put::of).collect() })
    }
}

/// What a filter wants of a part of a log.
pub(super) fn events_of(
    journal: &dyn Journal,
    from: Offset,
    to: Offset,
    filter: &Filter,
) -> Result<Vec<Event>, HandlerError> {
    let mut events = Vec::new();
    let mut read = journal.read(from, to, filter);
    loop {
        match read.look()? {
            Found::Batch(batch) => {
                let mut walk = Walk::new(&batch);
                while let Some(event) = walk.next_owned(&batch) {
                    events.push(event);
                }
            }
            Found::Nothing => {}
            Found::End => return Ok(events),
        }
    }
}

/// Whether events come again as if for the first time where an instance lost what it did, and as second ones.
pub(super) fn again(subject: &Subject, inputs: &[Input], law: Law) -> Result<Option<Violation>, HandlerError> {
    let reference = World::of(subject, inputs.iter())?;
    let expected = reference.straight(usize::MAX)?;
    let last = inputs.len() as u64;
    // How many events are left to the instance that goes on.
    let left: Vec<u64> = match law {
        Law::GuardedIdempotence => vec![1],
        _ => places(inputs.len()).into_iter().map(|place| last - place as u64).collect(),
    };
    for left in left {
        let at = Offset::from_raw(last.saturating_sub(left));
        let lost = World::of(subject, inputs.iter())?;
        let found = World::of(subject, inputs.iter())?.interrupted(at, 1, Some(&lost))?;
        let what = format!("handled again from event {at} on by an instance that lost what came of it");
        if let Some(violation) = compared(&reference, law, what, &expected, &found)? {
            return Ok(Some(violation));
        }
    }
    let duplicates = match law {
        Law::GuardedIdempotence => duplicates(&reference, inputs, inputs.len().saturating_sub(1))?,
        _ => duplicates(&reference, inputs, 0)?,
    };
    if duplicates.is_empty() {
        return Ok(None);
    }
    let world = World::of(subject, inputs.iter().chain(duplicates))?;
    let found = world.straight(usize::MAX)?;
    let what = "a second event with the same idempotency key changed something".to_owned();
    compared(&reference, law, what, &expected, &found)
}

/// The inputs from a place on that have an idempotency key.
fn duplicates<'i>(world: &World<'_>, inputs: &'i [Input], from: usize) -> Result<Vec<&'i Input>, HandlerError> {
    let logic = (world.subject.logic)();
    let mut found = Vec::new();
    for event in world.events()? {
        let place = usize::try_from(event.offset().raw()).unwrap_or(usize::MAX);
        let within = (inputs.len() - place.min(inputs.len())) as u64 + inputs.len() as u64;
        if place < from || within > world.subject.spec.horizon {
            continue;
        }
        let key = catch_unwind(AssertUnwindSafe(|| logic.idempotency_key(&event))).unwrap_or_default();
        found.extend(inputs.get(place).filter(|_| key.is_some()));
    }
    Ok(found)
}

/// Whether it is the same however many events a step takes, and wherever instances end.
pub(super) fn batches(subject: &Subject, inputs: &[Input]) -> Result<Option<Violation>, HandlerError> {
    let law = Law::BatchIndependence;
    let reference = World::of(subject, inputs.iter())?;
    let expected = reference.straight(usize::MAX)?;
    for window in [1, 7] {
        let found = World::of(subject, inputs.iter())?.straight(window)?;
        let what = format!("steps of {window} came to another result than one of all");
        if let Some(violation) = compared(&reference, law, what, &expected, &found)? {
            return Ok(Some(violation));
        }
    }
    for place in places(inputs.len()) {
        let at = Offset::from_raw(place as u64);
        for window in [7, usize::MAX] {
            let found = World::of(subject, inputs.iter())?.interrupted(at, window, None)?;
            let what =
                format!("an instance that ended before event {at}, and one that went on, came to another result");
            if let Some(violation) = compared(&reference, law, what, &expected, &found)? {
                return Ok(Some(violation));
            }
        }
    }
    Ok(None)
}

/// Places among so many events, spread evenly.
pub(super) fn places(events: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..PLACES.min(events)).map(|n| n * events / PLACES.min(events).max(1)).collect();
    places.dedup();
    places
}

fn compared(
    world: &World<'_>,
    law: Law,
    what: String,
    expected: &End,
    found: &End,
) -> Result<Option<Violation>, HandlerError> {
    let rows = differences(&expected.rows, &found.rows);
    let (missing, added) = (without(&expected.outputs, &found.outputs), without(&found.outputs, &expected.outputs));
    if rows.is_empty() && missing.is_empty() && added.is_empty() {
        return Ok(None);
    }
    let violation = world.subject.violation(law, what, &world.events()?);
    Ok(Some(Violation { rows, outputs_missing: missing, outputs_added: added, ..violation }))
}
