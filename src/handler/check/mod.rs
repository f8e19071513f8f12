//! The check of a handler: whether an event may come again, in another order, in other steps, and come to the same.

mod dry;
mod report;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Handler;
use super::context::Context;
use super::error::HandlerError;
use super::failure::Failure;
use super::logic::{Calls, Logic};
use super::replay::Put;
use super::spec::HandlerSpec;
use crate::event::NewEvent;
use crate::journal::Journal;
use crate::{Event, Offset};

pub use report::{CheckReport, CheckVerdict, Law, Level, Outcome, RowDifference, Violation};

use dry::Tried;
use report::{Kept, differences, without};
use world::{World, again, batches, events_of, places};

/// Events of a check that have no time of their own come so far apart.
const APART_US: i64 = 1_000;

/// An event that a handler is tried on.
struct Input {
    event: NewEvent<'static>,
    recorded_us: i64,
}

/// What is tried, and under which settings.
struct Subject {
    spec: HandlerSpec,
    logic: Box<dyn Fn() -> Box<dyn Logic>>,
    observe: Option<Box<dyn Fn() -> Vec<u8>>>,
    seed: u64,
}

/// One handler that several instances run.
struct Same<H>(Arc<H>);

impl<H: Handler> Handler for Same<H> {
    fn handle(&self, event: &Event, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.0.handle(event, cx)
    }

    fn idempotency_key(&self, event: &Event) -> Option<Vec<u8>> {
        self.0.idempotency_key(event)
    }
}

/// Holds a handler to the laws that make [`Level::GuardedIdempotent`], and to [`Law::LaneCommutation`] when it has more
/// than one lane; the others are tried too. See [`Check`] for more.
///
/// # Errors
/// See [`HandlerError`]; a law that does not hold is in the report.
pub fn check_handler(
    spec: HandlerSpec,
    handler: impl Handler,
    events: impl IntoIterator<Item = NewEvent<'static>>,
) -> Result<CheckReport, HandlerError> {
    Check::new(spec, handler).run(events)
}

/// A check of a handler on some events, in memory: no log is touched, and no effect is run.
///
/// It costs about a hundred times what handling the events costs. For a property test hand in what the strategy makes:
/// the report of a failure has the shortest beginning of the events that shows it.
pub struct Check {
    subject: Subject,
    required: Vec<Law>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("spec", &self.subject.spec)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// Of a handler under these settings; their window, clock and random numbers do not count.
    pub fn new(spec: HandlerSpec, handler: impl Handler) -> Self {
        let handler = Arc::new(handler);
        Check::with_logic(spec, Box::new(move || Box::new(Calls::new(Same(Arc::clone(&handler))))))
    }

    pub(crate) fn with_logic(spec: HandlerSpec, logic: Box<dyn Fn() -> Box<dyn Logic>>) -> Self {
        let mut required = Level::GuardedIdempotent.laws().to_vec();
        if spec.lanes > 1 {
            required.push(Law::LaneCommutation);
        }
        Check { subject: Subject { spec, logic, observe: None, seed: 7 }, required }
    }

    /// Exactly these laws have to hold.
    #[must_use]
    pub fn require(mut self, laws: impl IntoIterator<Item = Law>) -> Self {
        self.required = laws.into_iter().collect();
        self
    }

    /// The laws of this level have to hold.
    #[must_use]
    pub fn at_least(self, level: Level) -> Self {
        self.require(level.laws().iter().copied())
    }

    /// Shows what the handler could change outside, as bytes: if handling an event changes them, it is not
    /// deterministic.
    #[must_use]
    pub fn observe(mut self, outside: impl Fn() -> Vec<u8> + 'static) -> Self {
        self.subject.observe = Some(Box::new(outside));
        self
    }

    /// Where random numbers begin. Default: 7.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.subject.seed = seed;
        self
    }

    /// Tries the laws on events, which get offsets from 0 on, and times one millisecond apart.
    ///
    /// # Errors
    /// See [`HandlerError`]; a law that does not hold is in the report.
    pub fn run(self, events: impl IntoIterator<Item = NewEvent<'static>>) -> Result<CheckReport, HandlerError> {
        let times = (1..).map(|n| n * APART_US);
        self.run_on(events.into_iter().zip(times).map(|(event, recorded_us)| Input { event, recorded_us }).collect())
    }

    /// Tries the laws on those events of a part of a log that the handler wants. They keep their times and get other
    /// offsets, from 0 on. Holds them all in memory.
    ///
    /// # Errors
    /// See [`HandlerError`]; a law that does not hold is in the report.
    pub fn run_range(self, journal: &dyn Journal, from: Offset, to: Offset) -> Result<CheckReport, HandlerError> {
        let events = events_of(journal, from, to, &self.subject.spec.filter)?;
        let users = events.iter().filter(|event| !event.is_system());
        self.run_on(users.map(|e| Input { event: new_of(e), recorded_us: e.recorded().as_micros() }).collect())
    }

    fn run_on(self, inputs: Vec<Input>) -> Result<CheckReport, HandlerError> {
        let Check { subject, required } = self;
        subject.spec.check()?;
        let world = World::of(&subject, inputs.iter())?;
        let events = world.events()?;
        let dry = dry::try_laws(&subject, world.log().id(), &events)?;
        let mut laws = BTreeMap::new();
        let mut put = |law: Law, tried: Tried, why: &str| {
            let vacuous = dry.made == 0 || tried.checks == 0;
            let outcome = match tried.violation {
                Some(violation) => Outcome::Violated(Box::new(violation)),
                None if dry.made == 0 => Outcome::NotChecked("no event changed or put out anything".to_owned()),
                None if vacuous => Outcome::NotChecked(why.to_owned()),
                None => Outcome::Held { checks: tried.checks },
            };
            laws.insert(law, outcome);
        };
        put(Law::Determinism, dry.determinism, "every event failed");
        put(Law::RawIdempotence, dry.idempotence, "every event failed");
        put(Law::LaneCommutation, dry.commutation, "no event stands beside one of another stream");
        for law in [Law::GuardedIdempotence, Law::LateDuplicate, Law::BatchIndependence] {
            put(law, through_the_runtime(&subject, &inputs, law)?, "there are no events");
        }
        Ok(CheckReport {
            handler: subject.spec.name.as_ref().to_owned(),
            generation: subject.spec.generation,
            events: events.len() as u64,
            failed: dry.failed,
            seed: subject.seed,
            laws,
            required,
        })
    }
}

/// Tries a law on all events, or on several beginnings of them; where it does not hold, the shortest beginning.
fn through_the_runtime(subject: &Subject, inputs: &[Input], law: Law) -> Result<Tried, HandlerError> {
    let try_on = |events: usize| {
        let inputs = inputs.get(..events).unwrap_or(inputs);
        match law {
            Law::BatchIndependence => batches(subject, inputs),
            _ => again(subject, inputs, law),
        }
    };
    let mut tried = Tried::default();
    let lengths = match law {
        // It is about the last one of the events.
        Law::GuardedIdempotence => {
            places(inputs.len()).into_iter().filter(|len| *len > 0).chain([inputs.len()]).collect()
        }
        _ => vec![inputs.len()],
    };
    let mut held = 0;
    for length in lengths {
        if length == 0 {
            continue;
        }
        tried.checks += 1;
        let Some(found) = try_on(length)? else {
            held = length;
            continue;
        };
        tried.violation = Some(shortest(held, length, found, try_on)?);
        break;
    }
    Ok(tried)
}

/// The shortest beginning that fails, between one that held and one that does not, by halves.
fn shortest(
    mut held: usize,
    mut fails: usize,
    mut found: Violation,
    try_on: impl Fn(usize) -> Result<Option<Violation>, HandlerError>,
) -> Result<Violation, HandlerError> {
    while fails - held > 1 {
        let middle = held + (fails - held) / 2;
        match try_on(middle)? {
            Some(violation) => (fails, found) = (middle, violation),
            None => held = middle,
        }
    }
    Ok(found)
}

/// Two results of one event on one state, as a sentence.
pub(super) fn what_differs(at: Offset, one: &Kept, other: &Kept, puts: &[Put], others: &[Put]) -> String {
    let violation = Violation {
        law: Law::Determinism,
        what: "handled twice on the same state, the event came to two results".to_owned(),
        at,
        events: Vec::new(),
        seed: 0,
        rows: differences(one, other),
        outputs_missing: without(puts, others),
        outputs_added: without(others, puts),
    };
    violation.to_string()
}

impl Subject {
    fn violation(&self, law: Law, what: String, upto: &[Event]) -> Violation {
        Violation {
            law,
            what,
            at: upto.last().map_or(Offset::ZERO, Event::offset),
            events: upto.iter().map(|event| (event.offset(), Put::of(event))).collect(),
            seed: self.seed,
            rows: Vec::new(),
            outputs_missing: Vec::new(),
            outputs_added: Vec::new(),
        }
    }
}

/// An event, to be appended elsewhere.
fn new_of(event: &Event) -> NewEvent<'static> {
    let put = Put::of(event);
    let mut new = NewEvent::new(put.stream, put.event_type).data(put.data.to_vec());
    if let Some(content_type) = put.content_type {
        new = new.content_type(content_type);
    }
    if let Some(source) = put.source {
        new = new.source(source);
    }
    if let Some(id) = put.id {
        new = new.id(id);
    }
    if let Some(time) = put.time {
        new = new.time(time);
    }
    put.headers.into_iter().fold(new, |new, (name, value)| new.header(name, value))
}
